"""The sampling loop: what is missing is asked for, journaled before it is sent, and stored when it comes.

    wants = [Want(question_key=question.key, prompt=prompt, sampling=sampling, n=30) for ...]
    with Corpus.open(path) as corpus:
        corpus.add_questions(questions)
        report = sample(corpus, teacher, wants, seed=0)

What is safe under which end:
- `kill -9`, power: what was committed stays (50 ms of answers may be lost); the requests under way are in the journal
  and shown by the next run as unaccounted.
- Ctrl-C: nothing more is sent, the answers under way are waited for and stored. A second Ctrl-C stops at once. Of a
  teacher that is told to leave them (`leave`), what is under way is not waited for: it cost time and no money.
- An error of the teacher: what had arrived is stored, what was journaled and not sent is recorded as not sent.
In each case the same call again asks for the missing chains only; with a greater `n` it is a top-up.
"""

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType

from scotd import corpus as store
from scotd.progress import Progress, Tracker, track
from scotd.teachers import FATAL, Ask, Outcome, Teacher
from scotd.teachers.budget import Budget
from scotd.types import Chain, Prompt, SamplingParams, chain_id, digest

NOT_SENT = "not sent: the run ended before"
LEFT = "left: the run was stopped"
RECENT_SECONDS = 20.0  # over which the rate is told
STDERR = 2
WAITING = b"\nStopping: waiting for the answers under way. Ctrl-C again to leave them.\n"
LEAVING = b"\nStopping: what came is kept, what is under way is left.\n"


@dataclass(frozen=True, kw_only=True)
class Want:
    """A question that should have the chains 0..n-1 of a prompt and a way of drawing."""

    question_key: str
    prompt: Prompt
    sampling: SamplingParams
    n: int

    def __post_init__(self) -> None:
        assert self.n >= 1, self


@dataclass(frozen=True, kw_only=True)
class SampleReport:
    """What a run of the loop did. All counts are of chains unless they say otherwise.

    wanted = already_there + asked, and asked = received + missing; `sent` is less than asked where the run was
    interrupted. `failed` counts requests by kind of error, `notes`
    the teacher's remarks. Tokens are as the server counted them; `requests_without_usage` answers did not say.
    `unaccounted_before` counts this teacher's requests whose outcome an earlier run never learnt: they may have cost.
    """

    wanted: int
    already_there: int
    asked: int
    sent: int
    received: int
    requests: int
    failed: dict[str, int]
    notes: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    requests_without_usage: int
    unaccounted_before: int
    seconds: float

    @property
    def missing(self) -> int:
        """Chains asked for that did not come: the next run asks for them again."""
        return self.asked - self.received


def sample(
    corpus: store.Corpus,
    teacher: Teacher,
    wants: Iterable[Want],
    *,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Tracker = track,
    ended: Callable[[SampleReport], None] | None = None,
    leave: threading.Event | None = None,
) -> SampleReport:
    """Ask the teacher for every chain of the wants that the corpus lacks, and store what comes.

    The questions are in the corpus already; prompts are added here. A question may be wanted once for each prompt and
    sampling. With a `budget` nothing is sent that could cross it. Raises TeacherError where the teacher is beyond use,
    KeyboardInterrupt after Ctrl-C; by then everything that came is committed, and `ended` was given the report of what
    was done all the same. `leave` is set at Ctrl-C, for a teacher that then leaves what is under way; nobody is billed
    for it.
    """
    started = time.monotonic()
    wants = list(wants)
    unaccounted = [intent for intent in corpus.unaccounted() if intent.teacher == teacher.name]
    corpus.add_prompts(want.prompt for want in wants)
    absent = lacking(corpus, teacher.name, wants)
    asked = sum(len(indices) for _, indices in absent)
    tally = _Tally()
    journal = _Journal(corpus=corpus, teacher=teacher, lacking=absent, seed=seed, budget=budget, leave=leave)
    doing = WAITING if leave is None else LEAVING
    with progress(f"sampling from {teacher.name}", asked) as bar, _stopped_by_ctrl_c(journal.stopping, doing):
        if unaccounted:
            chains = sum(len(intent.indices) for intent in unaccounted)
            bar.say(
                f"{len(unaccounted)} requests of earlier runs ended unrecorded: up to {chains} chains may be billed"
            )
        outcomes = teacher.complete(journal.asks()) if absent else iter(())
        try:
            for outcome in outcomes:
                _store(corpus, teacher.name, journal.settle(outcome), outcome)
                tally.add(outcome, bar)
            if budget is not None and journal.unaffordable:
                bar.say(f"{budget.said()}: another request might cross it. What was bought is kept.")
        finally:
            if isinstance(outcomes, Generator):
                outcomes.close()  # whatever it has under way ends here, not when it is collected
            journal.close()
            corpus.flush()
            report = SampleReport(
                wanted=sum(want.n for want in wants),
                already_there=sum(want.n for want in wants) - asked,
                asked=asked,
                sent=journal.handed_out,
                received=tally.received,
                requests=tally.requests,
                failed=dict(tally.failed),
                notes=dict(tally.notes),
                prompt_tokens=tally.prompt_tokens,
                completion_tokens=tally.completion_tokens,
                requests_without_usage=tally.requests_without_usage,
                unaccounted_before=len(unaccounted),
                seconds=time.monotonic() - started,
            )
            if ended is not None:
                ended(report)
    if journal.stopping.is_set():
        raise KeyboardInterrupt
    return report


