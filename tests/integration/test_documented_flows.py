"""The flows that the documentation names, as a backend calls them: a provider over HTTP, and a real Valkey."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import openai
import pytest
from pydantic import create_model

from agent.ai_service import AIService, Answer, Found
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings, InvalidKeyError
from cache.stores import store_from_url
from chains import matching, optimization
from chains.documents import Document
from chains.errors import ModelError, PromptInputError
from chains.models import DEFAULT_TIMEOUT_S
from chains.schemas import MatchExplanation, ProposedEdits
from tests.fakes import CountingEmbeddings
from tests.integration.calling import World, auntil, until
from tests.openai_server import CHAT, EMBEDDINGS, OpenAIServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import ModuleType

    from langchain_core.runnables import Runnable
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    from tests.servers import ValkeyServer

EMBEDDING_MODEL, CHAT_MODEL = "text-embedding-3-small", "gpt-4o-mini"
RESUME = """\
Ann Example
Backend engineer at Acme Bank. Led a team of 4 and cut costs by 30 %.
Deployed services to Kubernetes with Terraform.

Skills: Docker, AWS, Helm, Python
"""
JOB = "Platform engineer\nRequirements:\n- Kubernetes\n- Terraform\n- Python\n- Kafka\n"
OTHER_JOB = "Cloud engineer\nRequirements:\n- AWS\n- Docker\n- Redis\n"
PAIR = {"resume": RESUME, "job": JOB}
EXPLANATION = {"summary": "Fits.", "strengths": ["Kubernetes"], "gaps": ["Kafka"]}
EDIT = {
    "original": "Deployed services to Kubernetes with Terraform.",
    "new": "Deployed Python services to Kubernetes with Terraform.",
    "reason": "The ad asks for Python.",
    "evidence": "Skills: Docker, AWS, Helm, Python",
}
IMPATIENT_S = 0.1
N_WAITING = 8
N_JOBS = 400
FAILURES: dict[str, type[openai.OpenAIError]] = {
    "429": openai.RateLimitError,
    "500": openai.InternalServerError,
    "hang": openai.APITimeoutError,
}

each_world = pytest.mark.parametrize("world", World)
each_failure = pytest.mark.parametrize("failure", FAILURES)


@dataclass(frozen=True)
class Flow:
    """One of the two flows over a pair of texts.

    Attributes:
        method: of `AIService`.
        kind: of entry, by its long name.
        prefix: of its keys.
        module: where its versions and schemas stand.
        schemas: names of what it gives, and of what it asks a model for.
        answer: of the model.
        other_answer: another one.
        build: its chain.
        author: the field that says who made a result.
    """

    method: str
    kind: str
    prefix: str
    module: ModuleType
    schemas: tuple[str, str]
    answer: dict[str, Any]
    other_answer: dict[str, Any]
    build: Callable[..., Runnable[Any, Any]]
    author: str

    async def __call__(self, ai: AIService, job: str = JOB, user: str | None = None) -> Any:
        return await getattr(ai, self.method)(RESUME, job, user)

    async def kept(self, services: Services, user: str | None = None) -> Any:
        """What the cache's own service finds."""
        return await getattr(services.cache, f"get_cached_{self.kind}_result")(RESUME, JOB, user)

    async def keep(self, services: Services, result: Any, user: str | None) -> bool:
        """Store by the cache's own service."""
        return bool(await getattr(services.cache, f"cache_{self.kind}_result")(RESUME, JOB, result, user))

    def chain(self, services: Services) -> Runnable[Any, Any]:
        """The runnable behind the flow."""
        return services.match_chain if self is MATCH else services.optimize_chain

    def author_of(self, result: Any) -> str:
        return str(getattr(result, self.author))


MATCH = Flow(
    method="analyze_job_match",
    kind="job_match",
    prefix="match",
    module=matching,
    schemas=("MatchResult", "MatchExplanation"),
    answer=EXPLANATION,
    other_answer=EXPLANATION | {"summary": "Of another."},
    build=matching.build_match_chain,
    author="explained_by",
)
OPTIMIZE = Flow(
    method="optimize_resume",
    kind="optimization",
    prefix="opt",
    module=optimization,
    schemas=("OptimizationResult", "ProposedEdits"),
    answer={"edits": [EDIT]},
    other_answer={"edits": []},
    build=optimization.build_optimize_chain,
    author="optimized_by",
)
each_flow = pytest.mark.parametrize("flow", [MATCH, OPTIMIZE], ids=lambda flow: str(flow.prefix))


