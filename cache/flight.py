"""One computation at a time per key, in this process: the first caller leads, the others wait for what it finds.

A leader that fails, or is cancelled, hands over to one of those who wait, which leads next. Each waits on a future of
its own, so a cancelled caller harms nobody. Threads and the tasks of any number of event loops share one `Flights`.

Nothing waits in a circle: a caller waits for keys that lie below all that it leads, and never for itself. What it leads
stands in its context, which tasks and LangChain's threads inherit. A blocking caller on an event loop's thread never
waits: it might hold up the very task that it waits for; on a thread of an event loop's pool it waits for no task, which
may need that thread to get its answer. And who has waited long enough computes for itself.

A stream goes on only when its reader asks for more, in a context that need not be the stream's: a reader that keeps a
chunk for long, as it waits for something itself, or waits for a thread, holds up nobody else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from cache.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import TracebackType

_MOST_LANDED = 256  # values that are kept for callers who had looked before they were there
_NOT_LANDED = (0, 0.0, None)
_NOBODYS = object()
_LANDED_LIFE_S = 2.0  # between a caller's look and its joining lies one operation of the store
_READER_S = 1.0  # that the reader of a stream may keep a chunk before those who wait go on without it


class Level(IntEnum):
    """How high a kind of value stands: who computes one may wait for those below it."""

    EMBEDDING = 1
    RESPONSE = 2
    RESULT = 3
    TOOL = 4


@dataclass(frozen=True, slots=True)
class Landed:
    """What another caller has found; it is shared by all who get it, so nobody may change it."""

    value: Any


class Held(Protocol):
    """What is held as long as a key is computed, such as a lease."""

    def give_back(self) -> None:
        """Let others have it; must not block."""


class Lead:
    """The right to compute the value of a key while others wait; `land`, `part` or `fail` ends it, whichever is first.

    A context manager that fails with an error, and parts where nothing was landed.

    Attributes:
        key: what is computed.
        level: the kind of value.
        is_over: whether it has ended.
    """

    __slots__ = ("_flight", "_on_over", "_paused_s", "flights", "is_over", "key", "level")

    def __init__(self, flights: Flights, flight: _Flight, level: Level) -> None:
        self.key = flight.key
        self.level = level
        self.is_over = False
        self.flights = flights
        self._flight = flight
        self._on_over: tuple[Callable[[], object], ...] = ()
        self._paused_s: float | None = None

    @property
    def is_paused(self) -> bool:
        """Whether it is left to somebody else when the caller goes on: to the reader of a stream."""
        return self._paused_s is not None

    @property
    def is_stalled(self) -> bool:
        """Whether it has been paused for long."""
        paused_s = self._paused_s
        return paused_s is not None and self.flights.now_s() >= paused_s + _READER_S

    def pause(self) -> None:
        """Take note that somebody else decides when the caller goes on."""
        self._paused_s = self.flights.now_s()

    def go_on(self) -> None:
        """Take note that the caller computes again."""
        self._paused_s = None

    @property
    def held(self) -> Held | None:
        """What is held for the key; it goes over to the next leader, and is given back after the last."""
        return self._flight.held

    @held.setter
    def held(self, held: Held | None) -> None:
        self._flight.held = held

    def when_over(self, function: Callable[[], object]) -> None:
        """Have a function called when the lead ends, by whoever ends it."""
        self._on_over = (*self._on_over, function)

    def land(self, value: Any) -> None:
        """Give the value to all who wait."""
        self.flights._end(self, self._flight, Landed(value))  # noqa: SLF001  the other half of the class

    def part(self) -> None:
        """Have all who wait compute for themselves, at once: the value is not to be shared.

        One after the other, the last would wait for all before it, most likely for answers that are not to be shared
        either.
        """
        self.flights._end(self, self._flight, None)  # noqa: SLF001  as above

    def fail(self) -> None:
        """Hand over to one of those who wait."""
        self.flights._hand_over(self, self._flight)  # noqa: SLF001  as above

    def _end(self, held: Held | None) -> None:
        if held is not None:
            held.give_back()
        functions, self._on_over = self._on_over, ()
        for function in functions:
            function()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.part()
        elif kind is GeneratorExit:
            self._fail_elsewhere()
        else:
            self.fail()

    def _fail_elsewhere(self) -> None:
        """Fail in another thread: a generator may be closed by the garbage collector, while this one holds a lock."""
        with contextlib.suppress(RuntimeError):  # no thread to be had: those who wait see that nobody goes on
            threading.Thread(target=self.fail, name="resumecache-flight", daemon=True).start()


Turn: TypeAlias = Lead | Landed | None
"""What a caller is to do: compute for all, take what was found, or (None) compute for itself."""


class Waiter:
    """A caller's place among those who wait for a key.

    Attributes:
        key: what is waited for.
        thread: the thread that waits; `None` where a task does.
        takes_loops_thread: whether a thread waits that tasks may need.
        future: is done when it is the caller's turn.
    """

    def __init__(self, flights: Flights, flight: _Flight) -> None:
        self.key = flight.key
        self.thread = _blocked_thread()
        self.takes_loops_thread = _is_on_loops_thread()
        self.future: concurrent.futures.Future[Turn] = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()  # a task that is cancelled cannot cancel it: it has to leave
        self._flights = flights
        self._flight = flight

    def take(self) -> Turn:
        """The caller's turn; where it has not come by now the caller waits no longer, and is on its own."""
        self._flights._leave(self, self._flight)  # noqa: SLF001  the other half of the class
        turn = self.future.result()
        if isinstance(turn, Lead):
            _now_leading(turn)
        return turn

    def look(self) -> None:
        """Wait no longer where the leader does not go on, and leave the others who wait to themselves too."""
        lead = self._flight.lead
        if lead is not None and lead.is_stalled:
            lead.part()

    def leave(self) -> None:
        """Wait no longer; a lead that had just been handed to the caller goes to the next."""
        self._flights._leave(self, self._flight)  # noqa: SLF001  as above
        turn = self.future.result()
        if isinstance(turn, Lead):
            turn.fail()


