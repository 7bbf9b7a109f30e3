"""Forgetting a candidate or a job: every entry that was made about them, also those that are being made meanwhile.

1. A tombstone is put where every tagged write looks after it has written (`cache.stores.tombstones`): from then on what
   is written about them takes itself back.
2. All keys are gone through, the headers of ours are read, and what carries the tag is deleted.
3. That is done again until one pass finds nothing and the tombstone still stands.

There is no index of who is where, which an evicting server could lose: the entries themselves say it. A tombstone that
is evicted is put again with each pass. While one stands, nothing about the forgotten is kept, whoever asks: for two
hours they are served without the cache.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cache.clearing import abatches, batches
from cache.entry import HEADER_BYTES, peek_entry
from cache.errors import ConfigurationError, EntryError, StoreError
from cache.keys import Key, Kind, key_prefix, key_tag, parse_key, tombstone_key
from cache.subjects import SubjectKind, subject_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.settings import CacheSettings
    from cache.stores.base import Store

TOMBSTONE_TTL_S = 7200
"""Seconds that writes are taken back: longer than any computation that was running. An answer of a provider takes up to
30 minutes, three tries of 600 s, which are the defaults of OpenAI's client; and an explained match waits for two."""
MOST_PASSES = 10
"""After which somebody writes about the forgotten all the time: what a pass finds is about to take itself back."""
_FULL = "out_of_memory"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What forgetting did; it names nobody.

    Attributes:
        subject: what was forgotten, a candidate or a job.
        count: entries that were deleted, or would be.
        counts: the same by the long name of their kind.
        n_entries: of this namespace, that the last pass has read the headers of.
        n_passes: over all keys.
        is_verified: whether the last pass found nothing while the tombstone stood.
        verified_by: the same in words.
        finished_at: when, in UTC (ISO 8601).
        refused_s: seconds from then on that nothing about them is kept.
        dry_run: whether nothing was done but counting.
    """

    subject: SubjectKind
    count: int
    counts: dict[str, int]
    n_entries: int
    n_passes: int
    is_verified: bool
    verified_by: str
    finished_at: str
    refused_s: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom to look for among the entries of one namespace.

    Attributes:
        kind: a candidate or a job.
        tag: 8 bytes in headers.
        namespace: of the entries.
    """

    kind: SubjectKind
    tag: bytes
    namespace: str | None

    @classmethod
    def of(cls, settings: CacheSettings, *, candidate: str | None = None, job: str | None = None) -> Subject:
        """The candidate or the job of an id.

        Raises:
            ConfigurationError: not exactly one of both is given.
            InvalidKeyError: the id is blank or too long.
        """
        match candidate, job:
            case str() as subject_id, None:
                kind = SubjectKind.CANDIDATE
            case None, str() as subject_id:
                kind = SubjectKind.JOB
            case _:
                raise ConfigurationError("forget: expected a candidate or a job, and not both")
        namespace = settings.namespace or None
        return cls(kind, subject_tag(kind, subject_id, namespace=namespace, secret=settings.secret_bytes()), namespace)

    @property
    def prefix(self) -> str:
        """The beginning of all keys that can be about them."""
        return key_prefix(None, self.namespace)

    @property
    def tombstone(self) -> str:
        """The key that says that they were forgotten."""
        return tombstone_key(self.kind, self.tag)

    def epitaph(self) -> bytes:
        """The value of the tombstone: until when it stands, for stores that know no expiry."""
        return str(int(time.time()) + TOMBSTONE_TTL_S).encode()

    def may_own(self, key: Key) -> bool:
        """Say whether a key is of the namespace: the prefix of the nameless one is that of all."""
        return key.namespace == self.namespace

    def is_in(self, key: str, head: bytes | None) -> bool | None:
        """Say whether an entry is about them; `None` where the bytes are no entry of this key."""
        if head is None:
            return None
        try:
            tags = peek_entry(head, key_tag(key)).tags
        except EntryError:
            return None
        return getattr(tags, self.kind) == self.tag  # type: ignore[no-any-return]  # the fields are named as the kinds


