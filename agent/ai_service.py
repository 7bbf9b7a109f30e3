"""`AIService`: the documented flows of a backend that matches resumes, on the chains and the cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chains.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.wiring import Services
    from chains.schemas import MatchResult, OptimizationResult


class AIService:
    """What a backend calls. Everything is asynchronous and answered by the cache where it can be.

    Args:
        services: the application; who made it closes it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def get_embeddings(self, texts: Sequence[str], session_id: str | None = None) -> list[list[float]]:
        """Embed texts: each is looked up, and only those that are missing are sent to the model.

        A blank text gets the zero vector. The session is noted as having asked; it is no part of any key, so that
        all sessions share what one of them has paid for.

        Raises:
            InvalidKeyError: the session id cannot be used.
        """
        vectors = await self._services.embeddings.aembed_documents(list(texts))
        if session_id is not None:
            await self._note(session_id, n_texts=len(texts))
        return vectors

    async def analyze_job_match(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> MatchResult:
        """How well a resume fits an ad; kept for the user.

        Raises:
            PromptInputError: a text is blank.
        """
        request = {"resume": resume_text, "job": job_description, "user": user_id}
        return await self._services.match_chain.ainvoke(request)

    async def optimize_resume(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> OptimizationResult:
        """Edits that make a resume say better what it shows; kept for the user.

        Raises:
            PromptInputError: a text is blank.
        """
        request = {"resume": resume_text, "job": job_description, "user": user_id}
        return await self._services.optimize_chain.ainvoke(request)

    async def _get_ai_response(self, prompt: str, max_tokens: int | None = None, temperature: float = 0.7) -> str:
        """The chat model's answer to one human message.

        Raises:
            ModelError: no chat model is configured.
        """
        model = self._services.chat_model_for(temperature=temperature, max_tokens=max_tokens)
        if model is None:
            raise ModelError("no chat model: set OPENAI_API_KEY, or OPENAI_BASE_URL of a compatible server")
        return str((await model.ainvoke(prompt)).text)

    async def _note(self, session_id: str, *, n_texts: int) -> None:
        session = await self._services.cache.get_session(session_id)
        data = session if isinstance(session, dict) else {}
        asked = data.get("texts_embedded", 0)
        note = {"texts_embedded": asked + n_texts, "last_seen_s": int(time.time())}
        await self._services.cache.cache_session(session_id, {**data, **note})
