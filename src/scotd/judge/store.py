"""A study's file: one SQLite file with its settings, items, raters and every vote that was ever cast.

    Study.make(path, settings, items)
    study = Study.open(path)
    rater = study.enrol("anna")
    study.cast(rater, place=3, seen=0, pick=Pick.FIRST, rubric=(), seconds=12.5)   # committed when it returns

Votes are only ever added. Each carries its place in the rater's list and a revision; a page names the revision it was
made from, so that a click that comes twice, a reload, or a second tab changes nothing, and a change of mind is a new
revision. The standing vote of a place is its last revision; a pick of NULL has taken the vote back.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from scotd.corpus.rows import storable, to_json
from scotd.errors import DataError
from scotd.judge.order import presentations
from scotd.judge.study import Item, ModelVote, Pair, Pick, Plan, Presentation, Rater, Sample, Settings, Vote
from scotd.types import Choice, Question

APPLICATION_ID = 0x5C07D0A1  # any number that no other program uses
VERSION = 1
MOST_NAME = 60  # characters of a rater's name

_TABLES = """
CREATE TABLE study (body TEXT NOT NULL);
CREATE TABLE items (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE raters (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE, enrolled REAL);
CREATE TABLE shown (
    rater INTEGER NOT NULL REFERENCES raters, place INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (rater, place)
) WITHOUT ROWID;
CREATE TABLE votes (
    rater INTEGER NOT NULL REFERENCES raters,
    place INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    item INTEGER NOT NULL REFERENCES items,
    repeat INTEGER NOT NULL,
    first TEXT NOT NULL CHECK (first IN ('a', 'b')),
    pick TEXT CHECK (pick IN ('first', 'second', 'tie')),
    rubric TEXT NOT NULL,
    seconds REAL,
    at REAL NOT NULL,
    PRIMARY KEY (rater, place, revision)
) WITHOUT ROWID;
CREATE TABLE model_votes (
    judge TEXT NOT NULL,
    item INTEGER NOT NULL REFERENCES items,
    first TEXT NOT NULL CHECK (first IN ('a', 'b')),
    pick TEXT,
    reason TEXT,
    text TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (judge, item, first)
) WITHOUT ROWID;
"""


class Cast(StrEnum):
    """What came of a vote that arrived."""

    STORED = "stored"
    SAME = "was there already"
    STALE = "another vote was cast meanwhile"  # it stands; this one was made from an older page


class Study:
    """An open study. May be used from several threads; every vote is committed to disk before its method returns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        ((body,),) = connection.execute("SELECT body FROM study")
        self.settings = _settings(json.loads(body))
        rows = connection.execute("SELECT number, body FROM items ORDER BY number")
        self.items = {number: _item(number, json.loads(held)) for number, held in rows}
        self._lists: dict[str, tuple[Presentation, ...]] = {}

    @classmethod
    def make(cls, path: Path, settings: Settings, items: Iterable[Item]) -> "Study":
        """Make a new study file. Raises DataError where the path is taken: votes are never written over."""
        if path.exists():
            raise DataError(f"{path} exists. A study is never written over: name another file, or remove it yourself.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds the raters' secrets
        connection = _connect(path)
        with connection:
            connection.execute("BEGIN")
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute("INSERT INTO study VALUES (?)", (to_json(asdict(settings)),))
            connection.executemany(
                "INSERT INTO items VALUES (?, ?)", [(item.number, to_json(_item_body(item))) for item in items]
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        return cls(path, connection)

    @classmethod
    def open(cls, path: Path) -> "Study":
        """Open a study. Raises DataError where the file is none, or of a newer version."""
        if not path.is_file():
            raise DataError(f"{path}: no such study. `scotd judge new {path} --a ... --b ...` makes one.")
        try:
            connection = _connect(path)
            mark, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS)
        except sqlite3.Error as error:
            raise DataError(f"{path}: cannot be opened as a study ({error}). Name another file.") from None
        if mark != APPLICATION_ID or version > VERSION:
            connection.close()
            what = "no study" if mark != APPLICATION_ID else f"of study version {version}, this scotd knows {VERSION}"
            raise DataError(f"{path}: {what}. Name a file that `scotd judge new` made.")
        return cls(path, connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- raters

    def enrol(self, name: str) -> Rater:
        """The rater of this name, new or known. Raises DataError for a name that is empty or too long."""
        name = " ".join(storable(name).split())
        if not 0 < len(name) <= MOST_NAME:
            raise DataError(f"a rater's name has 1 to {MOST_NAME} characters, found {len(name)}.")
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO raters (name, token, enrolled) VALUES (?, ?, ?)",
                (name, secrets.token_urlsafe(24), time.time()),
            )
        return next(rater for rater in self.raters() if rater.name == name)

    def raters(self) -> list[Rater]:
        """All raters, in the order in which they came."""
        rows = self._read("SELECT id, name, token FROM raters ORDER BY id")
        return [Rater(id=number, name=name, token=token) for number, name, token in rows]

    def rater(self, token: str) -> Rater | None:
        """The rater whose secret this is, or None."""
        found = [rater for rater in self.raters() if secrets.compare_digest(rater.token.encode(), token.encode())]
        return found[0] if found else None

    def list_of(self, rater: Rater) -> tuple[Presentation, ...]:
        """What a rater is shown, in their order; place 1 is the first of it."""
        if rater.name not in self._lists:
            settings = self.settings
            self._lists[rater.name] = presentations(
                list(self.items), seed=settings.seed, rater=rater.name, repeats=settings.repeats
            )
        return self._lists[rater.name]

    # -- votes

    def see(self, rater: Rater, place: int) -> None:
        """Note when a place was first shown: no vote can have taken longer than since then."""
        sql = "INSERT OR IGNORE INTO shown (rater, place, at) VALUES (?, ?, ?)"
        with self._transaction() as connection:
            connection.execute(sql, (rater.id, place, time.time()))

    def cast(
        self,
        rater: Rater,
        place: int,
        *,
        seen: int,
        pick: Pick | None,
        rubric: Sequence[Pick | None] = (),
        seconds: float | None = None,
    ) -> Cast:
        """Store a vote, or with `pick` None take it back; `seen` is the revision that the rater's page was made from.

        Committed when it returns. Raises ValueError for a place or a pick that the study does not have.
        """
        shown = self.list_of(rater)
        if not 1 <= place <= len(shown) or (pick is Pick.TIE and not self.settings.ties):
            raise ValueError(f"place {place} or pick {pick} is not of this study")
        one = shown[place - 1]
        now = time.time()
        with self._transaction() as connection:
            last = connection.execute(
                "SELECT revision, pick, rubric FROM votes WHERE rater = ? AND place = ? ORDER BY revision DESC LIMIT 1",
                (rater.id, place),
            ).fetchone() or (0, None, to_json([]))
            given = to_json(list(rubric))
            if (last[1], last[2] if pick else None) == (pick, given if pick else None):
                return Cast.SAME
            if last[0] != seen:
                return Cast.STALE
            since = connection.execute("SELECT at FROM shown WHERE rater = ? AND place = ?", (rater.id, place))
            first_seen = (since.fetchone() or (now,))[0]
            if seconds is not None and not 0 <= seconds <= now - first_seen + 1:
                seconds = None  # a clock that cannot be right
            connection.execute(
                "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (rater.id, place, last[0] + 1, one.item, one.repeat, one.first, pick, given, seconds, now),
            )
        return Cast.STORED

    def votes(self, rater: Rater | None = None) -> list[Vote]:
        """The standing votes, of one rater or of all, by rater and place."""
        whose = "" if rater is None else "WHERE rater = ?"
        rows = self._read(
            "SELECT v.rater, v.place, v.revision, v.item, v.repeat, v.first, v.pick, v.rubric, v.seconds FROM"
            f" (SELECT rater, place, max(revision) AS revision FROM votes {whose} GROUP BY rater, place)"
            " JOIN votes v USING (rater, place, revision) WHERE v.pick IS NOT NULL ORDER BY v.rater, v.place",
            *(() if rater is None else (rater.id,)),
        )
        return [
            Vote(
                rater=number,
                place=place,
                revision=revision,
                shown=Presentation(item=item, repeat=bool(repeat), first=first),
                pick=Pick(pick),
                rubric=tuple(None if one is None else Pick(one) for one in json.loads(rubric)),
                seconds=seconds,
            )
            for number, place, revision, item, repeat, first, pick, rubric, seconds in rows
        ]

    def revision(self, rater: Rater, place: int) -> int:
        """How often a vote at this place was cast or taken back."""
        rows = self._read("SELECT max(revision) FROM votes WHERE rater = ? AND place = ?", rater.id, place)
        return int(rows[0][0] or 0)

    def last_place(self, rater: Rater) -> int | None:
        """The place of the standing vote that was cast last: what "undo" means."""
        sql = (
            "SELECT v.place FROM votes v JOIN (SELECT place, max(revision) AS revision FROM votes WHERE rater = ?1"
            " GROUP BY place) USING (place, revision) WHERE v.rater = ?1 AND v.pick IS NOT NULL"
            " ORDER BY v.at DESC, v.place DESC LIMIT 1"
        )
        rows = self._read(sql, rater.id)
        return int(rows[0][0]) if rows else None

    def revisions(self) -> int:
        """How many votes were ever cast or taken back."""
        return int(self._read("SELECT count(*) FROM votes")[0][0])

    # -- a language model's votes, in a table of their own

    def put_model_votes(self, votes: Iterable[ModelVote]) -> None:
        """Store what a language model said; committed when it returns. A vote that is there stays."""
        now = time.time()
        rows = [(v.judge, v.item, v.first, v.pick, v.reason, storable(v.text), now) for v in votes]
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO model_votes VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def model_votes(self) -> list[ModelVote]:
        """All of them, by judge and item."""
        rows = self._read("SELECT judge, item, first, pick, reason, text FROM model_votes ORDER BY judge, item, first")
        return [
            ModelVote(
                judge=judge, item=item, first=first, pick=None if pick is None else Pick(pick), reason=reason, text=text
            )
            for judge, item, first, pick, reason, text in rows
        ]

    # -- inside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def _read(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


_MARKS = ("application_id", "user_version")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _settings(body: dict[str, Any]) -> Settings:
    return Settings(**{**body, "plan": Plan(**body["plan"]), "rubric": tuple(body["rubric"])})


def _item_body(item: Item) -> dict[str, Any]:
    question = item.pair.question
    held = {
        "task": question.task,
        "id": question.id,
        "split": question.split,
        "stem": storable(question.stem),
        "choices": [[choice.label, choice.text] for choice in question.choices],
        "gold": question.gold,
    }
    pair = item.pair
    texts = {"a": storable(pair.a), "b": storable(pair.b), "right_a": pair.right_a, "right_b": pair.right_b}
    return {"question": held, **texts, "samples": list(item.samples)}


def _item(number: int, body: dict[str, Any]) -> Item:
    choices = tuple(Choice(label=label, text=text) for label, text in body["question"]["choices"])
    return Item(
        number=number,
        pair=Pair(
            question=Question(**{**body["question"], "choices": choices}),
            a=body["a"],
            b=body["b"],
            right_a=body["right_a"],
            right_b=body["right_b"],
        ),
        samples=tuple(Sample(one) for one in body["samples"]),
    )