class Backend:
    """One process of a backend.

    Args:
        settings: of the application.
        url: of the store, instead of the one in the settings.
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        self.services = Services(settings, url=url)
        self.ai = AIService(self.services)

    async def close(self) -> None:
        """Give back everything, also the provider's connections, which LangChain keeps."""
        await self.services.aclose()
        chat = cast("ChatOpenAI", self.services.chat_model)
        embeddings = cast("OpenAIEmbeddings", self.services.embeddings.underlying)
        for client in (chat.root_client, embeddings.client._client):
            client.close()
        for client in (chat.root_async_client, embeddings.async_client._client):
            await client.close()


class Start(Protocol):
    """Starts a backend; each one is as another process would be."""

    def __call__(
        self,
        server: OpenAIServer | None = None,
        *,
        url: str | None = None,
        tenant: str | None = None,
        **changes: Any,
    ) -> Backend: ...


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Nothing here is encrypted, and reading all certificates takes each client 20 ms.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with OpenAIServer() as server:
        server.script_chat(by_schema)
        yield server


@pytest.fixture
async def start(redis_url: str, namespace: str, provider: OpenAIServer) -> AsyncIterator[Start]:
    started: list[Backend] = []

    def start_one(
        server: OpenAIServer | None = None, *, url: str | None = None, tenant: str | None = None, **changes: Any
    ) -> Backend:
        cache = CacheSettings(redis_url=redis_url, namespace=tenant or namespace, deadline_ms=5000)
        base_url = (server or provider).base_url
        started.append(Backend(Settings(cache=cache, openai_base_url=base_url, **changes), url))
        return started[-1]

    yield start_one
    for backend in started:
        await backend.close()


@pytest.fixture
def stored(redis_url: str, namespace: str) -> Callable[[], list[str]]:
    """Says which keys are stored now."""

    def keys() -> list[str]:
        with store_from_url(redis_url) as store:
            return sorted(store.yield_keys(prefix=f"{namespace}:"))

    return keys


def by_schema(body: dict[str, Any]) -> str:
    """Answer what the request's schema asks for; a plain question is repeated with its settings."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("name")
    if schema is None:
        settings = [body.get("temperature"), body.get("max_completion_tokens")]
        return f"{body['messages'][-1]['content']} {settings}"
    return json.dumps(EXPLANATION if schema.startswith("MatchExplanation") else {"edits": [EDIT]})


def fail(provider: OpenAIServer, failure: str) -> None:
    if failure == "hang":
        provider.hang()
    else:
        provider.fail_with(int(failure))


def texts_sent(provider: OpenAIServer) -> list[list[str]]:
    """The texts of each request for embeddings."""
    return [request.body["input"] for request in provider.requests if request.path.endswith("/embeddings")]


def kinds_of(keys: Sequence[str]) -> set[str]:
    return {key.split(":")[1] for key in keys}


def edit(**changed: str) -> dict[str, str]:
    return EDIT | changed


# --- get_embeddings --------------------------------------------------------------------------------------------------


async def test_only_texts_that_are_missing_go_to_the_provider(start: Start, provider: OpenAIServer) -> None:
    """Of each call only unknown texts are sent, each once, and every text gets its own vector, in order."""
    first = await start().ai.get_embeddings(["a", "b", "a"])
    second = await start().ai.get_embeddings(["c", "b", "a", "c", "d"])
    third = await start().ai.get_embeddings(["d", "a"])
    assert texts_sent(provider) == [["a", "b"], ["c", "d"]]
    vectors = {text: provider.vector(text, model=EMBEDDING_MODEL) for text in "abcd"}
    assert [first, second, third] == [[vectors[text] for text in texts] for texts in ("aba", "cbacd", "da")]


async def test_blank_texts_are_zero_and_never_sent(start: Start, provider: OpenAIServer) -> None:
    """A blank text is the zero vector of the model's width, alone and among others."""
    ai = start().ai
    assert await ai.get_embeddings(["", "a", " \n"]) == [
        [0.0] * 8,
        provider.vector("a", model=EMBEDDING_MODEL),
        [0] * 8,
    ]
    assert await start().ai.get_embeddings([" ", ""]) == [[0.0] * 8] * 2
    assert await ai.get_embeddings([]) == []
    assert all(text.strip() for texts in texts_sent(provider) for text in texts)


