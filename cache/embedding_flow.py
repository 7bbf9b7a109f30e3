"""How a batch of texts becomes an array: a generator that says what it needs and does no I/O itself.

It yields `Lookup`, `Compute`, `Save` and `Wait` and is sent the answer to each; two short drivers in `cache.embeddings`
run it, one blocking and one asynchronous, so the rules stand here once. A driver that gives up closes it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cache.codecs.numbers import as_stored
from cache.codecs.vectors import DecodedVectors, FloatArray, decode_vectors, encode_vectors, entry_size_bytes
from cache.entry import ElementType
from cache.errors import ProviderAnswerError
from cache.flight import Flights, Landed, Lead, Level, Turn, Wait, Waiter, may_wait
from cache.keys import HASH_BYTES, ContentHasher, Kind, before_hash, cross_all, rest_tag
from cache.subjects import current_tags

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cache.clock import Clock
    from cache.counters import Counters
    from cache.entry import SubjectTags
    from cache.near_cache import NearCache

_log = logging.getLogger("resumecache")
Progress = Callable[[int, int], None]
_WIDTH_PROBE = "blank"  # embedded to learn how wide the vectors are when a batch holds nothing but blank texts


class Role(StrEnum):
    """What a text is embedded as; many models embed queries and documents differently."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read keys, most likely of values of one size; the answer is a list of bytes or `None`, or a `Block`."""

    keys: list[str]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Embed texts upstream; the answer is a list of vectors."""

    texts: list[str]
    role: Role


@dataclass(frozen=True, slots=True)
class Save:
    """Write entries; nothing is answered."""

    pairs: list[tuple[str, memoryview]]


def pack_vector(space: EmbeddingSpace, text: str, vector: Any, *, made_ms: int = 0) -> tuple[str, memoryview]:
    """The entry of one document whose vector somebody else has made.

    Raises:
        ProviderAnswerError: not one finite vector of the space's width.
    """
    [key], tag = space.keys([text], Role.DOCUMENT)
    array = check_answer([vector], 1, space.width)
    created_s = int(space.clock.now_s())
    [entry] = encode_vectors(
        array, tag, created_s=created_s, ttl_s=space.ttl_s, made_ms=made_ms, tags=space.tags(),
        element_type=space.element_type,
    )  # fmt: skip
    return key, entry


def unpack_vector(space: EmbeddingSpace, text: str, raw: bytes | None) -> FloatArray | None:
    """The vector of one document, or `None` where the entry is absent, stale, unusable or of another width."""
    keys, tag = space.keys([text], Role.DOCUMENT)
    found = space.decode([raw], tag)
    _count_unreadable(space, keys, found)
    usable = found.rows and space.width in {None, len(found.vectors[0])}
    space.counters.add(hits=int(bool(usable)), misses=int(not usable))
    return found.vectors[0] if usable else None


Command = Lookup | Compute | Save | Wait


class _Wanted(NamedTuple):
    row: int
    text: str
    key: str
    tag: bytes


@dataclass
class EmbeddingSpace:
    """One model in one namespace: how its keys are made, and what is known of its vectors.

    Attributes:
        model: the name in the keys.
        namespace: the tenant, or `None`.
        parameters: what else the vectors depend on, canonical.
        secret: makes the hashes HMACs.
        ttl_s: seconds that entries live.
        batch_size: texts in one request upstream.
        clock: where the time comes from.
        counters: where hits and misses are counted.
        flights: which texts of this process are being embedded; `None` where everybody embeds for itself.
        wait_s: seconds that one caller waits for another.
        near: entries that are read without asking the store, or `None`.
        width: how wide the provider's vectors are, once it has said so.
        element_type: what vectors are stored as, and rounded to whether they are stored or not.
    """

    model: str
    namespace: str | None
    parameters: bytes = field(repr=False)
    secret: bytes | None = field(repr=False)
    ttl_s: int
    batch_size: int
    clock: Clock
    counters: Counters
    flights: Flights | None = None
    wait_s: float = 0.0
    near: NearCache | None = None
    width: int | None = None
    element_type: ElementType = ElementType.FLOAT32
    _hashers: dict[Role, ContentHasher] = field(init=False)

    def __post_init__(self) -> None:
        self._hashers = {
            role: ContentHasher((Kind.EMBEDDING, self.model, role, self.parameters), secret=self.secret)
            for role in Role
        }
        self._rest = before_hash(Kind.EMBEDDING, self.model, self.namespace)
        self._rest_tag = rest_tag(self._rest)

    def keys(self, texts: Sequence[str], role: Role) -> tuple[list[str], bytes]:
        """The keys of texts, and their joined 8-byte tags."""
        hashes = self._hashers[role].digests(texts)
        digits, n_digits = hashes.hex(), 2 * HASH_BYTES
        keys = [self._rest + digits[at : at + n_digits] for at in range(0, len(digits), n_digits)]
        return keys, cross_all(self._rest_tag, hashes)

    def tags(self) -> SubjectTags:
        """Whom vectors that are made here are about."""
        return current_tags(self.namespace, self.secret)

    def near_vectors(self, keys: Sequence[str], tags: bytes) -> DecodedVectors | None:
        """The vectors of a batch that is near as a whole; `None` where it is not, or they would have to be rounded."""
        if self.near is None or self.element_type is not ElementType.FLOAT32:
            return None
        return self.near.vectors(keys, tags)

    def decode(self, raws: Sequence[bytes | None], tags: bytes) -> DecodedVectors:
        """Read entries as those of this space."""
        return decode_vectors(raws, tags, now_s=self.clock.now_s(), element_type=self.element_type)


def embed_flow(
    space: EmbeddingSpace,
    texts: Sequence[str],
    role: Role,
    on_progress: Progress | None = None,
    *,
    is_blocking: bool = True,
) -> Generator[Command, Any, FloatArray]:
    """Look up, compute what is missing and nobody else computes, save it, and wait for the rest.

    Equal texts are embedded once. A blank text is never sent: it is the zero vector, which scores 0 with everything.

    Args:
        space: the model.
        texts: what to embed.
        role: what the texts are embedded as.
        on_progress: called with the number of distinct texts that are ready and of all.
        is_blocking: whether a wait would block the thread.

    Returns:
        float32, shape (n, d), writable and not shared; (0, d or 0) for no texts.

    Raises:
        ProviderAnswerError: thrown by the flow when an answer to `Compute` cannot be used.
    """
    distinct = [text for text in dict.fromkeys(texts) if text and not text.isspace()]
    if not distinct:
        width = (
            space.width
            if space.width is not None or not texts
            else (yield from _learn_width(space, role, is_blocking=is_blocking))
        )
        return np.zeros((len(texts), width or 0), dtype=np.float32)
    vectors = yield from _distinct_vectors(space, distinct, role, on_progress or _nobody_asks, is_blocking=is_blocking)
    if len(distinct) == len(texts):
        return vectors
    row_of = {text: row for row, text in enumerate(distinct)}
    rows = np.array([row_of.get(text, len(distinct)) for text in texts])
    with_zero: FloatArray = np.vstack([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
    return with_zero.take(rows, axis=0)


def _learn_width(space: EmbeddingSpace, role: Role, *, is_blocking: bool) -> Generator[Command, Any, int]:
    probe = yield from _distinct_vectors(space, [_WIDTH_PROBE], role, _nobody_asks, is_blocking=is_blocking)
    return int(probe.shape[1])


def _count_unreadable(space: EmbeddingSpace, keys: Sequence[str], found: DecodedVectors) -> None:
    for row, error in found.unreadable.items():
        space.counters.add_reason("unreadable", type(error).__name__)
        _log.warning("cache entry %s cannot be used (%s), it will be replaced", keys[row], error)


def _nobody_counts(_n_made: int) -> None:
    """Take no note of what is made."""


def _nobody_asks(_n_ready: int, _n_all: int) -> None:
    """Take no note of progress."""


def _distinct_vectors(
    space: EmbeddingSpace, texts: list[str], role: Role, on_progress: Progress, *, is_blocking: bool
) -> Generator[Command, Any, FloatArray]:
    ticket = space.flights.ticket() if space.flights else 0
    keys, tags = space.keys(texts, role)
    near = space.near_vectors(keys, tags)
    if near is not None and isinstance(near.vectors, np.ndarray) and _fits(space, near.vectors):
        _count(space, keys, n_hits=len(texts), n_near=len(texts), saved_ms=near.made_ms)
        return near.vectors
    raws = yield Lookup(keys, entry_size_bytes(space.width or 0, space.element_type))
    found = space.decode(raws, tags)
    _count_unreadable(space, keys, found)
    if len(found.rows) == len(texts) and isinstance(found.vectors, np.ndarray) and _fits(space, found.vectors):
        _count(space, keys, n_hits=len(texts), saved_ms=found.made_ms)
        return found.vectors
    hits = _hits_of_one_width(space, dict(zip(found.rows, found.vectors, strict=True)))
    _count(space, keys, n_hits=len(hits), n_misses=len(texts) - len(hits), saved_ms=found.made_ms)
    wanted = [_Wanted(row, text, keys[row], tags[8 * row : 8 * row + 8]) for row, text in enumerate(texts)]
    on_progress(len(hits), len(texts))
    missing = [want for want in wanted if want.row not in hits]
    work = _Work(space, role, lambda n_made: on_progress(len(hits) + n_made, len(texts)))
    made = yield from work.make_once(missing, ticket=ticket, is_blocking=is_blocking)
    stale = [want for want in wanted if made and want.row in hits and len(hits[want.row]) != space.width]
    # The model has become wider or narrower since they were stored.
    made |= yield from _Work(space, role, _nobody_counts).make_once(stale, ticket=ticket, is_blocking=is_blocking)
    ready = hits | made
    return np.concatenate([ready[row] for row in range(len(texts))]).reshape(len(texts), -1)


def _fits(space: EmbeddingSpace, vectors: FloatArray) -> bool:
    return space.width is None or vectors.shape[1] == space.width


def _hits_of_one_width(space: EmbeddingSpace, hits: dict[int, FloatArray]) -> dict[int, FloatArray]:
    """Hits of the model's width; until the provider has said it, of the width that most of them have."""
    widths = Counter(len(vector) for vector in hits.values())
    width = space.width or (widths.most_common(1)[0][0] if widths else None)
    return {row: vector for row, vector in hits.items() if len(vector) == width}


