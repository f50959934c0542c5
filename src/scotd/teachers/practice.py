"""A teacher to practise on: an OpenAI-compatible server on loopback that answers `feedback`, as well or badly as asked.

    async with Practice(settings) as practice:
        ...                                    # POST {practice.url}/v1/chat/completions, /v1/completions
    practice.counts                            # what it did and what it would have billed; also GET /practice

The answerer knows the shipped task: it finds the question in the prompt and writes a chain in the exemplars' manner,
right with a probability. What goes wrong goes wrong with the shares of `Settings.faults`, drawn from a seed. HTTP is
spoken by h11 over asyncio, because a web framework would not let a reply break off in the middle.

Money: a reply is billed when it was computed, whether it arrives or not, as real servers do; usage counts words. The
ledger holds a line for each reply: what was asked, what was written, what was billed.
"""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import h11

from scotd.config import QuestionsConfig
from scotd.errors import ConfigError, did_you_mean
from scotd.tasks import load_questions
from scotd.types import Question

MODEL = "practice"
PATHS = {"/v1/chat/completions": True, "/v1/completions": False}  # whether it is the chat
HANG_SECONDS = 3600.0
WORD = re.compile(r"\s*\S+")
_ASPECT = re.compile(r"pleased with (?P<aspect>[^?]+)\?$")
_LOGPROB = -0.5


class Fault(StrEnum):
    """What can go wrong with a request."""

    BUSY = "429"
    BUSY_RETRY_AFTER = "429-retry-after"
    BROKEN = "500"
    HANG = "hang"
    CUT = "cut"
    BAD_JSON = "bad-json"
    DRIP = "drip"
    FEWER = "fewer"
    DUPLICATES = "duplicates"
    WRONG_USAGE = "wrong-usage"
    NO_USAGE = "no-usage"
    NO_LOGPROBS = "no-logprobs"
    EMPTY = "empty"
    LENGTH = "length"
    FILTERED = "content-filter"


