"""Several corpora into one: every chain once, every dollar once.

    with Corpus.open(out) as corpus:
        merged = merge(corpus, Path("other.sqlite"))

What comes along: questions, prompts, chains and texts set aside, scores, the journal of requests with its bill, the
lineage of runs and imports, and what servers were found to give. Selections and predictions stay where they are: they
belong to the run folders that made them, and two runs of one name would be mixed.

What is there already is left as it is, so that a merge may be stopped and run again, and done twice changes nothing. A
chain is known by its identity. A request has none: it is the same where question, prompt, teacher, sampling, indices
and the moment in which it was begun are the same, which also holds for copies of a corpus that went on apart.

The source is verified first, since damage that was taken in could not be taken out again. Then it is read in batches,
both under its writer's lock. A request and the chains that it brought are committed together, as when they came: a
merge that was killed leaves a corpus that is whole.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scotd.corpus import rows
from scotd.corpus.schema import connect_reader
from scotd.corpus.store import BATCH, Corpus
from scotd.corpus.values import ChainsAdded, QuestionsAdded
from scotd.corpus.verify import verify
from scotd.corpus.writer import Tables, WriterLock
from scotd.errors import CorpusError
from scotd.progress import Tracker, track

REQUESTS = 500  # a transaction: their chains come with them
MERGED = 0  # in place of the number of a writer: what is open among these requests is unaccounted for everybody
Batch = list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class RequestsAdded:
    """What became of a source's requests: `ended` were open here, and their outcome is known by now."""

    new: int = 0
    same: int = 0
    ended: int = 0

    def __add__(self, other: "RequestsAdded") -> "RequestsAdded":
        return RequestsAdded(new=self.new + other.new, same=self.same + other.same, ended=self.ended + other.ended)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a source held and what of it was new. `other_scores` differ from the stored ones of their chain, which
    stand; `left` counts the selections and predictions that stayed behind."""

    questions: QuestionsAdded
    chains: ChainsAdded
    requests: RequestsAdded
    other_scores: int
    left: int


def merge(corpus: Corpus, source: Path, *, progress: Tracker = track) -> Merged:
    """Take everything in that another corpus holds and this one does not.

    Raises CorpusError where the source is of another version, is being written, holds a question of the same key with
    other words, or is damaged; nothing of it is taken in then.
    """
    if source.is_file() and corpus.path.samefile(source):
        raise CorpusError(f"{source}: is the corpus that is merged into. Name another one.")
    with _at_rest(source) as theirs:
        _check(source, progress)
        try:
            return _merge(corpus, source, theirs, progress)
        except sqlite3.Error as error:
            raise CorpusError(f"{source}: cannot be read ({error}).") from error


def _check(source: Path, progress: Tracker) -> None:
    """Raise CorpusError where a source is not whole."""
    with Corpus.open(source, "ro") as opened:
        found = verify(opened, progress=progress, shown=1)
    if not found.whole:
        raise CorpusError(
            f"{source}: is damaged ({found.damages[0].shown[0]}), and nothing of it is taken in. "
            "`scotd corpus verify` names all of it."
        )


@contextmanager
def _at_rest(source: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a corpus that nobody writes meanwhile."""
    connection = connect_reader(source)
    try:
        # Where no lock can be made nobody else can write either.
        lock = WriterLock(source) if os.access(source.resolve().parent, os.W_OK) else None
        try:
            yield connection
        finally:
            if lock is not None:
                lock.release()
    finally:
        connection.close()


def _merge(corpus: Corpus, source: Path, theirs: sqlite3.Connection, progress: Tracker) -> Merged:
    held = {
        name: _count(theirs, name) for name in ("questions", "prompts", "requests", "chains", "duplicates", "scores")
    }
    with progress(f"merging {source.name}", sum(held.values())) as bar:
        questions = corpus.write(partial(_take_questions, theirs=theirs, source=source))
        bar.advance(held["questions"])
        for batch in _batches(theirs, _PROMPTS):
            corpus.write(partial(rows.insert_prompts, rows=[row[1:] for row in batch]))
            bar.advance(len(batch))
        corpus.write(_begin)
        requests, chains = RequestsAdded(), ChainsAdded()
        for batch in _batches(theirs, _REQUESTS, size=REQUESTS):
            brought = theirs.execute(_BROUGHT, (batch[0][0], batch[-1][0])).fetchall()
            journal, came = corpus.write(partial(_take_requests, batch=batch, brought=brought))
            requests, chains = requests + journal, chains + came
            bar.advance(len(batch) + len(brought))
        for batch in _batches(theirs, _IMPORTED):
            chains += corpus.write(partial(_take_chains, batch=batch))
            bar.advance(len(batch))
        for batch in _batches(theirs, _DUPLICATES):
            corpus.write(partial(_take_duplicates, batch=batch))
            bar.advance(len(batch))
        other_scores = 0
        for (kind,) in theirs.execute("SELECT DISTINCT kind FROM scores ORDER BY kind").fetchall():
            for batch in _batches(theirs, _SCORES, kind):
                other_scores += corpus.write(partial(_take_scores, kind=kind, batch=batch))
                bar.advance(len(batch))
        lineage = {"corpus": source.name, **{name: held[name] for name in ("questions", "requests", "chains")}}
        corpus.write(partial(_take_the_rest, theirs=theirs))
        corpus.record_run(f"merge:{source.stem}", lineage)
    left = _count(theirs, "selections") + _count(theirs, "predictions")
    return Merged(questions=questions, chains=chains, requests=requests, other_scores=other_scores, left=left)


