"""`NodeCache`: results of the nodes of LangGraph graphs, for `compile(cache=...)` and `CachePolicy`.

```python
graph = builder.add_node("rank", rank, cache_policy=CachePolicy(ttl=600)).compile(cache=NodeCache(store))
```

Imported by its own name, as it needs `langgraph`, which `import cache` does not load.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from langgraph.cache.base import BaseCache
from typing_extensions import override

from cache.clearing import aclear_entries, clear_entries
from cache.clock import Clock, SystemClock
from cache.codecs.nodes import NodeCodec
from cache.codecs.payloads import decode_payload, encode_payload
from cache.counters import Counters, Counts
from cache.entry import Header
from cache.errors import DecodeError, EntryError, InvalidKeyError, InvalidTTLError
from cache.keys import (
    ContentHasher,
    Key,
    Kind,
    build_key,
    check_namespace,
    key_prefix,
    key_tag,
    named_prefix,
    node_segment,
)
from cache.opening import store_for
from cache.settings import CacheSettings, check_ttl
from cache.subjects import current_tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.stores import ByteStore
    from langgraph.cache.base import FullKey, Namespace

_log = logging.getLogger("resumecache")


class NodeCache(BaseCache[Any]):
    """Results of nodes; a store that fails is a miss, and the graph runs.

    LangGraph's key of a result is its node (module, function and name) and a hash of its input. The code of the node,
    what a closure holds, the run's configuration and context are no part of it: where a node depends on them, put them
    into `CachePolicy.key_func`, or change `version`. The ids of messages are a part of it, and are new in each run: a
    node over messages is only hit with a `key_func` of its own. A hit repeats what the node wrote, ids included.
    A node that went on with a person's answer to its interrupt is not kept. Where the interrupt is in a subgraph below
    the node, LangGraph does not say so: give no `CachePolicy` to a node that is, or calls, a graph that asks people.

    Args:
        store: where entries live; any LangChain `ByteStore` will do.
        types: classes of the graph's state that may be made on reading: models, dataclasses, enums. A result that holds
            others, beyond messages, documents and plain data, is not kept.
        version: change it when the code of the graph changes: what was kept before is not served any more.
        namespace: the tenant; `None` is the setting.
        settings: `None` reads the environment.
        counters: where hits and misses are counted.
        clock: where the time comes from.

    Raises:
        InvalidKeyError: the namespace cannot stand in a key.
    """

    def __init__(
        self,
        store: ByteStore,
        *,
        types: Sequence[type] = (),
        version: str = "",
        namespace: str | None = None,
        settings: CacheSettings | None = None,
        counters: Counters | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or CacheSettings()
        self._codec = NodeCodec(types)
        super().__init__(serde=self._codec.serde)
        self._counters = counters or Counters()
        self._clock = clock or SystemClock()
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        shared = (Kind.NODE_RESULT, self._codec.fingerprint, version)
        self._secret = settings.secret_bytes()
        self._hasher = ContentHasher(shared, secret=self._secret)
        self._ttl_s = settings.ttl_s(Kind.NODE_RESULT)
        self._compress_over_bytes = settings.compression_threshold_bytes
        self.store = store_for(Kind.NODE_RESULT, store, settings, self._counters, namespace=namespace)

    def counts(self) -> Counts:
        """What was found and stored by this object."""
        return self._counters.snapshot()

    @override
    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """The results that are there, in one round trip; never raises."""
        try:
            names = self._names(keys)
            return self._interpret(names, self.store.mget(list(names)) if names else [])
        except Exception as error:  # noqa: BLE001  a cache may never fail the graph that it serves
            self._give_up(error)
            return {}

    @override
    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """Asynchronous twin of `get`."""
        try:
            names = self._names(keys)
            return self._interpret(names, await self.store.amget(list(names)) if names else [])
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)
            return {}

    @override
    def set(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Keep results, those of one time to live in one round trip; never raises."""
        try:
            for ttl_s, batch in self._entries(pairs).items():
                self.store.save(batch, ttl_s=ttl_s)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)

    @override
    async def aset(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Asynchronous twin of `set`."""
        try:
            for ttl_s, batch in self._entries(pairs).items():
                await self.store.asave(batch, ttl_s=ttl_s)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)

    @override
    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Delete the results of these nodes, or of all, of this tenant; here a failing store shows as a `StoreError`.

        Args:
            namespaces: each exactly as LangGraph hands it over; `None` is all, an empty sequence is none.
        """
        for prefix in self._prefixes(namespaces):
            clear_entries(self.store, prefix)

    @override
    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Asynchronous twin of `clear`."""
        for prefix in self._prefixes(namespaces):
            await aclear_entries(self.store, prefix)

    def _prefixes(self, namespaces: Sequence[Namespace] | None) -> list[str]:
        if namespaces is None:
            return [key_prefix(Kind.NODE_RESULT, self._namespace)]
        return [named_prefix(Kind.NODE_RESULT, node_segment(path), self._namespace) for path in namespaces]

    def _names(self, keys: Sequence[FullKey]) -> dict[str, FullKey]:
        names = {self._name(key): key for key in keys}
        return {name: key for name, key in names.items() if name is not None}

    def _name(self, key: FullKey) -> str | None:
        path, name = key
        digest = self._hasher.digest(name).hex()
        try:
            return build_key(Key(Kind.NODE_RESULT, digest, node=node_segment(path), namespace=self._namespace))
        except InvalidKeyError:
            self._counters.add_reason("skipped", "node_name")
            return None

    def _interpret(self, names: dict[str, FullKey], raws: Sequence[bytes | None]) -> dict[FullKey, Any]:
        found: dict[FullKey, Any] = {}
        for (name, key), raw in zip(names.items(), raws, strict=True):
            values = self._read(name, raw)
            self._counters.add(hits=len(values), misses=1 - len(values))
            found.update((key, value) for value in values)
        return found

    def _read(self, name: str, raw: bytes | None) -> tuple[Any, ...]:
        """The one value of an entry, or none; a value may well be `None`."""
        if raw is None:
            return ()
        try:
            header, payload = decode_payload(raw, key_tag(name))
            return (self._codec.decode(payload),) if header.is_fresh(self._clock.now_s()) else ()
        except EntryError as error:
            self._counters.add_reason("unreadable", type(error).__name__)
            _log.warning("cache entry %s cannot be used (%s), it will be replaced", name, error)
            return ()

    def _entries(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> dict[int, list[tuple[str, bytes]]]:
        """What is to be written, by time to live."""
        batches: dict[int, list[tuple[str, bytes]]] = {}
        for name, key in self._names(list(pairs)).items():
            value, ttl_s = pairs[key]
            entry = self._entry(name, value, self._ttl_s if ttl_s is None else ttl_s)
            if entry is not None:
                batches.setdefault(self._ttl_s if ttl_s is None else ttl_s, []).append((name, entry))
        return batches

    def _entry(self, name: str, value: Any, ttl_s: int) -> bytes | None:
        self._counters.add(made=1)
        try:
            tags = current_tags(self._namespace, self._secret)
            header = Header(key_tag(name), created_s=int(self._clock.now_s()), ttl_s=check_ttl(ttl_s), tags=tags)
            payload = self._codec.encode(value)
            return encode_payload(payload, header, compress_over_bytes=self._compress_over_bytes)
        except (DecodeError, InvalidTTLError) as error:
            self._counters.add_reason("skipped", "ttl" if isinstance(error, InvalidTTLError) else "result")
            _log.debug("result not stored at %s: %s", name, error)
            return None

    def _give_up(self, error: Exception) -> None:
        self._counters.add_reason("failures", "internal")
        _log.warning("the cache failed and is passed by: %s", type(error).__name__)
