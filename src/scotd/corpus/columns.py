"""A corpus as columns in memory, without its texts: what a filter over a million chains looks at.

    columns = read_columns(path)
    wrong = np.flatnonzero(columns.mark == MARKS[Mark.WRONG])
    columns.texts([17, 4])         # the texts of two rows, in this order

It is the corpus at one moment: chains that come later are not in it. Some 40 bytes a chain, and 4 a selection.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scotd import answers
from scotd.corpus.results import read_selections
from scotd.corpus.rows import QUESTION_COLUMNS, question_of
from scotd.corpus.schema import connect_reader
from scotd.errors import CorpusError
from scotd.progress import Tracker, silent
from scotd.types import Finish, Mark, NoAnswer, Question, SamplingParams

AT_ONCE = 50_000
NONE = -1  # no answer, no reason, not counted, not part of a selection
MARKS = {mark: place for place, mark in enumerate(Mark)}
KEPT = 0  # in a selection's column; reasons for being dropped count from 1


@dataclass(frozen=True, kw_only=True)
class Fates:
    """What a selection made of each row: NONE, KEPT, or 1 + the place of its reason in `reasons`."""

    run: str
    name: str
    reasons: tuple[str, ...]
    row: NDArray[np.int16]

    @property
    def title(self) -> str:
        """ "RUN/NAME", as it is asked for."""
        return f"{self.run}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One chain as the store has it."""

    index: int
    sampling: SamplingParams
    prompt_id: str
    finish: Finish
    text: str


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One row a chain, by question key and then by index; all arrays are [chains]."""

    path: Path
    questions: tuple[Question, ...]
    teachers: tuple[str, ...]
    labels: tuple[str, ...]
    number: NDArray[np.int64]
    question: NDArray[np.int32]  # place in `questions`
    teacher: NDArray[np.int16]
    answer: NDArray[np.int32]  # place in `labels`, or NONE
    reason: NDArray[np.int8]  # place in NoAnswer, or NONE
    mark: NDArray[np.int8]  # place in Mark
    tokens: NDArray[np.int32]  # NONE where not counted
    characters: NDArray[np.int32]
    logprob: NDArray[np.float32]  # nan where not known
    selections: tuple[Fates, ...]
    _connection: sqlite3.Connection = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.number)

    def texts(self, rows: Iterable[int]) -> list[str]:
        """The texts of some rows, in their order."""
        numbers = [int(self.number[row]) for row in rows]
        sql = "SELECT c.id, c.text FROM json_each(?) w JOIN chains c ON c.id = w.value"
        with self._lock:
            found = dict(self._connection.execute(sql, (json.dumps(numbers),)))
        return [found[number] for number in numbers]

    def details(self, rows: Iterable[int]) -> list[Detail]:
        """What else the corpus holds of some rows, in their order."""
        numbers = [int(self.number[row]) for row in rows]
        with self._lock:
            found = {row[0]: row[1:] for row in self._connection.execute(_DETAILS, (json.dumps(numbers),))}
        return [
            Detail(
                index=index,
                sampling=SamplingParams.from_json(json.loads(sampling)),
                prompt_id=prompt,
                finish=Finish(finish),
                text=text,
            )
            for index, sampling, prompt, finish, text in (found[number] for number in numbers)
        ]

    def close(self) -> None:
        self._connection.close()


_FACTS = """
SELECT c.id, c.question, c.idx, c.teacher, c.finish, c.n_tokens, c.mean_logprob, length(c.text), a.answer, a.reason,
    CASE WHEN a.parser = ? THEN NULL ELSE c.text END
