"""The class `Corpus`: what may be asked of, and put into, one corpus file.

Everything that writes goes through the writer's thread (`writer.py`); what was only queued is committed before
anything is read, so a writer always reads its own work. A stream of chains has a connection, and so a moment in time,
of its own: it does not change while it is read, and holds nobody up.
"""

import atexit
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from scotd import answers
from scotd.corpus import results, rows, summary
from scotd.corpus.schema import connect_reader, connect_writer
from scotd.corpus.values import (
    ChainsAdded,
    CorpusStats,
    KnownCap,
    QuestionsAdded,
    RequestCount,
    RequestIntent,
    RunRecord,
    Want,
)
from scotd.corpus.writer import Tables, Writer, WriterLock
from scotd.errors import CorpusError
from scotd.types import (
    Answered,
    Chain,
    Fate,
    Finish,
    NoAnswer,
    Prediction,
    Prompt,
    Question,
    SamplingParams,
    Selection,
    ServerCap,
    Usage,
)

T = TypeVar("T")

NOTHING_SAID = Usage()
BATCH = 5_000  # rows a transaction, where many are stored at once
BULK = 50_000  # chains of a bulk import: a transaction writes each page of their index once


class Corpus:
    """A corpus file, opened for writing ("rw", one process at a time) or reading ("ro", any number, also beside it).

    Every method raises CorpusError where the file cannot serve it, and, in "rw" mode, where something queued earlier
    could not be stored.
    """

    def __init__(self, path: Path, reader: sqlite3.Connection, writer: Writer | None, lock: WriterLock | None) -> None:
        self.path = path
        self._reader = reader
        self._reading = threading.Lock()
        self._writer = writer
        self._lock = lock
        self._closed = False

    @classmethod
    def open(cls, path: Path | str, mode: Literal["rw", "ro"] = "rw") -> "Corpus":
        """Open a corpus; "rw" makes the file (and its folder) where there is none.

        Raises CorpusError: no such file ("ro"), not a corpus, of a newer version, or written by another process.
        """
        path = Path(path)
        if mode == "ro":
            return cls(path, connect_reader(path), None, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(path)
        try:
            connection = connect_writer(path)
            reader = connect_reader(path)
        except BaseException:
            lock.release()
            raise
        corpus = cls(path, reader, Writer(path, connection), lock)
        atexit.register(corpus._release)  # what is queued is stored even where nobody calls close
        return corpus

    def close(self) -> None:
        """Commit what is queued and give the file up. Raises what could not be stored. May be called twice."""
        self._release()
        if self._writer is not None:
            self._writer.check()

    def __enter__(self) -> "Corpus":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except CorpusError as lost:  # the first error is the one to show
            if str(lost) != str(error):
                error.add_note(str(lost))

    def write(self, operation: Callable[[Tables], T]) -> T:
        """Run an operation on the tables, for the modules of this package; committed when it returns."""
        return self._writing().call(operation)

    # -- questions and prompts

    def add_questions(
        self, questions: Iterable[Question], changes: Literal["update", "keep"] = "update"
    ) -> QuestionsAdded:
        """Store questions; committed when it returns.

        One that is stored already with another gold label, split or pair is brought up to date (or left as it is:
        `changes` "keep") and counted. Raises CorpusError where stem or choices differ: stored chains answer those.
        """
        given = [(question.key, rows.question_row(question)) for question in questions]
        return self.write(lambda tables: rows.insert_questions(tables, given, changes))

    def questions(
        self, task: str | None = None, split: str | None = None, keys: Iterable[str] | None = None
    ) -> list[Question]:
        """Return the questions asked for, ordered by key."""
        where, values = _question_filter(task, split, keys)
        sql = f"SELECT {rows.QUESTION_COLUMNS} FROM questions q WHERE {where} ORDER BY key"
        return [rows.question_of(row) for row in self._read(sql, values)]

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Store prompts, many a transaction; committed when it returns. Returns how many were new."""
        new = 0
        stream = iter(prompts)
        while batch := list(islice(stream, BATCH)):
            given = [rows.prompt_row(prompt) for prompt in batch]
            new += self.write(partial(rows.insert_prompts, rows=given))
        return new

    def prompts(self, ids: Iterable[str] | None = None) -> dict[str, Prompt]:
        """Return prompts by their id: all, or those of `ids`; an unknown id is a CorpusError."""
        if ids is None:
            found = self._read("SELECT digest, body FROM prompts ORDER BY digest", ())
        else:
            wanted = sorted(set(ids))
            sql = "SELECT digest, body FROM prompts WHERE digest IN (SELECT value FROM json_each(?)) ORDER BY digest"
            found = self._read(sql, (json.dumps(wanted),))
            if len(found) < len(wanted):
                lost = min(set(wanted) - {digest for digest, _ in found})
                raise CorpusError(f"{self.path}: holds no prompt '{lost}'.")
        return {digest: Prompt.from_json(json.loads(body)) for digest, body in found}

    # -- requests and their chains

    def begin_requests(self, intents: Sequence[RequestIntent]) -> list[int]:
        """Journal what is about to be asked of a teacher; committed when it returns. Returns a number for each."""
        begun = time.time()
        given = [(intent, rows.sampling_row(intent.sampling)) for intent in intents]

        def insert(tables: Tables) -> list[int]:
            numbers = []
            for intent, sampling in given:
                cursor = tables.connection.execute(
                    "INSERT INTO requests (session, question, prompt, teacher, sampling, indices, begun)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        tables.session,
                        tables.question(intent.question_key),
                        tables.prompt(intent.prompt_id),
                        tables.teacher(intent.teacher),
                        tables.sampling(*sampling),
                        json.dumps(intent.indices),
                        begun,
                    ),
                )
                numbers.append(int(cursor.lastrowid or 0))
            return numbers

        return self.write(insert)

    def finish_request(self, request: int, chains: Sequence[Chain], usage: Usage) -> None:
        """Queue what a request brought, chains and bill together: one commit, within 50 ms. Fewer chains than asked
        for may come: the others stay missing."""
        given = rows.chain_rows(chains, request)
        ended = time.time()

        def insert(tables: Tables) -> None:
            _end_request(tables, request, ("ok", None, len(given), ended), usage)
            rows.insert_chains(tables, given)

        self._post(insert)

    def fail_request(self, request: int, error: str, usage: Usage = NOTHING_SAID) -> None:
        """Queue that a request brought nothing, why, and what it was billed all the same."""
        outcome = ("failed", rows.storable(error), 0, time.time())
        self._post(lambda tables: _end_request(tables, request, outcome, usage))

    def flush(self) -> None:
        """Wait until everything queued is committed."""
        if self._writer is not None:
            self._writer.flush()

    def unaccounted(self) -> list[RequestIntent]:
        """Requests that an earlier writer began and whose outcome it never learnt: killed, they may have cost.

        A reader beside a working writer sees that writer's open requests too.
        """
        return [rows.intent_of(*row) for row in self._read(summary.UNACCOUNTED, (self._session(),))]

    def uncounted(self, teacher: str) -> list[tuple[RequestIntent, int]]:
        """Requests to a teacher of which so many answers were not counted, lost ones included: they may have cost."""
        return [(rows.intent_of(*row), count) for *row, count in self._read(summary.UNCOUNTED, (teacher,))]

    def requests(self, teacher: str | None = None) -> RequestCount:
        """Count the requests of all sittings: all, or those to one teacher."""
        return summary.requests(self._read, self._session(), teacher)

    def billed(self, teacher: str) -> Usage:
        """What the servers counted for a teacher's requests so far."""
        self._sync()
        ((prompt, completion),) = self._read(summary.BILLED, (teacher,))
        return Usage(prompt_tokens=prompt, completion_tokens=completion)

    def learn_cap(self, cap: ServerCap) -> None:
        """Queue what a server was found to give at most, for later sittings; the newest finding stands."""
        value = (cap.server, cap.model, cap.max_n, time.time())
        sql = "INSERT OR REPLACE INTO servers (address, model, max_n, learned) VALUES (?, ?, ?, ?)"
        self._post(lambda tables: tables.connection.execute(sql, value))

    def caps(self) -> list[KnownCap]:
        """What servers were found to give at most, by address and model."""
        sql = "SELECT address, model, max_n, learned FROM servers ORDER BY address, model"
        return [
            KnownCap(cap=ServerCap(server=address, model=model, max_n=max_n), learned=learned)
            for address, model, max_n, learned in self._read(sql, ())
        ]

    def forget_caps(self) -> int:
        """Forget what servers were found to give at most: the next sitting finds out anew. Returns how many."""
        return self.write(lambda tables: tables.connection.execute("DELETE FROM servers").rowcount)

    def add_chains(self, chains: Iterable[Chain]) -> ChainsAdded:
        """Store chains that no request of ours brought, many a transaction; committed when it returns."""
        added = ChainsAdded()
        stream = iter(chains)
        while batch := list(islice(stream, BULK)):
            given = rows.chain_rows(batch)
            added += self.write(lambda tables, given=given: rows.insert_chains(tables, given))  # type: ignore[misc]
        return added

    def chains(
        self,
        *,
        teacher: str | None = None,
        sampling: SamplingParams | None = None,
        question_keys: Iterable[str] | None = None,
        task: str | None = None,
        split: str | None = None,
        prompt_ids: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        greedy: bool | None = None,
    ) -> Iterator[Chain]:
        """Stream the chains asked for, as they are now, ordered by question key, then index, then the rest of their
        identity: the same chains come in the same order from every corpus that holds them. `greedy` asks for those of
        temperature 0, or for all others."""
        self._sync()
        where, values = _chain_filter(
            teacher=teacher,
            sampling=sampling,
            question_keys=question_keys,
            task=task,
            split=split,
            prompt_ids=prompt_ids,
            ids=ids,
            greedy=greedy,
        )
        # CROSS fixes the order of the loops, so that chains stream along the questions' index and are never sorted.
        join = "CROSS JOIN" if ids is None else "JOIN"
        return self._stream(summary.CHAINS.format(join=join, where=where), values)

    def answered(
        self,
        questions: Mapping[str, Question],
        *,
        teacher: str | None = None,
        sampling: SamplingParams | None = None,
        question_keys: Iterable[str] | None = None,
        prompt_ids: Iterable[str] | None = None,
        greedy: bool | None = None,
    ) -> Iterator[Answered]:
        """Stream what the chains asked for answer, in the order of `chains`; `questions` by key must hold theirs.

        A text is read once by each version of the parser, and what it said is stored (in a corpus opened for writing):
        this is some fifty times as fast the second time.
        """
        self._sync()
        where, values = _chain_filter(
            teacher=teacher, sampling=sampling, question_keys=question_keys, prompt_ids=prompt_ids, greedy=greedy
        )
        return self._read_answers(summary.ANSWERED.format(where=where), values, questions)

    def present_indices(
        self, question_keys: Iterable[str], prompt_ids: Iterable[str], teacher: str, sampling: SamplingParams
    ) -> dict[tuple[str, str], set[int]]:
        """Sample indices that exist, by (question key, prompt id); pairs without any are left out."""
        values = (_json_list(question_keys), _json_list(prompt_ids), teacher, sampling.id)
        present: dict[tuple[str, str], set[int]] = {}
        for key, prompt, index in self._read(summary.PRESENT, values):
            present.setdefault((key, prompt), set()).add(index)
        return present

    def missing(self, wants: Iterable[Want], n: int) -> list[tuple[Want, tuple[int, ...]]]:
        """Return the wants that have not all of the sample indices 0..n-1, in the order given, with those lacking."""
        wants = list(wants)
        groups: dict[tuple[str, SamplingParams], list[Want]] = {}
        for want in wants:
            groups.setdefault((want.teacher, want.sampling), []).append(want)
        present: dict[Want, set[int]] = {}
        for (teacher, sampling), group in groups.items():
            found = self.present_indices(
                {want.question_key for want in group}, {want.prompt_id for want in group}, teacher, sampling
            )
            for want in group:
                present[want] = found.get((want.question_key, want.prompt_id), set())
        lacking = [(want, tuple(index for index in range(n) if index not in present[want])) for want in wants]
        return [(want, indices) for want, indices in lacking if indices]

    # -- scores, selections, predictions, runs

    def put_scores(self, kind: str, values: Mapping[str, float]) -> None:
        """Store numbers of one kind ("scored-by X", ...) by chain id; a number stored before is replaced."""
        given = dict(values)
        self.write(lambda tables: results.insert_scores(tables, kind, given))

    def scores(self, kind: str, chain_ids: Iterable[str]) -> dict[str, float]:
        """Return the numbers of one kind by chain id, of those chains that have one."""
        return results.read_scores(self._read, kind, chain_ids)

    def save_selection(self, run: str, name: str, fates: Iterable[Fate]) -> Selection:
        """Store a run's selection as its fates come, in place of an earlier one of the same name; returns the counts.

        The earlier one stays until the new one is whole.
        """
        number = self.write(lambda tables: results.begin_selection(tables, run, name))
        done = 0
        stream = iter(fates)
        while batch := list(islice(stream, BATCH)):
            self.write(partial(results.insert_fates, selection=number, first=done, fates=batch))
            done += len(batch)
        self.write(lambda tables: results.end_selection(tables, number, run, name))
        found = self.selection(run, name)
        assert found is not None
        return found

    def selection(self, run: str, name: str) -> Selection | None:
        """Return the counts of a run's selection, or None where there is no such one."""
        return results.read_selection(self._read, run, name)

    def selections(self) -> list[tuple[str, str]]:
        """Return run and name of every selection, in their order."""
        return results.read_selections(self._read)

    def fates(self, run: str, name: str) -> Iterator[Fate]:
        """Stream what a run's selection made of each chain, in its order; nothing where there is no such selection."""
        self._sync()
        with self._moment() as connection:
            for chain, key, dropped in connection.execute(summary.FATES, (run, name)):
                yield Fate(chain_id=chain, question_key=key, dropped=dropped)

    def selected(self, run: str, name: str) -> Iterator[Chain]:
        """Stream the chains that a run's selection kept, in its order."""
        self._sync()
        return self._stream(summary.SELECTED, (run, name))

    def put_predictions(self, run: str, student: str, split: str, predictions: Iterable[Prediction]) -> None:
        """Store predictions, one a question and decoding; one stored before is replaced and keeps its place."""
        given = results.prediction_rows(run, student, split, predictions)
        self.write(lambda tables: tables.connection.executemany(results.INSERT_PREDICTION, given))

    def predictions(self, run: str, student: str, split: str, decoding_name: str) -> list[Prediction]:
        """Return predictions in the order in which they were first stored."""
        return results.read_predictions(self._read, run, student, split, decoding_name)

    def record_run(self, run: str, lineage: Mapping[str, object]) -> None:
        """Store a run's lineage (JSON values). Another one of the same name is kept beside it, an equal one is not."""
        value = (run, json.dumps(lineage, ensure_ascii=False, sort_keys=True))
        sql = "INSERT OR IGNORE INTO runs (run, lineage) VALUES (?, ?)"
        self.write(lambda tables: tables.connection.execute(sql, value))

    def runs(self) -> list[RunRecord]:
        """Return all lineages, oldest first."""
        found = self._read("SELECT run, lineage FROM runs ORDER BY id", ())
        return [RunRecord(run=run, lineage=json.loads(lineage)) for run, lineage in found]

    def stats(self) -> CorpusStats:
        """Count everything."""
        return summary.stats(self._read, self._session())

    # -- inside

    def _session(self) -> int | None:
        return None if self._writer is None else self._writer.session

    def _writing(self) -> Writer:
        if self._writer is None:
            raise CorpusError(f"{self.path}: opened for reading only.")
        return self._writer

    def _post(self, operation: Callable[[Tables], object]) -> None:
        self._writing().post(operation)

    def _sync(self) -> None:
        if self._closed:
            raise CorpusError(f"{self.path}: the corpus is closed.")
        self.flush()

    def _read(self, sql: str, values: Sequence[object]) -> list[Any]:
        self._sync()
        with self._reading:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise CorpusError(f"{self.path}: cannot be read ({error}).") from error

    def _stream(self, sql: str, values: Sequence[object]) -> Iterator[Chain]:
        with self._moment() as connection:
            teachers = dict(connection.execute("SELECT id, name FROM teachers"))
            samplings = {
                number: SamplingParams.from_json(json.loads(body))
                for number, body in connection.execute("SELECT id, body FROM samplings")
            }
            for key, prompt, teacher, sampling, index, text, finish, n_tokens, mean_logprob in connection.execute(
                sql,
                values,
            ):
                yield Chain(
                    question_key=key,
                    prompt_id=prompt,
                    teacher=teachers[teacher],
                    sampling=samplings[sampling],
                    index=index,
                    text=text,
                    finish=Finish(finish),
                    n_tokens=n_tokens,
                    mean_logprob=mean_logprob,
                )

    @contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, on which all statements see one moment."""
        connection = connect_reader(self.path)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise CorpusError(f"{self.path}: cannot be read ({error}).") from error
        finally:
            connection.close()

    def _read_answers(
        self, sql: str, values: Sequence[object], questions: Mapping[str, Question]
    ) -> Iterator[Answered]:
        parser = answers.version()
        new: list[tuple[int, str, str | None, str | None]] = []
        with self._moment() as connection:
            for chain, digest, key, index, finish, *read, text in connection.execute(sql, (parser, *values)):
                ended = Finish(finish)
                if text is None:
                    answer, reason = read
                else:
                    answer, reason = answers.answer_of(text, questions[key], ended)
                    new.append((chain, parser, answer, reason))
                    if len(new) == BATCH:
                        self._keep_answers(new)
                        new = []
                yield Answered(
                    chain_id=digest,
                    question_key=key,
                    index=index,
                    finish=ended,
                    answer=answer,
                    reason=None if reason is None else NoAnswer(reason),
                )
        self._keep_answers(new)

    def _keep_answers(self, read: list[tuple[int, str, str | None, str | None]]) -> None:
        if self._writer is not None and read:
            sql = "INSERT OR REPLACE INTO parses (chain, parser, answer, reason) VALUES (?, ?, ?, ?)"
            self._post(lambda tables: tables.connection.executemany(sql, read))

    def _release(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        if self._writer is not None:
            self._writer.stop()  # last to close: SQLite folds its log into the file
        if self._lock is not None:
            self._lock.release()
        atexit.unregister(self._release)


def _end_request(tables: Tables, request: int, outcome: tuple[str, str | None, int, float], usage: Usage) -> None:
    sql = (
        "UPDATE requests SET outcome = ?, error = ?, received = ?, ended = ?, prompt_tokens = ?, completion_tokens = ?,"
        " lost = ?, unreadable = ?, unsaid = ? WHERE id = ? AND outcome IS NULL"
    )
    unsaid = usage.unsaid - usage.lost - usage.unreadable
    billed = (usage.prompt_tokens, usage.completion_tokens, usage.lost, usage.unreadable, unsaid)
    if tables.connection.execute(sql, (*outcome, *billed, request)).rowcount != 1:
        raise CorpusError(f"request {request} was never begun, or has its outcome already.")


def _chain_filter(
    *,
    teacher: str | None = None,
    sampling: SamplingParams | None = None,
    question_keys: Iterable[str] | None = None,
    task: str | None = None,
    split: str | None = None,
    prompt_ids: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    greedy: bool | None = None,
) -> tuple[str, tuple[str, ...]]:
    """A WHERE clause over chains with their question, teacher, sampling and prompt, and its values."""
    where, values = _question_filter(task, split, question_keys)
    for clause, value in (
        ("t.name = ?", teacher),
        ("s.digest = ?", None if sampling is None else sampling.id),
        ("p.digest IN (SELECT value FROM json_each(?))", None if prompt_ids is None else _json_list(prompt_ids)),
        ("c.digest IN (SELECT value FROM json_each(?))", None if ids is None else _json_list(ids)),
    ):
        if value is not None:
            where += f" AND {clause}"
            values = (*values, value)
    if greedy is not None:
        where += f" AND json_extract(s.body, '$.temperature') {'=' if greedy else '>'} 0"
    return where, values


def _question_filter(task: str | None, split: str | None, keys: Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    """A WHERE clause over questions `q`, and its values."""
    clauses, values = ["1"], []
    for clause, value in (
        ("q.task = ?", task),
        ("q.split = ?", split),
        ("q.key IN (SELECT value FROM json_each(?))", None if keys is None else _json_list(keys)),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    return " AND ".join(clauses), tuple(values)


def _json_list(values: Iterable[str]) -> str:
    return json.dumps(sorted(set(values)), ensure_ascii=False)
