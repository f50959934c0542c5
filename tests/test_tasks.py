"""The benchmarks read from tiny files in their official shapes, limits, notes, and exemplars."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scotd.config import QuestionsConfig
from scotd.errors import ConfigError, DataError
from scotd.tasks import BENCHMARKS, TASKS, anli, load_questions, notes, require_splits
from scotd.tasks.exemplars import (
    assert_not_exemplars,
    assert_same_form,
    load_exemplars,
    shipped,
    without_exemplars,
)
from scotd.tasks.limits import limited
from scotd.types import Choice, Exemplar, Question


def answer_key_line(identity: str, stem: str, texts: list[str], answer: str | None) -> str:
    choices = [{"label": label, "text": text} for label, text in zip("ABCDE", texts, strict=False)]
    row: dict[str, object] = {"id": identity, "question": {"question_concept": "x", "stem": stem, "choices": choices}}
    return json.dumps(row if answer is None else {**row, "answerKey": answer})


def load(task: str, folder: Path, **limit: int) -> list[Question]:
    return load_questions(QuestionsConfig(task=task, path=folder, limit=limit))


def question(identity: str, split: str = "test", stem: str = "", pair: str | None = None) -> Question:
    choices = (Choice(label="yes", text="yes"), Choice(label="no", text="no"))
    stem = stem or f"Is it {identity}?"
    return Question(id=identity, task="t", split=split, stem=stem, choices=choices, gold="yes", pair=pair)


# ---- benchmarks


def test_commonsenseqa_reads_the_official_names_gzip_and_a_test_file_without_labels(tmp_path: Path) -> None:
    texts = ["bank", "library", "mall ", "shop", "zoo"]
    with gzip.open(tmp_path / "train_rand_split.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(answer_key_line("q1", "Where is money?", texts, "A") + "\n")
    (tmp_path / "dev_rand_split.jsonl").write_text(answer_key_line("q2", "Where are books?", texts, "B") + "\n")
    (tmp_path / "test_rand_split_no_answers.jsonl").write_text(answer_key_line("q3", "Where are bears?", texts, None))

    train, dev, test = load("commonsenseqa", tmp_path)

    assert (train.id, train.split, train.gold, train.key) == ("q1", "train", "A", "commonsenseqa/q1")
    assert train.choices[2] == Choice(label="C", text="mall")
    assert (dev.split, dev.gold) == ("dev", "B")
    assert (test.split, test.gold) == ("test", None)
    assert not test.has_label_set


def test_openbookqa_is_found_in_the_folder_or_in_its_main(tmp_path: Path) -> None:
    line = answer_key_line("7-980", "The sun is", ["hot", "cold", "wet", "blue"], "A")
    inner = tmp_path / "Main"
    inner.mkdir()
    (inner / "test.jsonl").write_text(line + "\n")
    (inner / "openbook.txt").write_text("a fact\n")
    assert load("openbookqa", tmp_path) == load("openbookqa", inner)
    assert [q.id for q in load("openbookqa", tmp_path)] == ["7-980"]


OFFICIAL_QUAREL = [
    {"id": "QuaRel_V1_Fr_0223", "question": "Ice has (A) more friction (B) less friction.", "answer_index": 1},
    {"id": "QuaRel_V1_B5_1", "question": "Did it roll on\n(A) the sand, or (B) the lot?", "answer_index": 0},
]


def test_quarel_official_files_are_split_into_stem_and_choices(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({**row, "logical_forms": []}) for row in OFFICIAL_QUAREL)
    (tmp_path / "quarel-v1-dev.jsonl").write_text(lines)
    first, second = load("quarel", tmp_path)
    assert (first.id, first.stem, first.gold) == ("QuaRel_V1_Fr_0223", "Ice has", "B")
    assert [c.text for c in first.choices] == ["more friction", "less friction."]
    assert (second.stem, second.gold) == ("Did it roll on", "A")
    assert [c.text for c in second.choices] == ["the sand", "the lot?"]


def test_quarel_reads_questions_with_answers_only(tmp_path: Path) -> None:
    row = {"question": "She noticed that(A) it stops by the door or(B) it goes on", "answer": "(b)"}
    (tmp_path / "train.questions.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    keyed = {str(n): {"question": f"Story {n} (A) x (B) y", "rationale": "dummy", "answer": "(A)"} for n in range(2)}
    (tmp_path / "test.json").write_text(json.dumps(keyed))

    train, again, test, other = load("quarel", tmp_path)

    assert [c.text for c in train.choices] == ["it stops by the door", "it goes on"]
    assert (train.stem, train.gold, test.gold, other.stem) == ("She noticed that", "B", "A", "Story 1")
    assert train.id.startswith("q-") and len(train.id) == 18
    assert again.id == train.id + "-2"
    assert notes([train, again]) == ("1 of the questions in 'train' repeats an earlier one there: 'She noticed that'.",)


@pytest.mark.parametrize("text", ["No choices at all", "A stem (A) x (B) ", "(A) x (B) y"])
def test_quarel_refuses_a_question_of_another_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": text, "answer": "(A)"}))
    with pytest.raises(DataError, match=r"test\.jsonl, row 1: the question .* is not of the form 'STEM \(A\) TEXT"):
        load("quarel", tmp_path)


def test_sst2_takes_quotes_as_characters_and_repeats_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes('"oh , no\t0\r\nsee\u2028it\t1\nno\t0\nno\t0\n'.encode())
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nit 's fun \t1\n")
    (tmp_path / "test.tsv").write_text("no\t0\n")

    questions = load("sst2", tmp_path)

    assert [(q.split, q.stem, q.gold) for q in questions] == [
        ("train", '"oh , no', "negative"),
        ("train", "see\u2028it", "positive"),
        ("train", "no", "negative"),
        ("train", "no", "negative"),
        ("dev", "it 's fun", "positive"),
        ("test", "no", "negative"),
    ]
    assert all(q.has_label_set and [c.label for c in q.choices] == ["negative", "positive"] for q in questions)
    assert len({q.key for q in questions}) == 6
    assert notes(questions) == (
        "1 of the questions in 'train' repeats an earlier one there: 'no'.",
        "1 of the questions in 'test' is in 'train' too: 'no'.",
    )
    (tmp_path / "train.tsv").unlink()
    assert load("sst2", tmp_path)[-1] == questions[-1], "an id depends on nothing but its own split"


def test_sst2_reads_glues_test_file_without_labels(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tuneasy mishmash of styles\n")
    (only,) = load("sst2", tmp_path)
    assert (only.stem, only.gold) == ("uneasy mishmash of styles", None)
    assert notes([only]) == ("1 of 1 questions in 'test' has no label.",)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("fun\t2", "the label '2' is neither 0 (negative) nor 1 (positive)."),
        ("fun\t", "the label '' is neither 0 (negative) nor 1 (positive)."),
        ("\t1", "the sentence is empty: fill it in or remove the row."),
        ("fun", "the line holds 0 tabs where 'sentence<tab>label' has one."),
    ],
)
def test_sst2_names_row_and_line(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text(f"sentence\tlabel\ngood\t1\n{line}\n")
    with pytest.raises(DataError) as error:
        load("sst2", tmp_path)
    assert str(error.value) == f"{path}, row 2 (line 3): {sentence}"


def imdb_files(folder: Path, **rows: list[tuple[str, str]]) -> None:
    """Quoted TSV as the official files have it: sentiment and text."""
    for name, pairs in rows.items():
        lines = ["Sentiment\tText", *('{}\t"{}"'.format(label, text.replace('"', '""')) for label, text in pairs)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


IMDB: dict[str, list[tuple[str, str]]] = {
    "train": [("Negative", 'Dull.<br /><br />The "star" sleeps.'), ("Positive", "A joy\tfrom first to last.")],
    "dev": [("Positive", "I laughed.")],
    "test_original": [("Negative", "A bad film."), ("Positive", "A good film.")],
    "test_contrast": [("Positive", "A bad film? Never!"), ("Negative", "A good film? Never!")],
    "dev_original": [("Positive", "I laughed.")],
    "dev_contrast": [("Negative", "I left.")],
}


def test_imdb_pairs_its_contrast_set_row_by_row(tmp_path: Path) -> None:
    imdb_files(tmp_path, **IMDB)
    questions = load("imdb", tmp_path)
    assert [(q.split, q.stem, q.gold) for q in questions] == [
        ("train", 'Dull. The "star" sleeps.', "negative"),
        ("train", "A joy\tfrom first to last.", "positive"),
        ("dev", "I laughed.", "positive"),
        ("test", "A bad film.", "negative"),
        ("test", "A good film.", "positive"),
        ("contrast", "A bad film? Never!", "positive"),
        ("contrast", "A good film? Never!", "negative"),
    ]
    test, contrast = ([q for q in questions if q.split == split] for split in ("test", "contrast"))
    assert [q.pair for q in contrast] == [q.id for q in test]
    assert all(q.pair is None for q in questions if q.split != "contrast")
    assert all(q.has_label_set for q in questions) and len({q.key for q in questions}) == 7
    limited_ids = {q.id for q in load("imdb", tmp_path, test=1, contrast=1) if q.split == "test"}
    assert limited_ids == {q.pair for q in load("imdb", tmp_path, test=1, contrast=1) if q.split == "contrast"}


def test_imdb_is_read_from_the_two_official_folders_too(tmp_path: Path) -> None:
    flat, nested = tmp_path / "flat", tmp_path / "nested"
    for folder in (flat, nested / "cad_orig", nested / "contrast_sets"):
        folder.mkdir(parents=True)
    imdb_files(flat, **IMDB)
    imdb_files(nested / "cad_orig", train=IMDB["train"], dev=IMDB["dev"], test=IMDB["test_original"])
    imdb_files(nested / "contrast_sets", **{name: rows for name, rows in IMDB.items() if "_" in name})
    assert load("imdb", nested) == load("imdb", flat)


@pytest.mark.parametrize("name", ["test_original", "test_contrast", "dev_original", "dev_contrast"])
def test_imdb_refuses_to_train_on_a_review_of_the_contrast_sets(tmp_path: Path, name: str) -> None:
    label, text = IMDB[name][-1]
    again = text.upper().replace(" ", "<br />", 1)  # the same words, otherwise broken into lines
    imdb_files(tmp_path, **{**IMDB, "train": [*IMDB["train"], (label, again)]})
    with pytest.raises(DataError) as error:
        load("imdb", tmp_path)
    row = len(IMDB[name])
    assert f"train.tsv, row 3 (line 4): this review is also in the contrast set ({tmp_path}/{name}.tsv, row {row} " in (
        str(error.value)
    )


@pytest.mark.parametrize(
    ("name", "rows", "sentence"),
    [
        ("test_contrast", [("Positive", "A bad film? Never!")], "1 reviews, but 2 in test_original.tsv"),
        (
            "test_contrast",
            [("Positive", "A bad film? Never!"), ("Positive", "A better film.")],
            "test_contrast.tsv, row 2 (line 3): the label 'positive' is also that of the review that this one changes",
        ),
        ("dev", [("Mixed", "So so.")], "dev.tsv, row 1 (line 2): the sentiment 'mixed' is neither Negative nor Pos"),
        ("dev", [("Positive", "<br /><br />")], "dev.tsv, row 1 (line 2): the review is empty"),
    ],
)
def test_imdb_names_what_does_not_fit(tmp_path: Path, name: str, rows: list[tuple[str, str]], sentence: str) -> None:
    imdb_files(tmp_path, **{**IMDB, name: rows})
    with pytest.raises(DataError) as error:
        load("imdb", tmp_path)
    assert sentence in str(error.value)


def test_imdb_names_a_missing_column(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("Sentiment\tReview\nPositive\tfine\n")
    with pytest.raises(DataError, match=r"train\.tsv: no column 'Text'"):
        load("imdb", tmp_path)


def anli_row(uid: str, label: str | None = "e", **other: str) -> str:
    row = {"uid": uid, "context": "The Kestrel  sank\nin 1904.", "hypothesis": "It is a wreck.", "reason": "r", **other}
    return json.dumps(row if label is None else {**row, "label": label})


@pytest.mark.parametrize(("words", "kept"), [(22, "The Kestrel [...]"), (20, None), (9, None)])
def test_a_cut_of_anli_never_reaches_the_claim(tmp_path: Path, words: int, kept: str | None) -> None:
    (tmp_path / "R1").mkdir()
    rows = [anli_row("u1"), anli_row("u2", context="Said she:", hypothesis="A Text: or not."), anli_row("u3")]
    (tmp_path / "R1" / "train.jsonl").write_text("\n".join(rows))
    config = QuestionsConfig(task="anli", path=tmp_path, max_stem_words=words)
    if kept is not None:
        stems = [question.stem for question in load_questions(config)]
        assert stems[0].endswith(f"Text: {kept}") and stems[1].endswith("Text: Said she:")
        return
    with pytest.raises(ConfigError, match=f"max_stem_words is {words}, which leaves nothing of the text"):
        load_questions(config)


def test_anli_joins_its_rounds_by_split(tmp_path: Path) -> None:
    for name in ("R1", "R2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(anli_row("u1") + "\n" + anli_row("u2", "n"))
        (tmp_path / name / "test.jsonl").write_text(anli_row("u3", "c") + "\n" + anli_row("u4", None))
    questions = load("anli", tmp_path)
    assert [(q.id, q.split, q.gold) for q in questions] == [
        (f"{name}-{uid}", split, gold)
        for split, found in (
            ("train", [("u1", "entailment"), ("u2", "neutral")]),
            ("test", [("u3", "contradiction"), ("u4", None)]),
        )
        for name in ("R1", "R2")
        for uid, gold in found
    ]
    assert questions[0].stem == (
        'Does the text support the claim "It is a wreck." (entailment), contradict it (contradiction), or leave it '
        "open (neutral)? Text: The Kestrel sank in 1904."
    )
    assert questions[0].has_label_set
    (tmp_path / "in").mkdir()
    (tmp_path / "R1").rename(tmp_path / "in" / "R1")
    (tmp_path / "in").rename(tmp_path / "anli_v1.0")
    assert {q.id for q in load("anli", tmp_path)} == {"R1-u1", "R1-u2", "R1-u3", "R1-u4"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (anli_row("u2", "x"), "row 2: the label 'x' is none of e, n and c."),
        (anli_row("u2", hypothesis=" "), "row 2: no 'hypothesis', or an empty one: this is not the format of anli."),
        (anli_row("u1", "n"), "the id 'R3-u1' is in 'dev' and again in 'dev'"),
    ],
)
def test_anli_names_a_damaged_row(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "R3").mkdir()
    (tmp_path / "R3" / "dev.jsonl").write_text(anli_row("u1") + "\n" + line)
    with pytest.raises(DataError) as error:
        load("anli", tmp_path)
    assert sentence in str(error.value)


def test_anli_without_a_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder R1, R2 or R3"):
        load("anli", tmp_path)


def test_the_exemplars_of_anli_are_worded_as_its_questions() -> None:
    start, middle, end = (re.escape(part) for part in re.split(r"\{claim\}|\{text\}", anli.STEM))
    for exemplar in load_exemplars("anli"):
        assert re.fullmatch(f'{start}[^"]+{middle}[^"]+{end}', exemplar.question.stem), exemplar.question.stem


# ---- where the files are


def test_a_folder_without_official_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load("sst2", tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no official file of sst2 here: expected one of train.tsv, dev.tsv, test.tsv (or + .gz)."
    )
    with pytest.raises(DataError, match="no such folder"):
        load("sst2", tmp_path / "nowhere")


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("{}")
    (tmp_path / "quarel-v1-test.jsonl.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"the split 'test' is in 'test\.jsonl' as well: remove one of the two"):
        load("quarel", tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda row: row.update(answerKey="F"), "row 1: the answer 'F' is not among the choices (A, B)"),
        (lambda row: row.update(question="text"), 'row 1: no "question" with "stem" and "choices"'),
        (lambda row: row.update(id=""), "row 1: the id is empty"),
        (lambda row: row["question"].update(stem=" "), "row 1: the stem is empty"),
        (lambda row: row["question"]["choices"].pop(), "row 1: fewer than two choices"),
        (lambda row: row["question"]["choices"][0].pop("text"), 'has no "label" or no "text"'),
    ],
)
def test_a_damaged_official_row_is_named(
    tmp_path: Path, change: Callable[[dict[str, object]], object], sentence: str
) -> None:
    row = json.loads(answer_key_line("q", "Why?", ["x", "y"], "A"))
    change(row)
    (tmp_path / "dev.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError) as error:
        load("openbookqa", tmp_path)
    assert sentence in str(error.value)


def test_an_official_id_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(answer_key_line("7-1", f"{split}?", ["x", "y"], "A"))
    with pytest.raises(DataError, match="the id '7-1' is in 'train' and again in 'test'"):
        load("openbookqa", tmp_path)


def test_official_questions_in_two_splits_are_kept_and_noted(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(answer_key_line("1", "Which is a star?", ["sun", "moon", "Mars"], "A"))
    (tmp_path / "test.jsonl").write_text(answer_key_line("2", "Which is a star? ", ["Mars", "Moon", "sun"], "C"))
    assert notes(load("openbookqa", tmp_path)) == (
        "1 of the questions in 'test' is in 'train' too: 'Which is a star?'.",
    )


def test_official_choices_that_repeat_each_other_are_kept_and_noted(tmp_path: Path) -> None:
    (tmp_path / "dev_rand_split.jsonl").write_text(answer_key_line("1", "Where?", ["sea", "sea", "x", "y", "z"], "A"))
    assert notes(load("commonsenseqa", tmp_path)) == ("1 of 1 questions in 'dev' offers the same text as two choices.",)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"task": "quarrel"}, "questions.task 'quarrel' is not built in: give `files` or `hub`, and `columns`"),
        ({"task": "quarrel"}, "Did you mean 'quarel'?"),
        ({"task": "quarel"}, "questions.path is missing: name the folder with the official files of 'quarel'."),
        ({"task": "feedback", "path": "x"}, "questions.path is not used by the task 'feedback'"),
        (
            {"task": "sst2", "files": {"train": "x.csv"}, "columns": {"question": "q"}, "labels": ["a", "b"]},
            "questions.task 'sst2' is a built-in task: give the questions in `files` another name.",
        ),
        (
            {"task": "a/b", "files": {"test": "x.csv"}, "columns": {"question": "q"}, "labels": ["a", "b"]},
            "the task name 'a/b' is used in file names",
        ),
    ],
)
def test_a_section_that_says_too_little_or_too_much(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_questions(QuestionsConfig.model_validate(section))
    assert sentence in str(error.value)


# ---- limits


def test_limits_are_nested_keep_file_order_and_leave_other_splits_alone() -> None:
    questions = [question(f"q{n}") for n in range(50)] + [question("t", "train")]
    small, large = limited(questions, {"test": 7}), limited(questions, {"test": 20})
    assert [len(small), len(large)] == [8, 21]
    assert {q.id for q in small} < {q.id for q in large}
    assert large == [q for q in questions if q in large]
    assert [q.id for q in small[:7]] != [f"q{n}" for n in range(7)], "the first of a file are not a fair part of it"
    assert limited(list(reversed(questions)), {"test": 7}) == list(reversed(small)), "file order does not choose"
    assert limited(questions, {"test": 500}) == questions


def test_a_contrast_split_limited_like_test_keeps_the_same_pairs() -> None:
    originals = [question(f"q{n}") for n in range(30)]
    changed = [question(f"c{n}", "contrast", pair=f"q{n}") for n in reversed(range(30))]
    kept = limited(originals + changed, {"test": 9, "contrast": 9})
    assert {q.id for q in kept if q.split == "test"} == {q.pair for q in kept if q.split == "contrast"}
    assert len(kept) == 18


def test_a_limit_on_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`questions.limit` names the split 'tset'.* Did you mean 'test'\?"):
        limited([question("q")], {"tset": 3})
    require_splits([question("q")], ["test"], "evaluation.splits")


# ---- exemplars

COUNTS = {
    "anli": (6, 3),
    "commonsenseqa": (7, 5),
    "imdb": (6, 2),
    "openbookqa": (6, 4),
    "quarel": (6, 2),
    "sst2": (6, 2),
}


@pytest.mark.parametrize("task", sorted(BENCHMARKS))
def test_shipped_exemplars_are_many_short_and_spread_over_the_labels(task: str) -> None:
    exemplars = load_exemplars(task)
    count, choices = COUNTS[task]
    assert len(exemplars) == count
    golds = [exemplar.question.gold for exemplar in exemplars]
    assert set(golds) == {choice.label for choice in exemplars[0].question.choices}
    assert max(golds.count(gold) for gold in golds) <= -(-count // choices)
    for exemplar in exemplars:
        assert exemplar.question.split == "exemplar" and exemplar.question.task == task
        assert len(exemplar.question.choices) == choices
        assert exemplar.question.has_label_set == (task in {"anli", "imdb", "sst2"})
        assert 15 <= len(exemplar.rationale.split()) <= 28
        assert "\n" not in exemplar.rationale and "answer is" not in exemplar.rationale
        if task == "sst2":
            assert exemplar.question.stem == exemplar.question.stem.lower()


def test_every_benchmark_ships_exemplars() -> None:
    assert set(BENCHMARKS) <= set(shipped())
    assert set(shipped()) <= set(TASKS)


def test_own_exemplars_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "- stem: Is ice cold? \u2744\n  choices: [yes, no]\n  answer: YES\n  rationale: It is frozen.\n"
        "- {stem: Which is ice?, choices: {1: water, 2: frozen water}, answer: 2, rationale: Ice is frozen.}\n",
        encoding="utf-8",
    )
    first, second = load_exemplars(path)
    assert load_exemplars(str(path)) == [first, second]
    assert (first.question.gold, first.question.has_label_set) == ("yes", True)
    assert (second.question.gold, second.question.choice("2").text) == ("2", "frozen water")
    assert first.question.task == "mine" and first.question.id != second.question.id


GOOD = "- {stem: S, choices: [a, b], answer: a, rationale: R}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a list of exemplars, each with stem, choices, answer, rationale."),
        ("- just text", ", item 1: expected a mapping with stem, choices, answer, rationale, found str."),
        (GOOD + "- {stem: S2, choises: [a, b]}", ", item 2: unknown key 'choises'. Did you mean 'choices'?"),
        (GOOD.replace("R}", "''}"), ", item 1: 'rationale' is missing or empty"),
        (GOOD.replace("stem: S, ", ""), ", item 1: 'stem' is missing or empty"),
        (GOOD.replace("[a, b]", "[a]"), ", item 1: only the choice 'a': a question needs at least two."),
        (GOOD.replace("[a, b]", "[a, A]"), ", item 1: two choices have the same label, 'A': make them differ."),
        (GOOD.replace("[a, b]", "ab"), ", item 1: 'choices' is {A: text, B: text}, or a list where the answer is"),
        (GOOD.replace("answer: a", "answer: c"), ", item 1: the answer 'c' is not among the choices (a, b)"),
        (GOOD + GOOD, ", item 2: the same question as item 1: remove one of the two."),
        ("- {stem: S", ", line 1: not valid YAML"),
    ],
)
def test_each_fault_of_an_exemplar_file_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        load_exemplars(path)
    assert str(error.value).startswith(str(path)) and sentence in str(error.value)


def test_unknown_exemplars_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no exemplars are shipped for 'quarell'.* Did you mean 'quarel'\?"):
        load_exemplars("quarell")
    with pytest.raises(DataError, match=r"mine\.yaml: no such file"):
        load_exemplars(tmp_path / "mine.yaml")


def lettered_question(identity: str, stem: str, *texts: str) -> Question:
    choices = tuple(Choice(label=label, text=text) for label, text in zip("ABCD", texts, strict=False))
    return Question(id=identity, task="t", split="test", stem=stem, choices=choices, gold="A")


def test_exemplars_leave_the_training_pool_and_are_refused_in_evaluation() -> None:
    exemplars = [Exemplar(question=lettered_question("e", "Which is true?", "ice is cold", "hot"), rationale="It is.")]
    same = lettered_question("1", "which is  TRUE?", "fire is wet", "Ice is cold", "sand")
    other = lettered_question("2", "Which is true?", "fish fly", "fish swim")
    assert without_exemplars([same, other], exemplars) == ([other], 1)
    assert without_exemplars([same, other], []) == ([same, other], 0)
    assert_not_exemplars([other], exemplars)
    with pytest.raises(DataError, match="the question 't/1' of the split 'test' is an exemplar of the prompt"):
        assert_not_exemplars([other, same], exemplars)


def test_exemplars_of_another_form_than_the_questions_are_refused() -> None:
    words = Exemplar(question=question("e"), rationale="It is.")
    letters = Exemplar(question=lettered_question("e", "Which?", "x", "y"), rationale="It is.")
    assert_same_form([question("q")], [words])
    assert_same_form([lettered_question("q", "What?", "x", "y")], [letters])
    with pytest.raises(DataError, match=r"exemplar 1 .* write its choices as \{A: \.\.\., B: \.\.\.\}"):
        assert_same_form([lettered_question("q", "What?", "x", "y")], [words])
    with pytest.raises(DataError, match=r"exemplar 1 .* write its choices as a list"):
        assert_same_form([question("q")], [letters])


def test_importing_tasks_loads_nothing_heavy() -> None:
    check = "import sys, scotd.tasks; print([m for m in ('pyarrow', 'torch', 'numpy', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "[]\n"
