"""What a corpus remembers of the servers behind its chains: their caps, and what they never counted."""

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from loopback import Answer, Server, capped, ideal
from test_openai_teacher import FAST, ask
from test_practice import QUESTIONS, practising, sampled

from scotd.cli import cli
from scotd.corpus import Corpus, RequestIntent
from scotd.corpus.schema import MIGRATIONS, connect_writer, migrate
from scotd.errors import CorpusError
from scotd.report.load import _requests
from scotd.teachers.openai import OpenAITeacher
from scotd.teachers.practice import Fault
from scotd.types import Prompt, SamplingParams, ServerCap, Usage

TEACHER = "openai:practice"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


# ---- caps -----------------------------------------------------------------------------------------------------------


def test_a_cap_that_a_refusal_taught_comes_with_the_outcome_once(server: Server) -> None:
    server.respond = capped(3, message="n must be at most 3")
    config = server.config(base_url=server.url.replace("//", "//me:secret@") + "?token=secret")
    first, second = OpenAITeacher(config, FAST).complete(iter([ask(7), ask(7, question="t/2")]))
    found = ServerCap(server=f"{server.url}/v1/chat/completions", model="practice", max_n=3)
    assert first.caps == (found,) and second.caps == ()
    assert "secret" not in repr(found)


def test_a_known_cap_is_gone_by_from_the_first_request(server: Server) -> None:
    server.respond = capped(3, message="n must be at most 3")
    known = ServerCap(server=f"{server.url}/v1/chat/completions", model="practice", max_n=3)
    others = [
        ServerCap(server=known.server, model="another", max_n=2),
        ServerCap(server="http://elsewhere/v1/chat/completions", model="practice", max_n=1),
    ]
    teacher = OpenAITeacher(server.config(), FAST, [*others, known])
    assert teacher.remembered == (known,) and teacher.max_n == 3
    (outcome,) = teacher.complete(iter([ask(7)]))
    assert [request.body.get("n", 1) for request in server.requests] == [3, 3, 1], "nothing was refused"
    assert outcome.caps == () and outcome.notes == ()


def test_a_smaller_max_n_of_the_file_stands(server: Server) -> None:
    known = ServerCap(server=f"{server.url}/v1/chat/completions", model="practice", max_n=8)
    teacher = OpenAITeacher(server.config(max_n=2), FAST, [known])
    assert teacher.max_n == 2 and teacher.remembered == ()


def test_a_sitting_leaves_its_caps_to_the_next_and_a_user_forgets_them(path: Path) -> None:
    with practising(max_n=4) as practice:
        sampled(practice, path, 8, questions=3)
        refused = practice.counts.requests["refused: n"]
        assert refused >= 1
        with Corpus.open(path, "ro") as corpus:
            (known,) = corpus.caps()
        assert known.cap == ServerCap(server=f"{practice.url}/v1/chat/completions", model="practice", max_n=4)
        sampled(practice, path, 16, questions=3, known=[known.cap])
        assert practice.counts.requests["refused: n"] == refused, "the second sitting asks for no more than it gets"
    shown = CliRunner().invoke(cli, ["corpus", "servers", str(path)])
    assert shown.exit_code == 0 and "practice: at most 4 chains a request" in shown.output
    forgotten = CliRunner().invoke(cli, ["corpus", "servers", str(path), "--forget"])
    assert forgotten.output.endswith("Forgotten: 1.\n")
    assert CliRunner().invoke(cli, ["corpus", "servers", str(path)]).output.startswith("No server is known")


def test_the_newest_finding_stands(path: Path) -> None:
    with Corpus.open(path) as corpus:
        for max_n in (8, 4, 16):
            corpus.learn_cap(ServerCap(server="http://a/v1", model="m", max_n=max_n))
        assert [one.cap.max_n for one in corpus.caps()] == [16]
        assert corpus.forget_caps() == 1 and corpus.caps() == []


# ---- what was never counted -----------------------------------------------------------------------------------------


