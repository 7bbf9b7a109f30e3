"""Settings of the application: which models, and the cache's own."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cache import CacheSettings, ConfigurationError
from chains.models import DEFAULT_TIMEOUT_S, RemoteModels


class Settings(BaseSettings):
    """What the application needs to know; arguments first, then the environment, then defaults.

    Raises:
        ConfigurationError: a value is wrong; the message names the variable.
    """

    # The prefix is for names of fields alone: without it, a variable called CACHE or CHAT_MODEL would be read.
    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, extra="forbid", env_prefix="RESUMECACHE_")

    cache: CacheSettings = Field(default_factory=CacheSettings)
    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY")
    """With it, or with a base URL, models are remote; with neither, embeddings are local and nothing is generated."""
    openai_base_url: str | None = Field(None, validation_alias="OPENAI_BASE_URL")
    """Of any server that speaks OpenAI's protocol."""
    embedding_model: str = Field("text-embedding-3-small", min_length=1, validation_alias="RESUMECACHE_EMBEDDING_MODEL")
    chat_model: str = Field("gpt-4o-mini", min_length=1, validation_alias="RESUMECACHE_CHAT_MODEL")
    model_timeout_s: float = Field(
        DEFAULT_TIMEOUT_S, gt=0, allow_inf_nan=False, validation_alias="RESUMECACHE_MODEL_TIMEOUT"
    )
    """Seconds that one request to a model may take."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_input=False))
            raise ConfigurationError(problems) from None

    @field_validator("openai_api_key", "openai_base_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    def remote_models(self) -> RemoteModels | None:
        """Where models are; `None` where nothing is configured and the local one serves."""
        if self.openai_api_key is None and self.openai_base_url is None:
            return None
        return RemoteModels(
            api_key=self.openai_api_key,
            base_url=self.openai_base_url,
            embedding_model=self.embedding_model,
            chat_model=self.chat_model,
            timeout_s=self.model_timeout_s,
        )