def lacking(corpus: store.Corpus, teacher: str, wants: Sequence[Want]) -> list[tuple[Want, tuple[int, ...]]]:
    """Wants with the sample indices that the corpus lacks, in the order given; complete ones are left out."""
    slots = [
        store.Want(question_key=want.question_key, prompt_id=want.prompt.id, teacher=teacher, sampling=want.sampling)
        for want in wants
    ]
    assert len(set(slots)) == len(slots), "a question is wanted twice with the same prompt and sampling"
    missing: dict[store.Want, tuple[int, ...]] = {}
    for n in {want.n for want in wants}:
        missing.update(corpus.missing([slot for slot, want in zip(slots, wants, strict=True) if want.n == n], n))
    return [(want, missing[slot]) for slot, want in zip(slots, wants, strict=True) if slot in missing]


@dataclass(kw_only=True)
class _Journal:
    """Hands asks to the teacher, each one journaled before; knows which were sent and have no outcome yet."""

    corpus: store.Corpus
    teacher: Teacher
    lacking: Sequence[tuple[Want, tuple[int, ...]]]
    seed: int
    budget: Budget | None = None
    leave: threading.Event | None = None

    def __post_init__(self) -> None:
        self.stopping = threading.Event() if self.leave is None else self.leave
        self._begun: dict[Ask, int] = {}  # journaled, not handed out
        self._sent: dict[Ask, int] = {}  # handed out, no outcome
        self.handed_out = 0  # chains
        self.unaffordable = False

    def asks(self) -> Iterator[Ask]:
        """Asks in order, journaled `teacher.batch` at a time; ends early when stopping."""
        plan = self._plan()
        while not self.stopping.is_set() and (group := list(islice(plan, max(1, self.teacher.batch)))):
            self._begun = dict(zip(group, self.corpus.begin_requests(list(map(self._intent, group))), strict=True))
            for ask in group:
                if self.stopping.is_set():
                    return
                if self.budget is not None and not self.budget.take(ask):
                    self.unaffordable = True
                    return
                self._sent[ask] = self._begun.pop(ask)
                self.handed_out += len(ask.indices)
                yield ask

    def settle(self, outcome: Outcome) -> int:
        """Number of the request whose outcome has come; each ask has one outcome."""
        if self.budget is not None:
            self.budget.settle(outcome.ask, outcome.usage)
        return self._sent.pop(outcome.ask)

    def close(self) -> None:
        """Record what was journaled and never sent. What was sent without an outcome stays open: it may be billed.
        What a teacher was told to leave is recorded as left."""
        for request in self._begun.values():
            self.corpus.fail_request(request, NOT_SENT)
        self._begun = {}
        if self.leave is not None and self.leave.is_set():
            for request in self._sent.values():
                self.corpus.fail_request(request, LEFT)
            self._sent = {}

    def _plan(self) -> Iterator[Ask]:
        """Asks of at most `teacher.max_n` indices; read anew for each, as a cap may be learned on the way."""
        for want, indices in self.lacking:
            prompt_id, start = want.prompt.id, 0
            while start < len(indices):
                cap = self.teacher.max_n
                part = indices[start:] if cap is None else indices[start : start + cap]
                start += len(part)
                ids = [
                    chain_id(want.question_key, prompt_id, self.teacher.name, want.sampling, index) for index in part
                ]
                yield Ask(
                    question_key=want.question_key,
                    prompt=want.prompt,
                    sampling=want.sampling,
                    indices=part,
                    seeds=tuple(int(digest([self.seed, chain])[:15], 16) for chain in ids),
                )

    def _intent(self, ask: Ask) -> store.RequestIntent:
        return store.RequestIntent(
            question_key=ask.question_key,
            prompt_id=ask.prompt.id,
            teacher=self.teacher.name,
            sampling=ask.sampling,
            indices=ask.indices,
        )