async def test_sessions_share_vectors_and_are_noted(
    start: Start, provider: OpenAIServer, stored: Callable[[], list[str]]
) -> None:
    """What one session has paid for, another gets; each is noted with how much it has asked, and no key shows it."""
    cold = await start().ai.get_embeddings(["a", "b"], "session-one")
    before = stored()
    backend = start()
    assert await backend.ai.get_embeddings(["a", "b"], "session-two") == cold
    assert await backend.ai.get_embeddings(["a"], "session-two") == cold[:1]
    assert await backend.ai.get_embeddings(["a"]) == cold[:1]
    assert len(provider.requests) == 1
    keys = stored()
    assert len([key for key in keys if ":emb:" in key]) == 2
    assert len(keys) == len(before) + 1
    assert not any("session-one" in key or "session-two" in key for key in keys)
    for name, n_texts in [("session-one", 2), ("session-two", 3)]:
        assert (await backend.services.cache.get_session(name) or {})["texts_embedded"] == n_texts
    assert await backend.services.cache.get_session("session-three") is None


async def test_data_of_a_session_are_its_owners(start: Start) -> None:
    """A note is added to a session's own fields; a session that is no mapping stays as it is."""
    backend = start()
    cache = backend.services.cache
    for name, data in {
        "fields": {"step": 3, "texts_embedded": "many"},
        "list": ["first", "second"],
        "none": [],
    }.items():
        await cache.cache_session(name, data)
        await backend.ai.get_embeddings(["a"], name)
    fields = await cache.get_session("fields") or {}
    assert (fields["step"], fields["texts_embedded"]) == (3, 1)
    assert await cache.get_session("list") == ["first", "second"]
    assert await cache.get_session("none") == []


async def test_a_session_id_that_cannot_be_used_is_an_error(start: Start) -> None:
    """A blank id is refused by name."""
    with pytest.raises(InvalidKeyError, match="session id"):
        await start().ai.get_embeddings(["a"], " ")


@each_failure
async def test_known_vectors_are_served_while_the_provider_fails(
    failure: str, start: Start, provider: OpenAIServer, stored: Callable[[], list[str]]
) -> None:
    """A provider that fails is seen by who needs something new, and by nobody else; nothing is stored."""
    cold = await start().ai.get_embeddings(["known", ""])
    before = stored()
    fail(provider, failure)
    ai = start(model_timeout_s=IMPATIENT_S).ai
    with pytest.raises(FAILURES[failure]):
        await ai.get_embeddings(["known", "new"], "session")
    assert await ai.get_embeddings(["known", ""]) == cold
    assert stored() == before


# --- rank ------------------------------------------------------------------------------------------------------------


def document(text: str, number: int = 0) -> Document:
    return Document.from_text(text, path=Path(f"job-{number}"))


async def test_a_known_ranking_is_served_while_others_wait_for_the_provider(
    start: Start, provider: OpenAIServer
) -> None:
    """Rankings that wait for a provider that hangs keep no thread, and no place from one that is in the cache."""
    ai = start().ai
    known = await ai.rank(document(RESUME), [document(JOB)])
    n_asked = provider.n_requests(EMBEDDINGS)
    provider.hang()
    waiting = [asyncio.create_task(ai.rank(document(f"{RESUME} {n}"), [document(JOB)])) for n in range(N_WAITING)]
    await asyncio.to_thread(until, lambda: provider.n_requests(EMBEDDINGS) == n_asked + N_WAITING)
    again = await ai.rank(document(RESUME), [document(JOB)])
    assert again == Answer(known.result, Found.HIT)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_ranking_that_is_left_ends_soon(redis_url: str, namespace: str) -> None:
    """The local model goes on for no more than a batch once nobody waits for the ranking, so that a process can end."""
    cache = CacheSettings(redis_url=redis_url, namespace=namespace)
    async with Services(Settings(cache=cache)) as services:
        jobs = [document(f"Engineer {number} of many, with Python.", number) for number in range(N_JOBS)]
        ranking = asyncio.create_task(AIService(services).rank(document(RESUME), jobs))
        await asyncio.to_thread(until, lambda: services.embeddings.counts().made > 0)
        ranking.cancel()
        await asyncio.wait([ranking])
        await asyncio.get_running_loop().shutdown_default_executor()
        assert services.embeddings.counts().made < N_JOBS


