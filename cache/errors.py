"""Every error of the cache, as one tree.

```
CacheError
├─ ConfigurationError      (also ValueError)   a setting or URL is wrong
├─ InvalidKeyError         (also ValueError)   a key, namespace or segment cannot be used
├─ InvalidTTLError         (also ValueError)   a time to live cannot be used
├─ InvalidVectorError      (also ValueError)   vectors that cannot be compared: NaN, infinity, not one for each id
├─ ProviderAnswerError     (also ValueError)   the embedding provider answered something that cannot be stored
├─ StoreError                                  the store could not do it
│  ├─ StoreConnectionError                     refused, reset, unresolved, not authenticated
│  ├─ StoreTimeoutError                        no complete answer within the deadline
│  ├─ StoreResponseError                       the server answered with an error
│  └─ PartialFailureError                      some servers of a store failed, and others did not
└─ EntryError                                  the bytes of an entry cannot be used
   ├─ DecodeError                              damaged, foreign, or of another key
   ├─ EntryVersionError                        written by a version that this one does not know
   └─ DimensionMismatchError  (also ValueError)  vectors of different widths meet
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self


class CacheError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(CacheError, ValueError):
    """A setting or URL is wrong: the message names it, what came and what is allowed."""


class InvalidKeyError(CacheError, ValueError):
    """A key, a namespace or a segment of a key cannot be used."""


class InvalidTTLError(CacheError, ValueError):
    """A time to live is not a positive whole number of seconds within bounds."""


class InvalidVectorError(CacheError, ValueError):
    """Vectors hold NaN or infinity, or are not as many as their ids."""


class ProviderAnswerError(CacheError, ValueError):
    """The embedding provider answered too few, non-finite or differently wide vectors."""


class StoreError(CacheError):
    """The store could not do it.

    Attributes:
        reason: one word for logs and counters, such as `refused`, `timeout` or `read_only`.
        server: which server of a store on several (see `Store.servers_of`); empty for the only one.
    """

    reason = "error"
    server = ""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        """Keep the message and the one-word reason."""
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class StoreConnectionError(StoreError):
    """No connection: refused, reset, unresolved, or not let in."""

    reason = "connection"


class StoreTimeoutError(StoreError):
    """No complete answer within the deadline."""

    reason = "timeout"


class StoreResponseError(StoreError):
    """The server answered with an error."""

    reason = "response"


class PartialFailureError(StoreError):
    """Some servers of a store could not do their part of an operation; the others did theirs.

    Attributes:
        failures: one error for each server that failed.
        values: what was answered, in the order of the keys; `None` also where a server failed.
        n_done: for how many keys the operation was done.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        failures: Sequence[StoreError] = (),
        values: Sequence[Any] = (),
        n_done: int = 0,
    ) -> None:
        """Keep what failed and what did not."""
        super().__init__(message, reason=reason)
        self.failures = tuple(failures)
        self.values = list(values)
        self.n_done = n_done

    @classmethod
    def of(cls, failures: Sequence[StoreError], *, values: Sequence[Any], n_done: int) -> Self:
        """The error for at least one failure, with the reason of the first."""
        names = "; ".join(f"{failure.server or 'no server'}: {failure}" for failure in failures)
        return cls(
            f"some servers failed, others did not: {names}",
            reason=failures[0].reason,
            failures=failures,
            values=values,
            n_done=n_done,
        )


class EntryError(CacheError):
    """The bytes of an entry cannot be used."""


class DecodeError(EntryError):
    """The bytes are damaged, not ours, or belong to another key."""


class EntryVersionError(EntryError):
    """The entry was written by a version of the format that this one does not know."""


class DimensionMismatchError(EntryError, ValueError):
    """Vectors of different widths meet."""
