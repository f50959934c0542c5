"""The OpenAI-compatible teacher against a server on loopback that misbehaves in every way we know."""

import math
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from loopback import Answer, Request, Server, capped, choice, ideal, listed, refusal

from scotd.config import TeacherConfig
from scotd.errors import ConfigError, TeacherError
from scotd.teachers import Ask, Outcome
from scotd.teachers.openai import OpenAITeacher
from scotd.teachers.openai_address import endpoint_url
from scotd.teachers.openai_http import NOTE_LOST, Endpoint, Patience, retry_after
from scotd.teachers.openai_replies import (
    NOTE_CUT,
    NOTE_NO_LOGPROB,
    NOTE_NO_TEXT,
    Extra,
    error_message,
    kept_logprobs,
    refused_extra,
    stated_cap,
)
from scotd.types import Finish, Message, Prompt, SamplingParams, Usage

KEY = "sk-a-very-secret-key"
FAST = Patience(first_wait=0.001, longest_wait=0.002, drain_seconds=2.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCOTD_TEST_KEY", raising=False)


def ask(n: int = 1, *, text: str | None = "Q: why?\nA:", question: str = "t/1", **sampling: Any) -> Ask:
    prompt = Prompt(text=text) if text is not None else Prompt(messages=(Message(role="user", content="why?"),))
    return Ask(
        question_key=question,
        prompt=prompt,
        sampling=SamplingParams(**sampling),
        indices=tuple(range(n)),
        seeds=tuple(range(2**40, 2**40 + n)),
    )


def outcomes(server: Server, *asks: Ask, patience: Patience = FAST, **settings: Any) -> list[Outcome]:
    return list(OpenAITeacher(server.config(**settings), patience).complete(iter(asks)))


def one(server: Server, asked: Ask, **settings: Any) -> Outcome:
    (outcome,) = outcomes(server, asked, **settings)
    assert outcome.ask == asked
    return outcome


class TestRequests:
    def test_chat_asks_for_all_chains_at_once(self, server: Server) -> None:
        outcome = one(server, ask(4, stop=("\n\n",), max_tokens=50))
        assert [completion.text for completion in outcome.completions] == [
            f" chain 0.{k}. So the answer is (A)." for k in range(4)
        ]
        assert outcome.error is None and outcome.notes == ()
        assert outcome.usage == Usage(prompt_tokens=10, completion_tokens=12)
        (request,) = server.requests
        assert request.path == "/v1/chat/completions"
        assert request.body == {
            "model": "practice",
            "messages": [{"role": "user", "content": "Q: why?\nA:"}],
            "max_tokens": 50,
            "temperature": 1.0,
            "top_p": 1.0,
            "stop": ["\n\n"],
            "n": 4,
            "logprobs": True,
        }

    def test_completions_endpoint(self, server: Server) -> None:
        outcome = one(server, ask(2), endpoint="completions")
        assert server.requests[0].path == "/v1/completions"
        assert server.requests[0].body["prompt"] == "Q: why?\nA:"
        assert server.requests[0].body["logprobs"] == 1
        assert [completion.mean_logprob for completion in outcome.completions] == [-1.5, -1.5]

    def test_chat_messages_go_as_they_are(self, server: Server) -> None:
        one(server, ask(text=None))
        assert server.requests[0].body["messages"] == [{"role": "user", "content": "why?"}]

    def test_a_chat_has_no_place_on_the_completions_endpoint(self, server: Server) -> None:
        with pytest.raises(ConfigError, match=r"teacher\.endpoint to chat"):
            outcomes(server, ask(text=None), endpoint="completions")
        assert server.requests == []

    def test_five_stop_strings_are_refused_before_anything_is_sent(self, server: Server) -> None:
        with pytest.raises(ConfigError, match=r"5 stop strings.*at most 4"):
            outcomes(server, ask(stop=("a", "b", "c", "d", "e")))
        assert server.requests == []

    def test_top_k_is_sent_only_where_it_is_meant(self, server: Server) -> None:
        outcomes(server, ask(), ask(top_k=5))
        assert "top_k" not in server.requests[0].body
        assert server.requests[1].body["top_k"] == 5

    def test_a_seed_goes_with_single_requests_only(self, server: Server) -> None:
        outcomes(server, ask(1), ask(2))
        assert server.requests[0].body["seed"] == 2**40 % 2**31
        assert "seed" not in server.requests[1].body

    def test_max_n_splits(self, server: Server) -> None:
        outcome = one(server, ask(5), max_n=2)
        assert [request.body.get("n", 1) for request in server.requests] == [2, 2, 1]
        assert len(outcome.completions) == 5 and outcome.notes == ()
        assert outcome.usage == Usage(prompt_tokens=30, completion_tokens=15)

    def test_concurrency_is_used_and_kept(self, server: Server) -> None:
        server.respond = lambda request, number: Answer(body=ideal(request, number).body, seconds=0.05)
        asks = [ask(question=f"t/{k}") for k in range(12)]
        assert len(outcomes(server, *asks, concurrency=4)) == 12
        assert server.most_under_way == 4

    def test_asks_are_pulled_only_as_there_is_room(self, server: Server) -> None:
        pulled = []

        def plan() -> Iterator[Ask]:
            for k in range(10):
                pulled.append(k)
                yield ask(question=f"t/{k}")

        coming = OpenAITeacher(server.config(concurrency=2), FAST).complete(plan())
        next(coming)
        assert len(pulled) <= 3
        assert len(list(coming)) == 9

    @pytest.mark.parametrize(
        ("base_url", "expected"),
        [
            ("http://h:8000", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1/", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1/chat/completions", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1/completions", "http://h:8000/v1/chat/completions"),
            ("https://h/api/openai", "https://h/api/openai/chat/completions"),
        ],
    )
    def test_addresses(self, base_url: str, expected: str) -> None:
        assert str(endpoint_url(base_url, "chat")) == expected

    @pytest.mark.parametrize("base_url", ["localhost:8000", "ftp://h/v1", "", "http://"])
    def test_no_address(self, base_url: str) -> None:
        with pytest.raises(ConfigError, match=r"teacher\.base_url.*Write it as https://"):
            OpenAITeacher(TeacherConfig(base_url=base_url))

    def test_name(self) -> None:
        def name(**settings: Any) -> str:
            return OpenAITeacher(TeacherConfig(kind="openai", model="gpt-x", **settings)).name

        assert name() == "openai:gpt-x"
        assert name(name="mine") == "mine"
        assert name(base_url="http://127.0.0.1:1/v1") == name(), "the same model wherever it is served"
        assert name(endpoint="completions") == "openai:gpt-x completions", "continuing a text is another question"


class TestFewerThanAsked:
    @pytest.mark.parametrize(
        "message",
        [
            "Only one completion choice is allowed",
            "'n' : number must be at most 1",
            "n must be 1 when using greedy sampling, got 3.",
            "Invalid value for 'n'.",
            "Multiple candidates is not enabled for this model",
        ],
    )
    def test_n_refused(self, server: Server, message: str) -> None:
        server.respond = capped(1, message=message)
        first, second = outcomes(server, ask(3), ask(3, question="t/2"))
        assert len(first.completions) == len(second.completions) == 3
        assert len({completion.text for completion in first.completions}) == 3
        assert [request.body.get("n", 1) for request in server.requests] == [3, 1, 1, 1, 1, 1, 1]
        assert first.notes == ("the server gives at most 1 chains a request: several requests are sent instead",)
        assert second.notes == ()
        assert len({request.body["seed"] for request in server.requests[1:4]}) == 3

    def test_a_refusal_that_names_the_cap(self, server: Server) -> None:
        server.respond = capped(4, message="9 is greater than the maximum of 4 - 'n'")
        outcome = one(server, ask(9))
        assert len(outcome.completions) == 9
        assert [request.body.get("n", 1) for request in server.requests] == [9, 4, 4, 1]

    def test_fewer_choices_are_kept_and_the_cap_remembered(self, server: Server) -> None:
        server.respond = capped(2, message=None)
        teacher = OpenAITeacher(server.config(), FAST)
        assert teacher.max_n is None
        first, second = teacher.complete(iter([ask(5), ask(2, question="t/2")]))
        assert len(first.completions) == 5 and len(second.completions) == 2
        assert [request.body.get("n", 1) for request in server.requests] == [5, 3, 1, 2]
        assert len(first.notes) == 1 and "at most 2 chains" in first.notes[0] and second.notes == ()
        assert teacher.max_n == 2

    def test_a_reply_that_is_short_once_teaches_nothing(self, server: Server) -> None:
        short = ideal(Request(path="/chat/completions", headers={}, body={"n": 2}), 0)
        server.script = [
            short,
            *[ideal(Request(path="/chat/completions", headers={}, body={"n": n}), 1) for n in (3, 5)],
        ]
        server.script.append(short)
        teacher = OpenAITeacher(server.config(), FAST)
        found = list(teacher.complete(iter([ask(5), ask(5, question="t/2"), ask(5, question="t/3")])))
        assert [len(one.completions) for one in found] == [5, 5, 5]
        assert [request.body.get("n", 1) for request in server.requests] == [5, 3, 5, 5, 3]
        assert teacher.max_n is None and not any("at most" in note for one in found for note in one.notes)

    def test_a_refusal_for_another_reason_teaches_nothing(self, server: Server) -> None:
        server.script = [refusal("This model's maximum context length is 100 tokens")]
        teacher = OpenAITeacher(server.config(), FAST)
        first, second = teacher.complete(iter([ask(3), ask(3, question="t/2")]))
        assert first.completions == () and first.error is not None and first.error.startswith("HTTP 400: This model's")
        assert len(second.completions) == 3 and teacher.max_n is None
        assert len(server.requests) == 2

    def test_what_came_before_a_failure_is_kept(self, server: Server) -> None:
        server.script = [ideal(Request(path="/chat/completions", headers={}, body={"n": 2}), 0), refusal("nonsense")]
        outcome = one(server, ask(6), max_n=2)
        assert len(outcome.completions) == 2
        assert outcome.error == "HTTP 400: nonsense"
        assert outcome.usage == Usage(prompt_tokens=10, completion_tokens=6)

    def test_a_choice_without_text_is_counted_out(self, server: Server) -> None:
        server.script = [Answer(body={"choices": [choice("one"), {"finish_reason": "stop"}, choice("three")]})]
        outcome = one(server, ask(3), logprobs=False)
        assert [completion.text for completion in outcome.completions] == ["one", "three"]
        assert outcome.notes == (NOTE_NO_TEXT,)
        assert len(server.requests) == 1

    def test_more_choices_than_asked(self, server: Server) -> None:
        server.script = [Answer(body={"choices": [choice("one"), choice("two")]})]
        outcome = one(server, ask(1), logprobs=False)
        assert [completion.text for completion in outcome.completions] == ["one"]
        assert len(outcome.notes) == 1


class TestReplies:
    def one_choice(self, server: Server, given: dict[str, Any], **sampling: Any) -> Outcome:
        server.script = [Answer(body={"choices": [given], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})]
        return one(server, ask(**sampling))

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("stop", Finish.STOP),
            ("length", Finish.LENGTH),
            ("content_filter", Finish.FILTERED),
            (None, Finish.UNKNOWN),
            ("tool_calls", Finish.UNKNOWN),
        ],
    )
    def test_finish(self, server: Server, reason: str | None, finish: Finish) -> None:
        outcome = self.one_choice(server, choice("text", finish=reason))
        assert outcome.completions[0].finish is finish
        assert outcome.completions[0].n_tokens == 5

    def test_filtered_content_is_an_empty_text(self, server: Server) -> None:
        outcome = self.one_choice(server, {"message": {"content": None}, "finish_reason": "content_filter"})
        assert outcome.completions[0].text == "" and outcome.completions[0].finish is Finish.FILTERED
        assert outcome.completions[0].mean_logprob is None
        assert outcome.error is None

    def test_no_usage(self, server: Server) -> None:
        server.script = [Answer(body={"choices": [choice("text")]})]
        outcome = one(server, ask(), logprobs=False)
        assert outcome.usage == Usage(unsaid=1) and outcome.completions[0].n_tokens is None

    def test_usage_that_is_no_count(self, server: Server) -> None:
        server.script = [
            Answer(body={"choices": [choice("t")], "usage": {"prompt_tokens": "7", "completion_tokens": -1}})
        ]
        assert one(server, ask()).usage == Usage(unsaid=1)

    def test_the_mean_is_over_the_kept_tokens_only(self, server: Server) -> None:
        tokens = [(" A", -1.0), (" cat", -3.0), ("\n\n", -50.0), ("Q:", -50.0)]
        outcome = self.one_choice(server, choice(" A cat", logprobs=listed(tokens)), stop=("\n\nQ:",))
        assert outcome.completions[0].mean_logprob == -2.0
        assert outcome.completions[0].n_tokens == 3  # two kept, one that ended it

    def test_a_server_that_goes_on_after_the_stop_string_is_cut(self, server: Server) -> None:
        tokens = [(" A", -1.0), (" cat.", -3.0), ("\n\n", -50.0), ("Q:", -50.0), (" and", -50.0)]
        text = "".join(token for token, _ in tokens)
        outcome = self.one_choice(server, choice(text, finish="length", logprobs=listed(tokens)), stop=("zzz", "\n\n"))
        (completion,) = outcome.completions
        assert (completion.text, completion.finish, completion.mean_logprob) == (" A cat.", Finish.STOP, -2.0)
        assert completion.n_tokens == 3 and outcome.notes == (NOTE_CUT,)

    @pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 40}, {"temperature": 0.0}])
    def test_no_mean_where_the_distribution_was_bent(self, server: Server, sampling: dict[str, Any]) -> None:
        outcome = self.one_choice(server, choice(" A", logprobs=listed([(" A", -1.0)])), **sampling)
        assert outcome.completions[0].mean_logprob is None
        assert "logprobs" not in server.requests[0].body
        assert outcome.notes == ()

    @pytest.mark.parametrize(
        "logprobs",
        [
            None,
            {},
            {"content": None},
            {"content": []},
            listed([("other", -1.0)]),
            listed([(" A", -9999.0)]),
            listed([(" A", math.nan)]),
            {"content": [{"token": " A", "logprob": None}]},
            {"tokens": [" A"], "token_logprobs": [-1.0, -2.0]},
        ],
    )
    def test_logprobs_that_cannot_be_believed(self, server: Server, logprobs: object) -> None:
        outcome = self.one_choice(server, choice(" A", logprobs=logprobs))
        assert outcome.completions[0].mean_logprob is None
        assert outcome.notes == (NOTE_NO_LOGPROB,)

    def test_logprobs_refused(self, server: Server) -> None:
        def respond(request: Request, number: int) -> Answer:
            return refusal("logprobs are not supported") if "logprobs" in request.body else ideal(request, number)

        server.respond = respond
        first, second = outcomes(server, ask(2), ask(2, question="t/2"))
        assert [completion.mean_logprob for completion in first.completions] == [None, None]
        assert first.notes == ("the server refuses log-probabilities: they are not asked for any more",)
        assert second.notes == () and second.error is None
        assert ["logprobs" in request.body for request in server.requests] == [True, False, False]

    def test_everything_refused_at_once(self, server: Server) -> None:
        def respond(request: Request, number: int) -> Answer:
            for extra in ("n", "logprobs", "seed"):
                if extra in request.body:
                    return refusal("Unknown field", param=extra)
            return ideal(request, number)

        server.respond = respond
        first, second = outcomes(server, ask(2), ask(2, question="t/2"))
        assert len(first.completions) == len(second.completions) == 2
        assert len(first.notes) == 3 and second.notes == ()
        assert len(server.requests) == 3 + 2 + 2

    def test_pieces_of_a_character(self) -> None:
        pieces = [{"token": "x", "bytes": [0xC3], "logprob": -1.0}, {"token": "y", "bytes": [0xA9], "logprob": -3.0}]
        assert kept_logprobs({"logprobs": {"content": pieces}}, "é") == [-1.0, -3.0]
        old = {"tokens": ["bytes:\\xc3", "bytes:\\xa9", "!"], "token_logprobs": [-1.0, -3.0, -5.0]}
        assert kept_logprobs({"logprobs": old}, "é") == [-1.0, -3.0]
        assert kept_logprobs({"logprobs": {"content": pieces[:1]}}, "\ufffd") == [-1.0]