EXPLAINED: Mapping[Fault, str] = {
    Fault.BUSY: "HTTP 429",
    Fault.BUSY_RETRY_AFTER: "HTTP 429 with Retry-After: 1",
    Fault.BROKEN: "HTTP 500",
    Fault.HANG: "no answer ever",
    Fault.CUT: "the connection breaks in the middle of the reply; billed",
    Fault.BAD_JSON: "HTTP 200 with half a JSON object; billed",
    Fault.DRIP: "the reply comes in small pieces over a second",
    Fault.FEWER: "fewer choices than asked for",
    Fault.DUPLICATES: "all choices of the reply are the same",
    Fault.WRONG_USAGE: "usage counts that are not what is billed",
    Fault.NO_USAGE: "no usage at all",
    Fault.NO_LOGPROBS: "no log-probabilities",
    Fault.EMPTY: "a choice without a text",
    Fault.LENGTH: "a choice cut off by the token limit",
    Fault.FILTERED: "a choice stopped by the content filter",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server behaves.

    `skill`: share of right answers. `faults`: share of requests for each fault; they exclude each other. `max_n` and
    `refuses`: more choices than `max_n` are refused with HTTP 400, or silently capped. `seconds`: what a request takes;
    `slots`: how many are worked on at once, the others wait (None: all). `requests_a_minute`: more get HTTP 429.
    `ledger`: a JSONL file that replies are appended to; `numbered`: every chain says which one it is, so that no two
    are the same. `key`: requests without it get HTTP 401, which repeats the key that came, as some servers do.
    """

    skill: float = 0.7
    seed: int = 0
    faults: Mapping[Fault, float] = field(default_factory=dict)
    max_n: int | None = None
    refuses: bool = True
    seconds: float = 0.0
    slots: int | None = None
    requests_a_minute: int | None = None
    ledger: Path | None = None
    numbered: bool = False
    key: str | None = None

    def __post_init__(self) -> None:
        if sum(self.faults.values()) > 1:
            raise ConfigError(f"--fault: the shares add up to {sum(self.faults.values()):g}; at most 1 can be had.")


def read_fault(text: str) -> tuple[Fault, float]:
    """Read "429=0.05". Raises ConfigError."""
    name, equals, share = text.partition("=")
    known = {fault.value: fault for fault in Fault}
    if name not in known:
        raise ConfigError(f"--fault '{text}': there is no fault '{name}'.{did_you_mean(name, known)}")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not equals or not 0 <= value <= 1:
        raise ConfigError(f"--fault '{text}': write it as {name}=0.05, a share of the requests from 0 to 1.")
    return known[name], value


@dataclass(kw_only=True)
class Counts:
    """What the server did: requests by what became of them, choices sent, tokens billed."""

    requests: Counter[str] = field(default_factory=Counter)
    choices: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "choices": self.choices,
            "billed": {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens},
        }


class Answerer:
    """Chains about questions of `feedback`, in the manner of its exemplars."""

    def __init__(self, skill: float) -> None:
        self.skill = skill
        self._known = {one.stem: one for one in load_questions(QuestionsConfig(task="feedback"))}

    def chain(self, question: Question | None, draw: random.Random) -> str:
        """One chain for a question; one that says so where it is not known."""
        if question is None:
            return " This is a question that the practice teacher does not know."
        wrong = [choice.label for choice in question.choices if choice.label != question.gold]
        answer = question.gold if draw.random() < self.skill else draw.choice(wrong)
        asked = _ASPECT.search(question.stem)
        aspect = "that" if asked is None else asked["aspect"]
        quoted = " ".join(draw.choice(question.stem.split('"')[1:2] or [question.stem]).split()[: draw.randint(2, 9)])
        start = draw.choice(["", "Let us see. ", "The question is what is said. ", "Read it again. "])
        reasons = {
            "pleased": f'{aspect} is mentioned: "{quoted}", which is praise.',
            "not pleased": f'{aspect} is mentioned: "{quoted}", which is a complaint.',
            "not said": f'{aspect} is not mentioned: there is only "{quoted}" and the like.',
        }
        reason = reasons.get(answer or "", f"{aspect} is hard to tell.")
        return f" {start}{reason[0].upper()}{reason[1:]} So the answer is {answer}."

    def question(self, prompt: str) -> Question | None:
        """The last question of a prompt: that whose stem stands on the last line that is one."""
        for line in reversed(prompt.splitlines()):
            found = self._known.get(line.removeprefix("Q:").strip())
            if found is not None:
                return found
        return None


class Practice:
    """The server. Use as an asynchronous context manager; `url` is known inside."""

    def __init__(self, settings: Settings, host: str = "127.0.0.1", port: int = 0) -> None:
        self.settings = settings
        self.counts = Counts()
        self._host, self._port = host, port
        self._answerer = Answerer(settings.skill)
        self._draw = random.Random(settings.seed)
        self._slots = asyncio.Semaphore(settings.slots) if settings.slots is not None else None
        self._recent: list[float] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._ledger: TextIO | None = None

    async def __aenter__(self) -> "Practice":
        if self.settings.ledger is not None:
            self._ledger = self.settings.ledger.open("a", encoding="utf-8")
        try:
            self._server = await asyncio.start_server(self._connected, self._host, self._port)
        except OSError as error:
            raise ConfigError(
                f"--port {self._port}: cannot be used ({error.strerror or error}); leave it out."
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._ledger is not None:
            self._ledger.close()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):  # the last: it is closed
                await self._converse(_Line(reader, writer))
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, line: "_Line") -> None:
        while (request := await line.receive()) is not None:
            if request.path == "/practice":
                await line.send(200, self.counts.as_json())
            elif request.path.endswith("/models"):
                await line.send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
            elif request.path in PATHS:
                if self.settings.key in (None, request.key):
                    await self._answer(line, request.body, chat=PATHS[request.path])
                else:
                    self.counts.requests["refused: key"] += 1
                    said = f"Incorrect API key provided: {request.key}" if request.key else "You sent no API key"
                    await line.send(401, _error(said, "invalid_request_error", code="invalid_api_key"))
            else:
                await line.send(404, _error(f"there is no {request.path} here", "not_found"))
            if not line.next():
                return

    async def _answer(self, line: "_Line", raw: bytes, *, chat: bool) -> None:
        try:
            body = json.loads(raw)
            n = int(body.get("n") or 1)
            prompt = _prompt(body, chat=chat)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.counts.requests["refused: no request"] += 1
            await line.send(400, _error("this is no request that the server understands", "invalid_request_error"))
            return
        settings = self.settings
        if settings.max_n is not None and n > settings.max_n:
            if settings.refuses:
                self.counts.requests["refused: n"] += 1
                message = f"n must be at most {settings.max_n}" if settings.max_n > 1 else "n > 1 is not supported"
                await line.send(400, _error(message, "invalid_request_error", param="n"))
                return
            n = settings.max_n
        if self._too_many():
            self.counts.requests["429: too many a minute"] += 1
            await line.send(429, _error("too many requests a minute", "rate_limit_exceeded"), {"Retry-After": "1"})
            return
        fault = self._fault()
        if fault in (Fault.BUSY, Fault.BUSY_RETRY_AFTER, Fault.BROKEN, Fault.HANG):
            self.counts.requests[fault] += 1
            await self._fail(line, fault)
            return
        clock = asyncio.get_running_loop().time
        async with self._slots or nullcontext():
            due = clock() + settings.seconds  # writing the chains is part of it
            self.counts.requests["answered" if fault is None else fault] += 1
            reply = self._written(body, prompt, n, fault, chat=chat)
            await asyncio.sleep(max(0.0, due - clock()))
        await self._reply(line, reply, fault)

    def _written(
        self, body: Mapping[str, Any], prompt: str, n: int, fault: Fault | None, *, chat: bool
    ) -> dict[str, Any]:
        """The reply as JSON, billed."""
        settings, greedy = self.settings, body.get("temperature", 1) == 0
        draw = random.Random(prompt) if greedy else self._draw
        question = self._answerer.question(prompt)
        texts = [self._answerer.chain(question, draw) for _ in range(max(1, n // 2) if fault is Fault.FEWER else n)]
        if settings.numbered:
            first = self.counts.choices
            texts = [f" #{first + number}{text}" for number, text in enumerate(texts)]
        if fault is Fault.DUPLICATES or greedy:
            texts = texts[:1] * len(texts)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1_000
        choices, written, spent = [], [], 0
        for number, text in enumerate(texts):
            words = WORD.findall(text)
            finish = "length" if len(words) > limit else "stop"
            words = words[:limit]
            if number == 0 and fault is Fault.LENGTH:
                words, finish = words[: max(1, len(words) // 2)], "length"
            elif number == 0 and fault is Fault.FILTERED:
                words, finish = words[:2], "content_filter"
            elif number == 0 and fault is Fault.EMPTY:
                words = []
            spent += len(words)
            written.append("".join(words))
            asked = bool(body.get("logprobs")) and fault is not Fault.NO_LOGPROBS
            choices.append(_choice(number, words, finish, chat=chat, logprobs=asked))
        billed = {"prompt_tokens": len(WORD.findall(prompt)), "completion_tokens": spent}
        self.counts.choices += len(choices)
        self.counts.prompt_tokens += billed["prompt_tokens"]
        self.counts.completion_tokens += spent
        usage: dict[str, int] | None = billed
        if fault is Fault.WRONG_USAGE:
            usage = {"prompt_tokens": 1, "completion_tokens": spent * 7}
        elif fault is Fault.NO_USAGE:
            usage = None
        if self._ledger is not None:
            line = {"fault": fault, "prompt": prompt, "texts": written, "billed": billed, "usage": usage}
            self._ledger.write(json.dumps(line) + "\n")
            self._ledger.flush()
        kind = "chat.completion" if chat else "text_completion"
        reply = {"id": f"practice-{sum(self.counts.requests.values())}", "object": kind, "model": MODEL}
        return {**reply, "choices": choices} | ({} if usage is None else {"usage": usage})

    def _fault(self) -> Fault | None:
        drawn = self._draw.random()
        for fault, share in self.settings.faults.items():
            drawn -= share
            if drawn < 0:
                return fault
        return None

    def _too_many(self) -> bool:
        limit = self.settings.requests_a_minute
        if limit is None:
            return False
        now = asyncio.get_running_loop().time()
        self._recent = [moment for moment in self._recent if moment > now - 60]
        if len(self._recent) >= limit:
            return True
        self._recent.append(now)
        return False

    async def _fail(self, line: "_Line", fault: Fault) -> None:
        if fault is Fault.HANG:
            await asyncio.sleep(HANG_SECONDS)
        elif fault is Fault.BROKEN:
            await line.send(500, _error("the server had an error", "server_error"))
        else:
            headers = {"Retry-After": "1"} if fault is Fault.BUSY_RETRY_AFTER else {}
            await line.send(429, _error("slow down", "rate_limit_exceeded"), headers)

    async def _reply(self, line: "_Line", reply: Mapping[str, Any], fault: Fault | None) -> None:
        if fault is Fault.BAD_JSON:
            text = json.dumps(reply)
            await line.send(200, text[: len(text) // 2].encode())
        elif fault is Fault.CUT:
            await line.send(200, reply, cut=True)
        elif fault is Fault.DRIP:
            await line.send(200, reply, pieces=10, seconds=1.0)
        else:
            await line.send(200, reply)


@dataclass(frozen=True, kw_only=True)
class _Request:
    path: str
    body: bytes
    key: str


class _Line:
    """One connection of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> _Request | None:
        """The next request; None where the client has gone."""
        head: h11.Request | None = None
        body: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(1 << 16))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                sent = dict(head.headers).get(b"authorization", b"").decode(errors="replace")
                path = head.target.decode().partition("?")[0]
                return _Request(path=path, body=b"".join(body), key=sent.removeprefix("Bearer "))
            else:
                return None

    async def send(
        self,
        status: int,
        body: Mapping[str, Any] | bytes,
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
        pieces: int = 1,
        seconds: float = 0.0,
    ) -> None:
        """One reply, or half of it, or slowly."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **(headers or {})}
        start = self._http.send(h11.Response(status_code=status, headers=list(told.items())))
        if cut:
            self._writer.write((start or b"") + raw[: len(raw) // 2])
            await self._writer.drain()
            raise ConnectionError
        step = -(-len(raw) // pieces)
        parts = [self._http.send(h11.Data(data=raw[at : at + step])) or b"" for at in range(0, len(raw), step)]
        for part in [(start or b"") + parts[0], *parts[1:]]:
            self._writer.write(part)
            await self._writer.drain()
            if pieces > 1:
                await asyncio.sleep(seconds / pieces)
        self._http.send(h11.EndOfMessage())

    def next(self) -> bool:
        """Make ready for another request; False where the connection ends."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True


def _prompt(body: Mapping[str, Any], *, chat: bool) -> str:
    return "\n".join(str(message["content"]) for message in body["messages"]) if chat else str(body["prompt"])


def _choice(number: int, words: list[str], finish: str, *, chat: bool, logprobs: bool) -> dict[str, Any]:
    text = "".join(words)
    where: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    listed: dict[str, Any] | None = None
    if logprobs and chat:
        listed = {"content": [{"token": word, "logprob": _LOGPROB, "bytes": list(word.encode())} for word in words]}
    elif logprobs:
        listed = {"tokens": words, "token_logprobs": [_LOGPROB] * len(words)}
    return {"index": number, **where, "finish_reason": finish} | ({} if listed is None else {"logprobs": listed})


def _error(message: str, kind: str, **more: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, **more}}
