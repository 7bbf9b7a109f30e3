"""What can be closed, and is closed at the end of a `with` block of either kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Closing:
    """Gives a class with `close` and `aclose` its `with` and `async with`."""

    def close(self) -> None:
        """Give back what was opened."""

    async def aclose(self) -> None:
        """Asynchronous twin of `close`; gives back what belongs to the running event loop too."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
