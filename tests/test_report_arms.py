"""The report over seeds and sweeps: means and differences by hand, votes, contrast pairs, published numbers."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import SWEPT, Seen, make_sweep, prediction, question, write_json, write_predictions

from scotd.config import load
from scotd.errors import RunError
from scotd.report import write_report
from scotd.report.collect import Report, collect
from scotd.report.curves import Line, Panel, Point, curve_plot, spread
from scotd.report.data import Arm
from scotd.report.plots import axis_plots, vote_plot
from scotd.report.words import arm_name, at, bounds, spelt
from scotd.stats import Bootstrap, mcnemar_exact, wilson
from scotd.types import Target

RIGHT, WRONG = "pleased", "not said"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = [
        {
            "what": "SCoTD <few-shot>",
            "where": "Table 3b",
            "row": "scotd",
            "at": {"chains_per_question": 4},
            "value": 58.3,
        },
        {"what": "Label-Only", "where": "Table 2b", "row": "label-only", "value": 62.7, "decoding": "greedy"},
        {"what": "Elsewhere", "where": "Table 9", "row": "scotd", "split": "moon", "value": 1.0, "note": "far off"},
    ]
    published = {
        "results": results,
        "setup": {"student": "big-student", "training.batch_chains": 32, "sampling.chains_per_question": 30},
        "differences": ["The students here are *smaller*."],
    }
    folder = make_sweep(tmp_path_factory.mktemp("runs") / "swept", experiment={**SWEPT, "published": published})
    write_report(folder)
    return folder


def given_run(
    folder: Path,
    outcomes: Mapping[str, list[list[str | None]]],
    *,
    students: Mapping[str, Any],
    seeds: list[int],
    **more: Any,
) -> Path:
    """Write a run on one split whose golds are all RIGHT; `outcomes` gives, by student, the chains of each question."""
    folder.mkdir(parents=True, exist_ok=True)
    decodings = {"greedy": {}, "vote": {"votes": 4, "temperature": 0.7}}
    kind = "greedy" if all(len(chains) == 1 for rows in outcomes.values() for chains in rows) else "vote"
    evaluation = {"splits": ["test"], "decodings": {kind: decodings[kind]}, "baseline": "labels"}
    value = {"name": folder.name, "questions": {"task": "feedback"}, "students": students, "seeds": seeds}
    (folder / "exp.yaml").write_text(json.dumps({**value, "evaluation": evaluation, **more}))
    write_json(folder / "experiment.json", load(folder / "exp.yaml").model_dump(mode="json"))
    for name, rows in outcomes.items():
        asked = [question("test", number, gold=RIGHT) for number in range(len(rows))]
        lines = [prediction(one, chains, kind) for one, chains in zip(asked, rows, strict=True)]
        write_predictions(folder, name, "test", kind, lines)
    return folder


def outcome(pattern: str) -> list[list[str | None]]:
    """'1' is a right answer, '0' a wrong one, '?' none."""
    return [[{"1": RIGHT, "0": WRONG, "?": None}[mark]] for mark in pattern]


TWO = {"scotd": {"target": "scotd"}, "labels": {"target": "label-only"}, "base": {"target": "undistilled"}}
GIVEN = {
    "scotd-seed0": outcome("1111100000"),
    "scotd-seed1": outcome("11111110?0"),
    "labels-seed0": outcome("1100000001"),
    "labels-seed1": outcome("1111000010"),
    "base": outcome("1010000000"),
}


def arms(report: Report) -> dict[str, Arm]:
    (table,) = report.tables
    return {arm_name(arm.cell): arm for arm in table.arms}


# -- means and differences


def test_an_arm_is_the_hand_count_over_its_seeds(tmp_path: Path) -> None:
    found = arms(collect(given_run(tmp_path, GIVEN, students=TWO, seeds=[0, 1])))
    scotd, labels, base = found["scotd"], found["labels"], found["base"]
    matrix = {name: [[mark == "1" for mark in row] for row in rows] for name, rows in {
        "scotd": ("1111100000", "1111111000"), "labels": ("1100000001", "1111000010")}.items()}  # fmt: skip
    assert scotd.accuracies == ((0, 0.5), (1, 0.7)) and scotd.mean == pytest.approx(0.6) and scotd.n == 10
    assert scotd.unparsed == pytest.approx(0.05)
    assert scotd.interval == Bootstrap(0.95).mean(matrix["scotd"]).interval
    assert scotd.against is not None and (scotd.against.seeds, scotd.against.pairs) == (2, 10)
    assert scotd.against.difference == Bootstrap(0.95).difference(matrix["scotd"], matrix["labels"])
    assert scotd.against.difference.mean == pytest.approx(0.2)
    exact = [row.comparison.p for row in scotd.rows if row.comparison is not None]
    assert exact == [mcnemar_exact(3, 1), mcnemar_exact(3, 1)]
    assert labels.against is None and labels.cell.baseline
    # Not trained, so without a seed: against both of the baseline's, and no single test.
    assert base.interval == wilson(2, 10, 0.95) and base.rows[0].comparison is None
    assert base.against is not None and base.against.difference == Bootstrap(0.95).difference(
        [[True, False, True] + [False] * 7], matrix["labels"]
    )


def assert_links_lead_somewhere(folder: Path) -> None:
    links = set(re.findall(r'href="(answers/[^"]+)"', (folder / "report.html").read_text(encoding="utf-8")))
    assert links and all((folder / link).is_file() for link in links)


def test_every_link_leads_somewhere_where_one_seed_is_missing(swept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(swept, folder)
    for path in (folder / "predictions").glob("*-seed0.*"):
        path.unlink()
    write_report(folder)
    assert_links_lead_somewhere(folder)


def test_a_missing_seed_is_said_and_the_rest_is_compared(tmp_path: Path) -> None:
    folder = given_run(tmp_path, GIVEN, students=TWO, seeds=[0, 1])
    (folder / "predictions" / "labels-seed1.test.greedy.jsonl").unlink()
    found = arms(collect(folder))
    scotd, labels = found["scotd"], found["labels"]
    assert labels.accuracies == ((0, 0.3), (1, None)) and labels.interval == wilson(3, 10, 0.95)
    assert scotd.mean == pytest.approx(0.6) and scotd.against is not None
    assert scotd.against.seeds == 1 and scotd.against.difference.mean == pytest.approx(0.2)
    text = Seen.of(write_report(folder).read_text(encoding="utf-8")).text
    assert "1 not yet there" in text and "1 pairs of seeds" in text
    assert_links_lead_somewhere(folder)
    assert "| labels | Label-Only | greedy | 1 of 2 | 10 |" in (folder / "results.md").read_text()
    for path in (folder / "predictions").glob("scotd*"):
        path.unlink()
    found = arms(collect(folder))
    assert (found["scotd"].mean, found["scotd"].interval, found["scotd"].against) == (None, None, None)
    assert "| scotd | SCoTD | greedy | not yet there |" in (write_report(folder).parent / "results.md").read_text()


def test_seeds_are_compared_on_the_questions_that_all_answered(tmp_path: Path) -> None:
    shorter = {**GIVEN, "scotd-seed1": GIVEN["scotd-seed1"][:6]}
    found = arms(collect(given_run(tmp_path, shorter, students=TWO, seeds=[0, 1])))["scotd"]
    assert found.n == 6 and found.mean == pytest.approx((5 / 6 + 1) / 2)
    assert found.against is not None and found.against.pairs == 6


def make_plain(folder: Path) -> Path:
    """One student, no seeds, no sweep."""
    students = {"label-only": {"target": "label-only"}}
    return make_sweep(folder, n=6, experiment={**SWEPT, "seeds": [], "students": students})


def test_a_sweep_is_compared_place_by_place(swept: Path, tmp_path: Path) -> None:
    report = collect(swept)
    table = report.tables[0]
    assert [arm_name(arm.cell) for arm in table.arms if arm.cell.decoding == "greedy"] == [
        *(f"scotd, N = {n}" for n in (1, 2, 4, 8)),
        "label-only",
        "undistilled",
    ]
    assert all(len(arm.rows) == (1 if arm.cell.row == "undistilled" else 3) for arm in table.arms)
    for row in table.rows:
        if row.cell.row == "scotd":
            assert row.comparison is not None and row.comparison.student == f"label-only-seed{row.cell.seed}"
    plain = collect(make_plain(tmp_path / "plain"))
    assert report.swept and not plain.swept and plain.published == ()


def test_a_baseline_at_several_places_is_compared_with_nobody_who_has_none(tmp_path: Path) -> None:
    students = {"labels": {"target": "label-only", "sweep": {"share": [0.5, 1.0]}}, "base": {"target": "undistilled"}}
    given = {name: outcome("1100") for name in ("labels-0_5", "labels-1_0", "base")}
    found = arms(collect(given_run(tmp_path, given, students=students, seeds=[])))
    assert found["base"].against is None and found["base"].rows[0].comparison is None


def test_one_place_of_a_sweep_is_what_every_place_is_tested_against(tmp_path: Path) -> None:
    """The paper's figure 3: does a part of the questions with chains pass the labels of all?"""
    shares = {"sweep": {"share": [0.5, 1.0]}}
    students = {"scotd": {"target": "scotd", **shares}, "labels": {"target": "label-only", **shares}}
    answered = {"scotd-0_5": "1110", "scotd-1_0": "1111", "labels-0_5": "0000", "labels-1_0": "1001"}
    given = {name: outcome(found) for name, found in answered.items()}
    folder = given_run(tmp_path / "run", given, students=students, seeds=[])
    (table,) = collect(folder, baseline="labels-1_0").tables
    tested = {
        row.cell.student: (row.comparison.student, row.comparison.only_this, row.comparison.only_baseline)
        for row in table.rows
        if row.comparison is not None
    }
    assert tested == {
        "scotd-0_5": ("labels-1_0", 2, 1),
        "scotd-1_0": ("labels-1_0", 2, 0),
        "labels-0_5": ("labels-1_0", 0, 2),
    }
    assert [row.cell.student for row in table.rows if row.cell.baseline] == ["labels-1_0"]
    assert write_report(folder, baseline="labels-1_0").parent.name == "against-labels-1_0"


