"""`sweep` and `seeds` of an experiment file -> one student for every combination.

    students:                                                students:
      scotd:                                                   scotd-1-seed0: ...
        target: scotd                                          scotd-1-seed1: ...
        sweep: {chains_per_question: [1, 5, 30]}      ->       scotd-5-seed0: ...
    seeds: [0, 1]                                              ...

Only students are multiplied, so that all cells share questions, prompts, chains and the settings of the evaluation. A
cell knows the row of the file that it comes from (`row`) and its place on each axis (`at`); its name is made of both.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from scotd.errors import ConfigError, did_you_mean

SEED = "training.seed"


def expand(raw: Mapping[str, Any], trained: Mapping[str, bool]) -> dict[str, Any]:
    """The settings with every student of a sweep in its place. `trained` says by name which students have seeds.

    Raises ConfigError where two cells would have one name.
    """
    students: dict[str, Any] = {}
    seeds = list(raw.get("seeds") or ())
    for name, settings in raw["students"].items():
        axes = dict((settings or {}).get("sweep") or {})
        if seeds and trained[name]:
            axes[SEED] = seeds
        for axis, values in axes.items():
            twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
            if twice is not None:
                where = "seeds" if values is seeds else f"students.{name}.sweep.{axis}"
                raise ConfigError(f"{where} lists {twice} twice: leave one out.")
        for cell, values in _cells(settings or {}, name, axes):
            if cell in students:
                raise ConfigError(f"students.{name}.sweep: two cells would be called '{cell}': name the row otherwise.")
            students[cell] = values
    return {**{key: value for key, value in raw.items() if key != "seeds"}, "students": students}


def _cells(settings: Mapping[str, Any], name: str, axes: Mapping[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    plain = {key: value for key, value in settings.items() if key != "sweep"}
    if not axes:
        yield name, plain
        return
    for values in product(*axes.values()):
        at = dict(zip(axes, values, strict=True))
        own = copy.deepcopy(plain)
        for key, value in at.items():
            put(own, key, value, f"students.{name}.sweep")
        yield called(name, at), {**own, "row": name, "at": at}


def called(row: str, at: Mapping[str, Any]) -> str:
    """The name of a student: its row, and its values on each axis."""
    return "-".join([row, *(_spelt(key, value) for key, value in at.items())])


def put(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a key path in place; a number leads to that entry of a list, the first being 0.

    Raises ConfigError, naming `where`, for a path that leads through a value or past the end of a list.
    """
    *parents, last = key.split(".")
    if not all((*parents, last)):
        raise ConfigError(f"{where}: the key '{key}' has an empty part.")
    node: Any = raw
    for part in parents:
        at = _place(node, part, where)
        if isinstance(node, dict) and node.get(at) is None:
            node[at] = {}
        if not isinstance(node[at], (dict, list)):
            raise ConfigError(f"{where}: '{part}' is a value, not a section.")
        node = node[at]
    node[_place(node, last, where)] = value


def at(raw: Any, key: str, where: str) -> Any:
    """What stands at a key path; below a setting that is null everything is.

    Raises ConfigError, naming `where`, for a path that leads nowhere.
    """
    node: Any = raw
    for part in key.split("."):
        if node is None:
            return None
        if not isinstance(node, (dict, list)) or (isinstance(node, dict) and part not in node):
            known = did_you_mean(part, node) if isinstance(node, dict) else ""
            raise ConfigError(f"{where}: there is no setting '{part}'.{known}")
        node = node[_place(node, part, where)]
    return node


def _place(node: dict[str, Any] | list[Any], part: str, where: str) -> Any:
    """A part of a key path as what its node is asked with."""
    if isinstance(node, dict):
        return part
    if not part.isdecimal() or int(part) >= len(node):
        raise ConfigError(f"{where}: '{part}' is no entry of a list of {len(node)}; the first is 0.")
    return int(part)


def _spelt(key: str, value: Any) -> str:
    """A value as part of a name, which may hold letters, digits, _ and - only."""
    text = str(value).rstrip("/").rpartition("/")[2] if isinstance(value, str) else str(value)
    spelt = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return f"seed{spelt}" if key == SEED else spelt
