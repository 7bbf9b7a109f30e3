"""An application under a real server: uvicorn in a thread, reached over HTTP like any other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import httpx
import uvicorn

from tests.integration.calling import until
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fastapi import FastAPI

HOST = "127.0.0.1"
PATIENCE_S = 30.0
TOKEN = "token-of-the-tests"  # noqa: S105  of these tests alone
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
PROBLEM = "application/problem+json"


class ApiServer:
    """Serves an application on a free port of this machine; a context manager that starts and stops it.

    Args:
        app: the application.
    """

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            host=HOST,
            port=0,
            log_config=None,
            lifespan="on",
            timeout_graceful_shutdown=5,
            timeout_keep_alive=round(PATIENCE_S),  # none is closed at the moment in which a client uses it again
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="api-server")

    @property
    def port(self) -> int:
        """The port."""
        port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where the application is."""
        return f"http://{HOST}:{self.port}"

    def client(self) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started, "the application did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem document of a response, which has to be one that agrees with its status."""
    assert response.headers["content-type"] == PROBLEM
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert {"type", "title", "detail", "code"} <= document.keys()
    return document


class ServeProcess:
    """`resumecache serve` in a process of its own; a context manager that starts it and ends it for sure.

    Args:
        folder: where its output goes, and what it takes for the home of its user.
        arguments: after `serve`; a free port is added.
        environment: variables besides those of this process.
    """

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._output = folder / "output"
        self._command = [sys.executable, "-m", "agent", "serve", "--port", str(self.port), *arguments]
        home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
        self._environment = {**os.environ, **home, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """All that it has printed and logged."""
        return self._output.read_text()

    def token(self) -> str:
        """The admin token that it has printed."""
        found = re.search(r"admin token of this run[^:]*: (\S+)", self.output)
        assert found, self.output
        return found.group(1)

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=PATIENCE_S, **options)

    def end(self) -> int:
        """Send SIGTERM and give the exit code; TimeoutExpired when it does not end in time."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output
        with suppress(httpx.TransportError), self.client() as client:
            return client.get("/healthz").status_code == 200
        return False

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            until(self._is_up)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its workers too
        self._process.wait()
