"""Which server of a cluster holds which key. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from cache.errors import StoreResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

N_SLOTS = REDIS_CLUSTER_HASH_SLOTS
_UNNAMED = (None, b"", b"?")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def slot_of(key: str) -> int:
    """The slot of a key: its CRC16, or that of what stands in its first pair of braces, modulo 16384.

    Source: Redis cluster specification, "Key distribution model" and "Hash tags".
    """
    return key_slot(key.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Which server holds each slot.

    Attributes:
        owners: one for each of the 16384 slots; `None` where no server is known.
    """

    owners: tuple[Address | None, ...]

    @classmethod
    def from_reply(cls, reply: Any, asked: Address) -> Self:
        """Read the reply to CLUSTER SLOTS.

        Args:
            reply: what came.
            asked: the server that gave it, which is meant where it names no host.

        Raises:
            StoreResponseError: that is no such reply, or no server holds any slot.
        """
        owners: list[Address | None] = [None] * N_SLOTS
        try:
            for first, last, (host, port, *_), *_ in reply:
                owner = Address(asked.host if host in _UNNAMED else host.decode(), int(port))
                for slot in _range(first, last):
                    owners[slot] = owner
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreResponseError(f"{asked}: no reply to CLUSTER SLOTS: {error}", reason="protocol") from error
        if not any(owners):
            raise StoreResponseError(f"{asked}: no server of the cluster holds any slot", reason="cluster_down")
        return cls(tuple(owners))

    def owner(self, key: str) -> Address | None:
        """The server that holds a key, if one is known."""
        return self.owners[slot_of(key)]

    def moved(self, slot: int, address: Address) -> Self:
        """The map after a slot went to another server."""
        return type(self)((*self.owners[:slot], address, *self.owners[slot + 1 :]))

    def addresses(self) -> list[Address]:
        """All servers that hold slots, each once, in the order of their first slot."""
        return [address for address in dict.fromkeys(self.owners) if address is not None]

    def is_complete(self) -> bool:
        """Say whether every slot is held by a known server."""
        return None not in self.owners


def _range(first: int, last: int) -> range:
    if not 0 <= first <= last < N_SLOTS:
        raise ValueError(f"no slots {first} to {last}")
    return range(first, last + 1)


def grouped(owners: Sequence[Address]) -> dict[Address, list[int]]:
    """The positions of each server in a sequence of servers."""
    groups: dict[Address, list[int]] = {}
    for position, address in enumerate(owners):
        groups.setdefault(address, []).append(position)
    return groups
