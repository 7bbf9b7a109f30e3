"""The flow of a batch of texts: what it asks for, in which order, and what it makes of the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cache.codecs.vectors import FloatArray, encode_vectors
from cache.counters import Counters, Counts
from cache.embedding_flow import (
    Command,
    Compute,
    EmbeddingSpace,
    Lookup,
    Role,
    Save,
    check_answer,
    embed_flow,
    pack_vector,
    unpack_vector,
)
from cache.errors import ProviderAnswerError
from cache.keys import content_hash
from tests.fakes import CountingEmbeddings, FakeClock, Fault, ProviderDownError, Request

TTL_S = 600
DOCUMENT, QUERY = Role.DOCUMENT, Role.QUERY


class World:
    """A flow with everything around it: a dictionary for the store, a model, and a note of what was asked for."""

    def __init__(self, embeddings: CountingEmbeddings | None = None, **space: Any) -> None:
        self.clock = FakeClock()
        self.embeddings = embeddings or CountingEmbeddings()
        self.store: dict[str, bytes] = {}
        self.commands: list[Command] = []
        given = {"namespace": None, "parameters": b"{}", "secret": None, "batch_size": 8} | space
        self.space = EmbeddingSpace(model="m", ttl_s=TTL_S, clock=self.clock, counters=Counters(), **given)

    def embed(self, *texts: str, role: Role = DOCUMENT, on_progress: Any = None) -> FloatArray:
        flow = embed_flow(self.space, texts, role, on_progress)
        answer: Any = None
        while True:
            try:
                command = flow.send(answer)
            except StopIteration as done:
                array: FloatArray = done.value
                return array
            self.commands.append(command)
            answer = self._answer(command)

    def _answer(self, command: Command) -> Any:
        match command:
            case Lookup(keys, _):
                return [self.store.get(key) for key in keys]
            case Save(pairs):
                self.store.update((key, bytes(entry)) for key, entry in pairs)
                return None
            case Compute([text], Role.QUERY):
                return [self.embeddings.embed_query(text)]
            case Compute(texts, _):
                return self.embeddings.embed_documents(texts)

    def vectors(self, *texts: str, is_query: bool = False) -> list[list[float]]:
        return [self.embeddings.vector(text, is_query=is_query) for text in texts]

    def counts(self) -> Counts:
        return self.space.counters.snapshot()

    def kinds(self) -> list[type]:
        """What was asked for since the last time."""
        kinds: list[type] = [type(command) for command in self.commands]
        self.commands.clear()
        return kinds

    def put(self, vector: list[float], *texts: str) -> None:
        """Store a vector of any width under the keys of texts."""
        keys, tags = self.space.keys(texts, DOCUMENT)
        rows = np.array([vector] * len(texts), dtype=np.float32)
        entries = encode_vectors(rows, tags, created_s=int(self.clock.now_s()), ttl_s=TTL_S)
        self.store.update((key, bytes(entry)) for key, entry in zip(keys, entries, strict=True))


@pytest.fixture
def world() -> World:
    return World()


def test_a_cold_batch_is_looked_up_made_and_saved(world: World) -> None:
    """One look-up, one request upstream, one write; the vectors are the model's own."""
    found = world.embed("a", "b")
    assert found.tolist() == world.vectors("a", "b")
    assert found.dtype == np.float32
    assert found.shape == (2, 8)
    lookup, compute, save = world.commands
    keys, _ = world.space.keys(["a", "b"], DOCUMENT)
    assert lookup == Lookup(keys, 64)
    assert compute == Compute(["a", "b"], DOCUMENT)
    assert isinstance(save, Save)
    assert [key for key, _ in save.pairs] == keys
    assert world.counts() == Counts(misses=2, made=2)


def test_a_warm_batch_is_one_look_up(world: World) -> None:
    """What is stored comes back bit for bit, without the model; now the expected size is known too."""
    cold = world.embed("a", "b")
    world.kinds()
    warm = world.embed("b", "a")
    assert warm.tobytes() == cold[::-1].tobytes()
    keys, _ = world.space.keys(["b", "a"], DOCUMENT)
    assert world.commands == [Lookup(keys, 64 + 4 * 8)]
    assert world.counts() == Counts(hits=2, misses=2, made=2)


