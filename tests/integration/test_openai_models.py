"""The real clients of OpenAI against a server that speaks its protocol, cached in a real Valkey."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol, cast

import openai
import pytest
from pydantic import SecretStr

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.opening import open_store
from chains.matching import build_match_chain
from chains.models import RemoteModels, build_chat_model, build_embeddings
from chains.schemas import MatchExplanation, MatchResult
from tests.integration.calling import World
from tests.openai_server import CHAT, EMBEDDINGS, MODELS, OpenAIServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import Runnable
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

KEY = "sk-kept-to-ourselves"
EMBEDDING_MODEL, CHAT_MODEL = "text-embedding-3-small", "gpt-4o-mini"
RESUME = "Backend engineer. Five years of Python, Redis and PostgreSQL at a bank."
PAIR = {"resume": RESUME, "job": "Python developer\nRequirements: Python, Redis, Kubernetes."}
OTHER_PAIR = {"resume": RESUME, "job": "Nurse\nRequirements: night shifts, first aid."}
EXPLANATION = {"summary": "Fits.", "strengths": ["Python and Redis"], "gaps": ["Kubernetes"]}
IMPATIENT_S = 0.2

each_world = pytest.mark.parametrize("world", World)


class Application:
    """One process: the models of a provider behind the cache.

    Args:
        settings: of the cache.
        remote: where the models are.
    """

    def __init__(self, settings: CacheSettings, remote: RemoteModels) -> None:
        self.store = open_store(settings)
        self.underlying, name, size = build_embeddings(remote)
        self.embeddings = CacheBackedEmbeddings(
            self.underlying, self.store, model=name, batch_size=size, settings=settings
        )
        responses = ResponseCache(self.store, settings=settings)
        self.chat_model = build_chat_model(remote, cache=responses)
        self.chain = build_match_chain(self.embeddings, chat_model=self.chat_model)
        self.computed_chain = build_match_chain(self.embeddings)

    async def close(self) -> None:
        await self.store.aclose()
        chat, embeddings = cast("ChatOpenAI", self.chat_model), cast("OpenAIEmbeddings", self.underlying)
        for client in (chat.root_client, embeddings.client._client):
            client.close()
        for client in (chat.root_async_client, embeddings.async_client._client):
            await client.close()


class Start(Protocol):
    """Starts an application; each one is as another process would be."""

    def __call__(self, server: OpenAIServer | None = None, **changes: Any) -> Application: ...


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat(EXPLANATION)
        yield server


@pytest.fixture
async def start(redis_url: str, namespace: str, provider: OpenAIServer) -> AsyncIterator[Start]:
    settings = CacheSettings(redis_url=redis_url, namespace=namespace, deadline_ms=5000)
    started: list[Application] = []

    def start_one(server: OpenAIServer | None = None, **changes: Any) -> Application:
        given: dict[str, Any] = {
            "api_key": SecretStr(KEY),
            "base_url": (server or provider).base_url,
            "embedding_model": EMBEDDING_MODEL,
            "chat_model": CHAT_MODEL,
        }
        started.append(Application(settings, RemoteModels(**given | changes)))
        return started[-1]

    yield start_one
    for application in started:
        await application.close()


async def ask(world: World, runnable: Runnable[Any, Any], request: Any) -> Any:
    return runnable.invoke(request) if world is World.SYNC else await runnable.ainvoke(request)


async def ask_all(world: World, runnable: Runnable[Any, Any], requests: list[Any]) -> list[Any]:
    return runnable.batch(requests) if world is World.SYNC else await runnable.abatch(requests)


def warnings_in(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def explained_by_prompt(body: dict[str, Any]) -> str:
    """Answer with the first line of the ad that the prompt holds."""
    title = body["messages"][-1]["content"].partition("<ad>\n")[2].partition("\n")[0]
    return json.dumps(EXPLANATION | {"summary": f"About {title}."})


# --- embeddings ----------------------------------------------------------------------------------------------------


@each_world
async def test_a_second_process_embeds_nothing(world: World, start: Start, provider: OpenAIServer) -> None:
    """Vectors come from the provider once; another process asks for none and gets the same numbers."""
    texts = ["a resume", "an ad", "a resume"]
    cold = await world.embed(start().embeddings, texts)
    warm = await world.embed(start().embeddings, texts)
    assert cold == warm == [provider.vector(text, model=EMBEDDING_MODEL) for text in texts]
    assert [request.body["input"] for request in provider.requests] == [["a resume", "an ad"]]


@each_world
async def test_a_query_is_embedded_once(world: World, start: Start, provider: OpenAIServer) -> None:
    """A query comes from the provider once, and apart from a document of the same text."""
    for _ in range(2):
        embeddings = start().embeddings
        found = embeddings.embed_query("q") if world is World.SYNC else await embeddings.aembed_query("q")
        assert found == provider.vector("q", model=EMBEDDING_MODEL)
    await world.embed(start().embeddings, ["q"])
    assert provider.n_requests(EMBEDDINGS) == 2


@each_world
async def test_many_texts_go_up_in_batches(world: World, start: Start, provider: OpenAIServer) -> None:
    """300 texts are two requests, of 256 and of 44 texts, and none when they are cached."""
    texts = [f"text {n}" for n in range(300)]
    cold = await world.embed(start().embeddings, texts)
    assert await world.embed(start().embeddings, texts) == cold
    assert [len(request.body["input"]) for request in provider.requests] == [256, 44]


@each_world
async def test_a_failing_provider_of_embeddings_shows(world: World, start: Start, provider: OpenAIServer) -> None:
    """When the provider fails, the caller sees its error for new texts, and cached ones are still served."""
    cold = await world.embed(start().embeddings, ["known"])
    provider.fail_with(500)
    application = start()
    with pytest.raises(openai.InternalServerError):
        await world.embed(application.embeddings, ["known", "new"])
    assert await world.embed(application.embeddings, ["known"]) == cold


# --- answers -------------------------------------------------------------------------------------------------------


@each_world
async def test_a_second_process_asks_nothing(world: World, start: Start, provider: OpenAIServer) -> None:
    """An answer comes from the provider once; the next is the same, says that it was a hit, and bills nothing."""
    provider.script_chat("Hello to you.")
    first = await ask(world, start().chat_model, "Hello")
    second = await ask(world, start().chat_model, "Hello")
    assert provider.n_requests(CHAT) == 1
    assert first.content == second.content == "Hello to you."
    assert first.usage_metadata["total_tokens"] == 30
    assert second.usage_metadata["total_tokens"] == 0
    assert second.response_metadata["resumecache"]["hit"] is True
    assert first.id != second.id


@each_world
async def test_an_explained_match_is_asked_once(world: World, start: Start, provider: OpenAIServer) -> None:
    """A warm run of the match chain makes no request at all and gives an equal result."""
    cold = await ask(world, start().chain, PAIR)
    n_cold = len(provider.requests)
    warm = await ask(world, start().chain, PAIR)
    assert len(provider.requests) == n_cold == 2
    assert warm == cold
    assert isinstance(warm, MatchResult)
    assert (warm.explanation, warm.explained_by) == ("Fits.", CHAT_MODEL)
    assert (warm.strengths, warm.gaps) == (("Python and Redis",), ("Kubernetes",))


async def test_sync_and_async_share_entries(start: Start, provider: OpenAIServer) -> None:
    """What the one world has paid for, the other gets."""
    cold = start().chain.invoke(PAIR)
    n_cold = len(provider.requests)
    assert await start().chain.ainvoke(PAIR) == cold
    assert len(provider.requests) == n_cold


@each_world
async def test_a_batch_of_matches_is_asked_once(world: World, start: Start, provider: OpenAIServer) -> None:
    """A warm batch makes no request, and each pair has its own result, in order."""
    provider.script_chat(explained_by_prompt)
    cold = await ask_all(world, start().chain, [PAIR, OTHER_PAIR])
    n_cold = len(provider.requests)
    warm = await ask_all(world, start().chain, [PAIR, OTHER_PAIR])
    assert len(provider.requests) == n_cold
    assert warm == cold
    assert [result.explanation for result in warm] == ["About Python developer.", "About Nurse."]


async def test_the_request_carries_the_whole_schema(start: Start, provider: OpenAIServer) -> None:
    """The provider is sent every field of the explanation, so that two versions of it are two requests."""
    start().chain.invoke(PAIR)
    sent = provider.requests[-1].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["name"] == "MatchExplanation"
    assert set(sent["json_schema"]["schema"]["properties"]) == set(MatchExplanation.model_fields)


async def test_a_stream_gives_the_words_of_the_answer(start: Start, provider: OpenAIServer) -> None:
    """A streamed answer arrives in more than one piece, and they join to the answer."""
    provider.script_chat("one two three")
    pieces = [chunk.content for chunk in start().chat_model.stream("count")]
    assert "".join(map(str, pieces)) == "one two three"
    assert len([piece for piece in pieces if piece]) > 1


# --- a model that fails --------------------------------------------------------------------------------------------


@each_world
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_failing_model_leaves_the_computed_explanation(
    world: World, status: int, start: Start, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With a model that answers errors the computed explanation stands, with one warning and nothing kept."""
    application = start()
    computed = await ask(world, application.computed_chain, PAIR)
    provider.fail_with(status)
    assert await ask(world, application.chain, PAIR) == computed
    assert computed.explained_by == "rules"
    assert len(warnings_in(caplog)) == 1
    provider.recover()
    assert (await ask(world, application.chain, PAIR)).explained_by == CHAT_MODEL


