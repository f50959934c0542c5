"""Choices and gold labels: letters for bare texts, checks, and finding the label that an answer column means.

choices = lettered(["bank", "library"])                 # (A) bank, (B) library
gold_label("(b)", choices, "questions.csv, row 1")      # "B"
gold_label("Library", choices, "questions.csv, row 1")  # "B"
"""

from collections.abc import Sequence

from scotd.errors import DataError
from scotd.tasks.content import normalised
from scotd.types import Choice


def letter(position: int) -> str:
    """Return the label of a choice by position from 0: A..Z, then AA, AB, ..."""
    high, low = divmod(position, 26)
    return (letter(high - 1) if high else "") + chr(ord("A") + low)


def lettered(texts: Sequence[str]) -> tuple[Choice, ...]:
    """Label texts A, B, C, ... in order."""
    return tuple(Choice(label=letter(position), text=text) for position, text in enumerate(texts))


def label_set(labels: Sequence[str]) -> tuple[Choice, ...]:
    """Make a fixed label set: the answer is the word itself."""
    return tuple(Choice(label=label, text=label) for label in labels)


def checked(choices: tuple[Choice, ...], where: str) -> tuple[Choice, ...]:
    """Return the choices. Raises DataError for fewer than two, an empty one, or two that a reader cannot tell apart."""
    if len(choices) < 2:
        found = f"only the choice '{choices[0].text}'" if choices else "no choice"
        raise DataError(f"{where}: {found}: a question needs at least two.")
    for number, choice in enumerate(choices, 1):
        if not choice.text.strip() or not choice.label.strip():
            raise DataError(f"{where}: choice {number} is empty: give it a text and a label, or remove it.")
    for kind, values in (("label", [c.label for c in choices]), ("text", [c.text for c in choices])):
        seen: dict[str, str] = {}
        for value in values:
            twin = seen.setdefault(normalised(value), value)
            if twin is not value:
                raise DataError(f"{where}: two choices have the same {kind}, '{value}': make them differ.")
    return choices


def gold_label(answer: str, choices: Sequence[Choice], where: str) -> str:
    """Return the label that an answer names: a label, in any case and with or without parentheses, or a choice's text.

    Raises DataError where it names none, or one choice by label and another by text.
    """
    by_label = [c.label for c in choices if c.label == answer]
    if not by_label and _bare(answer):
        by_label = [c.label for c in choices if _bare(c.label) == _bare(answer)]
    by_text = [c.label for c in choices if normalised(c.text) == normalised(answer)]
    named = set(by_label) | set(by_text)
    if len(named) > 1:
        raise DataError(
            f"{where}: the answer '{answer}' names more than one choice ({_shown(choices)}): "
            f"write '({answer})' where its label is meant."
        )
    if not named:
        raise DataError(
            f"{where}: the answer '{answer}' is not among the choices ({_shown(choices)}): "
            "write a choice's label or its text, or leave the answer empty where it is not known."
        )
    return named.pop()


def _bare(label: str) -> str:
    """A label without what people put around it: "(B)", "b." and "B" are the same."""
    return normalised(label.strip().strip("()[]").rstrip(".):"))


def _shown(choices: Sequence[Choice]) -> str:
    shown = [c.label if c.label == c.text else f"{c.label}: {c.text}" for c in choices[:8]]
    return ", ".join(shown) + (f", and {len(choices) - 8} more" if len(choices) > 8 else "")
