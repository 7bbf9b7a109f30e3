"""Callers that ask the same at once: models that answer when they are told to, processes, and who waits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr
from typing_extensions import override

from cache import CacheSettings
from tests.fakes import PATIENCE_S, CountingChatModel
from tests.integration.calling import PATIENT_S, World, auntil

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from cache import ResponseCache
    from tests.openai_server import OpenAIServer

N = 64
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


WORKER = """
import asyncio, json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from langchain_openai import ChatOpenAI
from cache import CacheSettings, ResponseCache

redis_url, base_url, namespace, world = sys.argv[1:]
n = 16
settings = CacheSettings(deadline_ms=5000)
cache = ResponseCache.from_url(redis_url, namespace=namespace, settings=settings)
model = ChatOpenAI(model="gpt-4o-mini", base_url=base_url, api_key="test", cache=cache, max_retries=0)

def say_when_all_wait():
    while cache._coalescer.flights.n_waiting() < n - 1:
        time.sleep(0.005)
    print("waiting", flush=True)

async def ask_all():
    answers = await asyncio.gather(*(model.ainvoke("hello") for _ in range(n)))
    await cache.aclose()
    return answers

threading.Thread(target=say_when_all_wait, daemon=True).start()
if world == "async":
    answers = asyncio.run(ask_all())
else:
    with ThreadPoolExecutor(n) as threads:
        answers = list(threads.map(model.invoke, ["hello"] * n))
    cache.close()
print(json.dumps([answer.content for answer in answers]), flush=True)
"""


class Worker:
    """A process in which 16 callers ask the same."""

    def __init__(self, redis_url: str, provider: OpenAIServer, namespace: str, world: World) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, redis_url, provider.base_url, namespace, world],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def all_wait(self) -> None:
        """Return when all callers but one wait."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line == "waiting\n", await asyncio.to_thread(self._process.communicate)

    async def answers(self) -> list[str]:
        """What the callers got."""
        output, errors = await asyncio.to_thread(self._process.communicate, timeout=60)
        assert (self._process.returncode, errors) == (0, "")
        answers: list[str] = json.loads(output)
        return answers

    async def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        await asyncio.to_thread(self._process.communicate)
