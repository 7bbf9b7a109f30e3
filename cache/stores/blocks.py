"""Values of one size in one piece of memory, and how a reply that holds them is received into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LINE_END = b"\r\n"
_MOST_PARTS = 128  # of one call of the system: it takes more, but what is listed and not yet there is listed again


@dataclass(frozen=True, slots=True)
class Block:
    """Values of one size, one after the other in one piece of memory, where they were received.

    Attributes:
        memory: uint8, shape (n, size in bytes); writable, and the receiver's own.
    """

    memory: npt.NDArray[np.uint8]

    def values(self) -> list[bytes | None]:
        """The same as single values."""
        return [row.tobytes() for row in self.memory]


class BlockReply:
    """The reply to an MGET, received where its values are to lie, as long as all are there and of one size.

    Such a reply is `*n`, then for each value `$size` and the value itself, with line ends between. What stands between
    the values goes elsewhere, so that no byte of them is copied once it is there.

    Args:
        n: how many values.
        size_bytes: of each.

    Attributes:
        block: the values, once all has come.
    """

    def __init__(self, n: int, size_bytes: int) -> None:
        head, between = b"*%d\r\n$%d\r\n" % (n, size_bytes), b"\r\n$%d\r\n" % size_bytes
        self.block = Block(np.empty((n, size_bytes), dtype=np.uint8))
        self._size_bytes, self._n_head, self._n_between = size_bytes, len(head), len(between)
        self._expected = head + between * (n - 1) + _LINE_END
        self._heard = bytearray(len(self._expected))
        self._n_heard = self._n_bytes = 0
        self._n_all = len(self._expected) + n * size_bytes
        self._parts = self._laid_out(n)

    def _laid_out(self, n: int) -> list[memoryview]:
        """What stands before a value and the value, and so on; at last what stands after all."""
        heard, values = memoryview(self._heard), self.block.memory.data.cast("B")
        parts, size_bytes = [heard[: self._n_head]], self._size_bytes
        at = self._n_head
        for start in range(0, n * size_bytes, size_bytes):
            parts += (values[start : start + size_bytes], heard[at : at + self._n_between])
            at += self._n_between
        return parts

    @property
    def is_complete(self) -> bool:
        """Whether all has come."""
        return self._n_bytes == self._n_all

    def next_parts(self) -> list[memoryview]:
        """Where to receive what comes next."""
        index, offset = self._place()
        parts = self._parts[index : index + _MOST_PARTS]
        parts[0] = parts[0][offset:]
        return parts

    def take(self, n_bytes: int) -> bool:
        """Take note of what was received; False when it is not as expected: then `received` has it."""
        self._n_bytes += n_bytes
        index, offset = self._place()
        n_of_values = self._size_bytes * (index // 2) + (offset if index % 2 else 0)
        seen, self._n_heard = self._n_heard, self._n_bytes - n_of_values
        return self._heard[seen : self._n_heard] == self._expected[seen : self._n_heard]

    def received(self) -> bytes:
        """All that was received, in its order."""
        index, offset = self._place()
        return b"".join([*self._parts[:index], self._parts[index][:offset]])

    def _place(self) -> tuple[int, int]:
        """The part that comes next, and how much of it is there."""
        if self._n_bytes < self._n_head:
            return 0, self._n_bytes
        row, rest = divmod(self._n_bytes - self._n_head, self._size_bytes + self._n_between)
        return (2 * row + 1, rest) if rest < self._size_bytes else (2 * row + 2, rest - self._size_bytes)
