"""Several servers at once, how much each is asked, and what of it may never show a key."""

import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from loopback import Answer, Request, Server, capped, choice, ideal, refusal
from test_openai_teacher import FAST, KEY, ask, everything_in, one
from test_sampling import Heard, opened, wants

from scotd.config import TeacherConfig
from scotd.errors import ConfigError, TeacherError
from scotd.teachers import Ask, Outcome
from scotd.teachers.openai import OpenAITeacher
from scotd.teachers.openai_http import Endpoint, Patience
from scotd.teachers.pace import START
from scotd.teachers.sampling import sample


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(3)]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCOTD_TEST_KEY", raising=False)


def teacher(*addresses: str, patience: Patience = FAST, **settings: Any) -> OpenAITeacher:
    usual = {"kind": "openai", "model": "practice", "api_key_env": "SCOTD_TEST_KEY", "timeout_seconds": 5.0}
    return OpenAITeacher(TeacherConfig(**{**usual, "base_url": list(addresses), **settings}), patience)


def asks(count: int, n: int = 1) -> Iterator[Ask]:
    return (ask(n, question=f"t/{k}") for k in range(count))


def slowly(seconds: float) -> Callable[[Request, int], Answer]:
    return lambda request, number: Answer(body=ideal(request, number).body, seconds=seconds)


def unused_address() -> str:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class TestSeveralServers:
    def test_each_has_its_part(self, servers: list[Server]) -> None:
        for server in servers:
            server.respond = slowly(0.02)
        got = list(teacher(*(server.url for server in servers)).complete(asks(60)))
        assert sum(len(outcome.completions) for outcome in got) == 60
        assert all(len(server.requests) >= 10 for server in servers)
        assert sum(len(server.requests) for server in servers) == 60

    def test_the_faster_one_does_more(self, servers: list[Server]) -> None:
        quick, slow, _ = servers
        quick.respond, slow.respond = slowly(0.01), slowly(0.15)
        list(teacher(quick.url, slow.url, concurrency=2).complete(asks(40)))
        assert len(quick.requests) > 2 * len(slow.requests) > 0

    @pytest.mark.parametrize("status", [401, 403, 404, 307])
    def test_another_goes_on_where_one_refuses_everything(self, servers: list[Server], status: int) -> None:
        bad, good, _ = servers
        bad.respond = lambda request, number: refusal("no", status=status)
        got = list(teacher(bad.url, good.url).complete(asks(30, n=2)))
        assert all(len(outcome.completions) == 2 and outcome.error is None for outcome in got)
        notes = Counter(note for outcome in got for note in outcome.notes)
        (note,) = notes
        assert notes[note] == 1 and note.startswith(f"{bad.url}/v1/chat/completions is not asked any more: ")
        assert f"HTTP {status}" in note and note.endswith("Its requests go on at the other server.")
        assert len(bad.requests) <= START, "only what was under way when the first refusal came"

    def test_another_goes_on_where_nothing_listens(self, servers: list[Server]) -> None:
        nobody = unused_address()
        got = list(teacher(nobody, servers[0].url).complete(asks(20)))
        assert len(got) == 20 and all(outcome.error is None for outcome in got)
        (note,) = {note for outcome in got for note in outcome.notes}
        assert f"no server answers at {nobody}" in note

    def test_another_goes_on_where_one_goes_away(self, servers: list[Server]) -> None:
        with Server() as leaving:
            leaving.respond = slowly(0.01)
            servers[0].respond = slowly(0.03)
            coming = teacher(leaving.url, servers[0].url).complete(asks(60))
            got = [next(coming) for _ in range(10)]
            assert leaving.requests
            leaving.leave()
            got += coming
        assert sum(len(outcome.completions) for outcome in got) == 60
        (note,) = {note for outcome in got for note in outcome.notes if "not asked any more" in note}
        assert "no connection" in note

    def test_what_came_before_the_move_is_kept_and_not_asked_again(self, servers: list[Server]) -> None:
        first, second, _ = servers
        first.respond = lambda request, number: ideal(request, number) if number < 2 else refusal("no", status=403)
        second.respond = slowly(0.0)
        (outcome,) = teacher(first.url, second.url, max_n=2).complete(iter([ask(10)]))
        assert len(outcome.completions) == 10
        assert [request.body["n"] for request in first.requests + second.requests] == [2, 2, 2, 2, 2, 2]

    def test_a_server_that_wants_hours_is_left_to_itself(self, servers: list[Server]) -> None:
        busy, good, _ = servers
        busy.respond = lambda request, number: Answer(status=429, headers={"Retry-After": "7200"})
        got = list(teacher(busy.url, good.url).complete(asks(20)))
        assert all(outcome.error is None for outcome in got)
        assert any("asks to wait 7200 s" in note for outcome in got for note in outcome.notes)

    def test_the_run_ends_when_all_are_lost(self, servers: list[Server]) -> None:
        nobody = unused_address()
        servers[0].respond = lambda request, number: refusal("no", status=404)
        servers[1].respond = lambda request, number: refusal("no", status=401)
        got: list[Outcome] = []
        with pytest.raises(TeacherError, match=r"It was the last of 3 servers\.$"):
            got.extend(teacher(nobody, servers[0].url, servers[1].url).complete(asks(30)))

    def test_what_one_lacks_another_is_asked_for(self, servers: list[Server]) -> None:
        def no_logprobs(request: Request, number: int) -> Answer:
            answer = capped(1, message="n must be at most 1")(request, number)
            return refusal("logprobs are not supported") if "logprobs" in request.body else answer

        servers[0].respond = no_logprobs
        several = teacher(servers[0].url, servers[1].url, concurrency=1)
        got = list(several.complete(asks(8, n=3)))
        assert all(len(outcome.completions) == 3 for outcome in got)
        assert {request.body.get("n", 1) for request in servers[0].requests[2:]} == {1}
        assert all(request.body["n"] == 3 and "logprobs" in request.body for request in servers[1].requests)
        host = servers[0].url.removeprefix("http://")
        notes = {note for outcome in got for note in outcome.notes}
        assert len(notes) == 2 and all(note.startswith(f"{host}: the server ") for note in notes)
        assert several.max_n is None, "the other one has no cap"

    def test_a_list_of_one_is_one(self, servers: list[Server]) -> None:
        assert len(list(teacher(servers[0].url).complete(asks(3)))) == 3

    @pytest.mark.parametrize("addresses", [[], ["http://h:1", "http://h:1"]])
    def test_lists_that_are_none(self, addresses: list[str]) -> None:
        with pytest.raises(ValueError, match=r"named twice|at least 1"):
            TeacherConfig(kind="openai", base_url=tuple(addresses))

    def test_each_address_is_looked_at(self) -> None:
        with pytest.raises(ConfigError, match=r"'nowhere' is no web address"):
            teacher("http://127.0.0.1:1", "nowhere")


