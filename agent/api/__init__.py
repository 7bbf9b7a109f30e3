"""The HTTP API: an application of its own, and a router for somebody else's. Needs the extra `resumecache[api]`."""

from __future__ import annotations

from agent.api.app import create_app
from agent.api.limits import Limits
from agent.api.routes import create_router

__all__ = ["Limits", "create_app", "create_router"]
