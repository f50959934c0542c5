"""One writer for a corpus file: the lock that makes it the only one, and the thread that commits in groups.

A commit with synchronous=FULL waits for the disk, so the thread gathers what arrives within `GROUP_SECONDS` of the
first operation and commits it at once. An operation that somebody waits for closes the group early. Each operation
runs in its own savepoint: one that fails takes nothing else with it.
"""

import os
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scotd.errors import CorpusError, ScotdError

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

GROUP_SECONDS = 0.05
GROUP_OPERATIONS = 10_000  # bounds the memory of one transaction; a full group is committed at once
MANY = 1_000  # rows at once
BULK_CACHE_KIB = 128 << 10
KNOWN = 20_000  # names of rows kept in memory, which does not grow with the corpus


class WriterLock:
    """Advisory lock `<corpus>.lock`, holding the writer's process id. The system frees it when the process dies;
    on Windows, which has no flock, the file's existence is the lock, and a killed writer's is deleted by hand."""

    def __init__(self, corpus: Path) -> None:
        """Take the lock or raise CorpusError naming the process that holds it."""
        self.path = Path(f"{corpus}.lock")
        self._corpus = corpus
        try:
            self._fd = self._acquire()
        except OSError as error:
            raise CorpusError(f"{self.path}: the writer's lock cannot be made ({error.strerror}).") from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    def release(self) -> None:
        """Give the lock up and remove its file."""
        if sys.platform == "win32":
            os.close(self._fd)
            self.path.unlink(missing_ok=True)
        else:
            self.path.unlink(missing_ok=True)  # first, while it is still ours: see `_acquire`
            os.close(self._fd)

    def _acquire(self) -> int:
        if sys.platform == "win32":
            try:
                return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                raise self._held(f" If that process is gone, delete {self.path}.") from None
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise self._held(" Wait for it, or stop it.") from None
            # The former writer may have removed the file between our open and our lock: then we hold a lock on nothing.
            try:
                if os.path.samestat(os.fstat(fd), self.path.stat()):
                    return fd
            except FileNotFoundError:
                pass
            os.close(fd)

    def _held(self, remedy: str) -> CorpusError:
        try:
            pid = self.path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            pid = ""
        return CorpusError(f"{self._corpus}: being written by process {pid or 'unknown'}.{remedy}")


@dataclass
class Tables:
    """What an operation works with: the writer's connection and the integer names seen so far."""

    connection: sqlite3.Connection
    session: int
    known: dict[tuple[str, str], int] = field(default_factory=dict)

    def expect(self, rows: int) -> None:
        """Keep more pages in memory from here on where many chains come or are looked up at once: their digests are in
        no order, and touch pages all over their index."""
        if rows > MANY:
            self.connection.execute(f"PRAGMA cache_size = -{BULK_CACHE_KIB}")

    def question(self, key: str) -> int:
        return self._find("questions", "key", key, "add_questions")

    def prompt(self, digest: str) -> int:
        return self._find("prompts", "digest", digest, "add_prompts")

    def teacher(self, name: str) -> int:
        return self._intern("teachers", "name", name, "INSERT INTO teachers (name) VALUES (?)", (name,))

    def sampling(self, digest: str, body: str) -> int:
        insert = "INSERT INTO samplings (digest, body) VALUES (?, ?)"
        return self._intern("samplings", "digest", digest, insert, (digest, body))

    def _look_up(self, table: str, column: str, value: str) -> int | None:
        found = self.known.get((table, value))
        if found is None:
            row = self.connection.execute(f"SELECT id FROM {table} WHERE {column} = ?", (value,)).fetchone()
            if row is None:
                return None
            found = self._remember(table, value, int(row[0]))
        return found

    def _remember(self, table: str, value: str, number: int) -> int:
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[table, value] = number
        return number

    def _find(self, table: str, column: str, value: str, remedy: str) -> int:
        found = self._look_up(table, column, value)
        if found is None:
            raise CorpusError(
                f"{table[:-1]} '{value}' is not in the corpus: call {remedy} before its chains are stored."
            )
        return found

    def _intern(self, table: str, column: str, value: str, insert: str, row: tuple[str, ...]) -> int:
        found = self._look_up(table, column, value)
        if found is None:
            found = self._remember(table, value, int(self.connection.execute(insert, row).lastrowid or 0))
        return found


@dataclass
class _Operation:
    run: Callable[[Tables], object] | None  # None: nothing but a wish to be waited for
    future: "Future[object] | None"  # None: nobody waits; a failure becomes the writer's own


