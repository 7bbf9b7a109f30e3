"""What a store does so that nothing about a forgotten person is kept that was still being made meanwhile. Pure.

A tombstone is a key of ours, `forgotten:{candidate or job}:{tag in hex}`, that lives as long as the longest computation
(`cache.forgetting`). Whoever writes an entry that carries tags reads their tombstones *after* the write, and deletes
what was written where there is one. So an entry is either there before the tombstone, and the search that follows the
tombstone finds it, or its writer meets the tombstone. Only a writer that dies, or loses its server, between the write
and the deletion can leave an entry behind, until the search comes by or the entry's time is over.

Where the tombstones cannot be read, the entry is deleted too: it may be about somebody who was forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cache.entry import ABOUT_NOBODY, TAG_BYTES, tags_of
from cache.errors import ForgottenError
from cache.keys import tombstone_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cache.stores.base import Payload

    Marks = Mapping[str, Sequence[str]]

_NOBODY = bytes(TAG_BYTES)


def marks_of(pairs: Iterable[tuple[str, Payload]]) -> Marks:
    """The tombstones to look for after a write, each with the keys that it concerns; none for untagged entries."""
    marks: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        tags = tags_of(value)
        if tags is ABOUT_NOBODY:
            continue
        for subject, tag in tags._asdict().items():
            if tag != _NOBODY:
                marks[tombstone_key(subject, tag)].append(key)
    return marks


def keys_to_take_back(marks: Marks, found: Sequence[Any]) -> list[str]:
    """The keys that must not stay, by what reading each tombstone gave: it is there, or it could not be read."""
    return [key for keys, one in zip(marks.values(), found, strict=True) if one is not None for key in keys]


def taken_back() -> ForgottenError:
    """The error for a write that found a tombstone."""
    return ForgottenError("the write was taken back: whom it is about was forgotten")
