"""What is measured, and who takes part.

A contender is one class in `benchmarks.contenders`, with the few verbs of its base, and its name in one of the lists
here; the first of a list is the limit, and `is_ours` marks what is measured `--without-peers` too. A workload is one
class with what is timed, and its line in `workloads`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from typing_extensions import override

from benchmarks.contenders.base import AnswerCache, Batch, Contender, LeaseCache, VectorCache
from benchmarks.contenders.ours import OurAnswers, OurLeases, OurRawAnswers, OurVectors
from benchmarks.contenders.peers import (
    CashewsAnswers,
    CashewsVectors,
    ClassicAnswers,
    ClassicVectors,
    RedisAnswers,
    RedisvlVectors,
)
from benchmarks.contenders.wire import (
    AnswerLimit,
    LeaseLimit,
    NaiveAnswers,
    NaiveVectors,
    PipelineLimit,
    VectorLimit,
)
from benchmarks.speed.samples import LLM_STRING, Batches, Question, prompt_of, question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers import ValkeyServer

Cache = TypeVar("Cache", bound=Contender)

VECTORS: tuple[type[VectorCache], ...] = (
    VectorLimit,
    OurVectors,
    ClassicVectors,
    RedisvlVectors,
    CashewsVectors,
    NaiveVectors,
)
ANSWERS: tuple[type[AnswerCache], ...] = (
    AnswerLimit,
    OurAnswers,
    RedisAnswers,
    ClassicAnswers,
    CashewsAnswers,
    NaiveAnswers,
)
LONG_ANSWERS: tuple[type[AnswerCache], ...] = (
    AnswerLimit,
    OurAnswers,
    OurRawAnswers,
    RedisAnswers,
    ClassicAnswers,
    CashewsAnswers,
    NaiveAnswers,
)
LEASES: tuple[type[LeaseCache], ...] = (LeaseLimit, OurLeases)


GIVE_BACK_S = 0.003  # a lease is given back in the background


class WrongAnswerError(Exception):
    """A contender does not give what it was given."""


class Workload(ABC, Generic[Cache]):
    """What contenders are measured at.

    Attributes:
        name: what it is called.
        n_calls: made in a turn, one after the other; their median counts.
        contenders: who takes part; the first is the limit.
        is_async: whether what `call` gives is to be awaited.
        server_args: of the Valkey server.
    """

    contenders: Sequence[type[Cache]]
    server_args: Sequence[str] = ()

    def __init__(self, name: str, n_calls: int, *, is_async: bool = False) -> None:
        self.name = name
        self.n_calls = n_calls
        self.is_async = is_async

    @abstractmethod
    def begin(self, cache: Cache) -> None:
        """Store what will be read, and prove that the contender reads what it has written."""

    def before_turn(self, server: ValkeyServer) -> None:
        """Prepare a turn; not timed."""

    def before_call(self, cache: Cache) -> None:
        """Prepare a call; not timed."""

    @abstractmethod
    def call(self, cache: Cache) -> Any:
        """What is timed."""

    def after_call(self, cache: Cache) -> None:
        """Clear up after a call; not timed."""


class Reading(Workload[VectorCache]):
    """Vectors that are all there."""

    contenders: Sequence[type[Any]] = VECTORS

    def __init__(self, batches: Batches, n: int, n_calls: int, *, is_async: bool = False) -> None:
        super().__init__(f"{n} vector hit{'s' * (n > 1)}{', asyncio' * is_async}", n_calls, is_async=is_async)
        self._batch = batches.new(n)

    @override
    def begin(self, cache: VectorCache) -> None:
        cache.write(self._batch)
        check_vectors(cache, self._batch)

    @override
    def call(self, cache: VectorCache) -> Any:
        return cache.aread(self._batch.texts) if self.is_async else cache.read(self._batch.texts)


class Writing(Workload[VectorCache]):
    """Vectors that are not there, each time others, on an empty server."""

    contenders: Sequence[type[Any]] = VECTORS

    def __init__(self, batches: Batches, n: int) -> None:
        super().__init__(f"{n} vectors written", 1)
        self._batches, self._n = batches, n
        self._batch = batches.new(n)

    @override
    def begin(self, cache: VectorCache) -> None:
        few = self._batches.new(16)
        cache.write(few)
        check_vectors(cache, few)

    @override
    def before_turn(self, server: ValkeyServer) -> None:
        server.command("FLUSHALL", "SYNC")
        self._batch = self._batches.new(self._n)

    @override
    def call(self, cache: VectorCache) -> Any:
        return cache.write(self._batch)


class WritingWithoutMsetex(Writing):
    """The same on a server that is older than MSETEX."""

    contenders: Sequence[type[Any]] = (PipelineLimit, OurVectors)
    server_args = ("--rename-command", "MSETEX", "")

    def __init__(self, batches: Batches, n: int) -> None:
        super().__init__(batches, n)
        self.name += ", no MSETEX"


class Answering(Workload[AnswerCache]):
    """An answer that is there."""

    contenders: Sequence[type[Any]] = ANSWERS

    def __init__(self, kib: int, n_calls: int, *, is_async: bool = False) -> None:
        super().__init__(f"chat answer {kib} KB, hit{', asyncio' * is_async}", n_calls, is_async=is_async)
        self._question = question(1024 * kib)

    @override
    def begin(self, cache: AnswerCache) -> None:
        asked = self._question
        cache.update(asked.prompt, asked.llm_string, asked.answer)
        check_answer(cache, asked)

    @override
    def call(self, cache: AnswerCache) -> Any:
        lookup = cache.alookup if self.is_async else cache.lookup
        return lookup(self._question.prompt, self._question.llm_string)


class LongAnswering(Answering):
    """The same, where reading what was compressed is most of the work: by this project without it, too."""

    contenders: Sequence[type[Any]] = LONG_ANSWERS


class Updating(Answering):
    """An answer that is written, again and again."""

    def __init__(self, kib: int, n_calls: int) -> None:
        super().__init__(kib, n_calls)
        self.name = f"chat answer {kib} KB, update"

    @override
    def call(self, cache: AnswerCache) -> Any:
        return cache.update(self._question.prompt, self._question.llm_string, self._question.answer)


class Missing(Workload[LeaseCache]):
    """An answer that is not there, and that nobody else is making: who asks takes the lease."""

    contenders: Sequence[type[Any]] = LEASES

    def __init__(self, batches: Batches, n_calls: int) -> None:
        super().__init__("miss that takes the lease", n_calls)
        self._batches = batches
        self._prompt = ""

    @override
    def begin(self, cache: LeaseCache) -> None:
        self.before_call(cache)
        self.call(cache)
        if not cache.has_lease():
            raise WrongAnswerError(f"{cache.title} does not have the lease of what it has missed")
        self.after_call(cache)

    @override
    def before_call(self, cache: LeaseCache) -> None:
        self._prompt = prompt_of(self._batches.text())
        cache.begin_run()

    @override
    def call(self, cache: LeaseCache) -> Any:
        return cache.miss(self._prompt, LLM_STRING)

    @override
    def after_call(self, cache: LeaseCache) -> None:
        cache.end_run()
        time.sleep(GIVE_BACK_S)  # for all, as a rest makes the next call slower


def check_vectors(cache: VectorCache, batch: Batch) -> None:
    """Raise a `WrongAnswerError` unless a contender has these vectors, bit by bit."""
    if not np.array_equal(cache.read(batch.texts), batch.array):
        raise WrongAnswerError(f"{cache.title} reads other vectors than it has written")


def check_answer(cache: AnswerCache, asked: Question) -> None:
    """Raise a `WrongAnswerError` unless a contender has this answer."""
    found = cache.lookup(asked.prompt, asked.llm_string)
    if not found or found[0].text != asked.answer[0].text:
        raise WrongAnswerError(f"{cache.title} reads another answer than it has written")


def workloads() -> list[Workload[Any]]:
    """All of them, in the order of the table."""
    batches = Batches()
    return [
        Reading(batches, 256, 3),
        Reading(batches, 2048, 1),
        Reading(batches, 1, 100),
        Reading(batches, 256, 3, is_async=True),
        Reading(batches, 1, 100, is_async=True),
        Writing(batches, 256),
        Writing(batches, 2048),
        WritingWithoutMsetex(batches, 2048),
        Answering(2, 100),
        Answering(2, 100, is_async=True),
        LongAnswering(20, 100),
        LongAnswering(20, 100, is_async=True),
        Updating(2, 100),
        Updating(20, 100),
        Missing(batches, 30),
    ]
