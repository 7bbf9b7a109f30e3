"""The flow under any batch of texts, any state of the store and any size of request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.counters import Counters
from cache.embedding_flow import Command, Compute, EmbeddingSpace, Lookup, Role, Save, embed_flow
from tests.fakes import CountingEmbeddings, FakeClock

if TYPE_CHECKING:
    from cache.codecs.vectors import FloatArray

TEXTS = st.lists(st.text("ab \n\ud800", max_size=2), max_size=8)


def run(space: EmbeddingSpace, model: CountingEmbeddings, store: dict[str, bytes], texts: list[str]) -> FloatArray:
    flow, answer = embed_flow(space, texts, Role.DOCUMENT), None
    try:
        while True:
            answer = answered(flow.send(answer), model, store)
    except StopIteration as done:
        array: FloatArray = done.value
        return array


def answered(command: Command, model: CountingEmbeddings, store: dict[str, bytes]) -> Any:
    match command:
        case Lookup(keys, _):
            return [store.get(key) for key in keys]
        case Compute(texts, _):
            return model.embed_documents(texts)
        case Save(pairs):
            return store.update((key, bytes(entry)) for key, entry in pairs)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 3), st.data())
def test_any_sequence_of_batches_gives_the_models_own_vectors(
    batches: list[list[str]], batch_size: int, data: st.DataObject
) -> None:
    """Whatever was stored, lost or damaged meanwhile, each row is the model's, and nothing is asked for twice."""
    model, store = CountingEmbeddings(width=3), dict[str, bytes]()
    space = EmbeddingSpace(
        model="m", namespace=None, parameters=b"{}", secret=None, ttl_s=60, batch_size=batch_size,
        clock=FakeClock(), counters=Counters(),
    )  # fmt: skip
    for texts in batches:
        n_before = model.n_texts
        missing = {text for text in texts if text.strip()} - known_texts(space, store, texts)
        found = run(space, model, store, texts)
        expected = [model.vector(text) if text.strip() else [0.0] * found.shape[1] for text in texts]
        assert found.tolist() == expected
        assert found.dtype == np.float32
        assert model.n_texts - n_before == len(missing) or not any(map(str.strip, texts))
        for key in data.draw(st.lists(st.sampled_from(sorted(store) or ["none"]), max_size=2)):
            store.pop(key, None)


def known_texts(space: EmbeddingSpace, store: dict[str, bytes], texts: list[str]) -> set[str]:
    keys, _ = space.keys(texts, Role.DOCUMENT)
    return {text for text, key in zip(texts, keys, strict=True) if key in store}
