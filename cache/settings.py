"""The only reader of `REDIS_URL` and `CACHE_*`; built explicitly, never at import."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cache.deadline import Deadline
from cache.entry import ElementType
from cache.errors import ConfigurationError, InvalidKeyError, InvalidTTLError
from cache.keys import Kind, check_namespace
from cache.sealing import Keyring, parse_keys

MAX_TTL_S = 10 * 365 * 24 * 3600
HEALTH_TTL_S = 10
MIN_NEAR_BYTES, MAX_NEAR_BYTES = 2**20, 2**36
STATS_TTL_S = 24 * 3600
_TTL = Annotated[int, Field(ge=1, le=MAX_TTL_S)]
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_PRIVATE = ("KEY", "SECRET", "TOKEN", "URL")  # variables whose value a message does not repeat


class CacheSettings(BaseSettings):
    """Settings of the cache: arguments first, then the environment, then defaults.

    An argument that is `None` and a variable that is empty count as not given.

    Raises:
        ConfigurationError: a value is wrong; the message names the variable, what came and what is allowed.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        populate_by_name=True,
        extra="forbid",
        env_ignore_empty=True,
        env_prefix="CACHE_",  # else a variable that is called as a field, such as NAMESPACE, would be read too
    )

    redis_url: str | None = Field(None, validation_alias="REDIS_URL", repr=False)  # may hold a password
    """Where Redis is; `None` is the embedded server."""
    namespace: str | None = Field(None, validation_alias="CACHE_NAMESPACE")
    """The tenant, put in front of every key."""
    enabled: bool = Field(default=True, validation_alias="CACHE_ENABLED")
    """Whether anything is looked up or stored at all."""
    embedding_enabled: bool = Field(default=True, validation_alias="CACHE_EMBEDDING_ENABLED")
    openai_response_enabled: bool = Field(default=True, validation_alias="CACHE_OPENAI_RESPONSE_ENABLED")
    job_match_enabled: bool = Field(default=True, validation_alias="CACHE_JOB_MATCH_ENABLED")
    optimization_enabled: bool = Field(default=True, validation_alias="CACHE_OPTIMIZATION_ENABLED")
    session_enabled: bool = Field(default=True, validation_alias="CACHE_SESSION_ENABLED")
    tool_result_enabled: bool = Field(default=True, validation_alias="CACHE_TOOL_RESULT_ENABLED")
    node_result_enabled: bool = Field(default=True, validation_alias="CACHE_NODE_RESULT_ENABLED")
    corpus_enabled: bool = Field(default=True, validation_alias="CACHE_CORPUS_ENABLED")
    default_ttl_s: _TTL = Field(3600, validation_alias="CACHE_DEFAULT_TTL")
    """Seconds that matches, optimisations, sessions and results of tools and of nodes live."""
    embedding_ttl_s: _TTL = Field(7 * 24 * 3600, validation_alias="CACHE_EMBEDDING_TTL")
    """Seconds that embeddings live, alone and in the blocks of a corpus."""
    embedding_dtype: Literal["float32", "float16", "int8"] = Field("float32", validation_alias="CACHE_EMBEDDING_DTYPE")
    """What the numbers of embeddings are stored as, and rounded to whether they are stored or not."""
    openai_response_ttl_s: _TTL = Field(6 * 3600, validation_alias="CACHE_OPENAI_RESPONSE_TTL")
    """Seconds that answers of language models live."""
    compression_threshold_bytes: int = Field(1024, ge=0, validation_alias="CACHE_COMPRESSION_THRESHOLD")
    """Payloads over this many bytes are compressed; vectors never are."""
    deadline_ms: int = Field(100, ge=1, le=60_000, validation_alias="CACHE_DEADLINE_MS")
    """Milliseconds that one operation may take, plus 20 for each MiB that it moves."""
    flight_wait_s: float = Field(30.0, ge=0, le=3600, validation_alias="CACHE_FLIGHT_WAIT_S")
    """Seconds that a caller waits for another one's computation of the same, before it computes for itself."""
    near_bytes: int = Field(0, ge=0, le=MAX_NEAR_BYTES, validation_alias="CACHE_NEAR_BYTES")
    """Bytes of memory in which each process keeps what it has read, to serve it without a round trip; 0 is none."""
    key_secret: SecretStr | None = Field(None, validation_alias="CACHE_KEY_SECRET")
    """Makes the hashes in keys HMACs, so that nobody with access to Redis can test a guess."""
    encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field((), validation_alias="CACHE_ENCRYPTION_KEYS")
    """Seal all values: the first key seals, all open. Each 32 bytes as base64, or `number:base64` to name its id."""

    admin_token: SecretStr | None = Field(None, validation_alias="CACHE_ADMIN_TOKEN")
    """What a request must show to clear the cache over HTTP; with none, no request can."""

    openai_base_url: str | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL", "OPENAI_API_BASE"))
    """Where requests go whose model names no endpoint: part of what their answers depend on."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise ConfigurationError("; ".join(_explain(item) for item in error.errors())) from None

    @field_validator("redis_url", "namespace", "key_secret", "admin_token", "openai_base_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("namespace")
    @classmethod
    def _usable_namespace(cls, value: str | None) -> str | None:
        try:
            return check_namespace(value)
        except InvalidKeyError as error:
            raise ValueError(str(error)) from None

    @field_validator("near_bytes")
    @classmethod
    def _enough_or_none(cls, value: int) -> int:
        if 0 < value < MIN_NEAR_BYTES:
            raise ValueError(f"expected 0 or at least {MIN_NEAR_BYTES} bytes")
        return value

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("encryption_keys")
    @classmethod
    def _usable_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        parse_keys(each.get_secret_value() for each in value)
        return value

    @field_validator("admin_token")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _BEARER_TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("expected letters, digits and -._~+/ alone, as a bearer token is sent (RFC 6750)")
        return value

    def ttl_s(self, kind: Kind) -> int:
        """Seconds that entries of a kind live."""
        match kind:
            case Kind.EMBEDDING | Kind.CORPUS:
                return self.embedding_ttl_s
            case Kind.OPENAI_RESPONSE:
                return self.openai_response_ttl_s
            case Kind.HEALTH:
                return HEALTH_TTL_S
            case Kind.STATS:
                return STATS_TTL_S
            case _:
                return self.default_ttl_s

    def element_type(self) -> ElementType:
        """What the numbers of embeddings are stored as."""
        return ElementType[self.embedding_dtype.upper()]

    def is_enabled(self, kind: Kind) -> bool:
        """Say whether entries of a kind are looked up and stored."""
        return self.enabled and bool(getattr(self, f"{kind}_enabled", True))

    def deadline(self) -> Deadline:
        """How long one operation may take."""
        return Deadline(base_s=self.deadline_ms / 1000)

    def secret_bytes(self) -> bytes | None:
        """The key of the HMAC in keys, or `None`."""
        return self.key_secret.get_secret_value().encode() if self.key_secret else None

    def keyring(self) -> Keyring | None:
        """What seals values and opens them, or `None` where they are kept plain."""
        keys = parse_keys(each.get_secret_value() for each in self.encryption_keys)
        return Keyring(keys) if keys else None


def check_ttl(ttl_s: int) -> int:
    """Return a usable time to live.

    Raises:
        InvalidTTLError: not a whole number of seconds from 1 to ten years.
    """
    if type(ttl_s) is not int or not 1 <= ttl_s <= MAX_TTL_S:
        raise InvalidTTLError(f"expected a time to live of 1 to {MAX_TTL_S} whole seconds, got {ttl_s!r}")
    return ttl_s


def _explain(item: Any) -> str:
    variable = _variable(".".join(map(str, item["loc"])))
    expected = item["msg"].removeprefix("Value error, ")
    if item["type"].startswith("bool"):
        expected += " (true or false)"
    is_told = ", got " in expected or any(word in variable for word in _PRIVATE)
    return f"{variable}: {expected}" + ("" if is_told else f", got {item['input']!r}")


def _variable(name: str) -> str:
    field = CacheSettings.model_fields.get(name)
    alias = field.validation_alias if field else name
    return str(alias.choices[0] if isinstance(alias, AliasChoices) else alias)
