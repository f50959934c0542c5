"""What a report reads of a run folder, in one small file that can be sent, published or kept beside a paper.

    pack([Path("runs/mine")], Path("mine.zip"))
    compared("mine.zip:scotd", "runs/other:labels")

Configuration, counts, lineage and every answer with its gold label are in it. What students wrote is left out unless it
is asked for; chains, questions, weights and folders of this machine always are. The same runs give the same bytes.

Several runs of one experiment become one, so that its seeds may be trained on several machines and at several times.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scotd.config import INDIFFERENT, portable
from scotd.errors import RunError
from scotd.report.between import OWN
from scotd.report.load import FORMS, known_forms
from scotd.report.read import RunFolder
from scotd.report.written import written

_OWN = OWN | {"note", "seeds", "students", "engine", "ray"}  # what runs of one experiment may differ in
_UNREADABLE = "not a row"  # in the place of one, so that a reader counts it
_SOME_DAY = (1980, 1, 1, 0, 0, 0)  # of every file in it, so that packing again changes nothing


@dataclass
class _Packing:
    """What is to be written, by name, and what is to be said. `answered` are the keys of the questions."""

    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)


def pack(folders: Sequence[Path], out: Path, *, texts: bool = False) -> list[str]:
    """Write run folders, packed ones too, to one file. Returns in sentences what was left out and why.

    Of a student's answers that several runs have, the most stay. Raises RunError where one is no run, where they are of
    different experiments, where nothing is answered, and where the file cannot be written.
    """
    sources = [RunFolder(path) for path in folders]
    made = _Packing()
    made.files["experiment.json"] = json.dumps(_configuration(sources))
    for name in dict.fromkeys(name for one in sources for name in one.names("predictions", ".jsonl")):
        _take_answers(made, name, sources, texts=texts)
    if len(made.files) == 1:
        raise RunError(f"{folders[0]}: nobody has answered yet, so there is nothing to pack.")
    for name in dict.fromkeys(name for one in sources for name in one.names("selections", ".json")):
        _take_first(made, f"selections/{name}", sources)
    _take_forms(made, sources)
    _take_records(made, sources)
    made.notes += [f"{one.path}: {note}" for one in sources for note in one.notes]
    with written(out) as part, zipfile.ZipFile(part, "w") as packed:
        for name, text in sorted(made.files.items()):
            packed.writestr(zipfile.ZipInfo(name, _SOME_DAY), text, zipfile.ZIP_DEFLATED, compresslevel=9)
    return made.notes


def _configuration(sources: Sequence[RunFolder]) -> dict[str, Any]:
    """The configuration of all runs: the first one's, with the students of all. Raises RunError where they differ in
    more."""
    settings: list[dict[str, Any]] = [portable(one.experiment()[0].model_dump()) for one in sources]
    first = settings[0]
    for other, source in zip(settings[1:], sources[1:], strict=True):
        mine, its = first["students"], other["students"]
        differing = [key for key in first if key not in _OWN and _deciding(first[key]) != _deciding(other[key])]
        differing += [
            f"students.{name}" for name in mine if name in its and _deciding(mine[name]) != _deciding(its[name])
        ]
        if differing:
            raise RunError(
                f"{source.path}: differs from {sources[0].path} in {differing[0]}: only runs of one experiment are put "
                "together. Pack them one by one; `scotd report` sets several side by side."
            )
        first["students"] = {**mine, **its}
        first["seeds"] = [*dict.fromkeys([*first["seeds"], *other["seeds"]])]
    return first


def _deciding(value: Any) -> Any:
    """A part of a configuration without the settings of training that decide nothing about the weights."""
    if not isinstance(value, dict):
        return value
    return {key: _deciding(held) for key, held in value.items() if key not in INDIFFERENT}


def _take_answers(made: _Packing, name: str, sources: Sequence[RunFolder], *, texts: bool) -> None:
    """The answers of one student, from the run that has the most of them."""
    best: dict[str, str | None] = {}
    for source in sources:
        lines = source.lines(name) or []
        said = {key: answer.answer for key, answer in source.parsed(name, lines).items()}
        made.answered |= said.keys()
        if any(said[key] != best[key] for key in said.keys() & best.keys()):
            made.notes.append(f"{source.path}: predictions/{name}: answers otherwise than an earlier run's.")
        if len(said) > len(best):
            best = said
            made.files[f"predictions/{name}"] = "\n".join(lines if texts else map(_without_texts, lines))


def _without_texts(line: str) -> str:
    """A row of predictions without what was written."""
    if not line.strip():
        return line
    try:
        row = json.loads(line)
        chains = [{"answer": chain.get("answer"), "n_tokens": chain.get("n_tokens")} for chain in row["chains"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _UNREADABLE
    return json.dumps({**row, "chains": chains}, separators=(",", ":"))


def _take_first(made: _Packing, name: str, sources: Iterable[RunFolder]) -> None:
    held = next((held for one in sources if (held := one.mapping(name)) is not None), None)
    if held is not None:
        made.files[name] = json.dumps(held)


def _take_forms(made: _Packing, sources: Sequence[RunFolder]) -> None:
    """The form of every question that somebody answered."""
    forms = {key: form for one in reversed(sources) for key, form in known_forms(one.path).items()}
    unknown = len(made.answered - forms.keys())
    if unknown:
        made.notes.append(
            f"{unknown:,} of {len(made.answered):,} answered questions are in no corpus that is there: their chance "
            "level and pairs of contrast sets are not known."
        )
    made.files[FORMS] = json.dumps({key: asdict(forms[key]) for key in sorted(made.answered & forms.keys())})


def _take_records(made: _Packing, sources: Sequence[RunFolder]) -> None:
    """Counts and lineage. The lineages of later runs stand in the first one's, under `sittings`."""
    runs = [facts for one in sources if (facts := one.mapping("run.json")) is not None]
    funnels = [counts for one in sources if (counts := one.mapping("funnel.json")) is not None]
    stages = _once(row for one in sources for row in one.mappings("stages.json") or [])
    if runs:
        first, *others = _once(alone for facts in runs for alone in _sittings(facts))
        made.files["run.json"] = json.dumps({**first, **({"sittings": others} if others else {})})
    if funnels:
        trained = {name: count for one in reversed(funnels) for name, count in (one.get("trained") or {}).items()}
        made.files["funnel.json"] = json.dumps({**funnels[0], **({"trained": trained} if trained else {})})
        if any(one.get("rows") != funnels[0].get("rows") for one in funnels):
            made.notes.append("The runs count different chains of the teacher: the first one's counts stay.")
    made.files["stages.json"] = json.dumps(stages)


def _once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each of them once, in the order of their first places."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row not in found:
            found.append(row)
    return found


def _sittings(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """A run's lineage taken apart into those of its sittings."""
    later = facts.get("sittings")
    alone = {key: value for key, value in facts.items() if key != "sittings"}
    return [alone, *(later if isinstance(later, list) else [])]
