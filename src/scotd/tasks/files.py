"""Anyone's own questions: JSONL, a JSON list, CSV, TSV or Parquet, with a column mapping from the experiment file.

    questions:
      task: support
      files: {train: train.csv, test: test.csv}
      columns: {question: "{remark} Was the guest pleased with {aspect}?", answer: answer}
      labels: [pleased, not pleased, not said]

Choices come from `labels` (the same answers for every question), from a list of columns (empty ones at the end are no
choices), or from one column: a list of texts, a list of {label, text}, {"label": [...], "text": [...]}, {"A": ..., ...}
or text parted by `separator`. Bare texts are labelled A, B, C, ..., or with `labels` where both are given.

The answer may be a label (any case, with or without parentheses), a choice's text, a JSON boolean where the choices are
yes/no or true/false, or empty for an unlabelled question. Whatever cannot be used is refused with a `DataError`; no
row is left out silently.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scotd.config import ColumnsConfig, QuestionsConfig
from scotd.errors import ConfigError, DataError, did_you_mean
from scotd.tasks.choices import checked, gold_label, label_set, lettered
from scotd.tasks.content import ContentKey, content_id, content_key, normalised
from scotd.tasks.cut import words_of
from scotd.tasks.rows import Row, Table, as_text, read_table
from scotd.types import Choice, Question

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A question and the row it came from."""

    question: Question
    row: Row


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A piece of a stem: a text as it stands, or the content of a column."""

    text: str = ""
    column: str | None = None


def load_files(config: QuestionsConfig) -> list[Question]:
    """Load every split of `config.files`, in the order given; limits are not applied here.

    Raises DataError for everything that is wrong in a file, and where two splits share an id or a question.
    """
    assert config.files is not None and config.columns is not None, config
    placed = read_questions(((split, read_table(path)) for split, path in config.files.items()), config)
    _refuse_shared_questions(placed)
    refuse_repeated_ids(placed, config.columns)
    return [item.question for item in placed]


def read_questions(tables: Iterable[tuple[str, Table]], config: QuestionsConfig) -> list[Placed]:
    """Make questions of the rows of each split, by the column mapping. Raises DataError for what is wrong in a row."""
    assert config.columns is not None, config
    if config.labels is not None:
        checked(label_set(config.labels), "questions.labels")
    placed = [item for split, table in tables for item in _split(split, table, config, config.columns)]
    _refuse_unknown_pairs(placed)
    return placed


def _split(split: str, table: Table, config: QuestionsConfig, columns: ColumnsConfig) -> list[Placed]:
    parts = _parts(columns.question, table)
    choice_columns = (columns.choices,) if isinstance(columns.choices, str) else columns.choices or ()
    named = {f"columns.{setting}": getattr(columns, setting) for setting in ("answer", "id", "pair")}
    for setting, name in [("columns.choices", name) for name in choice_columns] + list(named.items()):
        if name is not None:
            table.require(name, setting)
    return [Placed(question=_question(row, split, parts, config, columns), row=row) for row in table.rows]


def _question(
    row: Row, split: str, parts: Sequence[_Part], config: QuestionsConfig, columns: ColumnsConfig
) -> Question:
    stem = _stem(row, parts, config.max_stem_words)
    choices = checked(_choices(row, columns, config.labels), row.where)
    return Question(
        id=_identity(row, columns, stem, choices),
        task=config.task,
        split=split,
        stem=stem,
        choices=choices,
        gold=None if columns.answer is None else _gold(row, columns.answer, choices),
        pair=None if columns.pair is None else row.text(columns.pair),
    )


def _stem(row: Row, parts: Sequence[_Part], max_words: int | None) -> str:
    """The whole stem, cut later on. Only the last column may lose words: what is asked must not go with a long text."""
    texts = [part.text if part.column is None else _filled(row, part.column) for part in parts]
    last = max(number for number, part in enumerate(parts) if part.column is not None)
    if max_words is not None and words_of("".join(texts)) > max_words:
        after = "".join(texts[last + 1 :])
        if words_of("".join(texts[:last])) >= max_words or re.search(r"\w", after):
            raise DataError(
                f"{row.where}: the question has {words_of(''.join(texts))} words, and cutting it to {max_words} "
                "(`questions.max_stem_words`) would take more than the end of its last column: in `columns.question`, "
                'put the column with the long text last ("Was the guest pleased with {aspect}? {remark}").'
            )
    return "".join(texts).strip()


def _parts(question: str, table: Table) -> tuple[_Part, ...]:
    """Take `columns.question` apart: a column of exactly this name, or a template with at least one column in it."""
    if question in table.columns or not _BRACES.search(question):
        table.require(question, "columns.question")
        return (_Part(column=question),)
    parts = []
    end = 0
    for match in _BRACES.finditer(question):
        parts.append(_Part(text=question[end : match.start()]))
        parts.append(_Part(text=match[0][0]) if match[1] is None else _Part(column=match[1].strip()))
        end = match.end()
    parts.append(_Part(text=question[end:]))
    names = [part.column for part in parts if part.column is not None]
    if not names:
        raise ConfigError(f"`columns.question` is the same for every row: '{question}': name a column in braces.")
    for name in names:
        table.require(name, "columns.question")
    return tuple(parts)


def _filled(row: Row, column: str) -> str:
    """A column's text. An empty one is refused: nobody sees a hole in a question later on."""
    text = row.text(column)
    if text is None:
        raise DataError(f"{row.where}: the question is empty (column '{column}'): fill it in or remove the row.")
    return text


