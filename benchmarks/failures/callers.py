"""Ways to call: from a thread, and on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from typing_extensions import override

if TYPE_CHECKING:
    from concurrent.futures import Future

    from benchmarks.failures.contenders import Contender

N_THREADS = 32


class Call(NamedTuple):
    """One measured call.

    Attributes:
        ms: how long it took.
        is_hit: whether the cache had the answer.
        error: the class of what it raised; empty where it raised nothing.
    """

    ms: float
    is_hit: bool
    error: str = ""


class Way(Protocol):
    """One way to call."""

    name: str

    def call(self, contender: Contender, question: list[str]) -> Call:
        """Do the operation and take its time."""

    def submit(self, contender: Contender, question: list[str]) -> Future[Call]:
        """As `call`, while this thread goes on."""

    def end(self, contender: Contender) -> None:
        """Close the cache."""

    def close(self) -> None:
        """Give back what is held."""


class Blocking(Way):
    """Calls from this thread, or from one of a few."""

    name = "sync"

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(N_THREADS)

    @override
    def call(self, contender: Contender, question: list[str]) -> Call:
        start_s = time.perf_counter()
        try:
            is_hit = contender.ask(question)
        except Exception as error:  # noqa: BLE001  whatever a cache raises is what its caller meets
            return Call(1000 * (time.perf_counter() - start_s), is_hit=False, error=type(error).__name__)
        return Call(1000 * (time.perf_counter() - start_s), is_hit)

    @override
    def submit(self, contender: Contender, question: list[str]) -> Future[Call]:
        return self._threads.submit(self.call, contender, question)

    @override
    def end(self, contender: Contender) -> None:
        contender.close()

    @override
    def close(self) -> None:
        self._threads.shutdown()


class Looping(Way):
    """Calls on an event loop in a thread of its own, which goes on between them as in a service."""

    name = "async"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")
        self._thread.start()

    @override
    def call(self, contender: Contender, question: list[str]) -> Call:
        return self.submit(contender, question).result()

    @override
    def submit(self, contender: Contender, question: list[str]) -> Future[Call]:
        return asyncio.run_coroutine_threadsafe(self._call(contender, question), self._loop)

    async def _call(self, contender: Contender, question: list[str]) -> Call:
        start_s = time.perf_counter()
        try:
            is_hit = await contender.aask(question)
        except Exception as error:  # noqa: BLE001  whatever a cache raises is what its caller meets
            return Call(1000 * (time.perf_counter() - start_s), is_hit=False, error=type(error).__name__)
        return Call(1000 * (time.perf_counter() - start_s), is_hit)

    @override
    def end(self, contender: Contender) -> None:
        asyncio.run_coroutine_threadsafe(contender.aclose(), self._loop).result()

    @override
    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
