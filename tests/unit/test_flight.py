"""One computation at a time per key, in a process: who leads, who waits, and what becomes of both."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cache.flight import (
    Flights,
    Landed,
    Lead,
    Level,
    Turn,
    Waiter,
    await_first,
    may_wait,
    own_lead,
    wait_for_first,
)
from tests.fakes import PATIENCE_S, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

KEY = "openai:m:0"
WAIT_S = 30.0


def join(
    flights: Flights, key: str = KEY, *, level: Level = Level.RESPONSE, ticket: int | None = None
) -> Turn | Waiter:
    """Join as a caller that may wait where its context lets it."""
    at = flights.ticket() if ticket is None else ticket
    may = may_wait(level, is_blocking=False)
    return flights.join(key, level, ticket=at, wait_s=WAIT_S, may_wait=may)


def elsewhere(function: Callable[[], Turn | Waiter]) -> Turn | Waiter:
    """Call in a context of its own, as another thread or task has."""
    return contextvars.Context().run(function)


def leading(flights: Flights, key: str = KEY) -> Lead:
    found = elsewhere(lambda: join(flights, key))
    assert isinstance(found, Lead)
    return found


def waiting(flights: Flights, key: str = KEY) -> Waiter:
    found = elsewhere(lambda: join(flights, key))
    assert isinstance(found, Waiter)
    return found


def taken(waiter: Waiter) -> Turn:
    """Take a caller's turn in its own context."""
    return contextvars.Context().run(waiter.take)


class Given:
    """Something held that notes when it is given back."""

    def __init__(self) -> None:
        self.n_times = 0

    def give_back(self) -> None:
        self.n_times += 1


def test_the_first_leads_and_the_others_get_what_it_finds() -> None:
    """All who wait get the very value; whoever comes after it has landed leads again."""
    flights, value = Flights(), object()
    lead = leading(flights)
    waiters = [waiting(flights) for _ in range(3)]
    assert flights.n_waiting() == 3
    lead.land(value)
    assert [taken(waiter) for waiter in waiters] == [Landed(value)] * 3
    assert isinstance(elsewhere(lambda: join(flights)), Lead)


def test_other_keys_are_led_by_others() -> None:
    """A key that is being computed holds up no other."""
    flights = Flights()
    assert leading(flights, "a") is not leading(flights, "b")


def test_who_looked_before_the_landing_gets_what_has_landed() -> None:
    """A value that lands between a caller's look and its joining is not computed again; a later look finds nothing."""
    flights = Flights()
    ticket = flights.ticket()
    leading(flights).land("value")
    assert elsewhere(lambda: join(flights, ticket=ticket)) == Landed("value")
    assert isinstance(elsewhere(lambda: join(flights)), Lead)


def test_what_has_landed_is_not_kept_for_long() -> None:
    """Values are kept for as many keys and as long as a look may take, and no longer."""
    clock = FakeClock()
    flights = Flights(clock=clock)
    ticket = flights.ticket()
    for n in range(300):
        leading(flights, str(n)).land(n)
    assert isinstance(elsewhere(lambda: join(flights, "0", ticket=ticket)), Lead)
    assert elsewhere(lambda: join(flights, "299", ticket=ticket)) == Landed(299)
    clock.advance(3)
    leading(flights, "new").land("new")
    assert isinstance(elsewhere(lambda: join(flights, "299", ticket=ticket)), Lead)


def test_a_leader_that_fails_hands_over_to_one() -> None:
    """The one who waits longest leads next, and the others wait for it."""
    flights = Flights()
    lead = leading(flights)
    first, second = waiting(flights), waiting(flights)
    lead.fail()
    following = taken(first)
    assert isinstance(following, Lead)
    assert not second.future.done()
    following.land("value")
    assert taken(second) == Landed("value")


