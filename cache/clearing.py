"""Deleting entries by the beginning of their key: only what is ours, in batches that do not block the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.entry import MAGIC
from cache.errors import InvalidKeyError, StoreError
from cache.keys import Key, parse_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from cache.stores.base import Store

    Wanted = Callable[[Key], bool]

_BATCH_KEYS = 1000


def _any_key(_key: Key) -> bool:
    return True


def clear_entries(store: Store, prefix: str, *, wanted: Wanted = _any_key) -> int:
    """Delete the entries whose key begins with `prefix`, in one pass over the keys.

    A key is ours only if it parses, holds a string and starts with our magic; others stay.

    Args:
        store: the bare store.
        prefix: the beginning of the keys, up to a separator.
        wanted: which of them; a prefix without a namespace is shared by all namespaces.

    Returns:
        How many were deleted.

    Raises:
        StoreError: the store could not do it; what was deleted before stays deleted.
    """
    n_deleted = 0
    for batch in batches(store.yield_keys(prefix=prefix), wanted):
        ours = _ours(batch, store.mpeek(batch, len(MAGIC)))
        store.mdelete(ours)
        n_deleted += len(ours)
    return n_deleted


async def aclear_entries(store: Store, prefix: str, *, wanted: Wanted = _any_key) -> int:
    """Asynchronous twin of `clear_entries`."""
    n_deleted = 0
    async for batch in abatches(store.ayield_keys(prefix=prefix), wanted):
        ours = _ours(batch, await store.ampeek(batch, len(MAGIC)))
        await store.amdelete(ours)
        n_deleted += len(ours)
    return n_deleted


def count_entries(store: Store, prefix: str, *, wanted: Wanted = _any_key) -> int:
    """How many entries `clear_entries` would delete."""
    found = batches(store.yield_keys(prefix=prefix), wanted)
    return sum(len(_ours(batch, store.mpeek(batch, len(MAGIC)))) for batch in found)


async def acount_entries(store: Store, prefix: str, *, wanted: Wanted = _any_key) -> int:
    """Asynchronous twin of `count_entries`."""
    found = abatches(store.ayield_keys(prefix=prefix), wanted)
    return sum([len(_ours(batch, await store.ampeek(batch, len(MAGIC)))) async for batch in found])


def batches(keys: Iterator[str], wanted: Wanted) -> Iterator[list[str]]:
    """The wanted keys; those that came before a failure are given before it is raised."""
    batch: list[str] = []
    failure: StoreError | None = None
    try:
        for key in keys:
            if _is_wanted(key, wanted):
                batch.append(key)
            if len(batch) == _BATCH_KEYS:
                yield batch
                batch = []
    except StoreError as error:
        failure = error
    if batch:
        yield batch
    if failure:
        raise failure


async def abatches(keys: AsyncIterator[str], wanted: Wanted) -> AsyncIterator[list[str]]:
    """Asynchronous twin of `batches`."""
    batch: list[str] = []
    failure: StoreError | None = None
    try:
        async for key in keys:
            if _is_wanted(key, wanted):
                batch.append(key)
            if len(batch) == _BATCH_KEYS:
                yield batch
                batch = []
    except StoreError as error:
        failure = error
    if batch:
        yield batch
    if failure:
        raise failure


def _is_wanted(text: str, wanted: Wanted) -> bool:
    try:
        return wanted(parse_key(text))
    except InvalidKeyError:
        return False


def _ours(keys: Sequence[str], heads: Sequence[bytes | None]) -> list[str]:
    return [key for key, head in zip(keys, heads, strict=True) if head == MAGIC]
