"""Slots: which server a key belongs to, and what servers say of that."""

from __future__ import annotations

from typing import Any

import pytest

from cache.errors import StoreResponseError
from cache.stores.slots import N_SLOTS, Address, SlotMap, grouped, slot_of

ASKED = Address("asked.example.org", 7000)
A, B = Address("10.0.0.1", 1), Address("10.0.0.2", 2)
REPLY = [
    [0, 99, [b"10.0.0.1", 1, b"id", []], [b"10.0.0.9", 9, b"replica", []]],
    [200, 16383, [b"10.0.0.2", 2, b"id", []]],
    [100, 199, [b"10.0.0.1", 1]],
]


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 0x31C3),  # the example of the specification
        ("foo", 12182),
        ("{foo}:bar", 12182),
        ("a{foo}{bar}", 12182),
        ("{}foo", slot_of("{}foo")),
        ("", 0),
    ],
)
def test_a_key_has_the_slot_of_the_specification(key: str, slot: int) -> None:
    """The slot is the CRC16 of the key, or of what stands in its first pair of braces (H4)."""
    assert slot_of(key) == slot


def test_empty_braces_name_nothing() -> None:
    """With nothing between the first braces the whole key counts."""
    assert slot_of("{}foo") != slot_of("foo")


def test_every_text_has_a_slot() -> None:
    """A key that cannot be sent has a slot all the same, so that asking for its server raises nothing."""
    assert 0 <= slot_of("\ud800") < N_SLOTS


def test_a_reply_is_a_map() -> None:
    """Ranges in any order, with replicas and with further facts, name the primary of each slot."""
    found = SlotMap.from_reply(REPLY, ASKED)
    assert [found.owners[slot] for slot in (0, 99, 100, 199, 200, 16383)] == [A, A, A, A, B, B]
    assert found.addresses() == [A, B]
    assert found.is_complete()
    assert found.owner("foo") == B


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_server_without_a_name_is_the_one_that_was_asked(host: bytes | None) -> None:
    """Where the reply names no host, the one that gave it is meant, on the port that it names."""
    assert SlotMap.from_reply([[0, 16383, [host, 5]]], ASKED).addresses() == [Address(ASKED.host, 5)]


def test_slots_that_nobody_holds_have_no_server() -> None:
    """A map with a gap is not complete, and says nothing of the gap."""
    found = SlotMap.from_reply(REPLY[:1], ASKED)
    assert not found.is_complete()
    assert (found.owners[99], found.owners[100]) == (A, None)


NO_MAPS: list[Any] = [
    *(None, 5, b"OK", [5], [[0]], [[0, 1]], [[0, 1, None]]),
    *([[0, 1, [b"h"]]], [[0, 1, [b"h", b"x"]]], [[0, 1, [7, 1]]]),
    *([[0, 16384, [b"h", 1]]], [[b"a", 1, [b"h", 1]]], [[5, 1, [b"h", 1]]], [[-1, 5, [b"h", 1]]]),
]


@pytest.mark.parametrize("reply", NO_MAPS)
def test_what_is_no_map_is_an_error(reply: Any) -> None:
    """A reply of another shape, or with slots that do not exist, is an error of the server that gave it."""
    with pytest.raises(StoreResponseError, match=r"asked\.example\.org:7000") as caught:
        SlotMap.from_reply(reply, ASKED)
    assert caught.value.reason == "protocol"


def test_a_cluster_without_slots_is_down() -> None:
    """A server that knows of no slots is in no cluster that can be used."""
    with pytest.raises(StoreResponseError) as caught:
        SlotMap.from_reply([], ASKED)
    assert caught.value.reason == "cluster_down"


def test_a_slot_moves_alone() -> None:
    """Moving a slot changes neither the others nor the map that was there."""
    before = SlotMap.from_reply(REPLY, ASKED)
    after = before.moved(50, B)
    assert [after.owners[slot] for slot in (49, 50, 51)] == [A, B, A]
    assert before.owners[50] == A


def test_positions_are_grouped_by_server() -> None:
    """Each server has its positions in order."""
    assert grouped([A, B, A]) == {A: [0, 2], B: [1]}
