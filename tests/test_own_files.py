"""Anyone's own files: what works, what is refused and in which words; every format gives the same questions."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scotd.config import QuestionsConfig
from scotd.errors import ConfigError, DataError
from scotd.tasks import load_questions, notes
from scotd.tasks.choices import letter
from scotd.tasks.content import normalised
from scotd.types import Choice, Question

COLUMNS: dict[str, Any] = {"question": "question", "choices": ["a", "b", "c"], "answer": "answer", "id": "id"}
CSV = "id,question,a,b,c,answer\n1,Where is money?,bank,library,,A\n2,Where are books?,bank,library,mall,library\n"


def load(files: dict[str, Path], columns: dict[str, Any] | None = None, **more: Any) -> list[Question]:
    section = {"task": "mine", "files": files, "columns": COLUMNS if columns is None else columns, **more}
    return load_questions(QuestionsConfig.model_validate(section))


def load_one(tmp_path: Path, name: str, text: str | bytes, columns: dict[str, Any] | None = None, **more: Any) -> Any:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load({"train": path}, columns, **more)


def refusal(tmp_path: Path, name: str, text: str | bytes, columns: dict[str, Any] | None = None, **more: Any) -> str:
    """The sentence after the file's name."""
    with pytest.raises(DataError) as error:
        load_one(tmp_path, name, text, columns, **more)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / name}") and "\n" not in message, message
    return message.removeprefix(f"{tmp_path / name}")


# ---- what works


def test_columns_of_choices_and_answers_by_label_or_text(tmp_path: Path) -> None:
    first, second = load_one(tmp_path, "q.csv", CSV)
    assert (first.key, first.split, first.stem, first.gold) == ("mine/1", "train", "Where is money?", "A")
    assert first.choices == (Choice(label="A", text="bank"), Choice(label="B", text="library"))
    assert (second.gold, len(second.choices)) == ("B", 3)


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "(b)", "B.", "b)", "[B]", " B ", "library", "LIBRARY", "Library"])
def test_every_way_to_write_an_answer(tmp_path: Path, answer: str) -> None:
    (only,) = load_one(tmp_path, "q.csv", f"id,question,a,b,c,answer\n1,Where?,bank,library,,{answer}\n")
    assert only.gold == "B"