@dataclass
class _Work:
    """The texts of one call that are not in the store, and who embeds them."""

    space: EmbeddingSpace
    role: Role
    on_made: Callable[[int], None]
    made: dict[int, FloatArray] = field(default_factory=dict)
    leads: dict[str, Lead] = field(default_factory=dict)
    places: list[tuple[_Wanted, Waiter]] = field(default_factory=list)

    def make_once(
        self, wanted: list[_Wanted], *, ticket: int, is_blocking: bool
    ) -> Generator[Command, Any, dict[int, FloatArray]]:
        """Make what nobody else makes, and only then wait for the others: who waits leads nothing.

        Returns:
            the vectors by their row.
        """
        try:
            ours = self._join(wanted, ticket, is_blocking=is_blocking)
            while ours or self.places:
                yield from self._make(ours)
                ours = (yield from self._wait()) if self.places else []
        except BaseException:
            for lead in self.leads.values():
                lead.fail()
            for _, place in self.places:
                place.leave()
            raise
        return self.made

    def _join(self, wanted: list[_Wanted], ticket: int, *, is_blocking: bool) -> list[_Wanted]:
        if self.space.flights is None or not wanted:
            return wanted
        spots = self.space.flights.join_all(
            [want.key for want in wanted],
            Level.EMBEDDING, ticket=ticket, wait_s=self.space.wait_s,
            may_wait=may_wait(Level.EMBEDDING, is_blocking=is_blocking),
        )  # fmt: skip
        self.places = [(want, spot) for want, spot in zip(wanted, spots, strict=True) if isinstance(spot, Waiter)]
        turns = [(want, spot) for want, spot in zip(wanted, spots, strict=True) if not isinstance(spot, Waiter)]
        return self._sorted(turns)

    def _wait(self) -> Generator[Command, Any, list[_Wanted]]:
        """Wait until the first of the others is ready, as it may be this caller's turn; give what is to be made."""
        yield Wait([place for _, place in self.places], self.space.wait_s)
        ready = [(want, place) for want, place in self.places if place.future.done()] or self.places
        taken = {id(place) for _, place in ready}
        self.places = [(want, place) for want, place in self.places if id(place) not in taken]
        return self._sorted([(want, place.take()) for want, place in ready])

    def _sorted(self, turns: list[tuple[_Wanted, Turn]]) -> list[_Wanted]:
        """Take what others have made; what is left is to be made here."""
        ours = []
        for want, turn in turns:
            if isinstance(turn, Landed) and self.space.width in {None, len(turn.value)}:
                self.made[want.row] = as_stored(turn.value[None, :], self.space.element_type)[0]
                self.space.width = len(turn.value)
            else:
                ours.append(want)
            if isinstance(turn, Lead):
                self.leads[want.key] = turn
        n_shared = len(turns) - len(ours)
        if n_shared:
            self.space.counters.add(hits=n_shared, misses=-n_shared, shared=n_shared)
            self.on_made(len(self.made))
        return ours

    def _make(self, wanted: list[_Wanted]) -> Generator[Command, Any, None]:
        """Compute in batches and save each at once: what a later batch loses, an earlier one has kept."""
        space = self.space
        for start in range(0, len(wanted), space.batch_size):
            batch = wanted[start : start + space.batch_size]
            started_s = space.clock.monotonic_s()
            answer = yield Compute([want.text for want in batch], self.role)
            made_ms = round(1000 * (space.clock.monotonic_s() - started_s) / len(batch))
            given = check_answer(answer, len(batch), space.width)
            vectors = as_stored(given, space.element_type)
            space.width = vectors.shape[1]
            space.counters.add(made=len(batch))
            entries = encode_vectors(
                vectors, b"".join(want.tag for want in batch),
                created_s=int(space.clock.now_s()), ttl_s=space.ttl_s, made_ms=made_ms,
                tags=space.tags(), element_type=space.element_type,
            )  # fmt: skip
            try:
                yield Save([(want.key, entry) for want, entry in zip(batch, entries, strict=True)])
            finally:  # also for a caller that is cancelled meanwhile: the vectors are there
                self._land(batch, given)
            self.made.update((want.row, vector) for want, vector in zip(batch, vectors, strict=True))
            self.on_made(len(self.made))

    def _land(self, batch: list[_Wanted], vectors: FloatArray) -> None:
        led = [(row, lead) for row, want in enumerate(batch) if (lead := self.leads.get(want.key))]
        if self.space.flights is not None:  # nobody may write to what is handed on: who gets it makes a copy
            self.space.flights.land_all([lead for _, lead in led], lambda index: vectors[led[index][0]])


