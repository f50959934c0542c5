"""The practice teacher: a whole sampling run against it, and every fault as a client sees it."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from scotd.answers import parse
from scotd.config import PromptConfig, QuestionsConfig, TeacherConfig
from scotd.corpus import Corpus
from scotd.errors import ConfigError
from scotd.progress import silent
from scotd.prompts import Templates, teacher_prompt
from scotd.tasks import load_questions
from scotd.tasks.exemplars import load_exemplars
from scotd.teachers.budget import Budget
from scotd.teachers.openai import OpenAITeacher
from scotd.teachers.openai_http import Patience
from scotd.teachers.practice import Fault, Practice, Settings, read_fault
from scotd.teachers.sampling import SampleReport, Want, sample
from scotd.types import Finish, Question, SamplingParams, ServerCap

FAST = Patience(first_wait=0.001, longest_wait=0.002, drain_seconds=2.0)
QUESTIONS = [one for one in load_questions(QuestionsConfig(task="feedback")) if one.split == "train"][:40]
TEMPLATES = Templates.of(PromptConfig(chat=True))
EXEMPLARS = load_exemplars("feedback")


@contextmanager
def practising(**settings: Any) -> Iterator[Practice]:
    """The server on a thread of its own."""
    practice = Practice(Settings(**settings))
    loop = asyncio.new_event_loop()
    ready, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with practice:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield practice
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


def body(question: Question = QUESTIONS[0], **changes: Any) -> dict[str, Any]:
    prompt = teacher_prompt(question, EXEMPLARS, TEMPLATES)
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages or ()]
    return {"model": "practice", "messages": messages, "max_tokens": 64, "temperature": 1.0, **changes}


def post(practice: Practice, **changes: Any) -> httpx.Response:
    return httpx.post(f"{practice.url}/v1/chat/completions", json=body(**changes), timeout=5, trust_env=False)


def sampled(
    practice: Practice,
    path: Path,
    n: int,
    *,
    questions: int = 40,
    budget: Budget | None = None,
    known: Sequence[ServerCap] = (),
    **teacher: Any,
) -> SampleReport:
    settings = {"kind": "openai", "model": "practice", "base_url": practice.url, "concurrency": 4, "timeout_seconds": 2}
    with Corpus.open(path) as corpus:
        corpus.add_questions(QUESTIONS)
        wants = [
            Want(
                question_key=question.key,
                prompt=teacher_prompt(question, EXEMPLARS, TEMPLATES),
                sampling=SamplingParams(max_tokens=64),
                n=n,
            )
            for question in QUESTIONS[:questions]
        ]
        served = OpenAITeacher(TeacherConfig(**{**settings, **teacher}), FAST, known)
        return sample(corpus, served, wants, budget=budget, progress=silent)


def test_a_run_against_it_is_counted_alike_on_both_sides(tmp_path: Path) -> None:
    with practising(skill=0.8) as practice:
        report = sampled(practice, tmp_path / "c.sqlite", 30)
        told = httpx.get(f"{practice.url}/practice", trust_env=False).json()
    assert report.received == 1200 and not report.failed and not report.notes
    assert told["requests"] == {"answered": 40} and told["choices"] == 1200
    assert told["billed"] == {"prompt_tokens": report.prompt_tokens, "completion_tokens": report.completion_tokens}
    known = {question.key: question for question in QUESTIONS}
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        chains = list(corpus.chains())
    right = sum(parse(one.text, known[one.question_key]).answer == known[one.question_key].gold for one in chains)
    assert 0.75 < right / 1200 < 0.85
    assert len({one.text for one in chains}) > 600
    assert all(one.mean_logprob == pytest.approx(-0.5) for one in chains)


def test_a_greedy_answer_repeats_and_a_strange_question_is_no_error() -> None:
    with practising() as practice:
        first, second = (post(practice, temperature=0).json()["choices"] for _ in range(2))
        assert first == second
        strange = replace(QUESTIONS[0], id="x", stem="Why?")
        assert "does not know" in post(practice, question=strange).json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("cap_silently", "words"), [(False, "at most 8 chains"), (True, "at most 8 chains")], ids=["refused", "capped"]
)
def test_a_cap_on_n(cap_silently: bool, words: str, tmp_path: Path) -> None:
    with practising(max_n=8, refuses=not cap_silently) as practice:
        report = sampled(practice, tmp_path / "c.sqlite", 20, questions=5)
    assert report.received == 100 and any(words in note for note in report.notes)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.BROKEN, Fault.CUT, Fault.DRIP, Fault.FEWER, Fault.DUPLICATES])
def test_what_passes_is_overcome(fault: Fault, tmp_path: Path) -> None:
    with practising(faults={fault: 0.2}) as practice:
        report = sampled(practice, tmp_path / "c.sqlite", 4, questions=20)
        assert practice.counts.requests[fault] > 0
    assert report.missing == 0 and report.received == 80


def test_what_was_cut_off_is_billed_and_not_in_the_corpus(tmp_path: Path) -> None:
    with practising(faults={Fault.CUT: 0.3}) as practice:
        report = sampled(practice, tmp_path / "c.sqlite", 4, questions=20)
        assert practice.counts.completion_tokens > report.completion_tokens
    assert any("may be billed" in note for note in report.notes)


def test_the_ledger_holds_every_reply_and_numbered_chains_are_all_different(tmp_path: Path) -> None:
    with practising(ledger=tmp_path / "ledger.jsonl", numbered=True, faults={Fault.CUT: 0.3}) as practice:
        report = sampled(practice, tmp_path / "c.sqlite", 4, questions=20)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 20 and {line["fault"] for line in lines} == {None, "cut"}
    written = [text for line in lines for text in line["texts"]]
    assert len(set(written)) == len(written) == practice.counts.choices
    arrived = [line for line in lines if line["fault"] is None]
    assert sum(line["billed"]["completion_tokens"] for line in arrived) == report.completion_tokens
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        assert sorted(one.text for one in corpus.chains()) == sorted(text for line in arrived for text in line["texts"])


def test_faults_one_by_one() -> None:
    def seen(fault: Fault, **changes: Any) -> httpx.Response:
        with practising(faults={fault: 1.0}) as practice:
            return post(practice, logprobs=True, **changes)

    assert seen(Fault.BUSY).status_code == 429
    assert seen(Fault.BUSY_RETRY_AFTER).headers["retry-after"] == "1"
    assert seen(Fault.BROKEN).status_code == 500
    assert len(seen(Fault.FEWER, n=6).json()["choices"]) == 3
    same = seen(Fault.DUPLICATES, n=6).json()["choices"]
    assert len({one["message"]["content"] for one in same}) == 1
    assert seen(Fault.WRONG_USAGE).json()["usage"]["prompt_tokens"] == 1
    assert "usage" not in seen(Fault.NO_USAGE).json()
    assert "logprobs" not in seen(Fault.NO_LOGPROBS).json()["choices"][0]
    assert not seen(Fault.EMPTY).json()["choices"][0]["message"]["content"]
    finishes = {Fault.LENGTH: "length", Fault.FILTERED: "content_filter"}
    for fault, finish in finishes.items():
        assert seen(fault).json()["choices"][0]["finish_reason"] == finish
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        seen(Fault.BAD_JSON).json()
    with pytest.raises(httpx.RemoteProtocolError):
        seen(Fault.CUT)


def test_a_request_that_hangs_times_out() -> None:
    with practising(faults={Fault.HANG: 1.0}) as practice, pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{practice.url}/v1/chat/completions", json=body(), timeout=0.2, trust_env=False)


def test_slots_and_seconds_bound_the_rate() -> None:
    async def several(practice: Practice) -> float:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            start = asyncio.get_running_loop().time()
            address = f"{practice.url}/v1/chat/completions"
            await asyncio.gather(*(client.post(address, json=body()) for _ in range(6)))
            return asyncio.get_running_loop().time() - start

    with practising(seconds=0.2, slots=2) as practice:
        assert asyncio.run(several(practice)) >= 0.6


def test_requests_a_minute() -> None:
    with practising(requests_a_minute=3) as practice:
        assert [post(practice).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_limit_on_tokens_is_kept() -> None:
    with practising() as practice:
        (choice,) = post(practice, max_tokens=5).json()["choices"]
    assert len(choice["message"]["content"].split()) == 5 and choice["finish_reason"] == Finish.LENGTH


@pytest.mark.parametrize("sent", [b"", b"[]", b"{}", b"\xff", b'{"messages": 3}', b'{"n": "x", "messages": []}'])
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    with practising() as practice:
        reply = httpx.post(f"{practice.url}/v1/chat/completions", content=sent, timeout=5, trust_env=False)
        assert reply.status_code == 400
        assert httpx.get(f"{practice.url}/elsewhere", trust_env=False).status_code == 404


def test_shares_are_checked() -> None:
    assert read_fault("cut=0.25") == (Fault.CUT, 0.25)
    with pytest.raises(ConfigError, match=r"there is no fault 'cutt'\. Did you mean 'cut'"):
        read_fault("cutt=0.25")
    for wrong in ("cut", "cut=2", "cut=x"):
        with pytest.raises(ConfigError, match=r"write it as cut=0\.05"):
            read_fault(wrong)
    with pytest.raises(ConfigError, match=r"add up to 1\.2"):
        Settings(faults={Fault.CUT: 0.6, Fault.HANG: 0.6})