# -- what it says


def test_sentences_about_several_seeds(tmp_path: Path) -> None:
    report = collect(given_run(tmp_path / "few", GIVEN, students=TWO, seeds=[0, 1]))
    scotd, labels = arms(report)["scotd"], arms(report)["labels"]
    assert scotd.against is not None
    (sentence,) = report.verdict
    assert sentence.replace("\u00a0", " ") == (
        f"On test, SCoTD answers 60.0 % of 10 questions right (mean of 2 seeds, {bounds(scotd.interval)}), "
        f"labels (Label-Only) 40.0 % (mean of 2 seeds, {bounds(labels.interval)}); "
        f"the difference could be chance (p = {scotd.against.difference.p:.2f})."
    )
    assert "With 10 questions and 2 seeds" in report.limits[0]
    assert "2 seeds show what another seed would change only roughly" in report.limits[-1]
    assert not any("trained once" in sentence or "only one of" in sentence for sentence in report.limits)
    clear = {name: outcome("1" * 10 if name.startswith("scotd") else "0" * 10) for name in GIVEN}
    (sentence,) = collect(given_run(tmp_path / "clear", clear, students=TWO, seeds=[0, 1])).verdict
    assert "chance alone would rarely make (p\u00a0<\u00a00.001)" in sentence
    level = {**GIVEN, "labels-seed0": GIVEN["scotd-seed1"], "labels-seed1": GIVEN["scotd-seed0"]}
    (sentence,) = collect(given_run(tmp_path / "level", level, students=TWO, seeds=[0, 1])).verdict
    assert "they are level (p\u00a0=\u00a01.00)" in sentence