def check_answer(answer: Any, n_texts: int, width: int | None) -> FloatArray:
    """Turn a provider's answer into an array, or refuse it whole.

    Returns:
        float32, shape (n_texts, d), finite.

    Raises:
        ProviderAnswerError: too few or too many vectors, not numbers, not finite, or of another width than before.
    """
    try:
        with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is refused below
            vectors: FloatArray = np.array(answer, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ProviderAnswerError(f"expected vectors of numbers of one width from the provider: {error}") from None
    if vectors.ndim != 2 or len(vectors) != n_texts or not vectors.size:  # noqa: PLR2004  a row for each text
        raise ProviderAnswerError(f"expected {n_texts} vectors from the provider, got an array of {vectors.shape}")
    if width is not None and vectors.shape[1] != width:
        raise ProviderAnswerError(f"expected vectors {width} wide from the provider, got {vectors.shape[1]}")
    if not np.isfinite(vectors).all():
        raise ProviderAnswerError("expected finite numbers from the provider, got NaN or infinity")
    return vectors


def _count(
    space: EmbeddingSpace, keys: Sequence[str], *, n_hits: int, n_misses: int = 0, n_near: int = 0, saved_ms: int
) -> None:
    space.counters.add(hits=n_hits, misses=n_misses, near_hits=n_near, saved_ms=saved_ms)
    _log.debug("%s: %d hits, %d misses, from %s on", space.model, n_hits, n_misses, keys[0])
