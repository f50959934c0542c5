"""A query over the chains of a corpus, answered from columns in memory.

    found = search(columns, Query(mark="wrong", contains="ironic"))
    found.rows                       # of one page
    found.total                      # of all; None where the texts were not searched to their end

Every filter but the search for words is a comparison of whole columns: milliseconds at a million chains. Words are
looked for in the chains that pass the others, in order, until a page is full or `SECONDS` are over; what was not looked
at is said, and the next page goes on from there.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from scotd.corpus.columns import KEPT, NONE, Columns, Fates
from scotd.errors import DataError, did_you_mean
from scotd.types import Mark, NoAnswer

PAGE = 40
SECONDS = 0.6
AT_ONCE = 2_000  # texts read together

ORDERS = ("question", "shortest", "longest", "likeliest", "unlikeliest")
AGREEMENT = ("mixed", "unanimous")
KEPT_WORD = "kept"


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for; None means anything. `after` is the place among the passing rows to go on from.

    `fate` is "kept" or a reason for being dropped, of `selection` ("RUN/NAME"), or of any where none is named.
    `agreement`: questions whose chains give several answers ("mixed") or not ("unanimous"). `likelihood` bounds are
    mean log-probabilities a token; a chain without one passes none of them.
    """

    task: str | None = None
    split: str | None = None
    teacher: str | None = None
    mark: str | None = None
    reason: str | None = None
    answer: str | None = None
    selection: str | None = None
    fate: str | None = None
    agreement: str | None = None
    least_characters: int | None = None
    most_characters: int | None = None
    least_likelihood: float | None = None
    most_likelihood: float | None = None
    contains: str | None = None
    order: str = ORDERS[0]
    after: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Query":
        """A query of the fields of a form; empty ones ask for nothing. Raises DataError for what is no number."""
        values: dict[str, Any] = {}
        for one in fields(cls):
            text = given.get(one.name, "").strip()
            if not text:
                continue
            kind = int if one.name in _WHOLE else float if one.name in _NUMBERS else str
            try:
                values[one.name] = kind(text)
            except ValueError:
                raise DataError(f"{one.name.replace('_', ' ')}: '{text}' is no number.") from None
        if values.get("after", 0) < 0 or any(
            isinstance(value, float) and math.isnan(value) for value in values.values()
        ):
            raise DataError("a number is out of range.")
        return cls(**values)

    def link(self, **changes: Any) -> str:
        """The address of a query like this one, with changes; it starts at its first page unless told."""
        query = replace(self, **{"after": 0, **changes})
        given = {one.name: getattr(query, one.name) for one in fields(query)}
        plain = {name: value for name, value in given.items() if value not in (None, "", 0, ORDERS[0])}
        return f"/chains?{urlencode(plain)}"


