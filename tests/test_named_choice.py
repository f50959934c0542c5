"""experiments/named_choice.py: which choice an answer names before its letter."""

import runpy
from pathlib import Path

import pytest

from scotd.types import Choice, Question

SCRIPT = Path(__file__).parent.parent / "experiments" / "named_choice.py"
CHOICES = tuple(
    Choice(label=label, text=text) for label, text in (("A", "bank"), ("B", "river bank"), ("C", "C sharp (note)"))
)
QUESTION = Question(id="q", task="t", split="dev", stem="Where?", choices=CHOICES, gold="A")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" Not the river bank. Only a bank is. So the answer is (B).", "A"),
        (" A bank? No: only the RIVER BANK is wet. So the answer is (A).", "B"),
        (" Only C sharp (note) is heard. So the answer is (A).", "C"),
        (" Only embankments are. So the answer is (A).", None),
    ],
)
def test_the_choice_named_last(text: str, label: str | None) -> None:
    last_named = runpy.run_path(str(SCRIPT))["last_named"]
    assert last_named(QUESTION, {"text": text, "finish": "stop"}) == label
