"""Every method that reaches a store has an asynchronous twin that takes and gives the same."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from cache import CacheBackedEmbeddings, ResponseCache, Store, store_from_url
from cache.corpus import CorpusCache
from cache.graph import NodeCache
from cache.streams import StreamEntry

if TYPE_CHECKING:
    from collections.abc import Callable

store_from_url("redis://")  # imports all stores; connects to nothing
SPECIAL = [("__enter__", "__aenter__"), ("__exit__", "__aexit__")]
# The last is for a thread of a breaker's own; tracking is one itself.
WITHOUT_STORE = {"control", "counted_by", "counts", "observe", "stream_entry", "servers_of", "track", "ping_server"}


def subclasses(root: type) -> list[type]:
    """All classes below a class that belong to the package."""
    children: list[type] = root.__subclasses__()
    found = children + [below for child in children for below in subclasses(child)]
    return [child for child in found if child.__module__.startswith("cache.")]


CLASSES = [Store, *subclasses(Store), ResponseCache, CacheBackedEmbeddings, NodeCache, StreamEntry, CorpusCache]
each_class = pytest.mark.parametrize("owner", CLASSES, ids=lambda owner: owner.__name__)


def blocking_methods(owner: type) -> list[str]:
    """Names of the public methods that are no asynchronous twin of another."""
    names = [name for name, _ in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")]
    return [name for name in names if not (name.startswith("a") and name[1:] in names)]


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any, Any]]:
    """What a function takes, by name, kind, default and annotation."""
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in found]


def result(function: Callable[..., Any]) -> str:
    """What a function gives, as it is written."""
    return str(inspect.signature(function).return_annotation)


def test_all_stores_are_looked_at() -> None:
    """The classes that the other tests go through are more than the contract itself."""
    assert {"MemoryStore", "RedisStore", "FailOpenStore", "ByteStoreAdapter"} <= {owner.__name__ for owner in CLASSES}


@each_class
def test_each_method_has_an_asynchronous_twin(owner: type) -> None:
    """Each public method that reaches a store has a twin, and the twin is a coroutine or an asynchronous iterator."""
    for name in set(blocking_methods(owner)) - WITHOUT_STORE:
        twin = getattr(owner, f"a{name}")
        assert inspect.iscoroutinefunction(twin) or result(twin).startswith("AsyncIterator"), name


@each_class
def test_twins_take_and_give_the_same(owner: type) -> None:
    """Twins agree in the names, kinds, defaults and types of what they take, and in the type of what they give."""
    named = [(name, f"a{name}") for name in set(blocking_methods(owner)) - WITHOUT_STORE]
    for pair in named + [pair for pair in SPECIAL if hasattr(owner, pair[0])]:
        blocking, twin = (getattr(owner, name) for name in pair)
        assert parameters(blocking) == parameters(twin), pair
        assert result(blocking) == result(twin).replace("AsyncIterator", "Iterator"), pair
