"""The report: its numbers against hand counts, hostile texts against an HTML parser, half-done runs against tracebacks.

The run folders are those of run_folders.py.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from run_folders import (
    EXPERIMENT,
    LABELS,
    Seen,
    chains_of,
    make_run,
    prediction,
    question,
    three_way,
    write_corpus,
    write_json,
    write_predictions,
)

from scotd.clean import clean
from scotd.errors import RunError
from scotd.report import write_report
from scotd.report.answers import answer_pages, page_of
from scotd.report.collect import collect
from scotd.report.data import Cell, Why
from scotd.report.examples import CHAINS, EVALUATED, TRAINING
from scotd.report.markdown import markdown
from scotd.report.render import answers_html as html_of_answers
from scotd.report.render import html
from scotd.report.summary import summary
from scotd.report.words import called, duration, p_value
from scotd.stats import mcnemar_exact, wilson
from scotd.types import Choice, Mark, Target


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "first-light")
    write_report(folder)
    return folder


# -- numbers


def test_numbers_are_the_hand_counts(tmp_path: Path) -> None:
    right, wrong = "pleased", "not said"
    folder = three_way(
        tmp_path,
        {"scotd": [right] * 7 + [None, wrong, wrong], "label-only": [right] * 2 + [wrong] * 7 + [right]},
        baseline="label-only",
    )
    (table,) = collect(folder).tables
    scotd, label_only = table.rows
    assert scotd.result is not None and label_only.result is not None
    assert (scotd.result.n, scotd.result.correct, scotd.result.unparsed) == (10, 7, 1)
    assert scotd.result.reasons == {"cut off": 1}
    assert scotd.result.interval == wilson(7, 10, 0.95)
    assert label_only.result.correct == 3 and label_only.comparison is None
    assert scotd.comparison is not None
    assert (scotd.comparison.pairs, scotd.comparison.only_this, scotd.comparison.only_baseline) == (10, 5, 1)
    assert scotd.comparison.p == mcnemar_exact(5, 1) and scotd.comparison.difference == pytest.approx(0.4)
    # Without a corpus the number of choices is not known, so no accuracy of guessing is claimed.
    assert table.chance is None


def test_page_markdown_and_json_hold_the_same_numbers(full_run: Path) -> None:
    page = Seen.of((full_run / "report.html").read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    table = (full_run / "results.md").read_text(encoding="utf-8")
    rows = json.loads((full_run / "summary.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 14
    for row in rows:
        result = row["result"]
        accuracy = f"{100 * result['accuracy']:.1f} %"
        interval = "{:.1f} to {:.1f}".format(*(100 * bound for bound in result["interval"]))
        assert accuracy in page and interval in page
        target = {"scotd": "SCoTD", "greedy-cot": "Greedy-CoT", "label-only": "Label-Only"}.get(row["target"])
        names = f"| {row['split']} | {row['student']} | {target or 'Undistilled'} | {row['decoding']} "
        assert f"{names}| {result['n']} | {result['correct']} | {accuracy} | {interval} |" in table
        lines = (full_run / "predictions" / f"{row['student']}.{row['split']}.{row['decoding']}.jsonl").read_text()
        assert result["correct"] == sum(json.loads(line)["correct"] for line in lines.splitlines())
        assert result["ties"] == sum(json.loads(line)["tied"] for line in lines.splitlines())


def test_a_vote_is_compared_with_the_baselines_own_decoding(full_run: Path) -> None:
    rows = {(row.cell.student, row.cell.decoding): row for row in collect(full_run).tables[0].rows}
    vote = rows["scotd", "vote"]
    assert vote.comparison is not None and vote.comparison.decoding == "greedy"
    assert vote.result is not None and (vote.result.chains, vote.result.tokens) == (300, 100.0)
    assert rows["scotd", "greedy"].result is not None and ("label-only", "vote") not in rows


def test_chance_is_claimed_only_where_choices_are_uniform(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=4)
    assert [table.chance for table in collect(folder).tables] == [pytest.approx(1 / 3)] * 3
    odd = question("test", 99, choices=tuple(Choice(label=label, text=label) for label in LABELS[:2]), gold="pleased")
    write_corpus(folder / "corpus.sqlite", [odd], [])
    path = folder / "predictions" / "scotd.test.greedy.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(prediction(odd, ["pleased"], "greedy")) + "\n")
    assert [table.chance for table in collect(folder).tables] == [None, pytest.approx(1 / 3), pytest.approx(1 / 3)]


def test_unlabelled_questions_are_in_no_rate(tmp_path: Path) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased", "not said", "pleased"]})
    path = folder / "predictions" / "scotd.test.greedy.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_predictions(folder, "scotd", "test", "greedy", [{**rows[0], "gold": None}, *rows[1:]])
    result = collect(folder).tables[0].rows[0].result
    assert result is not None and (result.n, result.unlabelled, result.correct) == (2, 1, 1)
    write_predictions(folder, "scotd", "test", "greedy", [{**row, "gold": None} for row in rows])
    report = collect(folder)
    result = report.tables[0].rows[0].result
    assert result is not None and (result.n, result.accuracy, result.interval) == (0, None, None)
    assert report.verdict == ("The answered questions have no gold labels, so there is no accuracy to report.",)
    assert "no gold labels" in write_report(folder).read_text()


# -- what it says


def test_verdict_says_chance_where_the_test_does(tmp_path: Path) -> None:
    right, wrong = "pleased", "not said"
    few = three_way(
        tmp_path / "few", {"scotd": [right] * 5 + [wrong], "label-only": [wrong] * 6}, baseline="label-only"
    )
    (sentence,) = collect(few).verdict
    assert sentence.replace("\u00a0", " ") == (
        "On test, SCoTD answers 83.3 % of 6 questions right (43.6 to 97.0), Label-Only 0.0 % (0.0 to 39.0); "
        "the difference could be chance (p = 0.062)."
    )
    assert "On 5 of 6 questions only one of SCoTD and the baseline is right: too few for any difference" in " ".join(
        collect(few).limits
    )
    many = three_way(tmp_path / "many", {"scotd": [right] * 30, "label-only": [wrong] * 30}, baseline="label-only")
    assert "chance alone would rarely make" in collect(many).verdict[0]
    level = three_way(
        tmp_path / "level", {"scotd": [right, wrong], "label-only": [wrong, right]}, baseline="label-only"
    )
    assert "they are level" in collect(level).verdict[0]


def test_verdict_without_a_baseline_and_without_results(tmp_path: Path) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased", "not said"]})
    (sentence,) = collect(folder).verdict
    assert sentence.replace("\u00a0", " ") == "On test, SCoTD answers 50.0 % of 2 questions right (9.5 to 90.5)."
    assert "against" not in (write_report(folder).parent / "results.md").read_text()
    (folder / "predictions" / "scotd.test.greedy.jsonl").unlink()
    assert collect(folder).verdict == ("No student has been evaluated yet, so there is no result to report.",)


def test_limits_name_students_that_are_not_clear_of_guessing(full_run: Path) -> None:
    table = collect(full_run).tables[0]
    unclear = [
        row.cell.student
        for row in table.rows
        if row.result is not None and row.result.interval is not None and row.result.interval.low <= 1 / 3
    ]
    assert unclear == ["undistilled"]
    assert any("Not told from guessing" in s and s.endswith(": Undistilled.") for s in collect(full_run).limits)


def test_the_note_of_the_experiment_stands_first(full_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "noted"
    shutil.copytree(full_run, folder)
    raw = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps({**raw, "note": "Too small <b>to</b> tell."}))
    assert collect(folder).limits == ("Too small <b>to</b> tell.", *collect(full_run).limits)
    page = write_report(folder).read_text()
    assert "Too small &lt;b&gt;to&lt;/b&gt; tell." in page and "<b>to</b>" not in page


def test_words() -> None:
    assert called("scotd", Target.SCOTD) == "SCoTD" and called("Greedy_CoT", Target.GREEDY_COT) == "Greedy-CoT"
    assert called("few-shot", Target.SCOTD) == "few-shot (SCoTD)"
    assert [p_value(p).replace("\u00a0", " ") for p in (0.0004, 0.0123, 0.183, 1.0)] == [
        "p < 0.001",
        "p = 0.012",
        "p = 0.18",
        "p = 1.00",
    ]
    assert [duration(s).replace("\u00a0", " ") for s in (0.04, 9.97, 59.96, 80, 3599.6, 7512)] == [
        "0.0 s",
        "10 s",
        "1 min 00 s",
        "1 min 20 s",
        "1 h 00 min",
        "2 h 05 min",
    ]


# -- which questions


def test_shown_questions_are_those_of_disagreement_first(full_run: Path) -> None:
    shown = collect(full_run).runs[0].examples
    assert len(shown.evaluated) == EVALUATED and len(shown.training) == TRAINING
    assert {example.why for example in shown.evaluated} == {Why.DISAGREE}
    assert [example.split for example in shown.evaluated[:6]] == ["test", "contrast", "unseen"] * 2
    for example in shown.evaluated:
        assert len({a.answer for a in example.answers if a.decoding == "greedy" and a.student != "undistilled"}) > 1
    assert all({Mark.RIGHT, Mark.WRONG} <= example.teacher_marks.keys() for example in shown.training)
    assert "answers differ" in shown.how[0] and "for none of these questions" in shown.how[1]


def test_all_wrong_comes_before_all_right(tmp_path: Path) -> None:
    right, wrong = "pleased", "not said"
    folder = three_way(tmp_path, {"scotd": [right, wrong, right, wrong], "label-only": [right, wrong, wrong, wrong]})
    write_corpus(folder / "corpus.sqlite", [question("test", n, gold="pleased") for n in range(4)], [])
    shown = collect(folder).runs[0].examples
    whys = [example.why for example in shown.evaluated]
    assert whys == [Why.DISAGREE, Why.ALL_WRONG, Why.ALL_WRONG, Why.ALL_RIGHT]
    assert shown.training == ()


def test_teachers_chains_stand_beside_the_answers_where_there_are_any(tmp_path: Path) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased", "not said"]})
    asked = [question("test", number, gold="pleased") for number in range(2)]
    texts = [" It is praise. So the answer is pleased.", " Silence. So the answer is not said.", " Well", ""]
    write_corpus(folder / "corpus.sqlite", asked, chains_of(asked[0], texts * 3))
    shown = collect(folder).runs[0].examples
    (group,) = next(example for example in shown.evaluated if example.key == asked[0].key).teacher
    assert group.marks == {Mark.RIGHT: 3, Mark.WRONG: 3, Mark.UNPARSED: 6}
    assert len(group.chains) == CHAINS and group.hidden == 12 - CHAINS
    assert [chain.mark for chain in group.chains[:4]] == [Mark.RIGHT, Mark.WRONG, Mark.UNPARSED, Mark.UNPARSED]
    page = Seen.of(write_report(folder).read_text(encoding="utf-8")).text
    assert "and 4 more chains" in page and "It is praise." in page and "(nothing written)" in page


def test_long_chains_are_cut_and_say_so(tmp_path: Path) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased"]})
    asked = question("test", 0, gold="pleased")
    write_corpus(folder / "corpus.sqlite", [asked], chains_of(asked, ["so " * 2000 + "the answer is pleased."]))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "4,522 more characters" in page
    assert page.count("so so so") < 600


# -- what others wrote

NASTY_NAME = '<b>$\\frac{$\x1b[31m\u202e<img src=x onerror="alert(1)">\'&amp;`|*'
NASTY = (
    "</p></details></style></title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'>--><!-- ]]>"
    " {{ 7*7 }} {% raw %} &lt; \x1b[31mred\x1b[0m \u202etxt.exe\u202c \x00\x07\x08\x7f\x85 \ufdd0 $\\frac{1}{$ a\r\nb"
)


def nasty_run(folder: Path) -> Path:
    """Write a run in which every free text is a nasty one; names that become file names cannot be, see `renamed`."""
    students = {"one": {"target": "scotd"}, "two": {"target": "label-only"}}
    evaluation = {"splits": ["test"], "decodings": {"greedy": {}}, "baseline": "two"}
    prompt = {"student": NASTY.replace("\x00", "")}
    experiment = {**EXPERIMENT, "students": students, "evaluation": evaluation, "prompt": prompt}
    write_json(folder / "experiment.json", experiment)
    choices = (Choice(label=NASTY_NAME, text=NASTY), Choice(label="b", text="<b>bold</b>"))
    evaluated = question("test", 0, id=NASTY, stem=NASTY, choices=choices, gold="b", pair=NASTY)
    train = question("train", 0, stem=NASTY, choices=choices, gold="b")
    chains = [replace(c, teacher=NASTY_NAME) for c in chains_of(train, [NASTY, f"{NASTY} So the answer is (b)."])]
    write_corpus(folder / "corpus.sqlite", [evaluated, train], chains)
    row = prediction(evaluated, ["b"], "greedy")
    row["chains"][0]["text"] = NASTY
    write_predictions(folder, "one", "test", "greedy", [row])
    unparsed = {**row, "answer": None, "reason": NASTY, "tally": {NASTY: 1}, "chains": [{"text": NASTY + "\ud83d"}] * 3}
    write_predictions(folder, "two", "test", "greedy", [unparsed])
    write_predictions(folder, NASTY_NAME, "other", "greedy", [])
    row_counts = {"sampling": NASTY, "asked": 9, "received": 8, "parsed": 7, "correct": 6, "finish": {NASTY: 8}}
    write_json(folder / "funnel.json", {"teacher": {"name": NASTY}, "rows": [row_counts], "trained": {"one": 3}})
    selection = {"name": NASTY, "kept": 3, "dropped": {NASTY: 5}, "questions": 1}
    write_json(folder / "selections" / "one.json", selection)
    stage = {"stage": NASTY, "name": NASTY, "seconds": 5.0, "tokens": 10, "counts": {NASTY: NASTY}, "skipped": False}
    write_json(folder / "stages.json", [stage])
    write_json(folder / "run.json", {"scotd": NASTY, "versions": {NASTY: NASTY}, "finished": NASTY})
    return folder


def renamed(value: Any) -> Any:
    """Give every student, split and decoding of a report a nasty name."""
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(renamed(inner) for inner in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    names = {"student", "row", "run", "split", "decoding", "baseline", "name"}
    return replace(
        value,
        **{
            field.name: f"{NASTY_NAME}{inner}" if field.name in names and isinstance(inner, str) else renamed(inner)
            for field in fields(value)
            if (inner := getattr(value, field.name)) is not None
        },
    )


def test_nothing_that_others_wrote_acts_on_the_page(tmp_path: Path, full_run: Path) -> None:
    folder = nasty_run(tmp_path)
    written = [(write_report(folder).parent / name).read_text("utf-8") for name in ("results.md", "summary.json")]
    report = renamed(collect(folder))
    page = html(report)
    page.encode()
    seen, plain = Seen.of(page), Seen.of((full_run / "report.html").read_text(encoding="utf-8"))
    assert seen.text.count("<script>alert(1)</script>") >= 10, "the texts must be on the page for this to test anything"
    assert seen.text.count('<img src=x onerror="alert(1)">') >= 10
    assert set(seen.tags) <= {*plain.tags, "p"}, "no element that the page of a harmless run does not have"
    assert seen.tags.count("style") == seen.tags.count("title") == 1
    assert seen.unbalanced == plain.unbalanced == []
    assert {name for _, name, _ in seen.attributes} <= {name for _, name, _ in plain.attributes}
    assert not {"script", "img", "iframe", "object", "link", "base"} & set(seen.tags)
    assert "{{ 7*7 }}" in seen.text, "a template in a text is not run"
    for text in (page, (folder / "report.html").read_text("utf-8"), markdown(report), summary(report), *written):
        assert [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160] == []
        assert not re.search("[\u202a-\u202e\u2066-\u2069\ufdd0]", text)
    assert "␛[31mred" in seen.text and "<U+202E>txt.exe" in seen.text and "<U+D83D>" in seen.text


def test_nothing_acts_on_the_pages_of_answers(tmp_path: Path) -> None:
    folder = nasty_run(tmp_path)
    write_report(folder)
    pages = [html_of_answers(page) for run in renamed(collect(folder)).sources for page in answer_pages(run)]
    pages += [path.read_text("utf-8") for path in (folder / "answers").iterdir()]
    assert len(pages) >= 2
    assert sum(Seen.of(page).text.count("<script>alert(1)</script>") for page in pages) >= 10
    for page in pages:
        seen = Seen.of(page)
        assert seen.unbalanced == [] and not {"script", "img", "iframe", "object", "link", "base"} & set(seen.tags)
        assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
        ids = {value for _, name, value in seen.attributes if name == "id"}
        assert all(target == "../report.html" or target[1:] in ids for target in references(seen))
        assert not re.search("[\u202a-\u202e\u2066-\u2069\ufdd0]", page)


def test_a_number_leads_to_every_answer_behind_it(full_run: Path) -> None:
    report = collect(full_run)
    rows = {page_of(row.cell): row for table in report.tables for row in table.rows if row.result is not None}
    written = {f"answers/{path.name}" for path in (full_run / "answers").iterdir()}
    assert written == set(rows)
    page = (full_run / "report.html").read_text("utf-8")
    for pages in (answer_pages(run) for run in report.sources):
        for one in pages:
            assert f'href="{one.file}"' in page
            result = rows[one.file].result
            assert result is not None and one.unknown == ()
            counts = {kind: len(items) for kind, items in one.groups.items()}
            assert counts.get(Mark.RIGHT, 0) == result.correct and counts.get(Mark.UNPARSED, 0) == result.unparsed
            assert sum(counts.values()) == result.answered
            text = Seen.of((full_run / one.file).read_text("utf-8")).text
            answers = [answer for items in one.groups.values() for item in items for answer in item.answers]
            assert all(chain.text in text for answer in answers for chain in answer.chains)
            assert not any(answer.hidden for answer in answers), "every chain that voted"


def test_long_votes_are_shown_as_far_as_a_page_has_room(full_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scotd.report.answers.PAGE_CHARACTERS", 1)
    pages = [page for run in collect(full_run).sources for page in answer_pages(run) if page.cell.votes > 1]
    answers = [answer for page in pages for items in page.groups.values() for item in items for answer in item.answers]
    assert answers and all(len(answer.chains) == 1 and answer.hidden for answer in answers)


def test_what_a_run_noted_of_its_questions_stands_above_its_numbers(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    path = folder / "run.json"
    note = "3 of the questions in 'test' are in 'train' too: '<b>'."
    path.write_text(json.dumps({**json.loads(path.read_text()), "notes": [note, 5]}))
    report = collect(folder)
    assert note in report.notes and not any("notes" in key for run in report.runs for key, _ in run.facts)
    assert note in Seen.of(write_report(folder).read_text(encoding="utf-8")).text


def test_pages_of_cells_that_are_gone_go(full_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(full_run, folder)
    (folder / "answers" / "old.test.greedy.html").write_text("old")
    write_report(folder)
    assert not (folder / "answers" / "old.test.greedy.html").exists()


def test_the_path_of_a_page_is_plain_whatever_the_run_is_called() -> None:
    cell = Cell(student="a", target=Target.SCOTD, split="test", decoding="greedy", votes=1, row="a")
    assert page_of(cell) == "answers/a.test.greedy.html"
    odd = [page_of(replace(cell, run=run)) for run in ("../x", "..-x", ".._x", "日")]
    assert len(set(odd)) == 4 and all(re.fullmatch(r"answers/[A-Za-z0-9._-]+\.html", path) for path in odd)


def test_markdown_of_nasty_names_stays_a_table(tmp_path: Path) -> None:
    table = markdown(renamed(collect(nasty_run(tmp_path))))
    rows = [line for line in table.splitlines() if line.startswith("|")]
    pipes = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert pipes == [14] * 4 + [8] * 4, "accuracy, and the question that is a minimal change of itself"
    assert not re.search(r"(?<!\\)<", table)


@pytest.mark.parametrize(
    "text",
    ["naïve — “ok”", "שלום עולם", "مرحبا بالعالم", "नमस्ते", "你好", "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\n\tb", "5\u00a0%", "x < y & z"],
)
def test_clean_leaves_every_script_alone(text: str) -> None:
    assert clean(text) == text


def test_clean_shows_what_hides() -> None:
    assert clean("a\x1b[0mb\x00\x7f\x9b\u202e\u2028\ufffe\ud800") == "a␛[0mb␀␡<U+009B><U+202E><U+2028><U+FFFE><U+D800>"
    assert clean("a\r\nb\rc") == "a\nb␍c"


# -- the page as a file


def references(seen: Seen) -> Iterator[str]:
    for _, name, value in seen.attributes:
        if name in {"src", "href", "xlink:href", "srcset", "action", "data", "background", "poster"}:
            yield value or ""


def test_page_is_self_contained(full_run: Path) -> None:
    page = (full_run / "report.html").read_text(encoding="utf-8")
    seen = Seen.of(page)
    assert seen.unbalanced == []
    inside = {target for target in references(seen) if target.startswith("#")}
    beside = set(references(seen)) - inside
    assert beside and all((full_run / target).is_file() and target.startswith("answers/") for target in beside)
    assert "@import" not in page and "@font-face" not in page and not re.search(r"url\((?!#)", page)
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in seen.attributes
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | {target[1:] for target in inside}
    assert used and used <= set(ids)


def test_plots_take_their_colours_from_the_page(full_run: Path) -> None:
    page = (full_run / "report.html").read_text(encoding="utf-8")
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) == 8, "accuracy, votes, funnel, time; each for wide and narrow screens"
    for plot in plots:
        colours = set(re.findall(r"(?:fill|stroke): (#\w+)", plot))
        assert colours == set(), f"a fixed colour is unreadable in light or in dark: {colours}"
        assert "<style" not in plot and "<!--" not in plot and "<metadata" not in plot
    style = page[page.index("<style>") : page.index("</style>")]
    for variable in set(re.findall(r"var\((--[a-z-]+)\)", "".join(plots))):
        assert style.count(f"{variable}:") >= 2, f"{variable} needs a light and a dark colour"
    assert "dashed: guessing" in plots[0] and "81.7" not in plots[4]


def test_the_same_folder_gives_the_same_bytes(full_run: Path) -> None:
    names = ("report.html", "results.md", "summary.json")
    before = [(full_run / name).read_bytes() for name in names]
    for _ in range(3):
        assert write_report(full_run) == full_run / "report.html"
        assert [(full_run / name).read_bytes() for name in names] == before
    assert not list(full_run.glob("*.part"))


def test_everything_of_the_run_is_on_the_page(full_run: Path) -> None:
    text = Seen.of((full_run / "report.html").read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    for wanted in (
        "unparsed: cut off 12",
        "stop 306, length 12",
        "answered 41, failed: HTTP 500 2, answers lost on the way 3.",
        "1 min 36 s",
        "done before",
        "61,000",
        "versions.torch",
        "0123abcd",
        "chains_per_question: 8",
        "a minimal change of test-",
        "of 60, greedy",
    ):
        assert wanted in text, wanted


# -- half done


PARTS = ("corpus.sqlite", "predictions", "selections", "funnel.json", "stages.json", "run.json")


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_said_and_never_a_traceback(tmp_path: Path, part: str) -> None:
    folder = make_run(tmp_path / "run", n=6)
    remove(folder / part)
    assert "not yet there" in write_report(folder).read_text(encoding="utf-8").casefold()


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=6)
    for part in PARTS:
        remove(folder / part)
    page = Seen.of(write_report(folder).read_text(encoding="utf-8"))
    assert page.text.casefold().count("not yet there") >= 14 + 5
    assert "No student has been evaluated yet" in page.text and "svg" not in page.tags


def test_one_cell_not_yet_there(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=6)
    (folder / "predictions" / "label-only.unseen.greedy.jsonl").unlink()
    unseen = collect(folder).tables[2]
    assert [row.cell.student for row in unseen.rows if row.result is None] == ["label-only"]
    assert all(row.comparison is None for row in unseen.rows), "nothing to compare with"
    assert "| unseen | label-only | Label-Only | greedy | not yet there |" in (
        (write_report(folder).parent / "results.md").read_text()
    )


@pytest.mark.parametrize("name", ["funnel.json", "stages.json", "run.json", "selections/scotd.json"])
@pytest.mark.parametrize("content", ["{", "[1, null]", '"x"', '{"rows": 3, "trained": [], "dropped": 7}'])
def test_odd_json_becomes_a_note(tmp_path: Path, name: str, content: str) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased"]})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    report = collect(folder)
    mapping = content.startswith("{") and len(content) > 1
    assert any(note.startswith(name) for note in report.notes) or (mapping and name != "stages.json")


def test_bad_rows_of_predictions_are_counted(tmp_path: Path) -> None:
    folder = three_way(tmp_path, {"scotd": ["pleased", "not said", "pleased"]})
    path = folder / "predictions" / "scotd.test.greedy.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40], "[]", lines[2], lines[0]]))
    stray = folder / "predictions" / "old.test.greedy.jsonl"
    stray.write_text("")
    report = collect(folder)
    result = report.tables[0].rows[0].result
    assert result is not None and result.n == 2
    notes = " ".join(report.notes)
    assert "2 rows cannot be read, the first is row 2" in notes and "1 questions stand there twice" in notes
    assert "old.test.greedy.jsonl: belongs to no student" in notes


def test_a_moved_run_folder_finds_its_corpus(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "here", n=6)
    assert collect(folder.rename(tmp_path / "there")).runs[0].examples.training


def test_a_corpus_that_is_none_is_a_note(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=6)
    remove(folder / "corpus.sqlite")
    (folder / "corpus.sqlite").write_text("not a database" * 100)
    report = collect(folder)
    assert any("Questions and teacher's chains are not shown" in note for note in report.notes)
    assert report.runs[0].examples.evaluated == () and report.tables[0].rows[0].result is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is no run folder"),
        ("{", "cannot be read as JSON"),
        ("[]", "expected a mapping"),
        ('{"name": "x"}', "'questions'"),
        ('{"name": "x", "questions": {}, "students": {"a": {"target": "scotdd"}}}', "'students.a.target'"),
    ],
)
def test_a_folder_that_is_no_run_folder(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(RunError) as caught:
        write_report(tmp_path)
    assert words in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_an_error_about_a_nasty_name_is_one_harmless_line(tmp_path: Path) -> None:
    write_json(tmp_path / "experiment.json", {**EXPERIMENT, "name": NASTY})
    with pytest.raises(RunError) as caught:
        write_report(tmp_path)
    assert not [c for c in str(caught.value) if ord(c) < 32 or ord(c) == 0x202E]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run folder"):
        write_report(tmp_path / "nowhere")
