"""Parameters of embedding models: what can change a vector is in them, and nothing that differs from run to run."""

from __future__ import annotations

import dataclasses
import functools
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_openai import AzureOpenAIEmbeddings, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from cache.parameters import embedding_parameters, plain_parameters
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "text-embedding-3-small"
LOCAL_URL = "http://127.0.0.1:1/v1"


def openai(**changes: Any) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(**{"model": MODEL, "api_key": "sk-first", **changes})


def of(underlying: object, model: str = MODEL) -> bytes:
    return embedding_parameters(underlying, model)


class Nothing(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.0]


class Plain(Nothing):
    """An embedding model with attributes of any kind."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Other(Plain):
    """Another class with the same attributes."""


class Slotted(Nothing):
    """An embedding model without a dictionary of attributes."""

    __slots__ = ()


class Pydantic(BaseModel, Nothing):
    """An embedding model with fields, some of them not empty by default."""

    model_config = ConfigDict(extra="allow")

    size: int = 8
    instruction: str | None = "passage: "
    options: dict[str, Any] = {"normalize": True}
    more: dict[str, Any] = Field(default_factory=dict)


class Twin(Pydantic):
    """Another class with the same fields."""


class Pooling(Enum):
    MEAN = 1
    CLS = 2


@dataclasses.dataclass
class Config:
    width: int


def mean() -> None:
    """Stand for one way of pooling."""


def first() -> None:
    """Stand for another way of pooling."""


def pooled(n: int) -> int:
    """Stand for a way of pooling that is set up."""
    return n


class Tokenizer:
    """Something without fields."""


class Options:
    """Something with fields, which its repr does not show."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def pooled_by(n: int) -> Callable[[], int]:
    return lambda: n