_WHOLE = {"least_characters", "most_characters", "after"}
_NUMBERS = {"least_likelihood", "most_likelihood"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One page. `total` passing rows; with a search for words only as far as `looked` of `candidates` rows.

    `following` is where the next page goes on, None at the end.
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    candidates: int
    looked: int
    following: int | None

    @property
    def total(self) -> int | None:
        return self.candidates if self.looked == self.candidates else None


def search(columns: Columns, query: Query, *, clock: Callable[[], float] = time.monotonic) -> Found:
    """Answer a query. Raises DataError for a task, teacher, selection, ... that the corpus does not know."""
    rows = _ordered(columns, np.flatnonzero(passing(columns, query)), query.order)
    if query.contains:
        return _look(columns, rows, query, clock)
    page = [int(row) for row in rows[query.after : query.after + PAGE]]
    end = query.after + len(page)
    return Found(
        rows=tuple(page),
        texts=tuple(columns.texts(page)),
        candidates=len(rows),
        looked=len(rows),
        following=end if end < len(rows) else None,
    )


def passing(columns: Columns, query: Query) -> NDArray[np.bool_]:
    """Which rows pass everything but the search for words, [chains]."""
    mask = _asked(columns, query)[columns.question]
    for what, value, known, column in (
        ("teacher", query.teacher, columns.teachers, columns.teacher),
        ("mark", query.mark, [mark.value for mark in Mark], columns.mark),
        ("reason", query.reason, [reason.value for reason in NoAnswer], columns.reason),
        ("answer", query.answer, columns.labels, columns.answer),
    ):
        if value is not None:
            mask &= column == known.index(_known(what, value, known))
    _known("fate", query.fate, {KEPT_WORD, *(reason for one in columns.selections for reason in one.reasons)})
    if query.selection is not None:
        mask &= _chosen(selection_of(columns, query.selection), query.fate)
    elif query.fate is not None:
        mask &= np.any([np.zeros(len(columns)), *(_chosen(one, query.fate) for one in columns.selections)], axis=0)
    for low, high, numbers in (
        (query.least_characters, query.most_characters, columns.characters),
        (query.least_likelihood, query.most_likelihood, columns.logprob),
    ):
        if low is not None:
            mask &= numbers >= low
        if high is not None:
            mask &= numbers <= high
    return mask


def _asked(columns: Columns, query: Query) -> NDArray[np.bool_]:
    """Which questions pass, [questions]."""
    mask = np.ones(len(columns.questions), np.bool_)
    if query.task is not None or query.split is not None:
        _known("task", query.task, {question.task for question in columns.questions})
        _known("split", query.split, {question.split for question in columns.questions})
        pairs = ((query.task in (None, one.task), query.split in (None, one.split)) for one in columns.questions)
        mask &= np.fromiter((task and split for task, split in pairs), np.bool_, len(mask))
    if query.agreement is not None:
        several = mixed(columns)
        mask &= several if _known("agreement", query.agreement, AGREEMENT) == AGREEMENT[0] else ~several
    return mask


def mixed(columns: Columns) -> NDArray[np.bool_]:
    """Which questions have chains with different answers, [questions]."""
    parsed = columns.answer != NONE
    size = len(columns.questions)
    low = np.full(size, np.iinfo(np.int32).max, np.int32)
    high = np.full(size, NONE, np.int32)
    np.minimum.at(low, columns.question[parsed], columns.answer[parsed])
    np.maximum.at(high, columns.question[parsed], columns.answer[parsed])
    return low < high


def selection_of(columns: Columns, named: str) -> Fates:
    """A selection by "RUN/NAME". Raises DataError."""
    known = {one.title: one for one in columns.selections}
    return known[_known("selection", named, known)]


def _chosen(fates: Fates, fate: str | None) -> NDArray[np.bool_]:
    """Which rows met this fate in a selection, any fate where none is named."""
    if fate is None:
        return np.not_equal(fates.row, NONE)
    if fate == KEPT_WORD:
        return np.equal(fates.row, KEPT)
    if fate not in fates.reasons:
        return np.zeros(len(fates.row), np.bool_)
    return np.equal(fates.row, 1 + fates.reasons.index(fate))


def _ordered(columns: Columns, rows: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    _known("order", order, ORDERS)
    if order == "question":
        return rows
    column = columns.characters if order in ("shortest", "longest") else columns.logprob
    keys = column[rows].astype(np.float64)
    if order in ("longest", "likeliest"):
        keys = -keys
    return rows[np.argsort(keys, kind="stable")]  # what is not known stands last


def _look(columns: Columns, rows: NDArray[np.int64], query: Query, clock: Callable[[], float]) -> Found:
    """Read texts in order until a page is full or the time is over."""
    assert query.contains is not None
    wanted, after, until = query.contains.casefold(), query.after, clock() + SECONDS
    found: list[int] = []
    texts: list[str] = []
    place = after
    while place < len(rows) and len(found) < PAGE and (place == after or clock() < until):
        batch = [int(row) for row in rows[place : place + AT_ONCE]]
        for row, text in zip(batch, columns.texts(batch), strict=True):
            place += 1
            if wanted in text.casefold():
                found.append(row)
                texts.append(text)
                if len(found) == PAGE:
                    break
    return Found(
        rows=tuple(found),
        texts=tuple(texts),
        candidates=len(rows),
        looked=place,
        following=place if place < len(rows) else None,
    )


def _known(what: str, value: Any, known: Any) -> Any:
    if value is not None and value not in known:
        raise DataError(f"{what} '{value}' is not in this corpus.{did_you_mean(str(value), known)}")
    return value
