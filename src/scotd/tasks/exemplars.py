"""Exemplars, the demonstrations of the prompt (paper 2, step 1): ours by a task's name, or your own from a YAML file.

    - stem: What do people usually put on bread?
      choices: {A: butter, B: gravel, C: ink}
      answer: A
      rationale: Bread is food, so what goes on it is eaten too. Of the choices only butter is eaten on bread.

`choices` as a list is a fixed label set, the answer being the word itself: [negative, positive]. The shipped files are
in `exemplar_data/`; their questions are our own and come from no benchmark. Exemplars are never trained on and never
evaluated: see `without_exemplars` and `assert_not_exemplars`.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import cast

from scotd.config import parse_yaml
from scotd.errors import ConfigError, DataError, did_you_mean
from scotd.tasks.choices import checked, gold_label, label_set
from scotd.tasks.content import content_id, normalised
from scotd.tasks.cut import kept_text
from scotd.tasks.rows import as_text, read_text
from scotd.types import Choice, Exemplar, Question

SPLIT = "exemplar"
_KEYS = ("stem", "choices", "answer", "rationale")


def shipped() -> list[str]:
    """Names of the tasks that have exemplars of their own."""
    folder = files("scotd.tasks") / "exemplar_data"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_exemplars(name_or_path: str | Path) -> list[Exemplar]:
    """Load exemplars by a task's name, or from a file that ends in .yaml or .yml.

    Raises DataError for an unknown name and for whatever is wrong in the file, naming the item (counted from 1).
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        return parse_exemplars(read_text(path), path.stem, str(path))
    if name_or_path not in shipped():
        near = did_you_mean(name_or_path, shipped())
        raise DataError(f"no exemplars are shipped for '{name_or_path}': name a task or a .yaml file.{near}")
    resource = files("scotd.tasks") / "exemplar_data" / f"{name_or_path}.yaml"
    return parse_exemplars(resource.read_text(encoding="utf-8"), name_or_path, resource.name)


def parse_exemplars(text: str, task: str, where: str) -> list[Exemplar]:
    """Parse the YAML text of an exemplar file; `where` names it in errors."""
    try:
        value = parse_yaml(text, where)
    except ConfigError as error:
        raise DataError(str(error)) from None
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected a list of exemplars, each with {', '.join(_KEYS)}.")
    exemplars = [_exemplar(item, task, f"{where}, item {number}") for number, item in enumerate(value, 1)]
    seen: dict[str, int] = {}
    for number, exemplar in enumerate(exemplars, 1):
        first = seen.setdefault(exemplar.question.id, number)
        if first != number:
            raise DataError(f"{where}, item {number}: the same question as item {first}: remove one of the two.")
    return exemplars


def without_exemplars(questions: Sequence[Question], exemplars: Sequence[Exemplar]) -> tuple[list[Question], int]:
    """Return the questions that are no exemplar, and how many were left out. For the training pool."""
    demonstrated = _Demonstrated(exemplars)
    kept = [question for question in questions if not demonstrated.has(question)]
    return kept, len(questions) - len(kept)


def assert_not_exemplars(questions: Sequence[Question], exemplars: Sequence[Exemplar]) -> None:
    """Raise DataError where a question is an exemplar. For evaluated splits."""
    demonstrated = _Demonstrated(exemplars)
    for question in questions:
        if demonstrated.has(question):
            raise DataError(
                f"the question '{question.key}' of the split '{question.split}' is an exemplar of the prompt "
                f"('{question.stem[:60]}'): remove it from the split or from the exemplars."
            )


def assert_same_form(questions: Sequence[Question], exemplars: Sequence[Exemplar]) -> None:
    """Raise DataError where questions have letters and exemplars words, or the reverse: a teacher copies the form."""
    forms = {question.has_label_set for question in questions}
    for number, exemplar in enumerate(exemplars, 1):
        if exemplar.question.has_label_set not in forms and forms:
            has, wants = (
                ("words", "labels and texts") if exemplar.question.has_label_set else ("labels and texts", "words")
            )
            raise DataError(
                f"exemplar {number} ('{exemplar.question.stem[:60]}') has {has} for choices where the questions have "
                f"{wants}: write its choices as {'a list' if wants == 'words' else '{A: ..., B: ...}'}."
            )


class _Demonstrated:
    """Is a question an exemplar: the same stem, and a choice in common.

    The stem alone would be too much ("Which is true?"), the whole set of choices too little: an exemplar with one
    choice exchanged still gives its question away. Of a question that was cut only what is left can be compared.
    """

    def __init__(self, exemplars: Sequence[Exemplar]) -> None:
        self._choices: dict[str, set[str]] = {}
        for exemplar in exemplars:
            self._choices.setdefault(normalised(exemplar.question.stem), set()).update(_texts(exemplar.question))

    def has(self, question: Question) -> bool:
        stem, texts = normalised(kept_text(question)), _texts(question)
        stems = [stem]
        if question.cut_words:
            stems = [one for one in self._choices if f"{one} ".startswith(f"{stem} ")]
        return any(not self._choices.get(one, set()).isdisjoint(texts) for one in stems)


def _texts(question: Question) -> set[str]:
    return {normalised(choice.text) for choice in question.choices}


def _exemplar(item: object, task: str, where: str) -> Exemplar:
    if not isinstance(item, dict):
        raise DataError(f"{where}: expected a mapping with {', '.join(_KEYS)}, found {type(item).__name__}.")
    for key in item:
        if key not in _KEYS:
            raise DataError(f"{where}: unknown key '{key}'.{did_you_mean(str(key), _KEYS)}")
    stem, answer, rationale = (_text(item, key, where) for key in ("stem", "answer", "rationale"))
    choices = checked(_choices(item.get("choices"), where), where)
    question = Question(
        id=content_id("x", stem, choices),
        task=task,
        split=SPLIT,
        stem=stem,
        choices=choices,
        gold=gold_label(answer, choices, where),
    )
    return Exemplar(question=question, rationale=rationale)


def _text(item: dict[object, object], key: str, where: str) -> str:
    text = as_text(item.get(key), key, where)
    if text is None:
        raise DataError(f"{where}: '{key}' is missing or empty: an exemplar has {', '.join(_KEYS)}.")
    return text


def _choices(value: object, where: str) -> tuple[Choice, ...]:
    if isinstance(value, list):
        return label_set([as_text(text, "choices", where) or "" for text in value])
    if isinstance(value, dict):
        pairs = cast(dict[object, object], value).items()
        return tuple(
            Choice(label=as_text(label, "choices", where) or "", text=as_text(text, "choices", where) or "")
            for label, text in pairs
        )
    raise DataError(f"{where}: 'choices' is {{A: text, B: text}}, or a list where the answer is a word.")
