"""Every error of the cache, as one tree.

```
CacheError
├─ ConfigurationError      (also ValueError)   a setting or URL is wrong
├─ InvalidKeyError         (also ValueError)   a key, namespace or segment cannot be used
├─ InvalidTTLError         (also ValueError)   a time to live cannot be used
├─ ProviderAnswerError     (also ValueError)   the embedding provider answered something that cannot be stored
├─ StoreError                                  the store could not do it
│  ├─ StoreConnectionError                     refused, reset, unresolved, not authenticated
│  ├─ StoreTimeoutError                        no complete answer within the deadline
│  └─ StoreResponseError                       the server answered with an error
└─ EntryError                                  the bytes of an entry cannot be used
   ├─ DecodeError                              damaged, foreign, or of another key
   ├─ EntryVersionError                        written by a version that this one does not know
   └─ DimensionMismatchError  (also ValueError)  vectors of different widths meet
```
"""

from __future__ import annotations


class CacheError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(CacheError, ValueError):
    """A setting or URL is wrong: the message names it, what came and what is allowed."""


class InvalidKeyError(CacheError, ValueError):
    """A key, a namespace or a segment of a key cannot be used."""


class InvalidTTLError(CacheError, ValueError):
    """A time to live is not a positive whole number of seconds within bounds."""


class ProviderAnswerError(CacheError, ValueError):
    """The embedding provider answered too few, non-finite or differently wide vectors."""


class StoreError(CacheError):
    """The store could not do it.

    Attributes:
        reason: one word for logs and counters, such as `refused`, `timeout` or `read_only`.
    """

    reason = "error"

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


class EntryError(CacheError):
    """The bytes of an entry cannot be used."""


class DecodeError(EntryError):
    """The bytes are damaged, not ours, or belong to another key."""


class EntryVersionError(EntryError):
    """The entry was written by a version of the format that this one does not know."""


class DimensionMismatchError(EntryError, ValueError):
    """Vectors of different widths meet."""