@pytest.mark.parametrize(
    "changes",
    [
        {"dimensions": 256},
        {"base_url": LOCAL_URL},
        {"organization": "org-2"},
        {"embedding_ctx_length": 512},
        {"check_embedding_ctx_length": False},
        {"tiktoken_model_name": "gpt-4"},
        {"model_kwargs": {"encoding_format": "float"}},
        {"default_headers": {"X-Variant": "b"}},
        {"default_query": {"api-version": "2"}},
        {"skip_empty": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_can_change_a_vector_is_a_parameter(changes: dict[str, Any]) -> None:
    """Dimensions, endpoint and how a text is cut or encoded are told apart, each alone (trap H7)."""
    assert of(openai()) != of(openai(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": "sk-second"},
        {"max_retries": 7},
        {"timeout": 3},
        {"chunk_size": 7},
        {"show_progress_bar": True},
        {"retry_min_seconds": 1},
        {"base_url": "https://api.openai.com/v1/"},
        {"dimensions": None},
        {"model_kwargs": {}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_how_a_request_is_sent_is_no_parameter(changes: dict[str, Any]) -> None:
    """Keys, time-outs, retries and batch sizes change no vector and no key."""
    assert of(openai()) == of(openai(**changes)) == plain_parameters()


def test_settings_at_their_default_are_left_out() -> None:
    """A plain model has no parameters, so a new version of its class with more fields finds the old entries."""
    assert of(openai()) == b"{}"
    assert of(openai(dimensions=256)) == b'{"dimensions":256}'


class Told(Pydantic):
    """A model whose vectors say how large its size is."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(self.size)] * self.size for _ in texts]


def test_a_field_that_is_set_later_is_another_model() -> None:
    """The vectors of what a model was are not served for what it is, be they as wide or not; it may change back."""
    model = Told()
    embeddings = CacheBackedEmbeddings(model, MemoryStore(), model="told", settings=CacheSettings())
    for size in (8, 4, 8):
        model.size = size
        assert embeddings.embed_documents(["a"]) == [[size] * size]
    assert (embeddings.counts().made, embeddings.counts().hits) == (2, 1)


def test_no_secret_is_a_parameter() -> None:
    """An API key shows nowhere, not even inside of another model."""
    secret = "s3cr3t"  # noqa: S105  to be looked for
    inner = openai(api_key=secret)
    for underlying in (inner, Plain(inner=inner), Plain(key=SecretStr(secret)), Plain(keys={"a": SecretStr(secret)})):
        assert secret.encode() not in of(underlying)


def test_the_own_name_of_a_model_counts_where_it_is_not_the_one_in_the_key() -> None:
    """The name in the key need not be added again; another one that the model has must be."""
    assert of(openai()) == b"{}"
    assert of(openai(), "mine") == b'{"model":["text-embedding-3-small"]}'
    assert of(openai(model="text-embedding-3-large"), "mine") != of(openai(), "mine")


def test_the_environment_says_where_a_silent_model_sends() -> None:
    """A model without an endpoint is told apart by where the environment points it; one that names it is not moved."""
    assert embedding_parameters(openai(), MODEL, default_base_url=LOCAL_URL) == of(openai(base_url=LOCAL_URL + "/"))
    assert embedding_parameters(openai(), MODEL, default_base_url=LOCAL_URL) == plain_parameters(LOCAL_URL)
    named = openai(base_url="https://api.openai.com/v1")
    assert embedding_parameters(named, MODEL, default_base_url=LOCAL_URL) == b"{}"


def test_azure_resources_and_deployments_are_told_apart() -> None:
    """Two resources, or two deployments of one, may hold different models."""

    def azure(resource: str, deployment: str) -> bytes:
        return of(
            AzureOpenAIEmbeddings(
                azure_endpoint=f"https://{resource}.example.com", azure_deployment=deployment, api_key=SecretStr("k"),
                api_version="2024-10-21", model=MODEL,
            )
        )  # fmt: skip

    assert len({azure("one", "a"), azure("two", "a"), azure("one", "b"), of(openai())}) == 4


def test_classes_with_the_same_settings_are_told_apart() -> None:
    """Outside of langchain-openai, the class is a parameter."""
    assert of(Plain(width=8)) != of(Other(width=8))
    assert of(Pydantic()) != of(Twin())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (8, 9),
        (0, None),
        (True, 1),
        (0.1, 0.2),
        ("a", "b"),
        (b"a", b"b"),
        (["a", "b"], ["b", "a"]),
        ({"a": 1}, {"a": 2}),
        ({"a"}, {"b"}),
        (Pooling.MEAN, Pooling.CLS),
        (Config(8), Config(9)),
        (mean, first),
        (Config, Tokenizer),
        (functools.partial(pooled, 1), functools.partial(pooled, 2)),
        (Pydantic(size=1), Pydantic(size=2)),
        (Pydantic(), Twin()),
        (Plain(size=1), Plain(size=2)),
        (Plain(), Other()),
        (Options(pooling="mean"), Options(pooling="cls")),
        ({"a": Options(pooling=1)}, {"a": Options(pooling=2)}),
        (lambda text: text.lower(), lambda text: text.upper()),
        (lambda text: text[:512], lambda text: text[:256]),
        (pooled_by(1), pooled_by(2)),
        (str.lower, str.upper),
        (PurePosixPath("/one"), PurePosixPath("/other")),
        (Decimal("0.1"), Decimal("0.2")),
        (np.array([1.0]), np.array([2.0])),
        (np.zeros((1, 2)), np.zeros((2, 1))),
        ({1: "a"}, {"1": "a"}),
        ({1, "2"}, {"1", 2}),
        (2**70, 2**70 + 1),
        (float("nan"), None),
        ("\ud800", "\ud801"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_two_values_of_an_attribute_are_told_apart(one: Any, other: Any) -> None:
    """Whatever an attribute is, another value of it makes other parameters; models inside of models too."""
    assert of(Plain(attribute=one)) != of(Plain(attribute=other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"instruction": None}, {}),
        ({"instruction": ""}, {}),
        ({"options": {}}, {}),
        ({"extra": "a"}, {"extra": "b"}),
        ({"extra": "a"}, {}),
    ],
)
def test_an_empty_value_in_place_of_a_default_counts(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Nothing where the class has something by default is a choice, and so is a field that the class does not name."""
    assert of(Pydantic(**one)) != of(Pydantic(**other))


def test_a_default_that_is_repeated_is_a_default() -> None:
    """Giving a value that is the default anyway changes nothing."""
    given = Pydantic(size=8, instruction="passage: ", options={"normalize": True}, more={})
    assert of(given) == of(Pydantic())


def test_private_and_absent_attributes_are_left_out() -> None:
    """What an object keeps for itself, or has not set, says nothing about its vectors."""
    assert of(Plain(width=8)) == of(Plain(width=8, _n_calls=3, other=None, client=object(), max_retries=2))


@pytest.mark.parametrize(
    "attribute",
    [
        object(),
        Tokenizer(),
        mean,
        functools.partial(mean),
        [Tokenizer()],
        Options(inner=Tokenizer()),
        lambda: mean,
        pooled_by,
        Tokenizer().__str__,
    ],
)
@pytest.mark.parametrize("name", ["model", "model_name", "tokenizer"])
def test_an_object_never_shows_its_address(name: str, attribute: Any) -> None:
    """An address would be another key in each process: entries would never be found again."""
    assert b"0x" not in of(Plain(**{name: attribute}))


@pytest.mark.parametrize("underlying", [Slotted(), Plain(model=["a"]), Plain(model={"a": 1}), object()])
def test_any_object_has_parameters(underlying: object) -> None:
    """No model is too odd to be wrapped."""
    assert of(underlying) == of(underlying)


def test_parameters_have_one_order() -> None:
    """Sets and dictionaries are sorted: their own order differs from process to process."""
    letters = {"d", "a", "c", "b", "f", "e"}
    options = b'"options":{"x":["a","b","c","d","e","f"],"y":1}'
    expected = b'{"class":"%s.Plain",%s,"width":8}' % (Plain.__module__.encode(), options)
    assert of(Plain(width=8, options={"y": 1, "x": letters})) == expected


def test_a_counting_model_does_not_change_by_being_asked() -> None:
    """What a model counts is no parameter, so that a cache built later finds what an earlier one stored."""
    model = CountingEmbeddings()
    before = of(model)
    model.embed_documents(["a"])
    assert of(model) == before