def test_the_verdict_is_about_the_largest_place_whatever_came_out(tmp_path: Path) -> None:
    sweep = {"target": "scotd", "sweep": {"chains_per_question": [1, 8, 4]}}
    outcomes = {"scotd-1": "1111", "scotd-8": "1000", "scotd-4": "1110", "labels": "1100"}
    given = {name: outcome(pattern) for name, pattern in outcomes.items()}
    students = {"scotd": sweep, "labels": {"target": "label-only"}}
    report = collect(given_run(tmp_path, given, students=students, seeds=[]))
    start = "On test, SCoTD at N = 8 answers 25.0 % of 4 questions right"
    assert report.verdict[0].replace("\u00a0", " ").startswith(start)
    assert "each student was trained once" in report.limits[-1]


def test_power_is_said_where_some_difference_would_be_found(tmp_path: Path) -> None:
    given = {"scotd": outcome("1" * 60 + "0" * 40), "labels": outcome("0" * 20 + "1" * 60 + "0" * 20)}
    students = {"scotd": {"target": "scotd"}, "labels": {"target": "label-only"}}
    limits = collect(given_run(tmp_path, given, students=students, seeds=[])).limits
    # 40 of 100 pairs differ: 2.8 * sqrt(0.4 / 100).
    start = "With as many differing questions a true difference of 18 points would be found in 80 of 100"
    assert [sentence.startswith(start) for sentence in limits].count(True) == 1


