"""A best guess at what the columns of somebody's file hold, for `scotd init --data`. It is written down as a guess.

    guess = Guess.of(read_table(path))
    guess.question, guess.choices, guess.answer, guess.id, guess.labels

Names come first (question, stem, ...; choices, options, ...; answer, label, gold, ...), then what the cells hold.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scotd.tasks.rows import Table, as_text

QUESTION = ("question", "stem", "question_stem", "sentence", "text", "input", "prompt", "query", "remark", "review")
CHOICES = ("choices", "options", "answers", "candidates", "endings")
ANSWER = ("answer", "gold", "label", "gold_label", "answerkey", "answer_key", "correct", "correct_answer", "target")
ID = ("id", "qid", "question_id", "uid", "guid", "idx", "key")
PAIR = ("pair", "pair_id", "original_id", "contrast_of")
SEPARATORS = ("|", ";", "\n", " / ", ",")
MANY_LABELS = 12  # more different answers than this are no fixed set of labels

_CHOICE = re.compile(r"(?:(?:choice|option|opt|answer|ending)[ _-]?)?([a-h]|\d)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Names of columns, None where none looked right. `labels` are the answers that every question shares."""

    columns: tuple[str, ...]
    question: str | None = None
    choices: str | tuple[str, ...] | None = None
    answer: str | None = None
    id: str | None = None
    pair: str | None = None
    labels: tuple[str, ...] | None = None
    separator: str = "|"

    @classmethod
    def of(cls, table: Table) -> "Guess":
        """Look at names first, then at cells."""
        columns = [name for name in table.columns if name]
        choices = _choices(table, columns)
        used = {choices} if isinstance(choices, str) else set(choices or ())
        answer = _named(columns, ANSWER, used)
        identity = _unique(table, _named(columns, ID, used))
        pair = _named(columns, PAIR, used)
        used |= {name for name in (answer, identity, pair) if name is not None}
        question = _named(columns, QUESTION, used) or _longest(table, [name for name in columns if name not in used])
        labels = None
        if answer is not None:
            labels = _labels(table, answer) if choices is None else _numbers(table, answer, choices)
        return cls(
            columns=tuple(columns),
            question=question,
            choices=choices,
            answer=answer,
            id=identity,
            pair=pair,
            labels=labels,
            separator=_separator(table, choices) if isinstance(choices, str) else "|",
        )


def _named(columns: Sequence[str], names: Sequence[str], used: set[str]) -> str | None:
    """The column of the name that stands first among `names`, in any case."""
    low = {column.casefold(): column for column in columns if column not in used}
    return next((low[name] for name in names if name in low), None)


def _choices(table: Table, columns: Sequence[str]) -> str | tuple[str, ...] | None:
    """One column of lists or parted text, or several columns a, b, c / choice1, choice2 / option_a, option_b."""
    named = _named(columns, CHOICES, set())
    if named is not None:
        return named
    series: dict[str, list[str]] = {}
    for column in columns:
        match = _CHOICE.fullmatch(column)
        if match is not None:
            series.setdefault(column[: match.start(1)].casefold(), []).append(column)
    several = max(series.values(), key=len, default=[])
    if len(several) > 1:
        return tuple(several)
    taken = {*QUESTION, *ANSWER, *ID, *PAIR}
    lists = [
        column
        for column in columns
        if column.casefold() not in taken and any(isinstance(row.values.get(column), list | dict) for row in table.rows)
    ]
    return lists[0] if lists else None


def _unique(table: Table, column: str | None) -> str | None:
    if column is None:
        return None
    values = _texts(table, column)
    return column if len(set(values)) == len(values) == len(table.rows) else None


def _longest(table: Table, columns: Sequence[str]) -> str | None:
    """The column with the most text in it."""
    lengths = {column: sum(map(len, _texts(table, column))) for column in columns}
    return max(columns, key=lambda column: lengths[column], default=None)


def _labels(table: Table, answer: str) -> tuple[str, ...] | None:
    """The few different answers, in the order of the file."""
    values = [row.values.get(answer) for row in table.rows]
    if any(isinstance(value, bool) for value in values):
        return ("yes", "no")
    found = tuple(dict.fromkeys(_texts(table, answer)))
    return found if 2 <= len(found) <= MANY_LABELS and len(found) < len(_texts(table, answer)) else None


def _numbers(table: Table, answer: str, choices: str | tuple[str, ...]) -> tuple[str, ...] | None:
    """Labels "0", "1", ... (or "1", "2", ...) where the answers are positions in bare choices."""
    answers = _texts(table, answer)
    if not answers or not all(text.isdecimal() for text in answers):
        return None
    texts = [_cells(table, choices, number) for number in range(len(table.rows))]
    if any(isinstance(text, dict) for row in texts for text in row) or any(a in row for a in answers for row in texts):
        return None
    count = max(map(len, texts), default=0)
    first = 0 if "0" in answers else 1
    labels = tuple(str(number) for number in range(first, first + count))
    return labels if set(answers) <= set(labels) and count > 1 else None


def _cells(table: Table, choices: str | tuple[str, ...], number: int) -> Sequence[object]:
    row = table.rows[number]
    if not isinstance(choices, str):
        return [row.values.get(column) for column in choices]
    value = row.values.get(choices)
    if isinstance(value, str):
        value = _listed(value) or value.split(_separator(table, choices))
    return value if isinstance(value, list) else [{}]


def _separator(table: Table, column: str) -> str:
    """What parts the choices in every cell; "|" where the cells are lists, or nothing does."""
    texts = [value for row in table.rows if isinstance(value := row.values.get(column), str) and value.strip()]
    if not texts or all(_listed(text) for text in texts):
        return "|"
    return next((mark for mark in SEPARATORS if all(mark in text for text in texts)), "|")


def _listed(text: str) -> list[object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _texts(table: Table, column: str) -> list[str]:
    return list(_scalars((row.values.get(column), row.where) for row in table.rows))


def _scalars(cells: Iterable[tuple[object, str]]) -> Iterable[str]:
    for value, where in cells:
        if not isinstance(value, list | tuple | dict | bytes):
            text = as_text(value, "", where)
            if text is not None:
                yield text