def test_only_what_is_missing_is_made(world: World) -> None:
    """A batch of which some is stored costs the model the rest, and keeps its order."""
    world.embed("a", "c")
    assert world.embed("a", "b", "c", "d").tolist() == world.vectors("a", "b", "c", "d")
    assert world.embeddings.requests[1:] == [Request(("b", "d"), is_query=False, is_async=False)]
    assert world.counts() == Counts(hits=2, misses=4, made=4)


def test_equal_texts_are_embedded_once(world: World) -> None:
    """A repeated text is one key, one row upstream, and as many rows in the answer as were asked for."""
    found = world.embed("a", "b", "a", "a")
    assert found.tolist() == world.vectors("a", "b", "a", "a")
    assert world.embeddings.n_texts == 2
    found[0] = 7
    assert found[2].tolist() == world.vectors("a")[0]


def test_texts_that_differ_in_one_space_are_two_texts(world: World) -> None:
    """Nothing is normalised that the model would not normalise itself (trap H8)."""
    world.embed("a", "a ", "A", "a\u0301", "á")
    assert world.embeddings.n_texts == 5


def test_a_blank_text_is_the_zero_vector_and_never_sent(world: World) -> None:
    """Empty and blank texts, which providers refuse, are rows of zeros."""
    found = world.embed("", "a", " \n\t")
    assert found.tolist() == [[0.0] * 8, world.vectors("a")[0], [0.0] * 8]
    assert world.embeddings.requests == [Request(("a",), is_query=False, is_async=False)]


def test_blank_texts_alone_learn_the_width_once(world: World) -> None:
    """With nothing but blank texts, one word tells how wide the zeros are; it is asked for once and cached."""
    assert world.embed("", " ").tolist() == [[0.0] * 8] * 2
    assert world.embeddings.n_texts == 1
    world.kinds()
    assert world.embed("").tolist() == [[0.0] * 8]
    assert world.kinds() == []
    other = World()
    other.store = world.store
    assert other.embed("").shape == (1, 8)
    assert other.kinds() == [Lookup]


def test_no_texts_ask_for_nothing(world: World) -> None:
    """An empty batch touches neither store nor model; it is as wide as the model once that is known."""
    assert world.embed().shape == (0, 0)
    assert world.kinds() == []
    world.embed("a")
    assert world.embed().shape == (0, 8)
    assert world.embed().dtype == np.float32


def test_queries_and_documents_are_apart(world: World) -> None:
    """The same text as a query has another key and its own vector, and both are cached (trap H7)."""
    for _ in range(2):
        assert world.embed("a").tolist() == world.vectors("a")
        assert world.embed("a", role=QUERY).tolist() == world.vectors("a", is_query=True)
    assert world.embeddings.requests == [Request(("a",), is_query, is_async=False) for is_query in (False, True)]
    assert len(world.store) == 2


def test_large_batches_are_sent_and_saved_in_parts() -> None:
    """The model gets at most a batch at once, and each batch is saved as soon as it is there."""
    world = World(batch_size=2)
    texts = list("abcde")
    assert world.embed(*texts).tolist() == world.vectors(*texts)
    assert [len(request.texts) for request in world.embeddings.requests] == [2, 2, 1]
    assert world.kinds() == [Lookup, Compute, Save, Compute, Save, Compute, Save]


def test_what_was_made_before_an_error_is_kept() -> None:
    """The error of a later batch goes to the caller; the next try pays only for what is still missing."""
    world = World(CountingEmbeddings(faults={1: Fault.ERROR}), batch_size=2)
    with pytest.raises(ProviderDownError):
        world.embed(*"abcd")
    assert world.embed(*"abcd").tolist() == world.vectors(*"abcd")
    assert [request.texts for request in world.embeddings.requests] == [("a", "b"), ("c", "d"), ("c", "d")]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.ERROR])
