"""The sampling loop on a real corpus: nothing lost, nothing asked for twice, whatever ends the run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from loopback import Answer, Request, Server, capped, ideal, refusal

from scotd.corpus import Corpus
from scotd.errors import TeacherError
from scotd.progress import Progress, Tracker, silent
from scotd.teachers import Ask, Outcome
from scotd.teachers.openai import OpenAITeacher
from scotd.teachers.openai_http import Patience
from scotd.teachers.sampling import NOT_SENT, SampleReport, Want, _Tally, sample
from scotd.types import Chain, Choice, Completion, Finish, Prompt, Question, SamplingParams, Usage, chain_id, digest

FAST = Patience(first_wait=0.001, longest_wait=0.002, drain_seconds=2.0)
SAMPLING = SamplingParams(max_tokens=32, stop=("\n\n",))
CHOICES = (Choice(label="A", text="yes"), Choice(label="B", text="no"))


def question(k: int) -> Question:
    return Question(id=f"{k:04}", task="t", split="train", stem=f"stem {k}", choices=CHOICES, gold="A")


def wants(questions: int, n: int) -> list[Want]:
    return [
        Want(question_key=question(k).key, prompt=Prompt(text=f"Q: {k}\nA:"), sampling=SAMPLING, n=n)
        for k in range(questions)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "corpus.sqlite"


@contextmanager
def opened(path: Path, questions: int = 10) -> Iterator[Corpus]:
    with Corpus.open(path) as corpus:
        corpus.add_questions(question(k) for k in range(questions))
        yield corpus


class Scripted:
    """A teacher in memory: answers in pulls of `group`, and does `before(k)` in front of ask number k."""

    def __init__(
        self,
        before: Callable[[int], None] = lambda k: None,
        *,
        batch: int = 3,
        group: int = 1,
        max_n: int | None = None,
    ) -> None:
        self.name, self.batch, self.max_n = "scripted", batch, max_n
        self.asked: list[Ask] = []
        self._before, self._group = before, group

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        pulled: list[Ask] = []
        for ask in asks:
            self._before(len(self.asked))
            self.asked.append(ask)
            pulled.append(ask)
            if len(pulled) == self._group:
                yield from map(self.answer, reversed(pulled))  # out of order
                pulled = []
        yield from map(self.answer, pulled)

    def answer(self, ask: Ask) -> Outcome:
        completions = tuple(
            Completion(text=f" {ask.question_key} {index}", finish=Finish.STOP, n_tokens=4, mean_logprob=-0.5)
            for index in ask.indices
        )
        return Outcome(
            ask=ask,
            completions=completions,
            usage=Usage(prompt_tokens=10, completion_tokens=4 * len(ask.indices)),
        )

    @property
    def indices(self) -> Counter[tuple[str, int]]:
        return Counter((ask.question_key, index) for ask in self.asked for index in ask.indices)


class Heard:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.advanced = 0
        self.said: list[str] = []
        self.note = ""

    def __call__(self, description: str, total: int | None) -> AbstractContextManager[Progress]:
        self.total = total
        return self._running()

    @contextmanager
    def _running(self) -> Iterator[Progress]:
        yield self

    def begin_at(self, n: int) -> None:
        pass

    def advance(self, n: int, note: str = "") -> None:
        self.advanced += n
        self.note = note

    def say(self, message: str) -> None:
        self.said.append(message)


def run(path: Path, teacher: Scripted | OpenAITeacher, goal: list[Want], progress: Tracker = silent) -> SampleReport:
    with opened(path) as corpus:
        return sample(corpus, teacher, goal, seed=7, progress=progress)


def stored(path: Path) -> list[Chain]:
    with Corpus.open(path, "ro") as corpus:
        return list(corpus.chains())


def test_a_whole_run(path: Path) -> None:
    teacher, heard = Scripted(batch=4, group=3), Heard()
    report = run(path, teacher, wants(10, 5), heard)
    chains = stored(path)
    assert [(chain.question_key, chain.index) for chain in chains] == [
        (question(k).key, index) for k in range(10) for index in range(5)
    ]
    for chain in chains:
        assert chain.text == f" {chain.question_key} {chain.index}"  # no outcome under another question's name
        assert (chain.teacher, chain.sampling, chain.finish) == ("scripted", SAMPLING, Finish.STOP)
        assert (chain.n_tokens, chain.mean_logprob) == (4, -0.5)
    assert (report.wanted, report.already_there, report.asked, report.received, report.missing) == (50, 0, 50, 50, 0)
    assert (report.prompt_tokens, report.completion_tokens, report.requests) == (100, 200, 10)
    assert (report.requests_without_usage, report.unaccounted_before) == (0, 0)
    assert report.failed == {} and report.notes == {} and report.seconds > 0
    assert heard.total == heard.advanced == 50 and heard.said == []


def test_a_second_run_asks_nothing(path: Path) -> None:
    run(path, Scripted(), wants(10, 5))
    teacher = Scripted()
    report = run(path, teacher, wants(10, 5))
    assert teacher.asked == []
    assert (report.already_there, report.asked, report.received) == (50, 0, 0)


def test_top_up(path: Path) -> None:
    run(path, Scripted(), wants(10, 2))
    before = stored(path)
    teacher = Scripted()
    report = run(path, teacher, wants(10, 5))
    assert [ask.indices for ask in teacher.asked] == [(2, 3, 4)] * 10
    assert (report.already_there, report.asked, report.received) == (20, 30, 30)
    after = stored(path)
    assert len(after) == 50 and [chain for chain in after if chain.index < 2] == before


def test_wants_of_different_sizes_keep_their_order(path: Path) -> None:
    run(path, Scripted(), wants(2, 1))
    one, two, three = wants(3, 4)
    goal = [three, Want(question_key=one.question_key, prompt=one.prompt, sampling=SAMPLING, n=1), two]
    teacher = Scripted()
    report = run(path, teacher, goal)
    assert [(ask.question_key, ask.indices) for ask in teacher.asked] == [
        (three.question_key, (0, 1, 2, 3)),
        (two.question_key, (1, 2, 3)),
    ]
    assert (report.wanted, report.already_there) == (9, 2)


def test_another_prompt_or_sampling_is_another_chain(path: Path) -> None:
    run(path, Scripted(), wants(2, 2))
    (first, second) = wants(2, 2)
    goal = [
        Want(question_key=first.question_key, prompt=Prompt(text="another"), sampling=SAMPLING, n=2),
        Want(question_key=second.question_key, prompt=second.prompt, sampling=SamplingParams(temperature=0.0), n=1),
    ]
    assert run(path, Scripted(), goal).asked == 3
    assert len(stored(path)) == 4 + 3


def test_max_n_splits_and_each_index_has_its_own_seed(path: Path) -> None:
    teacher = Scripted(max_n=2)
    run(path, teacher, wants(3, 5))
    assert [ask.indices for ask in teacher.asked] == [(0, 1), (2, 3), (4,)] * 3
    seeds = [seed for ask in teacher.asked for seed in ask.seeds]
    assert len(set(seeds)) == 15
    ask = teacher.asked[1]
    chain = chain_id(ask.question_key, ask.prompt.id, "scripted", SAMPLING, 2)
    assert ask.seeds[0] == int(digest([7, chain])[:15], 16)


def test_an_ask_is_in_the_journal_before_the_teacher_has_it(path: Path) -> None:
    journaled = []

    def look(k: int) -> None:
        with Corpus.open(path, "ro") as beside:
            requests = beside.stats().requests
            journaled.append(requests.ok + requests.unaccounted)

    run(path, Scripted(look, batch=3), wants(7, 1))
    assert journaled == [3, 3, 3, 6, 6, 6, 7]  # in groups of three


@pytest.mark.parametrize("error", [KeyboardInterrupt, TeacherError])
def test_interrupted_half_way(path: Path, error: type[BaseException]) -> None:
    def interrupt(k: int) -> None:
        if k == 5:
            raise error("enough")

    first = Scripted(interrupt, batch=4)
    done: list[SampleReport] = []
    with opened(path) as corpus, pytest.raises(error):
        sample(corpus, first, wants(10, 3), seed=7, progress=silent, ended=done.append)
    assert len(stored(path)) == 15
    assert [(one.asked, one.sent, one.received, one.requests) for one in done] == [(30, 18, 15, 5)]

    with Corpus.open(path) as corpus:
        assert [intent.indices for intent in corpus.unaccounted()] == [(0, 1, 2)]  # pulled, and its end unknown
        requests = corpus.stats().requests
        assert (requests.ok, requests.failed, requests.unaccounted) == (5, 2, 1)  # two were journaled and not sent

    second, heard = Scripted(), Heard()
    report = run(path, second, wants(10, 3), heard)
    assert (report.already_there, report.received, report.unaccounted_before) == (15, 15, 1)
    assert heard.said == ["1 requests of earlier runs ended unrecorded: up to 3 chains may be billed"]
    assert set((first.indices + second.indices).values()) == {1}
    assert len(stored(path)) == 30


def test_what_was_not_sent_says_so(path: Path) -> None:
    import sqlite3

    def interrupt(k: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, Scripted(interrupt, batch=4), wants(10, 3))
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("SELECT error FROM requests ORDER BY id").fetchall() == [(None,)] + [(NOT_SENT,)] * 3
    finally:
        connection.close()


def test_first_ctrl_c_stores_what_is_under_way(path: Path) -> None:
    def press(k: int) -> None:
        if k == 4:
            signal.raise_signal(signal.SIGINT)

    teacher = Scripted(press, batch=8, group=3)
    with pytest.raises(KeyboardInterrupt):
        run(path, teacher, wants(10, 2))
    assert len(teacher.asked) == 5
    assert len(stored(path)) == 10
    with Corpus.open(path) as corpus:
        assert corpus.unaccounted() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_stops_at_once(path: Path) -> None:
    def press(k: int) -> None:
        if k == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    teacher = Scripted(press, batch=8, group=3)
    with pytest.raises(KeyboardInterrupt):
        run(path, teacher, wants(10, 2))
    assert len(teacher.asked) == 4
    assert len(stored(path)) == 6  # the group of three that was answered
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_left_alone_outside_the_main_thread(path: Path) -> None:
    reports = []
    thread = threading.Thread(target=lambda: reports.append(run(path, Scripted(), wants(2, 2))))
    thread.start()
    thread.join()
    assert reports[0].received == 4


def test_failures_are_counted_by_kind_and_asked_for_again(path: Path) -> None:
    class Moody(Scripted):
        def answer(self, ask: Ask) -> Outcome:
            good = super().answer(ask)
            k = int(ask.question_key[-1])
            if k < 2:
                return Outcome(ask=ask, completions=(), usage=Usage(), error=f"HTTP 500: trouble {k}")
            if k < 4:
                half = good.completions[:1]
                return Outcome(
                    ask=ask, completions=half, usage=Usage(unsaid=1), error="timeout", notes=("slow", "slow")
                )
            return good

    heard = Heard()
    report = run(path, Moody(), wants(10, 2), heard)
    assert report.failed == {"HTTP 500": 2, "timeout": 2} and report.notes == {"slow": 4}
    assert (report.asked, report.received, report.missing, report.requests_without_usage) == (20, 14, 6, 2)
    assert heard.said == ["failed: HTTP 500: trouble 0", "slow", "failed: timeout"]
    with Corpus.open(path) as corpus:
        requests = corpus.stats().requests
        assert (requests.ok, requests.failed, requests.unaccounted) == (8, 2, 0)
    again = Scripted()
    run(path, again, wants(10, 2))
    assert [ask.indices for ask in again.asked] == [(0, 1), (0, 1), (1,), (1,)]


def test_the_panel_tells_the_recent_rate_tokens_failures_and_the_teachers_own_words() -> None:
    now, heard = [100.0], Heard()
    tally = _Tally(clock=lambda: now[0])
    ask = Ask(question_key="t/1", prompt=Prompt(text="?"), sampling=SAMPLING, indices=(0,), seeds=(1,))
    chain = Completion(text="x", finish=Finish.STOP)
    good = Outcome(ask=ask, completions=(chain,), usage=Usage(completion_tokens=30), status="under way 3/8")
    tally.add(good, heard)
    assert heard.note == "30 tokens, under way 3/8"
    for _ in range(40):
        now[0] += 0.5
        tally.add(good, heard)
    assert heard.note == "now 2.0 chains/s, 1230 tokens, under way 3/8"
    for error in ("HTTP 500: a", "HTTP 500: b", "timeout"):
        tally.add(Outcome(ask=ask, completions=(), usage=Usage(), error=error, status="under way 1/2"), heard)
    assert heard.note.endswith("1230 tokens, 3 requests failed (HTTP 500 2, timeout 1), under way 1/2")
    for _ in range(80):
        now[0] += 0.125
        tally.add(good, heard)
    assert heard.note.startswith("now 5.0 chains/s"), "of the last 20 seconds: 10 at 2 a second, 10 at 8"
    assert "\n" not in heard.note


class TestWithAServer:
    @pytest.fixture
    def server(self) -> Iterator[Server]:
        with Server() as running:
            yield running

    def test_a_run_through_trouble(self, path: Path, server: Server) -> None:
        def respond(request: Request, number: int) -> Answer:
            good = capped(2, message=None)(request, number)
            trouble = {1: refusal("slow", status=429), 4: Answer(status=500), 7: Answer(body=good.body, cut=True)}
            return trouble.get(number, good)

        server.respond = respond
        report = run(path, OpenAITeacher(server.config(concurrency=3), FAST), wants(10, 5))
        assert report.received == 50 and report.missing == 0 and report.failed == {}
        assert len({chain.text for chain in stored(path)}) == 50

    def test_a_learned_cap_shortens_later_asks(self, path: Path, server: Server) -> None:
        server.respond = capped(2, message="n must be at most 2")
        run(path, OpenAITeacher(server.config(concurrency=1), FAST), wants(5, 4))
        with Corpus.open(path) as corpus:
            assert corpus.stats().requests.ok == 1 + 2 * 4  # the first was planned before the cap was known
        assert sum(request.body.get("n", 1) > 2 for request in server.requests) == 1

    def test_ctrl_c_loses_nothing_that_the_server_gave(self, path: Path, server: Server) -> None:
        def respond(request: Request, number: int) -> Answer:
            if number == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return Answer(body=ideal(request, number).body, seconds=0.05)

        server.respond = respond
        with pytest.raises(KeyboardInterrupt):
            run(path, OpenAITeacher(server.config(concurrency=4), FAST), wants(10, 2))
        assert 6 <= len(server.requests) < 10
        assert len(stored(path)) == 2 * len(server.requests)

    def test_an_error_of_the_teacher_is_shown_once(self, path: Path, server: Server) -> None:
        server.respond = lambda request, number: refusal("no", status=404) if number else ideal(request, number)
        heard = Heard()
        with pytest.raises(TeacherError, match="HTTP 404"):
            run(path, OpenAITeacher(server.config(), FAST), wants(10, 2), heard)
        assert heard.said == [] and len(stored(path)) == 2
        with Corpus.open(path) as corpus:
            requests = corpus.stats().requests
            assert (requests.ok, requests.failed, requests.unaccounted) == (1, 1, 0)

    def test_kill_9_and_again(self, path: Path, server: Server) -> None:
        """No committed chain is asked for twice, none is lost, and the journal bounds what the kill cost."""
        enough = threading.Event()

        def respond(request: Request, number: int) -> Answer:
            if number == 25:
                enough.set()
            return Answer(body=ideal(request, number).body, seconds=0.02)

        server.respond = respond
        with opened(path, questions=60):
            pass
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), server.url],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            stderr=subprocess.PIPE,
        ) as child:
            reached = enough.wait(30)
            child.kill()
            _, said = child.communicate()
        assert reached, said.decode()
        assert child.returncode == -signal.SIGKILL
        wait_until(lambda: server.under_way == 0)

        committed = stored(path)
        held = {(chain.question_key, chain.index): chain.text for chain in committed}
        assert 0 < len(committed) < 240 and len(committed) == len(held)
        before = len(server.requests)
        with opened(path, questions=60) as corpus:
            unaccounted = corpus.unaccounted()
            report = sample(corpus, OpenAITeacher(server.config(concurrency=4), FAST), wants(60, 4), progress=silent)
        assert report.already_there == len(committed) and report.missing == 0
        assert sum(request.body.get("n", 1) for request in server.requests[before:]) == 240 - len(committed)
        assert len(unaccounted) == report.unaccounted_before
        # every chain the server gave the first process is in the corpus or in a journaled request
        given = sum(request.body.get("n", 1) for request in server.requests[:before])
        assert given <= len(committed) + sum(len(intent.indices) for intent in unaccounted)
        after = {(chain.question_key, chain.index): chain.text for chain in stored(path)}
        assert len(after) == 240 and {key: after[key] for key in held} == held


CHILD = """
import sys
from pathlib import Path
from test_sampling import OpenAITeacher, Corpus, sample, silent, wants
from scotd.config import TeacherConfig

config = TeacherConfig(
    kind="openai", model="practice", base_url=sys.argv[2], api_key_env="SCOTD_TEST_KEY", concurrency=4
)
with Corpus.open(Path(sys.argv[1])) as corpus:
    sample(corpus, OpenAITeacher(config), wants(60, 4), progress=silent)
"""


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
