"""Whom entries are about: which carry a tag, what it is, and where it ends."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.tools import tool
from langgraph.prebuilt.tool_node import ToolCallRequest

import cache
from cache.chat import cached
from cache.codecs.vectors import decode_vector
from cache.counters import Counters
from cache.embeddings import CacheBackedEmbeddings
from cache.entry import ABOUT_NOBODY, HEADER_BYTES, Header, SubjectTags, pack_entry, peek_entry, unpack_entry
from cache.errors import InvalidKeyError
from cache.graph import NodeCache
from cache.keys import Kind, key_tag, parse_key
from cache.responses import ResponseCache
from cache.results import PairResults
from cache.service import SyncCacheService
from cache.sessions import Sessions
from cache.settings import CacheSettings
from cache.stores.memory import MemoryStore
from cache.subjects import SubjectKind, Subjects, about, current_subjects, current_tags, subject_tag
from cache.tools import PureTool, ToolResultCache
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.stores.base import Store

SECRET = b"s" * 32
SETTINGS = CacheSettings(namespace="acme", key_secret="s" * 32, redis_url="memory://")
CANDIDATE = subject_tag(SubjectKind.CANDIDATE, "c-1", namespace="acme", secret=SECRET)
JOB = subject_tag(SubjectKind.JOB, "j-1", namespace="acme", secret=SECRET)


def tags_in(store: Store) -> dict[Kind, SubjectTags]:
    """What the entries of a store carry, by their kind."""
    keys = list(store.yield_keys())
    heads = store.mpeek(keys, HEADER_BYTES)
    return {
        parse_key(key).kind: peek_entry(head, key_tag(key)).tags
        for key, head in zip(keys, heads, strict=True)
        if head is not None
    }


def embed(store: Store) -> None:
    CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=SETTINGS).embed_documents(["a", "b"])


def embed_by_service(store: Store) -> None:
    SyncCacheService(FailOpenStore(store), settings=SETTINGS).cache_embedding("text", [1.0, 2.0], "m")


def answer(store: Store) -> None:
    ResponseCache(store, settings=SETTINGS).update(
        "prompt", "[('model', 'm')]", [ChatGeneration(message=AIMessage("yes"))]
    )
    SyncCacheService(FailOpenStore(store), settings=SETTINGS).cache_openai_response("prompt", "answer", "m")


def stream(store: Store) -> None:
    model = cached(FakeListChatModel(responses=["yes"]), ResponseCache(store, settings=SETTINGS))
    assert list(model.stream("say yes"))


def keep_match(store: Store) -> None:
    results = PairResults(Kind.JOB_MATCH, store, variant=(), settings=SETTINGS, counters=Counters())
    results.set("resume", "job", {"score": 1})


def keep_session(store: Store) -> None:
    Sessions(store, settings=SETTINGS, counters=Counters()).set("an id", {"a": 1})


def call_tool(store: Store) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    call: Any = {"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}
    request = ToolCallRequest(tool_call=call, tool=weather, state={}, runtime=None)  # type: ignore[arg-type]
    cache_of_tools = ToolResultCache(store, {"weather": PureTool()}, settings=SETTINGS)
    cache_of_tools.wrap_tool_call(request, lambda _: ToolMessage("sunny", tool_call_id="1"))


def keep_node_result(store: Store) -> None:
    NodeCache(store, settings=SETTINGS).set({(("graph", "node"), "key"): ({"a": 1}, None)})


WRITERS: dict[Callable[[Store], None], Kind] = {
    embed: Kind.EMBEDDING,
    embed_by_service: Kind.EMBEDDING,
    answer: Kind.OPENAI_RESPONSE,
    stream: Kind.OPENAI_RESPONSE,
    keep_match: Kind.JOB_MATCH,
    keep_session: Kind.SESSION,
    call_tool: Kind.TOOL_RESULT,
    keep_node_result: Kind.NODE_RESULT,
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_write_carries_the_tags_of_its_context(write: Callable[[Store], None]) -> None:
    """Whatever is stored within `about` says in its header whom it is about, and what is stored outside says nobody."""
    store, outside = MemoryStore(), MemoryStore()
    write(outside)
    assert tags_in(outside) == {WRITERS[write]: ABOUT_NOBODY}
    with about(candidate="c-1", job="j-1"):
        write(store)
    assert tags_in(store) == {WRITERS[write]: SubjectTags(CANDIDATE, JOB)}


def test_a_stream_is_about_whom_it_began_with() -> None:
    """An answer that streams out of the context it began in still carries the tags of that context."""
    store = MemoryStore()
    model = cached(FakeListChatModel(responses=["yes"]), ResponseCache(store, settings=SETTINGS))
    with about(candidate="c-1"):
        chunks = model.stream("say yes")
        next(chunks)
    assert list(chunks)
    assert tags_in(store) == {Kind.OPENAI_RESPONSE: SubjectTags(CANDIDATE)}


def test_an_entry_that_others_share_keeps_the_tags_of_who_wrote_it() -> None:
    """A hit about somebody else changes nothing: the entry stays with whoever had it made."""
    store = MemoryStore()
    for candidate in ("c-1", "c-2"):
        with about(candidate=candidate):
            embed(store)
    assert tags_in(store) == {Kind.EMBEDDING: SubjectTags(CANDIDATE)}


def test_tags_are_read_back_and_proven() -> None:
    """The header that is read has the tags that were written, for bytes and for vectors; other tags are damage."""
    tags = SubjectTags(b"candidat", b"thejob!!")
    entry = pack_entry(Header(bytes(8), created_s=1, ttl_s=1, tags=tags), b"payload")
    assert unpack_entry(entry, bytes(8))[0].tags == tags
    assert entry[40:56] == b"candidatthejob!!"
    with pytest.raises(cache.EntryError, match="damaged"):
        unpack_entry(entry.replace(b"candidat", b"another."), bytes(8))


def test_a_batch_of_vectors_carries_tags() -> None:
    """Vectors that are written in one go carry the tags each, and read back as before."""
    store = MemoryStore()
    with about(job="j-1"):
        embed(store)
    for key in store.yield_keys():
        [raw] = store.mget([key])
        assert raw is not None
        header, vector = decode_vector(raw, key_tag(key))
        assert header.tags == SubjectTags(job=JOB)
        assert np.isfinite(vector).all()


def test_a_tag_depends_on_tenant_kind_id_and_secret() -> None:
    """The same id is another tag for another tenant, as a job, and under another secret."""
    tags = {
        subject_tag(kind, subject_id, namespace=namespace, secret=secret)
        for kind in SubjectKind
        for subject_id in ("c-1", "c-2", "c-1 ")
        for namespace in (None, "acme", "other")
        for secret in (None, SECRET, b"t" * 32)
    }
    assert len(tags) == 2 * 3 * 3 * 3
    assert {len(tag) for tag in tags} == {8}
    assert bytes(8) not in tags


def test_contexts_nest() -> None:
    """What an inner context does not say is as outside, and after it all is as before."""
    with about(candidate="c-1"):
        with about(job="j-1"):
            assert current_subjects() == Subjects("c-1", "j-1")
            with about(candidate="c-2"):
                assert current_subjects() == Subjects("c-2", "j-1")
        assert current_subjects() == Subjects("c-1")
    assert current_subjects() == Subjects()
    assert current_tags("acme", SECRET) is ABOUT_NOBODY


def test_a_context_ends_with_an_error() -> None:
    """What fails within leaves nothing behind."""
    with pytest.raises(ZeroDivisionError), about(candidate="c-1"):
        raise ZeroDivisionError
    assert current_subjects() == Subjects()


async def test_it_holds_in_tasks_and_threads_and_in_no_other_context() -> None:
    """Tasks and threads started within are about the same; a task and a thread started before are not."""

    async def look() -> Subjects:
        await asyncio.sleep(0)
        return current_subjects()

    before = asyncio.create_task(look())
    with about(candidate="c-1"):
        within = asyncio.create_task(look())
        in_thread = await asyncio.to_thread(current_subjects)
        with ThreadPoolExecutor(1) as threads:
            elsewhere = threads.submit(contextvars.Context().run, current_subjects).result()
    assert [await before, await within, in_thread, elsewhere] == [
        Subjects(), Subjects("c-1"), Subjects("c-1"), Subjects(),
    ]  # fmt: skip


@pytest.mark.parametrize("subject_id", ["", "  ", "x" * 513])
def test_an_unusable_id_is_refused_unsaid(subject_id: str) -> None:
    """A blank or overlong id is an error at once, and its message does not repeat it."""
    with (
        pytest.raises(InvalidKeyError, match="expected the id of a candidate of 1 to 512") as error,
        about(candidate=subject_id),
    ):
        pass
    assert "xxx" not in str(error.value)


def test_peeking_refuses_the_head_of_another_key() -> None:
    """The first bytes of an entry are taken for no other key's."""
    entry = pack_entry(Header(bytes(8), created_s=1, ttl_s=1), b"payload")
    assert peek_entry(entry[:HEADER_BYTES], bytes(8)).size_bytes == HEADER_BYTES + len(b"payload")
    with pytest.raises(cache.EntryError, match="another key"):
        peek_entry(entry, b"12345678")
