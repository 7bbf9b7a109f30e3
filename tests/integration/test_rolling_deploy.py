"""Two versions of the package on one server at once, as while a deploy rolls: real processes on a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.opening import open_store
from tests.fakes import CountingChatModel, CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache.wrappers import FailOpenStore

TEXTS = ["one", "two", "three"]
QUESTIONS = ["How far?", "How near?"]

# What a later version may change: the format of entries, or what stands in them.
LATER = {
    "entries": "import cache.entry as module; module.VERSION = 2",
    "answers": "import cache.codecs.generations as module; module._VERSION = 3",
}
WORKER = """
import json, sys
{change}
from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.opening import open_store
from tests.fakes import CountingChatModel, CountingEmbeddings

url, namespace = sys.argv[1:]
settings = CacheSettings(redis_url=url, namespace=namespace, deadline_ms=5000)
with open_store(settings) as store:
    model = CountingChatModel(cache=ResponseCache(store, settings=settings))
    embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=settings)
    for line in sys.stdin:
        texts, questions = json.loads(line)
        vectors = embeddings.embed_documents(texts)
        answers = [model.invoke(question).text for question in questions]
        counts = [embeddings.counts().hits, model.cache.counts().hits]
        print(json.dumps([vectors, answers, counts]), flush=True)
"""


class Worker:
    """A process of a later version.

    Args:
        change: what is different in it.
        url: of the server.
        namespace: of the entries.
    """

    def __init__(self, change: str, url: str, namespace: str) -> None:
        command = [sys.executable, "-c", WORKER.format(change=change), url, namespace]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> Any:
        """Vectors, answers and hits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([TEXTS, QUESTIONS]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture(params=sorted(LATER))
def later(request: pytest.FixtureRequest, redis_url: str, namespace: str) -> Iterator[Worker]:
    worker = Worker(LATER[request.param], redis_url, namespace)
    yield worker
    worker.close()


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[FailOpenStore]:
    with open_store(CacheSettings(redis_url=redis_url, namespace=namespace, deadline_ms=5000)) as opened:
        yield opened


def test_versions_on_one_server_serve_no_wrong_answer_and_wipe_nothing(
    later: Worker, store: FailOpenStore, namespace: str
) -> None:
    """Each version reads what it knows, makes the rest, and deletes no entry of the other."""
    settings = CacheSettings(namespace=namespace)
    cache = ResponseCache(store, settings=settings)
    model = CountingChatModel(cache=cache)
    embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=settings)
    expected = CountingEmbeddings().embed_documents(TEXTS)
    for _ in range(3):
        assert embeddings.embed_documents(TEXTS) == expected
        assert [model.invoke(question).text for question in QUESTIONS] == ["fine", "fine"]
        vectors, answers, _ = later.ask()
        assert vectors == expected
        assert answers == ["fine", "fine"]
        assert len(list(store.yield_keys(prefix=f"{namespace}:"))) == len(TEXTS) + len(QUESTIONS)
    assert cache.counts().unreadable == {"EntryVersionError": 2 * len(QUESTIONS)}
    assert [counts.failures for counts in (cache.counts(), embeddings.counts())] == [{}, {}]


def test_once_all_are_of_one_version_everything_hits(later: Worker, store: FailOpenStore, namespace: str) -> None:
    """After the deploy the entries of the version before have been replaced, without clearing."""
    settings = CacheSettings(namespace=namespace)
    CountingChatModel(cache=ResponseCache(store, settings=settings)).invoke(QUESTIONS[0])
    CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=settings).embed_documents(TEXTS)
    later.ask()
    *_, before = later.ask()
    *_, after = later.ask()
    assert [now - then for now, then in zip(after, before, strict=True)] == [len(TEXTS), len(QUESTIONS)]
