"""Entries in one block of memory: what is kept is given as it was put, and no more than was agreed on is kept."""

from __future__ import annotations

import numpy as np
import pytest

from cache.arena import OVERHEAD_BYTES, SLAB_BYTES, Arena
from tests.fakes import START_S
from tests.tracked import answer_of, key_of, random_vectors, tags_of, vectors_of

NOW_S = START_S
LATER_S = START_S + 600


def keys_of(n: int, first: int = 0) -> list[str]:
    return [key_of(number) for number in range(first, first + n)]


def filled(max_bytes: int = 8 * SLAB_BYTES, n: int = 20, width: int = 16) -> tuple[Arena, list[str]]:
    """An arena with vectors in it, and their keys."""
    arena, keys = Arena(max_bytes), keys_of(n)
    arena.put(vectors_of(keys, random_vectors(n, width), now_s=NOW_S), now_s=NOW_S)
    return arena, keys


@pytest.mark.parametrize("width", [1, 3, 16, 17, 1536])
def test_vectors_come_in_the_order_of_their_keys(width: int) -> None:
    """A batch of any width, in any order and with a key twice, is given bit by bit as it was put."""
    arena, keys = filled(width=width)
    rows = [7, 0, 19, 7, 3]
    asked = [keys[row] for row in rows]
    found = arena.vectors(asked, tags_of(asked), now_s=NOW_S)
    assert found is not None
    np.testing.assert_array_equal(found.vectors, random_vectors(20, width)[rows])


def test_a_batch_is_the_caller_s_own() -> None:
    """Whoever writes into the vectors that were given changes nothing that is kept."""
    arena, keys = filled()
    for _ in range(2):
        found = arena.vectors(keys, tags_of(keys), now_s=NOW_S)
        assert found is not None
        assert isinstance(found.vectors, np.ndarray)
        np.testing.assert_array_equal(found.vectors, random_vectors(20, 16))
        found.vectors[:] = 0


def test_entries_are_given_as_they_are_stored() -> None:
    """A single entry comes back byte by byte, whether vector or answer, whatever its size."""
    arena, keys = filled()
    answers = [(key, answer_of(key, size_bytes=n, now_s=NOW_S)) for n, key in enumerate(keys_of(200, first=100))]
    arena.put(answers, now_s=NOW_S)
    assert [(key, arena.get(key, now_s=NOW_S)) for key, _ in answers] == answers
    vectors = vectors_of(keys, random_vectors(20, 16), now_s=NOW_S)
    assert [(key, arena.get(key, now_s=NOW_S)) for key in keys] == vectors


def test_a_batch_is_whole_or_nothing() -> None:
    """Where one is absent, of another width, no vector, or under a key that is not its own, no batch is given."""
    arena, keys = filled()
    wide, answer, moved = keys_of(3, first=100)
    arena.put(vectors_of([wide], random_vectors(1, 32), now_s=NOW_S), now_s=NOW_S)
    arena.put([(answer, answer_of(answer, now_s=NOW_S))], now_s=NOW_S)
    arena.put([(moved, vectors_of(keys[:1], random_vectors(1, 16), now_s=NOW_S)[0][1])], now_s=NOW_S)
    for odd in (key_of(999), wide, answer, moved):
        for asked in ([*keys, odd], [odd, *keys]):
            assert arena.vectors(asked, tags_of(asked), now_s=NOW_S) is None


def test_nothing_is_given_after_its_time() -> None:
    """An entry is given up to the last moment that it names, and then neither alone nor in a batch."""
    arena, keys = filled()
    assert arena.vectors(keys, tags_of(keys), now_s=LATER_S - 0.001) is not None
    assert arena.vectors(keys, tags_of(keys), now_s=LATER_S) is None
    assert arena.get(keys[0], now_s=LATER_S - 0.001) is not None
    assert [arena.get(key, now_s=LATER_S) for key in keys] == [None] * 20
    assert (len(arena), arena.size_bytes) == (0, 0)


@pytest.mark.parametrize("at", [0, 4, 20, 56, 70])
def test_a_damaged_vector_is_not_kept(at: int) -> None:
    """A vector in which one byte has changed, in its header or its numbers, is passed over, and the others are kept."""
    arena, keys = Arena(SLAB_BYTES), keys_of(3)
    pairs = vectors_of(keys, random_vectors(3, 16), now_s=NOW_S)
    damaged = bytearray(pairs[1][1])
    damaged[at] ^= 1
    arena.put([pairs[0], (keys[1], bytes(damaged)), pairs[2]], now_s=NOW_S)
    assert [arena.get(key, now_s=NOW_S) for key in keys] == [pairs[0][1], None, pairs[2][1]]