def _choices(row: Row, columns: ColumnsConfig, labels: tuple[str, ...] | None) -> tuple[Choice, ...]:
    if columns.choices is None:
        return label_set(labels or ())
    if isinstance(columns.choices, str):
        found = _one_column(row, columns.choices, columns.separator)
    else:
        found = _several_columns(row, columns.choices)
    if isinstance(found, tuple):
        if labels is not None:
            raise DataError(f"{row.where}: the choices have labels of their own: leave `questions.labels` out.")
        return found
    if labels is None:
        return lettered(found)
    if len(found) > len(labels):
        raise DataError(f"{row.where}: {len(found)} choices, but only {len(labels)} `questions.labels`: add labels.")
    return tuple(Choice(label=label, text=text) for label, text in zip(labels, found, strict=False))


def _several_columns(row: Row, columns: Sequence[str]) -> list[str]:
    """Texts of the columns. Empty ones at the end are choices that this question does not have."""
    texts = [row.text(column) for column in columns]
    while texts and texts[-1] is None:
        texts.pop()
    for column, text in zip(columns, texts, strict=False):
        if text is None:
            raise DataError(
                f"{row.where}: the choice in column '{column}' is empty, but a later one is not: fill it in."
            )
    return [text for text in texts if text is not None]


def _one_column(row: Row, column: str, separator: str) -> list[str] | tuple[Choice, ...]:
    """Return bare texts as a list, choices with labels of their own as a tuple."""
    value = row.values.get(column)
    if isinstance(value, str):
        value = _listed(value, separator)
    if isinstance(value, dict):
        return _labelled(row, column, value)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _choice_objects(row, column, value)
    if not isinstance(value, list):
        found = "nothing" if value is None else f"'{value}'"
        raise DataError(f"{row.where}: the choices (column '{column}') are {found}: give a list, or parted text.")
    return [as_text(item, column, row.where) or "" for item in value]


