"""How long an operation on a server may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long one operation may take.

    Attributes:
        base_s: seconds for any operation.
        per_mib_s: further seconds for each MiB that it moves.
    """

    base_s: float = 0.1
    per_mib_s: float = 0.02

    def allowed_s(self, size_bytes: int) -> float:
        """Seconds for an operation that moves so many bytes."""
        return self.base_s + self.per_mib_s * size_bytes / 2**20
