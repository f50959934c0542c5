"""`scotd compare`: counts and tests by hand, seeds paired, and what cannot be compared."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import make_sweep, question, write_corpus
from test_report_arms import GIVEN, RIGHT, TWO, given_run, outcome

from scotd.cli import cli
from scotd.errors import RunError
from scotd.report.pair import compared
from scotd.stats import mcnemar_exact


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return given_run(tmp_path / "run", GIVEN, students=TWO, seeds=[0, 1])


def test_seeds_are_paired_and_counted(run: Path) -> None:
    (pair,) = compared(f"{run}:scotd", f"{run}:labels").pairs
    assert pair.split == "test" and pair.against.pairs == 10
    assert [(one.seeds, one.right) for one in pair.seeds] == [((0, 0), (5, 3)), ((1, 1), (7, 5))]
    assert [(one.test.only_this, one.test.only_baseline) for one in pair.seeds] == [(3, 1), (3, 1)]
    assert pair.seeds[0].test.p == mcnemar_exact(3, 1)
    assert pair.against.seeds == 2 and pair.against.difference.mean == pytest.approx(0.2)
    (turned,) = compared(f"{run}:labels", f"{run}:scotd").pairs
    assert turned.against.difference.mean == pytest.approx(-0.2)


def test_one_without_seeds_stands_against_each(run: Path) -> None:
    (pair,) = compared(f"{run}:base", f"{run}:scotd").pairs
    assert [one.seeds for one in pair.seeds] == [(None, 0), (None, 1)]
    (one,) = compared(f"{run}:scotd-seed1", f"{run}:labels-seed1").pairs
    assert [seed.right for seed in one.seeds] == [(7, 5)]


def test_students_of_two_runs_meet_on_the_questions_of_both(run: Path, tmp_path: Path) -> None:
    few = {"scotd-seed0": outcome("00011"), "scotd-seed1": outcome("00011")}
    other = given_run(tmp_path / "other", few, students=TWO, seeds=[0, 1])
    (pair,) = compared(f"{run}:scotd", f"{other}:scotd").pairs
    assert pair.against.pairs == 5 and [one.right for one in pair.seeds] == [(5, 2), (5, 2)]
    with pytest.raises(RunError, match=r"--split tes: both answered test\. Did you mean 'test'\?"):
        compared(f"{run}:scotd", f"{other}:scotd", split="tes")


def test_a_sweep_is_named_student_by_student(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "swept", n=12)
    with pytest.raises(RunError, match=r"'scotd' is a sweep: name one of its students \(scotd-1, scotd-2, .*scotd-8\)"):
        compared(f"{folder}:scotd", f"{folder}:label-only")
    test, contrast = compared(f"{folder}:scotd-8", f"{folder}:label-only").pairs
    assert (test.split, contrast.split) == ("test", "contrast")
    assert [one.seeds for one in test.seeds] == [(0, 0), (1, 1), (2, 2)]
    (votes,) = compared(f"{folder}:scotd-8:vote", f"{folder}:scotd-8").pairs  # there are none on contrast
    assert votes.split == "test" and len(votes.seeds) == 3


def test_all_lines_are_about_the_questions_that_every_seed_answered(run: Path, tmp_path: Path) -> None:
    half = {"scotd-seed0": outcome("0000011111"), "scotd-seed1": outcome("00001")}
    other = given_run(tmp_path / "half", half, students=TWO, seeds=[0, 1])
    (pair,) = compared(f"{run}:scotd", f"{other}:scotd").pairs
    assert pair.against.pairs == 5 and [one.right for one in pair.seeds] == [(5, 0), (5, 1)]
    assert pair.against.difference.mean == pytest.approx(0.9)


def test_seeds_that_one_side_alone_has_are_told(run: Path, tmp_path: Path) -> None:
    later = {f"scotd-seed{seed}": outcome("1111100000") for seed in (1, 2)}
    other = given_run(tmp_path / "later", later, students=TWO, seeds=[1, 2])
    (pair,) = compared(f"{run}:scotd", f"{other}:scotd").pairs
    assert [one.seeds for one in pair.seeds] == [(1, 1)] and pair.alone == (0, 2)
    last = {f"scotd-seed{seed}": outcome("1111100000") for seed in (2, 3)}
    other = given_run(tmp_path / "last", last, students=TWO, seeds=[2, 3])
    with pytest.raises(RunError, match=r"No seed in common on test: 0, 1; 2, 3\. Name single students"):
        compared(f"{run}:scotd", f"{other}:scotd")


def test_a_question_that_reads_otherwise_in_the_other_run_is_not_compared(run: Path, tmp_path: Path) -> None:
    other = given_run(tmp_path / "other", GIVEN, students=TWO, seeds=[0, 1])
    asked = [question("test", number, gold=RIGHT) for number in range(10)]
    write_corpus(run / "corpus.sqlite", asked, [])
    write_corpus(other / "corpus.sqlite", [replace(asked[0], stem="Another question?"), *asked[1:]], [])
    (pair,) = compared(f"{run}:scotd", f"{other}:scotd").pairs
    assert pair.against.pairs == 9


def test_what_could_not_be_read_is_told(run: Path, tmp_path: Path) -> None:
    file = next((run / "predictions").glob("scotd-seed0.*"))
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    found = compared(f"{run}:scotd", f"{run}:labels")
    assert found.pairs[0].against.pairs == 9
    assert len(found.notes) == 1 and "1 rows cannot be read" in found.notes[0]
    for path in (run / "predictions").glob("labels-*"):
        path.unlink()
    with pytest.raises(RunError, match="'labels' has not answered yet"):
        compared(f"{run}:scotd", f"{run}:labels")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere:scotd", "no such run folder. Name a student as RUN_FOLDER:ROW"),
        ("RUN", "no such run folder"),
        ("RUN:scot", "the run has no student 'scot'. Did you mean 'scotd'?"),
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
    assert said[1] == (
        "  seed 0: right 5 : 3; only the first right : only the second 3 : 1, exact McNemar p = 0.62; "
        "commonest answer 'not said' (5 of 10) : 'not said' (7 of 10)"
    )
    assert said[3].startswith("  the first over the second: +20.0 points (95 %: ") and said[3].endswith("and 2 seeds")


def right_of(folder: Path, name: str, split: str) -> list[bool]:
    """By seed and question, the i-th of contrast being a change of the i-th of test."""
    files = [folder / "predictions" / f"{name}-seed{seed}.{split}.greedy.jsonl" for seed in range(3)]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [row["answer"] == row["gold"] for row in rows]


def test_a_contrast_set_is_compared_by_pairs_of_a_question_and_its_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (make_sweep(tmp_path / f"run{seed}", n=12, seed=seed) for seed in (7, 8))
    sides = ((one, "scotd-8"), (other, "label-only"))
    first, second = (f"{folder}:{name}" for folder, name in sides)
    test, contrast = compared(first, second).pairs
    changed = contrast.changed
    assert test.changed is None and changed is not None
    halves = [[right_of(*side, split) for split in ("contrast", "test")] for side in sides]
    shares = [sum(a and b for a, b in zip(*half, strict=True)) / 36 for half in halves]
    leads = [(sum(mine) - sum(its)) / 36 for mine, its in zip(*halves, strict=True)]
    assert changed.pairs == 12 and changed.shares == pytest.approx(shares) and shares[0] != shares[1]
    assert changed.consistent.mean == pytest.approx(shares[0] - shares[1])
    assert changed.leads == pytest.approx(leads) and leads[0] != leads[1]
    assert changed.further.mean == pytest.approx(leads[0] - leads[1])
    assert changed.further.interval.low < changed.further.mean < changed.further.interval.high

    cli.main(["compare", first, second], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    points = [f"{100 * number:+.1f}" for number in (shares[0] - shares[1], *leads, leads[0] - leads[1])]
    assert said[-2].startswith(
        f"  right on both of 12 pairs of a question and its change {100 * shares[0]:.1f} % : {100 * shares[1]:.1f} %, "
        f"{points[0]} points"
    )
    assert said[-1].startswith(
        f"  the first's lead on the changes over that on the originals, {points[1]} and {points[2]}: {points[3]} points"
    )
    assert said[-1].endswith("bootstrap over pairs and 3 seeds")
    assert sum("pairs of a question and its change" in line for line in said) == 1


def test_pairs_are_those_whose_originals_both_answered_and_read_alike(tmp_path: Path) -> None:
    one, other = (make_sweep(tmp_path / f"run{seed}", n=12, seed=seed) for seed in (7, 8))

    def pairs(first: Path, second: Path) -> int:
        (found,) = compared(f"{first}:scotd-8", f"{second}:scotd-8", split="contrast").pairs
        assert found.against.pairs == 12
        return 0 if found.changed is None else found.changed.pairs

    with closing(sqlite3.connect(other / "corpus.sqlite")) as corpus, corpus:
        key = question("test", 3).key
        corpus.execute("UPDATE questions SET stem = 'Another question?' WHERE key = ?", (key,))
    assert pairs(one, other) == pairs(other, one) == 11
    (other / "corpus.sqlite").unlink()
    assert pairs(one, other) == pairs(other, one) == 12, "what one corpus knows is enough"
    path = other / "predictions" / "scotd-8-seed0.test.greedy.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:5]))
    assert pairs(one, other) == 5
    (one / "corpus.sqlite").unlink()
    assert pairs(one, other) == 0


def test_what_each_answers_most_often_is_told(run: Path, tmp_path: Path) -> None:
    mute = given_run(tmp_path / "mute", {"scotd-seed0": outcome("1??0??????")}, students=TWO, seeds=[0])
    (pair,) = compared(f"{run}:labels", f"{mute}:scotd").pairs
    assert pair.seeds[0].commonest == (("not said", 7), (None, 8))
    (pair,) = compared(f"{run}:scotd-seed0", f"{mute}:scotd").pairs
    assert pair.seeds[0].commonest[0] == ("not said", 5)  # of two that are as common the first by name


def test_a_difference_is_set_against_another_pairs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (f"{run}:scotd", f"{run}:labels"), (f"{run}:base", f"{run}:labels")
    (pair,) = compared(*one, over=other).pairs
    assert pair.further is not None
    assert (pair.further.questions, pair.further.seeds) == (10, 2)
    assert pair.further.means == pytest.approx((0.2, -0.2)) and pair.further.difference.mean == pytest.approx(0.4)
    (pair,) = compared(*one, over=one).pairs
    assert pair.further is not None and pair.further.difference == (0.0, (0.0, 0.0), 1.0)
    cli.main(["compare", *one, "--over", *other], standalone_mode=False)
    last = capsys.readouterr().out.splitlines()[-1]
    means = "+20.0 and -20.0 on the 10 labelled questions that all four answered"
    assert last.startswith(f"  that over the other pair's, {means}: +40.0 points")
    assert last.endswith("and 2 seeds")


def test_another_pair_is_met_on_its_questions_and_seeds(run: Path, tmp_path: Path) -> None:
    one = f"{run}:scotd", f"{run}:labels"
    few = given_run(tmp_path / "few", {"base": outcome("00011")}, students=TWO, seeds=[])
    (pair,) = compared(*one, over=(f"{few}:base", f"{run}:labels")).pairs
    assert pair.against.pairs == 10 and pair.further is not None and pair.further.questions == 5
    assert pair.further.means == pytest.approx((1 - 0.6, 0.4 - 0.6))

    later = {f"{name}-seed{seed}": outcome("1111100000") for name in ("scotd", "labels") for seed in (1, 2)}
    other = given_run(tmp_path / "later", later, students=TWO, seeds=[1, 2])
    (pair,) = compared(*one, over=(f"{other}:scotd", f"{other}:labels")).pairs
    assert len(pair.seeds) == 2 and pair.further is not None and pair.further.seeds == 1
    assert pair.further.means == pytest.approx((0.2, 0.0))  # of seed 1 alone
    last = {f"{name}-seed{seed}": outcome("1111100000") for name in ("scotd", "labels") for seed in (3, 4)}
    other = given_run(tmp_path / "last", last, students=TWO, seeds=[3, 4])
    with pytest.raises(RunError, match=r"The four have no seed in common on test"):
        compared(*one, over=(f"{other}:scotd", f"{other}:labels"))


def test_another_pair_that_cannot_be_met_is_refused_before_anything_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = f"{run}:scotd", f"{run}:labels"
    other = given_run(tmp_path / "other", GIVEN, students=TWO, seeds=[0, 1])
    asked = [question("test", number, gold=RIGHT) for number in range(10)]
    write_corpus(run / "corpus.sqlite", asked, [])
    write_corpus(other / "corpus.sqlite", [replace(held, stem="Another text.") for held in asked], [])
    with pytest.raises(RunError, match="The four have no labelled question in common on test"):
        cli.main(["compare", *one, "--over", f"{other}:scotd", f"{other}:labels"], standalone_mode=False)
    assert capsys.readouterr().out == ""
    with pytest.raises(RunError, match=r"--split tes: all four answered test\. Did you mean 'test'\?"):
        compared(*one, over=one, split="tes")