def test_words_of_places() -> None:
    assert at((("chains_per_question", 5), ("training.learning_rate", 2e-5))) == "N = 5, learning rate = 2e-05"
    assert at((("filter.name", "random"), ("model", "someone/other-1B"), ("share", 0.5))) == (
        "random, other-1B, 50\u00a0% of questions"
    )
    assert [spelt(value) for value in (True, None, 0.25, 30, "a/b/")] == ["true", "null", "0.25", "30", "b"]


def test_page_markdown_and_json_hold_the_same_means(swept: Path) -> None:
    page = Seen.of((swept / "report.html").read_text(encoding="utf-8"))
    text, table = page.text.replace("\u00a0", " "), (swept / "results.md").read_text(encoding="utf-8")
    value = json.loads((swept / "summary.json").read_text(encoding="utf-8"))
    assert page.unbalanced == [] and len(value["arms"]) == 11 + 6 and len(value["votes"]) == 5
    for arm in value["arms"]:
        own = ", ".join(f"{100 * accuracy:.1f}" for accuracy in arm["seeds"].values())
        for shown in (f"{100 * arm['mean']:.1f} %", "{:.1f} to {:.1f}".format(*(100 * x for x in arm["interval"]))):
            assert shown in text and shown in table
        assert len(arm["seeds"]) == 1 or (own in text and own in table)
        if arm["against"] is not None:
            points = f"{100 * arm['against']['difference']:+.1f} points".replace("-", "\u2212")
            assert points in text and points in table
    for curve in value["votes"]:
        assert len(curve["accuracies"]) == 10
        for k in (1, 2, 3, 5, 10):
            assert f"{100 * curve['accuracies'][k - 1]['mean']:.1f} %" in text
    for row in value["contrasts"]:
        shown = f"{100 * row['consistent']['mean']:.1f} %"
        assert shown in text and shown in table
    assert "details" in page.tags and "one line each" in text, "33 rows are folded"


def test_the_same_swept_folder_gives_the_same_bytes(swept: Path) -> None:
    names = ("report.html", "results.md", "summary.json")
    before = [(swept / name).read_bytes() for name in names]
    write_report(swept)
    assert [(swept / name).read_bytes() for name in names] == before


