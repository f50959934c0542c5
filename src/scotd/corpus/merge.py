"""Several corpora into one: every chain once, every dollar once.

    with Corpus.open(out) as corpus:
        merged = merge(corpus, Path("other.sqlite"))

What comes along: questions, prompts, chains and texts set aside, scores, the journal of requests with its bill, the
lineage of runs and imports, and what servers were found to give. Selections and predictions stay where they are: they
belong to the run folders that made them, and two runs of one name would be mixed.

What is there already is left as it is, so that a merge may be stopped and run again, and done twice changes nothing. A
chain is known by its identity. A request has none: it is the same where question, prompt, teacher, sampling, indices
and the moment in which it was begun are the same, which also holds for copies of a corpus that went on apart. The
source is read in batches, under its writer's lock.
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
from scotd.corpus.writer import Tables, WriterLock
from scotd.errors import CorpusError
from scotd.progress import Tracker, track
from scotd.types import SamplingParams, chain_id

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
    other words (nothing of it is taken in then), or is damaged.
    """
    if source.is_file() and corpus.path.samefile(source):
        raise CorpusError(f"{source}: is the corpus that is merged into. Name another one.")
    with _at_rest(source) as theirs:
        try:
            return _merge(corpus, source, theirs, progress)
        except sqlite3.Error as error:
            raise CorpusError(f"{source}: cannot be read ({error}). {_VERIFY}") from error


_VERIFY = "`scotd corpus verify` names what is damaged."


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
        requests = RequestsAdded()
        for batch in _batches(theirs, _REQUESTS):
            requests += corpus.write(partial(_take_requests, batch=batch))
            bar.advance(len(batch))
        chains = ChainsAdded()
        for batch in _batches(theirs, _CHAINS):
            chains += corpus.write(partial(_take_chains, batch=batch, source=source))
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
FROM requests r LEFT JOIN questions q ON q.id = r.question LEFT JOIN prompts p ON p.id = r.prompt
LEFT JOIN teachers t ON t.id = r.teacher LEFT JOIN samplings s ON s.id = r.sampling
WHERE r.id > ? ORDER BY r.id LIMIT ?
"""

_CHAINS = """
SELECT c.id, c.digest, q.key, p.digest, t.name, s.digest, s.body, c.idx, c.text, c.finish, c.n_tokens, c.mean_logprob,
    c.request
FROM chains c LEFT JOIN questions q ON q.id = c.question LEFT JOIN prompts p ON p.id = c.prompt
LEFT JOIN teachers t ON t.id = c.teacher LEFT JOIN samplings s ON s.id = c.sampling
WHERE c.id > ? ORDER BY c.id LIMIT ?
"""

_DUPLICATES = """
SELECT d.id, c.digest, d.text, d.request FROM duplicates d JOIN chains c ON c.id = d.chain
WHERE d.id > ? ORDER BY d.id LIMIT ?
"""

_SCORES = """
SELECT s.chain, c.digest, c.text, s.value FROM scores s JOIN chains c ON c.id = s.chain
WHERE s.kind = ?3 AND s.chain > ?1 ORDER BY s.chain LIMIT ?2
"""


def _batches(theirs: sqlite3.Connection, sql: str, *values: object) -> Iterator[Batch]:
    last = -(2**63)
    while batch := theirs.execute(sql, (last, BATCH, *values)).fetchall():
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


def _take_requests(tables: Tables, batch: Batch) -> RequestsAdded:
    new = ended = 0
    numbers = []
    for number, key, prompt, teacher, sampling, body, indices, begun, nth, *outcome in batch:
        same = (*_names(tables, key, prompt, teacher, (sampling, body)), indices, begun)
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
    tables.known.clear()  # flat memory: question keys and prompts of a batch, not of a corpus
    return RequestsAdded(new=new, same=len(batch) - new - ended, ended=ended)


def _names(tables: Tables, key: Any, prompt: Any, teacher: Any, sampling: tuple[Any, Any]) -> tuple[int, int, int, int]:
    if None in (key, prompt, teacher, *sampling):
        raise CorpusError(f"a request names a row that the merged corpus does not hold. {_VERIFY}")
    return tables.question(key), tables.prompt(prompt), tables.teacher(teacher), tables.sampling(*sampling)


def _take_chains(tables: Tables, batch: Batch, source: Path) -> ChainsAdded:
    numbers = _ours(tables, [row[-1] for row in batch])
    samplings: dict[str, SamplingParams] = {}
    given = []
    for _, digest, key, prompt, teacher, sampling, body, index, text, finish, n_tokens, mean_logprob, request in batch:
        if sampling is not None and sampling not in samplings:
            samplings[sampling] = SamplingParams.from_json(json.loads(body))
        if sampling is None or digest != chain_id(key, prompt, teacher, samplings[sampling], index):
            raise CorpusError(f"{source}: chain {digest} has another identity than its content. {_VERIFY}")
        brought = numbers.get(request)
        named = (digest, key, prompt, teacher, (sampling, body), index)
        given.append(rows.ChainRow(*named, text, finish, n_tokens, mean_logprob, brought))
    added = rows.insert_chains(tables, given)
    tables.known.clear()
    return added


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
