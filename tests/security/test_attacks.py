"""No attack gets through; those that nothing stands against do, so that the others are known to be tried."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cache.deadline import Deadline
from cache.stores import store_from_url
from tests.security.attacks import (
    ATTACKS,
    Attack,
    Outcome,
    changed_by,
    find_markers,
    plant,
    put_back,
    run_attack,
    table,
    try_guesses,
)
from tests.security.victims import MARKERS, RESUME, SESSION_ID, USER, Victim
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store

SHARE = 40
MOST_TRIES = 100


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server whose every key is the attacker's to take."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    """The attacker's way to the server."""
    with store_from_url(server.unix_url, deadline=Deadline(5.0)) as store:
        yield store


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_attack_gets_through(store: Store, attack: Attack) -> None:
    """Whatever is forged, moved, changed, planted, guessed or injected is a miss, and nothing personal is found."""
    n_tries = max(2, min(attack.n_tries // SHARE, MOST_TRIES))
    assert run_attack(attack, store, n_tries, seed=2) == Outcome(attack.name, n_tries, 0)


@pytest.mark.parametrize(
    "attack",
    [
        Attack("plain entry planted without sealing", changed_by(plant, is_sealed=False), 50),
        Attack("an old value put back within its time to live", changed_by(put_back), 50),
    ],
    ids=lambda attack: attack.name,
)
def test_what_nothing_stands_against_gets_through(store: Store, attack: Attack) -> None:
    """What is not promised happens, each time: the attacks do reach the victim."""
    assert run_attack(attack, store, attack.n_tries) == Outcome(attack.name, attack.n_tries, attack.n_tries)


def test_without_keys_and_secret_words_and_guesses_are_found(store: Store) -> None:
    """In a plain store the personal words are found, and guesses at texts and users are confirmed."""
    for tries in (partial(find_markers, is_sealed=False), partial(try_guesses, is_sealed=False)):
        assert run_attack(Attack("plain", tries, 500), store, 500).n_got_through > 0


def test_nothing_of_a_person_is_in_a_dump_of_the_server(store: Store, server: ValkeyServer) -> None:
    """Every key and value that the server holds, read without our code, is free of every planted word."""
    run_attack(ATTACKS[0], store, 0)
    victim = Victim(store)
    entries = victim.write()
    held = {key: server.command("GET", key) for key in server.command("KEYS", "*")}
    assert len(held) == len(entries) == 6
    quarters = struct.pack("<4f", 0.25, 0.25, 0.25, 0.25)  # of the vector
    assert [
        (word, key) for word in (*MARKERS, quarters) for key, value in held.items() if word in key or word in value
    ] == []
    assert all(entry.read() is not None for entry in entries)
    assert victim.service.get_cached_job_match_result(RESUME, "another ad", USER) is None
    assert victim.service.get_session(SESSION_ID) == {"resume": RESUME}


def test_the_table_adds_up() -> None:
    """The table has a row for each attack and one for all."""
    assert table([Outcome("a", 1000, 0), Outcome("b", 234, 1)]).splitlines()[2:] == [
        "| a | 1,000 | 0 |",
        "| b | 234 | 1 |",
        "| all | 1,234 | 1 |",
    ]
    assert sum(attack.n_tries for attack in ATTACKS) >= 10_000