def test_examples_show_one_seed(swept: Path) -> None:
    shown = collect(swept).runs[0].examples
    students = {answer.student for example in shown.evaluated for answer in example.answers}
    assert students == {*(f"scotd-{n}-seed0" for n in (1, 2, 4, 8)), "label-only-seed0", "undistilled"}
    assert any("differ in their seed only" in sentence for sentence in shown.how)


# -- plots


def test_curves_of_a_sweep(swept: Path) -> None:
    ((name, drawn),) = axis_plots(collect(swept).tables)
    assert name == "N"
    lines = (">scotd<", ">label-only<", ">undistilled<", "guessing, 33.3")
    for text in (drawn.wide, drawn.narrow):
        assert not re.search(r"(?:fill|stroke): #", text)
        for wanted in ("test, greedy", "test, vote", "contrast", *lines):
            assert wanted in text.replace("\u00a0", " "), wanted


def ticks(values: list[float]) -> list[float]:
    """Where the numbers of an axis stand."""
    points = tuple(Point(x, 0.5, 0.4, 0.6) for x in values)
    line = Line(name="scotd", target=Target.SCOTD, points=points)
    names = tuple((x, f"tick{number}") for number, x in enumerate(values))
    panel = Panel(title="t", x_name="x", lines=(line,), levels=(), chance=None, ticks=names)
    drawn = curve_plot([panel], "p", "label")
    assert drawn is not None
    places = [re.search(rf'<text[^>]*?x="([\d.]+)"[^>]*>{name}</text>', drawn.wide) for _, name in names]
    return [float(place[1]) for place in places if place is not None]


def test_an_axis_is_logarithmic_where_values_span_more_than_a_factor_of_8() -> None:
    one, two, three = ticks([1, 8, 64])
    assert two - one == pytest.approx(three - two, rel=0.01)
    one, two, three = ticks([1, 2, 8])
    assert (three - two) / (two - one) == pytest.approx(6, rel=0.01)
    assert len(ticks([0, 1, 100])) == 3, "no logarithm of 0"


def test_names_beside_a_plot_do_not_cover_each_other() -> None:
    dice = np.random.default_rng(3)
    for _ in range(50):
        heights = [float(height) for height in dice.uniform(0, 30, 6)]
        moved = spread(heights, 5)
        assert min(np.diff(sorted(moved))) > 5 - 1e-9
        assert np.argsort(moved).tolist() == np.argsort(heights).tolist()
    assert spread([0, 20, 10], 5) == [0, 20, 10]


def test_words_as_an_axis_and_a_second_axis(tmp_path: Path) -> None:
    models = ["<b>x", "someone/other-1B"]
    students = {
        "kept": {"target": "scotd", "sweep": {"filter.name": ["random", "shortest"]}, "filter": {"budget": 3}},
        "size": {"target": "scotd", "sweep": {"chains_per_question": [1, 8], "model": models}},
        "label-only": {"target": "label-only"},
    }
    folder = make_sweep(tmp_path / "run", n=12, experiment={**SWEPT, "students": students, "seeds": []})
    report = collect(folder)
    found = dict(axis_plots(report.tables))
    assert list(found) == ["filter", "N", "model"]
    assert "kept, random, greedy" in found["filter"].wide and ">size" not in found["filter"].wide
    assert "size, other-1B" in found["N"].wide and ">kept" not in found["N"].wide
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;" in page and Seen.of(page).unbalanced == []


def test_a_plot_along_words_is_not_drawn_where_it_is_the_plot_of_all(tmp_path: Path) -> None:
    students = {
        "kept": {"target": "scotd", "sweep": {"filter.name": ["random", "shortest"]}, "filter": {"budget": 3}},
        "label-only": {"target": "label-only"},
    }
    folder = make_sweep(tmp_path / "run", n=12, experiment={**SWEPT, "students": students, "seeds": []})
    assert axis_plots(collect(folder).tables) == ()
    page = write_report(folder).read_text(encoding="utf-8")
    (legend,) = re.findall(r'<ul class="legend">(.*?)</ul>', page)
    assert re.findall(r"</span>(.*?)</li>", legend) == ["SCoTD", "Label-Only"]


