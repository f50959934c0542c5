"""What is wrong with an experiment file, in one sentence: key, what was expected, value, remedy.

    try:
        Experiment.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {sentence(error, Experiment, raw)}")

Pydantic lists every problem in words for programmers ("valid dictionary or instance of TrainingConfig"); a user wants
the first one that they can mend, in the words of the file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from scotd.errors import did_you_mean

_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "settings of its own (key: value)",
    "model_type": "settings of its own (key: value)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "too_short": "at least one",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "a name of letters, digits, '.', '_' and '-' that begins with a letter or digit",
    "invalid_key": "a word for a key",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}

Problem = Mapping[str, Any]


def sentence(error: ValidationError, kind: type[BaseModel], raw: object) -> str:
    """One sentence for the problem that should be mended first: a key that is unknown comes before one that lacks."""
    problems: list[Problem] = [dict(problem) for problem in error.errors()]
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    where = _place(problem, raw)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, [str(part) for part in problem["loc"][:-1]])
        return f"unknown key '{_key(where)}'.{did_you_mean(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"'{_key(where)}' is missing. `scotd init` writes a commented file with every key."
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        shown = f"'{_key(where)}': {message}" if where else message
        return shown if shown.endswith((".", "?")) else f"{shown}."
    # Of a union ("text or a list") pydantic lists what every member had to say: the deepest one got furthest.
    others = [other for other in problems if _place(other, raw)[: len(where)] == where]
    deepest = max(others, key=lambda other: len(_place(other, raw)))
    where = _place(deepest, raw)
    level = [other for other in others if _place(other, raw) == where]
    wanted = " or ".join(dict.fromkeys(map(_expected, level)))
    found = deepest["input"]
    return f"'{_key(where)}': expected {wanted}, found {_shown(found)}{_remedy(deepest, found)}"


def _place(problem: Problem, raw: object) -> tuple[str | int, ...]:
    """Where a problem is, in the file's own keys: pydantic adds the names of union members and "[key]"."""
    kept: list[str | int] = []
    current: Any = raw
    last = len(problem["loc"]) - 1
    for number, part in enumerate(problem["loc"]):
        if isinstance(current, Mapping) and part in current:
            current = current[part]
        elif isinstance(current, Sequence) and not isinstance(current, str) and isinstance(part, int):
            current = current[part] if part < len(current) else None
        elif not (number == last and problem["type"] == "missing"):
            continue
        kept.append(part)
    return tuple(kept)


def _key(where: Sequence[str | int]) -> str:
    return ".".join(map(str, where))


def _expected(problem: Problem) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"a number {words} {context[bound]:g}"
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if problem["loc"][-1:] == ("[key]",):
        return "a word for a key"
    return _EXPECTED.get(kind, f"something else ({problem['msg']})")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _remedy(problem: Problem, found: object) -> str:
    """What stands after the value: how to write it, or the end of the sentence."""
    kind = problem["type"]
    if kind == "tuple_type" and isinstance(found, str | int | float):
        return f": write [{found}]."
    if kind == "string_type" and isinstance(found, int | float):
        return f': put it in quotes, "{_shown(found)}".'
    if kind in ("literal_error", "enum") and isinstance(found, str):
        words = str(problem["ctx"]["expected"]).replace(" or ", ", ").split(", ")
        near = did_you_mean(found, [word.strip("'") for word in words])
        return f".{near}" if near.startswith(" Did") else "."
    return "."


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Field names of the section that a path leads to; empty where the path leaves the typed sections."""
    current: Any = kind
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            break
        field = current.model_fields.get(part)
        if field is None:
            return []
        current = section_of(field.annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def section_of(annotation: Any) -> Any:
    """The model inside `X`, `X | None` or `dict[str, X]`, or None."""
    return _inside(annotation, lambda inner: isinstance(inner, type) and issubclass(inner, BaseModel))


def _inside(annotation: Any, wanted: Callable[[Any], bool]) -> Any:
    if wanted(annotation):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _inside(inner, wanted)
        if found is not None:
            return found
    return None
