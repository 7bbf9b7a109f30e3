"""What an agent may spend, and which part of it is spent. Pure but for the clock that it is given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, ToolMessage

from cache import ConfigurationError
from cache.hits import HIT_MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.messages.ai import UsageMetadata


class Stop(StrEnum):
    """Why an agent has stopped."""

    DONE = "nothing more is gained"
    STEPS = "the steps are spent"
    TOOL_CALLS = "the tool calls are spent"
    TOKENS = "the tokens are spent"
    SECONDS = "the time is spent"
    MONEY = "the money is spent"
    WAITS = "an edit waits for approval"
    MODEL_FAILED = "the model failed"


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars for a million tokens."""

    input_usd: float
    output_usd: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend; a bound is checked before each step, so the last step may go beyond it.

    Answers that came from the cache count as if they were new: a run stops at the same place each time.

    Attributes:
        steps: answers of the model.
        tool_calls: calls of tools.
        tokens: of prompts and answers together; `None` is no bound.
        seconds: of one run; waiting for a person's approval is not part of it. `None` is no bound.
        usd: US dollars; `None` is no bound.
        price: of the model, needed where `usd` is given.
        refusals: how many edits in a row may be refused before nothing more is expected.

    Raises:
        ConfigurationError: a bound is not positive, or `usd` is given without a price.
    """

    steps: int = 12
    tool_calls: int = 60
    tokens: int | None = 200_000
    seconds: float | None = 300.0
    usd: float | None = None
    price: Price | None = None
    refusals: int = 6

    def __post_init__(self) -> None:
        bounds = (self.steps, self.tool_calls, self.tokens, self.seconds, self.usd, self.refusals)
        if any(bound is not None and bound <= 0 for bound in bounds):
            raise ConfigurationError(f"expected bounds above zero, got {self}")
        if self.usd is not None and self.price is None:
            raise ConfigurationError("expected the price of the model, as a bound in dollars is set")

    def spent(self, messages: Sequence[BaseMessage], elapsed_s: float) -> Stop | None:
        """Which of tokens, time and money is spent, if any."""
        if self.seconds is not None and elapsed_s >= self.seconds:
            return Stop.SECONDS
        n_input, n_output = tokens_of(messages)
        if self.tokens is not None and n_input + n_output >= self.tokens:
            return Stop.TOKENS
        cost = cost_usd((n_input, n_output), self.price)
        return Stop.MONEY if self.usd is not None and cost is not None and cost >= self.usd else None

    def limit_reached(self, messages: Sequence[BaseMessage]) -> Stop | None:
        """Which of LangChain's limits has ended a run: each adds a message of its own beyond the limit."""
        if sum(isinstance(message, ToolMessage) for message in messages) > self.tool_calls:
            return Stop.TOOL_CALLS
        return Stop.STEPS if sum(isinstance(message, AIMessage) for message in messages) > self.steps else None


def tokens_of(messages: Sequence[BaseMessage]) -> tuple[int, int]:
    """Tokens of prompts and of answers."""
    used = [usage for message in messages if isinstance(message, AIMessage) and (usage := _usage(message))]
    return sum(usage["input_tokens"] for usage in used), sum(usage["output_tokens"] for usage in used)


def _usage(message: AIMessage) -> UsageMetadata | None:
    """What an answer has cost when it was made."""
    hit = message.response_metadata.get(HIT_MARK)
    return hit["usage_metadata"] if hit else message.usage_metadata


def cost_usd(tokens: tuple[int, int], price: Price | None) -> float | None:
    """What tokens cost in US dollars; `None` where the price is not known."""
    if price is None:
        return None
    return (tokens[0] * price.input_usd + tokens[1] * price.output_usd) / 1e6
