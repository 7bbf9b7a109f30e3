"""`CacheService` and its blocking twin, over a store in memory: every documented method, and who shares what."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from cache import CacheBackedEmbeddings, CacheSettings, ConfigurationError, InvalidKeyError, MemoryStore, ResponseCache
from cache.errors import DecodeError, ProviderAnswerError, StoreConnectionError, StoreError
from cache.keys import CACHED_KINDS
from cache.opening import open_store
from cache.service import CacheService, SyncCacheService
from cache.wrappers import FailOpenStore
from tests.fakes import BrokenStore, CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache.stores.base import Store

RESUME, JOB = "Python, Redis", "We look for Python"
MODEL = "text-embedding-3-small"


class AnyService:
    """The same calls on either twin."""

    def __init__(self, service: CacheService | SyncCacheService) -> None:
        self.service = service

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(self.service, method)(*args, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer


def make(
    is_async: bool,  # noqa: FBT001  which twin
    store: Store | None = None,
    **settings: Any,
) -> AnyService:
    kind = CacheService if is_async else SyncCacheService
    return AnyService(kind(FailOpenStore(store or MemoryStore()), settings=CacheSettings(**settings)))


@pytest.fixture(params=[True, False], ids=["async", "sync"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_an_embedding_comes_back_as_float32(is_async: bool) -> None:  # noqa: FBT001
    """A stored vector is given back number by number, and only for its text and model."""
    service = make(is_async)
    assert await service("cache_embedding", "text", [0.5, -2.0], MODEL) is True
    assert await service("get_cached_embedding", "text", MODEL) == [0.5, -2.0]
    assert await service("get_cached_embedding", "other", MODEL) is None
    assert await service("get_cached_embedding", "text", "text-embedding-3-large") is None


async def test_a_vector_that_is_none_is_refused(is_async: bool) -> None:  # noqa: FBT001
    """What holds no finite numbers is an error of the caller, and nothing is stored."""
    service = make(is_async)
    with pytest.raises(ProviderAnswerError):
        await service("cache_embedding", "text", [float("nan")], MODEL)
    assert await service("get_cached_embedding", "text", MODEL) is None


async def test_an_answer_depends_on_model_temperature_and_limit(is_async: bool) -> None:  # noqa: FBT001
    """An answer is found under exactly the settings that it was given for."""
    service = make(is_async)
    assert await service("cache_openai_response", "hi", "hello", "gpt-4o", 0.7, 100) is True
    assert await service("get_cached_openai_response", "hi", "gpt-4o", 0.7, 100) == "hello"
    for other in (("ho", "gpt-4o", 0.7, 100), ("hi", "gpt-4", 0.7, 100), ("hi", "gpt-4o", 0.8, 100)):
        assert await service("get_cached_openai_response", *other) is None
    assert await service("get_cached_openai_response", "hi", "gpt-4o", 0.7, 101) is None
    assert await service("get_cached_openai_response", "hi", "gpt-4o", 0.7) is None


@pytest.mark.parametrize("method", ["job_match", "optimization"])
async def test_results_are_the_users_own(is_async: bool, method: str) -> None:  # noqa: FBT001
    """A result of one user is served neither to another nor to those without a user, and the other way round."""
    service = make(is_async)
    save, read = f"cache_{method}_result", f"get_cached_{method}_result"
    assert await service(save, RESUME, JOB, {"score": 1}, "ann") is True
    assert await service(read, RESUME, JOB, "ann") == {"score": 1}
    assert await service(read, RESUME, JOB, "bob") is None
    assert await service(read, RESUME, JOB) is None
    assert await service(save, RESUME, JOB, {"score": 2}) is True
    assert await service(read, RESUME, JOB, "anonymous") is None
    assert await service(read, RESUME, JOB) == {"score": 2}
    assert await service(read, JOB, RESUME) is None


async def test_matches_and_optimisations_do_not_meet(is_async: bool) -> None:  # noqa: FBT001
    """The same pair of texts has one entry of each kind."""
    service = make(is_async)
    await service("cache_job_match_result", RESUME, JOB, {"score": 1})
    assert await service("get_cached_optimization_result", RESUME, JOB) is None


async def test_a_session_is_found_by_its_id_alone(is_async: bool) -> None:  # noqa: FBT001
    """Data come back under the id; a blank id is refused."""
    service = make(is_async)
    assert await service("cache_session", "abc", {"step": 3}) is True
    assert await service("get_session", "abc") == {"step": 3}
    assert await service("get_session", "abd") is None
    with pytest.raises(InvalidKeyError, match="session id"):
        await service("get_session", " ")


async def test_a_session_is_changed_by_what_it_holds(is_async: bool) -> None:  # noqa: FBT001
    """A change gets the data, or None; what it gives is kept, and None leaves all as it is."""
    service = make(is_async)
    assert await service("update_session", "abc", lambda found: {"was": found}) is True
    assert await service("update_session", "abc", lambda found: {"was": found}) is True
    assert await service("update_session", "abc", lambda _: None) is False
    assert await service("get_session", "abc") == {"was": {"was": None}}


async def test_what_cannot_be_read_is_not_changed(is_async: bool) -> None:  # noqa: FBT001
    """While the store cannot tell, or is switched off, nothing is changed, and no error shows."""
    broken = BrokenStore(StoreConnectionError("nobody there"), verbs={"mget"})
    for service in (make(is_async, broken), make(is_async, session_enabled=False)):
        assert await service("update_session", "abc", lambda _: {"a": 1}) is False
    broken.heal()
    assert await make(is_async, broken)("get_session", "abc") is None


async def test_of_changes_at_once_each_is_made_once(is_async: bool) -> None:  # noqa: FBT001
    """Twenty threads that append to one session lose nothing of each other."""
    service = make(is_async)

    def append(n: int) -> bool:
        change = partial(_appended, n=n)
        return bool(asyncio.run(service("update_session", "abc", change)))

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(append, range(20)))
    assert sorted(await service("get_session", "abc")) == list(range(20))


def _appended(found: list[int] | None, *, n: int) -> list[int]:
    return [*(found or []), n]


async def test_no_key_shows_a_text_or_a_session_id(is_async: bool) -> None:  # noqa: FBT001
    """Texts and session ids are only in hashes."""
    store = MemoryStore()
    service = make(is_async, store)
    await service("cache_session", "sessionid", {})
    await service("cache_job_match_result", "resumetext", "jobtext", {}, "ann")
    keys = " ".join(store.yield_keys())
    assert not any(word in keys for word in ("sessionid", "resumetext", "jobtext"))


async def test_with_a_secret_no_key_shows_a_user(is_async: bool) -> None:  # noqa: FBT001
    """`CACHE_KEY_SECRET` hides users too, and the results are still found."""
    store = MemoryStore()
    service = make(is_async, store, key_secret="s3cret")  # noqa: S106  a secret of this test
    await service("cache_job_match_result", RESUME, JOB, {"score": 1}, "ann@example.com")
    assert await service("get_cached_job_match_result", RESUME, JOB, "ann@example.com") == {"score": 1}
    assert "ann" not in " ".join(store.yield_keys())


async def test_what_json_cannot_hold_is_refused(is_async: bool) -> None:  # noqa: FBT001
    """A value that would come back as another is an error, not a surprise later."""
    service = make(is_async)
    with pytest.raises(DecodeError, match="JSON"):
        await service("cache_session", "abc", {"pair": (1, 2)})


async def test_a_dead_store_is_a_miss_and_an_unconfirmed_write(is_async: bool) -> None:  # noqa: FBT001
    """Nothing is raised; writes answer False, lookups None, health says degraded and why."""
    service = make(is_async, BrokenStore(StoreConnectionError("gone", reason="refused")))
    assert await service("cache_embedding", "text", [1.0], MODEL) is False
    assert await service("get_cached_embedding", "text", MODEL) is None
    assert await service("cache_openai_response", "hi", "hello", "gpt-4o") is False
    assert await service("cache_session", "abc", {}) is False
    assert await service("clear_cache_by_prefix", "session") is False
    health = await service("health_check")
    assert (health["status"], health["reason"]) == ("degraded", "refused")
    assert (await service("get_cache_stats"))["status"] == "degraded"


async def test_a_session_that_cannot_be_looked_for_is_not_said_to_be_missing(is_async: bool) -> None:  # noqa: FBT001
    """Where `get_session` answers None for both, `find_session` raises while the store cannot tell."""
    store = BrokenStore(StoreConnectionError("gone", reason="refused"))
    service = make(is_async, store)
    for _ in range(2):  # the server is asked, and then left alone
        with pytest.raises(StoreError):
            await service("find_session", "abc")
    store.heal()
    healthy = make(is_async, store)
    assert await healthy("find_session", "abc") is None
    await healthy("cache_session", "abc", {"step": 3})
    assert await healthy("find_session", "abc") == {"step": 3}


async def test_switched_off_nothing_is_kept(is_async: bool) -> None:  # noqa: FBT001
    """Health says off, writes are not confirmed."""
    service = make(is_async, enabled=False)
    assert await service("cache_session", "abc", {}) is False
    assert (await service("health_check"))["status"] == "off"


async def test_clearing_one_kind_leaves_the_others_and_other_tenants(is_async: bool) -> None:  # noqa: FBT001
    """Only entries of that kind and namespace go; a foreign value under such a key stays."""
    store = MemoryStore()
    acme, other = make(is_async, store, namespace="acme"), make(is_async, store, namespace="other")
    for service in (acme, other):
        await service("cache_session", "abc", {"a": 1})
        await service("cache_embedding", "text", [1.0], MODEL)
    foreign = "acme:session:" + 32 * "0"
    store.mset([(foreign, b"somebody else's")])
    assert await acme("clear_cache_by_prefix", "session") is True
    assert await acme("get_session", "abc") is None
    assert await acme("get_cached_embedding", "text", MODEL) == [1.0]
    assert await other("get_session", "abc") == {"a": 1}
    assert store.mget([foreign]) == [b"somebody else's"]
    with pytest.raises(ConfigurationError, match="expected one of embedding"):
        await acme("clear_cache_by_prefix", "sessions")


async def test_stats_count_the_entries_of_this_namespace(is_async: bool) -> None:  # noqa: FBT001
    """Keys are counted by the long names of their kinds; times to live are those in force."""
    store = MemoryStore()
    acme, other = make(is_async, store, namespace="acme"), make(is_async, store)
    await acme("cache_session", "abc", {})
    await other("cache_session", "abc", {})
    await other("cache_job_match_result", RESUME, JOB, {})
    stats = await acme("get_cache_stats")
    assert stats["key_counts"] == {**dict.fromkeys(map(str, CACHED_KINDS), 0), "session": 1}
    assert stats["cache_ttl_settings"]["embedding"] == 604800
    assert stats["is_exact"] is True
    assert (await other("get_cache_stats"))["key_counts"]["job_match"] == 1


def test_an_answer_is_shared_with_the_langchain_model() -> None:
    """What the facade stores, a `ChatOpenAI` of the same settings finds, and what it stores the facade finds."""
    store, settings = FailOpenStore(MemoryStore()), CacheSettings()
    service = SyncCacheService(store, settings=settings)
    service.cache_openai_response("hi", "hello", "gpt-4o", 0.7, 100)
    cache = ResponseCache(store, settings=settings)
    model = ChatOpenAI(model="gpt-4o", temperature=0.7, max_tokens=100, api_key="unused", cache=cache)  # type: ignore[arg-type, call-arg]
    answer = model.invoke([HumanMessage("hi")])  # no server is there: only the cache can answer
    assert answer.text == "hello"


def test_an_embedding_is_shared_with_the_langchain_class() -> None:
    """What the facade stores, `CacheBackedEmbeddings` finds, for OpenAI's model and for the application's own."""
    store, settings = FailOpenStore(MemoryStore()), CacheSettings()
    remote = OpenAIEmbeddings(model=MODEL, api_key="unused")  # type: ignore[arg-type]
    SyncCacheService(store, settings=settings).cache_embedding("text", [1.0, 2.0], MODEL)
    embeddings = CacheBackedEmbeddings(remote, store, model=MODEL, settings=settings)
    assert embeddings.embed_documents(["text"]) == [[1.0, 2.0]]
    own = CacheBackedEmbeddings(CountingEmbeddings(), store, model="own", settings=settings)
    [vector] = own.embed_documents(["text"])
    assert SyncCacheService(store, settings=settings, embeddings=own).get_cached_embedding("text", "own") == vector


def test_both_services_have_the_same_methods() -> None:
    """The blocking twin has every method of the asynchronous one, with the same parameters."""

    def signatures(kind: type) -> Mapping[str, inspect.Signature]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(method) for name, method in methods if not name.startswith("_")}

    assert signatures(CacheService) == signatures(SyncCacheService)


def test_from_url_opens_and_closes_a_store_of_its_own() -> None:
    """A service by URL works inside its context and can be used again after it."""
    with SyncCacheService.from_url("memory://") as service:
        assert service.cache_session("abc", {"a": 1})
    assert service.get_session("abc") == {"a": 1}


def test_a_store_that_was_passed_in_stays_open() -> None:
    """Closing a service leaves a store alone that somebody else has made."""
    store = open_store(CacheSettings(), url="memory://")
    SyncCacheService(store).close()
    SyncCacheService(store).cache_session("abc", {"a": 1})
    assert SyncCacheService(store).get_session("abc") == {"a": 1}
