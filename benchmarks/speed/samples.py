"""What is read and written: texts with vectors, and questions with answers; the same in each run."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration

from benchmarks.contenders.base import Batch
from cache.requests import plain_llm_string

SEED = 7
WIDTH = 1536
TEXT_CHARS = 300
SAMPLES = Path(__file__).resolve().parents[2] / "agent" / "samples"
PROSE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SAMPLES.rglob("*.md")))


class Batches:
    """Texts that nobody has seen, and vectors for them."""

    def __init__(self) -> None:
        self._numbers = count()
        self._random = random.Random(SEED)
        self._ready: dict[int, Batch] = {}

    def new(self, n: int) -> Batch:
        """A batch of new texts; its vectors are those of all batches of that size."""
        if n not in self._ready:
            array = np.random.default_rng(SEED).standard_normal((n, WIDTH), dtype=np.float32)
            self._ready[n] = Batch([], array, array.tolist())
        ready = self._ready[n]
        return Batch([self.text() for _ in range(n)], ready.array, ready.lists)

    def text(self) -> str:
        """A text of its own."""
        start = f"{next(self._numbers)} "
        return start + "".join(self._random.choices(string.ascii_lowercase + " ", k=TEXT_CHARS - len(start)))


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as a `BaseCache` gets it, and its answer."""

    prompt: str
    llm_string: str
    answer: list[ChatGeneration]


def prompt_of(text: str) -> str:
    """A message as a `BaseCache` gets it."""
    return dumps([HumanMessage(text)])


def question(size_bytes: int) -> Question:
    """A question of 300 characters, and the answer of an OpenAI model of so many bytes."""
    n_tokens = size_bytes // 5
    usage = {"input_tokens": 96, "output_tokens": n_tokens, "total_tokens": 96 + n_tokens}
    details = {
        "input_token_details": {"audio": 0, "cache_read": 0},
        "output_token_details": {"audio": 0, "reasoning": 0},
    }
    said = {
        "token_usage": {"prompt_tokens": 96, "completion_tokens": n_tokens, "total_tokens": 96 + n_tokens},
        "model_provider": "openai", "model_name": "gpt-4o-mini-2024-07-18", "system_fingerprint": "fp_50906f2aac",
        "id": "chatcmpl-Dw6nMFq4l9vtDKPVPdCnVZcNTAmIj", "finish_reason": "stop", "logprobs": None,
    }  # fmt: skip
    message = AIMessage(
        content=PROSE[:size_bytes],
        additional_kwargs={"refusal": None},
        response_metadata=said,
        usage_metadata={**usage, **details},
        id="run--0",
    )
    info = {"finish_reason": "stop", "logprobs": None}
    asked = prompt_of(PROSE[-TEXT_CHARS:])
    return Question(asked, LLM_STRING, [ChatGeneration(message=message, generation_info=info)])


LLM_STRING = plain_llm_string("gpt-4o-mini", 0.2, 2048)