@dataclass(frozen=True, slots=True)
class Wait:
    """What a flow asks of its driver: wait until it is the turn of one of the places; nothing is answered."""

    waiters: list[Waiter]
    wait_s: float


@dataclass(eq=False, slots=True)
class _Flight:
    key: str
    started_s: float
    thread: int | None  # of the leader; `None` where a task leads
    lead: Lead | None = None
    waiters: list[Waiter] = field(default_factory=list)
    held: Held | None = None


class Flights:
    """The keys that are being computed.

    Args:
        clock: where the time comes from.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Start with nothing under way, as a forked child must: its parent's threads and tasks are not in it."""
        self._lock = threading.Lock()
        self._under_way: dict[str, _Flight] = {}
        self._landed: OrderedDict[str, tuple[int, float, Landed]] = OrderedDict()
        self._n_landed = 0

    def now_s(self) -> float:
        """The time, on the monotonic clock."""
        return self._clock.monotonic_s()

    def ticket(self) -> int:
        """A moment, to be taken before looking for a key elsewhere: what lands after it is not missed by `join`."""
        return self._n_landed

    def n_waiting(self) -> int:
        """How many places there are of callers that wait."""
        with self._lock:
            return sum(len(flight.waiters) for flight in self._under_way.values())

    def join(self, key: str, level: Level, *, ticket: int, wait_s: float, may_wait: bool) -> Turn | Waiter:
        """Join for one key; see `join_all`."""
        return self.join_all([key], level, ticket=ticket, wait_s=wait_s, may_wait=may_wait)[0]

    def join_all(
        self, keys: Sequence[str], level: Level, *, ticket: int, wait_s: float, may_wait: bool
    ) -> list[Turn | Waiter]:
        """For each key, lead if nobody does; or else get a place among those who wait, where the caller may wait.

        Args:
            keys: what is wanted; distinct.
            level: the kind of value.
            ticket: taken before the caller looked for the key elsewhere.
            wait_s: seconds after which a leader is not waited for any more, and another one leads.
            may_wait: see `may_wait`.
        """
        thread, now_s = _blocked_thread(), self.now_s()
        spots: list[Turn | Waiter] = []
        with self._lock:
            for key in keys:
                spot = self._known(key, ticket, now_s - wait_s, may_wait=may_wait)
                if spot is _NOBODYS:
                    flight = self._under_way[key] = _Flight(key, now_s, thread)
                    spot = flight.lead = Lead(self, flight, level)
                spots.append(spot)
        _now_leading(*(spot for spot in spots if isinstance(spot, Lead)))
        return spots

    def _known(self, key: str, ticket: int, started_after_s: float, *, may_wait: bool) -> Any:
        """What has landed, or a place among those who wait; `None` for who may not wait, `_NOBODYS` if nobody leads."""
        n_landed, _, landed = self._landed.get(key, _NOT_LANDED)
        if landed is not None and n_landed > ticket:
            return landed
        flight = self._under_way.get(key)
        if flight is None or flight.started_s <= started_after_s or _is_stalled(flight):
            return _NOBODYS
        return self._wait(flight) if may_wait and not _is_in_the_way(flight) else None

    def _wait(self, flight: _Flight) -> Waiter:
        waiter = Waiter(self, flight)
        flight.waiters.append(waiter)
        return waiter

    def _leave(self, waiter: Waiter, flight: _Flight) -> None:
        with self._lock:
            if not waiter.future.done():
                flight.waiters.remove(waiter)
                waiter.future.set_result(None)

    def land_all(self, leads: Sequence[Lead], value_of: Callable[[int], Any]) -> None:
        """Give the values of many keys to all who wait.

        Args:
            leads: of this object; those that are over are passed by.
            value_of: makes the value for the lead at an index, if anybody is to have it.
        """
        first_kept = len(leads) - _MOST_LANDED  # the others would not be kept anyway
        over: list[tuple[Lead, Held | None]] = []
        now_s = self._clock.monotonic_s()
        with self._lock:
            for index, lead in enumerate(leads):
                flight = lead._flight  # noqa: SLF001  the other half of the class
                if lead.is_over:
                    continue
                turn = Landed(value_of(index)) if flight.waiters or index >= first_kept else None
                over.append((lead, self._close(lead, flight, turn, now_s)))
            self._let_go(now_s)
        for lead, held in over:
            lead._end(held)  # noqa: SLF001  as above

    def _end(self, lead: Lead, flight: _Flight, turn: Landed | None) -> None:
        with self._lock:
            if lead.is_over:
                return
            now_s = self._clock.monotonic_s()
            held = self._close(lead, flight, turn, now_s)
            self._let_go(now_s)
        lead._end(held)  # noqa: SLF001  as above

    def _close(self, lead: Lead, flight: _Flight, turn: Landed | None, now_s: float) -> Held | None:
        lead.is_over = True
        if turn is not None:  # kept for callers who looked before it was there and join after it has landed
            self._n_landed += 1
            self._landed[flight.key] = self._n_landed, now_s, turn
            self._landed.move_to_end(flight.key)
        for waiter in flight.waiters:
            waiter.future.set_result(turn)
        flight.waiters.clear()
        return self._remove(flight)

    def _hand_over(self, lead: Lead, flight: _Flight) -> None:
        with self._lock:
            if lead.is_over:
                return
            lead.is_over = True
            flight.started_s = self.now_s()
            next_ = flight.waiters.pop(0) if flight.waiters else None
            held = None if next_ else self._remove(flight)
            if next_:
                flight.thread = next_.thread
                flight.lead = Lead(self, flight, lead.level)
                next_.future.set_result(flight.lead)
                self._clear_the_way(flight)
        lead._end(held)  # noqa: SLF001  as above

    def _clear_the_way(self, flight: _Flight) -> None:
        """Send away the threads that the task which leads now may need."""
        for waiter in [one for one in flight.waiters if flight.thread is None and one.takes_loops_thread]:
            flight.waiters.remove(waiter)
            waiter.future.set_result(None)

    def _remove(self, flight: _Flight) -> Held | None:
        if self._under_way.get(flight.key) is flight:  # else it has lasted too long, and another one leads
            del self._under_way[flight.key]
        held, flight.held = flight.held, None
        return held

    def _let_go(self, now_s: float) -> None:
        """Keep no more values than may be kept, and none for longer."""
        landed = self._landed
        while landed and (len(landed) > _MOST_LANDED or next(iter(landed.values()))[1] < now_s - _LANDED_LIFE_S):
            landed.popitem(last=False)


