"""Corpora as Parquet and JSONL, there and back; somebody else's chains in, every row accounted for."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from scotd.cli import cli
from scotd.corpus import (
    Corpus,
    ImportColumns,
    NoMatch,
    QuestionIndex,
    column,
    exchange,
    export_jsonl,
    export_parquet,
    import_chains,
    import_parquet,
    is_exported,
    label_of,
    match,
    read_records,
)
from scotd.errors import CorpusError, DataError
from scotd.types import Chain, Choice, Finish, Message, Prompt, Question, SamplingParams

CHAT = Prompt(messages=(Message(role="system", content="Think."), Message(role="user", content="Wer schwimmt? 🦆")))


def question(number: int, **changes: Any) -> Question:
    fields: dict[str, Any] = {
        "id": f"q{number}",
        "task": "birds",
        "split": "train",
        "stem": f"Bird {number} that swims  is the _____.",
        "choices": (Choice(label="A", text="mute swan"), Choice(label="B", text="wren (small)")),
        "gold": "A",
    }
    return Question(**{**fields, **changes})


QUESTIONS = [question(number) for number in range(4)]


def prompt(number: int) -> Prompt:
    return Prompt(text=f"exemplars\n\nQ: {question(number).stem}\nA:")


def chain(number: int, index: int = 0, **changes: Any) -> Chain:
    fields: dict[str, Any] = {
        "question_key": question(number).key,
        "prompt_id": prompt(number).id,
        "teacher": "local:teacher",
        "sampling": SamplingParams(),
        "index": index,
        "text": f" Swans swim ({index}). So the answer is (A).",
        "finish": Finish.STOP,
    }
    return Chain(**{**fields, **changes})


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    with Corpus.open(tmp_path / "corpus.sqlite") as opened:
        yield opened


def filled(corpus: Corpus) -> Corpus:
    corpus.add_questions([*QUESTIONS, question(9, split="test", gold=None, pair="q1", stem="Kein\nVogel? 🦆")])
    corpus.add_prompts([*map(prompt, range(4)), CHAT, Prompt(text="never used")])
    corpus.add_chains(
        [chain(number, index, n_tokens=7, mean_logprob=-1 / 3) for number in (0, 2) for index in range(3)]
        + [chain(1, prompt_id=CHAT.id, text="", finish=Finish.LENGTH)]
        + [chain(0, sampling=SamplingParams(temperature=0, stop=("\n", "Q:")), teacher="openai:x")]
    )
    corpus.record_run("first", {"seeds": [0], "git": None})
    return corpus


def contents(corpus: Corpus) -> tuple[object, ...]:
    return corpus.questions(), corpus.prompts(), list(corpus.chains()), corpus.runs()


# -- Parquet, our own


@pytest.mark.parametrize("row_group", [1, 2, 20_000])
def test_a_corpus_survives_parquet_exactly(
    corpus: Corpus, tmp_path: Path, row_group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ROW_GROUP", row_group)
    path = tmp_path / "out" / "corpus.parquet"
    written = export_parquet(filled(corpus), path)
    assert (written.questions, written.prompts, written.chains, written.runs) == (5, 6, 8, 1)
    assert is_exported(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Corpus.open(tmp_path / "other.sqlite") as other:
        read = import_parquet(other, path)
        assert (read.questions, read.prompts, read.chains, read.runs) == (5, 6, 8, 1)
        assert read.added is not None
        assert read.added.new == 8
        assert contents(other) == contents(corpus)
        again = import_parquet(other, path)
        assert again.added is not None
        assert (again.added.new, again.added.same, again.added.duplicate) == (0, 8, 0)
        assert contents(other) == contents(corpus)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=25, deadline=None)
@given(
    stem=texts.filter(str.strip),
    choice=texts,
    completions=st.lists(st.tuples(texts, st.none() | st.integers(0, 2**40), st.none() | st.floats(max_value=0))),
    stop=st.lists(texts, max_size=2),
)
def test_any_corpus_survives_parquet(
    tmp_path_factory: pytest.TempPathFactory,
    stem: str,
    choice: str,
    completions: list[tuple[str, int | None, float | None]],
    stop: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("any")
    asked = question(1, stem=stem, choices=(Choice(label="1", text=choice), Choice(label="2", text="")), gold=None)
    given_chains = [
        chain(1, index, text=text, n_tokens=tokens, mean_logprob=logprob, sampling=SamplingParams(stop=tuple(stop)))
        for index, (text, tokens, logprob) in enumerate(completions)
    ]
    with Corpus.open(folder / "one") as one, Corpus.open(folder / "two") as two:
        one.add_questions([asked])
        one.add_prompts([prompt(1)])
        one.add_chains(given_chains)
        export_parquet(one, folder / "c.parquet")
        import_parquet(two, folder / "c.parquet")
        assert contents(two) == contents(one)
        assert list(two.chains()) == given_chains


def test_a_filtered_export_holds_what_it_names_and_a_reader_needs_nothing_else(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    written = export_parquet(filled(corpus), path, split="train", teacher="local:teacher")
    assert (written.questions, written.prompts, written.chains) == (4, 3, 7)
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 8, "seven chains and one question without any"
    first = rows[0]
    assert (first["question"], first["gold"], first["text"]) == ("q0", "A", chain(0).text)
    assert first["prompt"] == prompt(0).text
    assert first["choices"][1] == {"label": "B", "text": "wren (small)"}
    about = json.loads(pq.read_metadata(path).metadata[b"scotd"])
    assert about["runs"] == [{"run": "first", "lineage": {"seeds": [0], "git": None}}]


def test_an_import_keeps_the_corpus_own_labels_and_refuses_other_words(corpus: Corpus, tmp_path: Path) -> None:
    export_parquet(filled(corpus), tmp_path / "c.parquet")
    with Corpus.open(tmp_path / "other.sqlite") as other:
        other.add_questions([question(0, gold="B")])
        assert import_parquet(other, tmp_path / "c.parquet").changed == 1
        assert other.questions(keys=["birds/q0"])[0].gold == "B"
    with Corpus.open(tmp_path / "third.sqlite") as third:
        third.add_questions([question(0, stem="Which one flies?")])
        with pytest.raises(CorpusError, match="'birds/q0' is in the corpus with other words"):
            import_parquet(third, tmp_path / "c.parquet")
        assert list(third.chains()) == []


def test_a_file_that_was_damaged_on_the_way_is_one_sentence(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    export_parquet(filled(corpus), path)
    whole = path.read_bytes()
    for at, spoilt in (("the middle", whole[:60] + b"\xff" * 200 + whole[260:]), ("the end", whole[: len(whole) // 2])):
        path.write_bytes(spoilt)
        done = CliRunner().invoke(cli, ["corpus", "import", str(tmp_path / "other.sqlite"), str(path)])
        assert isinstance(done.exception, DataError), (at, done.exception)
        assert "c.parquet: cannot be read as Parquet" in str(done.exception) and "\n" not in str(done.exception), at
        assert not (tmp_path / "other.sqlite").exists()


def test_files_that_are_none_of_ours_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        import_parquet(corpus, tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        import_parquet(corpus, tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    assert not is_exported(tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        is_exported(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="column mapping"):
        import_parquet(corpus, tmp_path / "foreign.parquet")
    newer = pa.table({"a": [1]}).replace_schema_metadata({"scotd": json.dumps({"format": 99})})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(DataError, match=r"format 99.*newer scotd"):
        import_parquet(corpus, tmp_path / "newer.parquet")


def test_an_export_that_fails_leaves_the_old_file(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "chains.jsonl"
    path.write_text("old")

    def fail(_: Question, __: Chain) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_jsonl(filled(corpus), path, form="messages", completion_of=fail)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*part"))


# -- JSONL


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_jsonl_in_both_forms_with_both_kinds_of_prompt(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    assert export_jsonl(filled(corpus), path, form="prompt-completion", teacher="local:teacher") == 7
    rows = read_jsonl(path)
    assert rows[0]["prompt"] == prompt(0).text
    assert rows[0]["completion"] == chain(0).text
    assert rows[0]["chain"] == chain(0).id
    chat = next(row for row in rows if row["question"] == "birds/q1")
    assert chat["prompt"] == CHAT.to_json()
    assert chat["completion"] == [{"role": "assistant", "content": ""}]
    export_jsonl(corpus, path, form="messages", teacher="local:teacher")
    rows = read_jsonl(path)
    assert rows[0]["messages"] == [
        {"role": "user", "content": prompt(0).text},
        {"role": "assistant", "content": chain(0).text},
    ]
    chat = next(row for row in rows if row["question"] == "birds/q1")
    assert [turn["role"] for turn in chat["messages"]] == ["system", "user", "assistant"]


def test_jsonl_of_a_selection_in_the_students_words(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    kept = (chain(0, 0).id, chain(2, 1).id)  # in the corpus's order
    written = export_jsonl(
        filled(corpus),
        path,
        form="prompt-completion",
        chain_ids=kept,
        prompt_of=lambda asked: Prompt(text=f"Q: {asked.stem}\nA:"),
        completion_of=lambda asked, one: f"{one.text} [{asked.gold}]",
    )
    rows = read_jsonl(path)
    assert written == len(rows) == 2
    assert [row["chain"] for row in rows] == list(kept)
    assert rows[0]["prompt"] == f"Q: {question(0).stem}\nA:"
    assert rows[0]["completion"] == f"{chain(0).text} [A]"


# -- rows of any file


ROWS = [{"question": "q 🦆", "text": "one"}, {"question": "r", "text": ""}]


def _write_jsonl(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\r\n" for row in rows), encoding="utf-8")


def _write_json(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8-sig")


def _write_line(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def _write_keyed(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps({str(number): row for number, row in enumerate(rows)}), encoding="utf-8")


def _write_keyed_indented(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps({str(number): row for number, row in enumerate(rows)}, indent=2), encoding="utf-8")


def _write_gzip(path: Path, rows: list[Any]) -> None:
    path.write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))


def _write_parquet(path: Path, rows: list[Any]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_csv(path: Path, rows: list[Any]) -> None:
    lines = ["question,text", *(f'"{row["question"]}",{row["text"]}' for row in rows)]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("lines.jsonl", _write_jsonl),
        ("lines-called.json", _write_jsonl),
        ("array.json", _write_json),
        ("array-in-a-line.json", _write_line),
        ("keyed.json", _write_keyed),
        ("keyed-called.jsonl", _write_keyed_indented),
        ("lines.json.gz", _write_gzip),
        ("table.parquet", _write_parquet),
        ("table.csv", _write_csv),
    ],
)
def test_rows_of_every_shape_of_file(tmp_path: Path, name: str, write: Callable[[Path, list[Any]], None]) -> None:
    write(tmp_path / name, ROWS)
    records = list(read_records(tmp_path / name))
    assert [record.get("question") for record in records] == ["q 🦆", "r"]
    assert [record.get("text") or "" for record in records] == ["one", ""]
    assert records[0].number == 1


def test_odd_files_have_the_rows_one_would_say_they_have(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    for value, expected in (
        (["one", "two"], [{"text": "one"}, {"text": "two"}]),
        ({"question": "q", "text": "t"}, [{"question": "q", "text": "t"}]),
        ([], []),
    ):
        path.write_text(json.dumps(value))
        assert [dict(record.values) for record in read_records(path)] == expected
    path.write_text("")
    assert list(read_records(path)) == []
    path.write_text('\n\n{"a": {"b": [1]}}\n\n{"a": {"b": 2}}\n')
    records = list(read_records(path))
    assert [record.get("a.b") for record in records] == [[1], 2]
    assert records[1].number == 5, "in JSON Lines a row is known by its line"
    with pytest.raises(DataError, match=r"odd\.json, row 5: no column 'a\.c'"):
        records[1].get("a.c")
    assert column(path, "a") == [{"b": [1]}, {"b": 2}]


def test_broken_files_are_named_with_row_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    for text, message in (
        ('{"a": 1}\n{"a": \n', r"row 2: not valid JSON"),
        ('{"a": 1,\n "b": }\n', r"line 2: not valid JSON"),
        ('{"a": 1}\n[1]\n', r"row 2: expected an object or a text, found \[1\]"),
        ("3", "expected rows, found 3"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            list(read_records(path))
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_records(path))
    whole = gzip.compress(json.dumps({"a": "x" * 1000}).encode())
    (tmp_path / "cut.json.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_records(tmp_path / "cut.json.gz"))
    with pytest.raises(DataError, match="no such file"):
        list(read_records(tmp_path / "none.jsonl"))
    path.rename(tmp_path / "rows.xls")
    with pytest.raises(DataError, match=r"rows\.xls"):
        list(read_records(tmp_path / "rows.xls"))


# -- which question does a row answer?

STEM = "Bird 1 that swims is the _____."


@pytest.mark.parametrize(
    "text",
    [
        question(1).stem,
        f" {STEM}\n",
        f"{STEM} (A) mute swan (B) wren (small)",
        f"{STEM} (a) mute  swan (b) wren (small)",
        f"{STEM}\nAnswer Choices:\n(A) mute swan\n(B) wren (small)",
        f"Q: {STEM}\nAnswer Choices:\n(A) mute swan\n(B) wren (small)\nA:",
        f"Q: {STEM} Answer choices: A: mute swan, B: wren (small)",
        f"{STEM} A. mute swan B. wren (small).",
        f"{STEM} Options: A) mute swan; B) wren (small)",
        f"{STEM} (A) mute swan or (B) wren (small)?",
    ],
)
def test_a_question_is_found_by_its_text_in_any_usual_notation(text: str) -> None:
    assert match(QuestionIndex.of(QUESTIONS), text=text) == question(1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bird 7 that swims is the _____.", NoMatch.TEXT),
        ("bird 1 that swims is the _____.", NoMatch.TEXT),
        (f"{STEM} More.", NoMatch.TEXT),
        (f"{STEM} (A) wren (small) (B) mute swan", NoMatch.CHOICES),
        (f"{STEM} (A) mute swan", NoMatch.CHOICES),
        ("", NoMatch.TEXT),
    ],
)
def test_what_resembles_a_question_is_none(text: str, reason: NoMatch) -> None:
    assert match(QuestionIndex.of(QUESTIONS), text=text) is reason


def test_a_question_is_found_by_id_and_both_must_agree() -> None:
    index = QuestionIndex.of([*QUESTIONS, question(1, task="fish", stem="Another?")])
    assert match(index, id="birds/q1") == question(1)
    assert match(index, id="q2") == question(2)
    assert match(index, id="q1") is NoMatch.SEVERAL
    assert match(index, id="q1", text=STEM) == question(1)
    assert match(index, id="q2", text=STEM) is NoMatch.DISAGREE
    assert match(index, id="q2", text="something else") is NoMatch.DISAGREE
    assert match(index, id="q77") is NoMatch.ID


def test_equal_stems_are_told_apart_by_their_choices() -> None:
    other = question(2, stem=STEM, choices=(Choice(label="A", text="penguin"), Choice(label="B", text="tit")))
    index = QuestionIndex.of([question(1), other])
    assert match(index, text=STEM) is NoMatch.SEVERAL
    assert match(index, text=STEM, choices=["penguin", "tit"]) == other
    assert match(index, text=STEM, choices=["penguin", "owl"]) is NoMatch.CHOICES
    assert match(index, text=f"{STEM} (A) penguin (B) tit") == other


def test_a_fixed_label_set_is_matched_without_marks() -> None:
    labels = tuple(Choice(label=word, text=word) for word in ("yes", "no"))
    asked = question(5, stem="Does it swim?", choices=labels, gold="yes")
    assert match(QuestionIndex.of([asked]), text="Does it swim? Answer choices: yes, no") == asked


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("(b)", "B"),
        ("B.", "B"),
        (" a ", "A"),
        ("Mute swan", "A"),
        ("wren  (small)", "B"),
        ("(c)", None),
        ("", None),
        (None, None),
        (1, None),
    ],
)
def test_an_answer_is_read_as_label_or_text(answer: Any, label: str | None) -> None:
    assert label_of(question(1), answer) == label


# -- somebody's chains


def render(asked: Question, rationale: str, label: str) -> str:
    assert asked.choice(label)
    return f" {rationale} So the answer is ({label})."


COLUMNS = ImportColumns(question="question", rationale="why", answer="answer", gold="gold")


def response(number: int, why: str = "Swans swim.", answer: str = "(a)", gold: str = "(a)") -> dict[str, str]:
    text = f"{question(number).stem} (A) mute swan (B) wren (small)"
    return {"question": text, "gold": gold, "answer": answer, "why": why}


def test_rationale_and_answer_rows_keyed_by_number_become_chains(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "responses.json"
    rows = [response(1), response(1, "Wrens swim.", "(b)"), response(3), response(1, "None does.", "(c)")]
    rows += [response(3, gold="(b)")]
    _write_keyed(path, rows)
    report = import_chains(corpus, [path], name="gpt3", columns=COLUMNS, questions=QUESTIONS, render=render)
    assert (report.rows, report.questions, report.added.new, report.problems) == (5, 2, 5, ())
    assert (report.unknown_answers, report.gold_differs, report.cut) == (1, 1, 0)
    assert corpus.questions() == [question(1), question(3)]
    chains = list(corpus.chains(teacher="import:gpt3"))
    assert [(one.question_key, one.index, one.text) for one in chains] == [
        ("birds/q1", 0, " Swans swim. So the answer is (A)."),
        ("birds/q1", 1, " Wrens swim. So the answer is (B)."),
        ("birds/q1", 2, "None does. (c)"),
        ("birds/q3", 0, " Swans swim. So the answer is (A)."),
        ("birds/q3", 1, " Swans swim. So the answer is (A)."),
    ]
    assert {one.finish for one in chains} == {Finish.UNKNOWN}
    assert {one.sampling for one in chains} == {SamplingParams(temperature=1.0)}
    assert corpus.prompts() == {chains[0].prompt_id: Prompt(text="imported from gpt3")}
    (run,) = corpus.runs()
    assert run.run == "import:gpt3"
    assert run.lineage["rows"] == 5

    before = contents(corpus)
    again = import_chains(corpus, [path], name="gpt3", columns=COLUMNS, questions=QUESTIONS, render=render)
    assert (again.added.new, again.added.same, again.added.duplicate) == (0, 5, 0)
    assert contents(corpus) == before
    _write_keyed(path, [*rows, response(1, "Once more.")])
    more = import_chains(corpus, [path], name="gpt3", columns=COLUMNS, questions=QUESTIONS, render=render)
    assert (more.added.new, more.added.same) == (1, 5)
    assert [one.index for one in corpus.chains(question_keys=["birds/q1"])] == [0, 1, 2, 3]


def test_bare_texts_are_joined_by_order_over_several_files_and_cut_at_the_stop(corpus: Corpus, tmp_path: Path) -> None:
    paths = [tmp_path / "train_0.json", tmp_path / "train_1.json"]
    _write_line(paths[0], ["One. So the answer is (a).\n\nQ: What next?\nA: Then", "Two."])
    _write_line(paths[1], ["Three.\n\nQ: And?"])
    ids = tmp_path / "questions.json"
    _write_jsonl(ids, [{"id": "q2"}, {"id": "q0"}, {"id": "q1"}])
    columns = ImportColumns(text="text")
    sampling = SamplingParams(stop=("\n\nQ:",))
    report = import_chains(
        corpus, paths, name="palm", columns=columns, questions=QUESTIONS, sampling=sampling, ids=column(ids, "id")
    )
    assert (report.rows, report.added.new, report.cut) == (3, 3, 2)
    assert [(one.question_key, one.text, one.finish) for one in corpus.chains(sampling=sampling)] == [
        ("birds/q0", "Two.", Finish.UNKNOWN),
        ("birds/q1", "Three.", Finish.STOP),
        ("birds/q2", "One. So the answer is (a).", Finish.STOP),
    ]
    with Corpus.open(tmp_path / "other.sqlite") as other:
        for wrong in (["q2", "q0"], ["q2", "q0", "q1", "q3"]):
            with pytest.raises(DataError, match=r"3 rows, but|fewer question ids"):
                import_chains(other, paths, name="palm", columns=columns, questions=QUESTIONS, ids=wrong)
        assert list(other.chains()) == []


def test_rows_that_fit_no_question_stop_the_import_unless_they_are_to_be_skipped(
    corpus: Corpus, tmp_path: Path
) -> None:
    path = tmp_path / "chains.jsonl"
    rows = [
        {"q": question(0).stem, "z": "zero"},
        {"q": "Who are you?", "z": "me"},
        {"q": question(1).stem, "z": None},
        {"q": None, "z": "x"},
        {"q": question(0).stem, "z": "another"},
    ]
    _write_jsonl(path, rows)
    columns = ImportColumns(question="q", text="z")
    with pytest.raises(
        DataError, match=r"3 of 5 rows cannot be used, the first: .*row 2 \('Who are you\?'\): no quest"
    ):
        import_chains(corpus, [path], name="x", columns=columns, questions=QUESTIONS)
    assert contents(corpus) == ([], {}, [], [])
    report = import_chains(corpus, [path], name="x", columns=columns, questions=QUESTIONS, unmatched="skip")
    assert [(problem.row, problem.reason) for problem in report.problems] == [
        (2, "no question has this text"),
        (3, "its z is not a text"),
        (4, "its question is not a text"),
    ]
    assert report.rows == report.added.new + report.added.same + report.added.duplicate + len(report.problems)
    assert [(one.question_key, one.index) for one in corpus.chains()] == [("birds/q0", 0), ("birds/q0", 1)]


def test_columns_by_id_with_choices_and_prompts_from_parquet(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "chains.parquet"
    rows = [
        {
            "meta": {"id": f"q{number}"},
            "choices": {"label": ["A", "B"], "text": ["mute swan", "wren (small)"]},
            "question": question(number).stem,
            "prompt": f"prompt {number}",
            "text": f"text {number}",
        }
        for number in (0, 1)
    ]
    _write_parquet(path, rows)
    columns = ImportColumns(id="meta.id", question="question", choices="choices", text="text", prompt="prompt")
    report = import_chains(corpus, [path], name="hub", columns=columns, questions=QUESTIONS)
    assert report.added.new == 2
    assert {one.text for one in corpus.prompts().values()} == {"prompt 0", "prompt 1"}


def test_an_import_that_cannot_work_says_why(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "chains.jsonl"
    _write_jsonl(path, [response(0)])
    with pytest.raises(DataError, match="either `text`, or `rationale` and `answer`"):
        ImportColumns(question="q", rationale="z")
    with pytest.raises(DataError, match="either `text`, or `rationale` and `answer`"):
        ImportColumns(question="q", text="z", answer="y")
    with pytest.raises(DataError, match="how a row's question is known"):
        import_chains(corpus, [path], name="x", columns=ImportColumns(text="why"), questions=QUESTIONS)
    with pytest.raises(DataError, match="need a template"):
        import_chains(corpus, [path], name="x", columns=COLUMNS, questions=QUESTIONS)
    with pytest.raises(DataError, match=r"chains\.jsonl, row 1: no column 'qestion'\. Did you mean 'question'\?"):
        wrong = ImportColumns(question="qestion", text="why")
        import_chains(corpus, [path], name="x", columns=wrong, questions=QUESTIONS)


def test_another_file_under_a_taken_name_is_counted_as_duplicate(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "chains.jsonl"
    columns = ImportColumns(question="q", text="z")
    _write_jsonl(path, [{"q": STEM, "z": "first"}])
    import_chains(corpus, [path], name="x", columns=columns, questions=QUESTIONS)
    _write_jsonl(path, [{"q": STEM, "z": "second"}])
    report = import_chains(corpus, [path], name="x", columns=columns, questions=QUESTIONS)
    assert (report.added.new, report.added.same, report.added.duplicate) == (0, 0, 1)
    assert [one.text for one in corpus.chains()] == ["first"]
    assert len(corpus.runs()) == 2