def test_byte_order_mark_windows_line_ends_emoji_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    text = CSV.replace("money", "\U0001f4b0 money").replace("books?", '"'.join(["", "books", "?"]))
    plain = load_one(tmp_path, "q.csv", text)
    windows = load_one(tmp_path, "w.csv", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    packed = load_one(tmp_path, "q.csv.gz", gzip.compress(text.encode()))
    assert plain == windows == packed
    assert plain[0].stem == "Where is \U0001f4b0 money?"


def test_line_ends_inside_a_field_do_not_change_the_id(tmp_path: Path) -> None:
    columns = {"question": "question", "choices": "choices"}
    text = 'question,choices\n"Two\nlines?",x|y\n'
    unix, windows = (
        load_one(tmp_path, name, t, columns) for name, t in [("u.csv", text), ("w.csv", text.replace("\n", "\r\n"))]
    )
    assert unix == windows
    assert unix[0].stem == "Two\nlines?" and unix[0].id.startswith("q-")


def test_a_missing_answer_is_an_unlabelled_question(tmp_path: Path) -> None:
    rows = [{"q": "Is it?", "answer": value} for value in ("yes", "", None)] + [{"q": "Is it?"}]
    lines = "\n".join(json.dumps({**row, "id": n}) for n, row in enumerate(rows))
    questions = load_one(
        tmp_path, "q.jsonl", lines, {"question": "q", "answer": "answer", "id": "id"}, labels=["yes", "no"]
    )
    assert [q.gold for q in questions] == ["yes", None, None, None]
    assert [q.id for q in questions] == ["0", "1", "2", "3"]
    assert load_one(tmp_path, "q.jsonl", lines, {"question": "q", "id": "id"}, labels=["yes", "no"])[0].gold is None


def test_a_fixed_label_set_and_a_template_over_columns(tmp_path: Path) -> None:
    columns = {"question": "{remark} {{Pleased}} with the { aspect }?", "answer": "said"}
    text = "remark,aspect,said\nThe pasta was superb.,food,Pleased\nWe waited an hour.,speed,not pleased\n"
    first, second = load_one(tmp_path, "q.csv", text, columns, labels=["pleased", "not pleased", "not said"])
    assert first.stem == "The pasta was superb. {Pleased} with the food?"
    assert first.has_label_set and (first.gold, second.gold) == ("pleased", "not pleased")


def test_a_column_may_have_braces_in_its_name(tmp_path: Path) -> None:
    (only,) = load_one(tmp_path, "q.csv", "{q},w\nWhy?,x\n", {"question": "{q}"}, labels=["yes", "no"])
    assert only.stem == "Why?"


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (["bank", "shop"], "AB"),
        ([{"label": "1", "text": "bank"}, {"label": "2", "text": "shop"}], "12"),
        ({"label": ["x", "y"], "text": ["bank", "shop"]}, "xy"),
        ({"P": "bank", "Q": "shop"}, "PQ"),
        ("bank | shop", "AB"),
        ('["bank", "shop"]', "AB"),
        ('{"P": "bank", "Q": "shop"}', "PQ"),
    ],
)
@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_every_form_of_choices_in_one_column(tmp_path: Path, value: Any, labels: str, ending: str) -> None:
    path = tmp_path / f"q.{ending}"
    rows = [{"question": "Where?", "choices": value, "answer": "shop"}]
    if ending == "json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    (only,) = load({"train": path}, {"question": "question", "choices": "choices", "answer": "answer"})
    assert only.choices == (Choice(label=labels[0], text="bank"), Choice(label=labels[1], text="shop"))
    assert only.gold == labels[1]


def test_text_that_only_begins_like_a_list_is_parted_by_the_separator(tmp_path: Path) -> None:
    columns = {"question": "q", "choices": "c", "separator": ";"}
    (only,) = load_one(tmp_path, "q.tsv", "q\tc\nWhich?\t[1] one;[2] two|three\n", columns)
    assert [c.text for c in only.choices] == ["[1] one", "[2] two|three"]