def test_what_is_no_entry_is_not_kept() -> None:
    """Foreign bytes, a truncated entry, one that is too old and one that is too large are passed over."""
    arena, key = Arena(4 * SLAB_BYTES), key_of(0)
    whole = answer_of(key, now_s=NOW_S)
    large = answer_of(key, size_bytes=SLAB_BYTES, now_s=NOW_S)
    for raw in (b"", b"value", bytes(64), whole[:-1], large):
        arena.put([(key, raw)], now_s=NOW_S)
    arena.put([(key, whole)], now_s=LATER_S)
    assert len(arena) == 0


def test_dropped_entries_are_gone() -> None:
    """Dropping takes the given keys and no others, absent ones are no error, and an empty slab is free again."""
    arena, keys = filled()
    arena.drop([keys[0], key_of(999), keys[0]])
    assert [arena.get(key, now_s=NOW_S) is None for key in keys] == [True] + [False] * 19
    arena.drop(keys)
    assert (len(arena), arena.size_bytes) == (0, 0)


def test_a_new_value_replaces_the_old() -> None:
    """The last entry of a key counts, also within one batch, and dropping it does not bring back an older one."""
    arena, key = Arena(4 * SLAB_BYTES), key_of(0)
    one, two, three = (answer_of(key, fill=fill, now_s=NOW_S) for fill in (b"1", b"2", b"3"))
    arena.put([(key, one), (key_of(1), answer_of(key_of(1), now_s=NOW_S)), (key, two)], now_s=NOW_S)
    assert arena.get(key, now_s=NOW_S) == two
    arena.put([(key, three)], now_s=NOW_S)
    assert (arena.get(key, now_s=NOW_S), len(arena)) == (three, 2)
    arena.drop([key])
    assert arena.get(key, now_s=NOW_S) is None


def test_it_takes_no_more_than_was_agreed_on() -> None:
    """However much is put, of whatever sizes, no more than the bound is in use, and the newest is there."""
    max_bytes = 4 * SLAB_BYTES
    arena = Arena(max_bytes)
    for number in range(3000):
        key = key_of(number)
        arena.put([(key, answer_of(key, size_bytes=number * 7 % 5000, now_s=NOW_S))], now_s=NOW_S)
        assert arena.size_bytes <= max_bytes + SLAB_BYTES // 64 * OVERHEAD_BYTES
        assert arena.get(key, now_s=NOW_S) is not None


def test_a_batch_may_be_larger_than_all_there_is() -> None:
    """Of a batch that does not fit, the last are kept."""
    n, width = 400, 1024
    arena, keys = filled(2 * SLAB_BYTES, n=n, width=width)
    kept = [key for key in keys if arena.get(key, now_s=NOW_S) is not None]
    assert kept == keys[-len(kept) :]
    assert 0 < len(kept) * 4 * width <= 2 * SLAB_BYTES


def test_what_was_used_least_recently_goes_first() -> None:
    """Of two slabs, the one that was read last stays, whether it was read by one key or as a batch."""
    per_slab = SLAB_BYTES // (64 + 4 * 1008)  # vectors
    for is_batch in (False, True):
        arena = Arena(4 * SLAB_BYTES)
        groups = [keys_of(per_slab, first=1000 * group) for group in range(4)]
        for group in groups[:3]:
            arena.put(vectors_of(group, random_vectors(per_slab, 1008), now_s=NOW_S), now_s=NOW_S)
        if is_batch:
            assert arena.vectors(groups[0], tags_of(groups[0]), now_s=NOW_S) is not None
        else:
            assert arena.get(groups[0][3], now_s=NOW_S) is not None
        arena.put(vectors_of(groups[3], random_vectors(per_slab, 1008), now_s=NOW_S), now_s=NOW_S)
        there = [arena.vectors(group, tags_of(group), now_s=NOW_S) is not None for group in groups]
        assert there == [True, False, True, True]


def test_clearing_takes_everything_and_the_room_is_used_again() -> None:
    """After clearing nothing is there, and as much can be kept as before."""
    arena, keys = filled(SLAB_BYTES * 2, n=40, width=1008)
    n_before = len(arena)
    arena.clear()
    assert (len(arena), arena.size_bytes) == (0, 0)
    arena.put(vectors_of(keys, random_vectors(40, 1008), now_s=NOW_S), now_s=NOW_S)
    assert len(arena) == n_before
