"""What an application does with its caches, and what it must get, whatever happens to the server."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import openai
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, cached
from cache.counters import Counters
from cache.json_cache import JsonCache
from cache.keys import Key, Kind
from cache.sessions import Sessions
from tests.chaos.operations import FLIGHT_WAIT_S, PROVIDER_S, TEXTS_IN_BATCH, Echo, Embedder, Operation, answer_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk

    from cache.wrappers import FailOpenStore
    from tests.openai_server import OpenAIServer

N_SUBJECTS, N_REMOTE = 30, 6
PLAIN = "plain"  # what keys of bytes without a header begin with: nothing tells when such an entry is damaged
TTL_S = 600
SETTINGS = CacheSettings(flight_wait_s=FLIGHT_WAIT_S)


class Provider:
    """A provider that fails at times, and knows when it did.

    Args:
        server: the provider, started.

    Attributes:
        base_url: of its clients.
        n_asked: how many answers it has given.
        errors: what its clients meet while it fails.
    """

    errors = openai.APIError

    def __init__(self, server: OpenAIServer) -> None:
        self.base_url = server.base_url
        self.n_asked = 0
        self._server = server
        self._failed_until_s = -math.inf
        server.script_chat(self._answer)

    @contextlib.contextmanager
    def failing(self, begin: Callable[[OpenAIServer], None]) -> Iterator[None]:
        """A block in which it fails."""
        self._failed_until_s = math.inf
        begin(self._server)
        try:
            yield
        finally:
            self._server.recover()
            self._failed_until_s = time.monotonic()

    def has_failed_since(self, started_s: float) -> bool:
        """Say whether it has failed at any time since then, on the monotonic clock."""
        return self._failed_until_s >= started_s

    def forget_requests(self) -> None:
        """Keep the memory of a long run flat."""
        self._server.requests.clear()

    def _answer(self, body: dict[str, Any]) -> str:
        self.n_asked += 1
        return answer_to(body["messages"][-1]["content"])


class Application:
    """Embeddings, chat models, matches and sessions on one store that fails open.

    Args:
        store: where entries are; closed at the end.
        namespace: applications with the same one share their entries.
        provider: says what `answer_to` does.
    """

    def __init__(self, store: FailOpenStore, namespace: str, provider: Provider) -> None:
        self.store = store
        self._embedder = Embedder()
        self._embeddings = CacheBackedEmbeddings(
            self._embedder, self.store, model="counting", namespace=namespace, settings=SETTINGS
        )
        responses = ResponseCache(self.store, namespace=namespace, settings=SETTINGS)
        self._chat = Echo(cache=responses)
        self._provider = provider
        self._remote = cached(
            ChatOpenAI(
                model="remote", base_url=provider.base_url, api_key=SecretStr("-"), max_retries=0, timeout=PROVIDER_S,
                cache=responses,
            )
        )  # fmt: skip
        self._namespace = namespace
        counters = Counters()
        self._counts = counters.snapshot, store.counters.snapshot, self._embeddings.counts, responses.counts
        common: dict[str, Any] = {"settings": SETTINGS, "counters": counters}
        self._sessions = Sessions(self.store, namespace=namespace, **common)
        self._matches = JsonCache(Kind.JOB_MATCH, self.store, **common)
        made = (self._embedding, self._query, self._answer, self._session, self._match, self._bytes)
        self.operations = [one for n in range(N_SUBJECTS) for make in made for one in make(n)]
        self.operations += [one for n in range(N_REMOTE) for one in self._remote_answer(n)]

    @property
    def n_upstream(self) -> int:
        """How many requests its models were asked to serve, apart from the provider's."""
        return self._embedder.n_asked + self._chat.n_asked

    @property
    def failures(self) -> Counter[str]:
        """How often its store failed it, by reason."""
        return sum((Counter(counts().failures) for counts in self._counts), Counter())

    async def aclose(self) -> None:
        """Close the store, and the clients of the provider."""
        await self.store.aclose()
        self._remote.root_client.close()
        await self._remote.root_async_client.close()

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

    def _remote_answer(self, n: int) -> list[Operation]:
        """Of a provider that may fail: whole, and as a stream."""
        prompt = f"remote {n}"
        right, model = answer_to(prompt), self._remote

        async def ask() -> str:
            return (await model.ainvoke(_asked(prompt))).text

        async def read() -> str:
            return "".join([chunk.text async for chunk in model.astream(_asked(prompt))])

        return [
            Operation(f"ask {prompt}", lambda: model.invoke(_asked(prompt)).text, ask, right, right, True),
            Operation(f"stream {prompt}", lambda: _joined(model.stream(_asked(prompt))), read, right, right, True),
        ]

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


def _joined(chunks: Iterator[AIMessageChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def _asked(prompt: str) -> LanguageModelInput:
    return prompt