class TestHowMuch:
    def test_it_begins_small_and_grows_within_the_bound(self, servers: list[Server]) -> None:
        server = servers[0]
        server.respond = slowly(0.05)
        coming = teacher(server.url, concurrency=16).complete(asks(150))
        next(coming)
        assert server.most_under_way <= START
        assert len(list(coming)) == 149
        assert START < 12 <= server.most_under_way <= 16  # a busy machine may have the server see one or two fewer

    def test_refusals_make_it_ask_less(self, servers: list[Server]) -> None:
        server = servers[0]

        def respond(request: Request, number: int) -> Answer:
            if server.under_way > 12:
                return refusal("slow down", status=429)
            return Answer(body=ideal(request, number).body, seconds=0.05)

        server.respond = respond
        got = list(teacher(server.url, concurrency=64).complete(asks(300)))
        assert all(outcome.error is None for outcome in got)
        refused = len(server.requests) - 300
        assert 0 < refused < 100
        assert f"tried again: HTTP 429 {refused}" in got[-1].status

    def test_retry_after_holds_everything(self, servers: list[Server]) -> None:
        server = servers[0]
        moments: list[float] = []

        def respond(request: Request, number: int) -> Answer:
            moments.append(time.monotonic())
            if number == 0:
                return Answer(status=429, headers={"Retry-After": "0.5"})
            return Answer(body=ideal(request, number).body, seconds=0.1)

        server.respond = respond
        got = list(teacher(server.url).complete(asks(12)))
        assert len(got) == 12 and len(moments) == 13
        assert moments[START] - moments[0] >= 0.49, "also those that were not refused themselves"

    def test_a_limit_of_requests(self, servers: list[Server]) -> None:
        pulled = []

        def plan() -> Iterator[Ask]:
            for asked in asks(10):
                pulled.append(asked)
                yield asked

        with closing(teacher(servers[0].url, requests_per_minute=60).complete(plan())) as coming:
            started = time.monotonic()
            next(coming)
            assert len(pulled) <= 2, "what may not be sent yet is not pulled"
            next(coming)
            assert time.monotonic() - started >= 0.9 and len(pulled) <= 3

    def test_a_limit_of_tokens_counts_what_was_used(self, servers: list[Server]) -> None:
        server = servers[0]
        wide: dict[str, Any] = {"tokens_per_minute": 60 * 600, "concurrency": 1}
        started = time.monotonic()
        list(teacher(server.url, **wide).complete(ask(1, question=f"t/{k}", max_tokens=500) for k in range(8)))
        assert time.monotonic() - started < 5, "8 x 500 were reserved, 8 x 13 were used"

        def costly(request: Request, number: int) -> Answer:
            body: Any = ideal(request, number).body
            return Answer(body={**body, "usage": {"prompt_tokens": 10, "completion_tokens": 490}})

        server.respond = costly
        started = time.monotonic()
        list(teacher(server.url, **wide).complete(ask(1, question=f"t/{k}", max_tokens=500) for k in range(4)))
        assert time.monotonic() - started >= 1.2, "4 x 500 at 600 a second, the first second's worth at once"

    def test_leaving_ends_what_is_under_way(self, servers: list[Server]) -> None:
        server = servers[0]
        server.respond = lambda request, number: Answer(body=ideal(request, number).body, seconds=2.0 * (number > 0))
        coming = teacher(server.url, concurrency=2).complete(asks(10))
        next(coming)
        started = time.monotonic()
        coming.close()
        assert time.monotonic() - started < 1.5
        assert len(server.requests) <= 3

    def test_the_status_says_what_goes_on(self, servers: list[Server]) -> None:
        first, second, _ = servers
        (outcome,) = teacher(first.url).complete(asks(1))
        assert outcome.status == f"under way 0/{START}"
        second.respond = lambda request, number: refusal("no", status=404)
        *_, last = teacher(first.url, second.url).complete(asks(10))
        hosts = [server.url.removeprefix("http://") for server in (first, second)]
        assert re.fullmatch(rf"under way 0/\d+ at {re.escape(hosts[0])}, {re.escape(hosts[1])} lost", last.status)

    def test_a_defect_is_raised_in_the_callers_thread(self, servers: list[Server]) -> None:
        with (
            patch("scotd.teachers.openai_pool.Pool.room", side_effect=ZeroDivisionError("ours")),
            pytest.raises(ZeroDivisionError, match="ours"),
        ):
            list(teacher(servers[0].url).complete(asks(3)))