def test_a_leader_that_parts_leaves_everybody_alone() -> None:
    """What is not to be shared leaves all who wait to themselves at once, and the key to the next."""
    flights = Flights()
    lead = leading(flights)
    waiters = [waiting(flights) for _ in range(3)]
    lead.part()
    assert [taken(waiter) for waiter in waiters] == [None] * 3
    assert isinstance(elsewhere(lambda: join(flights)), Lead)


def test_a_lead_ends_once() -> None:
    """What comes after the end of a lead changes nothing for those who lead and wait now."""
    flights = Flights()
    old = leading(flights)
    ends: list[str] = []
    old.when_over(lambda: ends.append("over"))
    old.fail()
    new = leading(flights)
    waiter = waiting(flights)
    for end in (old.fail, old.part, lambda: old.land("old")):
        end()
    assert ends == ["over"]
    assert not waiter.future.done()
    new.land("new")
    assert taken(waiter) == Landed("new")


@pytest.mark.parametrize(("error", "is_lead"), [(None, False), (ValueError("no"), True)])
def test_a_lead_ends_with_its_block(error: Exception | None, *, is_lead: bool) -> None:
    """A block that ends without a value leaves those who wait to themselves; one that fails hands over."""
    flights = Flights()
    lead = leading(flights)
    waiter = waiting(flights)
    try:
        with lead:
            if error:
                raise error
    except ValueError:
        pass
    assert isinstance(taken(waiter), Lead) is is_lead


def test_who_leaves_is_not_called_up() -> None:
    """A caller that no longer waits is passed over, and gets nothing."""
    flights = Flights()
    lead = leading(flights)
    gone, there = waiting(flights), waiting(flights)
    gone.leave()
    assert flights.n_waiting() == 1
    lead.fail()
    assert isinstance(taken(there), Lead)


def test_who_leaves_with_a_lead_hands_it_on() -> None:
    """A caller that is cancelled when it has just been called up does not take the lead with it."""
    flights = Flights()
    lead = leading(flights)
    gone, there = waiting(flights), waiting(flights)
    lead.fail()
    gone.leave()
    assert isinstance(taken(there), Lead)


def test_who_takes_its_turn_too_early_is_on_its_own() -> None:
    """After its time a caller computes for itself, and the leader's value goes to the others."""
    flights = Flights()
    lead = leading(flights)
    impatient, patient = waiting(flights), waiting(flights)
    assert taken(impatient) is None
    lead.land("value")
    assert taken(patient) == Landed("value")


def test_a_leader_that_takes_too_long_is_replaced() -> None:
    """Whoever comes after the longest wait leads anew; the old leader's value still reaches those who wait for it."""
    clock = FakeClock()
    flights = Flights(clock=clock)
    slow = leading(flights)
    early = waiting(flights)
    clock.advance(WAIT_S)
    new = leading(flights)
    late = waiting(flights)
    slow.land("slow")
    assert taken(early) == Landed("slow")
    assert not late.future.done()
    new.land("new")
    assert taken(late) == Landed("new")


def test_what_is_held_goes_from_leader_to_leader() -> None:
    """What was taken for a key serves the next leader too, and is given back once after the last."""
    flights, held = Flights(), Given()
    lead = leading(flights)
    lead.held = held
    waiter = waiting(flights)
    lead.fail()
    following = taken(waiter)
    assert isinstance(following, Lead)
    assert (following.held, held.n_times) == (held, 0)
    following.fail()
    following.land("late")
    assert held.n_times == 1


def test_nobody_waits_for_itself() -> None:
    """A context that leads a key and asks for it again is on its own."""
    flights = Flights()

    def ask_twice() -> Turn | Waiter:
        assert isinstance(join(flights), Lead)
        return join(flights)

    assert elsewhere(ask_twice) is None


