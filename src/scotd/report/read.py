"""Reading a run folder that may be half done: what is absent is None, what cannot be read becomes a note on the page.

A packed run (`pack.py`) is read as the folder that it was. Only what has no usable `experiment.json` is refused
(RunError): it is no run.
"""

import json
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scotd.clean import line
from scotd.config import Experiment
from scotd.errors import RunError
from scotd.report.data import Answer, AnswerChain

_MOST_BYTES = 1 << 28  # of one file in a packed run: a thousand times what there ever was


class RunFolder:
    """A run folder, or a packed one, under reading. `notes` gathers in plain sentences what was of no use and why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packed = path.is_file() and zipfile.is_zipfile(path)
        self.notes: list[str] = []
        try:
            self._files = zipfile.Path(path) if self.packed else path
        except (OSError, zipfile.BadZipFile) as error:
            raise RunError(f"{path}: cannot be read as a packed run ({error}): have it sent again.") from None

    def experiment(self) -> tuple[Experiment, dict[str, Any]]:
        """Return the resolved configuration, typed and as it stands in the file. Raises RunError."""
        remedy = (
            "Give the folder that `scotd run` wrote, runs/NAME unless the experiment says otherwise, or what "
            "`scotd pack` made of it."
        )
        path = self._files / "experiment.json"
        if not path.is_file():
            raise RunError(f"{self.path} is no run folder: it holds no experiment.json. {remedy}")
        try:
            raw = json.loads(_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read as JSON ({error}). {remedy}") from None
        if not isinstance(raw, dict):
            raise RunError(f"{path}: expected a mapping of settings, found {type(raw).__name__}. {remedy}")
        try:
            return Experiment.model_validate({key: raw[key] for key in Experiment.model_fields if key in raw}), raw
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"]) or "the file"
            message = problem["msg"].removeprefix("Value error, ")
            raise RunError(
                line(f"{path}: '{key}': {message}. The run is of another version; `scotd run` writes it anew.")
            ) from None

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object of the folder; None where the file is absent or, with a note, unusable."""
        value = self._json(name)
        if value is None or isinstance(value, dict):
            return value
        self.notes.append(f"{name}: expected a mapping, found {type(value).__name__}; left out.")
        return None

    def mappings(self, name: str) -> list[dict[str, Any]] | None:
        """Return a JSON list of objects; None where the file is absent or, with a note, unusable."""
        value = self._json(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self.notes.append(f"{name}: expected a list, found {type(value).__name__}; left out.")
            return None
        rows = [row for row in value if isinstance(row, dict)]
        if len(rows) < len(value):
            self.notes.append(f"{name}: {len(value) - len(rows)} of {len(value)} entries are no mappings; left out.")
        return rows

    def names(self, folder: str, suffix: str) -> list[str]:
        """The names of the files of a folder in it that end so, sorted."""
        inside = self._files / folder
        return sorted(path.name for path in inside.iterdir() if path.name.endswith(suffix)) if inside.is_dir() else []

    def lines(self, name: str) -> list[str] | None:
        """Return the lines of a predictions file; None where it is absent or, with a note, unusable."""
        path = self._files / "predictions" / name
        if not path.is_file():
            return None
        try:
            return _text(path).split("\n")
        except (OSError, UnicodeDecodeError) as error:
            self.notes.append(f"predictions/{name}: cannot be read as UTF-8 text ({error}); left out.")
            return None

    def _json(self, name: str) -> Any:
        path = self._files / name
        if not path.is_file():
            return None
        try:
            return json.loads(_text(path))
        except (OSError, ValueError, RecursionError) as error:
            self.notes.append(f"{name}: cannot be read as JSON ({error}); left out.")
            return None

    def answers(self, name: str) -> dict[str, Answer] | None:
        """Return the rows of a predictions file by question; None where it is absent. Bad rows become a note."""
        lines = self.lines(name)
        return None if lines is None else self.parsed(name, lines)

    def parsed(self, name: str, lines: Sequence[str]) -> dict[str, Answer]:
        """The same of lines that were read before."""
        found: dict[str, Answer] = {}
        bad: list[int] = []
        repeated = 0
        for number, row in enumerate(lines, start=1):
            if not row.strip():
                continue
            answer = _answer(row)
            if answer is None:
                bad.append(number)
                continue
            repeated += answer.question_key in found
            found[answer.question_key] = answer
        if bad:
            self.notes.append(
                f"predictions/{name}: {len(bad)} rows cannot be read, the first is row {bad[0]}; "
                "they are not in the numbers."
            )
        if repeated:
            self.notes.append(f"predictions/{name}: {repeated} questions stand there twice; the last answer counts.")
        return found


def _text(path: Path | zipfile.Path) -> str:
    """A file as text. Raises OSError too where a packed one is damaged, encrypted or beyond all measure,
    UnicodeDecodeError where it is no UTF-8."""
    if isinstance(path, zipfile.Path) and (size := path.root.getinfo(path.at).file_size) > _MOST_BYTES:
        raise OSError(f"it is {size:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise OSError(str(error)) from error


def _answer(source: str) -> Answer | None:
    """Read one row of a predictions file; None where it is not one."""
    try:
        row = json.loads(source)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("question_key"), str):
        return None
    chains = row.get("chains")
    return Answer(
        question_key=row["question_key"],
        gold=text(row.get("gold")),
        answer=text(row.get("answer")),
        reason=text(row.get("reason")),
        tally=counts(row.get("tally")),
        tied=row.get("tied") is True,
        chains=tuple(
            AnswerChain(
                text=text(chain.get("text")) or "", answer=text(chain.get("answer")), n_tokens=count(chain, "n_tokens")
            )
            for chain in (chains if isinstance(chains, list) else [])
            if isinstance(chain, dict)
        ),
    )


def taken_apart(named: str, borders: str = ":") -> tuple[Path, str, str] | None:
    """Path, then one of the borders or nothing, then the rest; the path is the longest beginning that exists, and None
    is returned where none does."""
    for end in range(len(named), 0, -1):
        at_border = end == len(named) or named[end] in borders
        if at_border and Path(named[:end]).exists():
            return Path(named[:end]), named[end : end + 1], named[end + 1 :]
    return None


def text(value: Any) -> str | None:
    """Return a value as text, None as None."""
    if value is None or isinstance(value, str):
        return value
    return str(value)


def number(row: dict[str, Any], key: str) -> float | None:
    """Return a number of a JSON object, None where there is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(row: dict[str, Any], key: str) -> int | None:
    """Return a whole number of a JSON object, None where there is none."""
    value = row.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def counts(value: Any) -> dict[str, int]:
    """Return the whole numbers of a JSON object by key."""
    if not isinstance(value, dict):
        return {}
    return {str(key): n for key, n in value.items() if isinstance(n, int) and not isinstance(n, bool)}
