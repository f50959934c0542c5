"""The paper's experiments as files: each is valid as it stands, and runs the same cells at `--scale small`."""

from pathlib import Path

import pytest

from scotd.config import Experiment, load
from scotd.experiment.plan import Plan

FOLDER = Path(__file__).parent.parent / "experiments" / "paper"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SETUP = {
    "teacher.model": "code-davinci-002",
    "student": "facebook/opt-1.3b",
    "sampling.chains_per_question": 30,
    "sampling.temperature": 1.0,
    "training.learning_rate": 2e-5,
    "training.batch_chains": 32,
    "training.branches_per_row": 1,
}
TASKS = {"table2", "table3", "figure2"}  # published for three tasks


def cells(experiment: Experiment) -> dict[str, int]:
    """How many students each row of the file makes."""
    rows = [student.row or name for name, student in experiment.students.items()]
    return {row: rows.count(row) for row in rows}


def test_every_table_and_figure_is_there() -> None:
    expected = {"table2", "table3", "figure2", "figure3", "figure4", "figure5", "figure7", "section3_5"}
    assert set(FILES) == expected


@pytest.mark.parametrize("name", FILES)
def test_as_it_stands_it_is_the_papers(name: str) -> None:
    found = load(FOLDER / f"{name}.yaml")
    settings = [found.training_of(student) for student, one in found.students.items() if one.target.trained]
    assert {(one.learning_rate, one.batch_chains) for one in settings} == {(2e-5, 32)}
    assert found.sampling.temperature == 1.0
    assert found.sampling.chains_per_question == (50 if name == "figure2" else 30)
    models = {one.model or found.student for one in found.students.values()}
    assert "facebook/opt-1.3b" in models and all(model.startswith("facebook/opt-") for model in models)
    votes = [decoding for decoding in found.evaluation.decodings.values() if decoding.votes > 1]
    assert all((decoding.votes, decoding.temperature) == (30, 0.7) for decoding in votes)
    assert found.published.results and len(found.published.differences) >= 4
    own = {key: value for key, value in SETUP.items() if (name, key) != ("figure4", "student")}  # three sizes there
    assert found.published.setup == {**own, **({"sampling.chains_per_question": 50} if name == "figure2" else {})}
    assert {key for key, value in found.published.setup.items() if found.settings_at(key) != [value]} == set()


@pytest.mark.parametrize("name", FILES)
def test_the_small_scale_has_the_same_cells_and_needs_nothing_from_elsewhere(name: str) -> None:
    whole, small = load(FOLDER / f"{name}.yaml"), load(FOLDER / f"{name}.yaml", scale="small")
    assert cells(small).keys() == cells(whole).keys()
    if name != "figure4":  # three sizes of one family there, the two that are at hand here
        assert cells(small) == cells(whole)
    assert small.name == f"paper-{name}-small" and not small.published.results
    plan = Plan.of(small)
    assert {question.task for question in plan.questions.values()} == {"feedback"}
    assert len(plan.train) <= 12 and all(len(questions) <= 12 for questions in plan.evaluated.values())
    assert small.import_chains is not None and small.import_chains.is_file()


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("task", ["quarel", "openbookqa"])
def test_the_other_tasks_are_a_scale_away(name: str, task: str) -> None:
    found = load(FOLDER / f"{name}.yaml", scale=task)
    assert found.questions.task == task and found.evaluation.splits == ("test",)
    csqa = load(FOLDER / f"{name}.yaml")
    assert len(found.published.results) == len(csqa.published.results)
    assert [one.value for one in found.published.results] != [one.value for one in csqa.published.results]