# --- _get_ai_response ------------------------------------------------------------------------------------------------


async def test_equal_questions_are_one_request(start: Start, provider: OpenAIServer) -> None:
    """The same prompt, temperature and limit are asked once; the provider gets all three as they were given."""
    answers = [await start().ai._get_ai_response("Hello", 50, 0.3) for _ in range(3)]
    assert answers == ["Hello [0.3, 50]"] * 3
    assert provider.n_requests(CHAT) == 1


@pytest.mark.parametrize("other", [("Hello", 50, 0.4), ("Hello", 51, 0.3), ("Hello", None, 0.3), ("Hello!", 50, 0.3)])
async def test_another_setting_is_another_request(
    other: tuple[str, int | None, float], start: Start, provider: OpenAIServer
) -> None:
    """Another temperature, another limit, no limit or another prompt is asked for itself, and both are kept."""
    ai = start().ai
    for _ in range(2):
        assert await ai._get_ai_response("Hello", 50, 0.3) == "Hello [0.3, 50]"
        assert await ai._get_ai_response(*other) == f"{other[0]} [{other[2]}, {json.dumps(other[1])}]".replace(
            "null", "None"
        )
    assert provider.n_requests(CHAT) == 2


async def test_answers_are_those_of_the_caches_service(start: Start, provider: OpenAIServer) -> None:
    """What a flow was answered, `CacheService` finds under the same settings; what it stores, the flow is answered."""
    backend = start()
    answer = await backend.ai._get_ai_response("Hello", 50, 0.3)
    cache = start().services.cache
    assert await cache.get_cached_openai_response("Hello", CHAT_MODEL, 0.3, 50) == answer
    assert await cache.get_cached_openai_response("Hello", CHAT_MODEL, 0.3) is None
    assert await cache.get_cached_openai_response("Hello", "gpt-4o", 0.3, 50) is None
    await cache.cache_openai_response("Bye", "So long.", CHAT_MODEL, 0.7)
    assert await backend.ai._get_ai_response("Bye") == "So long."
    assert provider.n_requests(CHAT) == 1


@each_failure
async def test_known_answers_are_served_while_the_provider_fails(
    failure: str, start: Start, provider: OpenAIServer, stored: Callable[[], list[str]]
) -> None:
    """A known question is answered without a request; a new one is the provider's error, and nothing is stored."""
    cold = await start().ai._get_ai_response("known")
    before = stored()
    fail(provider, failure)
    ai = start(model_timeout_s=IMPATIENT_S).ai
    n_requests = len(provider.requests)
    assert await ai._get_ai_response("known") == cold
    assert len(provider.requests) == n_requests
    with pytest.raises(FAILURES[failure]):
        await ai._get_ai_response("new")
    assert stored() == before


async def test_without_a_chat_model_the_error_says_what_to_set() -> None:
    """Where no provider is configured, a question is an error that names the variables."""
    async with Services(Settings(), url="memory://") as services:
        with pytest.raises(ModelError, match="OPENAI_API_KEY"):
            await AIService(services)._get_ai_response("Hello")


# --- analyze_job_match and optimize_resume ---------------------------------------------------------------------------


@each_flow
async def test_a_second_call_makes_no_request(flow: Flow, start: Start, provider: OpenAIServer) -> None:
    """A result that is kept needs neither chat nor embeddings, in this process or another, and is equal."""
    backend = start()
    cold = await flow(backend.ai)
    assert provider.n_requests(CHAT) == 1
    n_cold = len(provider.requests)
    assert await flow(backend.ai) == cold
    assert await flow(start().ai) == cold
    assert len(provider.requests) == n_cold
    assert type(cold).__name__ == flow.schemas[0]
    assert flow.author_of(cold) == CHAT_MODEL


@each_flow
async def test_the_stored_entry_is_that_of_the_caches_service(
    flow: Flow, start: Start, stored: Callable[[], list[str]]
) -> None:
    """`CacheService` gives a flow's result as data, and every entry is of a documented kind."""
    cold = await flow(start().ai, user="ann")
    services = start().services
    assert await flow.kept(services, "ann") == cold.model_dump(mode="json")
    assert await flow.kept(services) is None
    keys = stored()
    assert kinds_of(keys) == {"emb", "openai", flow.prefix}
    assert [key.rpartition(":")[2] for key in keys if f":{flow.prefix}:" in key] == ["ann"]


