"""Whether a corpus is whole: identities computed anew, references followed, the journal held against the chains.

    with Corpus.open(path, "ro") as corpus:
        found = verify(corpus)
    found.whole, found.counts, found.damages

Damage is what no run of the program leaves behind, killed or not. Chains that are still missing, requests that a kill
left open and texts that were set aside are no damage: they are counted. What a text says is part of no identity: that a
disk changed letters of it is seen where SQLite's pages or UTF-8 do not hold any more, and nowhere else.

Nothing is written. All of it is of one moment, also beside a writer, and is read as a stream.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scotd.corpus import rows
from scotd.corpus.results import prediction_of
from scotd.corpus.schema import connect_reader
from scotd.corpus.store import BATCH, Corpus
from scotd.progress import Progress, Tracker, track
from scotd.types import Finish, NoAnswer, Prompt, SamplingParams, chain_id

SHOWN = 20  # of each kind of damage

Row = tuple[Any, ...]
Found = Iterator[tuple[str, str]]  # a row, and what is wrong with it


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One kind of damage: in how many places, and the first of them as "row: what is wrong with it"."""

    kind: str
    count: int
    shown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was looked at, by name; `notes` counts what is no damage and worth knowing."""

    counts: dict[str, int]
    notes: dict[str, int]
    damages: tuple[Damage, ...]

    @property
    def whole(self) -> bool:
        return not self.damages


def verify(corpus: Corpus, *, progress: Tracker = track, shown: int = SHOWN) -> Verified:
    """Look at every row of a corpus. Raises CorpusError where it cannot be opened at all."""
    connection = connect_reader(corpus.path)
    connection.text_factory = _text
    tally = _Tally(shown)
    checks = _checks()
    try:
        connection.execute("BEGIN")
        counts = {name: _count(connection, name) for name in (*checks, *_COUNTED)}
        with progress(f"verifying {corpus.path.name}", 2 * sum(counts.values())) as bar:
            # Half of the bar: SQLite's own check says nothing until it is done.
            tally.take("file", _file(connection, shown), bar)
            tally.take("reference", _references(connection), bar)
            bar.advance(sum(counts.values()))
            for name, check in checks.items():
                tally.take(name, _rows(connection, check, bar), bar)
            for name, sql in _ACROSS.items():
                tally.take(name, _across(connection, sql), bar)
            bar.advance(sum(counts[name] for name in _COUNTED))
        notes = {} if tally.unreadable else {name: _number(connection, sql) for name, sql in _NOTES.items()}
    finally:
        connection.close()
    return Verified(counts=counts, notes={name: n for name, n in notes.items() if n}, damages=tally.damages())


class _Tally:
    """Damage by kind, the first of each in words."""

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._counts: Counter[str] = Counter()
        self._words: dict[str, list[str]] = {}
        self.unreadable = False

    def take(self, kind: str, found: Found, bar: Progress) -> None:
        """Count all that a check finds; where the file cannot be read further that is damage too."""
        try:
            for row, wrong in found:
                self._add(kind, f"{row}: {wrong}", bar)
        except sqlite3.Error as error:
            self.unreadable = True
            self._add(kind, f"the rest of it: cannot be read ({error})", bar)

    def _add(self, kind: str, words: str, bar: Progress) -> None:
        self._counts[kind] += 1
        told = self._words.setdefault(kind, [])
        if len(told) < self._shown:
            told.append(words)
        bar.advance(0, f"{self._counts.total():,} damaged")

    def damages(self) -> tuple[Damage, ...]:
        return tuple(
            Damage(kind=kind, count=count, shown=tuple(self._words[kind])) for kind, count in self._counts.items()
        )


# ---- the file -------------------------------------------------------------------------------------------------------


def _file(connection: sqlite3.Connection, shown: int) -> Found:
    for (said,) in connection.execute(f"PRAGMA integrity_check({shown})"):
        if said != "ok":
            for line in str(said).splitlines():
                yield "SQLite", line.removeprefix("*** ").removesuffix(" ***")


def _references(connection: sqlite3.Connection) -> Found:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        place = f"a row of {table}" if row is None else f"{table} row {row}"
        yield place, f"refers to a row of {parent} that is not there"


# ---- rows, each by itself -------------------------------------------------------------------------------------------


def _rows(connection: sqlite3.Connection, check: "_Check", bar: Progress) -> Found:
    """Run a check over the rows of its query; what it trips over is damage as well."""
    cursor = connection.execute(check.sql)
    while batch := cursor.fetchmany(BATCH):
        for name, *row in batch:
            try:
                for value in row:
                    if isinstance(value, str):
                        value.encode()
                wrong = check.wrong(*row)
            except UnicodeEncodeError:
                wrong = "holds bytes that are no text"
            except (ValueError, TypeError, KeyError, AssertionError, AttributeError, StopIteration) as error:
                said = error if isinstance(error, ValueError) else type(error).__name__
                wrong = f"cannot be read ({said})"
            if wrong is not None:
                yield str(name), wrong
        bar.advance(len(batch))


def _question(key: str, *row: Any) -> str | None:
    question = rows.question_of(row)
    return None if question.key == key else f"is stored as {key}, and is {question.key} by its content"


def _prompt(digest: str, body: str) -> str | None:
    return _identity(digest, Prompt.from_json(json.loads(body)).id)


def _sampling(digest: str, body: str) -> str | None:
    return _identity(digest, SamplingParams.from_json(json.loads(body)).id)


def _chain_check() -> Callable[..., str | None]:
    read: dict[str, SamplingParams] = {}  # a corpus knows a handful

    def wrong(digest: str, key: str, prompt: str, teacher: str, sampling: str, *own: Any) -> str | None:
        index, finish, _ = own
        if None in (key, prompt, teacher, sampling):
            return None  # a reference that leads nowhere is told as such
        if sampling not in read:
            read[sampling] = SamplingParams.from_json(json.loads(sampling))
        Finish(finish)
        return _identity(digest, chain_id(key, prompt, teacher, read[sampling], index))

    return wrong


def _request(indices: str, outcome: str | None, *values: Any) -> str | None:
    ended, error, received, *counts = values
    asked = json.loads(indices)
    if not asked or len(set(asked)) < len(asked) or any(type(index) is not int or index < 0 for index in asked):
        return f"asks for the chains {indices}"
    if outcome is None:
        return None if ended is None and received is None else "has an end and no outcome"
    if ended is None or received is None:
        return f"has the outcome '{outcome}' and no end"
    if outcome == "failed" and (error is None or received):
        return "failed, and yet brought chains or gives no reason"
    if not 0 <= received <= len(asked) or any(count is not None and count < 0 for count in counts):
        return f"brought {received} of {len(asked)} chains, or counts tokens below 0"
    return None


def _parse(answer: str | None, reason: str | None) -> str | None:
    if reason is not None:
        NoAnswer(reason)
    return None if (answer is None) != (reason is None) else "has both an answer and a reason why not, or neither"


def _prediction(key: str, body: str) -> str | None:
    prediction_of(key, body)
    return None


def _run(lineage: str) -> str | None:
    return None if isinstance(json.loads(lineage), dict) else "its lineage is no JSON object"


def _identity(stored: str, computed: str) -> str | None:
    return None if stored == computed else f"its content has the identity {computed}"


@dataclass(frozen=True)
class _Check:
    """A query whose first column names the row; the others go to `wrong`, which says what is wrong with them."""

    sql: str
    wrong: Callable[..., str | None]


def _checks() -> dict[str, _Check]:
    return {
        "questions": _Check(f"SELECT 'question ' || key, key, {rows.QUESTION_COLUMNS} FROM questions", _question),
        "prompts": _Check("SELECT 'prompt ' || digest, digest, body FROM prompts", _prompt),
        "samplings": _Check("SELECT 'sampling ' || digest, digest, body FROM samplings", _sampling),
        "chains": _Check(
            """SELECT 'chain ' || c.digest, c.digest, q.key, p.digest, t.name, s.body, c.idx, c.finish, c.text
        FROM chains c LEFT JOIN questions q ON q.id = c.question LEFT JOIN prompts p ON p.id = c.prompt
        LEFT JOIN teachers t ON t.id = c.teacher LEFT JOIN samplings s ON s.id = c.sampling""",
            _chain_check(),
        ),
        "requests": _Check(
            "SELECT 'request ' || id, indices, outcome, ended, error, received, prompt_tokens, completion_tokens, lost,"
            " unreadable, unsaid FROM requests",
            _request,
        ),
        "parses": _Check("SELECT 'answer of chain row ' || chain, answer, reason FROM parses", _parse),
        "predictions": _Check(
            "SELECT 'prediction of ' || student || ' for ' || question_key, question_key, body FROM predictions",
            _prediction,
        ),
        "runs": _Check("SELECT 'run ' || run, lineage FROM runs", _run),
    }


_COUNTED = ("teachers", "duplicates", "scores", "selections", "selected", "servers")

# ---- rows against each other ----------------------------------------------------------------------------------------

_SLOT = "c.question = r.question AND c.prompt = r.prompt AND c.teacher = r.teacher AND c.sampling = r.sampling"

_ACROSS = {
    "slots": """
        SELECT 'question ' || q.key, 'has ' || count(*) || ' chains in ' || count(DISTINCT c.idx) || ' places'
        FROM chains c LEFT JOIN questions q ON q.id = c.question
        GROUP BY c.question, c.prompt, c.teacher, c.sampling HAVING count(*) > count(DISTINCT c.idx)""",
    "journal": f"""
        SELECT 'request ' || r.id, 'the chain that it brought for place ' || w.value || ' is not there'
        FROM requests r JOIN json_each(CASE WHEN json_valid(r.indices) THEN r.indices ELSE '[]' END) w
        WHERE r.outcome = 'ok' AND w.key < r.received
        AND NOT EXISTS (SELECT 1 FROM chains c WHERE {_SLOT} AND c.idx = w.value)""",
    "chains and journal": f"""
        SELECT 'chain ' || c.digest, 'request ' || r.id || CASE
            WHEN r.outcome IS NULL THEN ' is said to have brought it, and has no outcome'
            WHEN r.outcome <> 'ok' THEN ' is said to have brought it, and failed'
            ELSE ' is said to have brought it, and asked for others' END
        FROM chains c CROSS JOIN requests r ON r.id = c.request
        WHERE r.outcome IS NOT 'ok' OR NOT ({_SLOT}) OR NOT EXISTS (
            SELECT 1 FROM json_each(CASE WHEN json_valid(r.indices) THEN r.indices ELSE '[]' END) w
            WHERE w.value = c.idx)""",
    "selected": """
        SELECT 'selection ' || n.name || ' of run ' || n.run, 'has gaps in its order'
        FROM selections n JOIN selected f ON f.selection = n.id
        GROUP BY n.id HAVING min(f.position) <> 0 OR max(f.position) <> count(*) - 1""",
    "scores": "SELECT 'score ' || kind || ' of chain row ' || chain, 'is no number' FROM scores"
    " WHERE typeof(value) NOT IN ('real', 'integer')",
}

_NOTES = {
    "places below the highest index of their question without a chain: the next run asks for them": """
        SELECT coalesce(sum(empty), 0) FROM (SELECT max(idx) + 1 - count(*) AS empty FROM chains
        GROUP BY question, prompt, teacher, sampling)""",
    "requests without an outcome: under way, or left open by a kill": """
        SELECT count(*) FROM requests WHERE outcome IS NULL""",
    "texts set aside, as another one stands in their place": "SELECT count(*) FROM duplicates",
}


def _across(connection: sqlite3.Connection, sql: str) -> Found:
    yield from connection.execute(sql)


def _count(connection: sqlite3.Connection, table: str) -> int:
    with suppress(sqlite3.Error):  # the file's own check tells why
        return _number(connection, f"SELECT count(*) FROM {table}")
    return 0


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