def test_an_answer_that_cannot_be_trusted_is_refused_whole(fault: Fault) -> None:
    """Too few, too many, ragged, endless or no numbers: nothing of such an answer is stored (trap H38)."""
    world = World(CountingEmbeddings(faults={1: fault}))
    world.embed("known")
    before = dict(world.store)
    with pytest.raises(ProviderAnswerError):
        world.embed("a", "b", "c")
    assert world.store == before
    assert world.counts().made == 1
    assert world.embed("a", "b", "c").tolist() == world.vectors("a", "b", "c")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [[]],
        [0.5],
        [[0.5], [0.5]],
        [[[0.5]]],
        [[0.5, None]],
        [["x"]],
        [{"a": 1}],
        [[10**400]],
        [[1e39]],
        [[float("nan")]],
        [[float("-inf")]],
        [[0.5, 1j]],
        "text",
    ],
    ids=str,
)
def test_whatever_is_no_row_of_numbers_is_refused(answer: Any) -> None:
    """An answer for one text is one finite vector, whatever else a provider may send."""
    with pytest.raises(ProviderAnswerError, match="from the provider"):
        check_answer(answer, 1, None)


@pytest.mark.parametrize("answer", [[[1, 2.5]], [(1, 2.5)], np.array([[1, 2.5]]), [np.array([1, 2.5], np.float16)]])
def test_numbers_of_any_kind_are_taken(answer: Any) -> None:
    """Lists, tuples and arrays of any number type become float32."""
    found = check_answer(answer, 1, 2)
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 2.5]]


def test_the_answer_of_the_provider_is_not_shared() -> None:
    """What the caller gets can be changed without changing what the provider holds."""
    answer = np.ones((1, 2), np.float32)
    check_answer(answer, 1, None)[:] = 7
    assert answer.tolist() == [[1.0, 1.0]]


def test_cold_and_warm_vectors_can_be_changed(world: World) -> None:
    """Made or found, alone or repeated, the array is the caller's own."""
    for texts in [("a", "b"), ("a", "b"), ("a", "", "a"), ("",)]:
        before = world.embed(*texts).tolist()
        world.embed(*texts)[:] = 7
        assert world.embed(*texts).tolist() == before


def test_entries_end_after_their_time(world: World) -> None:
    """An entry that the store still holds after its time is made again."""
    world.embed("a")
    world.clock.advance(TTL_S - 1)
    world.embed("a")
    assert world.embeddings.n_texts == 1
    world.clock.advance(1)
    world.embed("a")
    assert world.embeddings.n_texts == 2
    assert world.counts() == Counts(hits=1, misses=2, made=2)


@pytest.mark.parametrize("damaged", [b"", b"foreign", b"RCE1" + bytes(90)])
def test_a_damaged_entry_is_counted_and_replaced(world: World, damaged: bytes) -> None:
    """What cannot be read costs a miss, is named, and is overwritten by the next write (trap H39)."""
    whole = world.embed("a", "b")
    [key], _ = world.space.keys(["a"], DOCUMENT)
    world.store[key] = damaged
    assert world.embed("a", "b").tobytes() == whole.tobytes()
    assert sum(world.counts().unreadable.values()) == 1
    assert world.embed("a", "b").tobytes() == whole.tobytes()
    assert world.counts().made == 3


def test_hits_of_another_width_are_made_again(world: World) -> None:
    """Once the model has said how wide it is, entries of another width are misses (trap H7)."""
    world.embed("known")
    world.put([1.0, 2.0], "a", "b")
    assert world.embed("a", "b").tolist() == world.vectors("a", "b")
    assert world.embed("a", "b").tolist() == world.vectors("a", "b")
    assert world.embeddings.n_texts == 3


def test_of_two_stored_widths_the_common_one_is_believed_until_the_model_speaks(world: World) -> None:
    """In a mixed batch the rarer width is made anew; if the model turns out to be of a third, all are."""
    world.put([1.0, 2.0], "a", "b")
    world.put([1.0, 2.0, 3.0], "c")
    assert world.embed("a", "b", "c").tolist() == world.vectors("a", "b", "c")
    assert [request.texts for request in world.embeddings.requests] == [("c",), ("a", "b")]
    assert world.embed("a", "b", "c").tolist() == world.vectors("a", "b", "c")
    assert world.embeddings.n_texts == 3