def may_wait(level: Level, *, is_blocking: bool) -> bool:
    """Say whether a caller in this context may wait for a key of a level.

    Args:
        level: what is wanted.
        is_blocking: whether waiting would block the thread.
    """
    if any(lead.level <= level for lead in _active()):
        return False
    return not (is_blocking and _is_on_event_loop())


def flow_to_wait(
    flights: Flights, key: str, level: Level, *, ticket: int, wait_s: float, may_wait: bool
) -> Generator[Wait, Any, Turn]:
    """Join for a key (see `Flights.join`), and wait where somebody else leads."""
    spot = flights.join(key, level, ticket=ticket, wait_s=wait_s, may_wait=may_wait)
    if not isinstance(spot, Waiter):
        return spot
    until_s = flights.now_s() + wait_s
    try:
        while not spot.future.done() and (left_s := until_s - flights.now_s()) > 0:
            yield Wait([spot], min(left_s, _READER_S))
            spot.look()
    except BaseException:
        spot.leave()
        raise
    return spot.take()


def own_lead(flights: Flights, key: str) -> Lead | None:
    """The lead that this context has of a key, if any."""
    return next((lead for lead in _active() if lead.key == key and lead.flights is flights), None)


def wait_for_first(waiters: Sequence[Waiter], wait_s: float) -> None:
    """Block until it is the turn of one of the places, at most so many seconds."""
    futures = [waiter.future for waiter in waiters]
    concurrent.futures.wait(futures, wait_s, concurrent.futures.FIRST_COMPLETED)