def test_many_rows_that_are_not_clear_of_guessing_are_counted_and_not_named(tmp_path: Path) -> None:
    students = {
        "scotd": {"target": "scotd", "sweep": {"share": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}},
        "label-only": {"target": "label-only"},
    }
    folder = make_sweep(tmp_path / "run", n=2, experiment={**SWEPT, "students": students, "seeds": []})
    (sentence,) = [limit for limit in collect(folder).limits if "guessing" in limit]
    assert re.search(r"at this scale: \d+ of \d+ rows of the table\.$", sentence) and "of questions" not in sentence


# -- votes


def test_the_last_point_of_a_vote_curve_is_the_vote(swept: Path) -> None:
    report = collect(swept)
    ((split, curves),) = report.votes
    voted = {arm_name(arm.cell): arm for arm in report.tables[0].arms if arm.cell.decoding == "vote"}
    assert split == "test" and [arm_name(curve.cell) for curve in curves] == list(voted)
    for curve in curves:
        arm = voted[arm_name(curve.cell)]
        assert len(curve.accuracies) == 10 and curve.seeds == 3 and curve.n == 60
        assert curve.accuracies[-1].mean == arm.mean and curve.accuracies[-1].interval == arm.interval
        files = [swept / "predictions" / f"{row.cell.student}.test.vote.jsonl" for row in arm.rows]
        rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        single = [chain["answer"] == row["gold"] for row in rows for chain in row["chains"]]
        assert curve.accuracies[0].mean == pytest.approx(np.mean(single))
    drawn = vote_plot(report.votes)
    assert drawn is not None and "scotd, N = 8" in drawn.wide


def test_vote_curves_end_where_chains_are_missing(tmp_path: Path) -> None:
    chains: list[list[str | None]] = [[RIGHT, WRONG, WRONG, RIGHT], [RIGHT, RIGHT, None]]
    students = {"scotd": {"target": "scotd"}, "labels": {"target": "label-only"}}
    folder = given_run(tmp_path / "a", {"scotd": chains}, students=students, seeds=[])
    ((_, (curve,)),) = collect(folder).votes
    assert len(curve.accuracies) == 3
    # One chain: 1/2 and 2/3. Two: of the first's 6 pairs 4 are tied; of the second all three are right.
    assert curve.accuracies[0].mean == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert curve.accuracies[1].mean in (pytest.approx((1 / 6 + 1) / 2), pytest.approx((5 / 6 + 1) / 2))
    single: list[list[str | None]] = [[RIGHT], [RIGHT, WRONG]]
    assert collect(given_run(tmp_path / "b", {"scotd": single}, students=students, seeds=[])).votes == ()


# -- contrast sets


def test_consistency_is_the_hand_count_over_pairs(swept: Path) -> None:
    ((split, rows),) = collect(swept).contrasts
    assert split == "contrast" and len(rows) == 6
    for row in rows:
        names = [row.cell.student.replace("seed0", f"seed{seed}") for seed in range(row.seeds)]
        assert len(set(names)) == (1 if row.cell.row == "undistilled" else 3)
        both = []
        for name in names:
            sides = []
            for part in ("test", "contrast"):
                lines = (swept / "predictions" / f"{name}.{part}.greedy.jsonl").read_text().splitlines()
                sides.append([one["answer"] == one["gold"] for one in map(json.loads, lines)])
            # Question i of contrast is a change of question i of test.
            both.append(np.mean([a and b for a, b in zip(*sides, strict=True)]))
        assert row.pairs == 60 and row.consistent.mean == pytest.approx(np.mean(both))
        assert row.consistent.interval.low < row.consistent.mean < row.consistent.interval.high
    assert "Consistency is the share of such pairs" in (swept / "report.html").read_text()


