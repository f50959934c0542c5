"""One question with everything that was written about it: chains by answer, students' answers, raters' votes."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scotd.browse.library import Library
from scotd.browse.marking import Piece, marked
from scotd.corpus.columns import KEPT, NONE, Columns, Detail
from scotd.judge.study import Sample, Side
from scotd.report.examples import StudentAnswer, describe, example
from scotd.types import Mark, NoAnswer, Question

SHOWN = 40  # chains of one answer, before the reader asks for all


@dataclass(frozen=True, kw_only=True)
class ChainFacts:
    """What is said of a chain in one line. `fates`: each selection that saw it, and None or why it was dropped."""

    row: int
    number: int
    question: Question
    mark: Mark
    answer: str | None
    reason: str | None
    teacher: str
    tokens: int | None
    logprob: float | None
    fates: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class ShownChain:
    """A chain in full, cut where it differs from the first of its group."""

    facts: ChainFacts
    detail: Detail
    sampling: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The chains that give one answer, or none for one reason; `n` of them, of which the first are shown."""

    answer: str | None
    mark: Mark
    n: int
    chains: tuple[ShownChain, ...]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How people voted on a pair of chains about the question, repeats aside."""

    a: str
    b: str
    texts: tuple[str, str]
    samples: tuple[Sample, ...]
    votes: dict[Side | None, int]


@dataclass(frozen=True, kw_only=True)
class QuestionPage:
    """Everything on the page of a question."""

    question: Question
    previous: str | None
    following: str | None
    groups: tuple[Group, ...]
    answers: tuple[tuple[str, StudentAnswer], ...]
    judged: tuple[Judged, ...]


def chain_facts(columns: Columns, row: int) -> ChainFacts:
    """The facts of one row."""
    tokens, logprob = int(columns.tokens[row]), float(columns.logprob[row])
    answer, reason = int(columns.answer[row]), int(columns.reason[row])
    fates = []
    for selection in columns.selections:
        code = int(selection.row[row])
        if code != NONE:
            fates.append((selection.title, None if code == KEPT else selection.reasons[code - 1]))
    return ChainFacts(
        row=row,
        number=int(columns.number[row]),
        question=columns.questions[int(columns.question[row])],
        mark=list(Mark)[columns.mark[row]],
        answer=None if answer == NONE else columns.labels[answer],
        reason=None if reason == NONE else list(NoAnswer)[reason].value,
        teacher=columns.teachers[int(columns.teacher[row])],
        tokens=None if tokens == NONE else tokens,
        logprob=None if np.isnan(logprob) else logprob,
        fates=tuple(fates),
    )


def question_page(library: Library, key: str, *, all_chains: bool = False) -> QuestionPage | None:
    """The page of a question by its key; None where the corpus has no such question."""
    columns = library.columns
    place = bisect_left(columns.questions, key, key=lambda one: one.key)
    if place == len(columns.questions) or columns.questions[place].key != key:
        return None
    question = columns.questions[place]
    start, end = (int(np.searchsorted(columns.question, place, side=side)) for side in ("left", "right"))
    return QuestionPage(
        question=question,
        previous=columns.questions[place - 1].key if place else None,
        following=columns.questions[place + 1].key if place + 1 < len(columns.questions) else None,
        groups=tuple(_groups(columns, question, range(start, end), None if all_chains else SHOWN)),
        answers=tuple(
            (run.part.name if len(library.runs) > 1 else "", answer)
            for run in library.runs
            for answer in example(question, None, run.predictions, ()).answers
        ),
        judged=tuple(_judged(library, key)),
    )


def _groups(columns: Columns, question: Question, rows: Sequence[int], most: int | None) -> list[Group]:
    by_answer: dict[str | None, list[ChainFacts]] = {}
    for row in rows:
        facts = chain_facts(columns, row)
        by_answer.setdefault(facts.answer, []).append(facts)

    def rank(answer: str | None) -> tuple[bool, bool, int]:
        return answer is None, answer != question.gold, -len(by_answer[answer])

    found = []
    for answer in sorted(by_answer, key=rank):
        shown = by_answer[answer][:most]
        details = columns.details([facts.row for facts in shown])
        first = details[0].text.strip()
        found.append(
            Group(
                answer=answer,
                mark=by_answer[answer][0].mark,
                n=len(by_answer[answer]),
                chains=tuple(
                    ShownChain(
                        facts=facts,
                        detail=detail,
                        sampling=describe(detail.sampling),
                        pieces=marked(detail.text.strip(), first),
                    )
                    for facts, detail in zip(shown, details, strict=True)
                ),
            )
        )
    return found


def _judged(library: Library, key: str) -> list[Judged]:
    study = library.study
    if study is None:
        return []
    found = []
    for item in study.items.values():
        if item.pair.question.key == key:
            votes = [vote for vote in study.votes() if vote.shown.item == item.number and not vote.shown.repeat]
            found.append(
                Judged(
                    a=study.settings.a,
                    b=study.settings.b,
                    texts=(item.pair.a, item.pair.b),
                    samples=item.samples,
                    votes=dict(Counter(vote.side for vote in votes)),
                )
            )
    return found
