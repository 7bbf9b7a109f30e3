"""What can be asked of a cache, and the only right answers; models that need no network."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typing_extensions import override

from tests.fakes import CountingChatModel, CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

TEXTS_IN_BATCH = 5
FLIGHT_WAIT_S = 1.0  # that a caller waits for another's computation
PROVIDER_S = 5.0  # after which clients of a provider give up
LONG_CHARS, SHORT_CHARS = 20_000, 20  # some answers come in many pieces, most in one


@dataclass(frozen=True)
class Operation:
    """Something that an application asks of a cache, in both worlds.

    Attributes:
        name: what is done.
        call: does it.
        acall: does it on an event loop.
        hit: the answer when the cache works.
        miss: what else is right, because the store may fail.
        asks_provider: whether it may end with an error of the provider, whose client belongs to one event loop.
    """

    name: str
    call: Callable[[], object]
    acall: Callable[[], Awaitable[object]]
    hit: object
    miss: object
    asks_provider: bool = False

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