def test_stored_vectors_of_one_width_are_served_without_asking(world: World) -> None:
    """Where all that is stored agrees, the model is not asked how wide it is."""
    world.put([1.0, 2.0], "a", "b")
    assert world.embed("a", "b").tolist() == [[1.0, 2.0]] * 2
    assert world.embeddings.n_requests == 0


def test_what_making_took_is_counted_when_it_is_saved() -> None:
    """300 ms for three texts are 100 ms for each, and a hit of two of them has saved 200 ms."""
    world = World()
    world.embeddings = CountingEmbeddings(on_request=lambda: world.clock.advance(0.3))
    world.embed("a", "b", "c")
    world.embed("c", "a")
    assert world.counts() == Counts(hits=2, misses=3, made=3, saved_ms=200)


def test_progress_is_told_as_it_is_made() -> None:
    """A long batch says how many distinct texts are ready: after the look-up, and after each part."""
    world = World(batch_size=2)
    world.embed("a")
    told: list[tuple[int, int]] = []
    world.embed(*"abcdee", on_progress=lambda n_ready, n_all: told.append((n_ready, n_all)))
    assert told == [(1, 5), (3, 5), (5, 5)]


def test_a_key_is_the_documented_hash(world: World) -> None:
    """The content hash covers kind, model, role, parameters and text, in this order."""
    [key], _ = world.space.keys(["Größe"], QUERY)
    assert key == "emb:m:" + content_hash("embedding", "m", "query", b"{}", "Größe")


def test_whatever_a_vector_depends_on_makes_another_key() -> None:
    """Role, parameters, tenant and the secret each lead to another key for the same text."""
    changes: list[dict[str, Any]] = [
        {}, {"parameters": b'{"dimensions":256}'}, {"namespace": "acme"}, {"secret": b"k"}, {"secret": b"l"},
    ]  # fmt: skip
    keys = [World(**change).space.keys(["a"], role)[0][0] for change in changes for role in Role]
    assert len(set(keys)) == 10


def test_a_space_can_be_logged() -> None:
    """Neither the secret nor the parameters, which may hold headers, show in its repr."""
    shown = repr(World(secret=b"s3cr3t", parameters=b"s3cr3t").space)
    assert "s3cr3t" not in shown


def test_a_vector_that_somebody_else_made_is_found_by_the_flow(world: World) -> None:
    """An entry packed alone is the one that a batch looks up, and the other way round."""
    key, entry = pack_vector(world.space, "a", [1.0] * 8, made_ms=5)
    world.store[key] = bytes(entry)
    assert world.embed("a").tolist() == [[1.0] * 8]
    assert world.counts() == Counts(hits=1, saved_ms=5)
    world.embed("b")
    [other], _ = world.space.keys(["b"], DOCUMENT)
    found = unpack_vector(world.space, "b", world.store[other])
    assert found is not None
    assert found.tolist() == world.vectors("b")[0]


def test_a_vector_that_does_not_fit_is_neither_packed_nor_unpacked(world: World) -> None:
    """Single entries keep the rules of a batch: finite, of the model's width, of this key, and fresh."""
    world.embed("known")
    for vector in ([1.0], [float("nan")] * 8, [], "text"):
        with pytest.raises(ProviderAnswerError):
            pack_vector(world.space, "a", vector)
    world.put([1.0], "narrow")
    world.put([1.0] * 8, "old")
    entries = {text: world.store[world.space.keys([text], DOCUMENT)[0][0]] for text in ("narrow", "old", "known")}
    assert unpack_vector(world.space, "narrow", entries["narrow"]) is None
    world.clock.advance(TTL_S)
    assert unpack_vector(world.space, "old", entries["old"]) is None
    assert unpack_vector(world.space, "other", entries["known"]) is None
    assert unpack_vector(world.space, "other", None) is None
    assert world.counts() == Counts(misses=5, made=1, unreadable={"DecodeError": 1})
