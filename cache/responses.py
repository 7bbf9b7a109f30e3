"""`ResponseCache`: a LangChain `BaseCache` on Redis."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from typing_extensions import override

from cache.admission import why_not_admitted
from cache.clearing import aclear_entries, clear_entries
from cache.clock import Clock, SystemClock
from cache.closing import Closing
from cache.coalescing import Coalescer
from cache.codecs.generations import decode_answer, encode_generations
from cache.codecs.payloads import encode_payload
from cache.completion_models import ServedCall, served_call
from cache.control import Control, Controls, Observation, Outcome, Seen
from cache.counters import Counters, Counts
from cache.entry import Header
from cache.errors import ConfigurationError, EntryError, InvalidTTLError
from cache.explaining import Explainer, Explanation
from cache.flight import Landed, Lead, Level, Turn
from cache.hits import as_hit
from cache.keys import Kind, check_namespace, key_prefix
from cache.model_calls import model_call
from cache.model_runs import release_with_run
from cache.model_starts import watch_models
from cache.opening import bare_store, open_store, store_for
from cache.requests import Uncacheable
from cache.response_keys import KeyedRequest, ResponseKeys
from cache.settings import CacheSettings, check_ttl
from cache.streams import StreamEntry, key_of_stream
from cache.subjects import current_tags

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable
    from langchain_core.stores import ByteStore

    from cache.stores.base import Store

_log = logging.getLogger("resumecache")
_ASKS_FOR_JSON = ("'type': 'json_schema'", "'type': 'json_object'")  # as LangChain writes a response format


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
        max_temperature: answers to requests over it, or to such that name no temperature, are not cached; `None`, the
            default, caches them all.
        cache_n: whether answers are cached where several were asked for; all of them are kept.

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
        max_temperature: float | None = None,
        cache_n: bool = True,
    ) -> None:
        settings = settings or CacheSettings()
        self._counters = counters or Counters()
        self.store = store_for(Kind.OPENAI_RESPONSE, store, settings, self._counters, namespace=namespace)
        self._owned: Store | None = None
        self._ttl_s = check_ttl(settings.ttl_s(Kind.OPENAI_RESPONSE) if ttl_s is None else ttl_s)
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._compress_over_bytes = settings.compression_threshold_bytes
        self._secret = settings.secret_bytes()
        self._keys = ResponseKeys(
            namespace=self._namespace,
            secret=self._secret,
            default_base_url=settings.openai_base_url,
            max_temperature=max_temperature,
            cache_n=cache_n,
        )
        self._clock = clock or SystemClock()
        self._controls = Controls()
        self._explainer = Explainer(self._keys, self._namespace, self._clock)
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
        max_temperature: float | None = None,
        cache_n: bool = True,
    ) -> Self:
        """Over the store of a URL (see `store_from_url`); `None` is `REDIS_URL`, or else the embedded server."""
        settings = settings or CacheSettings()
        store = open_store(settings, url=url)
        made = cls(
            store,
            ttl_s=ttl_s,
            namespace=namespace,
            settings=settings,
            max_temperature=max_temperature,
            cache_n=cache_n,
        )
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
        max_temperature: float | None = None,
        cache_n: bool = True,
    ) -> Self:
        """Over connections like those of a client of redis-py that the caller has and closes."""
        settings = settings or CacheSettings()
        store = open_store(settings, client=client)
        made = cls(
            store,
            ttl_s=ttl_s,
            namespace=namespace,
            settings=settings,
            max_temperature=max_temperature,
            cache_n=cache_n,
        )
        made._owned = store
        return made

    def counts(self) -> Counts:
        """What was found and stored by this object."""
        return self._counters.snapshot()

    def control(self, **changes: Any) -> AbstractContextManager[None]:
        """Ask for something else in a context: `with cache.control(refresh=True): ...`.

        The same is asked for one call by its configuration: `{"metadata": {"resumecache": {"refresh": True}}}`, which
        goes on top. There, what cannot be used has the call pass by the cache, and is counted.

        Args:
            changes: fields of `cache.control.Control`: `bypass`, `refresh`, `max_age_s`, `ttl_s`.

        Raises:
            ConfigurationError: there is no such field, or a value cannot be used.
            InvalidTTLError: the time to live cannot be used.
        """
        return self._controls.control(changes)

    def observe(self) -> AbstractContextManager[Observation]:
        """Note what becomes of the requests of a context: `with cache.observe() as seen: ...`, then `seen.hits`."""
        return self._controls.observe()

    def explain(self, model: Runnable[Any, Any], request: Any, **settings: Any) -> Explanation:
        """Say what this cache makes of a call: its key, what that is made of, and whether there is an answer.

        The model's provider is not asked, and nothing is counted. A miss is compared with the calls of this object.

        Args:
            model: a model, perhaps bound, with tools or with structured output, or a prompt template and such a model.
            request: what it would be invoked with.
            settings: of the call, such as `stop`.

        Raises:
            ConfigurationError: that is no model.
            StoreError: the store could not be asked.
        """
        asked = self._explainer.ask(model_call(model, request, **settings))
        if isinstance(asked, Explanation):
            return asked
        return self._explainer.interpret(asked, bare_store(self.store).mget([asked.key])[0])

    async def aexplain(self, model: Runnable[Any, Any], request: Any, **settings: Any) -> Explanation:
        """Asynchronous twin of `explain`."""
        asked = self._explainer.ask(model_call(model, request, **settings))
        if isinstance(asked, Explanation):
            return asked
        return self._explainer.interpret(asked, (await bare_store(self.store).amget([asked.key]))[0])

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        try:
            ask = self._ask(prompt, llm_string)
            if ask is None:
                return None
            ticket = self._coalescer.ticket()
            [raw] = self.store.mget([ask.key])
            found = self._interpret(ask, raw)
            if found is None and ask.call.is_of_model:
                found = self._take(ask, self._coalescer.turn(ask.key, ticket, raw))
            return self._counted(ask, found)
        except Exception as error:  # noqa: BLE001  a cache may never fail the call that it serves
            self._give_up(error)
            return None

    @override
    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        try:
            ask = self._ask(prompt, llm_string)
            if ask is None:
                return None
            ticket = self._coalescer.ticket()
            [raw] = await self.store.amget([ask.key])
            found = self._interpret(ask, raw)
            if found is None and ask.call.is_of_model:
                found = self._take(ask, await self._coalescer.aturn(ask.key, ticket, raw))
            return self._counted(ask, found)
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
        made = self._make(prompt, llm_string, answer)
        return made is not None and self._coalescer.save(*made.pair, ttl_s=made.ttl_s)

    async def asave(self, prompt: str, llm_string: str, answer: RETURN_VAL_TYPE) -> bool:
        """Asynchronous twin of `save`."""
        made = self._make(prompt, llm_string, answer)
        return made is not None and await self._coalescer.asave(*made.pair, ttl_s=made.ttl_s)

    def stream_entry(self, prompt: str, llm_string: str) -> StreamEntry | None:
        """Where a stream of the answer to a request is kept; `None` where it is not cached. Never raises."""
        try:
            call = served_call()
            asked, control = self._keyed(prompt, llm_string, call), self._control(call)
            if isinstance(asked, Uncacheable) or control.bypass:
                reason = asked.reason if isinstance(asked, Uncacheable) else "bypass"
                self._skip(reason)
                return None
            self._explainer.note(asked)
            return StreamEntry(
                key=asked.key,
                stream_key=key_of_stream(asked.key),
                store=self.store,
                coalescer=self._coalescer,
                ttl_s=self._ttl_s if control.ttl_s is None else control.ttl_s,
                tags=current_tags(self._namespace, self._secret),
                compress_over_bytes=self._compress_over_bytes,
                wants_json=_wants_json(llm_string),
                schema=call.start.schema,
                response_class=call.start.response_class,
                control=control,
                controls=self._controls,
                counters=self._counters,
                clock=self._clock,
            )
        except Exception as error:  # noqa: BLE001  a cache may never fail the call that it serves
            self._give_up(error)
            return None

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

    def _ask(self, prompt: str, llm_string: str) -> _Ask | None:
        """What is to be looked up, or `None`; what is not looked up is counted here, and not again when it is made."""
        call = served_call()
        asked = self._keyed(prompt, llm_string, call)
        if isinstance(asked, Uncacheable):
            self._skip(asked.reason)
            return None
        self._explainer.note(asked)
        control = self._control(call)
        if control.bypass or control.refresh:
            self._skip("bypass" if control.bypass else "refresh", asked.key)
            return None
        return _Ask(asked.key, asked.tag, control.max_age_s, call)

    def _keyed(self, prompt: str, llm_string: str, call: ServedCall) -> KeyedRequest | Uncacheable:
        if call.has_hidden_settings:
            return Uncacheable("hidden_settings")
        return self._keys.of(prompt, llm_string, call.start)

    def _control(self, call: ServedCall) -> Control:
        try:
            return self._controls.current(call.start.metadata)
        except (ConfigurationError, InvalidTTLError) as error:
            _log.warning("the call passes by the cache: %s", error)
            return Control(bypass=True)

    def _skip(self, reason: str, key: str | None = None) -> None:
        self._counters.add_reason("skipped", reason)
        self._controls.note(Seen(Outcome.SKIPPED, key, reason))
        _log.debug("request not looked up: %s", reason)

    def _interpret(self, ask: _Ask, raw: bytes | None) -> list[Generation] | None:
        header, generations = self._read(ask, raw)
        if header is None:
            return None
        self._counters.add(hits=1, saved_ms=header.made_ms)
        if self._controls.are_observed:
            self._controls.note(Seen(Outcome.HIT, ask.key, age_s=self._clock.now_s() - header.created_s))
        _log.debug("hit %s", ask.key)
        return [as_hit(generation) for generation in generations]

    def _take(self, ask: _Ask, turn: Turn) -> list[Generation] | None:
        """What a missed lookup gives in the end; whoever is to lead is watched until its run is over."""
        if isinstance(turn, Lead):
            release_with_run(turn, ask.call)
        if not isinstance(turn, Landed):
            return None
        found = self._interpret(ask, turn.value)
        self._counters.add(shared=int(found is not None))
        return found

    def _counted(self, ask: _Ask, found: list[Generation] | None) -> list[Generation] | None:
        """Count a miss where neither the store nor another caller had the answer."""
        if found is None:
            self._counters.add(misses=1)
            self._controls.note(Seen(Outcome.MISS, ask.key))
            _log.debug("miss %s", ask.key)
        return found

    def _read(self, ask: _Ask, raw: bytes | None) -> tuple[Header | None, list[Generation]]:
        try:
            found = None if raw is None else decode_answer(raw, ask.tag, response_class=ask.call.start.response_class)
        except EntryError as error:
            self._counters.add_reason("unreadable", type(error).__name__)
            _log.warning("cache entry %s cannot be used (%s), it will be replaced", ask.key, error)
            return None, []
        if found is None or not found[0].is_fresh(self._clock.now_s(), max_age_s=ask.max_age_s):
            return None, []
        return found

    def _make(self, prompt: str, llm_string: str, answer: RETURN_VAL_TYPE) -> _Made | None:
        call = served_call()
        asked, control = self._keyed(prompt, llm_string, call), self._control(call)
        if isinstance(asked, Uncacheable) or control.bypass:
            return None
        self._counters.add(made=1)
        reason = why_not_admitted(answer, wants_json=_wants_json(llm_string), schema=call.start.schema)
        payload = None if reason else encode_generations(answer)
        if payload is None:
            self._coalescer.part(asked.key)
            self._counters.add_reason("skipped", reason or "no_schema")
            _log.debug("answer not stored (%s): %s", reason or "no_schema", asked.key)
            return None
        ttl_s = self._ttl_s if control.ttl_s is None else control.ttl_s
        tags = current_tags(self._namespace, self._secret)
        header = Header(key_tag=asked.tag, created_s=int(self._clock.now_s()), ttl_s=ttl_s, tags=tags)
        return _Made((asked.key, encode_payload(payload, header, compress_over_bytes=self._compress_over_bytes)), ttl_s)

    def _give_up(self, error: Exception) -> None:
        self._counters.add_reason("failures", "internal")
        _log.warning("the cache failed and is passed by: %s", type(error).__name__, exc_info=_log.isEnabledFor(10))


def _wants_json(llm_string: str) -> bool:
    return any(word in llm_string for word in _ASKS_FOR_JSON)


class _Ask(NamedTuple):
    """What is looked up: a key and its tag, how old its answer may be, and for whom."""

    key: str
    tag: bytes
    max_age_s: float | None
    call: ServedCall


@dataclass(frozen=True, slots=True)
class _Made:
    """What is stored: a key and its entry, and for how long."""

    pair: tuple[str, bytes]
    ttl_s: int
