"""What a contender of the speed benchmark is: one class with a few verbs, in a list of `benchmarks.speed.workloads`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import redis
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from langchain_core.outputs import Generation

FloatArray = npt.NDArray[np.float32]
MODEL = "text-embedding-3-small"
TTL_S = 3600


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts and their vectors, ready in both forms: making one from the other is no part of what is measured.

    Attributes:
        texts: n of them.
        array: float32, shape (n, d).
        lists: the same numbers.
    """

    texts: list[str]
    array: FloatArray
    lists: list[list[float]]


class Contender(ABC):
    """Something that keeps values on a server.

    Args:
        url: of the server.

    Attributes:
        title: how it is called.
        package: what has to be installed; empty where that is this project.
        is_ours: whether it is of this project.
        needs_json: whether its server must have RedisJSON, which Valkey lacks.
    """

    title: ClassVar[str]
    package: ClassVar[str] = ""
    is_ours: ClassVar[bool] = False
    needs_json: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def installed(cls) -> str | None:
        """The version of its package; `None` where it is not installed."""
        try:
            return version(cls.package or "resumecache")
        except PackageNotFoundError:
            return None

    @classmethod
    def has(cls, verb: str) -> bool:
        """Say whether a verb is there, which is optional."""
        return getattr(cls, verb, None) not in {None, VectorCache.aread, AnswerCache.alookup}

    async def aclose(self) -> None:  # noqa: B027  most have nothing there
        """Close what belongs to the event loop."""

    def close(self) -> None:  # noqa: B027  as above
        """Close what was opened."""


class VectorCache(Contender):
    """Keeps vectors of texts."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Keep vectors, none of which is there, for `TTL_S` seconds."""

    @abstractmethod
    def read(self, texts: Sequence[str]) -> FloatArray:
        """The vectors of texts that are all there, as one array."""

    def aread(self, texts: Sequence[str]) -> Awaitable[FloatArray]:
        """Asynchronous twin of `read`."""
        raise NotImplementedError


class AnswerCache(Contender):
    """Keeps answers of chat models; what LangChain calls a `BaseCache`."""

    @abstractmethod
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        """Keep an answer for `TTL_S` seconds."""

    @abstractmethod
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """The answer."""

    def alookup(self, prompt: str, llm_string: str) -> Awaitable[Sequence[Generation] | None]:
        """Asynchronous twin of `lookup`."""
        raise NotImplementedError


class LangChainCache(AnswerCache):
    """Any `BaseCache`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.cache = self.open(url)

    @abstractmethod
    def open(self, url: str) -> Any:
        """The cache on a server."""

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        self.cache.update(prompt, llm_string, answer)

    @override
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        found: Sequence[Generation] | None = self.cache.lookup(prompt, llm_string)
        return found

    @override
    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        found: Sequence[Generation] | None = await self.cache.alookup(prompt, llm_string)
        return found


class LeaseCache(Contender):
    """Takes the right to make what it has missed."""

    def begin_run(self) -> None:
        """Begin the run of a model, which is what asks."""

    @abstractmethod
    def miss(self, prompt: str, llm_string: str) -> None:
        """Look up what is not there, and take the lease of it."""

    def has_lease(self) -> bool:
        """Say whether there is a lease on the server."""
        with redis.Redis.from_url(self.url) as client:
            return any(client.scan_iter(match="lease:*"))

    def end_run(self) -> None:
        """End the run without an answer."""
