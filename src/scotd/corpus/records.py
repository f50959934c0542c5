"""Rows of somebody's file, whatever its shape: Parquet, CSV, TSV, JSON Lines, a JSON array, a JSON object by row.

    for record in read_records(Path("chains.json.gz")):
        record.number, record.get("question")

`.gz` may follow any of the text formats. Names lie (JSON Lines called `.json`, one object called `.jsonl`), so what is
inside a JSON file is found out by reading it. A list of bare strings has one column, `text`.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from scotd.errors import DataError, did_you_mean
from scotd.tasks.rows import FORMATS, read_table

BARE = "text"  # the column of a row that is a string and not an object


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row: its file, its number in it (1-based; in JSON Lines the line, else the row), and its columns."""

    path: Path
    number: int
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.path}, row {self.number}"

    def get(self, column: str) -> Any:
        """Value of a column; "a.b" reaches into a nested object. Raises DataError where there is no such column."""
        if column in self.values:
            return self.values[column]
        value: Any = self.values
        for part in column.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise DataError(f"{self}: no column '{column}'.{did_you_mean(column, self.values)}")
            value = value[part]
        return value


def read_records(path: Path) -> Iterator[Record]:
    """Stream the rows of a file. Raises DataError naming file, row and problem."""
    for number, value in _numbered(path):
        if isinstance(value, str):
            yield Record(path=path, number=number, values={BARE: value})
        elif isinstance(value, Mapping):
            yield Record(path=path, number=number, values=value)
        else:
            raise DataError(f"{path}, row {number}: expected an object or a text, found {json.dumps(value)[:60]}.")


def column(path: Path, name: str) -> list[Any]:
    """One column of a file: for instance the ids of the questions that another file's rows answer in order."""
    return [record.get(name) for record in read_records(path)]


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    kind = FORMATS.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    try:
        if kind == "parquet":
            yield from _parquet(path)
        elif kind in {"json", "jsonl"}:
            with _open(path) as file:
                yield from _json(path, file)
        else:  # CSV and TSV, which nobody ships by the million; and what to say of any other ending
            for row in read_table(path).rows:
                yield row.number, row.values
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, EOFError) as error:  # gzip's own errors are OSErrors; a cut-off one is an EOFError
        raise DataError(f"{path}: cannot be read ({error}).") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.") from None


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=5_000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from None


def _json(path: Path, file: IO[str]) -> Iterator[tuple[int, Any]]:
    """JSON Lines where the first line is a value of its own and more follows; otherwise one JSON value."""
    lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
    number, head = next(lines, (0, ""))
    if not head:
        return
    try:
        first = json.loads(head)
    except json.JSONDecodeError:
        whole = "\n" * (number - 1) + head + file.read()  # the blank lines keep an error's line number right
        yield from enumerate(_members(path, _parse(path, whole, None)), start=1)
        return
    following = next(lines, None)
    if following is None:
        yield from enumerate(_members(path, first), start=1)
        return
    yield number, first
    for at, line in chain([following], lines):
        yield at, _parse(path, line, at)


def _members(path: Path, value: Any) -> list[Any]:
    """Rows of one JSON value: an array's members, the members of an object keyed by row, or the object itself."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected rows, found {json.dumps(value)[:60]}.")
    members = list(value.values())
    if members and all(isinstance(member, dict) for member in members):
        return members
    return [value]


def _parse(path: Path, text: str, number: int | None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"row {number}" if number is not None else f"line {error.lineno}"
        raise DataError(f"{path}, {where}: not valid JSON ({error.msg} at column {error.colno}).") from None