# Each with its id first and ordered by it: `_batches` goes on behind the last one.
_PROMPTS = "SELECT id, digest, body FROM prompts WHERE id > ? ORDER BY id LIMIT ?"

_REQUESTS = """
SELECT r.id, q.key, p.digest, t.name, s.digest, s.body, r.indices, r.begun,
    (SELECT count(*) FROM requests x WHERE x.question = r.question AND x.begun = r.begun AND x.prompt = r.prompt
        AND x.teacher = r.teacher AND x.sampling = r.sampling AND x.indices = r.indices AND x.id < r.id),
    r.ended, r.outcome, r.error, r.received, r.prompt_tokens, r.completion_tokens, r.lost, r.unreadable, r.unsaid
FROM requests r JOIN questions q ON q.id = r.question JOIN prompts p ON p.id = r.prompt
JOIN teachers t ON t.id = r.teacher JOIN samplings s ON s.id = r.sampling
WHERE r.id > ? ORDER BY r.id LIMIT ?
"""

_CHAIN = """c.id, c.digest, q.key, p.digest, t.name, s.digest, s.body, c.idx, c.text, c.finish, c.n_tokens,
    c.mean_logprob, c.request"""
_NAMES = """JOIN questions q ON q.id = c.question JOIN prompts p ON p.id = c.prompt
JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling"""

# Chains have no index by request: those of a request are found in the places that it asked for.
_BROUGHT = f"""
SELECT {_CHAIN} FROM requests r CROSS JOIN json_each(r.indices) w CROSS JOIN chains c ON c.question = r.question
    AND c.idx = w.value AND c.teacher = r.teacher AND c.sampling = r.sampling AND c.prompt = r.prompt {_NAMES}
WHERE r.id BETWEEN ? AND ? AND c.request = r.id ORDER BY c.id
"""

_IMPORTED = f"SELECT {_CHAIN} FROM chains c {_NAMES} WHERE c.request IS NULL AND c.id > ? ORDER BY c.id LIMIT ?"

_DUPLICATES = """
SELECT d.id, c.digest, d.text, d.request FROM duplicates d JOIN chains c ON c.id = d.chain
WHERE d.id > ? ORDER BY d.id LIMIT ?
"""

_SCORES = """
SELECT s.chain, c.digest, c.text, s.value FROM scores s JOIN chains c ON c.id = s.chain
WHERE s.kind = ?3 AND s.chain > ?1 ORDER BY s.chain LIMIT ?2
"""


def _batches(theirs: sqlite3.Connection, sql: str, *values: object, size: int | None = None) -> Iterator[Batch]:
    last = -(2**63)
    while batch := theirs.execute(sql, (last, size or BATCH, *values)).fetchall():
        yield batch
        last = batch[-1][0]


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _begin(tables: Tables) -> None:
    """Make room for the source's request numbers with ours, on the disk where there are many."""
    tables.connection.execute("DROP TABLE IF EXISTS temp.merged")
    tables.connection.execute("CREATE TEMP TABLE merged (source INTEGER PRIMARY KEY, ours INTEGER NOT NULL)")


def _take_questions(tables: Tables, theirs: sqlite3.Connection, source: Path) -> QuestionsAdded:
    """All in one transaction, so that a source that does not fit leaves nothing behind."""
    added = QuestionsAdded()
    cursor = theirs.execute(f"SELECT key, {rows.QUESTION_COLUMNS} FROM questions ORDER BY id")
    try:
        while batch := cursor.fetchmany(BATCH):
            one = rows.insert_questions(tables, [(key, tuple(row)) for key, *row in batch], "keep")
            added = QuestionsAdded(
                new=added.new + one.new, same=added.same + one.same, changed=added.changed + one.changed
            )
    except CorpusError as error:
        raise CorpusError(f"{source}: {error}") from error
    return added


