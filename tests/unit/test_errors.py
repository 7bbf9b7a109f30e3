"""Errors: one tree of ours, and a known meaning for every class of redis-py."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.sentinel import MasterNotFoundError

from cache import errors
from cache.errors import CacheError, StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from cache.stores.connections import ERROR_TABLE, to_store_error, translated

# Every exception class of redis-py that was looked at, with what it means for a cache. A class that is not here is new:
# decide what it means (does the server still answer? can it only not be written to?), extend `ERROR_TABLE` if what it
# inherits is wrong, and name it here.
MEANING: dict[str, tuple[type[StoreError], str]] = {
    "AskError": (StoreResponseError, "cluster"),
    "AuthenticationError": (StoreConnectionError, "auth"),
    "AuthenticationWrongNumberOfArgsError": (StoreConnectionError, "auth"),
    "AuthorizationError": (StoreConnectionError, "auth"),
    "BusyLoadingError": (StoreConnectionError, "loading"),
    "ChildDeadlockedError": (StoreConnectionError, "fork"),
    "ClusterCrossSlotError": (StoreResponseError, "response"),
    "ClusterDownError": (StoreResponseError, "cluster_down"),
    "ClusterError": (StoreResponseError, "cluster"),
    "ConnectionError": (StoreConnectionError, "connection"),
    "CrossSlotTransactionError": (StoreResponseError, "cluster"),
    "DataError": (StoreError, "client"),
    "ExecAbortError": (StoreResponseError, "response"),
    "ExternalAuthProviderError": (StoreConnectionError, "connection"),
    "IncorrectPolicyType": (StoreError, "client"),
    "InvalidPipelineStack": (StoreResponseError, "cluster"),
    "InvalidResponse": (StoreResponseError, "protocol"),
    "LockError": (StoreError, "client"),
    "LockNotOwnedError": (StoreError, "client"),
    "MasterDownError": (StoreResponseError, "cluster_down"),
    "MasterNotFoundError": (StoreConnectionError, "connection"),
    "MaxConnectionsError": (StoreConnectionError, "connection"),
    "ModuleError": (StoreResponseError, "response"),
    "MovedError": (StoreResponseError, "cluster"),
    "NoPermissionError": (StoreResponseError, "no_permission"),
    "NoScriptError": (StoreResponseError, "response"),
    "NoSuchFieldsetError": (StoreResponseError, "response"),
    "OutOfMemoryError": (StoreResponseError, "out_of_memory"),
    "PubSubError": (StoreError, "client"),
    "ReadOnlyError": (StoreResponseError, "read_only"),
    "RedisClusterException": (StoreResponseError, "cluster"),
    "RedisError": (StoreError, "client"),
    "ResponseError": (StoreResponseError, "response"),
    "SlaveNotFoundError": (StoreConnectionError, "connection"),
    "SlotNotCoveredError": (StoreResponseError, "cluster"),
    "TimeoutError": (StoreTimeoutError, "timeout"),
    "TryAgainError": (StoreResponseError, "try_again"),
    "WatchError": (StoreError, "client"),
}


DERIVED = (MasterNotFoundError, AsyncMasterNotFoundError)  # their modules must be imported for the walk to meet them


def subclasses(root: type[BaseException]) -> set[type[BaseException]]:
    found = set(root.__subclasses__())
    return found.union(*map(subclasses, found))


def classes_of_redis() -> set[type[BaseException]]:
    """What `redis.exceptions` exports, and every class of redis-py that is derived from it."""
    exported = {one for one in vars(redis_errors).values() if inspect.isclass(one) and issubclass(one, BaseException)}
    derived = {one for root in exported for one in subclasses(root)}
    return {one for one in exported | derived if one.__module__.startswith("redis.")}


def test_every_error_class_of_redis_has_a_known_meaning() -> None:
    """A class that a new version of redis-py brings is noticed here, before it is counted under a wrong name."""
    unknown = {one.__name__ for one in classes_of_redis()} - MEANING.keys()
    assert unknown == set()


@pytest.mark.parametrize("kind", sorted(classes_of_redis(), key=repr))
def test_an_error_of_redis_becomes_the_one_of_ours_that_it_means(kind: type[BaseException]) -> None:
    """The most specific entry of the table decides class and reason."""
    found = to_store_error(kind.__new__(kind))
    assert (type(found), found.reason) == MEANING[kind.__name__]


def test_the_table_names_only_classes_that_exist() -> None:
    """No entry of the table is shadowed or forgotten: each is a class of redis-py or of the operating system."""
    assert ERROR_TABLE.keys() - classes_of_redis() == {OSError, TimeoutError}


def test_the_walk_meets_classes_outside_of_the_module_of_exceptions() -> None:
    """Classes that another module of redis-py derives are looked at too."""
    assert classes_of_redis().issuperset(DERIVED)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (redis_errors.ResponseError("WRONGTYPE Operation against a key"), StoreResponseError, "wrong_type"),
        (redis_errors.ResponseError("MISCONF Redis is configured to save"), StoreResponseError, "read_only"),
        (redis_errors.ResponseError("NOREPLICAS Not enough good replicas"), StoreResponseError, "read_only"),
        (redis_errors.ResponseError("ERR unknown command 'MSETEX'"), StoreResponseError, "response"),
        (redis_errors.ResponseError("a text with WRONGTYPE in it"), StoreResponseError, "response"),
        (ConnectionResetError("reset"), StoreConnectionError, "connection"),
        (TimeoutError("late"), StoreTimeoutError, "timeout"),
        (asyncio.IncompleteReadError(b"", 5), StoreError, "client"),
        (KeyError("inside redis-py"), StoreError, "client"),
    ],
)
def test_what_redis_leaves_to_the_message_is_told_apart(error: Exception, kind: type[StoreError], reason: str) -> None:
    """Codes that have no class of their own, and errors of the system, get their name too."""
    found = to_store_error(error)
    assert (type(found), found.reason) == (kind, reason)
    assert str(found) == str(error)


def test_a_refused_connection_is_named_by_its_cause() -> None:
    """redis-py wraps the refusal; the name of what happened is found inside."""
    error = redis_errors.ConnectionError("Error 111")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert to_store_error(error).reason == "refused"
    error.__cause__, error.__context__ = None, ConnectionRefusedError(111, "refused")
    assert to_store_error(error).reason == "refused"


def test_translation_keeps_ours_and_passes_cancellation() -> None:
    """An error of ours passes as it is, a foreign one becomes ours with its cause, cancellation is no error."""
    ours = StoreTimeoutError("ours")
    with pytest.raises(StoreTimeoutError) as raised, translated():
        raise ours
    assert raised.value is ours
    foreign = redis_errors.ReadOnlyError("READONLY")
    with pytest.raises(StoreResponseError) as raised_too, translated():
        raise foreign
    assert raised_too.value.__cause__ is foreign
    with pytest.raises(asyncio.CancelledError), translated():
        raise asyncio.CancelledError


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    """Every error is drawn under its parent's root, and marked as a ValueError where it is one."""
    classes = {name: one for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, Exception)}
    drawn = dict(re.findall(r"(?m)^[│├└─ ]*(\w+Error)( +\(also ValueError\))?", errors.__doc__ or ""))
    assert drawn.keys() == classes.keys()
    assert all(issubclass(one, CacheError) for one in classes.values())
    assert {name for name, mark in drawn.items() if mark} == {
        name for name, one in classes.items() if issubclass(one, ValueError)
    }


def test_a_store_error_has_one_word_for_counters() -> None:
    """The reason is that of the class unless a more exact one is given."""
    assert StoreTimeoutError("late").reason == "timeout"
    assert StoreTimeoutError("late", reason="loop_late").reason == "loop_late"
    assert StoreError("what").reason == "error"
