"""Somebody else's chains into a corpus: a released file, another tool's output.

    import_chains(
        corpus, [Path("responses.json.gz")], name="gpt3",
        columns=ImportColumns(question="question", rationale="predicted_rationale", answer="predicted_label",
                              gold="gold_label"),
        questions=load_questions(...), render=lambda q, z, y: target_text(q, z, y, templates),
    )

Each row is matched with a known question (`matching`), and gets the identity that a sampled chain has: teacher
"import:NAME", a prompt, sampling parameters, and as index the running number among the rows of its question. The file
is read twice: once to see whether every row fits, then, if so, to store it. Importing it again changes nothing.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain as concatenated
from pathlib import Path
from typing import Any, Literal

from scotd.corpus.matching import NoMatch, QuestionIndex, label_of, match
from scotd.corpus.records import Record, read_records
from scotd.corpus.store import Corpus
from scotd.corpus.values import ChainsAdded
from scotd.errors import DataError
from scotd.types import Chain, Finish, Prompt, Question, SamplingParams

Render = Callable[[Question, str, str], str]


@dataclass(frozen=True, kw_only=True)
class ImportColumns:
    """Which columns of the file hold what; "a.b" reaches into nested objects.

    A chain is a `text`, or a `rationale` and an `answer` (a label or a choice's text). Its question is known by `id`,
    by `question` (its text, with or without the choices) and `choices` (a list of texts, of objects with "text", or an
    object of texts by label), or, without either, by the order of the rows: see `import_chains`. `gold` is only
    compared; `prompt` is what the teacher was given.
    """

    question: str | None = None
    text: str | None = None
    rationale: str | None = None
    answer: str | None = None
    id: str | None = None
    choices: str | None = None
    gold: str | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.rationale is None) or (self.rationale is None) != (self.answer is None):
            raise DataError("import columns: name either `text`, or `rationale` and `answer`.")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A row that could not be used: which one, why, and the value at fault."""

    path: Path
    row: int
    reason: str
    value: str

    def __str__(self) -> str:
        return f"{self.path}, row {self.row} ('{self.value}'): {self.reason}"


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What became of every row: rows = added.new + added.same + added.duplicate + len(problems).

    `cut` texts were ended at a stop string; `unknown_answers` gave an answer that is none of the choices and stand in
    the corpus as rationale plus that answer, untouched by the template; `gold_differs` rows give another gold label
    than the known question, whose own stands.
    """

    teacher: str
    rows: int
    questions: int
    added: ChainsAdded
    problems: tuple[Problem, ...]
    cut: int
    unknown_answers: int
    gold_differs: int


def import_chains(
    corpus: Corpus,
    paths: Sequence[Path],
    *,
    name: str,
    columns: ImportColumns,
    questions: Sequence[Question],
    render: Render | None = None,
    sampling: SamplingParams | None = None,
    prompt: Prompt | None = None,
    ids: Sequence[str] | None = None,
    unmatched: Literal["refuse", "skip"] = "refuse",
) -> ImportReport:
    """Store the chains of some files, read one after the other, under the teacher "import:NAME".

    `questions` are the known ones; those that have chains are added to the corpus. `ids` gives the question of each
    row by order, over all files. `render(question, rationale, label)` writes the text of a rationale and its answer.
    Texts are cut at the first of `sampling.stop`. `prompt` stands for all rows where there is no column of them.

    Raises DataError, before anything is stored, where a row matches no question or lacks a value (`unmatched` "skip"
    leaves such rows out and reports them), where a column is not there, or where rows and `ids` differ in number.
    """
    if columns.rationale is not None and render is None:
        raise DataError("import: rationale and answer need a template to become a text.")
    if (ids is None) == (columns.question is None and columns.id is None):
        raise DataError(
            "import columns: say how a row's question is known: by `id`, by `question`, or by a list of ids."
        )
    reading = _Reading(
        paths=tuple(paths),
        columns=columns,
        index=QuestionIndex.of(questions),
        render=render,
        teacher=f"import:{name}",
        sampling=sampling or SamplingParams(),
        prompt=prompt or Prompt(text=f"imported from {name}"),
        ids=ids,
    )
    found: dict[str, Question] = {}
    prompts: dict[str, Prompt] = {}
    tally: Counter[str] = Counter()
    problems = []
    for row in reading.rows():
        tally["rows"] += 1
        if isinstance(row, Problem):
            problems.append(row)
            continue
        found[row.question.key] = row.question
        prompts[row.chain.prompt_id] = row.prompt
        tally.update(row.marks)
    if ids is not None and len(ids) != tally["rows"]:
        raise DataError(f"import: {tally['rows']} rows, but {len(ids)} question ids: they are joined by order.")
    if problems and unmatched == "refuse":
        raise DataError(
            f"{len(problems)} of {tally['rows']} rows cannot be used, the first: {problems[0]}. "
            "Nothing was imported. Mend the file or the columns, or have such rows skipped."
        )
    corpus.add_questions(found.values(), changes="keep")
    corpus.add_prompts(prompts.values())
    added = corpus.add_chains(row.chain for row in reading.rows() if not isinstance(row, Problem))
    counts = {"rows": tally["rows"], "questions": len(found), "problems": len(problems)}
    corpus.record_run(reading.teacher, {**reading.lineage(), **counts})
    return ImportReport(
        teacher=reading.teacher,
        rows=tally["rows"],
        questions=len(found),
        added=added,
        problems=tuple(problems),
        cut=tally["cut"],
        unknown_answers=tally["unknown answer"],
        gold_differs=tally["gold differs"],
    )


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row that fits."""

    question: Question
    prompt: Prompt
    chain: Chain
    marks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """How files are read; may be read as often as need be, with the same result."""

    paths: tuple[Path, ...]
    columns: ImportColumns
    index: QuestionIndex
    render: Render | None
    teacher: str
    sampling: SamplingParams
    prompt: Prompt
    ids: Sequence[str] | None

    def rows(self) -> Iterator[_Row | Problem]:
        numbers: Counter[str] = Counter()
        matched: dict[tuple[object, ...], Question | NoMatch] = {}  # the rows of a question tend to repeat its text
        records = concatenated.from_iterable(read_records(path) for path in self.paths)
        for position, record in enumerate(records):
            named = self._name(record, position)
            if isinstance(named, Problem):
                yield named
                continue
            if named not in matched:
                identity, text, choices = named
                matched[named] = match(self.index, id=identity, text=text, choices=choices)
            question = matched[named]
            if isinstance(question, NoMatch):
                yield _problem(record, question.value, named[0] if named[1] is None else named[1])
                continue
            row = self._row(record, question, numbers[question.key])
            if isinstance(row, _Row):
                numbers[question.key] += 1
            yield row

    def lineage(self) -> dict[str, object]:
        """What the chains came from, in JSON values."""
        return {
            "files": [{"name": path.name, "sha256": _sha256(path)} for path in self.paths],
            "columns": asdict(self.columns),
            "sampling": self.sampling.to_json(),
            "joined_by_order": self.ids is not None,
        }

    def _name(self, record: Record, position: int) -> tuple[str | None, str | None, tuple[str, ...] | None] | Problem:
        """Id, text and choices by which a row says what it answers."""
        columns = self.columns
        identity: Any = None
        if self.ids is not None:
            if position >= len(self.ids):
                return _problem(record, "there are fewer question ids than rows", str(position + 1))
            identity = self.ids[position]
        elif columns.id is not None:
            identity = record.get(columns.id)
        text = None if columns.question is None else record.get(columns.question)
        if columns.question is not None and not isinstance(text, str):
            return _problem(record, "its question is not a text", text)
        if isinstance(identity, int):
            identity = str(identity)
        if identity is not None and not isinstance(identity, str):
            return _problem(record, "its id is not a text", identity)
        if identity is None and text is None:
            return _problem(record, "it has no id", identity)
        choices = None if columns.choices is None else _choice_texts(record.get(columns.choices))
        if columns.choices is not None and choices is None:
            return _problem(record, "its choices are not a list", record.get(columns.choices))
        return identity, text, choices

    def _row(self, record: Record, question: Question, number: int) -> _Row | Problem:
        columns = self.columns
        marks = []
        column = columns.rationale if columns.text is None else columns.text
        assert column is not None
        text = record.get(column)
        if not isinstance(text, str):
            return _problem(record, f"its {column} is not a text", text)
        finish = Finish.UNKNOWN
        ends = [at for at in (text.find(stop) for stop in self.sampling.stop if stop) if at >= 0]
        if ends:  # the teacher had gone on to another question: this chain had come to its end
            text, finish = text[: min(ends)], Finish.STOP
            marks.append("cut")
        if columns.answer is not None:
            assert self.render is not None
            answer = record.get(columns.answer)
            label = label_of(question, answer)
            if label is None:
                text = f"{text} {'' if answer is None else answer}".strip()
                marks.append("unknown answer")
            else:
                text = self.render(question, text.strip(), label)
        if columns.gold is not None and label_of(question, record.get(columns.gold)) != question.gold:
            marks.append("gold differs")
        prompt = self.prompt
        if columns.prompt is not None:
            given = record.get(columns.prompt)
            if not isinstance(given, str):
                return _problem(record, "its prompt is not a text", given)
            prompt = Prompt(text=given)
        chain = Chain(
            question_key=question.key,
            prompt_id=prompt.id,
            teacher=self.teacher,
            sampling=self.sampling,
            index=number,
            text=text,
            finish=finish,
        )
        return _Row(question=question, prompt=prompt, chain=chain, marks=tuple(marks))


def _choice_texts(value: Any) -> tuple[str, ...] | None:
    """Texts of choices, however they are held; None where they are not."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return None
    if isinstance(value, dict):
        # {"label": [...], "text": [...]}, as the hub's datasets have it, or {"A": "...", "B": "..."}
        value = value["text"] if isinstance(value.get("text"), list) else list(value.values())
    if not isinstance(value, list):
        return None
    texts = [member.get("text") if isinstance(member, dict) else member for member in value]
    strings = tuple(text for text in texts if isinstance(text, str))
    return strings if len(strings) == len(texts) else None


def _problem(record: Record, reason: str, value: object) -> Problem:
    shown = str(value)
    return Problem(
        path=record.path,
        row=record.number,
        reason=reason,
        value=shown if len(shown) <= 80 else f"{shown[:77]}...",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
