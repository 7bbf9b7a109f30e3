"""`ResponseCache`: a LangChain `BaseCache` on Redis."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, Self

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from cache.admission import why_not_admitted
from cache.clearing import aclear_entries, clear_entries
from cache.clock import Clock, SystemClock
from cache.closing import Closing
from cache.coalescing import Coalescer
from cache.codecs.generations import decode_generations, encode_generations
from cache.codecs.payloads import decode_payload, encode_payload
from cache.completion_models import has_hidden_settings
from cache.counters import Counters, Counts
from cache.entry import Header
from cache.errors import EntryError, InvalidKeyError
from cache.flight import Landed, Lead, Level, Turn
from cache.keys import ContentHasher, Key, Kind, build_key, check_namespace, key_prefix, key_tag
from cache.model_runs import is_model_call, release_with_run
from cache.model_starts import ModelStart, current_start, watch_models
from cache.opening import open_store, store_for
from cache.requests import Uncacheable, canonical_request
from cache.settings import CacheSettings, check_ttl

if TYPE_CHECKING:
    from langchain_core.stores import ByteStore

    from cache.stores.base import Store

_log = logging.getLogger("resumecache")
HIT_MARK = "resumecache"
_ASKS_FOR_JSON = ("'type': 'json_schema'", "'type': 'json_object'")  # as LangChain writes a response format
_USAGE_FIELDS = ("token_usage", "usage")


class ResponseCache(Closing, BaseCache):
    """Answers of language models, for `set_llm_cache(...)` or a model's `cache=` argument.

    Two requests share an entry only if all that can change the answer is equal; where that cannot be established the
    request is not cached and the reason is counted. `lookup` and `update` never raise.

    Args:
        store: where entries live; any LangChain `ByteStore` will do.
        ttl_s: seconds that entries live; `None` is the setting.
        namespace: the tenant; `None` is the setting.
        settings: `None` reads the environment.
        counters: where hits and misses are counted.
        clock: where the time comes from.

    Raises:
        InvalidKeyError: the namespace cannot stand in a key.
        InvalidTTLError: the time to live cannot be used.
    """

    def __init__(
        self,
        store: ByteStore,
        *,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
        counters: Counters | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or CacheSettings()
        self._counters = counters or Counters()
        self.store = store_for(Kind.OPENAI_RESPONSE, store, settings, self._counters)
        self._owned: Store | None = None
        self._ttl_s = check_ttl(settings.ttl_s(Kind.OPENAI_RESPONSE) if ttl_s is None else ttl_s)
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._compress_over_bytes = settings.compression_threshold_bytes
        self._default_base_url = settings.openai_base_url
        self._hasher = ContentHasher((Kind.OPENAI_RESPONSE,), secret=settings.secret_bytes())
        self._clock = clock or SystemClock()
        self._coalescer = Coalescer(Level.RESPONSE, self.store, settings)
        watch_models()

    @classmethod
    def from_url(
        cls,
        url: str | None = None,
        *,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
    ) -> Self:
        """Over the store of a URL (see `store_from_url`); `None` is `REDIS_URL`, or else the embedded server."""
        settings = settings or CacheSettings()
        store = open_store(settings, url=url)
        made = cls(store, ttl_s=ttl_s, namespace=namespace, settings=settings)
        made._owned = store
        return made

    @classmethod
    def from_client(
        cls,
        client: object,
        *,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
    ) -> Self:
        """Over connections like those of a client of redis-py that the caller has and closes."""
        settings = settings or CacheSettings()
        store = open_store(settings, client=client)
        made = cls(store, ttl_s=ttl_s, namespace=namespace, settings=settings)
        made._owned = store
        return made

    def counts(self) -> Counts:
        """What was found and stored by this object."""
        return self._counters.snapshot()

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        try:
            key = self._key(prompt, llm_string)
            if key is None:
                return None
            ticket = self._coalescer.ticket()
            [raw] = self.store.mget([key])
            found = self._interpret(key, raw)
            if found is not None or not is_model_call():
                return found
            return self._take(key, self._coalescer.turn(key, ticket, raw))
        except Exception as error:  # noqa: BLE001  a cache may never fail the call that it serves
            self._give_up(error)
            return None

    @override
    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        try:
            key = self._key(prompt, llm_string)
            if key is None:
                return None
            ticket = self._coalescer.ticket()
            [raw] = await self.store.amget([key])
            found = self._interpret(key, raw)
            if found is not None or not is_model_call():
                return found
            return self._take(key, await self._coalescer.aturn(key, ticket, raw))
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)
            return None

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        try:
            self.save(prompt, llm_string, return_val)
        except Exception as error:  # noqa: BLE001  a cache may never lose an answer that was paid for
            self._give_up(error)

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        try:
            await self.asave(prompt, llm_string, return_val)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)

    def save(self, prompt: str, llm_string: str, answer: RETURN_VAL_TYPE) -> bool:
        """Keep an answer as `update` does; True only when the store has confirmed it."""
        pair = self._entry(prompt, llm_string, answer)
        return pair is not None and self._coalescer.save(*pair, ttl_s=self._ttl_s)

    async def asave(self, prompt: str, llm_string: str, answer: RETURN_VAL_TYPE) -> bool:
        """Asynchronous twin of `save`."""
        pair = self._entry(prompt, llm_string, answer)
        return pair is not None and await self._coalescer.asave(*pair, ttl_s=self._ttl_s)

    @override
    def clear(self, **kwargs: Any) -> None:
        """Delete the answers of this namespace, and nothing else; here a failing store shows as a `StoreError`."""
        clear_entries(self.store, key_prefix(Kind.OPENAI_RESPONSE, self._namespace))

    @override
    async def aclear(self, **kwargs: Any) -> None:
        """Asynchronous twin of `clear`."""
        await aclear_entries(self.store, key_prefix(Kind.OPENAI_RESPONSE, self._namespace))

    @override
    def close(self) -> None:
        """Give back the connections of a store that this object opened itself; it can be used again."""
        if self._owned:
            self._coalescer.finish()
            self._owned.close()

    @override
    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""
        if self._owned:
            await self._coalescer.afinish()
            await self._owned.aclose()

    def _key(self, prompt: str, llm_string: str) -> str | None:
        start = _start()
        request = canonical_request(
            prompt,
            llm_string,
            default_base_url=self._default_base_url,
            classes=start.classes,
            schema=start.schema,
        )
        if has_hidden_settings():
            request = Uncacheable("hidden_settings")
        if isinstance(request, Uncacheable):
            self._counters.add_reason("skipped", request.reason)
            _log.debug("request not cached: %s", request.reason)
            return None
        digest = self._hasher.digest(request.model, request.parameters, request.prompt)
        key = Key(Kind.OPENAI_RESPONSE, model=request.model, content_hash=digest.hex(), namespace=self._namespace)
        try:
            return build_key(key)
        except InvalidKeyError:
            self._counters.add_reason("skipped", "model_name")
            return None

    def _interpret(self, key: str, raw: bytes | None) -> list[Generation] | None:
        generations = self._read(key, raw)
        if generations is None:
            self._counters.add(misses=1)
            _log.debug("miss %s", key)
            return None
        _log.debug("hit %s", key)
        return [as_hit(generation) for generation in generations]

    def _take(self, key: str, turn: Turn) -> list[Generation] | None:
        """What a missed lookup gives in the end; whoever is to lead is watched until its run is over."""
        if isinstance(turn, Lead):
            release_with_run(turn)
        if not isinstance(turn, Landed):
            return None
        found = self._interpret(key, turn.value)
        self._counters.add(misses=-1, shared=int(found is not None))
        return found

    def _read(self, key: str, raw: bytes | None) -> list[Generation] | None:
        if raw is None:
            return None
        try:
            header, payload = decode_payload(raw, key_tag(key))
            generations = decode_generations(payload, response_class=_start().response_class)
        except EntryError as error:
            self._counters.add_reason("unreadable", type(error).__name__)
            _log.warning("cache entry %s cannot be used (%s), it will be replaced", key, error)
            return None
        if not header.is_fresh(self._clock.now_s()):
            return None
        self._counters.add(hits=1, saved_ms=header.made_ms)
        return generations

    def _entry(self, prompt: str, llm_string: str, answer: RETURN_VAL_TYPE) -> tuple[str, bytes] | None:
        key = self._key(prompt, llm_string)
        if key is None:
            return None
        self._counters.add(made=1)
        wants_json = any(word in llm_string for word in _ASKS_FOR_JSON)
        reason = why_not_admitted(answer, wants_json=wants_json, schema=_start().schema)
        payload = None if reason else encode_generations(answer)
        if payload is None:
            self._coalescer.part(key)
            self._counters.add_reason("skipped", reason or "no_schema")
            _log.debug("answer not stored (%s): %s", reason or "no_schema", key)
            return None
        header = Header(key_tag=key_tag(key), created_s=int(self._clock.now_s()), ttl_s=self._ttl_s)
        return key, encode_payload(payload, header, compress_over_bytes=self._compress_over_bytes)

    def _give_up(self, error: Exception) -> None:
        self._counters.add_reason("failures", "internal")
        _log.warning("the cache failed and is passed by: %s", type(error).__name__, exc_info=_log.isEnabledFor(10))


def _start() -> ModelStart:
    return current_start() or ModelStart()


def as_hit(generation: Generation) -> Generation:
    """Mark a stored answer as one: a new message id, usage that bills nothing, the original figures beside it.

    The mark stands in `response_metadata["resumecache"]`, which is no part of later requests' keys.
    """
    if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
        return generation
    message = generation.message
    metadata = dict(message.response_metadata)
    billed = {name: metadata.pop(name) for name in _USAGE_FIELDS if name in metadata}
    metadata[HIT_MARK] = {"hit": True, "usage_metadata": message.usage_metadata, **billed}
    message.response_metadata = metadata
    message.usage_metadata = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    message.id = f"lc_run--{uuid.uuid4()}"
    return generation
