"""The tables of a corpus file, and the numbered migrations that lead to them.

`PRAGMA user_version` holds the number of migrations that a file has gone through, `PRAGMA application_id` says that it
is a corpus at all. A migration is never edited once released: a change is a new entry at the end of `MIGRATIONS`.
The tables are plain (no STRICT, no RETURNING), because clusters still run SQLite 3.34.

Repeated texts (question keys, prompts, teachers, sampling parameters) are stored once and referred to by integer, so a
million chains hold their own text and little else. A chain's row carries its digest as well, because scores,
selections and people name chains by it.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from scotd.errors import CorpusError

CACHE_KIB = 16 << 10
CHECKPOINT_PAGES = 16_000  # a bulk import's pages are not copied from the log into the file again and again
APPLICATION_ID = 0x5C07D001  # any number that no other program uses

_FIRST = """
CREATE TABLE questions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    name TEXT NOT NULL,
    split TEXT NOT NULL,
    stem TEXT NOT NULL,
    choices TEXT NOT NULL,
    gold TEXT,
    pair TEXT
);
CREATE INDEX questions_by_split ON questions (task, split);
CREATE TABLE prompts (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE teachers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE samplings (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    question INTEGER NOT NULL REFERENCES questions,
    prompt INTEGER NOT NULL REFERENCES prompts,
    teacher INTEGER NOT NULL REFERENCES teachers,
    sampling INTEGER NOT NULL REFERENCES samplings,
    indices TEXT NOT NULL,
    begun REAL NOT NULL,
    ended REAL,
    outcome TEXT CHECK (outcome IN ('ok', 'failed')),
    error TEXT,
    received INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER
);
CREATE INDEX requests_open ON requests (session) WHERE outcome IS NULL;
CREATE TABLE chains (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    question INTEGER NOT NULL REFERENCES questions,
    prompt INTEGER NOT NULL REFERENCES prompts,
    teacher INTEGER NOT NULL REFERENCES teachers,
    sampling INTEGER NOT NULL REFERENCES samplings,
    idx INTEGER NOT NULL,
    text TEXT NOT NULL,
    finish TEXT NOT NULL,
    n_tokens INTEGER,
    mean_logprob REAL,
    request INTEGER REFERENCES requests
);
CREATE UNIQUE INDEX chains_by_question ON chains (question, idx, teacher, sampling, prompt);
CREATE TABLE duplicates (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains,
    text TEXT NOT NULL,
    request INTEGER REFERENCES requests
);
CREATE INDEX duplicates_by_chain ON duplicates (chain);
CREATE TABLE scores (
    kind TEXT NOT NULL,
    chain INTEGER NOT NULL REFERENCES chains,
    value REAL NOT NULL,
    PRIMARY KEY (kind, chain)
) WITHOUT ROWID;
CREATE TABLE selections (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE (run, name)
);
CREATE TABLE selected (
    selection INTEGER NOT NULL REFERENCES selections ON DELETE CASCADE,
    position INTEGER NOT NULL,
    chain INTEGER NOT NULL REFERENCES chains,
    dropped TEXT,
    PRIMARY KEY (selection, position)
) WITHOUT ROWID;
CREATE TABLE predictions (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    student TEXT NOT NULL,
    split TEXT NOT NULL,
    decoding TEXT NOT NULL,
    question_key TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (run, student, split, decoding, question_key)
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    lineage TEXT NOT NULL,
    UNIQUE (run, lineage)
);
"""

# What a parser read in a chain's text. It can be read again at any time, but not a million times a second.
_PARSES = """
CREATE TABLE parses (
    chain INTEGER PRIMARY KEY REFERENCES chains,
    parser TEXT NOT NULL,
    answer TEXT,
    reason TEXT
);
"""

# How many answers of a request were not counted, by what became of them (NULL: from before this was kept); what servers
# were found to give at most; requests as `merge` finds them again.
_MONEY = """
ALTER TABLE requests ADD COLUMN lost INTEGER;
ALTER TABLE requests ADD COLUMN unreadable INTEGER;
ALTER TABLE requests ADD COLUMN unsaid INTEGER;
CREATE INDEX requests_by_question ON requests (question, begun);
CREATE TABLE servers (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    model TEXT NOT NULL,
    max_n INTEGER NOT NULL,
    learned REAL NOT NULL,
    UNIQUE (address, model)
);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _PARSES, _MONEY)


def connect_writer(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open or create the file for writing and bring it up to date. The caller holds the writer's lock.

    Raises CorpusError where the file is no corpus, is of a newer version, or cannot be written.
    """
    connection = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        _check_kind(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        migrate(connection, path, migrations)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise _unreadable(path, error) from error
    except CorpusError:
        if connection is not None:
            connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open an existing, up-to-date file for reading, beside a writer or alone, also on a read-only medium."""
    if not path.is_file():
        raise CorpusError(f"{path}: no such corpus. Sampling or `scotd corpus import` makes one.")
    connection = None
    try:
        connection = sqlite3.connect(_read_only_uri(path), uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        _check_kind(connection, path)
        version = _version(connection)
        _refuse_newer(path, version, len(MIGRATIONS))
        if version < len(MIGRATIONS):
            raise CorpusError(
                f"{path}: of corpus version {version}, this scotd reads {len(MIGRATIONS)}. Open it once with a command "
                f"that writes, to bring it up to date: `scotd corpus servers {path} --forget`."
            )
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise _unreadable(path, error) from error
    except CorpusError:
        if connection is not None:
            connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS) -> int:
    """Apply what a file lacks, each migration in one transaction with its number. Returns how many were applied."""
    version = _version(connection)
    _refuse_newer(path, version, len(migrations))
    for number, script in enumerate(migrations[version:], start=version + 1):
        try:
            # The file's mark and its version change with its tables or not at all.
            connection.executescript(
                f"BEGIN IMMEDIATE;{script};PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number};COMMIT;"
            )
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise CorpusError(f"{path}: could not be brought to corpus version {number} ({error}).") from error
    return len(migrations) - version


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(path: Path, version: int, known: int) -> None:
    if version > known:
        raise CorpusError(
            f"{path}: of corpus version {version}, this scotd knows versions up to {known}. Install a newer scotd."
        )


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark != APPLICATION_ID and tables:
        raise CorpusError(f"{path}: a SQLite file of another program, not a corpus. Name another file.")


def _read_only_uri(path: Path) -> str:
    """URI for reading. Without a right to write next to it, a file in WAL mode opens only as immutable, which is safe
    as long as no log lies beside it: a writer would have made one."""
    alone = not Path(f"{path}-wal").exists() and not os.access(path.resolve().parent, os.W_OK)
    return path.resolve().as_uri() + ("?mode=ro&immutable=1" if alone else "?mode=ro")


def _unreadable(path: Path, error: sqlite3.Error) -> CorpusError:
    return CorpusError(f"{path}: cannot be opened as a corpus ({error}). Name another file, or mend its access rights.")
