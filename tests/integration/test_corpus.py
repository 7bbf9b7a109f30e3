"""A corpus in blocks on a real server: what is saved is loaded, and a lost block costs its own rows and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache import CacheBackedEmbeddings, CacheSettings, CorpusCache, MemoryStore, VectorIndex, store_from_url
from cache.deadline import Deadline
from cache.entry import HEADER_BYTES, ElementType, Header, pack_entry
from cache.errors import ConfigurationError, InvalidKeyError, StoreTimeoutError
from cache.keys import key_tag
from cache.scoring import cosine_similarity
from chains.corpus import aload_corpus, document_id, load_corpus
from tests.fakes import BrokenStore, CountingEmbeddings, FakeClock
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache import Store
    from tests.servers import ValkeyServer

SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
WIDTH, N_ROWS = 512, 2000  # 2000 * (4 * 512 + 1024) bytes: two blocks of 3.5 MiB are not enough for them by any count
IDS = [f"id {row} é" for row in range(N_ROWS)]
VECTORS = np.random.default_rng(7).standard_normal((N_ROWS, WIDTH), dtype=np.float32)
EXTRAS = [b"%d" % row * (row % 3) for row in range(N_ROWS)]
each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
def store(valkey: ValkeyServer) -> Iterator[Store]:
    """The server, empty."""
    valkey.command("FLUSHALL")
    with store_from_url(valkey.url, deadline=Deadline(PATIENT_S)) as store:
        yield store


def corpus_of(store: Any, **options: Any) -> CorpusCache:
    chosen: dict[str, Any] = {"width": WIDTH, "settings": SETTINGS} | options
    return CorpusCache("ads", store, **chosen)


def full_index() -> VectorIndex:
    index = VectorIndex(WIDTH)
    index.add(IDS, VECTORS, EXTRAS)
    return index


async def load(world: World, corpus: CorpusCache, ids: Sequence[str] = IDS) -> VectorIndex:
    return corpus.load(ids) if world is World.SYNC else await corpus.aload(ids)


async def save(world: World, corpus: CorpusCache, index: VectorIndex) -> bool:
    return corpus.save(index) if world is World.SYNC else await corpus.asave(index)


def assert_holds(index: VectorIndex, rows: Sequence[int]) -> None:
    """The index holds exactly these rows, with their extras, and finds them as brute force does."""
    ids = [IDS[row] for row in rows]
    assert sorted(index.ids) == sorted(ids)
    assert [index.extra_of(id_) for id_ in ids] == [EXTRAS[row] for row in rows]
    scores = cosine_similarity(VECTORS[:1], VECTORS[list(rows)])[0].tolist()
    best = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:9]
    assert [(hit.score, hit.id) for hit in index.top_k(VECTORS[0], 9)] == best


def lost(index: VectorIndex) -> set[str]:
    return set(IDS) - set(index.ids)


@each_world
async def test_what_is_saved_is_loaded(world: World, store: Store) -> None:
    """Another object, in any order of ids, has every row, bit for bit, and its extra; nothing is left to save."""
    index = full_index()
    assert await save(world, corpus_of(store), index)
    keys = [*store.yield_keys(prefix="corpus:ads:")]
    assert len(keys) == 2
    again = corpus_of(store)
    loaded = await load(world, again, IDS[::-1])
    assert_holds(loaded, range(N_ROWS))
    assert np.array_equal(loaded.vectors(IDS), index.vectors(IDS))
    assert (again.counts().hits, again.counts().misses) == (2, 0)
    assert await save(world, again, loaded)
    assert again.counts().stored == 0


async def test_blocks_are_of_4_mib_and_expire_as_embeddings_do(store: Store, valkey: ValkeyServer) -> None:
    """No block is over 4 MiB, all but the last are over a quarter of it, and each lives as long as an embedding."""
    await save(World.SYNC, corpus_of(store), full_index())
    for key in store.yield_keys(prefix="corpus:ads:"):
        assert 2**20 < valkey.command("STRLEN", key) <= 4 * 2**20
        assert 604_700 < valkey.command("TTL", key) <= 604_800


@each_world
@pytest.mark.parametrize("damage", ["absent", "damaged", "cut", "foreign", "vector", "no rows", "other width", "nan"])
async def test_a_block_that_cannot_be_used_costs_its_own_rows(damage: str, world: World, store: Store) -> None:
    """Whatever became of one block, the others are loaded, and only its rows are to be made and saved again."""
    await save(world, corpus_of(store), full_index())
    key, other = sorted(store.yield_keys(prefix="corpus:ads:"))
    [raw] = store.mget([key])
    assert raw is not None
    if damage == "absent":
        store.mdelete([key])
    else:
        store.mset([(key, damaged(damage, key, raw))], ttl_s=100)
    corpus = corpus_of(store)
    index = await load(world, corpus)
    missing = lost(index)
    assert 0 < len(missing) < N_ROWS
    assert sum(corpus.counts().unreadable.values()) == (damage != "absent")
    rows = [IDS.index(id_) for id_ in missing]
    index.add([IDS[row] for row in rows], VECTORS[rows], [EXTRAS[row] for row in rows])
    assert await save(world, corpus, index)
    assert corpus.counts().stored == 1
    assert store.mget([other]) != [None]
    assert_holds(await load(world, corpus_of(store)), range(N_ROWS))


def damaged(how: str, key: str, raw: bytes) -> bytes:
    """The bytes of a block after something has happened to it; all but the first two are whole entries."""
    if how in {"damaged", "foreign"}:
        return raw[:-1] + bytes([raw[-1] ^ 1]) if how == "damaged" else b"somebody else's"
    payload = raw[HEADER_BYTES:]
    n, nan = int.from_bytes(payload[4:8], "little"), np.float32(np.nan).tobytes()
    bad = {
        "cut": payload[:-100],
        "vector": bytes(8),
        "no rows": b"12345",
        "other width": payload[:8] + (WIDTH - 1).to_bytes(4, "little") + payload[12:],
        "nan": payload[: 12 + 8 * n] + nan + payload[16 + 8 * n :],
    }[how]
    kind = ElementType.FLOAT32 if how == "vector" else ElementType.ROWS
    return pack_entry(Header(key_tag(key), 1_800_000_000, 10**9, element_type=kind), bad)


@each_world
async def test_only_blocks_that_changed_are_written(world: World, store: Store) -> None:
    """One row that goes, and one whose extra is another now, change two of many blocks, or one; no others are sent."""
    corpus, index = corpus_of(store), full_index()
    await save(world, corpus, index)
    assert corpus.counts().stored == 2
    index.remove(IDS[:1])
    await save(world, corpus, index)
    assert corpus.counts().stored == 3
    index.add(IDS[1:2], VECTORS[1:2], [b"new"])
    await save(world, corpus, index)
    assert corpus.counts().stored == 4
    loaded = await load(world, corpus_of(store), IDS[1:])
    assert sorted(loaded.ids) == sorted(IDS[1:])
    assert loaded.extra_of(IDS[1]) == b"new"


@each_world
async def test_saving_goes_on_after_a_failure(world: World, store: Store) -> None:
    """What a failing store has not confirmed is written the next time, and what it has is not."""
    broken = BrokenStore(StoreTimeoutError("slow"), inner=store, verbs={"mset"})
    corpus, index = corpus_of(broken), full_index()
    assert not await save(world, corpus, index)
    assert [*store.yield_keys(prefix="corpus:ads:")] == []
    assert_holds(await load(world, corpus), [])
    again = corpus_of(store)
    assert await save(world, again, index)
    assert_holds(await load(world, corpus_of(store)), range(N_ROWS))


@each_world
async def test_a_store_that_fails_holds_nothing(world: World) -> None:
    """Loading never fails: with the store down, or the cache off, all rows are to be made."""
    down = BrokenStore(StoreTimeoutError("slow"))
    off = {"settings": CacheSettings(enabled=False)}
    for corpus in (corpus_of(down), corpus_of(MemoryStore(), **off)):
        assert len(await load(world, corpus)) == 0
        assert not await save(world, corpus, full_index())


SECRETIVE = CacheSettings(key_secret="s")  # noqa: S106  of a test


@pytest.mark.parametrize(
    "other", [{"variant": ["model b"]}, {"width": WIDTH + 1}, {"namespace": "acme"}, {"settings": SECRETIVE}]
)
def test_what_differs_does_not_meet(other: dict[str, Any]) -> None:
    """Rows of another model, width, tenant or secret are not found."""
    store = MemoryStore()
    corpus_of(store).save(full_index())
    assert len(corpus_of(store, **other).load(IDS)) == 0


def test_a_block_is_served_as_long_as_it_lives() -> None:
    """A server that keeps a block longer than its time to live does not decide that it is served."""
    store, clock = MemoryStore(), FakeClock()
    corpus_of(store, clock=clock, ttl_s=60).save(full_index())
    clock.advance(59)
    assert len(corpus_of(store, clock=clock).load(IDS)) == N_ROWS
    clock.advance(1)
    corpus = corpus_of(store, clock=clock)
    assert (len(corpus.load(IDS)), corpus.counts().unreadable) == (0, {})


def test_an_empty_corpus_is_no_block() -> None:
    """No ids are an empty index, and nothing is stored for it."""
    corpus = corpus_of(MemoryStore())
    assert len(corpus.load([])) == 0
    assert corpus.save(VectorIndex(WIDTH))
    assert corpus.counts().stored == 0


def test_what_cannot_be_a_corpus_is_refused() -> None:
    """A name that cannot stand in a key and a width of nothing are told at once."""
    with pytest.raises(InvalidKeyError):
        CorpusCache("", MemoryStore(), width=1)
    with pytest.raises(ConfigurationError, match="width"):
        corpus_of(MemoryStore(), width=0)


@each_world
async def test_documents_are_embedded_once_and_then_come_from_blocks(world: World, store: Store) -> None:
    """Cold, warm, and with the blocks lost: the same rows and scores, and only the first run asks the model."""
    model = CountingEmbeddings(width=8)
    texts = [f"Advert number {n} for an engineer" for n in range(300)] + ["  ", "Advert number 7 for an engineer"]
    seen: list[tuple[int, int]] = []
    embeddings = CacheBackedEmbeddings(model, store, model="m", settings=SETTINGS)

    async def run() -> VectorIndex:
        blocks = corpus_of(store, width=8)
        options: dict[str, Any] = {"extra_of": str.encode, "on_progress": lambda *said: seen.append(said)}
        if world is World.SYNC:
            return load_corpus(texts, embeddings, blocks, **options)
        return await aload_corpus(texts, embeddings, blocks, **options)

    def state(index: VectorIndex) -> tuple[Any, ...]:
        query = np.array(model.vector("a query"), np.float32)
        ids = sorted(index.ids)
        return index.top_k(query, 9), [(id_, index.extra_of(id_)) for id_ in ids], index.vectors(ids).tolist()

    cold = state(await run())
    assert seen == [(0, 301), (256, 301), (301, 301)]
    n_requests = len(model.requests)
    assert state(await run()) == cold
    assert seen[3:] == [(301, 301)]
    store.mdelete([*store.yield_keys(prefix="corpus:")])
    assert state(await run()) == cold
    assert len(model.requests) == n_requests
    assert cold[1][0] == (min(map(document_id, texts)), cold[1][0][1])
    assert dict(cold[1])[document_id("  ")] == b"  "