class _Pass:
    """One way through all keys: what was seen, and what was about the subject."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.n_entries = 0
        self.counts: Counter[Kind] = Counter()

    def pick(self, keys: Sequence[str], heads: Sequence[bytes | None]) -> list[str]:
        """Those keys of a batch that are about the subject."""
        said = [self._subject.is_in(key, head) for key, head in zip(keys, heads, strict=True)]
        found = [key for key, is_in in zip(keys, said, strict=True) if is_in]
        self.n_entries += sum(one is not None for one in said)
        self.counts.update(parse_key(key).kind for key in found)
        return found


class _Work:
    """What was done so far, and whether there is more to do."""

    def __init__(self, subject: Subject, *, dry_run: bool = False) -> None:
        self._subject = subject
        self._dry_run = dry_run
        self._counts: Counter[Kind] = Counter()
        self._n_passes = 0
        self._n_entries = 0
        self._is_verified = False

    @property
    def goes_on(self) -> bool:
        """Whether another pass is needed."""
        return not self._is_verified and self._n_passes < MOST_PASSES

    def passed(self, one: _Pass, *, tombstone_stands: bool) -> None:
        """Take note of a pass."""
        self._n_passes += 1
        self._n_entries = one.n_entries
        self._counts += one.counts
        self._is_verified = tombstone_stands and not one.counts

    def receipt(self) -> Receipt:
        """What came of it."""
        counts = {str(kind): self._counts[kind] for kind in Kind if self._counts[kind]}
        return Receipt(
            subject=self._subject.kind,
            count=self._counts.total(),
            counts=counts,
            n_entries=self._n_entries,
            n_passes=self._n_passes,
            is_verified=self._is_verified,
            verified_by=self._in_words(),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            refused_s=0 if self._dry_run else TOMBSTONE_TTL_S,
            dry_run=self._dry_run,
        )

    def _in_words(self) -> str:
        if self._dry_run:
            return "nothing was done: the entries were only counted"
        if self._is_verified:
            return f"pass {self._n_passes} read the headers of {self._n_entries} entries and found none about them"
        return f"not verified: pass {self._n_passes} still found entries about them, or the tombstone was lost"


def forget_subject(store: Store, subject: Subject) -> Receipt:
    """Delete all that was made about a candidate or a job, and have what is being made not kept.

    Args:
        store: the bare store, as it is below what seals: headers can be read without opening.
        subject: whom.

    Returns:
        The receipt; where it is not verified, somebody goes on writing about them, or a server evicts tombstones.

    Raises:
        StoreError: the store could not do it, and is to be asked again; what was deleted before stays deleted.
    """
    work = _Work(subject)
    try:
        _bury(store, subject)
    except StoreError as error:
        if error.reason != _FULL:
            raise
        work.passed(_sweep(store, subject), tombstone_stands=False)  # what is deleted makes room for the tombstone
    while work.goes_on:
        _bury(store, subject)
        one = _sweep(store, subject)
        work.passed(one, tombstone_stands=store.mget([subject.tombstone]) != [None])
    return work.receipt()


async def aforget_subject(store: Store, subject: Subject) -> Receipt:
    """Asynchronous twin of `forget_subject`."""
    work = _Work(subject)
    try:
        await _abury(store, subject)
    except StoreError as error:
        if error.reason != _FULL:
            raise
        work.passed(await _asweep(store, subject), tombstone_stands=False)
    while work.goes_on:
        await _abury(store, subject)
        one = await _asweep(store, subject)
        work.passed(one, tombstone_stands=await store.amget([subject.tombstone]) != [None])
    return work.receipt()


def count_subject(store: Store, subject: Subject) -> Receipt:
    """What `forget_subject` would find now; changes nothing."""
    work = _Work(subject, dry_run=True)
    work.passed(_sweep(store, subject, dry_run=True), tombstone_stands=False)
    return work.receipt()


async def acount_subject(store: Store, subject: Subject) -> Receipt:
    """Asynchronous twin of `count_subject`."""
    work = _Work(subject, dry_run=True)
    work.passed(await _asweep(store, subject, dry_run=True), tombstone_stands=False)
    return work.receipt()


def _bury(store: Store, subject: Subject) -> None:
    store.mset([(subject.tombstone, subject.epitaph())], ttl_s=TOMBSTONE_TTL_S)


async def _abury(store: Store, subject: Subject) -> None:
    await store.amset([(subject.tombstone, subject.epitaph())], ttl_s=TOMBSTONE_TTL_S)


def _sweep(store: Store, subject: Subject, *, dry_run: bool = False) -> _Pass:
    """Go through all keys once and delete what is about the subject."""
    one = _Pass(subject)
    for batch in batches(store.yield_keys(prefix=subject.prefix), subject.may_own):
        found = one.pick(batch, store.mpeek(batch, HEADER_BYTES))
        if not dry_run:
            store.mdelete(found)
    return one


async def _asweep(store: Store, subject: Subject, *, dry_run: bool = False) -> _Pass:
    """Asynchronous twin of `_sweep`."""
    one = _Pass(subject)
    async for batch in abatches(store.ayield_keys(prefix=subject.prefix), subject.may_own):
        found = one.pick(batch, await store.ampeek(batch, HEADER_BYTES))
        if not dry_run:
            await store.amdelete(found)
    return one