def test_each_uncounted_answer_is_of_one_kind(server: Server) -> None:
    silent = Answer(body={"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})
    server.script = [Answer(body={"x": 1}, cut=True), silent, Answer(body=b"no JSON")]
    server.respond = ideal
    first, second, third = OpenAITeacher(server.config(logprobs=False), FAST).complete(
        iter([ask(), ask(question="t/2"), ask(question="t/3")])
    )
    assert first.usage == Usage(unsaid=2, lost=1), "one broke off, the next try did not say"
    assert second.usage == Usage(unsaid=1, unreadable=1) and second.completions == ()
    assert third.usage == Usage(prompt_tokens=10, completion_tokens=3)


def test_they_are_counted_over_all_sittings(path: Path) -> None:
    faults = {Fault.CUT: 0.15, Fault.BAD_JSON: 0.15, Fault.NO_USAGE: 0.2}
    reports = []
    with practising(faults=faults, seed=3) as practice:
        for n in (4, 8, 12):
            reports.append(sampled(practice, path, n))
        told = dict(practice.counts.requests)
    with Corpus.open(path, "ro") as corpus:
        counted = corpus.requests(TEACHER)
        assert corpus.requests() == counted and corpus.requests("openai:other").ok == 0
        assert (
            sum(times for _, times in corpus.uncounted(TEACHER)) == counted.lost + counted.unreadable + counted.unsaid
        )
    assert counted.lost == told["cut"] > 0
    assert counted.unreadable == told["bad-json"] > 0
    assert counted.unsaid == told["no-usage"] > 0
    assert counted.failures["unreadable answer"] == told["bad-json"]
    assert (
        sum(report.requests_without_usage for report in reports) == counted.lost + counted.unreadable + counted.unsaid
    )
    page = _requests(asdict(counted))
    assert page["answers lost on the way"] == told["cut"] and page["answers that could not be read"] == told["bad-json"]
    assert page["failed: unreadable answer"] == told["bad-json"] and "under way when a run was killed" not in page
    shown = CliRunner().invoke(cli, ["corpus", "stats", str(path)])
    assert f"not counted: {told['cut']} answers lost on the way, {told['bad-json']} that could not be" in shown.output


def test_what_a_request_was_billed_is_kept_where_it_brought_nothing(path: Path) -> None:
    prompt = Prompt(text="Q: why?\nA:")
    intent = RequestIntent(
        question_key=QUESTIONS[0].key,
        prompt_id=prompt.id,
        teacher=TEACHER,
        sampling=SamplingParams(),
        indices=(0, 1),
    )
    with Corpus.open(path) as corpus:
        corpus.add_questions(QUESTIONS)
        corpus.add_prompts([prompt])
        corpus.fail_request(
            corpus.begin_requests([intent])[0], "HTTP 500: no", Usage(prompt_tokens=7, unsaid=1, lost=1)
        )
        assert corpus.billed(TEACHER).prompt_tokens == 7
        assert corpus.uncounted(TEACHER) == [(intent, 1)]


# ---- corpora of before ----------------------------------------------------------------------------------------------


def test_a_corpus_of_version_2_keeps_its_journal(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, MIGRATIONS[:2])
    connection.executescript(
        """INSERT INTO questions (key, task, name, split, stem, choices) VALUES ('t/1', 't', '1', 'train', 's', '[]');
        INSERT INTO prompts (digest, body) VALUES ('p', '"Q"'); INSERT INTO teachers (name) VALUES ('m');
        INSERT INTO samplings (digest, body) VALUES ('s', '{}');
        INSERT INTO requests (session, question, prompt, teacher, sampling, indices, begun, outcome, received,
            prompt_tokens, completion_tokens) VALUES (1, 1, 1, 1, 1, '[0]', 1.5, 'ok', 1, 11, 22);"""
    )
    connection.close()
    with pytest.raises(CorpusError, match="Open it once with a command that writes"):
        Corpus.open(path, "ro")
    connect_writer(path).close()
    with Corpus.open(path, "ro") as corpus:
        found = corpus.requests("m")
        assert (found.ok, found.prompt_tokens, found.completion_tokens, found.lost) == (1, 11, 22, 0)
        assert corpus.uncounted("m") == [] and corpus.caps() == []