@pytest.mark.parametrize(
    ("led", "wanted", "waits"),
    [
        (Level.RESULT, Level.RESPONSE, True),
        (Level.RESULT, Level.EMBEDDING, True),
        (Level.RESPONSE, Level.EMBEDDING, True),
        (Level.RESPONSE, Level.RESPONSE, False),
        (Level.RESPONSE, Level.RESULT, False),
        (Level.EMBEDDING, Level.EMBEDDING, False),
        (Level.RESULT, Level.RESULT, False),
    ],
)
def test_who_leads_waits_for_what_lies_below(led: Level, wanted: Level, *, waits: bool) -> None:
    """Waiting only downwards cannot go round in a circle."""
    flights = Flights()
    leading(flights, "wanted")

    def ask_while_leading() -> Turn | Waiter:
        join(flights, "led", level=led)
        return join(flights, "wanted", level=wanted)

    assert isinstance(elsewhere(ask_while_leading), Waiter) is waits


def test_who_has_led_waits_again() -> None:
    """A lead that has ended, here or elsewhere, holds nobody back."""
    flights = Flights()

    def ask_after_leading() -> Turn | Waiter:
        lead = join(flights, "other")
        assert isinstance(lead, Lead)
        assert own_lead(flights, "other") is lead
        lead.land("value")
        assert own_lead(flights, "other") is None
        leading(flights)
        return join(flights)

    assert isinstance(elsewhere(ask_after_leading), Waiter)


async def test_what_a_task_leads_holds_for_its_children() -> None:
    """A task and a thread started by a leader know what it leads."""
    flights = Flights()
    leading(flights)
    led = join(flights, "led")
    assert isinstance(led, Lead)

    async def ask() -> Turn | Waiter:
        return join(flights)

    assert await asyncio.create_task(ask()) is None
    assert await asyncio.to_thread(join, flights) is None
    led.part()


async def test_a_blocking_caller_never_waits_on_an_event_loops_thread() -> None:
    """It might hold up the task that it waits for; on a thread of its own it waits."""
    assert not may_wait(Level.RESPONSE, is_blocking=True)
    assert may_wait(Level.RESPONSE, is_blocking=False)
    assert await asyncio.to_thread(may_wait, Level.RESPONSE, is_blocking=True)


async def test_a_thread_of_a_loops_pool_waits_for_threads_and_not_for_tasks() -> None:
    """A task may need that very thread to get its answer: when a task takes over, the thread is sent away."""
    flights = Flights()
    leading(flights, "of a task")
    assert await asyncio.to_thread(elsewhere, lambda: join(flights, "of a task")) is None
    lead = await asyncio.to_thread(leading, flights)
    task, thread = waiting(flights), await asyncio.to_thread(waiting, flights)
    lead.fail()
    assert isinstance(taken(task), Lead)
    assert thread.future.done()
    assert taken(thread) is None


async def test_tasks_wait_for_a_thread_and_threads_for_a_task() -> None:
    """Both worlds, and two event loops, share what one of them finds."""
    flights = Flights()
    lead = leading(flights)
    in_thread, in_task, in_other_loop = (waiting(flights) for _ in range(3))

    async def await_other() -> Turn:
        await await_first([in_other_loop], PATIENCE_S)
        return taken(in_other_loop)

    with ThreadPoolExecutor(2) as threads:
        blocking = threads.submit(wait_for_first, [in_thread], PATIENCE_S)
        other = threads.submit(asyncio.run, await_other())
        task = asyncio.create_task(await_first([in_task], PATIENCE_S))
        await asyncio.sleep(0)
        await asyncio.to_thread(lead.land, "value")
        await task
        await asyncio.to_thread(blocking.result)
        assert await asyncio.to_thread(other.result) == taken(in_thread) == taken(in_task) == Landed("value")


