"""What an application does with its caches, and what it must get, whatever happens to the server."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.counters import Counters
from cache.json_cache import JsonCache
from cache.keys import Key, Kind
from cache.opening import open_store
from cache.sessions import Sessions
from tests.fakes import CountingChatModel, CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_core.language_models import LanguageModelInput

N_SUBJECTS = 30
PLAIN = "plain"  # what keys of bytes without a header begin with: nothing tells when such an entry is damaged
TEXTS_IN_BATCH = 5
LONG_CHARS, SHORT_CHARS = 20_000, 20  # some answers come in many pieces, most in one
TTL_S = 600
SETTINGS = CacheSettings(flight_wait_s=1.0)


@dataclass(frozen=True)
class Operation:
    """Something that an application asks of a cache, in both worlds.

    Attributes:
        name: what is done.
        call: does it.
        acall: does it on an event loop.
        hit: the answer when the cache works.
        miss: what else is right, because the store may fail.
    """

    name: str
    call: Callable[[], object]
    acall: Callable[[], Awaitable[object]]
    hit: object
    miss: object

    def is_right(self, answer: object) -> bool:
        """Say whether an answer may be given; of a list of which a part is missing, each item."""
        if isinstance(answer, list) and isinstance(self.hit, list) and isinstance(self.miss, list):
            pairs = zip(answer, self.hit, self.miss, strict=False)
            return len(answer) == len(self.hit) and all(item in (hit, miss) for item, hit, miss in pairs)
        return answer in (self.hit, self.miss)


class Embedder(CountingEmbeddings):
    """Counts its requests without keeping them: a run may be long."""

    n_asked = 0

    @override
    def _answer(self, texts: Sequence[str], *, is_query: bool, is_async: bool) -> list[list[float]]:
        self.n_asked += 1
        return [self.vector(text, is_query=is_query) for text in texts]


class Echo(CountingChatModel):
    """Answers each prompt with what `answer_to` says; counts its requests without keeping them."""

    n_asked: int = 0

    @override
    def _answer(self, messages: list[BaseMessage]) -> ChatResult:
        self.n_asked += 1
        answer = AIMessage(answer_to(messages[-1].text), response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=answer)])


def answer_to(prompt: str) -> str:
    """The only right answer: long for some prompts, and nothing that compresses well."""
    n_chars = LONG_CHARS if prompt.endswith("0") else SHORT_CHARS
    return f"{prompt}: {random.Random(prompt).randbytes(n_chars // 2).hex()}"


class Application:
    """Embeddings, a chat model, matches and sessions on one store that fails open.

    Args:
        url: of the store.
        namespace: applications with the same one share their entries.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.store = open_store(SETTINGS, url=url)
        self._embedder = Embedder()
        self._embeddings = CacheBackedEmbeddings(
            self._embedder, self.store, model="counting", namespace=namespace, settings=SETTINGS
        )
        self._chat = Echo(cache=ResponseCache(self.store, namespace=namespace, settings=SETTINGS))
        self._namespace = namespace
        common: dict[str, Any] = {"settings": SETTINGS, "counters": Counters()}
        self._sessions = Sessions(self.store, namespace=namespace, **common)
        self._matches = JsonCache(Kind.JOB_MATCH, self.store, **common)
        made = (self._embedding, self._query, self._answer, self._session, self._match, self._bytes)
        self.operations = [one for n in range(N_SUBJECTS) for make in made for one in make(n)]

    @property
    def n_upstream(self) -> int:
        """How many requests the models were asked to serve."""
        return self._embedder.n_asked + self._chat.n_asked

    def _embedding(self, n: int) -> list[Operation]:
        texts = [f"text {number}" for number in range(n, n + TEXTS_IN_BATCH)]
        right = [self._embedder.vector(text) for text in texts]
        embed, aembed = self._embeddings.embed_documents, self._embeddings.aembed_documents
        return [Operation(f"embed {n}", lambda: embed(texts), lambda: aembed(texts), right, right)]

    def _query(self, n: int) -> list[Operation]:
        text = f"query {n}"
        right = self._embedder.vector(text, is_query=True)
        embed, aembed = self._embeddings.embed_query, self._embeddings.aembed_query
        return [Operation(f"embed query {n}", lambda: embed(text), lambda: aembed(text), right, right)]

    def _answer(self, n: int) -> list[Operation]:
        prompt = f"prompt {n}"
        right = answer_to(prompt)

        async def ask() -> str:
            return (await self._chat.ainvoke(_asked(prompt))).text

        return [Operation(f"ask {n}", lambda: self._chat.invoke(_asked(prompt)).text, ask, right, right)]

    def _session(self, n: int) -> list[Operation]:
        name, data = f"session {n}", {"data": answer_to(f"session {n}")}
        sessions = self._sessions
        return [
            Operation(f"keep {name}", lambda: sessions.set(name, data), lambda: sessions.aset(name, data), True, False),
            Operation(f"get {name}", lambda: sessions.get(name), lambda: sessions.aget(name), data, None),
        ]

    def _match(self, n: int) -> list[Operation]:
        key = Key(Kind.JOB_MATCH, content_hash=f"{n:032x}", namespace=self._namespace)
        data = [n, answer_to(f"match {n}")]
        matches = self._matches
        return [
            Operation(f"keep match {n}", lambda: matches.set(key, data), lambda: matches.aset(key, data), True, False),
            Operation(f"get match {n}", lambda: matches.get(key), lambda: matches.aget(key), data, None),
        ]

    def _bytes(self, n: int) -> list[Operation]:
        """Bytes as they are: no header tells whose they are, so an answer meant for another caller shows."""
        keys = [f"{PLAIN}:{self._namespace}:{number}" for number in range(n, n + TEXTS_IN_BATCH)]
        values = [answer_to(key).encode() for key in keys]
        pairs = list(zip(keys, values, strict=True))
        save, asave = self.store.save, self.store.asave
        mget, amget = self.store.mget, self.store.amget
        missing = [None] * len(keys)
        return [
            Operation(f"save {keys}", lambda: save(pairs, ttl_s=TTL_S), lambda: asave(pairs, ttl_s=TTL_S), True, False),
            Operation(f"mget {keys}", lambda: mget(keys), lambda: amget(keys), values, missing),
        ]


def _asked(prompt: str) -> LanguageModelInput:
    return prompt