@each_world
@pytest.mark.parametrize("status", [429, 500])
async def test_an_error_that_passes_is_not_seen(
    world: World, status: int, start: Start, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that fails twice and then answers is asked three times, and its explanation is given."""
    application = start()
    await ask(world, application.computed_chain, PAIR)
    provider.fail_with(status, times=2)
    assert (await ask(world, application.chain, PAIR)).explained_by == CHAT_MODEL
    assert provider.n_requests(CHAT) == 3
    assert warnings_in(caplog) == []


@each_world
async def test_a_hanging_model_leaves_the_computed_explanation(
    world: World, start: Start, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With a model that never answers the computed explanation stands after the time-out, with one warning."""
    application = start(timeout_s=IMPATIENT_S)
    computed = await ask(world, application.computed_chain, PAIR)
    provider.hang()
    assert await ask(world, application.chain, PAIR) == computed
    assert len(warnings_in(caplog)) == 1


@each_world
async def test_a_failing_provider_does_not_matter_to_what_is_cached(
    world: World, start: Start, provider: OpenAIServer
) -> None:
    """While the provider fails, an explained match that is cached is served whole and without a request."""
    cold = await ask(world, start().chain, PAIR)
    n_cold = len(provider.requests)
    provider.fail_with(500)
    assert await ask(world, start().chain, PAIR) == cold
    assert len(provider.requests) == n_cold


@pytest.mark.parametrize(
    "answer",
    [
        "I think it fits.",
        "[]",
        '"Fits."',
        '{"summary": "Fits.", "strengths": ["Py',
        {"summary": "Fits."},
        EXPLANATION | {"summary": 1},
        EXPLANATION | {"salary": "invented"},
    ],
    ids=["prose", "list", "string", "half", "field_missing", "wrong_kind", "field_too_many"],
)
async def test_an_answer_outside_the_schema_is_not_used(
    answer: str | dict[str, Any], start: Start, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    """When the model answers outside its schema, the computed explanation stands, with one warning."""
    provider.script_chat(answer)
    application = start()
    found = application.chain.invoke(PAIR)
    assert found == application.computed_chain.invoke(PAIR)
    assert len(warnings_in(caplog)) == 1


@each_world
@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
async def test_a_broken_off_answer_is_not_kept(
    world: World, finish_reason: str, start: Start, provider: OpenAIServer
) -> None:
    """An answer that was cut or filtered is not used and not cached: the next process asks again."""
    provider.finish_reason = finish_reason
    assert (await ask(world, start().chain, PAIR)).explained_by == "rules"
    provider.finish_reason = "stop"
    assert (await ask(world, start().chain, PAIR)).explained_by == CHAT_MODEL
    assert provider.n_requests(CHAT) == 2


@each_world
async def test_a_cut_text_is_given_and_not_kept(world: World, start: Start, provider: OpenAIServer) -> None:
    """A plain answer that was cut goes to its caller, and the next caller's is asked for anew."""
    provider.script_chat("It was a dark and", "It was a dark and stormy night.")
    provider.finish_reason = "length"
    assert (await ask(world, start().chat_model, "Go on")).content == "It was a dark and"
    provider.finish_reason = "stop"
    assert (await ask(world, start().chat_model, "Go on")).content == "It was a dark and stormy night."


@each_world
async def test_a_refusal_is_not_kept(world: World, start: Start, provider: OpenAIServer) -> None:
    """A model that refuses leaves the computed explanation, and the next process asks again."""
    provider.refusal = "I would rather not."
    assert (await ask(world, start().chain, PAIR)).explained_by == "rules"
    provider.refusal = None
    assert (await ask(world, start().chain, PAIR)).explained_by == CHAT_MODEL


# --- what an entry depends on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"chat_model": "llama3:8b", "embedding_model": "bge:large"}])
async def test_another_model_has_entries_of_its_own(
    changes: dict[str, Any], start: Start, provider: OpenAIServer
) -> None:
    """With other models' names everything is asked again, and the first ones' entries stay."""
    first = start().chain.invoke(PAIR)
    start(**changes).chain.invoke(PAIR)
    assert (provider.n_requests(EMBEDDINGS), provider.n_requests(CHAT)) == (2, 2)
    assert start().chain.invoke(PAIR) == first
    assert len(provider.requests) == 4


async def test_another_server_has_entries_of_its_own(start: Start, provider: OpenAIServer) -> None:
    """Models of the same names at another base URL are other models."""
    with OpenAIServer() as other:
        other.script_chat(EXPLANATION | {"summary": "Of the other server."})
        assert start().chain.invoke(PAIR).explanation == "Fits."
        assert start(other).chain.invoke(PAIR).explanation == "Of the other server."
        assert (other.n_requests(EMBEDDINGS), other.n_requests(CHAT)) == (1, 1)
        assert start().chain.invoke(PAIR).explanation == "Fits."
    assert len(provider.requests) == 2


@pytest.mark.parametrize("changes", [{"api_key": SecretStr("sk-another")}, {"api_key": None}, {"timeout_s": 7.0}])
async def test_how_a_request_is_sent_does_not_matter(
    changes: dict[str, Any], start: Start, provider: OpenAIServer
) -> None:
    """Another key, no key or another time-out finds the same entries."""
    first = start().chain.invoke(PAIR)
    assert start(**changes).chain.invoke(PAIR) == first
    assert len(provider.requests) == 2


async def test_nothing_that_is_stored_holds_the_key(start: Start, provider: OpenAIServer, namespace: str) -> None:
    """The provider's key goes to the provider, and neither into a key nor into a value of the cache."""
    application = start()
    application.chain.invoke(PAIR)
    assert {request.headers["authorization"] for request in provider.requests} == {f"Bearer {KEY}"}
    keys = list(application.store.yield_keys(prefix=f"{namespace}:"))
    assert len(keys) == 3
    assert not any(KEY in key for key in keys)
    assert not any(KEY.encode() in (value or b"") for value in application.store.mget(keys))


# --- the server of these tests -------------------------------------------------------------------------------------


def test_the_server_lists_models_and_knows_both_encodings(provider: OpenAIServer) -> None:
    """A plain client gets the list of models, and the same vector as numbers and as base64, of the width it wants."""
    with openai.OpenAI(api_key=KEY, base_url=provider.base_url) as client:
        assert [model.id for model in client.models.list()] == [CHAT_MODEL]
        for encoding in ("float", "base64"):
            answer = client.embeddings.create(input="x", model="m", dimensions=3, encoding_format=encoding)
            vector: Any = answer.data[0].embedding
            assert encoding == "base64" or vector == provider.vector("x", model="m", width=3)
        assert client.embeddings.create(input=["x"], model="m").data[0].embedding == provider.vector("x", model="m")
    assert [request.path for request in provider.requests] == [MODELS, *[EMBEDDINGS] * 3]
