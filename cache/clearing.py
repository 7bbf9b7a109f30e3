"""Deleting entries by the beginning of their key: only what is ours, in batches that do not block the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.entry import MAGIC
from cache.keys import is_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.stores.base import Store

_BATCH_KEYS = 1000


def clear_entries(store: Store, prefix: str) -> int:
    """Delete the entries whose key begins with `prefix`.

    A key is ours only if it parses, holds a string and starts with our magic; others stay.

    Returns:
        How many were deleted.

    Raises:
        StoreError: the store could not do it; what was deleted before stays deleted.
    """
    n_deleted = 0
    candidates = [key for key in store.yield_keys(prefix=prefix) if is_key(key)]
    for batch in _batches(candidates):
        ours = _ours(batch, store.mpeek(batch, len(MAGIC)))
        store.mdelete(ours)
        n_deleted += len(ours)
    return n_deleted


async def aclear_entries(store: Store, prefix: str) -> int:
    """Asynchronous twin of `clear_entries`."""
    n_deleted = 0
    candidates = [key async for key in store.ayield_keys(prefix=prefix) if is_key(key)]
    for batch in _batches(candidates):
        ours = _ours(batch, await store.ampeek(batch, len(MAGIC)))
        await store.amdelete(ours)
        n_deleted += len(ours)
    return n_deleted


def _batches(keys: list[str]) -> list[list[str]]:
    return [keys[start : start + _BATCH_KEYS] for start in range(0, len(keys), _BATCH_KEYS)]


def _ours(keys: Sequence[str], heads: Sequence[bytes | None]) -> list[str]:
    return [key for key, head in zip(keys, heads, strict=True) if head == MAGIC]
