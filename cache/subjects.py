"""Whom the entries that are made in a context are about, so that they can be found again to be forgotten.

```
with cache.about(candidate="c-17", job="j-4"): ...
```

Every entry made within carries the tag of the candidate and that of the job in its header: keyed hashes, which are
stored in the clear and name nobody. It holds in the context of the caller: in the tasks and threads that LangChain
starts for it, and in no other.

A tag says whose work wrote the entry. Embeddings and answers are shared by all who ask for the very same text: who
finds one that was made about somebody else leaves it as it is, tags included. Forgetting somebody deletes whatever was
made about them, also where others use it, for whom it is then a miss. What others had made before, from a text that was
theirs just the same, stays until they are forgotten, it is replaced, or its time is over.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from cache.entry import ABOUT_NOBODY, TAG_BYTES, SubjectTags
from cache.errors import InvalidKeyError
from cache.keys import ContentHasher

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ID_CHARS = 512
_NOBODY = bytes(TAG_BYTES)
_ONE = (1).to_bytes(TAG_BYTES)


class SubjectKind(StrEnum):
    """What an entry can be about."""

    CANDIDATE = "candidate"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom a context is about; `None` is nobody."""

    candidate: str | None = None
    job: str | None = None


@contextlib.contextmanager
def about(*, candidate: str | None = None, job: str | None = None) -> Iterator[None]:
    """Say whom all entries are about that are made in this context; what is left out stays as it was outside.

    Args:
        candidate: an id, never a name that others may share. It is found again by exactly this text.
        job: the same of a job ad.

    Raises:
        InvalidKeyError: an id is blank or too long.
    """
    given = {"candidate": candidate, "job": job}
    for name, value in given.items():
        if value is not None:
            check_subject_id(name, value)
    changes = {name: value for name, value in given.items() if value is not None}
    entered = replace(current_subjects(), **changes)
    _entered.set((*_entered.get(), entered))
    try:
        yield
    finally:  # in whatever order they are left: generators are, and in a context that they did not enter in
        _entered.set(tuple(subjects for subjects in _entered.get() if subjects is not entered))


def current_subjects() -> Subjects:
    """Whom this context is about."""
    entered = _entered.get()
    return entered[-1] if entered else _NONE


def current_tags(namespace: str | None, secret: bytes | None) -> SubjectTags:
    """What an entry that is made here carries in its header."""
    subjects = current_subjects()
    if subjects is _NONE:
        return ABOUT_NOBODY
    return SubjectTags(
        _tag_or_none(SubjectKind.CANDIDATE, subjects.candidate, namespace, secret),
        _tag_or_none(SubjectKind.JOB, subjects.job, namespace, secret),
    )


def subject_tag(kind: SubjectKind, subject_id: str, *, namespace: str | None, secret: bytes | None) -> bytes:
    """The 8 bytes that stand for somebody in the headers of one tenant's entries; never 8 zeros.

    An HMAC with the secret of the keys; without one a plain hash, which whoever knows or guesses the id can tell.

    Raises:
        InvalidKeyError: the id is blank or too long.
    """
    check_subject_id(kind, subject_id)
    digest = ContentHasher(("subject", kind, namespace), secret=secret).digest(subject_id)[:TAG_BYTES]
    return _ONE if digest == _NOBODY else digest


def check_subject_id(name: str, value: str) -> None:
    """Refuse an id that nobody can mean.

    Raises:
        InvalidKeyError: it is blank or too long; the message does not repeat it.
    """
    if not value.strip() or len(value) > MAX_ID_CHARS:
        raise InvalidKeyError(f"expected the id of a {name} of 1 to {MAX_ID_CHARS} characters, got {len(value)}")


def _tag_or_none(kind: SubjectKind, subject_id: str | None, namespace: str | None, secret: bytes | None) -> bytes:
    return _NOBODY if subject_id is None else subject_tag(kind, subject_id, namespace=namespace, secret=secret)


_NONE = Subjects()
_entered: ContextVar[tuple[Subjects, ...]] = ContextVar("resumecache_subjects", default=())