def test_labels_may_be_given_for_bare_choices_and_there_may_be_many(tmp_path: Path) -> None:
    columns = {"question": "q", "choices": "c", "answer": "answer"}
    row: dict[str, Any] = {"q": "Which?", "c": [f"text {n}" for n in range(30)], "answer": "ad"}
    (only,) = load_one(tmp_path, "q.jsonl", json.dumps(row), columns)
    assert (only.gold, len(only.choices)) == ("AD", 30)
    assert [letter(n) for n in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    row = {"q": "Which?", "c": ["x", "y"], "answer": 2}
    (only,) = load_one(tmp_path, "q.jsonl", json.dumps(row), columns, labels=["1", "2", "3"])
    assert (only.gold, [c.label for c in only.choices]) == ("2", ["1", "2"])


@pytest.mark.parametrize(("labels", "gold"), [(["yes", "no"], "no"), (["True", "False"], "False")])
def test_json_booleans_answer_yes_no_and_true_false(tmp_path: Path, labels: list[str], gold: str) -> None:
    columns = {"question": "q", "answer": "answer"}
    (only,) = load_one(tmp_path, "q.jsonl", '{"q": "Is it?", "answer": false}', columns, labels=labels)
    assert only.gold == gold


def test_whole_numbers_with_a_hole_are_floats_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    pq.write_table(pa.table({"q": ["Odd?", "Even?"], "answer": [1.0, float("nan")]}), path)
    odd, even = load({"train": path}, {"question": "q", "answer": "answer"}, labels=["0", "1"])
    assert (odd.gold, even.gold) == ("1", None)


def test_pairs_between_splits(tmp_path: Path) -> None:
    test, contrast = tmp_path / "test.csv", tmp_path / "contrast.csv"
    test.write_text("id,q\nt1,Is it hot?\nt2,Is it wet?\n")
    contrast.write_text("id,q,of\nc1,Is it cold?,t1\nc2,Is it dry?,t2\n")
    columns = {"question": "q", "id": "id", "pair": "of"}
    with pytest.raises(DataError, match=r"test\.csv: no column 'of', which `columns.pair` names"):
        load({"test": test, "contrast": contrast}, columns, labels=["yes", "no"])
    test.write_text("id,q,of\nt1,Is it hot?,\nt2,Is it wet?,\n")
    questions = load(
        {"test": test, "contrast": contrast}, columns, labels=["yes", "no"], limit={"test": 1, "contrast": 1}
    )
    assert questions[0].id == questions[1].pair and questions[0].pair is None


# ---- what is refused, each in its words


def row_with(**cells: str) -> str:
    """A CSV whose third row is changed."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "question", "a", "b", "c", "answer"], lineterminator="\n")
    writer.writeheader()
    for number in (1, 2, 3):
        row = {
            "id": f"q{number}",
            "question": f"Where is {number}?",
            "a": "bank",
            "b": "library",
            "c": "",
            "answer": "A",
        }
        writer.writerow({**row, **(cells if number == 3 else {})})
    return out.getvalue()


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (
            {"answer": "F"},
            "the answer 'F' is not among the choices (A: bank, B: library): write a choice's label or its text, "
            "or leave the answer empty where it is not known.",
        ),
        ({"id": "q1"}, "the id 'q1' is that of row 1 already: give each question its own."),
        ({"id": " "}, "the id is empty (column 'id'): fill it in, or leave `columns.id` out everywhere."),
        ({"question": "  "}, "the question is empty (column 'question'): fill it in or remove the row."),
        ({"b": ""}, "only the choice 'bank': a question needs at least two."),
        ({"a": "", "b": ""}, "no choice: a question needs at least two."),
        ({"b": "Bank "}, "two choices have the same text, 'Bank': make them differ."),
        ({"a": ""}, "the choice in column 'a' is empty, but a later one is not: fill it in."),
        (
            {"a": "B", "answer": "B"},
            "the answer 'B' names more than one choice (A: B, B: library): write '(B)' where its label is meant.",
        ),
    ],
)
def test_a_faulty_row_gets_its_one_sentence(tmp_path: Path, cells: dict[str, str], sentence: str) -> None:
    assert refusal(tmp_path, "q.csv", row_with(**cells)) == f", row 3 (line 4): {sentence}"


def test_rows_and_lines_are_counted_through_blank_lines_and_long_fields(tmp_path: Path) -> None:
    text = 'id,question,a,b,c,answer\n\n1,"Two\nlines?",x,y,,A\n2,Where?,x,y,,Z\n'
    assert refusal(tmp_path, "q.csv", text).startswith(", row 2 (line 5): the answer 'Z'")


@pytest.mark.parametrize(
    ("setting", "name", "sentence"),
    [
        ("question", "qestion", ": no column 'qestion', which `columns.question` names. Did you mean 'question'?"),
        ("question", "{qestion}?", ": no column 'qestion', which `columns.question` names. Did you mean 'question'?"),
        ("answer", "anser", ": no column 'anser', which `columns.answer` names. Did you mean 'answer'?"),
        ("id", "key", ": no column 'key', which `columns.id` names. Known: a, answer, b, c, id, question."),
        ("choices", "shop", ": no column 'shop', which `columns.choices` names. Known: a, answer, b, c, id, question."),
        (
            "choices",
            ["a", "B"],
            ": no column 'B', which `columns.choices` names. Known: a, answer, b, c, id, question.",
        ),
    ],
)
def test_a_wrong_column_name(tmp_path: Path, setting: str, name: Any, sentence: str) -> None:
    assert refusal(tmp_path, "q.csv", CSV, {**COLUMNS, setting: name}) == sentence


QC = {"question": "q", "choices": "c", "answer": "answer"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("q.csv", "", ": the file holds no rows: put at least one question into it, or leave the split out."),
        (
            "q.csv",
            "q,c,answer\n",
            ": the file holds no rows: put at least one question into it, or leave the split out.",
        ),
        ("q.jsonl", "\n", ": the file holds no rows: put at least one question into it, or leave the split out."),
        ("q.json", " ", ": the file is empty: put at least one question into it, or leave the split out."),
        ("q.json", "[]", ": the file holds no rows: put at least one question into it, or leave the split out."),
        (
            "q.csv",
            "q,c,answer\nWhy?,x|y,x,z\n",
            ", row 1 (line 2): 4 fields where the header has 3: put a field that holds a comma into double quotes.",
        ),
        (
            "q.tsv",
            "q\tc\tanswer\nWhy?\n",
            ", row 1 (line 2): 1 field where the header has 3: put a field that holds a tab into double quotes.",
        ),
        (
            "q.csv",
            'q,c,answer\nWhy?,x|y,x\n"Why,x|y,x\nWhat?,x|y,x\n',
            ", line 3: malformed (unexpected end of data): "
            "a field in double quotes ends with one, and quotes inside it are doubled.",
        ),
        ("q.csv", "q,c,q\nWhy?,x|y,x\n", ", line 1: two columns are named 'q': rename one of them."),
        (
            "q.csv",
            "q;c;answer\nWhy?;x|y;x\n",
            ": no column 'q', which `columns.question` names. Known: q;c;answer."
            " The header is parted by ';': save the file with commas.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": ["x", "y"]}\n\n{"q": "Why?" "c": []}\n',
            ", row 2 (line 3): not valid JSON (Expecting ',' delimiter at column 14): each line holds one object.",
        ),
        ("q.jsonl", '["Why?"]\n', ", row 1: expected an object ({...}), found a list."),
        ("q.json", '[{"q": "Why?"}, 3]', ", row 2: expected an object ({...}), found a number."),
        ("q.json", '{"q": "Why?"}', ": expected a list of objects ([{...}, {...}]), found an object."),
        (
            "q.json",
            '{"q": "Why?"}\n{"q": "What?"}\n',
            ", line 2: not valid JSON (Extra data at column 1): one object a line needs the ending .jsonl.",
        ),
        ("q.json", "[" * 100_000, ": not valid JSON (nested too deeply)."),
        (
            "q.csv",
            "q,c,answer\nCafé?,x|y,x\n".encode("latin-1"),
            ", line 2: the byte 0xe9 is not UTF-8 text: save the file as UTF-8.",
        ),
        ("q.csv", "q,c".encode("utf-16"), ": the file is UTF-16, not UTF-8: save it as UTF-8."),
        (
            "q.txt",
            "Why?",
            ": the ending does not say what the file holds: name it with one of .jsonl, .ndjson, .json, .csv, .tsv, "
            ".tab, .parquet, .pq (or + .gz).",
        ),
        ("q.csv.gz", "no gzip", ": cannot be unpacked (Not a gzipped file (b'no')): fetch or pack it anew."),
        (
            "q.jsonl",
            '{"q": "Why \\ud83d?", "c": ["x", "y"], "answer": "x"}',
            ", row 1: 'q' holds half a character (\\ud83d): write the pair or leave it out.",
        ),
        (
            "q.jsonl",
            '{"q": ["Why?"], "c": ["x", "y"], "answer": "x"}',
            ", row 1: 'q' holds a list where text is expected: name a column of text.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": ["x", ""], "answer": "x"}',
            ", row 1: choice 2 is empty: give it a text and a label, or remove it.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": 3, "answer": "x"}',
            ", row 1: the choices (column 'c') are '3': give a list, or parted text.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": null, "answer": "x"}',
            ", row 1: the choices (column 'c') are nothing: give a list, or parted text.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": "x/y", "answer": "x"}',
            ", row 1: only the choice 'x/y': a question needs at least two.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": [{"label": "A", "txt": "x"}], "answer": "x"}',
            ", row 1: choice 1 in 'c' has no 'text': give label and text. Did you mean 'txt'?",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": [{"label": "A", "text": "x"}, {"label": "a", "text": "y"}], "answer": "x"}',
            ", row 1: two choices have the same label, 'a': make them differ.",
        ),
        (
            "q.jsonl",
            '{"q": "Why?", "c": {"label": ["A"], "text": ["x", "y"]}, "answer": "x"}',
            ", row 1: 'c' has 1 labels and 2 texts: make them equal.",
        ),
        (
            "q.csv",
            "q,c,answer\nWhy?,x|y,x\nWhat?,x|y,x\nWhy?,x|y,y\n",
            ", row 3 (line 4): the same question as row 1: remove one of the two.",
        ),
    ],
)
def test_each_unusable_file_gets_its_one_sentence(tmp_path: Path, name: str, text: str | bytes, sentence: str) -> None:
    assert refusal(tmp_path, name, text, QC) == sentence


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "q.parquet", b"PAR1 nothing else", QC).startswith(": not a readable Parquet file (")


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    with pytest.raises(DataError) as error:
        load({"train": tmp_path / "trian.csv"})
    assert str(error.value) == f"{tmp_path / 'trian.csv'}: no such file. Did you mean 'train.csv'?"
    with pytest.raises(DataError, match=r"other\.csv: no such file\. Check the path"):
        load({"train": tmp_path / "deep" / "other.csv"})
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="this is a folder, a file is needed"):
        load({"train": tmp_path / "folder.csv"})


def test_parentheses_say_that_a_label_is_meant(tmp_path: Path) -> None:
    questions = load_one(tmp_path, "q.csv", row_with(a="B", answer="(B)"))
    assert questions[2].gold == "B"


def test_labels_that_do_not_fit_the_choices(tmp_path: Path) -> None:
    text = json.dumps({"q": "Why?", "c": {"A": "x", "B": "y"}, "answer": "x"})
    assert refusal(tmp_path, "q.jsonl", text, QC, labels=["1", "2"]) == (
        ", row 1: the choices have labels of their own: leave `questions.labels` out."
    )
    text = json.dumps({"q": "Why?", "c": ["x", "y", "z"], "answer": "x"})
    assert refusal(tmp_path, "q.jsonl", text, QC, labels=["1", "2"]) == (
        ", row 1: 3 choices, but only 2 `questions.labels`: add labels."
    )
    with pytest.raises(DataError, match=r"questions\.labels: two choices have the same label, 'Yes'"):
        load_one(tmp_path, "q.csv", "q\nWhy?\n", {"question": "q"}, labels=["yes", "Yes"])
    with pytest.raises(ConfigError, match=r"`columns\.question` is the same for every row: 'Why \{\{not\}\}'"):
        load_one(tmp_path, "q.csv", "q\nWhy?\n", {"question": "Why {{not}}"}, labels=["yes", "no"])


def two_splits(tmp_path: Path, train: str, test: str, columns: dict[str, Any]) -> str:
    for split, rows in (("train", train), ("test", test)):
        (tmp_path / f"{split}.csv").write_text(f"id,q,c\n{rows}\n")
    with pytest.raises(DataError) as error:
        load({split: tmp_path / f"{split}.csv" for split in ("train", "test")}, columns)
    return str(error.value)


def test_a_question_in_train_and_an_evaluated_split_is_refused_with_both_ids(tmp_path: Path) -> None:
    columns = {"question": "q", "choices": "c", "id": "id"}
    message = two_splits(tmp_path, "1,What?,x|y\n2,Why  not?,x|y", "9,WHY not?,Y|x", columns)
    assert message == (
        f"{tmp_path / 'test.csv'}, row 1 (line 2): the question '9' of the split 'test' is also question '2' of the "
        f"split 'train' ({tmp_path / 'train.csv'}, row 2 (line 3)): an evaluation on questions seen before means "
        "nothing, remove one of the two."
    )


def test_an_id_in_two_splits_is_refused(tmp_path: Path) -> None:
    columns = {"question": "q", "choices": "c", "id": "id"}
    message = two_splits(tmp_path, "1,What?,x|y", "1,Why?,x|y", columns)
    assert message == (
        f"{tmp_path / 'test.csv'}, row 1 (line 2): the id '1' is also in the split 'train' "
        f"({tmp_path / 'train.csv'}, row 1 (line 2)): ids are unique over all splits."
    )


def test_the_same_stem_with_other_choices_is_another_question(tmp_path: Path) -> None:
    text = "q,c\nWhich is true?,x|y\nWhich is true?,v|w\n"
    questions = load_one(tmp_path, "q.csv", text, {"question": "q", "choices": "c"})
    assert len({q.id for q in questions}) == 2


def test_a_question_repeated_in_one_split_is_kept_and_noted_where_it_has_ids(tmp_path: Path) -> None:
    columns = {"question": "q", "choices": "c", "id": "id"}
    questions = load_one(tmp_path, "q.csv", "id,q,c\n1,Why?,x|y\n2,WHY?,y|x\n", columns)
    assert notes(questions)[0] == "1 of the questions in 'train' repeats an earlier one there: 'WHY?'."


def test_a_pair_that_is_no_question(tmp_path: Path) -> None:
    columns = {"question": "q", "id": "id", "pair": "of"}
    assert refusal(tmp_path, "q.csv", "id,q,of\nc1,Is it cold?,t1\n", columns, labels=["yes", "no"]) == (
        ", row 1 (line 2): the pair 't1' is not the id of a question: "
        "`columns.pair` holds the id of the question that this one changes."
    )


# ---- every format gives the same questions

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).map(str.strip).filter(bool)
STEM = st.one_of(TEXT, st.tuples(TEXT, TEXT).map("\n".join))


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number, stem in enumerate(draw(st.lists(STEM, min_size=1, max_size=5))):
        texts = draw(st.lists(TEXT, min_size=2, max_size=30, unique_by=normalised))
        answer = draw(st.one_of(st.none(), st.integers(0, len(texts) - 1).map(lambda n: f"({letter(n)})")))
        if answer is not None and normalised(answer) in map(normalised, texts):
            answer = None  # a choice that reads "(A)" is ambiguous, and refused: see above
        rows.append({"id": f"q{number}", "question": stem, "choices": texts, "answer": answer})
    return rows


def write_jsonl(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows).encode("utf-8-sig"))


def write_json(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, ["id", "question", "choices", "answer"], delimiter="," if "csv" in path.name else "\t"
        )
        writer.writeheader()
        writer.writerows({**row, "choices": json.dumps(row["choices"])} for row in rows)


def write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[list[dict[str, Any]], Path], None]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "csv": write_csv,
    "tsv": write_csv,
    "parquet": write_parquet,
}


@given(rows=tables())
@settings(max_examples=60, deadline=None)
def test_what_is_written_in_any_format_is_what_is_read(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    expected = [
        Question(
            id=row["id"],
            task="mine",
            split="train",
            stem=row["question"].strip(),
            choices=tuple(Choice(label=letter(n), text=text) for n, text in enumerate(row["choices"])),
            gold=None if row["answer"] is None else row["answer"].strip("()"),
        )
        for row in rows
    ]
    for ending, write in WRITERS.items():
        path = folder / f"q.{ending}"
        write(rows, path)
        columns = {"question": "question", "choices": "choices", "answer": "answer", "id": "id"}
        assert load({"train": path}, columns) == expected, ending
