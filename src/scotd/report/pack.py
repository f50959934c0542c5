"""What a report reads of a run folder, in one small file that can be sent, published or kept beside a paper.

    pack([Path("runs/mine")], Path("mine.zip"))
    compared("mine.zip:scotd", "runs/other:labels")

Configuration, counts, lineage and every answer with its gold label are in it. What students wrote is left out unless it
is asked for; chains, questions, weights and folders of this machine always are. The same runs give the same bytes.

Several runs of one experiment become one, so that its seeds may be trained on several machines and at several times.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scotd.config import portable
from scotd.errors import RunError
from scotd.report.load import FORMS, Run, load
from scotd.report.read import RunFolder

_OWN = ("name", "note", "run_folder", "corpus", "import_chains", "seeds", "students")  # what such runs may differ in
_SOME_DAY = (1980, 1, 1, 0, 0, 0)  # of every file in it, so that packing again changes nothing


def pack(folders: Sequence[Path], out: Path, *, texts: bool = False) -> list[str]:
    """Write run folders, packed ones too, to one file. Returns a sentence for each student whose answers differ between
    them: the first ones stay.

    Raises RunError where one is none, where they are of different experiments, where nothing is answered, and where the
    file cannot be written.
    """
    runs = [(load(path), RunFolder(path)) for path in folders]
    files: dict[str, str] = {"experiment.json": json.dumps(_together(runs))}
    notes = []
    for run, folder in runs:
        for name, text in _files(run, folder, texts=texts):
            if name in files and name.startswith("predictions/") and files[name] != text:
                notes.append(f"{folder.path}: {name} differs from an earlier run's, which stays.")
            files.setdefault(name, text)
    files[FORMS] = json.dumps({key: asdict(form) for key, form in sorted(_forms(runs).items())})
    stages = [row for _, folder in runs for row in folder.mappings("stages.json") or []]
    files["stages.json"] = json.dumps([row for number, row in enumerate(stages) if row not in stages[:number]])
    if not any(name.startswith("predictions/") for name in files):
        raise RunError(f"{folders[0]}: nobody has answered yet, so there is nothing to pack.")
    _write(files, out)
    return notes


def _together(runs: Sequence[tuple[Run, RunFolder]]) -> dict[str, Any]:
    """The configuration of all runs: the first one's, with the students of all. Raises RunError where they differ in
    more."""
    settings: list[dict[str, Any]] = [portable(run.experiment.model_dump()) for run, _ in runs]
    first, others = settings[0], settings[1:]
    for other, (_, folder) in zip(others, runs[1:], strict=True):
        differing = [key for key in first if key not in _OWN and first[key] != other[key]]
        students = first["students"].keys() & other["students"].keys()
        differing += [f"students.{name}" for name in sorted(students) if _differ(first, other, name)]
        if differing:
            raise RunError(
                f"{folder.path}: differs from {runs[0][1].path} in {differing[0]}: only runs of one experiment are put "
                "together. Pack them one by one; `scotd report` sets several side by side."
            )
        first["students"] |= other["students"]
        first["seeds"] = [*dict.fromkeys([*first["seeds"], *other["seeds"]])]
    return first


def _differ(first: dict[str, Any], other: dict[str, Any], student: str) -> bool:
    return bool(first["students"][student] != other["students"][student])


def _forms(runs: Sequence[tuple[Run, RunFolder]]) -> dict[str, Any]:
    """The form of every question that somebody answered, by its key."""
    return {
        key: run.forms[key]
        for run, _ in reversed(runs)
        for answers in run.predictions.values()
        for key in answers.keys() & run.forms.keys()
    }


def _files(run: Run, folder: RunFolder, *, texts: bool) -> Iterator[tuple[str, str]]:
    """Name and text of every file of a run that stays as it is, and of its answers."""
    for name in ("run.json", "funnel.json", *(f"selections/{name}" for name in folder.names("selections", ".json"))):
        if (held := folder.mapping(name)) is not None:
            yield name, json.dumps(held)
    for name in folder.names("predictions", ".jsonl"):
        lines = folder.lines(name) or []
        yield f"predictions/{name}", "\n".join(line if texts else _without_texts(line) for line in lines)


def _without_texts(line: str) -> str:
    """A row of predictions without what was written; what cannot be read stays as it is, for the reader to count."""
    try:
        row = json.loads(line)
        chains = [{"answer": chain["answer"], "n_tokens": chain["n_tokens"]} for chain in row["chains"]]
    except (ValueError, KeyError, TypeError):
        return line
    return json.dumps({**row, "chains": chains}, separators=(",", ":"))


def _write(files: dict[str, str], out: Path) -> None:
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w") as packed:
            for name, text in sorted(files.items()):
                packed.writestr(zipfile.ZipInfo(name, _SOME_DAY), text, zipfile.ZIP_DEFLATED, compresslevel=9)
        part.replace(out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror}). Free space or mend its permissions.") from None
