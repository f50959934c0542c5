"""Where the two sides of a study come from: each source gives one text a question.

runs/mine:scotd                  a student's answers, greedy
runs/mine:scotd:vote             decoded otherwise: the first of its chains that says what the vote said
chains.sqlite                    the teacher's chains: the greedy one where there is one, else one drawn by a hash
chains.sqlite:openai:gpt-4o      of this teacher
chains.sqlite@mine/scotd/correct what a selection kept, one drawn by a hash: two filters can be compared

pairs, left_out = pair(read("runs/mine:scotd", "test", 0), read("runs/mine:undistilled", "test", 0))
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scotd.answers import parse
from scotd.corpus import Corpus
from scotd.errors import ConfigError, DataError, did_you_mean
from scotd.judge.study import Pair
from scotd.report.data import GREEDY, Answer, Cell
from scotd.report.load import Run, load
from scotd.report.read import taken_apart
from scotd.types import Chain, Finish, Mark, Question, digest


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a source wrote about one question; `right` is None where the question has no gold label."""

    question: Question
    text: str
    right: bool | None


def read(named: str, split: str, seed: int) -> dict[str, Text]:
    """One text a question of a split, by question key. Raises a ScotdError that names the source and the remedy."""
    path, kind, rest = _taken_apart(named)
    if path.is_dir():
        if kind != ":" or not rest:
            known = ", ".join(f"{path}:{name}" for name in sorted({cell.student for cell in load(path).cells}))
            raise ConfigError(f"{named}: a run holds several students, name one: {known}.")
        found = dict(_of_student(load(path), named, *rest.partition(":")[::2], split=split))
    else:
        with Corpus.open(path, "ro") as corpus:
            found = dict(_of_corpus(corpus, named, (kind, rest), split, seed))
    if not found:
        raise DataError(f"{named}: has nothing on a question of the split '{split}'; choose another with --split.")
    return found


def pair(
    a: Mapping[str, Text], b: Mapping[str, Text], shown: Callable[[Question, str], str] = lambda _, text: text.strip()
) -> tuple[list[Pair], dict[str, int]]:
    """Pair what two sources wrote, as `shown`; returns the pairs and, by reason, the questions that have none."""
    left_out: Counter[str] = Counter()
    pairs = []
    for key in sorted(a.keys() | b.keys()):
        if key not in a or key not in b:
            left_out["only one source wrote about it"] += 1
            continue
        one, other = a[key], b[key]
        if (one.question.stem, one.question.choices) != (other.question.stem, other.question.choices):
            left_out["the two sources were asked in other words"] += 1
            continue
        texts = shown(one.question, one.text), shown(one.question, other.text)
        if texts[0] == texts[1]:
            left_out["both wrote the same"] += 1
            continue
        pairs.append(Pair(question=one.question, a=texts[0], b=texts[1], right_a=one.right, right_b=other.right))
    return pairs, dict(left_out)


def rationale(question: Question, text: str) -> str:
    """A text without its answer statement."""
    return parse(text, question, Finish.UNKNOWN).rationale.strip()


def _taken_apart(named: str) -> tuple[Path, str, str]:
    """Path, then ":" or "@" or nothing, then the rest."""
    found = taken_apart(named, ":@")
    if found is None:
        raise ConfigError(
            f"{named}: no such run folder or corpus. A source is RUN_FOLDER:STUDENT, CORPUS.sqlite, "
            "CORPUS.sqlite:TEACHER or CORPUS.sqlite@RUN/SELECTION."
        )
    return found


def _of_student(run: Run, named: str, student: str, decoding: str, *, split: str) -> Iterator[tuple[str, Text]]:
    wanted = decoding or GREEDY
    cells = {(cell.student, cell.split, cell.decoding): cell for cell in run.predictions}
    students = {cell.student for cell in run.predictions}
    if student not in students:
        raise ConfigError(f"{named}: the run has no answers of a student '{student}'.{did_you_mean(student, students)}")
    cell = cells.get((student, split, wanted))
    if cell is None:
        known = sorted(f"{key[2]} on {key[1]}" for key in cells if key[0] == student)
        raise ConfigError(f"{named}: '{student}' has no answers '{wanted}' on '{split}'. It has: {', '.join(known)}.")
    if not run.questions:
        raise ConfigError(f"{named}: the questions behind its answers cannot be read. {' '.join(run.part.notes)}")
    return _texts(run, cell)


def _texts(run: Run, cell: Cell) -> Iterator[tuple[str, Text]]:
    for key, answer in run.predictions[cell].items():
        if key in run.questions and answer.chains:
            right = None if answer.mark is Mark.OPEN or answer.gold is None else answer.mark is Mark.RIGHT
            yield key, Text(question=run.questions[key], text=_voted(answer), right=right)


def _voted(answer: Answer) -> str:
    return next((chain.text for chain in answer.chains if chain.answer == answer.answer), answer.chains[0].text)


def _of_corpus(corpus: Corpus, named: str, part: tuple[str, str], split: str, seed: int) -> Iterator[tuple[str, Text]]:
    kind, rest = part
    questions = {question.key: question for question in corpus.questions(split=split)}
    chains: Iterable[Chain]
    if kind == "@":
        known = {f"{run}/{name}": (run, name) for run, name in corpus.selections()}
        if rest not in known:
            raise ConfigError(f"{named}: holds no selection '{rest}'.{did_you_mean(rest, known)}")
        chains = (chain for chain in corpus.selected(*known[rest]) if chain.question_key in questions)
    else:
        teachers = {count.teacher for count in corpus.stats().chains}
        if rest and rest not in teachers:
            raise ConfigError(f"{named}: holds no chain of the teacher '{rest}'.{did_you_mean(rest, teachers)}")
        if not rest and len(teachers) > 1:
            raise ConfigError(f"{named}: holds chains of several teachers, name one after ':': {', '.join(teachers)}.")
        chains = corpus.chains(teacher=rest or None, split=split)
    best: dict[str, tuple[tuple[bool, str], Chain]] = {}
    for chain in chains:
        rank = (chain.sampling.temperature > 0, digest([seed, chain.id]))
        if chain.question_key not in best or rank < best[chain.question_key][0]:
            best[chain.question_key] = rank, chain
    for key, (_, chain) in best.items():
        question = questions[key]
        answer = parse(chain.text, question, chain.finish).answer
        yield (
            key,
            Text(question=question, text=chain.text, right=None if question.gold is None else answer == question.gold),
        )
