"""What one call asks of the cache, and what it got: by a context manager, or in a runnable's configuration. Pure.

```
with cache.control(refresh=True, ttl_s=60): ...
chain.invoke(question, {"metadata": {"resumecache": {"max_age_s": 300}}})
with cache.observe() as seen: ...
```

Both hold in the context of the caller: in the tasks and threads that LangChain starts for it, and in no other.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from cache.errors import ConfigurationError
from cache.settings import check_ttl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METADATA_NAME = "resumecache"
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Control:
    """What a call asks of the cache.

    Attributes:
        bypass: neither look up nor store.
        refresh: do not look up, and store what is made anew.
        max_age_s: seconds; an older answer is not taken.
        ttl_s: seconds that a new answer lives; `None` is the cache's own.

    Raises:
        ConfigurationError: a value cannot be used.
        InvalidTTLError: the time to live cannot be used.
    """

    bypass: bool = False
    refresh: bool = False
    max_age_s: float | None = None
    ttl_s: int | None = None

    def __post_init__(self) -> None:
        for name in ("bypass", "refresh"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"expected {name} to be true or false, got {getattr(self, name)!r}")
        if self.max_age_s is not None and not (_is_number(self.max_age_s) and self.max_age_s >= 0):
            raise ConfigurationError(f"expected max_age_s in seconds, 0 or more, got {self.max_age_s!r}")
        if self.ttl_s is not None:
            check_ttl(self.ttl_s)

    def merged(self, changes: Mapping[str, Any]) -> Control:
        """The same with changes.

        Raises:
            ConfigurationError: there is no such field, or a value cannot be used.
            InvalidTTLError: the time to live cannot be used.
        """
        names = {each.name for each in fields(Control)}
        if strange := sorted(map(str, set(changes) - names)):
            raise ConfigurationError(f"expected some of {', '.join(sorted(names))}, got {strange[0]!r}")
        return replace(self, **changes)


class Outcome(StrEnum):
    """What became of one request."""

    HIT = "hit"
    MISS = "miss"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one request.

    Attributes:
        outcome: found, not found, or not looked for.
        key: of the request; `None` where it has none.
        reason: why it was not looked for, in one word.
        age_s: seconds since what was found had been stored.
    """

    outcome: Outcome
    key: str | None = None
    reason: str | None = None
    age_s: float | None = None


@dataclass(slots=True)
class Observation:
    """What became of the requests of a context, in their order."""

    requests: list[Seen] = field(default_factory=list)

    @property
    def hits(self) -> int:
        """How many were found."""
        return self._n(Outcome.HIT)

    @property
    def misses(self) -> int:
        """How many were not found."""
        return self._n(Outcome.MISS)

    @property
    def skipped(self) -> int:
        """How many were not looked for."""
        return self._n(Outcome.SKIPPED)

    def _n(self, outcome: Outcome) -> int:
        return sum(seen.outcome is outcome for seen in self.requests)


class Controls:
    """Controls and observations of one cache, each in its context."""

    def __init__(self) -> None:
        self._me = object()  # contexts outlive caches: they name a cache by this, and never by its address

    @contextlib.contextmanager
    def control(self, changes: Mapping[str, Any]) -> Iterator[None]:
        """Ask something of the cache within the context; what is set within it goes on top.

        Raises:
            ConfigurationError: there is no such field, or a value cannot be used.
            InvalidTTLError: the time to live cannot be used.
        """
        asked = (self._me, self.current().merged(changes))
        _controls.set((*_controls.get(), asked))
        try:
            yield
        finally:
            _controls.set(_without(_controls.get(), asked))

    @contextlib.contextmanager
    def observe(self) -> Iterator[Observation]:
        """Note what becomes of the requests of the context."""
        seen = Observation()
        observer = (self._me, seen)
        _observers.set((*_observers.get(), observer))
        try:
            yield seen
        finally:
            _observers.set(_without(_observers.get(), observer))

    def current(self, metadata: Mapping[str, Any] | None = None) -> Control:
        """What holds here; what a call's own configuration says goes on top.

        Raises:
            ConfigurationError: the configuration cannot be used.
            InvalidTTLError: its time to live cannot be used.
        """
        asked = _controls.get()
        control = next((control for me, control in reversed(asked) if me is self._me), _PLAIN) if asked else _PLAIN
        changes = metadata.get(METADATA_NAME) if metadata else None
        if changes is None:
            return control
        if not isinstance(changes, dict):
            raise ConfigurationError(f"expected metadata[{METADATA_NAME!r}] to be a dictionary, got {changes!r}")
        return control.merged(changes)

    @property
    def are_observed(self) -> bool:
        """Whether anybody observes in this context, this cache or another one."""
        return bool(_observers.get())

    def note(self, seen: Seen) -> None:
        """Tell all who observe in this context."""
        for me, observation in _observers.get():
            if me is self._me:
                observation.requests.append(seen)


def _without(entries: tuple[Entry, ...], left: Entry) -> tuple[Entry, ...]:
    """The others, in whatever order they are left: generators are, and in a context that they did not enter in."""
    return tuple(entry for entry in entries if entry is not left)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124  no NaN


_PLAIN = Control()
_controls: ContextVar[tuple[tuple[object, Control], ...]] = ContextVar("resumecache_controls", default=())
_observers: ContextVar[tuple[tuple[object, Observation], ...]] = ContextVar("resumecache_observers", default=())