async def test_a_cancelled_task_leaves_the_others_waiting() -> None:
    """Cancelling a caller that waits changes nothing for the leader and the others."""
    flights = Flights()
    lead = leading(flights)
    gone, there = waiting(flights), waiting(flights)
    task = asyncio.create_task(await_first([gone], PATIENCE_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone.leave()
    lead.land("value")
    assert taken(there) == Landed("value")


async def test_waiting_for_several_ends_with_the_first() -> None:
    """Whoever waits for several keys is called up for the first that is ready."""
    flights = Flights()
    leads = [leading(flights, name) for name in "ab"]
    places = [waiting(flights, name) for name in "ab"]
    leads[1].land("b")
    await await_first(places, PATIENCE_S)
    wait_for_first(places, PATIENCE_S)
    assert [place.future.done() for place in places] == [False, True]


async def test_waiting_is_bounded() -> None:
    """When the time is over waiting ends, in both worlds."""
    flights = Flights()
    leading(flights)
    place = waiting(flights)
    await await_first([place], 0.001)
    wait_for_first([place], 0.001)
    assert taken(place) is None


def test_many_threads_compute_once() -> None:
    """Of 64 threads at once one leads at a time, whatever their order, and each gets a value."""
    flights = Flights()
    n_computed = 0
    barrier = threading.Barrier(64)

    def ask() -> object:
        nonlocal n_computed
        ticket = flights.ticket()
        barrier.wait(PATIENCE_S)
        turn = join(flights, ticket=ticket)
        if isinstance(turn, Waiter):
            wait_for_first([turn], PATIENCE_S)
            turn = taken(turn)
        if isinstance(turn, Lead):
            n_computed += 1
            turn.land("value")
            return "value"
        assert isinstance(turn, Landed)
        return turn.value

    with ThreadPoolExecutor(64) as threads:
        assert [one.result() for one in [threads.submit(ask) for _ in range(64)]] == ["value"] * 64
    assert n_computed == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_waits_for_nobody_of_its_parent() -> None:
    """What the parent leads, the child does not know of: it leads for itself."""
    flights = Flights()
    lead = leading(flights)
    child = os.fork()
    if not child:
        os._exit(0 if isinstance(join(flights), Lead) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not lead.is_over


def test_a_paused_lead_is_stalled_after_a_while() -> None:
    """Who looks at a lead that has been paused for long ends it, and all who wait are on their own; before, nothing."""
    clock = FakeClock()
    flights = Flights(clock=clock)
    lead, first, second = leading(flights), waiting(flights), waiting(flights)
    lead.pause()
    first.look()
    assert (lead.is_over, lead.is_stalled) == (False, False)
    clock.advance(1.0)
    first.look()
    assert (lead.is_over, first.take(), second.take()) == (True, None, None)
    assert isinstance(elsewhere(lambda: join(flights)), Lead)


def test_a_lead_that_goes_on_is_not_stalled() -> None:
    """However long it takes: a provider that is slow is waited for."""
    clock = FakeClock()
    flights = Flights(clock=clock)
    lead, waiter = leading(flights), waiting(flights)
    lead.pause()
    lead.go_on()
    clock.advance(20.0)
    waiter.look()
    assert (lead.is_over, lead.is_stalled) == (False, False)
    waiter.leave()


def test_who_comes_to_a_stalled_lead_leads() -> None:
    """Nobody begins to wait for a caller that does not go on."""
    clock = FakeClock()
    flights = Flights(clock=clock)
    lead = leading(flights)
    lead.pause()
    clock.advance(1.0)
    assert isinstance(elsewhere(lambda: join(flights)), Lead)


def test_a_thread_does_not_wait_for_a_lead_that_needs_it_to_go_on() -> None:
    """A lead that is paused on a thread is waited for by others, and not by that thread, whatever its context."""
    flights = Flights()
    lead = leading(flights)
    lead.pause()
    assert elsewhere(lambda: join(flights)) is None
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(waiting, flights).result(PATIENCE_S)
    lead.land(1)
    assert waiter.take() == Landed(1)


def test_a_generator_that_is_closed_fails_in_another_thread() -> None:
    """A lead is handed over though the closing thread holds the lock, as when the garbage collector closes it."""
    flights = Flights()

    def stream() -> Generator[int, None, None]:
        with leading(flights):
            yield 1

    opened = stream()
    next(opened)
    waiter = waiting(flights)
    with flights._lock:
        opened.close()
    wait_for_first([waiter], PATIENCE_S)
    assert isinstance(elsewhere(waiter.take), Lead)
