"""Whatever is done to an arena, what it gives is the last that was put, and it never takes more than its bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.arena import OVERHEAD_BYTES, SLAB_BYTES, Arena
from tests.fakes import START_S
from tests.tracked import answer_of, key_of

NOW_S = START_S
MAX_BYTES = 3 * SLAB_BYTES
numbers = st.integers(0, 30)
puts = st.lists(st.tuples(numbers, st.integers(0, 40_000)), max_size=6)
drops = st.lists(numbers, max_size=6)


@given(st.lists(st.tuples(puts, drops, st.booleans()), max_size=40))
def test_what_is_given_is_what_was_put_last(steps: list[tuple[list[tuple[int, int]], list[int], bool]]) -> None:
    """A key gives its last entry or nothing, never an older one, one of another key, or one that was dropped."""
    arena, last = Arena(MAX_BYTES), dict[str, bytes]()
    for serial, (sizes, to_drop, is_cleared) in enumerate(steps):
        if is_cleared:
            arena.clear()
            last.clear()
        pairs = [
            (key_of(number), answer_of(key_of(number), size_bytes=size, fill=b"%c" % serial, now_s=NOW_S))
            for number, size in sizes
        ]
        arena.put(pairs, now_s=NOW_S)
        last |= dict(pairs)
        arena.drop(map(key_of, to_drop))
        last = {key: value for key, value in last.items() if key not in set(map(key_of, to_drop))}
        for key in map(key_of, range(31)):
            assert arena.get(key, now_s=NOW_S) in {None, last.get(key)}
        assert len(arena) <= len(last)
        assert arena.size_bytes <= MAX_BYTES + 31 * OVERHEAD_BYTES
