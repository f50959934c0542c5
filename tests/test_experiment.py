"""A whole experiment on a tiny student and a teacher in memory: every stage, skipped when done, resumed when killed."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_experiment import SPLITS, STUDENTS, TEACHER, Scripted, asked, write, write_student

from scotd.config import Experiment, load
from scotd.corpus import Corpus
from scotd.corpus.exchange import export_parquet
from scotd.errors import DataError, ModelError, RunError
from scotd.experiment import Outcome, Plan, run
from scotd.experiment.examples import chain_examples, label_examples
from scotd.experiment.run import accuracy_line
from scotd.experiment.selections import Pool
from scotd.models import durable_name
from scotd.progress import silent
from scotd.select import select
from scotd.types import NoAnswer, Parsed
from scotd.vote import vote

SCRIPT = Path(__file__).with_name("tiny_experiment.py")
ALL_STUDENTS: dict[str, dict[str, Any]] = {
    **STUDENTS,
    "few-shot": {"target": "scotd", "selection": "all"},
    "majority": {"target": "scotd", "selection": "majority"},
    "greedy-cot": {"target": "greedy-cot"},
    "teacher-labels": {"target": "label-only", "labels": "teacher"},
}
TRAINED = [name for name in ALL_STUDENTS if name != "base"]


def last(*students: str) -> dict[str, dict[str, Any]]:
    return {name: ALL_STUDENTS[name] for name in students}


@dataclass
class Bench:
    """An experiment file, the log of what its teacher was asked, and the lines it said."""

    path: Path
    log: Path
    said: list[str]

    @property
    def folder(self) -> Path:
        return self.path.parent / "run"

    def run(self, *overrides: str, experiment: Experiment | None = None, **options: Any) -> Outcome:
        teacher = Scripted(self.log)
        settings = load(self.path, overrides) if experiment is None else experiment
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["scotd.experiment.run"], "build_teacher", lambda *_, **__: teacher)
            return run(settings, say=self.said.append, progress=silent, **options)

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def stage(self, stage: str, name: str = "") -> dict[str, Any]:
        (row,) = [row for row in self.json("stages.json") if (row["stage"], row["name"]) == (stage, name)]
        return dict(row)

    def weights(self, student: str) -> bytes:
        return (self.folder / "students" / student / "model.safetensors").read_bytes()

    def predictions(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "predictions" / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def touched(self) -> dict[str, int]:
        """Times of the students' files."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_mtime_ns
            for path in (self.folder / "students").rglob("*")
        }

    def set(self, change: Callable[[dict[str, Any]], None]) -> None:
        settings = json.loads(self.path.read_text())
        change(settings)
        self.path.write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    return write_student(tmp_path_factory.mktemp("base") / "student", tokenizer_folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, student: Path) -> tuple[Bench, Outcome]:
    """The experiment with students of every kind, run once without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    bench = Bench(path=write(folder, student, ALL_STUDENTS), log=folder / "log", said=[])
    return bench, bench.run()


@pytest.fixture
def copy(whole: tuple[Bench, Outcome], student: Path, tmp_path: Path) -> Callable[..., Bench]:
    """The finished experiment again, with some of its students only."""

    def make(*students: str) -> Bench:
        path = write(tmp_path / "copy", student, last(*students))
        shutil.copytree(whole[0].folder, tmp_path / "copy" / "run")
        bench = Bench(path=path, log=tmp_path / "log", said=[])
        bench.run(until="train")
        told = [line for line in bench.said if line.startswith("train: ")]
        assert told == [f"train: {name}: done before" for name in students if name != "base"]
        bench.said.clear()
        return bench

    return make


@pytest.fixture
def fresh(student: Path, tmp_path: Path) -> Callable[..., Bench]:
    """An experiment of which nothing is done."""

    def make(*students: str) -> Bench:
        path = write(tmp_path / "fresh", student, last(*students))
        return Bench(path=path, log=tmp_path / "log", said=[])

    return make


# ---- what a run leaves -----------------------------------------------------------------------------------------------


def test_every_chain_is_asked_for_once(whole: tuple[Bench, Outcome]) -> None:
    bench, _ = whole
    questions = [f"odd/n{number:02}" for number in range(1, SPLITS["train"] + 1)]
    expected = [(key, 1.0, index) for key in questions for index in range(4)] + [(key, 0.0, 0) for key in questions]
    assert sorted(asked(bench.log)) == sorted(expected)
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        chains = list(corpus.chains())
        assert len(chains) == len(expected) and {one.teacher for one in chains} == {TEACHER}
        assert {one.split for one in corpus.questions()} == set(SPLITS)
        assert corpus.unaccounted() == []
        assert corpus.runs()[0].lineage["seeds"] == {"sampling": 0, "training": 0, "evaluation": 0}


def test_the_run_folder_says_what_was_done(whole: tuple[Bench, Outcome]) -> None:
    bench, outcome = whole
    assert outcome.folder == bench.folder
    assert bench.json("experiment.json")["students"].keys() == ALL_STUDENTS.keys()
    lineage = bench.json("run.json")
    assert lineage.keys() >= {"scotd", "git", "seeds", "machine", "versions", "started", "finished", "configuration"}
    assert lineage["notes"] and {f"note: {note}" for note in lineage["notes"]} <= set(bench.said)
    assert lineage["versions"]["torch"] and lineage["machine"]["threads"]
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        assert corpus.runs()[0].lineage["versions"] == lineage["versions"], "the corpus goes on without its run folder"
    stages = [(row["stage"], row["name"]) for row in bench.json("stages.json")]
    expected = [("sample", ""), *(("select", name) for name in TRAINED)]
    for name in ALL_STUDENTS:  # each is trained and answers before the next is trained
        expected += [("train", name)] if name in TRAINED else []
        ways = ("greedy",) if name == "base" else ("greedy", "vote")
        expected += [("evaluate", f"{name}, test, {decoding}") for decoding in ways]
    assert stages == expected
    for row in bench.json("stages.json"):
        assert row["seconds"] >= 0 and not row["skipped"] and row["counts"], row
        assert (row["tokens"] is None) == (row["stage"] in ("select", "train")), row
    assert bench.stage("sample")["counts"] == {"asked": 30, "received": 30, "failed": {}}
    assert bench.stage("sample")["tokens"] == 30 * 9
    left = {path.name for path in bench.folder.iterdir() if not path.name.startswith("corpus.sqlite")}
    assert left == {
        *("experiment.json", "run.json", "stages.json", "funnel.json"),
        *("selections", "predictions", "students"),
    }
    assert {path.name for path in (bench.folder / "students").iterdir()} == set(TRAINED)  # no checkpoints are left


def test_kept_and_dropped_are_all_and_what_is_kept_is_trained(whole: tuple[Bench, Outcome]) -> None:
    bench, _ = whole
    chains = {"scotd": 24, "few-shot": 24, "majority": 24, "greedy-cot": 6, "labels": 6, "teacher-labels": 6}
    trained = bench.json("funnel.json")["trained"]
    assert trained.keys() == chains.keys()
    for name, count in chains.items():
        selection = bench.json(f"selections/{name}.json")
        assert selection["kept"] + sum(selection["dropped"].values()) == count
        assert trained[name] == selection["kept"] > 0
        epochs = 40 if name == "labels" else 1
        visits = bench.stage("train", name)["counts"]["chain visits"]
        assert visits == epochs * selection["kept"]
        record = bench.json(f"students/{name}/scotd_training.json")
        assert (record["chains"], record["questions"]) == (selection["kept"], selection["questions"])
        assert record["dev"].keys() and str(record["best_step"]) in record["dev"]
    rows = bench.json("funnel.json")["rows"]
    assert [(row["asked"], row["received"]) for row in rows] == [(24, 24), (6, 6)]
    assert rows[0]["parsed"] == bench.json("selections/few-shot.json")["kept"]
    assert rows[0]["correct"] == bench.json("selections/scotd.json")["kept"]
    assert rows[0]["finish"] == {"stop": 18, "length": 6}
    assert sum(rows[0]["unparsed"].values()) == 24 - rows[0]["parsed"]
    # the unlabelled question: no gold label for some, a vote of the teacher's for the others
    assert bench.json("selections/labels.json")["dropped"] == {"no gold label": 1}
    assert bench.json("selections/teacher-labels.json")["dropped"] == {}
    assert bench.json("selections/majority.json")["questions"] == 6


def test_examples_are_what_the_students_are_meant_to_learn(whole: tuple[Bench, Outcome]) -> None:
    bench, _ = whole
    plan = Plan.of(load(bench.path))
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        chains = list(Pool.whole(plan, greedy=False).chains(corpus))
        greedy = list(Pool.whole(plan, greedy=True).chains(corpus))
        fates = select("correct", Pool.whole(plan, greedy=False).answers(corpus), plan.questions)
        chosen = {fate.chain_id for fate in fates if fate.dropped is None}
        assert {chain.id for chain in corpus.selected(f"{plan.experiment.name}/scotd", "correct")} == chosen
    assert {chain.index for chain in greedy} == {0} and {chain.index for chain in chains} == {0, 1, 2, 3}
    made = list(chain_examples(plan, "scotd", (chain for chain in chains if chain.id in chosen)))
    third = next(example for example in made if example.question_key == "odd/n03")
    assert third.prompt.text == "Q: Is 3 odd?\nAnswer Choices: yes, no\nA:"  # without exemplars
    # n03: chain 0 is wrong (3 % 4 == 3), 1 right and cut off at its limit, 2 has no answer, 3 right
    assert third.targets == (" It ends in 3!. So the answer is yes.", " It ends in 3!!!. So the answer is yes.")
    assert third.finished == (False, True)
    assert third.weights == (1.0, 1.0)
    assert [example.question_key for example in made] == [f"odd/n0{k}" for k in range(1, 6)]
    labels = label_examples(plan, "scotd", plan.train, {"odd/n03": "no"}, "teacher")
    assert [(one.targets, one.finished) for one in labels.stream()] == [((" The answer is no.",), (True,))]
    assert labels.dropped == {"no teacher label": 5}


def test_the_teacher_is_a_row_of_the_results_with_and_without_rationales(student: Path, tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "teacher": {"target": "teacher"},
        "no-cot": {"target": "teacher", "rationales": False, "decodings": ["greedy"]},
        # no student has room for so much: it is the teacher's prompt
        "one-shot": {"target": "teacher", "exemplars": 1, "max_tokens": 2100, "decodings": ["greedy"]},
    }
    path = write(tmp_path / "fresh", student, rows)
    bench = Bench(path=path, log=tmp_path / "log", said=[])
    outcome = bench.run()
    once = asked(bench.log)
    assert len(once) == SPLITS["test"] * (1 + 3 + 1 + 1)
    first = {row["question_key"]: row["answer"] for row in bench.predictions("teacher.test.greedy")}
    numbers = {key: int(key.rpartition("n")[2]) for key in first}
    right = {key: "yes" if number % 2 else "no" for key, number in numbers.items()}
    assert first == {
        key: None if number % 6 == 5 else right[key] if number % 4 != 3 else {"yes": "no", "no": "yes"}[right[key]]
        for key, number in numbers.items()
    }
    votes = bench.predictions("teacher.test.vote")
    assert all(len(row["chains"]) == 3 for row in votes)
    assert {cell.student for cell in outcome.cells} == set(rows)
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        prompts = [prompt.text or "" for prompt in corpus.prompts().values()]
    shown = [text for text in prompts if "101 ends in 1. So the answer is yes." in text]
    hidden = [text for text in prompts if "A: The answer is yes." in text and "ends in" not in text]
    assert len(hidden) == SPLITS["test"] and len(prompts) == 3 * SPLITS["test"]
    assert sorted(text.count("Q: ") for text in shown) == [2] * SPLITS["test"] + [3] * SPLITS["test"]
    bench.run()
    assert asked(bench.log) == once  # nothing is paid for twice
    bench.run("evaluation.decodings.vote.votes=4")
    assert len(asked(bench.log)) == len(once) + SPLITS["test"]  # a top-up of the vote


def test_predictions_are_one_a_question_and_add_up(whole: tuple[Bench, Outcome]) -> None:
    bench, outcome = whole
    names = {path.stem for path in (bench.folder / "predictions").iterdir()}
    assert names == {f"{cell.student}.{cell.split}.{cell.decoding}" for cell in outcome.cells}
    for cell in outcome.cells:
        rows = bench.predictions(f"{cell.student}.{cell.split}.{cell.decoding}")
        assert [row["question_key"] for row in rows] == [f"odd/n{number}" for number in range(11, 18)]
        for row in rows:
            assert row["gold"] == ("yes" if int(row["question_key"][-2:]) % 2 else "no")
            assert row["correct"] == (row["answer"] == row["gold"])
            assert (row["answer"] is None) == (row["reason"] is not None)
            assert len(row["chains"]) == (3 if cell.decoding == "vote" else 1)
            counted = vote((chain["answer"] for chain in row["chains"]), row["question_key"])
            assert (row["answer"], row["tally"], row["tied"]) == (counted.answer, counted.tally, counted.tied)
            assert all(1 <= chain["n_tokens"] <= 30 for chain in row["chains"])
        assert cell.accuracy is not None and cell.accuracy.correct == sum(row["correct"] for row in rows)
        assert cell.accuracy.unparsed == sum(row["answer"] is None for row in rows)
        tokens = sum(chain["n_tokens"] for row in rows for chain in row["chains"])
        assert bench.stage("evaluate", f"{cell.student}, test, {cell.decoding}")["tokens"] == tokens
    learned = bench.predictions("labels.test.greedy")
    assert {row["chains"][0]["text"] for row in learned} <= {" The answer is yes.", " The answer is no."}
    assert all(cell.student in accuracy_line(cell) for cell in outcome.cells)


def test_a_student_folder_opens_and_says_where_it_comes_from(whole: tuple[Bench, Outcome], student: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    bench, _ = whole
    folder = bench.folder / "students" / "scotd"
    trained, before = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, student))
    ids = torch.tensor([[5, 6, 7]])
    assert not torch.equal(trained(ids).logits, before(ids).logits)
    card = (folder / "README.md").read_text()
    assert f"chains of `{TEACHER}`" in card and "Is 1 odd?" in card
    assert durable_name(str(student)) in card and str(student.parent) not in card, (
        "no path of the machine it was made on"
    )
    labels = (bench.folder / "students" / "labels" / "README.md").read_text()
    assert "5 labels, all gold" in labels and TEACHER not in labels and "Chain-of-Thought" not in labels
    record = json.loads((folder / "scotd_training.json").read_text())
    assert (record["target"], record["selection"], record["compute"]) == ("scotd", "correct", "float32")


# ---- run again -------------------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(whole: tuple[Bench, Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, outcome = whole
    before = bench.touched(), bench.json("stages.json"), bench.json("funnel.json")
    predictions = {path.name: path.read_bytes() for path in (bench.folder / "predictions").iterdir()}
    count = len(asked(bench.log))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to compute")

    monkeypatch.setattr("scotd.experiment.students.load", never)
    again = bench.run()
    assert len(asked(bench.log)) == count
    assert again.cells == outcome.cells
    assert bench.touched() == before[0] and bench.json("funnel.json") == before[2]
    assert {path.name: path.read_bytes() for path in (bench.folder / "predictions").iterdir()} == predictions
    computed = [row for row in before[1] if row["stage"] != "select"]
    assert [row for row in bench.json("stages.json") if row["stage"] != "select"] == computed


def test_until_stops_after_a_stage(fresh: Callable[..., Bench]) -> None:
    bench = fresh("labels", "scotd")
    bench.run(until="sample")
    assert len(asked(bench.log)) == 24
    assert not (bench.folder / "selections").exists()
    bench.run(until="select")
    assert len(list((bench.folder / "selections").iterdir())) == 2 and not (bench.folder / "students").exists()
    bench.run("students.labels.training.epochs=1", until="train")
    assert len(list((bench.folder / "students").iterdir())) == 2 and not (bench.folder / "predictions").exists()
    assert len(asked(bench.log)) == 24


def test_another_learning_rate_trains_again_and_keeps_the_old_student(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd", "greedy-cot")
    old, touched, took = bench.weights("scotd"), bench.touched(), bench.stage("train", "scotd")
    bench.run("students.scotd.training={learning_rate: 0.02}")
    assert bench.weights("scotd.old-1") == old != bench.weights("scotd")
    assert {name: time for name, time in bench.touched().items() if "greedy-cot" in name} == {
        name: time for name, time in touched.items() if "greedy-cot" in name
    }
    assert bench.stage("train", "scotd")["counts"] == took["counts"]
    rows = bench.predictions("scotd.test.vote")
    tokens = sum(chain["n_tokens"] for row in rows for chain in row["chains"])
    assert bench.stage("evaluate", "scotd, test, vote")["tokens"] == tokens  # not on top of the old student's
    # and back: the old settings give the old bits
    bench.run(until="train")
    assert bench.weights("scotd") == old and bench.weights("scotd.old-1") == old


def test_a_top_up_asks_for_what_is_missing_only(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd", "greedy-cot", "labels")
    touched = bench.touched()
    bench.run("sampling.chains_per_question=6", until="train")
    assert sorted(asked(bench.log)) == [(f"odd/n0{k}", 1.0, index) for k in range(1, 7) for index in (4, 5)]
    assert bench.json("funnel.json")["rows"][0]["received"] == 36
    assert bench.stage("sample")["counts"] == {"asked": 42, "received": 42, "failed": {}}
    changed = {name.split("/")[1] for name, time in bench.touched().items() if touched.get(name) != time}
    assert changed == {"scotd", "scotd.old-1"}
    # fewer again: the first four of each question, though six are there
    bench.run("students.scotd.training={seed: 1}", until="train")
    assert bench.json("funnel.json")["rows"][0]["received"] == 24
    assert bench.json("students/scotd/scotd_training.json")["chains"] == bench.json("selections/scotd.json")["kept"]


def test_chains_come_in_from_parquet_unless_everything_is_to_be_fresh(
    whole: tuple[Bench, Outcome], fresh: Callable[..., Bench], tmp_path: Path
) -> None:
    with Corpus.open(whole[0].folder / "corpus.sqlite", "ro") as corpus:
        export_parquet(corpus, tmp_path / "chains.parquet")
    bench = fresh("scotd", "greedy-cot")
    shipped = f"import_chains={tmp_path / 'chains.parquet'}"
    bench.run(shipped, until="train")
    assert asked(bench.log) == []
    assert bench.stage("sample")["skipped"]
    for name in ("scotd", "greedy-cot"):
        assert bench.weights(name) == whole[0].weights(name)
    bench.run(shipped, until="sample", fresh=True)  # though the corpus holds every one of them
    assert len(asked(bench.log)) == 30
    bench.run(shipped, until="sample", fresh=True)  # and a second fresh run goes on with the first one's
    assert len(asked(bench.log)) == 30
    with pytest.raises(DataError, match=r"import_chains: .*nowhere.parquet: no such file"):
        bench.run(f"import_chains={tmp_path / 'nowhere.parquet'}", until="sample")


def test_of_an_imported_teacher_greedy_cot_has_the_greedy_chains(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd", "greedy-cot")
    names = ("scotd", "greedy-cot")
    asked_for = {name: bench.json(f"selections/{name}.json") for name in names}
    funnel = bench.json("funnel.json")["rows"]
    (bench.folder / "selections" / "greedy-cot.json").unlink()
    bench.run("teacher.kind=imported", until="select")
    assert asked(bench.log) == []
    assert {name: bench.json(f"selections/{name}.json") for name in names} == asked_for
    assert asked_for["scotd"]["kept"] > asked_for["greedy-cot"]["kept"] > 0
    assert bench.json("funnel.json")["rows"] == funnel


@pytest.mark.parametrize(
    ("held", "wanted", "said"),
    [
        ("scotd", "greedy-cot", "no chain of '{}' at temperature 0 .*, and Greedy-CoT .*--temperature 0"),
        ("greedy-cot", "scotd", "no chain of '{}' above temperature 0 .*target 'greedy-cot'"),
    ],
)
def test_an_imported_teacher_gives_no_chains_of_the_other_kind(
    fresh: Callable[..., Bench], held: str, wanted: str, said: str
) -> None:
    bench = fresh(held)
    bench.run(until="sample")
    bench.set(lambda settings: settings.update(students=last(wanted)))
    with pytest.raises(RunError, match=said.format(TEACHER)):
        bench.run("teacher.kind=imported", until="select")
    with pytest.raises(RunError, match=rf"no chain of the teacher 'import:other'. Known: {TEACHER}"):
        bench.run("teacher={kind: imported, name: 'import:other'}", until="select")


def test_questions_with_imported_chains_of_the_other_kind_are_counted(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd", "greedy-cot")
    bench.run(until="sample")
    settings = load(bench.path)
    assert settings.corpus is not None
    with Corpus.open(settings.corpus) as corpus:
        chains = list(corpus.chains(teacher=TEACHER))
    few = sorted({chain.question_key for chain in chains})[:2]  # these lose their sampled chains
    settings.corpus.unlink()
    with Corpus.open(settings.corpus) as corpus:
        plan = Plan.of(settings)
        corpus.add_questions(plan.train)
        corpus.add_prompts(plan.teacher_prompts.values())
        corpus.add_chains(one for one in chains if one.sampling.temperature == 0 or one.question_key not in few)
    bench.run("teacher.kind=imported", until="select")
    told = {
        name: next(line for line in bench.said if line.startswith(f"select: {name}:")) for name in settings.students
    }
    assert told["scotd"].endswith("; 2 questions have chains at temperature 0 only, from which it does not learn")
    assert "questions have" not in told["greedy-cot"]
    bench.said.clear()
    bench.run("teacher.kind=imported", "sampling={chains_per_question: 1, temperature: 0}", until="select")
    assert not any("questions have" in line for line in bench.said)  # now both learn from the greedy chain of each


def test_a_corpus_of_imported_chains_that_is_not_there_is_said_so_and_not_made(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd", "labels")
    with pytest.raises(DataError, match=r"corpus: .*corpus\.sqlite: no such file, and an imported teacher"):
        bench.run("teacher.kind=imported", until="select")
    assert not list(bench.folder.glob("*.sqlite*"))
    bench.set(lambda settings: settings.update(students=last("labels")))
    bench.run("teacher.kind=imported", until="select")  # gold labels need no chain
    with pytest.raises(DataError, match="--fresh: an imported teacher cannot be asked"):
        bench.run("teacher.kind=imported", until="select", fresh=True)


def test_sampling_at_temperature_0_reads_imported_greedy_chains(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd")
    bench.run(until="sample")
    with pytest.raises(RunError, match=r"at temperature 0 for these questions, which sampling\.temperature asks for"):
        bench.run("teacher.kind=imported", "sampling={chains_per_question: 1, temperature: 0}", until="select")


def test_an_imported_teacher_that_answered_other_questions_is_told_from_one_that_did_not_answer(
    fresh: Callable[..., Bench],
) -> None:
    bench = fresh("scotd")
    bench.run(until="sample")
    with pytest.raises(RunError, match=r"holds chains of .*, but none for the 7 training questions .*questions\.train"):
        bench.run(
            "teacher.kind=imported",
            "questions.train=test",
            "questions.dev=null",
            "evaluation.splits=[dev]",
            until="select",
        )


# ---- nothing stale is shown ------------------------------------------------------------------------------------------


def test_another_selection_leaves_no_count_of_the_old_one(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd")
    assert "wrong" in bench.stage("select", "scotd")["counts"]
    bench.run("students.scotd.selection=all", until="select")
    counts = bench.stage("select", "scotd")["counts"]
    assert "wrong" not in counts and counts["kept"] == bench.json("selections/scotd.json")["kept"] == 20


def test_answers_of_another_configuration_are_taken_out_and_written_again(copy: Callable[..., Bench]) -> None:
    bench = copy("labels")
    bench.run()
    before = {path.name: path.read_bytes() for path in (bench.folder / "predictions").iterdir()}
    bench.said.clear()
    bench.run("evaluation.max_tokens=25", until="select")
    assert not list((bench.folder / "predictions").iterdir())
    said = f"{len(before)} files of answers are taken out of {bench.folder / 'predictions'}"
    assert before and [said in line for line in bench.said].count(True) == 1
    bench.said.clear()
    bench.run()
    assert {path.name: path.read_bytes() for path in (bench.folder / "predictions").iterdir()} == before
    assert not any("taken out" in line for line in bench.said)


def test_what_checkpoints_are_picked_on_is_part_of_a_student(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd")
    old = bench.touched()
    bench.run("evaluation.decodings={greedy: {}}", until="train")
    assert bench.touched() == old
    bench.run("questions.limit={dev: 2}", until="train")
    changed = bench.touched()
    assert changed != old
    bench.run("questions.limit={dev: 2}", "evaluation.max_tokens=20", until="train")
    assert bench.touched() != changed


def test_how_a_student_is_asked_follows_the_last_run(copy: Callable[..., Bench]) -> None:
    bench = copy("scotd")
    bench.run("questions.dev=null", until="train")
    old = bench.touched()
    bench.run("questions.dev=null", "evaluation.max_tokens=25", until="train")
    assert bench.json("students/scotd/scotd_training.json")["max_tokens"] == 25
    changed = {path for path, time in bench.touched().items() if old.get(path) != time}
    assert changed <= {"students/scotd", "students/scotd/scotd_training.json"}, "nothing is trained again"


def test_a_prompt_too_long_for_an_undistilled_student_is_told_before_anything_is_trained(
    fresh: Callable[..., Bench],
) -> None:
    bench = fresh("scotd", "base")
    bench.run(until="sample")
    with pytest.raises(ModelError, match=r"has 2048 positions .*students\.base\.max_tokens"):
        bench.run("students.base.max_tokens=2100")
    assert not (bench.folder / "students").exists()


def test_what_an_interrupted_sampling_took_is_counted(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd")

    class Stopped(Scripted):
        def complete(self, asks: Any) -> Any:
            for number, outcome in enumerate(super().complete(asks)):
                if number == 2:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["scotd.experiment.run"], "build_teacher", lambda *_, **__: Stopped(bench.log))
        with pytest.raises(KeyboardInterrupt):
            run(load(bench.path), say=bench.said.append, progress=silent)
    first = bench.stage("sample")
    assert first["counts"]["received"] == 8 and first["tokens"] > 0
    bench.run(until="sample")
    both = bench.stage("sample")
    assert both["counts"]["received"] == 24 and both["tokens"] > first["tokens"]


def test_dev_without_labels_picks_nothing(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd")
    dev = bench.path.parent / "dev.jsonl"
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    dev.write_text("".join(json.dumps({**row, "answer": None}) + "\n" for row in rows))
    bench.run(until="train")
    record = bench.json("students/scotd/scotd_training.json")
    assert record["dev"] == {} and record["best_step"] is None


def test_answers_are_given_anew_where_their_company_changes(copy: Callable[..., Bench]) -> None:
    """Limited to fewer questions, batches are others: interrupted or not, the bits are those of the batch."""
    from scotd.evaluate import answer as original

    bench = copy("labels")
    answered: list[int] = []

    def answer(decoder: Any, questions: Any, *args: Any, **options: Any) -> None:
        answered.append(len(questions))
        original(decoder, questions, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scotd.experiment.evaluation.answer", answer)
        bench.run("questions.limit={test: 6}")
        assert answered == [6, 6]
        assert len(bench.predictions("labels.test.greedy")) == 6
        bench.run()
        assert answered == [6, 6]  # the answers to all of them are in the corpus
        assert len(bench.predictions("labels.test.greedy")) == 7


def test_an_undistilled_student_is_its_weights_and_not_its_path(
    copy: Callable[..., Bench], student: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    bench = copy("base")
    shutil.copytree(student, tmp_path / "base")
    bench.run(f"student={tmp_path / 'base'}")
    before = bench.predictions("base.test.greedy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    model.save_pretrained(tmp_path / "base")
    bench.run(f"student={tmp_path / 'base'}")
    assert bench.predictions("base.test.greedy") != before


def test_chains_that_are_too_long_are_told_of(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd")
    bench.run("training.max_length=76", until="train")
    counts = bench.stage("train", "scotd")["counts"]
    record = bench.json("students/scotd/scotd_training.json")
    lost = counts["left out, too long"]
    assert 0 < lost == record["left_out_too_long"]
    assert lost + record["chains"] == bench.json("selections/scotd.json")["kept"]
    assert bench.json("funnel.json")["trained"] == {"scotd": record["chains"]}
    assert f"{lost} chains left out, longer than 76 tokens" in bench.said[-1]
    with pytest.raises(DataError, match=r"students.scotd: every one of the 13 chains is longer than .* 20 tokens"):
        bench.run("training.max_length=20", until="train")


# ---- killed ----------------------------------------------------------------------------------------------------------


def committed(bench: Bench) -> set[tuple[str, float, int]]:
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        return {(chain.question_key, chain.sampling.temperature, chain.index) for chain in corpus.chains()}


def killed(bench: Bench, where: str) -> None:
    """Run the command in a process of its own that is killed there."""
    command = [sys.executable, str(SCRIPT), str(bench.path), str(bench.log), where]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_killed_in_every_stage_equals_uninterrupted(whole: tuple[Bench, Outcome], fresh: Callable[..., Bench]) -> None:
    bench = fresh(*STUDENTS)
    killed(bench, "sample:4")
    first = committed(bench)
    assert len(first) == 12  # three asks were answered, the fourth was not
    before = len(asked(bench.log))
    with Corpus.open(bench.folder / "corpus.sqlite", "ro") as corpus:
        assert corpus.unaccounted()

    killed(bench, "train:3")
    assert first.isdisjoint(asked(bench.log)[before:])  # no committed chain is asked for twice,
    assert first < committed(bench) and len(committed(bench)) == 24  # and none is lost
    assert [path.name for path in (bench.folder / "students").iterdir()] == ["scotd.checkpoints"]

    killed(bench, "evaluate:3")
    with closing(sqlite3.connect(bench.folder / "corpus.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (9,)  # batches of 6, 1 and 2
    assert [path.name for path in (bench.folder / "predictions").iterdir()] == ["scotd.test.greedy.jsonl"]

    outcome = bench.run()
    assert len(asked(bench.log)) - before == 24 - len(first)
    for name in ("scotd", "labels"):
        assert bench.weights(name) == whole[0].weights(name)
    for cell in outcome.cells:
        name = f"{cell.student}.{cell.split}.{cell.decoding}"
        assert bench.predictions(name) == whole[0].predictions(name)
        assert cell in whole[1].cells
    assert len(outcome.cells) == 5


def decodes_nothing(*_: object) -> None:
    raise AssertionError("what is stored is decoded again")


def test_no_answer_of_older_settings_stands_beside_newer_ones(
    fresh: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = fresh("base")
    bench.run()
    written = list((bench.folder / "predictions").iterdir())
    bench.run(until="select")
    assert written and list((bench.folder / "predictions").iterdir()) == written  # the same settings
    bench.run("evaluation.seed=1", until="select")
    assert not list((bench.folder / "predictions").iterdir())
    monkeypatch.setattr("scotd.experiment.evaluation.decoder_of", decodes_nothing)
    bench.run()  # the corpus had kept them
    assert list((bench.folder / "predictions").iterdir()) == written


def test_weights_that_are_not_kept_are_missed_by_nothing_but_new_questions(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd", "base")
    bench.run("training.keep_weights=false")
    folder = bench.folder / "students" / "scotd"
    assert (folder / "scotd_training.json").is_file() and not list(folder.glob("*.safetensors"))
    first = bench.predictions("scotd.test.vote")
    bench.said.clear()
    bench.run("training.keep_weights=false")
    assert "train: scotd: done before" in bench.said and bench.predictions("scotd.test.vote") == first
    bench.said.clear()
    bench.run("evaluation.decodings.vote.votes=4")  # needs the weights: they are made again, and kept
    assert any(line.startswith("train: scotd: ") and "chain visits" in line for line in bench.said)
    assert list(folder.glob("*.safetensors"))
    again = bench.predictions("scotd.test.vote")
    assert [row["chains"][:3] for row in again] != [] and len(again[0]["chains"]) == 4
    greedy = bench.predictions("scotd.test.greedy")
    bench.run("training.keep_weights=false", "evaluation.seed=1")
    assert bench.predictions("scotd.test.greedy") == greedy


def test_answers_are_derived_anew_from_stored_chains(
    fresh: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = fresh("base")
    bench.run()
    unreadable = Parsed(rationale="", answer=None, reason=NoAnswer.MISSING)
    monkeypatch.setattr("scotd.evaluate.parse", lambda *_: unreadable)
    monkeypatch.setattr("scotd.experiment.evaluation.decoder_of", decodes_nothing)
    (cell,) = [cell for cell in bench.run().cells if cell.decoding == "greedy"]
    assert cell.accuracy is not None and cell.accuracy.unparsed == cell.accuracy.questions > 0


def test_a_greedy_teacher_is_asked_once_for_both_of_its_students(fresh: Callable[..., Bench]) -> None:
    bench = fresh("scotd", "greedy-cot")
    bench.run("sampling.temperature=0", "sampling.chains_per_question=1", until="select")
    assert len(asked(bench.log)) == SPLITS["train"]
    assert bench.json("selections/scotd.json")["kept"] == bench.json("selections/greedy-cot.json")["kept"]


def test_a_models_path_is_relative_to_the_experiment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name: m\nquestions: {task: feedback}\nstudent: models/base\nteacher: {model: ./big.gguf}\n"
    text += (
        "students: {a: {target: scotd}, b: {target: scotd, model: ../elsewhere}, c: {target: scotd, model: own/er}}\n"
    )
    (tmp_path / "models" / "base").mkdir(parents=True)
    (tmp_path / "exp.yaml").write_text(text)
    monkeypatch.chdir("/")
    found = load(tmp_path / "exp.yaml")
    assert found.student == str(tmp_path / "models" / "base")
    assert found.teacher.model == str(tmp_path / "big.gguf")
    assert found.students["b"].model == str(tmp_path.parent / "elsewhere")
    assert found.students["c"].model == "own/er", "a Hugging Face id, as there is no such folder"
    server = load(tmp_path / "exp.yaml", ["teacher={kind: openai, model: ./odd}"])
    assert server.teacher.model == "./odd", "a server's own name for its model"
