"""A server that speaks OpenAI's protocol: scripted answers, requests kept, faults on demand. Standard library alone.

It serves `POST /v1/chat/completions` (whole or as a stream), `POST /v1/responses` (whole), `POST /v1/embeddings`
(numbers or base64) and `GET /v1/models` on 127.0.0.1, over HTTP/1.1 with connections that are kept.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self, TypeAlias, cast

import numpy as np
from typing_extensions import override

from tests.fakes import CountingEmbeddings

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """An answer that asks for tools, each by its name and arguments; the ids are new in every answer.

    Arguments that are a text are sent as they are, be they JSON or not.
    """

    calls: tuple[tuple[str, Body | str], ...]


Answer: TypeAlias = str | Body | ToolCalls | Callable[[Body], str | ToolCalls]

CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
_HOST = "127.0.0.1"
_CREATED_S = 1_800_000_000
_RETRY_AT_ONCE = {"retry-after-ms": "1"}  # the client's own pause between two attempts is half a second and more


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        path: without the query.
        headers: their names in lower case.
        body: the JSON; empty for a GET.
    """

    path: str
    headers: dict[str, str]
    body: Body


class OpenAIServer:
    """A provider on this machine; a context manager that starts it and closes it with all its connections.

    Args:
        latency_s: seconds that each answer takes.

    Attributes:
        latency_s: the same, for the requests to come.
        requests: every request in order; those that failed too.
        width: numbers in an embedding, unless a request asks for `dimensions`.
        usage: what each chat answer says that it cost.
        finish_reason: what each chat answer ends with; without one, a stream just ends.
        refusal: said instead of the answer, if anything.
    """

    def __init__(self, latency_s: float = 0.0) -> None:
        self.requests: list[Request] = []
        self.width = 8
        self.usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        self.finish_reason: str | None = "stop"
        self.refusal: str | None = None
        self._name = uuid.uuid4().hex  # LangChain keeps clients by URL, closed ones too, and ports come round again
        self._answers: list[Answer] = ["fine"]
        self._failure: HTTPStatus | None = None
        self._n_failures: int | None = None
        self._lock = threading.Lock()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._flows_on = threading.Event()
        self._n_events: int | None = None
        self._is_cutting = False
        self.latency_s = latency_s
        self._is_closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="openai-server")

    @property
    def base_url(self) -> str:
        """What stands in `OPENAI_BASE_URL`."""
        return f"http://{_HOST}:{self._server.server_port}/{self._name}/v1"

    def n_requests(self, path: str) -> int:
        """How many requests came for a path."""
        return sum(request.path == path for request in list(self.requests))

    def script_chat(self, *answers: Answer) -> None:
        """Answer with these in turn, the last one again and again.

        Args:
            answers: a text; an object, which is answered as JSON; calls of tools; or what makes a text or calls from
                the request's body.
        """
        with self._lock:
            self._answers = list(answers)

    def fail_with(self, status: int, times: int | None = None) -> None:
        """Answer with an error: the next so many requests, or all of them."""
        with self._lock:
            self._failure, self._n_failures = HTTPStatus(status), times

    def recover(self) -> None:
        """Answer again."""
        with self._lock:
            self._failure = self._n_events = None
        self._goes_on.set()
        self._flows_on.set()

    def hang(self) -> None:
        """Accept requests and answer none of them before `recover`."""
        self._goes_on.clear()

    def stall_after(self, n_events: int) -> None:
        """Send so many events of each stream, and the others after `recover`."""
        self._n_events, self._is_cutting = n_events, False
        self._flows_on.clear()

    def cut_after(self, n_events: int) -> None:
        """Send so many events of each stream and hang up, until `recover`."""
        self._n_events, self._is_cutting = n_events, True

    def may_go_on(self) -> bool:
        """Wait until the rest of a stream may be sent; False if it never is."""
        if not self._is_cutting:
            self._flows_on.wait()
        return not self._is_cutting

    def vector(self, text: str, *, model: str, width: int | None = None) -> list[float]:
        """The embedding of a text, without a request."""
        return CountingEmbeddings(width or self.width, model=model).vector(text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on.set()
        self._flows_on.set()
        self._is_closing.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> _Reply:
        """Note a request and make the answer to it."""
        with self._lock:
            self.requests.append(request)
        self._goes_on.wait()
        self._is_closing.wait(self.latency_s)  # nobody is kept waiting at the end
        failure = self._take_failure()
        if failure:
            return _error(failure, failure.phrase)
        match request.path:
            case "/v1/chat/completions":
                return self._chat(request.body)
            case "/v1/responses":
                return _Reply.of_json(self._response(request.body))
            case "/v1/embeddings":
                return _Reply.of_json(self._embeddings(request.body))
            case "/v1/models":
                return _Reply.of_json({"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})
        return _error(HTTPStatus.NOT_FOUND, f"expected a path of OpenAI's protocol, got {request.path}")

    def _take_failure(self) -> HTTPStatus | None:
        with self._lock:
            failure = self._failure
            if failure and self._n_failures is not None:
                self._n_failures -= 1
                self._failure = failure if self._n_failures else None
            return failure

    def _chat(self, body: Body) -> _Reply:
        with self._lock:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        content = None if self.refusal else _content(answer, body)
        if isinstance(content, ToolCalls):
            return self._tool_calls(body, content)
        if body.get("stream"):
            return self._events(self._chunks(body, content or ""))
        message = {"role": "assistant", "content": content, "refusal": self.refusal}
        choice = {"message": message, "finish_reason": self.finish_reason}
        choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
        return _Reply.of_json(self._completion(body, "chat.completion", choices) | {"usage": self.usage})

    def _response(self, body: Body) -> Body:
        """An answer of the Responses API, with the reasoning that led to it; not as a stream."""
        with self._lock:
            answer = self._answers[0]
        thought = {"type": "summary_text", "text": "I thought about it."}
        text = {"type": "output_text", "text": str(_content(answer, body)), "annotations": []}
        number = len(self.requests)
        output: list[Body] = [
            {"type": "reasoning", "id": f"rs_{number}", "summary": [thought]},
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [text]},
        ]
        usage = {
            "input_tokens": 20, "output_tokens": 10, "total_tokens": 30,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 5},
        }  # fmt: skip
        said = {"id": f"resp_{number}", "object": "response", "created_at": _CREATED_S, "model": body["model"]}
        settings = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return {**said, **settings, "status": "completed", "error": None, "output": output, "usage": usage}

    def _tool_calls(self, body: Body, asked: ToolCalls) -> _Reply:
        calls: list[Body] = [
            {
                "id": f"call_{uuid.uuid4().hex}",
                "type": "function",
                "function": {"name": name, "arguments": _written(arguments)},
            }
            for name, arguments in asked.calls
        ]
        if body.get("stream"):
            deltas = [delta for index, call in enumerate(calls) for delta in _call_deltas(index, call)]
            return self._events(self._chunks_of(body, deltas, "tool_calls"))
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        return _Reply.of_json(self._completion(body, "chat.completion", choices) | {"usage": self.usage})

    def _events(self, values: list[Body]) -> _Reply:
        events = [f"data: {json.dumps(value)}\n\n".encode() for value in values] + [b"data: [DONE]\n\n"]
        n_at_once = len(events) if self._n_events is None else self._n_events
        data = b"".join(events[:n_at_once]), b"".join(events[n_at_once:])
        return _Reply(HTTPStatus.OK, "text/event-stream", *data)

    def _chunks(self, body: Body, content: str) -> list[Body]:
        deltas = [{"content": word} for word in content.replace(" ", " \0").split("\0")]
        return self._chunks_of(body, deltas, self.finish_reason)

    def _chunks_of(self, body: Body, deltas: Sequence[Body], finish_reason: str | None) -> list[Body]:
        said = [{"role": "assistant"} | deltas[0], *deltas[1:]]
        choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in said]
        choices.append({"index": 0, "delta": {}, "finish_reason": finish_reason})
        chunks = [self._completion(body, "chat.completion.chunk", [choice]) for choice in choices]
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append(self._completion(body, "chat.completion.chunk", []) | {"usage": self.usage})
        return chunks

    def _completion(self, body: Body, kind: str, choices: list[Body]) -> Body:
        name = f"chatcmpl-{len(self.requests)}"
        return {"id": name, "object": kind, "created": _CREATED_S, "model": body["model"], "choices": choices}

    def _embeddings(self, body: Body) -> Body:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        width, model = body.get("dimensions"), body["model"]
        vectors = [self.vector(text, model=model, width=width) for text in texts]
        shown = [_base64(vector) if body.get("encoding_format") == "base64" else vector for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": item} for index, item in enumerate(shown)]
        return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


@dataclass(frozen=True, slots=True)
class _Reply:
    status: HTTPStatus
    kind: str
    data: bytes
    rest: bytes = b""

    @classmethod
    def of_json(cls, value: Body, status: HTTPStatus = HTTPStatus.OK) -> _Reply:
        return cls(status, "application/json", json.dumps(value).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize: ClassVar[int] = -1  # head and body in one segment: two small ones wait for each other's confirmation

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body: Body) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        request = Request(path[path.find("/", 1) :], headers, body)
        reply = cast("_Server", self.server).provider.answer(request)
        with suppress(OSError):  # who asked may have given up
            self._send(reply)

    def _send(self, reply: _Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.data) + len(reply.rest)))
        for name, value in _RETRY_AT_ONCE.items() if reply.status >= HTTPStatus.BAD_REQUEST else ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.data)
        self.wfile.flush()
        if reply.rest and cast("_Server", self.server).provider.may_go_on():
            self.wfile.write(reply.rest)
            self.wfile.flush()
        elif reply.rest:
            self.close_connection = True

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing: the tests' output is theirs."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them, so that no socket is left to the garbage collector

    def __init__(self, provider: OpenAIServer) -> None:
        self.provider = provider
        self._connections: set[socket.socket] = set()
        super().__init__((_HOST, 0), _Handler)

    def hang_up(self) -> None:
        """End the connections that clients keep: what waits on one for its next request ends too."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    @override
    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up."""


def _error(status: HTTPStatus, message: str) -> _Reply:
    return _Reply.of_json({"error": {"message": message, "type": "test", "code": str(status.value)}}, status)


def _content(answer: Answer, body: Body) -> str | ToolCalls:
    if callable(answer):
        return answer(body)
    return answer if isinstance(answer, str | ToolCalls) else json.dumps(answer)


def _written(arguments: Body | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _call_deltas(index: int, call: Body) -> list[Body]:
    """A call of a tool as a stream has it: its name, and then its arguments in two halves."""
    arguments = call["function"]["arguments"]
    halves = arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]
    first = call | {"function": {"name": call["function"]["name"], "arguments": ""}}
    parts = [first, *({"function": {"arguments": half}} for half in halves)]
    return [{"tool_calls": [{"index": index, **part}]} for part in parts]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()