class TestKeys:
    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCOTD_TEST_KEY", KEY)

    def test_it_goes_to_every_server_and_is_kept_nowhere(self, servers: list[Server]) -> None:
        def respond(request: Request, number: int) -> Answer:
            return refusal(f"bad {request.headers['Authorization']}", status=(403, 500, 200)[number % 3])

        for server in servers:
            server.respond = respond
        several = teacher(*(server.url for server in servers))
        said = ""
        with pytest.raises(TeacherError) as caught:
            for outcome in several.complete(asks(40)):
                said += repr(outcome)
        assert all(request.headers["Authorization"] == f"Bearer {KEY}" for one in servers for request in one.requests)
        assert "[key]" in said and "is not asked any more" in said
        assert KEY not in said + str(caught.value) + repr(caught.value) + everything_in(several)

    @pytest.mark.parametrize(
        "error", [httpx.ConnectError(f"no {KEY}"), httpx.ReadError(f"no {KEY}"), ValueError(f"ours, {KEY}")]
    )
    def test_no_exception_tells_it(self, error: Exception) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            raise error

        def client(self: Endpoint) -> httpx.AsyncClient:
            return httpx.AsyncClient(transport=httpx.MockTransport(handle))

        said = ""
        with patch.object(Endpoint, "client", client):
            try:
                for outcome in teacher("http://127.0.0.1:1").complete(asks(3)):
                    said += repr(outcome)
            except Exception as raised:
                said += repr(raised)
        assert "[key]" in said and KEY not in said

    def test_a_whole_run_writes_and_tells_it_nowhere(self, servers: list[Server], tmp_path: Path) -> None:
        def respond(request: Request, number: int) -> Answer:
            echoed = request.headers["Authorization"]
            answers = (
                Answer(body={"choices": [choice(f"you sent {echoed}")], "model": echoed}),
                refusal(f"not with {echoed}"),
                refusal(f"slow down, {echoed}", status=429),
                Answer(body=f"no JSON but {echoed}".encode(), headers={"X-Echo": echoed}),
                refusal(f"no such model for {echoed}", status=404),
            )
            return answers[number % 4] if number < 30 else answers[4]

        for server in servers:
            server.respond = respond
        heard = Heard()
        with opened(tmp_path / "c.sqlite", questions=200) as corpus:
            several = teacher(*(server.url for server in servers), logprobs=False)
            with pytest.raises(TeacherError) as caught:
                sample(corpus, several, wants(200, 1), progress=heard)
            assert 0 < sum(1 for _ in corpus.chains()) < 200
        said = "\n".join([*heard.said, heard.note, str(caught.value)])
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert said.count("[key]") >= 3 and files.count(b"[key]") >= 3, "they were shown, without the key"
        assert KEY not in said and KEY.encode() not in files

    def test_what_is_written_down_has_no_secret_of_an_address(self, servers: list[Server]) -> None:
        secret = servers[0].url.replace("//", "//me:s3cret@") + "/v1?token=s3cret"
        config = TeacherConfig(kind="openai", base_url=secret)
        assert config.base_url == secret
        assert config.model_dump()["base_url"] == servers[0].url + "/v1"
        both = TeacherConfig(kind="openai", base_url=(secret, "https://h/v1"))
        assert "s3cret" not in both.model_dump_json() and both.model_dump()["base_url"][1] == "https://h/v1"
        with pytest.raises(ConfigError) as caught:
            teacher("ftp://me:s3cret@h/v1?token=s3cret")
        assert "s3cret" not in str(caught.value)
        outcome = one(servers[0], ask(), base_url=secret)
        assert len(outcome.completions) == 1 and "s3cret" not in repr(outcome)