class TestFailures:
    def test_429_with_retry_after(self, server: Server) -> None:
        server.script = [refusal("slow down", status=429)] * 2
        server.script[0] = Answer(status=429, headers={"Retry-After": "0"}, body={"error": {"message": "slow down"}})
        outcome = one(server, ask(2))
        assert len(outcome.completions) == 2 and outcome.error is None
        assert len(server.requests) == 3

    @pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
    def test_passing_trouble(self, server: Server, status: int) -> None:
        server.script = [Answer(status=status, body=b"<html>oops</html>")] * 3
        outcome = one(server, ask(2))
        assert len(outcome.completions) == 2 and outcome.error is None
        assert len(server.requests) == 4

    def test_trouble_that_stays_is_an_outcome(self, server: Server) -> None:
        server.script = [refusal("overloaded", status=503)] * FAST.tries
        first, second = outcomes(server, ask(2), ask(2, question="t/2"))
        assert first.error == "HTTP 503: overloaded (tried 6 times)" and first.completions == ()
        assert second.error is None and len(second.completions) == 2

    def test_a_cut_connection(self, server: Server) -> None:
        whole = ideal(Request(path="/chat/completions", headers={}, body={}), 0)
        server.script = [Answer(body=whole.body, cut=True)]
        outcome = one(server, ask())
        assert len(outcome.completions) == 1 and outcome.notes == (NOTE_LOST,)
        assert len(server.requests) == 2

    def test_a_timeout(self, server: Server) -> None:
        server.script = [Answer(seconds=0.5)]
        outcome = one(server, ask(), timeout_seconds=0.1)
        assert len(outcome.completions) == 1 and outcome.notes == (NOTE_LOST,)

    @pytest.mark.parametrize(
        "body",
        [b"<html>hello</html>", b"", b"\xff\xfe", b'{"choices": [', b'"text"', b"[]", b'{"choices": []}', b"{}"],
    )
    def test_unreadable_answers_are_not_asked_for_again(self, server: Server, body: bytes) -> None:
        server.script = [Answer(body=body)]
        outcome = one(server, ask(2))
        assert outcome.completions == () and outcome.error is not None
        assert outcome.error.startswith("unreadable answer: ")
        assert len(server.requests) == 1

    def test_401_ends_the_run_with_one_sentence(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCOTD_TEST_KEY", KEY)
        server.respond = lambda request, number: refusal(f"Incorrect API key provided: {KEY}.", status=401)
        coming = OpenAITeacher(server.config(), FAST).complete(iter([ask(2), ask(2, question="t/2")]))
        outcome = next(coming)
        assert outcome.error is not None
        with pytest.raises(TeacherError) as caught:
            list(coming)
        message = str(caught.value)
        assert server.url in message and "HTTP 401 (Incorrect API key provided: [key].)" in message
        assert "SCOTD_TEST_KEY" in message and "\n" not in message
        assert KEY not in message + outcome.error
        assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("status", "remedy"),
        [(401, "Set the environment variable"), (403, "may use this model"), (404, "teacher.model"), (307, "base_url")],
    )
    def test_what_no_retry_mends(self, server: Server, status: int, remedy: str) -> None:
        server.respond = lambda request, number: refusal("no", status=status)
        with pytest.raises(TeacherError, match=remedy):
            outcomes(server, ask())
        assert len(server.requests) == 1
        assert "Authorization" not in server.requests[0].headers

    def test_no_credit_is_not_waited_for(self, server: Server) -> None:
        server.respond = lambda request, number: refusal("quota", status=429, code="insufficient_quota")
        with pytest.raises(TeacherError, match="credit"):
            outcomes(server, ask())
        assert len(server.requests) == 1

    def test_the_end_of_a_run_keeps_what_is_under_way(self, server: Server) -> None:
        def respond(request: Request, number: int) -> Answer:
            if request.body["messages"][0]["content"] == "bad":
                return refusal("no", status=401)
            return Answer(body=ideal(request, number).body, seconds=0.3)

        server.respond = respond
        coming = OpenAITeacher(server.config(concurrency=2), FAST).complete(iter([ask(2), ask(2, text="bad")]))
        got = [next(coming), next(coming)]
        with pytest.raises(TeacherError):
            next(coming)
        assert sorted(len(outcome.completions) for outcome in got) == [0, 2]

    def test_no_server(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
            config = TeacherConfig(kind="openai", base_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
            with pytest.raises(
                TeacherError, match=r"no server answers at http://127\.0\.0\.1.*Check teacher\.base_url"
            ):
                list(OpenAITeacher(config, FAST).complete(iter([ask()])))

    def test_nothing_but_failures_ends_the_run(self, server: Server) -> None:
        server.respond = lambda request, number: refusal("no such parameter")
        asks = [ask(question=f"t/{k}") for k in range(100)]
        with pytest.raises(TeacherError, match=r"the last 20 requests.*'HTTP 400: no such parameter'"):
            outcomes(server, *asks)
        assert len(server.requests) == 20

    def test_a_success_between_failures_goes_on(self, server: Server) -> None:
        server.respond = lambda request, number: (
            ideal(request, number) if number % 20 == 19 else refusal("this one not")
        )
        got = outcomes(server, *[ask(question=f"t/{k}") for k in range(60)])
        assert sum(outcome.error is None for outcome in got) == 3

    def test_a_server_that_wants_hours(self, server: Server) -> None:
        server.script = [Answer(status=429, headers={"Retry-After": "7200"})]
        outcome = one(server, ask())
        assert outcome.error is not None and "asks to wait 7200 s" in outcome.error

    def test_retry_after_forms(self) -> None:
        now = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
        assert retry_after(httpx.Headers({"retry-after": "1.5"}), now) == 1.5
        assert retry_after(httpx.Headers({"retry-after": "Wed, 01 Jan 2025 00:00:30 GMT"}), now) == 30
        assert retry_after(httpx.Headers({"retry-after": "Tue, 31 Dec 2024 00:00:30 GMT"}), now) == 0
        assert retry_after(httpx.Headers({"retry-after": "soon"}), now) is None
        assert retry_after(httpx.Headers({}), now) is None

    def test_waits_grow_to_a_bound(self) -> None:
        patience = Patience(first_wait=1.0, longest_wait=10.0)
        assert [patience.wait(attempt, 0.0) for attempt in range(5)] == [1, 2, 4, 8, 10]
        assert patience.wait(3, 0.999) > 4


class TestKey:
    def test_openai_without_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        teacher = OpenAITeacher(TeacherConfig(kind="openai"), FAST)  # raises before anything is sent
        with pytest.raises(TeacherError, match="OPENAI_API_KEY is not set"):
            list(teacher.complete(iter([ask()])))

    def test_openais_key_goes_to_openai_only(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert TeacherConfig(kind="openai").api_key_env is None
        outcomes(server, ask(), api_key_env=None)
        assert "Authorization" not in server.requests[0].headers
        outcomes(server, ask(), api_key_env="OPENAI_API_KEY")  # who writes it down means it
        assert server.requests[1].headers["Authorization"] == f"Bearer {KEY}"
        assert _authorization_at("https://API.openai.com/v1/") == f"Bearer {KEY}"
        for near in (
            "https://api.openai.com.example.org/v1",
            "https://openai.com/v1",
            "https://localhost/api.openai.com",
        ):
            assert _authorization_at(near) is None, near

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_server_that_wants_a_key_and_none_is_named(self, server: Server, status: int) -> None:
        server.respond = lambda request, number: refusal("no", status=status)
        with pytest.raises(TeacherError, match=r"variable that holds (one|a key) in teacher\.api_key_env\.$") as caught:
            outcomes(server, ask(), api_key_env=None)
        assert "None" not in str(caught.value)

    @pytest.mark.parametrize("key", ["sk-one two", "sk-é", "sk-one\nX: y"])
    def test_a_key_that_no_header_may_carry(self, server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        monkeypatch.setenv("SCOTD_TEST_KEY", key)
        with pytest.raises(TeacherError, match="SCOTD_TEST_KEY holds") as caught:
            outcomes(server, ask())
        assert key not in str(caught.value)
        assert server.requests == []

    def test_it_is_read_at_each_request_and_kept_nowhere(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCOTD_TEST_KEY", f" {KEY}\n")
        server.script = [Answer(body=f"no JSON but {KEY}".encode()), refusal(f"bad {KEY}")]
        teacher = OpenAITeacher(server.config(), FAST)
        got = list(teacher.complete(iter([ask(), ask(question="t/2")])))
        assert [request.headers["Authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2
        assert all(KEY not in repr(outcome) and "[key]" in str(outcome.error) for outcome in got)
        assert KEY not in everything_in(teacher)

    def test_a_server_that_echoes_it_in_a_text(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCOTD_TEST_KEY", KEY)
        server.script = [Answer(body={"choices": [choice(f"you sent {KEY}")]}), Answer(body={"debug": KEY})]
        first, second = outcomes(server, ask(), ask(question="t/2"), logprobs=False)
        assert first.completions[0].text == "you sent [key]"
        assert KEY not in str(second.error) and "[key]" in str(second.error)

    def test_an_address_with_a_password_is_not_shown(self, server: Server) -> None:
        server.respond = lambda request, number: refusal("no", status=404)
        with pytest.raises(TeacherError) as caught:
            outcomes(server, ask(), base_url=server.url.replace("//", "//me:secret@") + "?token=secret")
        assert "secret" not in str(caught.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "extra"),
        [
            ('{"error": {"message": "Unsupported value", "param": "n"}}', Extra.N),
            ('{"detail": [{"loc": ["body", "n"], "msg": "Input should be 1"}]}', Extra.N),
            ('{"object": "error", "message": "n=8 is not supported", "code": 400}', Extra.N),
            ('{"error": "logprobs is not available"}', Extra.LOGPROBS),
            ('{"error": {"message": "Unrecognized request argument supplied: seed"}}', Extra.SEED),
            ('{"error": {"message": "can\'t do in 10 tokens\\nnone"}}', None),
            ('{"error": {"message": "bad stop: \'\\\\n\'"}}', None),
            ("<html>bad n</html>", Extra.N),
        ],
    )
    def test_which_extra_is_meant(self, body: str, extra: Extra | None) -> None:
        assert refused_extra(body, frozenset(Extra)) is extra

    def test_only_what_was_sent_can_be_meant(self) -> None:
        assert refused_extra('{"error": {"message": "bad", "param": "n"}}', frozenset({Extra.SEED})) is None

    @pytest.mark.parametrize(
        ("message", "cap"),
        [("must be at most 4", 4), ("maximum of 128 - 'n'", 1), ("n must be less than or equal to 5", 5), ("no", 1)],
    )
    def test_stated_cap(self, message: str, cap: int) -> None:
        assert stated_cap(f'{{"error": "{message}"}}', 30) == cap

    def test_messages(self) -> None:
        assert error_message('{"error": {"message": "a\\n b"}}') == "a b"
        assert error_message('{"detail": [{"loc": ["body", "n"], "msg": "bad"}, {"msg": "worse"}]}') == "n: bad; worse"
        assert error_message("") == "no message"
        assert len(error_message("x" * 1000)) == 200


def everything_in(value: object, depth: int = 6) -> str:
    """What an object holds, and the objects in it, as text."""
    parts = list(value) if isinstance(value, (list, tuple, set)) else list(getattr(value, "__dict__", {}).values())
    return repr(value) + "".join(everything_in(part, depth - 1) for part in parts if depth)


def _authorization_at(base_url: str) -> str | None:
    """What a request to an address would carry as its key; nothing leaves this machine."""
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(400, text="no")

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    with patch.object(Endpoint, "client", lambda self: client):
        list(OpenAITeacher(TeacherConfig(kind="openai", base_url=base_url), FAST).complete(iter([ask()])))
    (request,) = sent
    found: str | None = request.headers.get("Authorization")
    return found
