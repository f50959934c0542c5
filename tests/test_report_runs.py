"""Several runs on one page: what is compared, on which questions, and what is said of the rest."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from run_folders import EXPERIMENT, SWEPT, Seen, make_run, make_sweep, question, three_way, write_corpus, write_json

from scotd.cli import cli
from scotd.errors import RunError
from scotd.report import write_report
from scotd.report.collect import collect
from scotd.report.words import arm_name
from scotd.stats import Bootstrap

RIGHT, WRONG = "pleased", "not said"


def test_two_runs_of_one_experiment(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "first", n=40)
    changed = {**SWEPT, "training": {"epochs": 3}, "student": "another"}
    second = make_sweep(tmp_path / "second", n=40, experiment=changed, seed=8)
    page = write_report(first, second)
    assert page == tmp_path / "report" / "report.html"
    report = collect(first, second)
    assert report.name == "first, second" and [run.name for run in report.runs] == ["first", "second"]
    table = report.tables[0]
    assert [arm_name(arm.cell) for arm in table.arms if arm.cell.row == "undistilled"] == [
        "undistilled (first)",
        "undistilled (second)",
    ]
    # Each run has its own baseline.
    for arm in table.arms:
        assert arm.against is None or arm.against.other.run == arm.cell.run
    (test, rows), (contrast, _) = report.between
    assert (test, contrast) == ("test", "contrast") and len(rows) == 11
    for row in rows:
        assert (row.cell.run, row.other.run, row.why) == ("second", "first", "")
        assert row.against is not None and row.against.pairs == 40
        assert row.against.seeds == (1 if row.cell.row == "undistilled" else 3)
    settings = {one.key: one.values for one in report.differing}
    assert settings == {"training.epochs": ("1", "3"), "student": ("small-student-135m", "another")}
    assert report.alone == ()
    seen = Seen.of(page.read_text(encoding="utf-8"))
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert seen.unbalanced == [] and len(ids) == len(set(ids)), "the runs' plots share no ids"
    text = seen.text.replace("\u00a0", " ")
    assert "On test (second), SCoTD at N = 8" in text and "Settings that differ" in text
    value = json.loads((page.parent / "summary.json").read_text())
    assert len(value["between"]) == 17 and value["runs"] == ["first", "second"]
    assert "| training.epochs | 1 | 3 |" in (page.parent / "results.md").read_text()


def test_runs_are_compared_on_the_same_questions_only(tmp_path: Path) -> None:
    a = three_way(tmp_path / "a", {"scotd": [RIGHT] * 6 + [WRONG] * 4, "label-only": [WRONG] * 10})
    b = three_way(tmp_path / "b", {"scotd": [RIGHT] * 8, "greedy-cot": [RIGHT] * 8})
    report = collect(a, b)
    ((_, (row,)),) = report.between
    assert row.against is not None and row.against.pairs == 8
    assert row.against.difference == Bootstrap(0.95).difference([[1] * 8], [[1] * 6 + [0] * 2])
    assert row.why == "on the 8 questions in common, of 8 and 10"
    assert report.alone == ("On test in one run only: label-only (a); greedy-cot (b).",)
    assert {one.key: one.values for one in report.differing} == {
        "students.label-only": ("there", None),
        "students.greedy-cot": (None, "there"),
    }
    # Other questions under the same keys: other texts, where both corpora have them.
    write_corpus(a / "corpus.sqlite", [question("test", n, gold=RIGHT) for n in range(10)], [])
    write_corpus(b / "corpus.sqlite", [question("test", n, gold=RIGHT, stem=f"Other {n}?") for n in range(8)], [])
    ((_, (row,)),) = collect(a, b).between
    assert (row.against, row.why) == (None, "no labelled question in common")
    text = Seen.of(write_report(a, b).read_text(encoding="utf-8")).text
    assert "not compared: no labelled question in common" in text
    assert "no labelled question in common" in (tmp_path / "report" / "results.md").read_text()


def test_what_is_not_yet_there_is_said(tmp_path: Path) -> None:
    a, b = (three_way(tmp_path / name, {"scotd": [RIGHT, WRONG]}) for name in "ab")
    (b / "predictions" / "scotd.test.greedy.jsonl").unlink()
    ((_, (row,)),) = collect(a, b).between
    assert (row.against, row.why) == (None, "not yet there in b")


def test_seeds_that_do_not_match_are_not_paired(tmp_path: Path) -> None:
    a = make_sweep(tmp_path / "a", n=12)
    b = make_sweep(tmp_path / "b", n=12, experiment={**SWEPT, "seeds": [5, 6]})
    rows = [row for _, rows in collect(a, b).between for row in rows]
    assert {row.why for row in rows if row.cell.row != "undistilled"} == {"no seed in common"}
    assert all(row.against is not None for row in rows if row.cell.row == "undistilled")


def test_splits_of_two_tasks_are_two_tables(tmp_path: Path) -> None:
    a = three_way(tmp_path / "a", {"scotd": [RIGHT, WRONG]})
    b = three_way(tmp_path / "b", {"scotd": [RIGHT, WRONG]})
    experiment: dict[str, Any] = json.loads((b / "experiment.json").read_text())
    write_json(b / "experiment.json", {**experiment, "questions": {"task": "sst2"}})
    report = collect(a, b)
    assert [table.split for table in report.tables] == ["feedback test", "sst2 test"]
    assert report.between == () and len(report.alone) == 2
    assert "No row stands in more than one of the runs" in write_report(a, b).read_text()


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name / "run", n=4) for name in ("x", "y"))
    assert [run.name for run in collect(a, b).runs] == ["x/run", "y/run"]
    with pytest.raises(RunError, match="is given twice"):
        collect(a, tmp_path / "x" / ".." / "x" / "run")


def test_other_confidences_are_said(tmp_path: Path) -> None:
    a = three_way(tmp_path / "a", {"scotd": [RIGHT, WRONG]})
    b = three_way(tmp_path / "b", {"scotd": [RIGHT, WRONG]}, confidence=0.9)
    assert any("different confidences" in note for note in collect(a, b).notes)


def test_where_it_is_written(tmp_path: Path) -> None:
    a, b = (three_way(tmp_path / name, {"scotd": [RIGHT, WRONG]}) for name in "ab")
    done = CliRunner().invoke(cli, ["report", str(a), str(b), "--out", str(tmp_path / "deep" / "both")])
    assert done.output == f"Report: {tmp_path / 'deep' / 'both' / 'report.html'}\n"
    assert {path.name for path in (tmp_path / "deep" / "both").iterdir()} == {
        "answers",
        "report.html",
        "results.md",
        "summary.json",
    }
    done = CliRunner().invoke(cli, ["report", str(a), str(b)])
    assert done.output == f"Report: {tmp_path / 'report' / 'report.html'}\n"
    assert CliRunner().invoke(cli, ["report", str(a)]).output == f"Report: {a / 'report.html'}\n"
    assert write_report(a, out=a) == a / "report.html"
    for out in (a, b):
        with pytest.raises(RunError, match="is a run folder, whose own report would be written over"):
            write_report(a, b, out=out)
    assert not (b / "report.html").exists()


def test_a_folder_that_is_none_stops_all(tmp_path: Path) -> None:
    a = three_way(tmp_path / "a", {"scotd": [RIGHT, WRONG]})
    with pytest.raises(RunError, match="nowhere is no run folder"):
        write_report(a, tmp_path / "nowhere")
    assert not (tmp_path / "report").exists()


def test_notes_name_their_run(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name, n=4) for name in "ab")
    (b / "run.json").unlink()
    assert collect(a, b).notes == ("b: run.json: not yet there; versions and seeds are not known.",)


def test_a_run_folder_from_before_sweeps_still_works(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old", n=6, experiment=EXPERIMENT)
    assert not {"published", "seeds"} & json.loads((folder / "experiment.json").read_text()).keys()
    report = collect(folder, make_sweep(tmp_path / "new", n=6))
    assert {row.cell.row for _, rows in report.between for row in rows} == {"label-only", "undistilled"}
    assert {one.key for one in report.differing} >= {"students.greedy-cot"}
    assert not any(one.key.startswith("published") for one in report.differing)


NASTY = "</p></table><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m \u202e | `x`"


def test_nothing_in_names_settings_or_published_texts_acts_on_the_page(tmp_path: Path) -> None:
    entry = {"what": NASTY, "where": NASTY, "row": "scotd", "value": 50.0, "note": NASTY}
    changed = {**SWEPT, "published": {"results": [entry], "differences": [NASTY]}, "student": NASTY}
    a = make_sweep(tmp_path / "plain", n=6)
    b = make_sweep(tmp_path / "<img src=x onerror=alert(1)> \x1b[31m", n=6, experiment=changed)
    page = write_report(a, b, out=tmp_path / "out").read_text(encoding="utf-8")
    seen = Seen.of(page)
    assert seen.text.count("<script>alert(1)</script>") >= 5 and seen.text.count("<img src=x onerror=alert(1)>") >= 20
    assert not {"script", "img"} & set(seen.tags) and seen.unbalanced == []
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    for name in ("report.html", "results.md", "summary.json"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert [c for c in text if (ord(c) < 32 and c != "\n") or ord(c) in (0x7F, 0x202E)] == []
    tables = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<", tables)


@pytest.mark.parametrize("part", ["predictions", "corpus.sqlite", "funnel.json", "stages.json", "run.json"])
def test_a_swept_run_that_is_half_done_still_gives_a_report(tmp_path: Path, part: str) -> None:
    a, b = (make_sweep(tmp_path / name, n=6) for name in "ab")
    path = a / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for page in (write_report(a), write_report(a, b), write_report(b, a, out=tmp_path / "c")):
        seen = Seen.of(page.read_text(encoding="utf-8"))
        assert "not yet there" in seen.text.casefold() and seen.unbalanced == []


def test_many_students_are_summed_in_plots_and_folded_in_tables(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "run", n=6)
    stages = [{"stage": "train", "name": f"s{number}", "seconds": 2.0} for number in range(30)]
    write_json(folder / "stages.json", [{"stage": "sample", "seconds": 5.0}, *stages])
    page = write_report(folder).read_text(encoding="utf-8")
    seen = Seen.of(page)
    assert "(30 times)" in seen.text and "31 stages, one line each" in seen.text and seen.unbalanced == []
    assert "Together1\u00a0min 05\u00a0s" in re.sub(r"\s*\n\s*", "", seen.text)
