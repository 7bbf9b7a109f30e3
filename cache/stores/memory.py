"""The store in this process: the reference meaning of the contract."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from typing_extensions import override

from cache.clock import Clock, SystemClock
from cache.forking import ForkLock
from cache.stores.base import Attempt, LeasingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from cache.stores.base import Holder, Payload

DEFAULT_MAX_BYTES = 256 * 2**20


class MemoryStore(LeasingStore):
    """Keeps entries in this process, the least recently used go first when it is full.

    Args:
        max_bytes: how many bytes of keys and values are kept.
        clock: where the time comes from.
    """

    is_shared = False

    def __init__(self, *, max_bytes: int = DEFAULT_MAX_BYTES, clock: Clock | None = None) -> None:
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()
        self._leases: dict[str, tuple[bytes, float]] = {}
        self._size_bytes = 0
        self._lock = ForkLock()

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        with self._lock:
            return [self._read(key) for key in keys]

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        with self._lock:
            self._write(key_value_pairs, ttl_s)

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._drop(key)

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [(value or b"")[:n_bytes] or None for value in self.mget(keys)]

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        with self._lock:
            found = [key for key in self._entries if key.startswith(prefix or "")]
            alive = [key for key in found if self._read(key) is not None]
        yield from alive

    @override
    def ping(self) -> None:
        """Return: the process itself always answers."""

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return self.mget(keys)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self.mset(key_value_pairs, ttl_s=ttl_s)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        self.mdelete(keys)

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return self.mpeek(keys, n_bytes)

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        for key in self.yield_keys(prefix=prefix):
            yield key

    @override
    async def aping(self) -> None:
        """Return: the process itself always answers."""

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._leases = {name: lease for name, lease in self._leases.items() if lease[1] > now_s}
            holder, _ = self._leases.setdefault(key, (token, now_s + life_ms / 1000))
            return Attempt(is_held=holder == token, value=self._read(key))

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return self.acquire(key, token, life_ms=life_ms)

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        expires_s = self._clock.monotonic_s() + life_ms / 1000
        with self._lock:
            are_held = [self._holds(key, token) for key, token in holders]
            held = (key_and_token for key_and_token, is_held in zip(holders, are_held, strict=True) if is_held)
            self._leases.update((key, (token, expires_s)) for key, token in held)
            return are_held

    @override
    async def arenew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        return self.renew(holders, life_ms=life_ms)

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        with self._lock:
            for key, token in holders:
                if self._holds(key, token):
                    del self._leases[key]

    @override
    async def arelease(self, holders: Sequence[Holder]) -> None:
        self.release(holders)

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        self.mset(key_value_pairs, ttl_s=ttl_s)
        self.release([holder])

    @override
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        self.settle(key_value_pairs, holder, ttl_s=ttl_s)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        with self._lock:
            if self._read(key) != old:
                return False
            self._write([(key, new)], ttl_s)
            return True

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        return self.replace(key, old, new, ttl_s=ttl_s)

    def _write(self, pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> None:
        expires_s = None if ttl_s is None else self._clock.monotonic_s() + ttl_s
        for key, value in pairs:
            self._drop(key)
            self._entries[key] = (bytes(value), expires_s)
            self._size_bytes += len(key) + len(value)
        while self._size_bytes > self._max_bytes and self._entries:
            self._drop(next(iter(self._entries)))

    def _holds(self, key: str, token: bytes) -> bool:
        holder, expires_s = self._leases.get(key, (None, 0.0))
        return holder == token and expires_s > self._clock.monotonic_s()

    def _read(self, key: str) -> bytes | None:
        value, expires_s = self._entries.get(key, (None, None))
        if value is None or (expires_s is not None and self._clock.monotonic_s() >= expires_s):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _drop(self, key: str) -> None:
        value, _ = self._entries.pop(key, (None, None))
        if value is not None:
            self._size_bytes -= len(key) + len(value)