class Writer:
    """The thread that owns the write connection.

    `call` waits for its operation to be committed and raises what it raised. `post` returns at once; what a posted
    operation raises is raised, as CorpusError, by every later call and by `close`.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        # Not the number of any open request, which would pass for one of this writer's own; merged ones have 0.
        (greatest,) = connection.execute(
            "SELECT max(coalesce((SELECT session FROM requests ORDER BY id DESC LIMIT 1), 0),"
            " coalesce((SELECT max(session) FROM requests WHERE outcome IS NULL), 0))"
        ).fetchone()
        self._path = path
        self._tables = Tables(connection=connection, session=int(greatest) + 1)
        self._queue: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._broken = False
        self._closed = False
        self._gate = threading.Lock()  # nothing is queued behind the end
        self._thread = threading.Thread(target=self._work, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    @property
    def session(self) -> int:
        """Number of this writer among those that journaled requests in the file."""
        return self._tables.session

    def post(self, run: Callable[[Tables], object]) -> None:
        """Queue an operation: it is committed within 50 ms and a disk's wait."""
        self.check()
        self._put(_Operation(run, None))

    def call(self, run: Callable[[Tables], T]) -> T:
        """Run an operation after all that were queued before it; return its result once it is committed."""
        self.check()
        future: Future[object] = Future()
        self._put(_Operation(run, future))
        result = future.result()
        self.check()
        return result  # type: ignore[return-value]

    def flush(self) -> None:
        """Wait until everything queued so far is committed."""
        self.check()
        future: Future[object] = Future()
        self._put(_Operation(None, future))
        future.result()
        self.check()

    def check(self) -> None:
        """Raise what an earlier posted operation raised."""
        if self._failure is not None:
            what = str(self._failure).removeprefix(f"{self._path}: ").rstrip(".")
            raise CorpusError(
                f"{self._path}: something could not be stored: {what}. What was committed before is safe."
            ) from self._failure

    def stop(self) -> None:
        """Commit what is queued, end the thread, close the connection. Does not raise what operations raised."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._tables.connection.close()

    def _put(self, operation: _Operation) -> None:
        with self._gate:
            if self._closed:
                raise CorpusError(f"{self._path}: the corpus is closed.")
            self._queue.put(operation)

    def _work(self) -> None:
        ended = False
        while not ended:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            deadline = time.monotonic() + GROUP_SECONDS
            while group[-1].future is None and len(group) < GROUP_OPERATIONS:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    operation = self._queue.get(timeout=left)
                except queue.Empty:
                    break
                if operation is None:
                    ended = True
                    break
                group.append(operation)
            self._commit(group)

    def _commit(self, group: list[_Operation]) -> None:
        """Run a group in one transaction; answer the waiting ones only when it is on the disk."""
        connection = self._tables.connection
        results: list[tuple[_Operation, object, BaseException | None]] = []
        try:
            if self._broken:
                raise self._failure or CorpusError("the writer has stopped")
            connection.execute("BEGIN IMMEDIATE")
            for operation in group:
                results.append((operation, *self._run(operation)))
            connection.execute("COMMIT")
        except BaseException as error:
            self._break(error, group)
            return
        for operation, result, problem in results:
            if operation.future is None:
                self._failure = self._failure or problem
            elif problem is not None:
                operation.future.set_exception(problem)
            else:
                operation.future.set_result(result)

    def _run(self, operation: _Operation) -> tuple[object, BaseException | None]:
        """Result or exception of one operation, undone where it failed."""
        if operation.run is None:
            return None, None
        connection = self._tables.connection
        connection.execute("SAVEPOINT operation")
        try:
            result = operation.run(self._tables)
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave up the whole transaction (disk full): so does the group
                raise
            connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
            self._tables.known.clear()  # may name rows that were just undone
            return None, _named(self._path, error)
        connection.execute("RELEASE operation")
        return result, None

    def _break(self, error: BaseException, group: list[_Operation]) -> None:
        """The transaction itself failed: nothing of the group is stored, and nothing later will be."""
        self._broken = True
        self._failure = self._failure or error
        if self._tables.connection.in_transaction:
            with suppress(sqlite3.Error):  # closing undoes it as well; those who wait must be answered in any case
                self._tables.connection.execute("ROLLBACK")
        for operation in group:
            if operation.future is not None:
                operation.future.set_exception(_named(self._path, error))


def _named(path: Path, error: BaseException) -> BaseException:
    """The same error as one sentence about the file, where it came from SQLite."""
    if isinstance(error, ScotdError) or not isinstance(error, sqlite3.Error):
        return error
    named = CorpusError(f"{path}: could not be written ({error}).")
    named.__cause__ = error
    return named