FROM chains c LEFT JOIN parses a ON a.chain = c.id ORDER BY c.id
"""


_DETAILS = """
SELECT c.id, c.idx, s.body, p.digest, c.finish, c.text FROM json_each(?) w JOIN chains c ON c.id = w.value
JOIN samplings s ON s.id = c.sampling JOIN prompts p ON p.id = c.prompt
"""


def read_columns(path: Path, progress: Tracker = silent) -> Columns:
    """Read a corpus. Texts that the present parser has not read yet are read now: seconds for ten thousand of them.

    Raises CorpusError where the file cannot serve it.
    """
    connection = connect_reader(path)
    try:
        return _read(path, connection, progress)
    except sqlite3.Error as error:
        connection.close()
        raise CorpusError(f"{path}: cannot be read ({error}).") from error


def _read(path: Path, connection: sqlite3.Connection, progress: Tracker) -> Columns:
    rows = connection.execute(f"SELECT id, {QUESTION_COLUMNS} FROM questions ORDER BY key").fetchall()
    questions = tuple(question_of(row[1:]) for row in rows)
    places = {row[0]: place for place, row in enumerate(rows)}
    teachers = dict(connection.execute("SELECT id, name FROM teachers ORDER BY id"))
    (total,) = connection.execute("SELECT count(*) FROM chains").fetchone()
    labels: dict[str, int] = {}
    reasons = {reason.value: place for place, reason in enumerate(NoAnswer)}
    parts: list[NDArray[Any]] = []
    with (
        progress("reading the corpus", total) as bar,
        closing(connection.execute(_FACTS, (answers.version(),))) as stream,
    ):
        while batch := list(islice(stream, AT_ONCE)):
            parts.append(np.array(list(_numbers(batch, questions, places, labels, reasons)), np.float64))
            bar.advance(len(batch))
    facts = np.concatenate(parts) if parts else np.empty((0, 10))
    facts = facts[np.lexsort((facts[:, 0], facts[:, 2], facts[:, 1]))]
    number = facts[:, 0].astype(np.int64)
    known = list(teachers)
    return Columns(
        path=path,
        questions=questions,
        teachers=tuple(teachers.values()),
        labels=tuple(labels),
        number=number,
        question=facts[:, 1].astype(np.int32),
        teacher=np.searchsorted(known, facts[:, 3]).astype(np.int16),
        tokens=facts[:, 4].astype(np.int32),
        logprob=facts[:, 5].astype(np.float32),
        characters=facts[:, 6].astype(np.int32),
        answer=facts[:, 7].astype(np.int32),
        reason=facts[:, 8].astype(np.int8),
        mark=facts[:, 9].astype(np.int8),
        selections=tuple(_fates(connection, number)),
        _connection=connection,
    )


def _numbers(
    batch: Sequence[tuple[Any, ...]],
    questions: Sequence[Question],
    places: dict[int, int],
    labels: dict[str, int],
    reasons: dict[str, int],
) -> Iterator[tuple[float, ...]]:
    """Each row as ten numbers; float64 holds all of them exactly."""
    for number, asked, index, teacher, finish, tokens, logprob, characters, *read, text in batch:
        place = places[asked]
        question = questions[place]
        answer, reason = read
        if text is not None:
            answer, reason = answers.answer_of(text, question, Finish(finish))
        yield (
            number,
            place,
            index,
            teacher,
            NONE if tokens is None else tokens,
            np.nan if logprob is None else logprob,
            characters,
            NONE if answer is None else labels.setdefault(answer, len(labels)),
            NONE if reason is None else reasons[reason],
            MARKS[Mark.of(answer, question.gold)],
        )


def _fates(connection: sqlite3.Connection, number: NDArray[np.int64]) -> Iterator[Fates]:
    def read(sql: str, values: Sequence[object]) -> list[Any]:
        return connection.execute(sql, values).fetchall()

    order = np.argsort(number)
    for run, name in read_selections(read):
        sql = "SELECT f.chain, f.dropped FROM selected f JOIN selections n ON n.id = f.selection"
        reasons: dict[str | None, int] = {None: KEPT}
        found = np.full(len(number), NONE, np.int16)
        stream = connection.execute(f"{sql} WHERE n.run = ? AND n.name = ?", (run, name))
        while batch := stream.fetchmany(AT_ONCE):
            chains = np.array([chain for chain, _ in batch], np.int64)
            codes = np.array([reasons.setdefault(dropped, len(reasons)) for _, dropped in batch], np.int16)
            found[order[np.searchsorted(number, chains, sorter=order)]] = codes
        yield Fates(run=run, name=name, reasons=tuple(str(one) for one in reasons if one is not None), row=found)
