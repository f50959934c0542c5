"""Which questions a report shows, and everything that was written about each of them.

The choice depends on the run alone, never on chance: first where the trained students' answers differ, then where all
are wrong, then where all are right; the evaluated splits take turns, and within a split the order is that of
digest(key), which favours no kind of question.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as concatenate
from itertools import groupby, zip_longest

from scotd import answers
from scotd.config import Experiment
from scotd.corpus import Corpus
from scotd.report.data import Answer, Cell, Predictions, Why
from scotd.report.words import questions as counted
from scotd.types import Chain, Choice, Mark, Parsed, Question, SamplingParams, Target, digest

EVALUATED = 14  # with TRAINING: 20 questions at most
TRAINING = 6
POOL = 60  # training questions whose chains are read to pick from
CHAINS = 8  # shown of one way of drawing
VOTES = 5  # shown of one vote
CHARACTERS = 1500  # shown of one chain


@dataclass(frozen=True, kw_only=True)
class ShownChain:
    """A chain as shown: at most a set number of characters, `hidden` more exist."""

    label: str
    text: str
    hidden: int
    mark: Mark
    answer: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class StudentAnswer:
    """What one student answered to a shown question."""

    student: str
    target: Target
    decoding: str
    mark: Mark
    answer: str | None
    reason: str | None
    tally: dict[str, int]
    tied: bool
    chains: tuple[ShownChain, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class TeacherChains:
    """The teacher's chains for a shown question that were drawn in one way; the marks count all, shown or not."""

    teacher: str
    sampling: str
    marks: dict[Mark, int]
    chains: tuple[ShownChain, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One shown question with everything that was written about it; `why` is None where all questions are shown."""

    key: str
    split: str
    stem: str
    choices: tuple[Choice, ...]
    has_label_set: bool
    gold: str | None
    pair: str | None
    why: Why | None
    answers: tuple[StudentAnswer, ...]
    teacher: tuple[TeacherChains, ...]

    @property
    def teacher_marks(self) -> dict[Mark, int]:
        """How many of the teacher's chains, however drawn, are right, wrong, unparsed."""
        sums = {kind: sum(group.marks.get(kind, 0) for group in self.teacher) for kind in Mark}
        return {kind: n for kind, n in sums.items() if n}


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The shown questions and, in a sentence each, how they were chosen. `evaluated` may hold teacher's chains too."""

    evaluated: tuple[Example, ...]
    training: tuple[Example, ...]
    how: tuple[str, ...]


def choose(
    experiment: Experiment, predictions: Predictions, questions: Mapping[str, Question], corpus: Corpus | None
) -> Examples:
    """Pick the shown questions. Where the corpus has chains for none of them, add training questions with theirs.

    Of students that differ in their seed only, the first one's answers are shown.
    """
    first: dict[tuple[object, ...], Cell] = {}
    for cell in predictions:
        first.setdefault(cell.arm, cell)
    several = len(predictions) > len(first)
    predictions = {cell: predictions[cell] for cell in first.values()}
    picked = _evaluated(predictions, questions)
    chains = {} if corpus is None else _chains(corpus, [key for key, _ in picked])
    evaluated = tuple(example(questions[key], why, predictions, chains.get(key, [])) for key, why in picked)
    how = []
    if evaluated:
        how.append(
            f"Shown: {counted(len(evaluated))} of the evaluated splits, chosen by a fixed rule: first those where the "
            "trained students' answers differ, so this is not a picture of how often they are right; the splits take "
            "turns, and the order within a split is that of a hash of the question's name."
        )
        if several:
            how.append("Of students that differ in their seed only, the answers of the first are shown.")
    training: tuple[Example, ...] = ()
    if corpus is not None and not chains:
        if evaluated:
            how.append("The teacher wrote chains for none of these questions: it is asked about training questions.")
        training = _training(experiment, questions, corpus)
    if training:
        how.append(
            f"Shown too: {counted(len(training))} of training with the teacher's chains, by a fixed rule again: first "
            "those where some chains are right and others wrong."
        )
    return Examples(evaluated=evaluated, training=training, how=tuple(how))


def _evaluated(predictions: Predictions, questions: Mapping[str, Question]) -> list[tuple[str, Why]]:
    splits = []
    for split in dict.fromkeys(cell.split for cell in predictions):
        keys = {key for cell, rows in predictions.items() if cell.split == split for key in rows} & questions.keys()
        whys = {key: _why(_judges(predictions, split, key), questions[key]) for key in keys}
        splits.append(sorted(whys.items(), key=lambda item: (list(Why).index(item[1]), digest(item[0]))))
    turns = [item for item in concatenate.from_iterable(zip_longest(*splits)) if item is not None]
    return sorted(turns, key=lambda item: list(Why).index(item[1]))[:EVALUATED]


def _judges(predictions: Predictions, split: str, key: str) -> list[Answer]:
    """Return each trained student's answer in its first decoding; of all students where fewer than two are trained."""
    first: dict[str, tuple[Target, Answer]] = {}
    for cell, rows in predictions.items():
        if cell.split == split and key in rows:
            first.setdefault(cell.student, (cell.target, rows[key]))
    trained = [answer for target, answer in first.values() if target.trained]
    return trained if len(trained) >= 2 else [answer for _, answer in first.values()]


def _why(judged: Sequence[Answer], question: Question) -> Why:
    if len({answer.answer for answer in judged}) > 1:
        return Why.DISAGREE
    if question.gold is None:
        return Why.UNLABELLED
    return Why.ALL_RIGHT if judged[0].answer == question.gold else Why.ALL_WRONG


def _training(experiment: Experiment, questions: Mapping[str, Question], corpus: Corpus) -> tuple[Example, ...]:
    """Show training questions with the teacher's chains: mixed ones first, then all wrong, then all right."""
    wanted = (experiment.questions.task, experiment.questions.train)
    pool = sorted((key for key, question in questions.items() if (question.task, question.split) == wanted), key=digest)
    chains: dict[str, list[Chain]] = {}
    # A run may have drawn chains for a part of the questions only: read on in portions until the pool is full.
    for start in range(0, len(pool), POOL):
        chains |= _chains(corpus, pool[start : start + POOL])
        if len(chains) >= POOL:
            break
    found = [example(questions[key], Why.TRAINING, {}, chains[key]) for key in pool if key in chains]

    def rank(example: Example) -> tuple[bool, bool]:
        marks = example.teacher_marks
        return not (Mark.RIGHT in marks and Mark.WRONG in marks), Mark.RIGHT in marks

    return tuple(sorted(found, key=rank)[:TRAINING])


def _chains(corpus: Corpus, keys: Sequence[str]) -> dict[str, list[Chain]]:
    """Read the chains of some questions, by question; questions without chains are absent."""
    found: dict[str, list[Chain]] = {}
    if keys:
        for chain in corpus.chains(question_keys=list(keys)):
            found.setdefault(chain.question_key, []).append(chain)
    return found


def example(
    question: Question, why: Why | None, predictions: Predictions, chains: Iterable[Chain], *, votes: int = VOTES
) -> Example:
    """A question with what students and teacher wrote about it; of a vote the first `votes` chains."""
    return Example(
        key=question.key,
        split=question.split,
        stem=question.stem,
        choices=question.choices,
        has_label_set=question.has_label_set,
        gold=question.gold,
        pair=question.pair,
        why=why,
        answers=tuple(
            _student_answer(cell, rows[question.key], votes)
            for cell, rows in predictions.items()
            if cell.split == question.split and question.key in rows
        ),
        teacher=tuple(_teacher_chains(question, chains)),
    )


def _student_answer(cell: Cell, answer: Answer, votes: int) -> StudentAnswer:
    voted = len(answer.chains) > 1
    return StudentAnswer(
        student=cell.student,
        target=cell.target,
        decoding=cell.decoding,
        mark=answer.mark,
        answer=answer.answer,
        reason=answer.reason,
        tally=dict(sorted(answer.tally.items(), key=lambda item: (-item[1], item[0]))) if voted else {},
        tied=answer.tied,
        chains=tuple(
            _shown(f"vote {index}" if voted else "", chain.text, Mark.of(chain.answer, answer.gold), chain.answer, None)
            for index, chain in enumerate(answer.chains[:votes], start=1)
        ),
        hidden=max(0, len(answer.chains) - votes),
    )


def _teacher_chains(question: Question, chains: Iterable[Chain]) -> Iterable[TeacherChains]:
    """Group a question's chains by teacher, way of drawing and prompt, and parse each with the present parser."""

    def way(chain: Chain) -> tuple[str, str, str]:
        return chain.teacher, describe(chain.sampling), chain.prompt_id

    for (teacher, sampling, _), group in groupby(sorted(chains, key=lambda chain: (way(chain), chain.index)), key=way):
        drawn = list(group)
        parsed = [answers.parse(chain.text, question, chain.finish) for chain in drawn]
        marks = Counter(Mark.of(result.answer, question.gold) for result in parsed)
        yield TeacherChains(
            teacher=teacher,
            sampling=sampling,
            marks={kind: marks[kind] for kind in Mark if marks[kind]},
            chains=tuple(
                _of_teacher(chain, result, question) for chain, result in list(zip(drawn, parsed, strict=True))[:CHAINS]
            ),
            hidden=max(0, len(drawn) - CHAINS),
        )


def _of_teacher(chain: Chain, parsed: Parsed, question: Question) -> ShownChain:
    return _shown(
        f"chain {chain.index + 1}", chain.text, Mark.of(parsed.answer, question.gold), parsed.answer, parsed.reason
    )


def _shown(label: str, text: str, kind: Mark, answer: str | None, reason: str | None) -> ShownChain:
    text = text.strip()
    return ShownChain(
        label=label,
        text=text[:CHARACTERS],
        hidden=max(0, len(text) - CHARACTERS),
        mark=kind,
        answer=answer,
        reason=reason,
    )


def describe(sampling: SamplingParams) -> str:
    """Say in a few words how chains were drawn: "temperature 1, top-p 0.9, at most 128 tokens"."""
    words = ["greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"]
    if sampling.top_p < 1:
        words.append(f"top-p {sampling.top_p:g}")
    if sampling.top_k:
        words.append(f"top-k {sampling.top_k}")
    if sampling.min_p:
        words.append(f"min-p {sampling.min_p:g}")
    words.append(f"at most {sampling.max_tokens} tokens")
    return ", ".join(words)