@each_flow
@pytest.mark.parametrize("owner", ["ann", None, "anonymous"])
async def test_a_users_result_is_served_to_nobody_else(flow: Flow, owner: str | None, start: Start) -> None:
    """A result is found by its owner alone; a user called "anonymous" is not the one without a name.

    The owner's result differs from what the flow would make, so that its being served shows.
    """
    backend = start()
    made = await flow(backend.ai, user="somebody")
    marked = made.model_dump(mode="json") | {"skills_missing": ["of the owner"]}
    assert await flow.keep(backend.services, marked, owner)
    ai = start().ai
    for user in {"ann", "bob", None, "anonymous"} - {owner}:
        assert await flow(ai, user=user) == made
    assert (await flow(ai, user=owner)).skills_missing == ("of the owner",)


@each_flow
async def test_without_a_user_a_result_is_shared(flow: Flow, start: Start, provider: OpenAIServer) -> None:
    """Who gives no user gets what another without one has paid for."""
    cold = await flow(start().ai)
    n_cold = len(provider.requests)
    assert await flow(start().ai) == cold
    assert await flow.kept(start().services) == cold.model_dump(mode="json")
    assert len(provider.requests) == n_cold


@each_flow
@pytest.mark.parametrize("changes", [{"chat_model": "llama3:8b"}, {"embedding_model": "bge:large"}])
async def test_another_model_is_another_result(
    flow: Flow, changes: dict[str, Any], start: Start, provider: OpenAIServer
) -> None:
    """With another chat or embedding model nothing of the first is served, and the first one's stays."""
    first = await flow(start().ai)
    other = start(**changes)
    assert await flow.kept(other.services) is None
    n_requests = len(provider.requests)
    await flow(other.ai)
    assert len(provider.requests) > n_requests
    assert await flow(start().ai) == first


@each_flow
async def test_another_server_is_another_result(flow: Flow, start: Start, provider: OpenAIServer) -> None:
    """Models of the same names at another base URL are other models: nothing of the first is served."""
    first = await flow(start().ai)
    n_first = len(provider.requests)
    with OpenAIServer() as other:
        other.script_chat(flow.other_answer)
        backend = start(other)
        assert await flow.kept(backend.services) is None
        assert await flow(backend.ai) != first
        assert other.n_requests(CHAT) == 1
    assert await flow(start().ai) == first
    assert len(provider.requests) == n_first


@each_flow
@pytest.mark.parametrize("version", ["PROMPT_VERSION", "SCORING_VERSION", "ANALYSIS_VERSION"])
async def test_another_version_is_another_result(
    flow: Flow, version: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of prompt, scoring or analysis nothing that was made before is served."""
    await flow(start().ai)
    with monkeypatch.context() as changed:
        changed.setattr(flow.module, version, 1000)
        assert await flow.kept(start().services) is None
    assert await flow.kept(start().services) is not None


@each_flow
@pytest.mark.parametrize("which", [0, 1], ids=["result", "answer"])
async def test_another_schema_is_another_result(
    flow: Flow, which: int, start: Start, provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the result's schema, or of the model's answer, nothing that was made before is served."""
    await flow(start().ai)
    n_chats = provider.n_requests(CHAT)
    name = flow.schemas[which]
    with monkeypatch.context() as changed:
        wider = create_model(name, __base__=getattr(flow.module, name), mood=(str, ""))
        changed.setattr(flow.module, name, wider)
        backend = start()
        assert await flow.kept(backend.services) is None
        await flow(backend.ai)
    assert provider.n_requests(CHAT) == n_chats + which  # the model is asked anew where it is asked something else
    assert await flow.kept(start().services) is not None


@each_flow
@pytest.mark.parametrize("texts", [(" ", JOB), (RESUME, "\n"), ("", JOB), (RESUME, "")])
async def test_a_blank_text_is_an_error_and_no_request(
    flow: Flow, texts: tuple[str, str], start: Start, provider: OpenAIServer, stored: Callable[[], list[str]]
) -> None:
    """Without a resume or an ad nothing is asked and nothing stored."""
    ai = start().ai
    with pytest.raises(PromptInputError, match="expected"):
        await getattr(ai, flow.method)(*texts)
    assert provider.requests == []
    assert stored() == []


# --- the chains themselves, in both worlds ---------------------------------------------------------------------------


async def invoke(world: World, chain: Runnable[Any, Any], request: Any) -> Any:
    return chain.invoke(request) if world is World.SYNC else await chain.ainvoke(request)


@each_world
@each_flow
async def test_chains_share_what_flows_have_paid_for(
    world: World, flow: Flow, start: Start, provider: OpenAIServer
) -> None:
    """Flows and runnables of both worlds, alone and in batches, find each other's results."""
    requests = [PAIR | {"user": "ann"}, PAIR | {"job": OTHER_JOB}]
    chain = flow.chain(start().services)
    cold = chain.batch(requests) if world is World.SYNC else await chain.abatch(requests)
    n_cold = len(provider.requests)
    backend = start()
    assert [await flow(backend.ai, user="ann"), await flow(backend.ai, OTHER_JOB)] == cold
    warm = flow.chain(start().services)
    assert [await invoke(world, warm, request) for request in requests] == cold
    assert warm.batch(requests) == await warm.abatch(requests) == cold
    assert len(provider.requests) == n_cold
    assert cold[0].skills_missing != cold[1].skills_missing


@each_world
@each_flow
async def test_a_chain_refuses_what_is_no_request(world: World, flow: Flow, start: Start) -> None:
    """A missing text, a user that is none and a field too many are named."""
    chain = flow.chain(start().services)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"job": ""}, "job"),
        ({"user": ""}, "user"),
        ({"usr": "ann"}, "usr"),
        ({"resume": 1}, "resume"),
    ]
    for wrong, problem in cases:
        with pytest.raises(PromptInputError, match=problem):
            await invoke(world, chain, PAIR | wrong)


