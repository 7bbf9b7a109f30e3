"""Callers that ask the same at once: models that answer when they are told to, processes, and who waits."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr, SecretStr
from typing_extensions import override

from cache import CacheSettings, ResponseCache, cached
from tests.fakes import PATIENCE_S, CountingChatModel
from tests.integration.calling import PATIENT_S, World, auntil, until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from tests.openai_server import OpenAIServer

N, N_IN_WORKER = 64, 16
SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))


class Gate:
    """What requests wait at; how many came, in all and until now."""

    def __init__(self) -> None:
        self._is_open = threading.Event()
        self._lock = threading.Lock()
        self._n_free = 0
        self.n_requests = 0
        self.errors: list[Exception] = []

    def open(self) -> None:
        self._is_open.set()

    def let_pass(self, n: int) -> None:
        """Let so many requests that come from now on pass by."""
        self._n_free = n

    def arrive(self) -> bool:
        """Count a request; say whether it may pass by."""
        with self._lock:
            self.n_requests += 1
            self._n_free -= 1
            return self._n_free >= 0

    async def arrived(self, n: int) -> None:
        """Return when so many requests have come."""

        async def holds() -> bool:
            return self.n_requests >= n

        await auntil(holds)

    def wait(self) -> None:
        if not self.arrive():
            assert self._is_open.wait(PATIENCE_S)
        self._fail()

    async def await_(self) -> None:
        if not self.arrive():
            async with asyncio.timeout(PATIENCE_S):
                while not self._is_open.is_set():  # noqa: ASYNC110  it may be opened by a thread
                    await asyncio.sleep(0.001)
        self._fail()

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop()


class GatedModel(CountingChatModel):
    """A chat model that answers once its gate is open."""

    _gate: Gate = PrivateAttr(default_factory=Gate)

    @property
    def gate(self) -> Gate:
        return self._gate

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self._gate.wait()
        return self._answer(messages)

    @override
    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await self._gate.await_()
        return self._answer(messages)


def n_waiting(cache: ResponseCache) -> int:
    return cache._coalescer.flights.n_waiting()


async def all_wait(cache: ResponseCache, n: int) -> None:
    """Return when so many callers wait."""

    async def holds() -> bool:
        return n_waiting(cache) == n

    await auntil(holds)


def texts(answers: list[Any]) -> set[str]:
    return {answer.content for answer in answers}


class Worker:
    """A process in which 16 callers ask the same, in tasks or in threads.

    Args:
        redis_url: where the processes agree.
        provider: whom they ask.
        namespace: of the cache.
        world: whether the callers are threads or tasks.
        streams: whether the answers are streamed.
    """

    def __init__(
        self, redis_url: str, provider: OpenAIServer, namespace: str, world: World, *, streams: bool = False
    ) -> None:
        self._pipe, far_end = _processes.Pipe()
        given: dict[str, Any] = {"redis_url": redis_url, "base_url": provider.base_url, "namespace": namespace}
        given |= {"world": world, "streams": streams}
        self._process = _processes.Process(target=_work, args=(far_end,), kwargs=given, daemon=True)
        self._process.start()
        far_end.close()

    async def all_wait(self) -> None:
        """Return when all callers but one wait."""
        assert await asyncio.to_thread(self._pipe.recv) == "all wait"

    async def answers(self) -> list[str]:
        """What the callers got."""
        answers: list[str] = await asyncio.to_thread(self._pipe.recv)
        await self._end()
        assert self._process.exitcode == 0
        return answers

    async def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        await self._end()

    async def _end(self) -> None:
        await asyncio.to_thread(self._process.join, PATIENCE_S)
        self._pipe.close()


# What is imported takes seconds: once, in a process of which all others are forked.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["langchain_openai", "cache.chat", "tests.fakes"])


def _work(pipe: Connection, *, redis_url: str, base_url: str, namespace: str, world: World, streams: bool) -> None:
    from langchain_openai import ChatOpenAI  # noqa: PLC0415  the tests' own process may not need it

    cache = ResponseCache.from_url(redis_url, namespace=namespace, settings=SETTINGS)
    key = SecretStr("test")
    model = cached(ChatOpenAI(model="gpt-4o-mini", base_url=base_url, api_key=key, cache=cache, max_retries=0))

    def ask() -> str:
        return "".join(str(chunk.content) for chunk in model.stream("hello")) if streams else model.invoke("hello").text

    async def aask() -> str:
        if not streams:
            return (await model.ainvoke("hello")).text
        return "".join([str(chunk.content) async for chunk in model.astream("hello")])

    async def ask_all() -> list[str]:
        answers = await asyncio.gather(*(aask() for _ in range(N_IN_WORKER)))
        await cache.aclose()
        return answers

    def say_when_all_wait() -> None:
        until(lambda: n_waiting(cache) == N_IN_WORKER - 1)
        pipe.send("all wait")

    threading.Thread(target=say_when_all_wait, daemon=True).start()
    if world is World.ASYNC:
        answers = asyncio.run(ask_all())
    else:
        with ThreadPoolExecutor(N_IN_WORKER) as threads:
            answers = [call.result() for call in [threads.submit(ask) for _ in range(N_IN_WORKER)]]
        cache.close()
    pipe.send(answers)
