"""Files to rows: JSONL, a JSON list, CSV, TSV and Parquet, each also with `.gz`, read into one shape.

    table = read_table(Path("questions.csv"))
    table.columns            # ("question", "a", "b", "answer")
    table.rows[2].where      # "questions.csv, row 3 (line 4)"

Text is UTF-8, with or without a byte order mark; Windows line ends are line ends. A line without a single character
is no row. CSV and TSV follow RFC 4180 quoting; a file in which quotes are ordinary characters is read by `read_lines`.
Everything that cannot be read is a `DataError` of one sentence: value, file, row, remedy.
"""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from scotd.errors import DataError, did_you_mean

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One data row. `number` counts rows from 1; `line` is the line where it starts, None where a file has no lines."""

    path: Path
    number: int
    line: int | None
    values: Mapping[str, object]

    @property
    def where(self) -> str:
        """The place as messages name it: file, row and, where it is another number, the line."""
        line = "" if self.line in {None, self.number} else f" (line {self.line})"
        return f"{self.path}, row {self.number}{line}"

    def text(self, column: str) -> str | None:
        """Return a cell as text, stripped; None where it is absent or empty. Raises DataError for lists and bytes."""
        return as_text(self.values.get(column), column, self.where)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a file and the names of its columns: for JSON, every key that any row has, in order of appearance."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, column: str, setting: str) -> None:
        """Raise DataError where there is no such column; `setting` is the configuration key that named it."""
        if column not in self.columns:
            near = did_you_mean(column, [name for name in self.columns if name])
            raise DataError(
                f"{self.path}: no column '{column}', which `{setting}` names.{near}{self._delimiter_hint()}"
            )

    def _delimiter_hint(self) -> str:
        """A spreadsheet of a country with decimal commas writes semicolons: say so instead of guessing."""
        only = self.columns[0] if len(self.columns) == 1 else ""
        return " The header is parted by ';': save the file with commas." if ";" in only else ""


def read_table(path: Path) -> Table:
    """Read a file by its ending. Raises DataError where it is missing, empty, malformed, or of an unknown ending."""
    kind = FORMATS.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    if kind is None:
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: the ending does not say what the file holds: name it with one of {known} (or + .gz).")
    if kind == "parquet":
        table = _read_parquet(path)
    elif kind in {"csv", "tsv"}:
        table = _read_delimited(path, "," if kind == "csv" else "\t")
    else:
        rows = tuple(_read_jsonl(path) if kind == "jsonl" else _read_json(path))
        table = Table(path=path, columns=tuple(dict.fromkeys(key for row in rows for key in row.values)), rows=rows)
    if not table.rows:
        raise DataError(f"{path}: the file holds no rows: put at least one question into it, or leave the split out.")
    return table


def read_bytes(path: Path) -> bytes:
    """Read a whole file, unpacked where it ends in `.gz`. Raises DataError where that is impossible."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.{_near_sibling(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder, a file is needed.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the file's permissions.") from None
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}): fetch or pack it anew.") from None


def read_text(path: Path) -> str:
    """Read UTF-8 text, byte order mark dropped, line ends as they are. Raises DataError naming the offending line."""
    raw = read_bytes(path)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: the file is UTF-16, not UTF-8: save it as UTF-8.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"0x{raw[error.start]:02x}"
        raise DataError(f"{path}, line {line}: the byte {byte} is not UTF-8 text: save the file as UTF-8.") from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return (line number from 1, line) for every line that is not empty; only line feeds part lines."""
    lines = ((number, line.removesuffix("\r")) for number, line in enumerate(read_text(path).split("\n"), 1))
    return [(number, line) for number, line in lines if line]


def as_text(value: object, column: str, where: str) -> str | None:
    """Return a scalar as stripped text with line feeds for line ends; None for nothing, blanks and NaN.

    Whole floats lose their ".0": a column of whole numbers with a hole in it is stored as floats by many tools.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple | dict | bytes):
        kind = {list: "a list", tuple: "a list", dict: "an object", bytes: "bytes"}[type(value)]
        raise DataError(f"{where}: '{column}' holds {kind} where text is expected: name a column of text.")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(
            f"{where}: '{column}' holds half a character ({half}): write the pair or leave it out."
        ) from None
    return text or None


def _near_sibling(path: Path) -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return f" Did you mean '{near[0]}'?" if near else " Check the path; it is relative to the experiment file."


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, (line, text) in enumerate(((n, t) for n, t in read_lines(path) if t.strip()), 1):
        row = Row(path=path, number=number, line=line, values={})
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{row.where}: not valid JSON ({_problem(error)}): each line holds one object.") from None
        yield _object_row(row, value)


def _read_json(path: Path) -> Iterator[Row]:
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a list of objects ([{{...}}, {{...}}]), found {_kind(value)}.")
    for number, item in enumerate(value, 1):
        yield _object_row(Row(path=path, number=number, line=None, values={}), item)


def read_json(path: Path) -> object:
    """Read one JSON document. Raises DataError naming line and problem."""
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: the file is empty: put at least one question into it, or leave the split out.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = ": one object a line needs the ending .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}, line {error.lineno}: not valid JSON ({_problem(error)}){hint}.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({_problem(error)}).") from None


def _object_row(row: Row, value: object) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{row.where}: expected an object ({{...}}), found {_kind(value)}.")
    return Row(path=row.path, number=row.number, line=row.line, values=value)


def _problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.rstrip(':')} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _read_delimited(path: Path, delimiter: str) -> Table:
    records = _records(path, delimiter)
    header: tuple[str, ...] | None = None
    rows: list[Row] = []
    for line, fields in records:
        if header is None:
            header = _header(path, line, fields)
            continue
        row = Row(path=path, number=len(rows) + 1, line=line, values=dict(zip(header, fields, strict=False)))
        if len(fields) != len(header):
            character = "a comma" if delimiter == "," else "a tab"
            counted = f"{len(fields)} field{'s' * (len(fields) != 1)} where the header has {len(header)}"
            raise DataError(f"{row.where}: {counted}: put a field that holds {character} into double quotes.")
        rows.append(row)
    return Table(path=path, columns=header or (), rows=tuple(rows))


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line where it starts, fields) of every record; a line without a character is none."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            rule = "a field in double quotes ends with one, and quotes inside it are doubled"
            raise DataError(f"{path}, line {line}: malformed ({error}): {rule}.") from None
        if fields is None:
            return
        if fields:
            yield line, fields


def _header(path: Path, line: int, fields: list[str]) -> tuple[str, ...]:
    names = [field.strip() for field in fields]
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{path}, line {line}: two columns are named '{name}': rename one of them.")
    return tuple(names)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(read_bytes(path)))
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a readable Parquet file ({problem}): write it anew.") from None
    rows = (
        Row(path=path, number=number, line=None, values=values) for number, values in enumerate(table.to_pylist(), 1)
    )
    return Table(path=path, columns=tuple(table.column_names), rows=tuple(rows))
