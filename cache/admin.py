"""What an operator asks: how is the cache, what is in it, clear it. On the bare store: here failures show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from cache.clearing import aclear_entries, acount_entries, clear_entries, count_entries
from cache.errors import ConfigurationError, InvalidKeyError, StoreError
from cache.keys import CACHED_KINDS, Key, Kind, key_prefix, parse_key
from cache.reporting import Usage, slot_keys, sum_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.settings import CacheSettings
    from cache.stores.base import Store

MAX_COUNTED_KEYS = 100_000


class Status(StrEnum):
    """How the cache is: usable, configured but unusable, or switched off."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Health:
    """How the cache is.

    Attributes:
        status: in one word.
        reason: why it is degraded, in one word.
        message: the same in a sentence.
    """

    status: Status
    reason: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in the cache.

    Attributes:
        status: in one word.
        redis_version: of the server, as it says itself.
        connected_clients: of the server.
        used_memory_human: of the server, as it says itself.
        key_counts: entries of this namespace, by the long name of their kind.
        is_exact: whether all keys were counted; else the counts are an estimate from those that were.
        cache_ttl_settings: seconds, by the long name of the kind.
        message: why it is degraded.
        usage: what all processes have counted in this namespace.
    """

    status: Status
    redis_version: str | None = None
    connected_clients: int | None = None
    used_memory_human: str | None = None
    key_counts: dict[str, int] = field(default_factory=dict)
    is_exact: bool = True
    cache_ttl_settings: dict[str, int] = field(default_factory=dict)
    message: str = ""
    usage: Usage = field(default_factory=Usage)


def kind_of(name: str) -> Kind:
    """The kind of a long name.

    Raises:
        ConfigurationError: there is no such kind; the message names those that there are.
    """
    try:
        return Kind(name)
    except ValueError:
        allowed = ", ".join(Kind)
        raise ConfigurationError(f"prefix: expected one of {allowed}, got {name!r}") from None


class Admin:
    """Operations on the entries of one namespace.

    Args:
        store: the bare store; give it a deadline that suits whoever asks.
        settings: namespace, times to live, and whether the cache is switched on.
        max_counted_keys: how many keys of the server are looked at before counts become estimates.
    """

    def __init__(self, store: Store, settings: CacheSettings, *, max_counted_keys: int = MAX_COUNTED_KEYS) -> None:
        self._store = store
        self._settings = settings
        self._max_counted_keys = max_counted_keys

    def health(self) -> Health:
        """How the cache is; never raises."""
        if not self._settings.enabled:
            return Health(Status.OFF)
        try:
            self._store.ping()
        except StoreError as error:
            return Health(Status.DEGRADED, error.reason, str(error))
        return Health(Status.HEALTHY)

    async def ahealth(self) -> Health:
        """Asynchronous twin of `health`."""
        if not self._settings.enabled:
            return Health(Status.OFF)
        try:
            await self._store.aping()
        except StoreError as error:
            return Health(Status.DEGRADED, error.reason, str(error))
        return Health(Status.HEALTHY)

    def stats(self) -> Stats:
        """What is in the cache; a server that cannot be reached gives a degraded answer, not an error.

        All keys of the server are gone through up to the bound, not those of the namespace: a small namespace on a
        large server is not worth going through all of it, and the share of what was seen is an honest estimate.
        """
        tally = _Tally(self._settings, self._max_counted_keys)
        try:
            info = self._store.info()
            for key in self._store.yield_keys():
                if not tally.add(key):
                    break
            raws = self._store.mget(tally.slots)
        except StoreError as error:
            return tally.failed(error)
        return tally.stats(info, raws)

    async def astats(self) -> Stats:
        """Asynchronous twin of `stats`."""
        tally = _Tally(self._settings, self._max_counted_keys)
        try:
            info = await self._store.ainfo()
            async for key in self._store.ayield_keys():
                if not tally.add(key):
                    break
            raws = await self._store.amget(tally.slots)
        except StoreError as error:
            return tally.failed(error)
        return tally.stats(info, raws)

    def clear(self, kind: Kind | None = None, *, dry_run: bool = False) -> int:
        """Delete the entries of a kind, or of all kinds, in this namespace; counts stay unless they are the kind.

        Args:
            kind: `None` is all that is cached.
            dry_run: only count them.

        Returns:
            How many were deleted, or would be.

        Raises:
            StoreError: the store could not do it.
        """
        do = count_entries if dry_run else clear_entries
        return do(self._store, key_prefix(kind, self._settings.namespace), wanted=self._wanted(kind))

    async def aclear(self, kind: Kind | None = None, *, dry_run: bool = False) -> int:
        """Asynchronous twin of `clear`."""
        do = acount_entries if dry_run else aclear_entries
        return await do(self._store, key_prefix(kind, self._settings.namespace), wanted=self._wanted(kind))

    def _wanted(self, kind: Kind | None) -> Callable[[Key], bool]:
        kinds = CACHED_KINDS if kind is None else (kind,)
        return lambda key: key.namespace == self._settings.namespace and key.kind in kinds


class _Tally:
    """Counts keys by kind, up to a bound."""

    def __init__(self, settings: CacheSettings, max_keys: int) -> None:
        self._settings = settings
        self._max_keys = max_keys
        self._prefix = key_prefix(None, settings.namespace)
        self._n_seen = 0
        self._counts: Counter[str] = Counter()
        self.slots = slot_keys(settings.namespace)

    def add(self, key: str) -> bool:
        """Count a key; False when that was the last one to be looked at."""
        self._n_seen += 1
        kind = self._kind_of(key) if key.startswith(self._prefix) else None
        if kind is not None:
            self._counts[kind] += 1
        return self._n_seen < self._max_keys

    def _kind_of(self, text: str) -> Kind | None:
        try:
            key = parse_key(text)
        except InvalidKeyError:
            return None
        return key.kind if key.namespace == self._settings.namespace else None

    def failed(self, error: StoreError) -> Stats:
        return Stats(
            Status.DEGRADED if self._settings.enabled else Status.OFF,
            message=str(error), cache_ttl_settings=self._ttls(),
        )  # fmt: skip

    def stats(self, info: dict[str, str], raws: list[bytes | None]) -> Stats:
        n_keys = int(info.get("n_keys", self._n_seen))
        is_exact = self._n_seen < self._max_keys
        factor = 1.0 if is_exact else max(1.0, n_keys / self._n_seen)
        clients = info.get("connected_clients")
        return Stats(
            status=Status.HEALTHY if self._settings.enabled else Status.OFF,
            redis_version=info.get("valkey_version") or info.get("redis_version"),
            connected_clients=int(clients) if clients else None,
            used_memory_human=info.get("used_memory_human"),
            key_counts={str(kind): round(factor * self._counts[kind]) for kind in CACHED_KINDS},
            is_exact=is_exact,
            cache_ttl_settings=self._ttls(),
            usage=sum_up(self.slots, raws),
        )

    def _ttls(self) -> dict[str, int]:
        return {str(kind): self._settings.ttl_s(kind) for kind in CACHED_KINDS}
