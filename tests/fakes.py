"""Stand-ins that behave like the real thing and say what they were asked; no mock objects.

`FakeClock` moves when told, `CountingEmbeddings` and `CountingChatModel` are models without a network, `BrokenStore` is
a store that fails until it is healed, `SeveralServers` is one of which a part can fail.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence  # noqa: TC003  pydantic reads it at run time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import override

from cache.errors import PartialFailureError
from cache.stores.base import Store
from cache.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from cache.errors import StoreError
    from cache.stores.base import Payload

START_S = 1_800_000_000.0
PATIENCE_S = 20.0  # the longest that a test waits for an event


class FakeClock:
    """A clock that stands still until it is told to move.

    Args:
        now_s: seconds since the epoch at the start.
        monotonic_s: the other clock's reading at the start.
    """

    def __init__(self, now_s: float = START_S, monotonic_s: float = 1000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = monotonic_s

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now_s += seconds
        self._monotonic_s += seconds


class Fault(StrEnum):
    """What an embedding provider can answer instead of what was asked for."""

    ERROR = "error"  # raises
    SHORT = "short"  # one vector too few
    LONG = "long"  # one vector too many
    NAN = "nan"  # a NaN in the last vector
    INFINITE = "infinite"  # a number too large for float32 in the last vector
    RAGGED = "ragged"  # the last vector is one number shorter; with one vector it is an empty one
    OTHER_WIDTH = "other_width"  # all vectors are one number wider
    NOT_NUMBERS = "not_numbers"  # words where numbers belong


class ProviderDownError(RuntimeError):
    """What `Fault.ERROR` raises."""


class Request(NamedTuple):
    """One request that a model was asked to serve."""

    texts: tuple[str, ...]
    is_query: bool
    is_async: bool


class CountingEmbeddings(Embeddings):
    """An embedding model whose vectors follow from a hash of the text, and which counts what it is asked.

    Its public attributes are what a vector depends on, so that they may stand in a cache's key; what it counted is
    not among them.

    Args:
        width: numbers in a vector.
        model: part of the hash.
        separate_queries: whether a query gets another vector than a document of the same text.
        faults: what goes wrong, by the number of the request; the first is 0.
        on_request: called at the start of every request, for example to move a clock.
    """

    def __init__(
        self,
        width: int = 8,
        *,
        model: str = "counting",
        separate_queries: bool = True,
        faults: Mapping[int, Fault] | None = None,
        on_request: Callable[[], object] | None = None,
    ) -> None:
        self.width = width
        self.model = model
        self.separate_queries = separate_queries
        self._faults = dict(faults or {})
        self._on_request = on_request
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    @property
    def requests(self) -> list[Request]:
        """Every request, in order; those that failed too."""
        return list(self._requests)

    @property
    def n_requests(self) -> int:
        """How many requests came."""
        return len(self._requests)

    @property
    def n_texts(self) -> int:
        """How many texts came in all of them."""
        return sum(len(request.texts) for request in self._requests)

    def vector(self, text: str, *, is_query: bool = False) -> list[float]:
        """The vector of a text, without a request: float32 numbers in [-1, 1)."""
        role = "query" if is_query and self.separate_queries else "document"
        seed = f"{self.model}\x1f{role}\x1f{self.width}\x1f{text}".encode("utf-8", "surrogatepass")
        words = np.frombuffer(hashlib.shake_256(seed).digest(4 * self.width), dtype="<i4")
        numbers: list[float] = (words / 2**31).astype(np.float32).tolist()
        return numbers

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._answer(texts, is_query=False, is_async=False)

    @override
    def embed_query(self, text: str) -> list[float]:
        answer = self._answer([text], is_query=True, is_async=False)
        return answer[0] if answer else []

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._answer(texts, is_query=False, is_async=True)

    @override
    async def aembed_query(self, text: str) -> list[float]:
        answer = self._answer([text], is_query=True, is_async=True)
        return answer[0] if answer else []

    def _answer(self, texts: Sequence[str], *, is_query: bool, is_async: bool) -> list[list[float]]:
        with self._lock:
            fault = self._faults.get(len(self._requests))
            self._requests.append(Request(tuple(texts), is_query, is_async))
        if self._on_request:
            self._on_request()
        return _spoil([self.vector(text, is_query=is_query) for text in texts], fault)


def _spoil(vectors: list[list[float]], fault: Fault | None) -> list[list[float]]:
    if fault is Fault.ERROR:
        raise ProviderDownError("the provider is down")
    return vectors if fault is None else _SPOILED[fault](vectors)


_SPOILED: dict[Fault, Callable[[list[list[float]]], list[list[Any]]]] = {
    Fault.SHORT: lambda vectors: vectors[:-1],
    Fault.LONG: lambda vectors: [*vectors, vectors[0]],
    Fault.NAN: lambda vectors: [*vectors[:-1], [*vectors[-1][:-1], float("nan")]],
    Fault.INFINITE: lambda vectors: [*vectors[:-1], [*vectors[-1][:-1], 1e39]],
    Fault.RAGGED: lambda vectors: [*vectors[:-1], vectors[-1][:-1] if len(vectors) > 1 else []],
    Fault.OTHER_WIDTH: lambda vectors: [[*vector, 0.5] for vector in vectors],
    Fault.NOT_NUMBERS: lambda vectors: [["not", "numbers"] for _ in vectors],
}


class CountingChatModel(BaseChatModel):
    """A chat model that gives scripted answers in turn, the last one again and again, and counts what it is asked.

    Attributes:
        model_name: part of what identifies it.
        temperature: part of what identifies it.
        answers: what it answers; an exception is raised.
        n_answers: how many generations each request gets.
    """

    model_name: str = "counting-chat"
    temperature: float = 0.0
    answers: Sequence[AIMessage | Exception] = Field(default_factory=lambda: [AIMessage("fine")])
    n_answers: int = 1
    _requests: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    @override
    def _llm_type(self) -> str:
        return "counting-chat-model"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature, "n_answers": self.n_answers}

    @property
    def requests(self) -> list[list[BaseMessage]]:
        """The messages of every request, in order; those that failed too."""
        return list(self._requests)

    @property
    def n_requests(self) -> int:
        """How many requests came."""
        return len(self._requests)

    @override
    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._answer(messages)

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._answer(messages)

    def _answer(self, messages: list[BaseMessage]) -> ChatResult:
        with self._lock:
            answer = self.answers[min(len(self._requests), len(self.answers) - 1)]
            self._requests.append(list(messages))
        if isinstance(answer, Exception):
            raise answer
        return ChatResult(
            generations=[ChatGeneration(message=answer.model_copy(deep=True)) for _ in range(self.n_answers)]
        )


class BrokenStore(Store):
    """A store whose verbs raise a given error until it is healed; then it is the inner store.

    Args:
        error: what the verbs raise.
        inner: what it is once healed; an empty `MemoryStore` if nothing is given.
        verbs: which verbs are broken, by their synchronous names; all of them if nothing is given.
    """

    def __init__(self, error: StoreError, *, inner: Store | None = None, verbs: Collection[str] | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.asked: list[str] = []
        self._error: StoreError | None = error
        self._verbs = verbs

    def heal(self) -> None:
        """Work from now on."""
        self._error = None

    def break_with(self, error: StoreError) -> None:
        """Raise this from now on."""
        self._error = error

    def n_asked(self, verb: str) -> int:
        """How often a verb was called, by its own name: `mget` and `amget` are counted apart."""
        return self.asked.count(verb)

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self._ask("mget")
        return self.inner.mget(keys, expect_bytes=expect_bytes)

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self._ask("amget")
        return await self.inner.amget(keys, expect_bytes=expect_bytes)

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self._ask("mset")
        self.inner.mset(key_value_pairs, ttl_s=ttl_s)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self._ask("amset")
        await self.inner.amset(key_value_pairs, ttl_s=ttl_s)

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        self._ask("mdelete")
        self.inner.mdelete(keys)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        self._ask("amdelete")
        await self.inner.amdelete(keys)

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        self._ask("mpeek")
        return self.inner.mpeek(keys, n_bytes)

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        self._ask("ampeek")
        return await self.inner.ampeek(keys, n_bytes)

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        self._ask("yield_keys")
        yield from self.inner.yield_keys(prefix=prefix)

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        self._ask("ayield_keys")
        async for key in self.inner.ayield_keys(prefix=prefix):
            yield key

    @override
    def ping(self) -> None:
        self._ask("ping")
        self.inner.ping()

    @override
    async def aping(self) -> None:
        self._ask("aping")
        await self.inner.aping()

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        is_broken = self._verbs is None or verb in self._verbs or verb.removeprefix("a") in self._verbs
        if self._error is not None and is_broken:
            raise self._error


class SeveralServers(MemoryStore):
    """A store on several servers, named by the first letter of their keys, of which some fail.

    Attributes:
        failing: what each server that fails raises.
        asked: the keys of each verb that reached the store, in order.
        is_known: whether it says which server a key is on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, StoreError] = {}
        self.asked: list[list[str]] = []
        self.is_known = True

    @override
    def servers_of(self, keys: Sequence[str]) -> list[str]:
        return [key[0] if self.is_known else "" for key in keys]

    @override
    def ping_server(self, server: str) -> None:
        if server in self.failing:
            raise self.failing[server]

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self._raise_alone(keys)
        values = [
            None if key[0] in self.failing else value for key, value in zip(keys, super().mget(keys), strict=True)
        ]
        self._raise_part(keys, values)
        return values

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return self.mget(keys, expect_bytes=expect_bytes)

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        keys = [key for key, _ in key_value_pairs]
        self._raise_alone(keys)
        super().mset([pair for pair in key_value_pairs if pair[0][0] not in self.failing], ttl_s=ttl_s)
        self._raise_part(keys, [None] * len(keys))

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self.mset(key_value_pairs, ttl_s=ttl_s)

    def _raise_alone(self, keys: Sequence[str]) -> None:
        self.asked.append(list(keys))
        if len({key[0] for key in keys}) == 1 and keys[0][0] in self.failing:
            raise self._failure(keys[0][0])

    def _raise_part(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        failures = [self._failure(server) for server in dict.fromkeys(key[0] for key in keys) if server in self.failing]
        if failures:
            n_done = sum(key[0] not in self.failing for key in keys)
            raise PartialFailureError.of(failures, values=values, n_done=n_done)

    def _failure(self, server: str) -> StoreError:
        error = self.failing[server]
        error.server = server
        return error


class Probers:
    """The threads of breakers that look for their servers, apart from those that ran before."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def running(self) -> list[threading.Thread]:
        """Those that run now."""
        return [one for one in threading.enumerate() if one.name == "resumecache-probe" and one not in self._before]

    def join(self) -> None:
        """Wait until all have ended; fail if one does not."""
        for thread in self.running():
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