def _store(corpus: store.Corpus, teacher: str, request: int, outcome: Outcome) -> None:
    """Queue an outcome: chains and bill together, or the failure of a request that brought nothing."""
    ask = outcome.ask
    for cap in outcome.caps:
        corpus.learn_cap(cap)
    if outcome.error is not None and not outcome.completions:
        corpus.fail_request(request, outcome.error, outcome.usage)
        return
    prompt_id = ask.prompt.id
    chains = [
        Chain(
            question_key=ask.question_key,
            prompt_id=prompt_id,
            teacher=teacher,
            sampling=ask.sampling,
            index=index,
            text=completion.text,
            finish=completion.finish,
            n_tokens=completion.n_tokens,
            mean_logprob=completion.mean_logprob,
        )
        for index, completion in zip(ask.indices, outcome.completions, strict=False)  # fewer may have come
    ]
    corpus.finish_request(request, chains, outcome.usage)


@dataclass(kw_only=True)
class _Tally:
    """Running counts, and what is told on the way: each kind of failure and each remark once."""

    received: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests_without_usage: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._marks = deque([(self.clock(), 0)])  # time and chains received, once a second

    def add(self, outcome: Outcome, bar: Progress) -> None:
        self.requests += 1
        self.received += len(outcome.completions)
        usage = outcome.usage
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.requests_without_usage += usage.unsaid
        for note in outcome.notes:
            if note not in self.notes:
                bar.say(note)
            self.notes[note] += 1
        if outcome.error is not None:
            kind = outcome.error.partition(":")[0]
            if kind not in self.failed and kind != FATAL:  # that one is raised, and shown then
                bar.say(f"failed: {outcome.error}")
            self.failed[kind] += 1
        bar.advance(len(outcome.completions), self._panel(outcome.status))

    def _panel(self, status: str) -> str:
        """What goes on, in one line: recent chains a second, tokens, failures by kind, and the teacher's own words."""
        tokens = f"{self.completion_tokens} tokens" if self.completion_tokens else ""
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.failed.most_common())
        failed = f"{self.failed.total()} requests failed ({kinds})" if kinds else ""
        return ", ".join(filter(None, [self._rate(), tokens, failed, status]))

    def _rate(self) -> str:
        now = self.clock()
        if now - self._marks[-1][0] >= 1:
            self._marks.append((now, self.received))
        while len(self._marks) > 2 and now - self._marks[1][0] >= RECENT_SECONDS:
            self._marks.popleft()
        since, before = self._marks[0]
        return f"now {(self.received - before) / (now - since):.1f} chains/s" if now - since >= 1 else ""


@contextmanager
def _stopped_by_ctrl_c(stopping: threading.Event, doing: bytes) -> Iterator[None]:
    """Let the first Ctrl-C set `stopping`, the second raise KeyboardInterrupt. Left alone where it is not ours to do:
    outside the main thread, or where somebody else handles the signal."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def first(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(STDERR, doing)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
