"""`scotd compare`: counts and tests by hand, seeds paired, and what cannot be compared."""

from pathlib import Path

import pytest
from run_folders import make_sweep
from test_report_arms import GIVEN, TWO, given_run, outcome

from scotd.cli import cli
from scotd.errors import RunError
from scotd.report.pair import compared
from scotd.stats import mcnemar_exact


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return given_run(tmp_path / "run", GIVEN, students=TWO, seeds=[0, 1])


def test_seeds_are_paired_and_counted(run: Path) -> None:
    (pair,) = compared(f"{run}:scotd", f"{run}:labels")
    assert pair.split == "test" and pair.against.pairs == 10
    assert [(one.seeds, one.right) for one in pair.seeds] == [((0, 0), (5, 3)), ((1, 1), (7, 5))]
    assert [(one.test.only_this, one.test.only_baseline) for one in pair.seeds] == [(3, 1), (3, 1)]
    assert pair.seeds[0].test.p == mcnemar_exact(3, 1)
    assert pair.against.seeds == 2 and pair.against.difference.mean == pytest.approx(0.2)
    (turned,) = compared(f"{run}:labels", f"{run}:scotd")
    assert turned.against.difference.mean == pytest.approx(-0.2)


def test_one_without_seeds_stands_against_each(run: Path) -> None:
    (pair,) = compared(f"{run}:base", f"{run}:scotd")
    assert [one.seeds for one in pair.seeds] == [(None, 0), (None, 1)]
    (one,) = compared(f"{run}:scotd-seed1", f"{run}:labels-seed1")
    assert [seed.right for seed in one.seeds] == [(7, 5)]


def test_students_of_two_runs_meet_on_the_questions_of_both(run: Path, tmp_path: Path) -> None:
    few = {"scotd-seed0": outcome("00011"), "scotd-seed1": outcome("00011")}
    other = given_run(tmp_path / "other", few, students=TWO, seeds=[0, 1])
    (pair,) = compared(f"{run}:scotd", f"{other}:scotd")
    assert pair.against.pairs == 5 and [one.right for one in pair.seeds] == [(5, 2), (5, 2)]
    with pytest.raises(
        RunError, match="no labelled question in common on the split 'moon': they answered test and test"
    ):
        compared(f"{run}:scotd", f"{other}:scotd", split="moon")


def test_a_sweep_is_named_student_by_student(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "swept", n=12)
    with pytest.raises(RunError, match=r"'scotd' is a sweep: name one of its students \(scotd-1, scotd-2, .*scotd-8\)"):
        compared(f"{folder}:scotd", f"{folder}:label-only")
    test, contrast = compared(f"{folder}:scotd-8", f"{folder}:label-only")
    assert (test.split, contrast.split) == ("test", "contrast")
    assert [one.seeds for one in test.seeds] == [(0, 0), (1, 1), (2, 2)]
    (votes,) = compared(f"{folder}:scotd-8:vote", f"{folder}:scotd-8")  # there are none on contrast
    assert votes.split == "test" and len(votes.seeds) == 3


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere:scotd", "no such run folder. Name a student as RUN_FOLDER:ROW"),
        ("RUN", "no such run folder"),
        ("RUN:scot", "no answers of a student 'scot'. Did you mean 'scotd'?"),
        ("RUN:scotd:vote", "'scotd' has no answers 'vote'"),
    ],
)
def test_what_is_no_side_is_named(run: Path, named: str, said: str) -> None:
    with pytest.raises(RunError, match=said.replace("?", r"\?")):
        compared(f"{run}:scotd", named.replace("RUN", str(run)))


def test_the_command_says_it_in_lines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["compare", f"{run}:scotd", f"{run}:labels"], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "test: 10 labelled questions that both answered"
    assert said[1] == ("  seed 0: right 5 : 3; only the first right : only the second 3 : 1, exact McNemar p = 0.62")
    assert said[3].startswith("  the first over the second: +20.0 points (") and said[3].endswith("and 2 seeds")