async def await_first(waiters: Sequence[Waiter], wait_s: float) -> None:
    """Asynchronous twin of `wait_for_first`."""
    futures = [asyncio.wrap_future(waiter.future) for waiter in waiters]
    await asyncio.wait(futures, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)


def _active() -> tuple[Lead, ...]:
    return tuple(lead for lead in _leading.get() if not lead.is_over)


def _now_leading(*leads: Lead) -> None:
    if leads:
        _leading.set((*_active(), *leads))


def _is_stalled(flight: _Flight) -> bool:
    return flight.lead is not None and flight.lead.is_stalled


def _is_in_the_way(flight: _Flight) -> bool:
    """Say whether the leader may need this thread to go on, so that it must not be blocked."""
    if flight.thread is None:
        return _is_on_loops_thread()
    return flight.lead is not None and flight.lead.is_paused and flight.thread == threading.get_ident()


def _blocked_thread() -> int | None:
    """The thread that a caller in this context blocks; `None` where it is a task, which blocks none."""
    return None if _is_on_event_loop() else threading.get_ident()


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_on_loops_thread() -> bool:
    """Say whether this thread is of an event loop's own pool, as `asyncio.to_thread` and LangChain take them."""
    return threading.current_thread().name.startswith("asyncio_")


_leading: ContextVar[tuple[Lead, ...]] = ContextVar("resumecache_leading", default=())
_all: weakref.WeakSet[Flights] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for flights in list(_all):
        flights._renew()  # noqa: SLF001  a lock held by another thread at the fork would stay locked
    for lead in _leading.get():
        lead.is_over = True  # it is the parent's


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_after_fork)