# --- a provider that fails -------------------------------------------------------------------------------------------


@each_flow
@each_failure
async def test_a_failing_provider_leaves_kept_results_alone(
    flow: Flow, failure: str, start: Start, provider: OpenAIServer
) -> None:
    """A kept result is served whole and without a request, whatever the provider does."""
    cold = await flow(start().ai)
    n_cold = len(provider.requests)
    fail(provider, failure)
    assert await flow(start(model_timeout_s=IMPATIENT_S).ai) == cold
    assert len(provider.requests) == n_cold


@each_flow
@each_failure
async def test_what_a_failing_model_left_half_made_is_not_kept(
    flow: Flow, failure: str, start: Start, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With vectors and no chat model the computed result is given, with one warning, and not kept."""
    computed = await flow.build(start().services.embeddings).ainvoke(PAIR)
    fail(provider, failure)
    backend = start(model_timeout_s=IMPATIENT_S)
    assert await flow(backend.ai) == computed
    assert flow.author_of(computed) == "rules"
    assert await flow.kept(backend.services) is None
    assert [record.levelno for record in caplog.records if record.name == "resumecache"] == [logging.WARNING]
    provider.recover()
    assert flow.author_of(await flow(backend.ai)) == CHAT_MODEL
    assert await flow.kept(backend.services) is not None


@pytest.mark.parametrize(
    ("flow", "failure"), [(MATCH, "429"), (MATCH, "500"), (MATCH, "hang"), (OPTIMIZE, "429"), (OPTIMIZE, "500")]
)
async def test_without_vectors_the_providers_error_is_seen(
    flow: Flow, failure: str, start: Start, provider: OpenAIServer, stored: Callable[[], list[str]]
) -> None:
    """A provider that fails altogether is an error that says how, and nothing at all is stored."""
    fail(provider, failure)
    with pytest.raises(FAILURES[failure], match=failure if failure != "hang" else "timed out"):
        await flow(start(model_timeout_s=IMPATIENT_S).ai)
    assert stored() == []


def test_a_request_may_take_a_minute_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out of models is a setting with a default, and it reaches both models."""
    remote = Settings(openai_base_url="http://127.0.0.1:1/v1").remote_models()
    assert remote is not None
    assert remote.timeout_s == DEFAULT_TIMEOUT_S == 60
    monkeypatch.setenv("RESUMECACHE_MODEL_TIMEOUT", "2.5")
    services = Services(Settings(openai_base_url="http://127.0.0.1:1/v1"), url="memory://")
    assert cast("ChatOpenAI", services.chat_model).request_timeout == 2.5
    assert cast("ChatOpenAI", services.chat_model_for(temperature=1, max_tokens=None)).request_timeout == 2.5
    assert cast("OpenAIEmbeddings", services.embeddings.underlying).request_timeout == 2.5


# --- a model that answers wrongly ------------------------------------------------------------------------------------


@each_flow
@pytest.mark.parametrize(
    "answer",
    ["I think it fits.", '{"edits": [', {"edits": [{"original": "x"}]}, {"summary": "Fits."}, [], {}],
    ids=["prose", "half", "field_missing", "other_field_missing", "list", "empty"],
)
async def test_an_answer_outside_the_schema_leaves_the_rules(
    flow: Flow, answer: Any, start: Start, provider: OpenAIServer
) -> None:
    """What does not fit the schema is not used: the computed result is given, and not kept."""
    provider.script_chat(json.dumps(answer) if isinstance(answer, list) else answer)
    backend = start()
    found = await flow(backend.ai)
    assert found == await flow.build(backend.services.embeddings).ainvoke(PAIR)
    assert flow.author_of(found) == "rules"
    assert await flow.kept(backend.services) is None


@each_flow
async def test_half_a_character_does_not_fail_the_request(flow: Flow, start: Start, provider: OpenAIServer) -> None:
    """A model that breaks an emoji in two is used with a replacement character, and the result is kept."""
    half = "Fits \ud83d."
    answer = flow.answer | {"summary": half} if flow is MATCH else {"edits": [edit(reason=half)]}
    provider.script_chat(json.dumps(answer))
    found = await flow(start().ai)
    assert "Fits \ufffd." in found.model_dump_json()
    assert await flow(start().ai) == found
    assert provider.n_requests(CHAT) == 1


@pytest.mark.parametrize(
    ("proposed", "why"),
    [
        (edit(new="Deployed 12 Python services to Kubernetes with Terraform."), "number 12"),
        (edit(new="Deployed twelve Python services to Kubernetes with Terraform."), "number 12"),
        (edit(new="Deployed services to Kubernetes with Terraform and Kafka."), "Apache Kafka"),
        (edit(new="Deployed services to Kubernetes with Terraform at Google."), "Google"),
        (edit(new="Deployed services to Kubernetes with Terraform for IBM."), "IBM"),
        (edit(original="Backend engineer", new="Siemens engineer"), None),
        (edit(original="engineer", new="Siemens engineer"), "Siemens"),
        (edit(original="Backend engineer", new="Senior backend engineer"), "Senior"),
        (edit(new="Deployed services to Kubernetes with Terraform since March."), "March"),
        (edit(original="Deployed all services to Kubernetes."), "do not stand in the resume"),
        (edit(original="deployed services to kubernetes with terraform."), "do not stand in the resume"),
        (edit(evidence="Wrote Python for ten years"), "evidence does not stand"),
    ],
)
async def test_what_a_model_invents_is_refused_and_reported(
    proposed: dict[str, str], why: str | None, start: Start, provider: OpenAIServer
) -> None:
    """An edit that brings a number, skill, employer, rank or date, or replaces words that are not there, is refused.

    It is reported with the reason, the edit beside it is kept, and a kept result says the same. A name in plain
    capitals at the start of a sentence cannot be told from any first word: it passes.
    """
    good = edit(original="Skills: Docker", new="Skills: Kubernetes, Docker", evidence="to Kubernetes with Terraform")
    provider.script_chat({"edits": [proposed, good]})
    found = await start().ai.optimize_resume(RESUME, JOB)
    kept = [each.model_dump() for each in found.edits]
    assert kept == ([good] if why else [proposed, good])
    assert [refused.edit.model_dump() for refused in found.refused] == ([proposed] if why else [])
    assert all(why and why in refused.why for refused in found.refused)
    assert await start().ai.optimize_resume(RESUME, JOB) == found


async def test_in_german_only_employers_are_told_by_their_capitals(start: Start, provider: OpenAIServer) -> None:
    """A German noun that the resume lacks is no invention; an employer after "bei" is."""
    resume = "Buchhalterin bei der Acme GmbH.\nErstellung der Abschlüsse und Betreuung der Mandanten.\n"
    words = {"original": "Erstellung der Abschlüsse", "reason": "Klarer.", "evidence": "Acme GmbH"}
    fine = words | {"new": "Erstellung der Abschlüsse auf Papier"}
    invented = words | {"new": "Erstellung der Abschlüsse bei Siemens"}
    provider.script_chat({"edits": [invented, fine]})
    found = await start().ai.optimize_resume(resume, JOB)
    assert [each.new for each in found.edits] == [fine["new"]]
    assert [refused.why for refused in found.refused] == ["the resume does not say Siemens of this"]


async def test_an_edit_of_words_that_are_gone_is_refused(start: Start, provider: OpenAIServer) -> None:
    """Of two edits to the same words the first counts, the second is reported; the same edit twice is one."""
    second = edit(new="Deployed services with Terraform to Kubernetes.")
    provider.script_chat({"edits": [edit(), edit(), second]})
    found = await start().ai.optimize_resume(RESUME, JOB)
    assert [each.model_dump() for each in found.edits] == [edit()]
    [refused] = found.refused
    assert (refused.edit.model_dump(), refused.why) == (second, "an earlier edit has changed these words")


# --- one cache and another -------------------------------------------------------------------------------------------


async def play_all(backend: Backend) -> list[Any]:
    """Every documented flow once."""
    ai = backend.ai
    return [
        await ai.get_embeddings(["a", "b"]),
        await ai._get_ai_response("Hello"),
        await ai.analyze_job_match(RESUME, JOB, "ann"),
        await ai.optimize_resume(RESUME, JOB, "ann"),
    ]


@pytest.mark.parametrize("apart_by", ["server", "namespace"])
async def test_two_caches_do_not_mix(
    apart_by: str, start: Start, provider: OpenAIServer, own_valkey: ValkeyServer, namespace: str
) -> None:
    """Two servers of Valkey, or two namespaces on one, share nothing: each pays once, and clearing one is its own."""
    other: dict[str, Any] = {"url": own_valkey.url} if apart_by == "server" else {"tenant": f"{namespace}x"}
    first = await play_all(start())
    n_once = len(provider.requests)
    assert await play_all(start(**other)) == first
    assert len(provider.requests) == 2 * n_once
    assert await play_all(start()) == await play_all(start(**other)) == first
    assert len(provider.requests) == 2 * n_once
    await start().services.cache.clear_cache_by_prefix("job_match")
    assert await MATCH.kept(start().services, "ann") is None
    assert await MATCH.kept(start(**other).services, "ann") is not None


async def test_flows_go_on_when_redis_is_killed(start: Start, provider: OpenAIServer, own_valkey: ValkeyServer) -> None:
    """With the server gone every flow gives what it gave; when it is back, results are kept again."""
    backend = start(url=own_valkey.url)
    first = await play_all(backend)
    n_once = len(provider.requests)
    own_valkey.kill()
    assert await play_all(backend) == first
    assert len(provider.requests) > n_once
    assert await backend.services.cache.get_session("none") is None
    own_valkey.start()

    async def is_kept() -> bool:
        await backend.ai.analyze_job_match(RESUME, JOB, "ann")
        return await MATCH.kept(backend.services, "ann") is not None

    await auntil(is_kept)
    assert await play_all(backend) == first


async def test_switched_off_every_call_is_the_providers(
    start: Start, provider: OpenAIServer, stored: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `CACHE_ENABLED=0` the flows give the same, ask the provider each time, and store nothing."""
    monkeypatch.setenv("CACHE_ENABLED", "0")
    backend = start()
    first = await play_all(backend)
    n_once = len(provider.requests)
    assert await play_all(backend) == first
    assert len(provider.requests) == 2 * n_once
    assert stored() == []
    monkeypatch.delenv("CACHE_ENABLED")
    assert await play_all(start()) == first


async def test_schemas_of_these_tests_are_those_of_the_chains() -> None:
    """What the scripted provider answers fits the schemas."""
    MatchExplanation.model_validate(EXPLANATION)
    ProposedEdits.model_validate({"edits": [EDIT]})


def test_a_match_from_rounded_vectors_is_another_match(redis_url: str, namespace: str) -> None:
    """A result that was computed from float32 is not served where vectors are int8: each type keeps its own."""
    kept = []
    for dtype in ("float32", "int8", "float32"):
        cache = CacheSettings(namespace=namespace, embedding_dtype=dtype, deadline_ms=5000)
        with Services(Settings(cache=cache), url=redis_url, embeddings=CountingEmbeddings()) as services:
            services.match_chain.invoke(PAIR)
            kept.append(services.admin.stats().key_counts["job_match"])
    assert kept == [1, 2, 2]
