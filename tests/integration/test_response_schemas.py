"""Response schemas given as classes, which LangChain shows to a cache by their names: real clients, real servers."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from langchain_openai import ChatOpenAI
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    computed_field,
    create_model,
)

from cache import CacheSettings, ResponseCache
from cache.chat import cached
from cache.opening import open_store
from tests.openai_server import CHAT, OpenAIServer, ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Method = Literal["json_schema", "json_mode", "function_calling"]
KEY = SecretStr("sk-kept-to-ourselves")
QUESTION = "How well does the resume fit? Answer in JSON."


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat({"score": 7})
        yield server


@pytest.fixture
async def cache(redis_url: str, namespace: str) -> AsyncIterator[ResponseCache]:
    settings = CacheSettings(redis_url=redis_url, namespace=namespace)
    store = open_store(settings)
    yield ResponseCache(store, settings=settings)
    await store.aclose()


def score(kind: Any = int, **field: Any) -> type[BaseModel]:
    """A class of the one name that all of them share, as a cell of a notebook makes it each time it is run."""
    return create_model("Score", score=(kind, Field(**field)))


class Asker:
    """A model with structured output, made anew for each request.

    Args:
        provider: where it asks.
        cache: what it asks first.
    """

    def __init__(self, provider: OpenAIServer, cache: ResponseCache) -> None:
        self._provider, self._cache = provider, cache
        self._models: list[ChatOpenAI] = []

    def model(self) -> ChatOpenAI:
        """A new model."""
        url = self._provider.base_url
        self._models.append(ChatOpenAI(model="gpt-4o-mini", api_key=KEY, base_url=url, cache=self._cache))
        return self._models[-1]

    def chain(self, schema: type[BaseModel], method: Method = "json_schema", **options: Any) -> Any:
        """What asks for that schema."""
        return self.model().with_structured_output(schema, method=method, **options)

    async def close(self) -> None:
        """Close all that was opened."""
        for model in self._models:
            model.root_client.close()
            await model.root_async_client.close()

    @property
    def n_asked(self) -> int:
        """How often the provider was asked."""
        return self._provider.n_requests(CHAT)


@pytest.fixture
async def asker(provider: OpenAIServer, cache: ResponseCache) -> AsyncIterator[Asker]:
    made = Asker(provider, cache)
    yield made
    await made.close()


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_equal_classes_share_an_answer(asker: Asker, method: Method) -> None:
    """A class that was defined again with the same fields finds the answer, as an object of the new class."""
    one, other = score(), score()
    cold, warm = (asker.chain(cls, method).invoke(QUESTION) for cls in (one, other))
    assert (type(cold), type(warm)) == (one, other)
    assert cold.model_dump() == warm.model_dump() == {"score": 7}
    assert asker.n_asked == 1


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
@pytest.mark.parametrize("changed", [score(float), score(description="From 0 to 10."), score(ge=0), score(default=3)])
def test_another_schema_of_the_same_name_is_another_request(
    asker: Asker, method: Method, changed: type[BaseModel]
) -> None:
    """Two live classes with one repr do not share an answer (traps L1, H1)."""
    assert repr(changed) == repr(score())
    asker.chain(score(), method).invoke(QUESTION)
    asker.chain(changed, method).invoke(QUESTION)
    assert asker.n_asked == 2


async def test_asynchronous_calls_see_their_own_schema(asker: Asker) -> None:
    """Twenty concurrent calls of two classes with one name get the answers of their own class: two requests."""
    one, other = score(), score(description="Points.")
    await asyncio.gather(asker.chain(one).ainvoke(QUESTION), asker.chain(other).ainvoke(QUESTION))
    found = await asyncio.gather(*[asker.chain(cls).ainvoke(QUESTION) for cls in (one, other) * 10])
    assert [type(each) for each in found] == [one, other] * 10
    assert asker.n_asked == 2


async def test_batches_see_their_own_schema(asker: Asker) -> None:
    """`batch` runs in threads, and `abatch` in tasks: both know the class."""
    chain = asker.chain(score())
    assert [each.score for each in chain.batch([QUESTION, "Other?"])] == [7, 7]
    assert [each.score for each in await chain.abatch([QUESTION, "Other?"])] == [7, 7]
    assert asker.n_asked == 2


def test_the_raw_message_of_a_hit_holds_the_object(asker: Asker) -> None:
    """With `include_raw`, the parsed object stands in the message as it did the first time (trap H20)."""
    cls = score()
    cold, warm = (asker.chain(cls, include_raw=True).invoke(QUESTION) for _ in range(2))
    assert cold["raw"].additional_kwargs["parsed"] == warm["raw"].additional_kwargs["parsed"] == cls(score=7)
    assert asker.n_asked == 1


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_an_answer_without_a_required_field_is_not_kept(asker: Asker, provider: OpenAIServer, method: Method) -> None:
    """It fails its caller, and the next caller asks again."""
    provider.script_chat({"points": 7}, {"score": 7})
    chain = asker.chain(score(), method)
    with pytest.raises(Exception, match="score"):
        chain.invoke(QUESTION)
    assert chain.invoke(QUESTION).score == 7
    assert asker.n_asked == 2


@pytest.mark.parametrize("method", ["json_mode", "function_calling"])
@pytest.mark.parametrize("wrong", ["high", 11, None])
def test_whoever_tries_again_can_get_another_answer(
    asker: Asker, provider: OpenAIServer, method: Method, wrong: Any
) -> None:
    """An answer that the class refuses is not kept: a retry asks anew, and gets what can be read."""
    answers = [{"score": wrong}, {"score": 7}]
    called = [ToolCalls((("Score", answer),)) for answer in answers]
    provider.script_chat(*(called if method == "function_calling" else answers))
    chain = asker.chain(score(le=10), method).with_retry(wait_exponential_jitter=False)
    assert [chain.invoke(QUESTION).score for _ in range(2)] == [7, 7]
    assert asker.n_asked == 2


def test_a_class_bound_by_hand_is_known_too(asker: Asker, cache: ResponseCache) -> None:
    """`bind(response_format=Class)` is what structured output does, without its parser."""
    for cls in (score(), score(), score(float)):
        asker.model().bind(response_format=cls).invoke(QUESTION)
    assert asker.n_asked == 2
    assert cache.counts().skipped == {}


class Scaled(BaseModel):
    score: Annotated[float, AfterValidator(lambda score: 10 * score)]


class Renamed(BaseModel):
    score: int = Field(alias="theScore")


class Discreet(BaseModel):
    score: int
    note: str = Field(default="none", exclude=True)


class Dated(BaseModel):
    when: Annotated[dt.date, PlainSerializer(lambda when: when.strftime("%d.%m.%Y"))]


class Doubled(BaseModel):
    score: int

    model_config = ConfigDict(extra="forbid")

    @computed_field
    def double(self) -> int:
        return 2 * self.score


CLASSES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (Scaled, {"score": 0.5}),
    (Renamed, {"theScore": 7}),
    (Discreet, {"score": 7, "note": "said"}),
    (Dated, {"when": "2026-03-02"}),
    (Doubled, {"score": 7}),
]


# The provider's own client says this of any stream that it parses, without a cache too.
parsed_in_streams = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


def invoked(chain: Any) -> Any:
    return chain.invoke(QUESTION)


def streamed(chain: Any) -> Any:
    return list(chain.stream(QUESTION))[-1]


@parsed_in_streams
@pytest.mark.parametrize(("cls", "answer"), CLASSES)
@pytest.mark.parametrize("ways", [(invoked, invoked), (streamed, streamed), (invoked, streamed), (streamed, invoked)])
def test_an_object_is_read_from_the_words_of_the_answer(
    provider: OpenAIServer, cache: ResponseCache, cls: type[BaseModel], answer: dict[str, Any], ways: Any
) -> None:
    """Validators, aliases, serializers, excluded and computed fields give a hit the object that the first call got."""
    provider.script_chat(answer)
    model = ChatOpenAI(model="gpt-4o-mini", api_key=KEY, base_url=provider.base_url, cache=cache)
    chain = cached(model).with_structured_output(cls)
    assert [way(chain) for way in ways] == [cls.model_validate(answer)] * 2
    assert provider.n_requests(CHAT) == 1


@parsed_in_streams
def test_the_chunks_of_a_replayed_stream_hold_the_object(provider: OpenAIServer, cache: ResponseCache) -> None:
    """A parsed answer stands in the last chunk as an object of its class, the second time too (trap H20)."""
    model = cached(ChatOpenAI(model="gpt-4o-mini", api_key=KEY, base_url=provider.base_url, cache=cache))
    asking = model.bind(response_format=Discreet)
    provider.script_chat({"score": 7, "note": "said"})
    found = [[chunk.additional_kwargs.get("parsed") for chunk in asking.stream(QUESTION)] for _ in range(2)]
    assert found[0] == found[1]
    assert Discreet(score=7, note="said") in found[0]
    assert provider.n_requests(CHAT) == 1


def test_an_object_that_nothing_gives_again_is_not_kept(provider: OpenAIServer, cache: ResponseCache) -> None:
    """Where a class makes another object of the same words each time, the provider is asked each time."""
    ids = iter(range(100))
    cls = create_model("Numbered", score=(Annotated[int, AfterValidator(lambda _: next(ids))], ...))
    chain = ChatOpenAI(
        model="gpt-4o-mini", api_key=KEY, base_url=provider.base_url, cache=cache
    ).with_structured_output(cls)
    assert chain.invoke(QUESTION) != chain.invoke(QUESTION)
    assert provider.n_requests(CHAT) == 2
    assert cache.counts().skipped == {"no_schema": 2}


def test_a_class_that_says_something_else_by_now_is_another_request(
    provider: OpenAIServer, cache: ResponseCache
) -> None:
    """The provider is sent a class as it is at the time of the call, with a docstring that was set since."""
    cls = score()
    model = ChatOpenAI(model="gpt-4o-mini", api_key=KEY, base_url=provider.base_url, cache=cache)
    for words in ("Points.", "Marks.", "Points."):
        cls.__doc__ = words
        model.bind(response_format=cls).invoke(QUESTION)
    assert provider.n_requests(CHAT) == 2


def test_a_schema_with_a_number_of_any_size_is_known(asker: Asker) -> None:
    """A bound over 64 bits is part of the request like any other."""
    for bound in (10**30, 10**30, 10**30 + 1):
        assert asker.chain(score(le=bound)).invoke(QUESTION).model_dump() == {"score": 7}
    assert asker.n_asked == 2
