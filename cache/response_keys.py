"""The key of a request for an answer."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cache.errors import InvalidKeyError
from cache.keys import ContentHasher, Kind, before_hash, cross, rest_tag
from cache.requests import N_SETTINGS_KEPT, CanonicalRequest, Uncacheable, canonical_request

if TYPE_CHECKING:
    from cache.model_starts import ModelStart


class KeyedRequest(NamedTuple):
    """A request, the key that it has, and the tag that binds an entry to the key (see `cache.keys.key_tag`)."""

    key: str
    request: CanonicalRequest
    tag: bytes


class _Shared(NamedTuple):
    """What requests of the same settings have in common."""

    start_of_key: str
    rest_tag: bytes
    hasher: ContentHasher


class ResponseKeys:
    """Makes keys of requests.

    Args:
        namespace: the tenant.
        secret: of the hashes.
        default_base_url: where the model sends its requests when its settings name no endpoint.
        max_temperature: requests over it have no key, nor those that name none; `None` sets no limit.
        cache_n: whether requests for several answers have one.
    """

    def __init__(
        self,
        *,
        namespace: str | None,
        secret: bytes | None,
        default_base_url: str | None,
        max_temperature: float | None = None,
        cache_n: bool = True,
    ) -> None:
        self._max_temperature = math.inf if max_temperature is None else max_temperature
        self._cache_n = cache_n
        self._namespace = namespace
        self._default_base_url = default_base_url
        self._hasher = ContentHasher((Kind.OPENAI_RESPONSE,), secret=secret)
        self._shared = lru_cache(maxsize=N_SETTINGS_KEPT)(self._make_shared)

    def of(self, prompt: str, llm_string: str, start: ModelStart) -> KeyedRequest | Uncacheable:
        """The key of a request, or why it has none.

        Args:
            prompt: as a `BaseCache` gets it.
            llm_string: as a `BaseCache` gets it.
            start: what is known of the run beside these strings.
        """
        request = canonical_request(
            prompt,
            llm_string,
            default_base_url=self._default_base_url,
            classes=start.classes,
            schema=start.schema,
            traits=start.traits,
            is_text=start.is_text,
        )
        if isinstance(request, Uncacheable):
            return request
        if (math.inf if request.temperature is None else request.temperature) > self._max_temperature:
            return Uncacheable("temperature")
        if request.n > 1 and not self._cache_n:
            return Uncacheable("several_answers")
        try:
            start_of_key, rest, hasher = self._shared(request.model, request.parameters)
        except InvalidKeyError:
            return Uncacheable("model_name")
        digest = hasher.digest(request.prompt)
        return KeyedRequest(start_of_key + digest.hex(), request, cross(rest, digest))

    def _make_shared(self, model: str, parameters: bytes) -> _Shared:
        start_of_key = before_hash(Kind.OPENAI_RESPONSE, model, self._namespace)
        return _Shared(start_of_key, rest_tag(start_of_key), self._hasher.with_fields(model, parameters))
