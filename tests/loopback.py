"""A stand-in for an OpenAI-compatible server: real HTTP on 127.0.0.1, every answer scripted, every request recorded.

with Server() as server:
    server.script = [Answer(status=500), ...]   # for the first requests; then `server.respond`, by default `ideal`
    OpenAITeacher(server.config()).complete(...)
    assert server.requests[0].body["n"] == 8
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from scotd.config import TeacherConfig


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`cut` closes the connection in the middle of the body; `seconds` passes before the answer."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    seconds: float = 0.0


def choice(text: str, *, chat: bool = True, finish: str | None = "stop", **more: object) -> dict[str, Any]:
    where: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {**where, "finish_reason": finish, **more}


def listed(tokens: list[tuple[str, float]], *, chat: bool = True) -> dict[str, Any]:
    """Log-probabilities in an endpoint's form."""
    if chat:
        return {"content": [{"token": t, "logprob": v, "bytes": list(t.encode())} for t, v in tokens]}
    return {"tokens": [t for t, _ in tokens], "token_logprobs": [v for _, v in tokens]}


def ideal(request: Request, number: int) -> Answer:
    """A server that can do everything: n choices of two tokens and an end token, log-probabilities -1 and -2."""
    chat = request.path.endswith("/chat/completions")
    n = request.body.get("n", 1)
    choices = []
    for k in range(n):
        tokens = [(f" chain {number}.{k}.", -1.0), (" So the answer is (A).", -2.0)]
        one = choice("".join(text for text, _ in tokens), chat=chat)
        if request.body.get("logprobs"):
            one["logprobs"] = listed([*tokens, ("</s>", -9.0)], chat=chat)
        choices.append(one)
    return Answer(body={"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 3 * n}})


def refusal(message: str, *, status: int = 400, **error: object) -> Answer:
    return Answer(status=status, body={"error": {"message": message, **error}})


def capped(cap: int, *, message: str | None) -> Callable[[Request, int], Answer]:
    """A server that gives at most `cap` choices: it refuses more with a message, or (None) silently sends fewer."""

    def respond(request: Request, number: int) -> Answer:
        n = request.body.get("n", 1)
        if n > cap and message is not None:
            return refusal(message)
        fewer = {**request.body, "n": min(n, cap)}
        return ideal(Request(path=request.path, headers=request.headers, body=fewer), number)

    return respond


class Server:
    """The server, on a port of its own. Use as a context manager."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.respond: Callable[[Request, int], Answer] = ideal
        self.requests: list[Request] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self._left = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # header and body in one packet: else each answer waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = server._answer(Request(path=self.path, headers=dict(self.headers), body=body))
                time.sleep(answer.seconds)
                with server._lock:
                    server.under_way -= 1
                try:
                    self._send(answer)
                except OSError:  # the client went away
                    self.close_connection = True

            def _send(self, answer: Answer) -> None:
                raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw[: len(raw) // 2] if answer.cut else raw)
                self.close_connection = self.close_connection or answer.cut or server._left

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._port = self._http.server_address[1]
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._left:
            self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Listen no more: connections are refused from now on, and those that there are close after their answer."""
        self._left = True
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def config(self, **settings: Any) -> TeacherConfig:
        """Teacher settings for this server; the key's variable is one that no environment has."""
        return TeacherConfig(
            **{
                "kind": "openai",
                "model": "practice",
                "base_url": self.url,
                "api_key_env": "SCOTD_TEST_KEY",
                "concurrency": 1,
                "timeout_seconds": 5.0,
                **settings,
            }
        )

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            if self.script:
                return self.script.pop(0)
        return self.respond(request, number)
