"""The map of a cluster, found and kept up to date in the background."""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from redis import exceptions as redis_errors

from cache.errors import StoreError, StoreResponseError, StoreTimeoutError
from cache.stores.connections import CONNECT_TIMEOUT_S, to_store_error, translated
from cache.stores.links import exchange_on
from cache.stores.slots import Address, SlotMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.stores.connections import Endpoint

_STAGGER_S = 0.05
_PAUSE_S = 0.05
_LONGEST_S = 2 * CONNECT_TIMEOUT_S


class Topology:
    """The map of one cluster.

    Nobody waits for it but who has none yet: the thread that looks for it asks one server after the other, without
    waiting long for one before it asks the next, and takes the first answer.

    Args:
        seeds: servers to ask first.
        endpoint_of: how to reach a server of the map.
        on_change: called with a new map, in the thread that found it.

    Attributes:
        map: what was found last; `None` before that.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        *,
        endpoint_of: Callable[[Address], Endpoint],
        on_change: Callable[[SlotMap], None],
    ) -> None:
        self._seeds = list(seeds)
        self._endpoint_of = endpoint_of
        self._on_change = on_change
        self.map: SlotMap | None = None
        self.renew()

    def renew(self) -> None:
        """Start with a lock and no search, as a forked child must: its parent's threads are not in it."""
        self._lock = threading.Lock()
        self._search: Future[StoreError | None] = Future()
        self._search.set_result(None)
        self._ended_s = float("-inf")

    def refresh(self) -> Future[StoreError | None]:
        """Look for a new map, unless somebody does or has just done so.

        Returns:
            What ends with the search: with `None`, or with why nothing was found. It cannot be cancelled.
        """
        with self._lock:
            if self._search.done() and time.monotonic() - self._ended_s >= _PAUSE_S:
                search: Future[StoreError | None] = Future()
                search.set_running_or_notify_cancel()
                threading.Thread(target=self._look, args=(search,), name="resumecache-topology", daemon=True).start()
                self._search = search  # after the start, which fails where no thread is to be had
            return self._search

    def moved(self, slot: int, address: Address) -> None:
        """Take note of what a server said of a slot, and find out what else has changed."""
        with self._lock:
            if self.map is None or self.map.owners[slot] == address:
                return
            self.map = self.map.moved(slot, address)
        self.ask_for_refresh()

    def ask_for_refresh(self) -> None:
        """Have the map looked for where that is possible; nobody waits for it."""
        with contextlib.suppress(RuntimeError):  # no thread to be had: whoever comes next tries again
            self.refresh()

    def _look(self, search: Future[StoreError | None]) -> None:
        failure: StoreError | None = None
        try:
            found = self._ask_around()
            with self._lock:
                self.map = found
            self._on_change(found)
        except BaseException as error:  # noqa: BLE001  whatever it is must reach those who wait
            failure = error if isinstance(error, StoreError) else to_store_error(error)
        self._ended_s = time.monotonic()
        search.set_result(failure)

    def _ask_around(self) -> SlotMap:
        answers: queue.SimpleQueue[SlotMap | StoreError] = queue.SimpleQueue()
        to_ask = self._candidates()
        n_out = 0
        failure: StoreError = StoreTimeoutError("no server of the cluster answered")
        while to_ask or n_out:
            if to_ask:
                self._start_asking(to_ask.pop(0), answers)
                n_out += 1
            try:
                answer = answers.get(timeout=_STAGGER_S if to_ask else _LONGEST_S)
            except queue.Empty:
                if not to_ask:
                    break  # a resolver, say, that hangs longer than any connection may take
                continue
            if isinstance(answer, SlotMap):
                return answer
            n_out, failure = n_out - 1, answer
        raise failure

    def _candidates(self) -> list[Address]:
        known = self.map.addresses() if self.map else []
        random.shuffle(known)  # not everybody asks the same server
        return list(dict.fromkeys([*known, *self._seeds]))

    def _start_asking(self, address: Address, answers: queue.SimpleQueue[SlotMap | StoreError]) -> None:
        args = (self._endpoint_of(address), address, answers)
        threading.Thread(target=_ask, args=args, name="resumecache-topology", daemon=True).start()


def _ask(endpoint: Endpoint, address: Address, answers: queue.SimpleQueue[SlotMap | StoreError]) -> None:
    try:
        answers.put(SlotMap.from_reply(_slots(endpoint), address))
    except BaseException as error:  # noqa: BLE001  as above
        answers.put(error if isinstance(error, StoreError) else to_store_error(error))


def _slots(endpoint: Endpoint) -> Any:
    connection = endpoint.connect()
    try:
        with translated():
            [reply] = exchange_on(connection, [("CLUSTER", "SLOTS")], time.monotonic() + CONNECT_TIMEOUT_S)
    finally:
        with contextlib.suppress(Exception):  # it may be broken in any way
            connection.disconnect()
    if type(reply) is redis_errors.ResponseError:  # as of a server that is in no cluster
        raise StoreResponseError(f"{endpoint.name}: {reply}", reason="cluster")
    if isinstance(reply, Exception):
        raise to_store_error(reply)
    return reply