def _listed(text: str, separator: str) -> object:
    """Text of a CSV cell: a JSON list or object where it is one, otherwise parted by the separator."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            pass  # a choice may well begin with a bracket
    return text.split(separator) if text.strip() else None


def _labelled(row: Row, column: str, value: dict[str, object]) -> tuple[Choice, ...]:
    """{"label": [...], "text": [...]} or {"A": ..., "B": ...}; a Parquet struct has nulls for labels not in use."""
    if isinstance(value.get("label"), list) and isinstance(value.get("text"), list):
        labels, texts = value["label"], value["text"]
        assert isinstance(labels, list) and isinstance(texts, list)
        if len(labels) != len(texts):
            raise DataError(
                f"{row.where}: '{column}' has {len(labels)} labels and {len(texts)} texts: make them equal."
            )
        pairs = list(zip(labels, texts, strict=True))
    else:
        pairs = [(label, text) for label, text in value.items() if text is not None]
    return tuple(_choice(row, column, label, text) for label, text in pairs)


def _choice_objects(row: Row, column: str, value: list[dict[str, object]]) -> tuple[Choice, ...]:
    for number, item in enumerate(value, 1):
        for key in ("label", "text"):
            if key not in item:
                near = did_you_mean(key, item)
                raise DataError(
                    f"{row.where}: choice {number} in '{column}' has no '{key}': give label and text.{near}"
                )
    return tuple(_choice(row, column, item["label"], item["text"]) for item in value)


def _choice(row: Row, column: str, label: object, text: object) -> Choice:
    return Choice(label=as_text(label, column, row.where) or "", text=as_text(text, column, row.where) or "")


def _gold(row: Row, column: str, choices: Sequence[Choice]) -> str | None:
    value = row.values.get(column)
    answer = row.text(column)
    if answer is None:
        return None
    if isinstance(value, bool) and not any(normalised(choice.text) == answer for choice in choices):
        answer = "yes" if value else "no"
    return gold_label(answer, choices, row.where)


def _identity(row: Row, columns: ColumnsConfig, stem: str, choices: Sequence[Choice]) -> str:
    if columns.id is None:
        return content_id("q", stem, choices)
    identity = row.text(columns.id)
    if identity is None:
        raise DataError(
            f"{row.where}: the id is empty (column '{columns.id}'): fill it in, or leave `columns.id` out everywhere."
        )
    return identity


def _refuse_shared_questions(placed: Sequence[Placed]) -> None:
    """One question stands in one split (dev picks checkpoints, so it is no exception)."""
    by_content: dict[ContentKey, Placed] = {}
    for item in placed:
        twin = by_content.setdefault(content_key(item.question), item)
        if twin.question.split != item.question.split:
            raise DataError(_shared(twin, item))


def refuse_repeated_ids(placed: Sequence[Placed], columns: ColumnsConfig) -> None:
    """Raise DataError where one id is that of two questions."""
    by_id: dict[str, Placed] = {}
    for item in placed:
        question = item.question
        first = by_id.setdefault(question.id, item)
        if first is item:
            continue
        if columns.id is None:
            raise DataError(f"{item.row.where}: the same question as row {first.row.number}: remove one of the two.")
        if first.question.split == question.split:
            raise DataError(
                f"{item.row.where}: the id '{question.id}' is that of row {first.row.number} already: "
                "give each question its own."
            )
        raise DataError(
            f"{item.row.where}: the id '{question.id}' is also in the split '{first.question.split}' "
            f"({first.row.where}): ids are unique over all splits."
        )


def _shared(first: Placed, second: Placed) -> str:
    return (
        f"{second.row.where}: the question '{second.question.id}' of the split '{second.question.split}' is also "
        f"question '{first.question.id}' of the split '{first.question.split}' ({first.row.where}): "
        "an evaluation on questions seen before means nothing, remove one of the two."
    )


def _refuse_unknown_pairs(placed: Sequence[Placed]) -> None:
    known = {item.question.id for item in placed}
    for item in placed:
        pair = item.question.pair
        if pair is not None and pair not in known:
            raise DataError(
                f"{item.row.where}: the pair '{pair}' is not the id of a question: "
                "`columns.pair` holds the id of the question that this one changes."
            )
