"""A task for lm-evaluation-harness: its accuracy is scotd's own, answer by answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_experiment import write, write_student

from scotd.answers import version
from scotd.cli import cli
from scotd.errors import ConfigError, DataError, ModelError, ScotdError
from scotd.harness import dataset, process_results, read, write_task
from scotd.types import Choice, NoAnswer, Prompt, Question, SamplingParams

STUDENTS: dict[str, dict[str, Any]] = {"scotd": {"target": "scotd"}, "base": {"target": "undistilled"}}
CAP = 24


@pytest.fixture
def student(tmp_path: Path, tokenizer_folder: Path) -> Path:
    """A student that answers, once right and once wrong, and is cut off elsewhere: trained on a few answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = write_student(tmp_path / "student", tokenizer_folder)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [
        f"Q: Is {number} odd?\nAnswer Choices: yes, no\nA:{answer}"
        for number, answer in (
            (11, " The answer is yes.</s>"),
            (12, " The answer is no.</s>"),
            (13, " Hm, Hm, Hm, Hm, Hm"),
        )
    ]
    rows = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        for row in rows:
            model(input_ids=row, labels=row).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.repetition_penalty = 5.0  # scotd asks for none, whatever a student's files say
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def exported(tmp_path: Path, student: Path) -> Path:
    experiment = write(tmp_path / "mine", student, STUDENTS)
    arguments = [
        "student",
        "export-task",
        experiment,
        "scotd",
        tmp_path / "task",
        "--set",
        f"evaluation.max_tokens={CAP}",
    ]
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0 and "7 questions of test" in done.stdout, done.output
    assert "--tasks scotd_tiny_scotd_test" in done.stderr
    return tmp_path / "task"


def test_the_harness_finds_scotds_accuracy_answer_by_answer(exported: Path, student: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'scotd[harness]'")
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from scotd.decode import Decoder
    from scotd.evaluate import accuracy, answer
    from scotd.models import resolve
    from scotd.student import load
    from scotd.types import Decoding, Prediction, Prompt, SamplingParams

    told = {"pretrained": str(student), "dtype": "float32"}
    found = simple_evaluate(
        model="hf",
        model_args=told,
        tasks=["scotd_tiny_scotd_test"],
        task_manager=TaskManager(include_path=str(exported), include_defaults=False, metadata=told),
        device="cpu",
        batch_size=3,
        bootstrap_iters=0,
    )
    rows = found["samples"]["scotd_tiny_scotd_test"]
    theirs = {row["doc"]["id"]: read(row["doc"], row["resps"][0][0]) for row in rows}

    loaded = load(resolve(str(student)), dtype=torch.float32, device=torch.device("cpu"))
    asked = {row["doc"]["id"]: row["doc"] for row in rows}
    assert len(theirs) == len(rows) == 7
    ours: dict[str, Prediction] = {}
    known = {doc["id"]: _question(doc) for doc in asked.values()}
    answer(
        Decoder(loaded.model, loaded.tokenizer),
        list(known.values()),
        lambda question: Prompt(text=asked[question.id]["prompt"]),
        Decoding(sampling=SamplingParams(temperature=0, max_tokens=CAP), votes=1),
        seed=0,
        batch_chains=4,
        store=lambda several: ours.update({one.question_key.partition("/")[2]: one for one in several}),
    )
    for name, mine in ours.items():
        assert theirs[name].chains[0].text == mine.chains[0].text
        assert theirs[name].chains[0].finish == mine.chains[0].finish
        assert (theirs[name].answer, theirs[name].reason) == (mine.answer, mine.reason)
    own = accuracy(list(ours.values()), {question.key: question for question in known.values()})
    assert own is not None
    results = found["results"]["scotd_tiny_scotd_test"]
    assert results["acc,none"] == pytest.approx(own.rate)
    assert results["unparsed,none"] == pytest.approx(own.unparsed / own.questions)
    assert {row["acc"] for row in rows} == {0.0, 1.0}, "some right, some wrong: an empty agreement shows nothing"


def _question(doc: dict[str, Any]) -> Any:
    from scotd.types import Choice, Question

    choices = tuple(Choice(**choice) for choice in doc["choices"])
    return Question(choices=choices, **{name: doc[name] for name in ("id", "task", "split", "stem", "gold")})


def test_a_text_that_fills_the_cap_is_one_that_was_cut_off(exported: Path, student: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    doc = dataset(exported / "questions.jsonl", parser=version(), pretrained=str(student))["test"][0]
    assert read(doc, " Hm.").reason == NoAnswer.MISSING
    assert read(doc, " Hm.".rjust(CAP - 1)).reason == NoAnswer.MISSING
    assert read(doc, " Hm.".rjust(CAP)).reason == NoAnswer.CUT_OFF
    right = f" So the answer is {doc['gold']}."
    assert process_results(doc, [right]) == {"acc": 1.0, "unparsed": 0.0}
    assert process_results(doc, ["Hm."]) == {"acc": 0.0, "unparsed": 1.0}


def test_what_would_give_another_accuracy_is_refused(
    exported: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    questions = exported / "questions.jsonl"
    with pytest.raises(DataError, match="another version of scotd's parser"):
        dataset(questions, parser="0" * 16, pretrained=str(student))
    with pytest.raises(ConfigError, match="pretrained=FOLDER"):
        dataset(questions, parser=version())
    monkeypatch.setattr("scotd.harness._tokens_of_the_harness", lambda *_: [0])
    with pytest.raises(ModelError, match="add_bos_token=False"):
        dataset(questions, parser=version(), pretrained=str(student))


def test_a_stem_may_hold_any_line_end(tmp_path: Path, tokenizer_folder: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    student = write_student(tmp_path / "student", tokenizer_folder)
    stem = "One\u2028two\x85three\r\nfour?"
    choices = (Choice(label="yes", text="yes"), Choice(label="no", text="no"))
    question = Question(id="q", task="t", split="test", stem=stem, choices=choices, gold="yes")
    params = SamplingParams(temperature=0, max_tokens=CAP)
    write_task(tmp_path / "task", name="t", asked=[(question, Prompt(text=stem))], params=params)
    (doc,) = dataset(tmp_path / "task" / "questions.jsonl", parser=version(), pretrained=str(student))["test"]
    assert doc["stem"] == doc["prompt"] == stem


def test_the_folder_may_be_moved_and_names_no_path(exported: Path, tmp_path: Path) -> None:
    held = "".join(path.read_text() for path in exported.iterdir())
    assert str(tmp_path) not in held
    rows = [json.loads(line) for line in (exported / "questions.jsonl").read_text().splitlines()]
    assert all(row["gold"] in ("yes", "no") and row["prompt"].endswith("A:") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["scotdd", "new"], "Did you mean 'scotd'"),
        (["scotd", "new", "--split", "dev"], "not in evaluation.splits"),
        (["scotd", "."], "not empty"),
        (["scotd", "new", "--set", "evaluation.decodings={vote: {votes: 3, temperature: 0.7}}"], "greedily"),
    ],
)
def test_refusals(
    tmp_path: Path, tokenizer_folder: Path, arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = write(tmp_path / "mine", tokenizer_folder, STUDENTS)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["student", "export-task", str(experiment), *arguments])
    assert isinstance(done.exception, ScotdError) and problem in str(done.exception), done.exception
