"""Why a request has the key that it has, and how it differs from one that was asked before.

The requests that a cache was asked last are kept in the process, so that a miss can be explained: nothing of them is
stored or logged.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from cache.codecs.generations import decode_answer
from cache.errors import EntryError
from cache.forking import ForkLock
from cache.requests import CanonicalRequest, Uncacheable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache.clock import Clock
    from cache.model_calls import ModelCall
    from cache.response_keys import KeyedRequest, ResponseKeys

MAX_REQUESTS = 1000
MAX_BYTES = 16 * 2**20
_SHOWN_CHARS = 60
_MESSAGES = b"messages:"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two requests differ.

    Attributes:
        where: its place, such as `parameters.called.temperature` or `messages[1].content`.
        before: what it was, shortened; `None` where it was not there.
        now: what it is, shortened; `None` where it is not there.
    """

    where: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.where}: {self.before or 'nothing'} -> {self.now or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a cache makes of a request.

    Attributes:
        key: of its entry; `None` where it is not cached.
        reason: why it is not cached, or why its entry cannot be used, in one word.
        parts: what the key is made of: `model`, `parameters`, and `messages` or `text`.
        is_stored: whether there is an answer that would be served.
        age_s: seconds since it was stored.
        ttl_s: seconds that it lives after that.
        asked_s: when the most similar request was asked, of those that this object was asked last; seconds since the
            epoch.
        differences: in what this one differs from that one.
    """

    key: str | None
    reason: str | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    is_stored: bool = False
    age_s: float | None = None
    ttl_s: int | None = None
    asked_s: float | None = None
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        if self.key is None:
            return f"not cached: {self.reason}"
        if self.reason is not None:
            return f"{self.key}: stored, but cannot be used ({self.reason}); the next answer replaces it"
        if self.is_stored:
            return f"{self.key}: stored {self.age_s:.0f} s ago, lives {self.ttl_s} s"
        if self.asked_s is None:
            return f"{self.key}: not stored"
        when = datetime.fromtimestamp(self.asked_s, UTC).isoformat(timespec="seconds")
        if not self.differences:
            return f"{self.key}: not stored, though it was asked at {when}: its answer was not kept, or is gone"
        what = "; ".join(map(str, self.differences))
        return f"{self.key}: not stored; differs from the request at {when} in {what}"


class Explainer:
    """Explains the requests of one cache.

    Args:
        keys: how the cache makes keys.
        namespace: the tenant.
        clock: where the time comes from.
    """

    def __init__(self, keys: ResponseKeys, namespace: str | None, clock: Clock) -> None:
        self._keys = keys
        self._namespace = namespace
        self._clock = clock
        self._recent = RecentRequests()

    def note(self, asked: KeyedRequest) -> None:
        """Keep a request, to compare later ones with it."""
        self._recent.add(asked.request, self._clock.now_s())

    def ask(self, call: ModelCall) -> KeyedRequest | Explanation:
        """The key to be looked up, or why there is none."""
        asked = self._keys.of(call.prompt, call.llm_string, call.start)
        if call.has_hidden_settings:
            return Explanation(None, "hidden_settings")
        return Explanation(None, asked.reason) if isinstance(asked, Uncacheable) else asked

    def interpret(self, asked: KeyedRequest, raw: bytes | None) -> Explanation:
        """What is said of a request, with what was found under its key."""
        parts = {"namespace": self._namespace, **parts_of(asked.request)}
        try:
            header = None if raw is None else decode_answer(raw, asked.tag)[0]
        except EntryError as error:
            return Explanation(asked.key, type(error).__name__, parts)
        now_s = self._clock.now_s()
        if header is not None and header.is_fresh(now_s):
            age_s = now_s - header.created_s
            return Explanation(asked.key, None, parts, is_stored=True, age_s=age_s, ttl_s=header.ttl_s)
        asked_s, differences = self._recent.most_similar(asked.request) or (None, ())
        return Explanation(asked.key, None, parts, asked_s=asked_s, differences=differences)


class RecentRequests:
    """The requests of the last calls, up to 1,000 and 16 MiB of them; from any thread."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._asked: deque[tuple[float, CanonicalRequest]] = deque()
        self._n_bytes = 0

    def add(self, request: CanonicalRequest, now_s: float) -> None:
        """Keep a request, and let go of the oldest ones where there are too many."""
        with self._lock:
            self._asked.append((now_s, request))
            self._n_bytes += _size(request)
            while len(self._asked) > MAX_REQUESTS or self._n_bytes > MAX_BYTES:
                self._n_bytes -= _size(self._asked.popleft()[1])

    def most_similar(self, request: CanonicalRequest) -> tuple[float, tuple[Difference, ...]] | None:
        """When the request that differs least was asked, and in what it differs; the latest of equals."""
        with self._lock:
            asked = list(self._asked)
        now = _flat(request)
        compared = [(asked_s, _differences(_flat(other), now)) for asked_s, other in asked]
        return min(reversed(compared), key=lambda found: len(found[1]), default=None)


def parts_of(request: CanonicalRequest) -> dict[str, Any]:
    """What a request's key is made of, as plain data."""
    parts: dict[str, Any] = {"model": request.model, "parameters": _read(request.parameters)}
    if request.prompt.startswith(_MESSAGES):
        messages = _read(request.prompt.removeprefix(_MESSAGES))
        return {**parts, "messages": [{"class": name[-1], **fields} for name, fields in messages]}
    return {**parts, "text": request.prompt.partition(b":")[2].decode("utf-8", "replace")}


def _flat(request: CanonicalRequest) -> dict[str, Any]:
    return dict(_leaves(parts_of(request), ""))


def _differences(before: dict[str, Any], now: dict[str, Any]) -> tuple[Difference, ...]:
    places = [place for place in dict.fromkeys([*before, *now]) if before.get(place) != now.get(place)]
    return tuple(Difference(place, _shown(before, place), _shown(now, place)) for place in places)


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for name, item in value.items():
                yield from _leaves(item, f"{place}.{name}" if place else str(name))
        case list() if value:
            for index, item in enumerate(value):
                yield from _leaves(item, f"{place}[{index}]")
        case _:
            yield place, value


def _shown(values: dict[str, Any], place: str) -> str | None:
    if place not in values:
        return None
    text = orjson.dumps(values[place]).decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _read(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:  # settings of no known form, or what JSON cannot say
        return {"sha256": hashlib.sha256(raw).hexdigest()}


def _size(request: CanonicalRequest) -> int:
    return len(request.prompt) + len(request.parameters)