_FIND = """
SELECT id, outcome FROM requests WHERE question = ? AND prompt = ? AND teacher = ? AND sampling = ? AND indices = ?
AND begun = ? ORDER BY id
"""
_ADD = """
INSERT INTO requests (session, question, prompt, teacher, sampling, indices, begun, ended, outcome, error, received,
    prompt_tokens, completion_tokens, lost, unreadable, unsaid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_END = """
UPDATE requests SET ended = ?, outcome = ?, error = ?, received = ?, prompt_tokens = ?, completion_tokens = ?, lost = ?,
    unreadable = ?, unsaid = ? WHERE id = ?
"""


def _take_requests(tables: Tables, batch: Batch, brought: Batch) -> tuple[RequestsAdded, ChainsAdded]:
    """Requests, and the chains that they brought."""
    new = ended = 0
    numbers = []
    for number, key, prompt, teacher, sampling, body, indices, begun, nth, *outcome in batch:
        named = (tables.question(key), tables.prompt(prompt), tables.teacher(teacher), tables.sampling(sampling, body))
        same = (*named, indices, begun)
        found = tables.connection.execute(_FIND, same).fetchall()
        if nth >= len(found):
            ours = tables.connection.execute(_ADD, (MERGED, *same, *outcome)).lastrowid
            new += 1
        else:
            ours, known = found[nth]
            if known is None and outcome[1] is not None:
                tables.connection.execute(_END, (*outcome, ours))
                ended += 1
        numbers.append((number, ours))
    tables.connection.executemany("INSERT INTO temp.merged (source, ours) VALUES (?, ?)", numbers)
    return RequestsAdded(new=new, same=len(batch) - new - ended, ended=ended), _take_chains(tables, brought)


def _take_chains(tables: Tables, batch: Batch) -> ChainsAdded:
    numbers = _ours(tables, [row[-1] for row in batch])
    given = []
    for _, digest, key, prompt, teacher, sampling, body, index, text, finish, n_tokens, mean_logprob, request in batch:
        named = (digest, key, prompt, teacher, (sampling, body), index)
        given.append(rows.ChainRow(*named, text, finish, n_tokens, mean_logprob, numbers.get(request)))
    return rows.insert_chains(tables, given)


def _ours(tables: Tables, requests: Sequence[int | None]) -> dict[int | None, int]:
    sql = "SELECT source, ours FROM json_each(?) w JOIN temp.merged m ON m.source = w.value"
    known = [request for request in requests if request is not None]
    return dict(tables.connection.execute(sql, (json.dumps(known),)))


def _take_duplicates(tables: Tables, batch: Batch) -> None:
    numbers = _ours(tables, [row[-1] for row in batch])
    for _, digest, text, request in batch:
        rows.set_aside(tables, digest, text, numbers.get(request))


def _take_scores(tables: Tables, kind: str, batch: Batch) -> int:
    """Scores of chains that stand here with the text that was scored; returns how many differ from stored ones."""
    other = 0
    for _, digest, text, value in batch:
        found = tables.connection.execute(
            "SELECT c.id, s.value FROM chains c LEFT JOIN scores s ON s.chain = c.id AND s.kind = ?"
            " WHERE c.digest = ? AND c.text = ?",
            (kind, digest, text),
        ).fetchone()
        if found is not None and found[1] is None:
            insert = "INSERT INTO scores (kind, chain, value) VALUES (?, ?, ?)"
            tables.connection.execute(insert, (kind, found[0], value))
        elif found is not None:
            other += found[1] != value
    return other


def _take_the_rest(tables: Tables, theirs: sqlite3.Connection) -> None:
    """Lineages, and of what servers give the newer finding."""
    tables.connection.executemany(
        "INSERT OR IGNORE INTO runs (run, lineage) VALUES (?, ?)",
        theirs.execute("SELECT run, lineage FROM runs ORDER BY id"),
    )
    tables.connection.executemany(
        "INSERT INTO servers (address, model, max_n, learned) VALUES (?, ?, ?, ?) ON CONFLICT (address, model)"
        " DO UPDATE SET max_n = excluded.max_n, learned = excluded.learned WHERE excluded.learned > learned",
        theirs.execute("SELECT address, model, max_n, learned FROM servers ORDER BY id"),
    )
