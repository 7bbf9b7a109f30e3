"""A route that bounds what comes in and answers every error with a problem document, in whatever application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import APIRoute

from agent.api.errors import problem_of
from agent.api.limits import BoundedRequest, Gate, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

    Handler = Callable[[Request], Coroutine[Any, Any, Response]]

BACKEND = "resumecache.backend"  # where in the scope of a request its backend stands
_WORK = frozenset({"POST", "PUT"})


def guarded(backend: object, limits: Limits) -> type[APIRoute]:
    """A class of routes for one router.

    An application's own handlers and middleware do not come with a router, so bounds and errors are minded here.

    Args:
        backend: what the routes find in their requests' scope.
        limits: the bounds; the number of requests at once is for all routes of this class together.
    """
    gate = Gate(limits.at_once)

    class GuardedRoute(APIRoute):
        """One route of the router."""

        def get_route_handler(self) -> Handler:
            """The handler of FastAPI, with what goes before and after it."""
            handle = super().get_route_handler()

            async def guard(request: Request) -> Response:
                try:
                    return await _enter(request, handle)
                except Exception as error:  # noqa: BLE001  each becomes an answer; what nobody expected is logged
                    return problem_of(error)

            return guard

    async def _enter(request: Request, handle: Handler) -> Response:
        request.scope[BACKEND] = backend
        bounded = BoundedRequest(request, limits)
        if request.method not in _WORK:  # what asks for little must be answered under load too
            return await handle(bounded)
        with gate.place():
            return await handle(bounded)

    return GuardedRoute