def test_pairs_without_an_answered_original_are_no_pairs(tmp_path: Path) -> None:
    folder = make_plain(tmp_path / "run")
    path = folder / "predictions" / "label-only.test.greedy.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:4]))
    ((_, (row,)),) = collect(folder).contrasts
    assert row.pairs == 4
    path.unlink()
    assert collect(folder).contrasts == ()


# -- published numbers


def test_published_numbers_stand_beside_the_arms_at_their_place(swept: Path) -> None:
    (found,) = collect(swept).published
    ours = [None if row.arm is None else (arm_name(row.arm.cell), row.arm.cell.decoding) for row in found.rows]
    assert ours == [("scotd, N = 4", "greedy"), ("scotd, N = 4", "vote"), ("label-only", "greedy"), None]
    text = Seen.of((swept / "report.html").read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    table = (swept / "results.md").read_text(encoding="utf-8")
    first = found.rows[0]
    assert first.arm is not None and first.arm.mean is not None
    points = f"{100 * (first.arm.mean - 0.583):+.1f} points".replace("-", "\u2212")
    for wanted in ("58.3 %", points, "far off", "Table 9"):
        assert wanted in text and wanted in table, wanted
    assert "SCoTD <few-shot>" in text and r"SCoTD \<few-shot\>" in table
    other = ("student: big-student there, small-student-135m here.", "sampling.chains_per_question: 30 there, 8 here.")
    assert found.differences == (*other, "The students here are *smaller*.")  # what is as there is not named
    assert all(sentence in text for sentence in other)
    assert "The students here are *smaller*." in text and r"- The students here are \*smaller\*." in table
    value = json.loads((swept / "summary.json").read_text())["published"][0]
    assert value["rows"][0]["ours"]["mean"] == first.arm.mean and value["rows"][3]["ours"] is None


def test_the_page_says_what_students_were_trained_on_where_that_is_another_task(tmp_path: Path) -> None:
    one = {"labels": outcome("10")}
    students = {"labels": {"target": "label-only"}}
    own = collect(given_run(tmp_path / "own", one, students=students, seeds=[]))
    other = collect(given_run(tmp_path / "other", one, students=students, seeds=[], train_on=[{"task": "feedback"}]))
    assert "trained on" not in dict(own.runs[0].subtitle)
    assert dict(other.runs[0].subtitle)["trained on"] == "feedback"


# -- against another row


def test_another_row_is_the_baseline_of_another_report(tmp_path: Path) -> None:
    folder = given_run(tmp_path / "run", GIVEN, students=TWO, seeds=[0, 1])
    own = write_report(folder)
    before = own.read_bytes()
    page = write_report(folder, baseline="scotd")
    assert page == folder / "against-scotd" / "report.html" and own.read_bytes() == before
    rows = json.loads((page.parent / "summary.json").read_text())
    assert rows["baseline"] == "scotd"
    report = collect(folder, baseline="scotd")
    assert report.runs[0].settings["evaluation.baseline"] == "labels"  # the configuration as it ran
    found = arms(report)
    labels = found["labels"]
    assert found["scotd"].against is None and found["scotd"].cell.baseline and not labels.cell.baseline
    assert labels.against is not None and labels.against.difference.mean == pytest.approx(-0.2)
    assert [(row.comparison.only_this, row.comparison.only_baseline) for row in labels.rows if row.comparison] == [
        (1, 3)
    ] * 2
    assert "baseline: labels" in Seen.of(page.read_text(encoding="utf-8")).text  # the configuration as it ran
    other = given_run(tmp_path / "other", GIVEN, students=TWO, seeds=[0, 1])
    assert write_report(folder, other, baseline="base") == tmp_path / "report-against-base" / "report.html"


def test_a_row_that_a_run_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = given_run(tmp_path / "run", GIVEN, students=TWO, seeds=[0, 1])
    with pytest.raises(RunError, match=r"run: has no row 'label' to test against\. Did you mean 'labels'\?"):
        write_report(folder, baseline="label")
    assert not [*folder.glob("against-*")]
