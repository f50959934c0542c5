"""Unseen tasks (paper 3.5): trained on other tasks with exemplars in the inputs, asked in the same form."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_experiment import SPLITS, Scripted, write, write_student

from scotd.asking import Asking
from scotd.config import load
from scotd.errors import ConfigError, ModelError
from scotd.experiment import describe
from scotd.experiment.plan import Plan
from scotd.experiment.run import run
from scotd.progress import silent

STUDENTS: dict[str, dict[str, Any]] = {
    "scotd": {"target": "scotd", "exemplars": 2},
    "labels": {"target": "label-only", "exemplars": 2, "max_tokens": 8, "decodings": ["greedy"]},
    "base": {"target": "undistilled"},
    "base-one": {"target": "undistilled", "exemplars": 1},
}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    return write_student(tmp_path_factory.mktemp("base") / "student", tokenizer_folder)


def written(folder: Path, student: Path, *names: str, **more: Any) -> Path:
    """Trained on some of `feedback`, answering the tiny experiment's own task."""
    path = write(folder, student, {name: STUDENTS[name] for name in names})
    source = {"task": "feedback", "limit": {"train": 5}, "dev": None}
    path.write_text(json.dumps({**json.loads(path.read_text()), "train_on": [source], **more}))
    return path


def test_inputs_hold_exemplars_of_their_own_task_drawn_anew_in_training(student: Path, tmp_path: Path) -> None:
    plan = Plan.of(load(written(tmp_path / "x", student, *STUDENTS)))
    assert {question.task for question in plan.train} == {"feedback"} and len(plan.train) == 5
    assert {question.task for question in plan.evaluated["test"]} == {"odd"}
    trained = [plan.prompt_for("scotd", question).text or "" for question in plan.train]
    assert all(text.count("Q: ") == 3 and text.endswith("\nA:") for text in trained)
    assert all(text.count("So the answer is") == 2 and "odd?" not in text for text in trained)
    beginnings = {text[: text.index("\nAnswer Choices")] for text in trained}
    assert len(beginnings) > 1
    asked = [plan.prompt_for("scotd", question).text or "" for question in plan.evaluated["test"]]
    assert len({text[: text.rindex("Q: ")] for text in asked}) == 1
    assert all("101 ends in 1. So the answer is yes." in text for text in asked)
    labels = plan.prompt_for("labels", plan.train[0]).text or ""
    assert labels.count("The answer is") == 2 and "So the answer" not in labels
    base, one = (plan.prompt_for(name, plan.evaluated["test"][0]).text or "" for name in ("base", "base-one"))
    assert base.count("Q: ") == 3 and one.count("Q: ") == 2
    assert base.startswith(one[: one.index("Q: ", 3)]), "the first of all"
    assert {want.question_key.partition("/")[0] for want in plan.wants()} == {"feedback"}
    assert describe(plan)[0] == "5 training questions of 'feedback'"


def test_a_task_that_is_trained_on_and_asked_is_said_to_be_no_unseen_one(student: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "x", student, "labels")
    assert "unseen" not in " ".join(Plan.of(load(path)).notes)
    asked = {"task": "feedback", "limit": {"test": 3}, "dev": None}
    plan = Plan.of(load(written(tmp_path / "x", student, "labels", questions=asked)))
    assert plan.notes == ("'feedback' is trained on and asked: it is no unseen task here.",), "and no question twice"


def test_it_runs_and_such_a_student_is_not_asked_bare_questions(student: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "x", student, "labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["scotd.experiment.run"], "build_teacher", lambda *_, **__: Scripted(tmp_path / "log"))
        (cell,) = run(load(path), say=lambda _: None, progress=silent).cells
    assert cell.accuracy is not None and cell.accuracy.questions == SPLITS["test"]
    record = json.loads((tmp_path / "x" / "run" / "students" / "labels" / "scotd_training.json").read_text())
    assert (record["exemplars"], record["questions"], record["left_out_too_long"]) == (2, 5, 0)
    with pytest.raises(ModelError, match="trained with 2 exemplars before each question"):
        Asking.read(tmp_path / "x" / "run" / "students" / "labels")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train_on": [{"task": "feedback"}, {"task": "feedback"}]}, "names the task 'feedback' twice"),
        ({"train_on": [{"task": "odd", "files": {"train": "train.jsonl"}, "columns": {"question": "stem"}}]}, "labels"),
        ({"students": {"base": {"target": "undistilled", "exemplars": 3}}}, "is 3, and the task 'odd' has 2"),
        (
            {"students": {"s": {"target": "scotd", "exemplars": 9}}},
            "s.exemplars is 9, and the task '[a-z]+' has [0-9]:",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(student: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Plan.of(load(written(tmp_path / "x", student, "labels", **more)))
