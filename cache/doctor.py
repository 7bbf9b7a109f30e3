"""What is wrong with a cache, found by looking: findings in plain words, each with what to do about it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from cache.entry import HEADER_BYTES, peek_entry
from cache.errors import EntryError, StoreError
from cache.keys import CACHED_KINDS, is_key, key_prefix, key_tag, parse_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache.settings import CacheSettings
    from cache.stores.base import Store

_PINGS = 20
_SLOW_MS = 5.0
_LOOKED_AT = 10_000
_BATCH = 500
_SHOWN = 3
_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        value: how it is.
        advice: what to do; nothing where all is well.
    """

    name: str
    value: str
    advice: str | None = None


def examine(store: Store, settings: CacheSettings) -> Iterator[Finding]:
    """Look at a store, the cheap things first; stops where the server cannot be reached.

    Args:
        store: the bare store.
        settings: namespace, and whether the cache is switched on.
    """
    if not settings.enabled:
        yield Finding("cache", "switched off", "unset CACHE_ENABLED, or set it to 1, to use the cache")
    try:
        store.ping()
        yield Finding("connection", "ok")
        yield from server_findings(store.info())
        yield _latency(store)
        yield from _entries(store, settings)
    except StoreError as error:
        yield Finding("connection", f"failed ({error.reason}): {error}", _CONNECTION_ADVICE.get(error.reason, _ASK_LOG))


_ASK_LOG = "look into the server's log; until it answers, the application goes on without the cache"
_CONNECTION_ADVICE = {
    "refused": "start the server, or correct host and port in REDIS_URL",
    "auth": "correct user and password in REDIS_URL",
    "timeout": "the server is reachable but does not answer in time: look at its load, or raise CACHE_DEADLINE_MS",
    "tls": "the server's certificate is not trusted: give the authority by ssl_ca_certs in REDIS_URL",
    "cluster": "this server is in no cluster: use redis:// instead of redis+cluster://",
    "cluster_down": "give every slot a server that runs, and set cluster-require-full-coverage to no",
    "no_primary": "the Sentinels know no primary of this name: correct the service in REDIS_URL, or wait for one",
    "loading": "the server is loading its data: wait",
    "read_only": "this is a replica: point REDIS_URL at the primary, or at the Sentinels",
    "no_permission": "allow this user GET, SET, MGET, EVAL, GETRANGE, UNLINK, SCAN, INFO, DBSIZE, PING, CLUSTER SLOTS",
}


def server_findings(info: dict[str, str]) -> Iterator[Finding]:
    """What the server says of itself: version, memory, policy, persistence. Pure."""
    if not info:
        return
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield Finding("version", f"{name} {info.get('valkey_version') or info.get('redis_version', 'unknown')}")
    yield _memory(info)
    policy = info.get("maxmemory_policy", "unknown")
    advice = "set maxmemory-policy to allkeys-lru: a full server that evicts nothing refuses every write"
    yield Finding("eviction policy", policy, advice if policy == "noeviction" else None)
    evicted = int(info.get("evicted_keys", "0"))
    yield Finding("evicted keys", str(evicted), "raise maxmemory: entries go before their time" if evicted else None)
    yield _persistence(info)


def _memory(info: dict[str, str]) -> Finding:
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    if not limit:
        advice = "set maxmemory, so that the cache cannot take all of the machine"
        return Finding("memory", f"{info.get('used_memory_human', used)} of no limit", advice)
    value = f"{info.get('used_memory_human', used)} of {info.get('maxmemory_human', limit)}"
    return Finding("memory", value, "raise maxmemory, or shorten times to live" if used > _FULL * limit else None)


def _persistence(info: dict[str, str]) -> Finding:
    failed = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name) == "err"]
    if failed:
        return Finding("persistence", f"{failed[0]}: err", "free disk space: the server may refuse writes")
    return Finding("persistence", "append-only file" if info.get("aof_enabled") == "1" else "snapshots or none")


def _latency(store: Store) -> Finding:
    took_ms = []
    for _ in range(_PINGS):
        started_s = time.perf_counter()
        store.ping()
        took_ms.append(1000 * (time.perf_counter() - started_s))
    middle = median(took_ms)
    advice = "bring server and application closer together" if middle > _SLOW_MS else None
    return Finding("round trip", f"{middle:.2f} ms median, {max(took_ms):.2f} ms longest of {_PINGS}", advice)


def _entries(store: Store, settings: CacheSettings) -> Iterator[Finding]:
    prefix = key_prefix(None, settings.namespace)
    keys = [key for key in islice(store.yield_keys(prefix=prefix), _LOOKED_AT) if is_key(key)]
    parsed = {key: parse_key(key) for key in keys}
    keys = [key for key, it in parsed.items() if it.namespace == settings.namespace and it.kind in CACHED_KINDS]
    kinds = Counter(str(parsed[key].kind) for key in keys)
    value = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "none"
    yield Finding("entries", value if len(keys) < _LOOKED_AT else f"{value}, of the first {_LOOKED_AT} keys")
    sizes, unreadable = _look(store, keys)
    biggest = sorted(sizes.items(), key=lambda item: -item[1])[:_SHOWN]
    yield Finding("biggest entries", ", ".join(f"{key} ({size} bytes)" for key, size in biggest) or "none")
    advice = "newer versions write what this one cannot read, or something else writes these keys; they are misses"
    names = ", ".join(unreadable[:_SHOWN])
    yield Finding("unreadable entries", f"{len(unreadable)} {names}".strip(), advice if unreadable else None)


def _look(store: Store, keys: list[str]) -> tuple[dict[str, int], list[str]]:
    sizes: dict[str, int] = {}
    unreadable: list[str] = []
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        for key, head in zip(batch, store.mpeek(batch, HEADER_BYTES), strict=True):
            try:
                if head is not None:
                    sizes[key] = peek_entry(head, key_tag(key)).size_bytes
            except EntryError:
                unreadable.append(key)
    return sizes, unreadable
