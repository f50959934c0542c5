"""The command line as a user meets it: what it prints, where, and with which exit code."""

import io
import json
import os
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from scotd import config
from scotd.asking import RECORD, Asking
from scotd.cli import cli, main
from scotd.cli.guess import Guess
from scotd.cli.mask import row_lines
from scotd.cli.starter import default
from scotd.config_errors import section_of
from scotd.corpus import Corpus
from scotd.errors import ModelError
from scotd.tasks import load_questions
from scotd.tasks.exemplars import load_exemplars
from scotd.tasks.rows import read_table
from scotd.tokens import LONGEST_CHARACTER, pieces
from scotd.types import Chain, Choice, Finish, Prompt, Question, SamplingParams

TEN = """\
qid,stem,a,b,c,answer
q1,Where do you go to borrow a book?,bank,library,bakery,B
q2,What do birds do with their wings?,fly,read,,a
q3,"What is ""wet""?",water,sand,fire,water
q4,What shines at night?,the moon,a stone,a shoe,A
q5,What do bees make?,honey,milk,ink,A
q6,What is cold?,an oven,ice,lava,B
q7,What grows on trees?,apples,bread,cars,A
q8,What barks?,a cat,a dog,a fish,B
q9,What melts in the sun?,iron,snow,wood,B
q10,What do you cut paper with?,scissors,soup,a spoon,A
"""
TEST = TEN.splitlines()[0] + "\nt1,What is a lemon?,sour,salty,loud,A\nt2,What has leaves?,a tree,a rock,a cup,A\n"
EXPERIMENT = """\
name: mine
questions:
  task: mine
  files: {train: train.csv, test: test.csv}
  columns: {question: stem, choices: [a, b, c], answer: answer, id: qid}
prompt: {exemplars: openbookqa}
sampling: {chains_per_question: 4}
students:
  scotd: {target: scotd}
  label-only: {target: label-only}
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command, in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return invoke


def invoke(*arguments: object, stdin: str = "") -> Result:
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["scotd", *map(str, arguments)]
    given, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv, sys.stdin = argv, given
    return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def refused(result: Result, *parts: str) -> None:
    """One line on stderr that holds all parts, nothing on stdout, exit code 2."""
    assert (result.code, result.out) == (2, ""), result
    assert result.err.count("\n") == 1 and result.err.startswith("Error: "), result.err
    assert re.search(r"[.?!)]$", result.err.strip()), result.err
    for part in parts:
        assert part in result.err, (part, result.err)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An experiment on somebody's own CSV of ten questions."""
    (tmp_path / "train.csv").write_text(TEN, encoding="utf-8")
    (tmp_path / "test.csv").write_text(TEST, encoding="utf-8")
    (tmp_path / "exp.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path / "exp.yaml"


# -- help and start-up


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(_commands(cli)), ids=" ".join)
def test_every_command_has_help(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.code == 0 and result.out.startswith(f"Usage: scotd {' '.join(path)}".rstrip())
    assert "\\b" not in result.out and "..." not in result.out.partition("Commands:")[2], result.out


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "accelerate", "safetensors", "gguf", "tokenizers"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocked())
from scotd.cli import main
try:
    main()
finally:
    heavy = {"pydantic", "numpy", "jinja2", "httpx", "pyarrow", "matplotlib", "scipy", "rich"} & set(sys.modules)
    print("heavy:", sorted(heavy), file=sys.stderr)
"""


def without_torch(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_is_quick_and_needs_no_torch(tmp_path: Path) -> None:
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = without_torch("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time: whatever else the machine does, `--help` at rest takes no longer
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert result.returncode == 0 and "predict" in result.stdout
        assert "heavy: []" in result.stderr
    assert 0 < min(times) < 0.5, times


def test_what_needs_no_model_runs_without_torch(own: Path) -> None:
    for arguments in (["run", "exp.yaml", "--dry-run"], ["preview", "exp.yaml"], ["init", "new.yaml"]):
        result = without_torch(*arguments, cwd=own.parent)
        assert result.returncode == 0, result.stderr
    result = without_torch("preview", "exp.yaml", cwd=own.parent)
    assert "Tokens are shown where torch is installed: pip install 'scotd[local]'." in result.stdout
    assert "[ The answer is (B).]" in result.stdout
    for arguments in (["run", "exp.yaml"], ["predict", "student", "x", "--choices", "a|b"]):
        (own.parent / "student").mkdir(exist_ok=True)
        _write_record(own.parent / "student")
        result = without_torch(*arguments, cwd=own.parent)
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert "torch is not installed" in result.stderr and "pip install 'scotd[local]'" in result.stderr
    assert not (own.parent / "runs").exists(), "a missing torch is told before anything is paid for"


# -- errors


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["expected settings"]),
        ("- a", ["expected settings", "found a list"]),
        (EXPERIMENT + "traning: {}", ["unknown key 'traning'", "Did you mean 'training'?"]),
        (EXPERIMENT + "training: {epohcs: 3}", ["unknown key 'training.epohcs'", "Did you mean 'epochs'?"]),
        (EXPERIMENT + "training: {epochs: three}", ["'training.epochs'", "a whole number", "'three'"]),
        (EXPERIMENT + "training: {epochs: true}", ["'training.epochs'", "a whole number", "true"]),
        (EXPERIMENT + "training: {epochs: 0}", ["at least 1", "found 0"]),
        (EXPERIMENT + "training: {learning_rate: .inf}", ["finite number"]),
        (EXPERIMENT + "training: [1]", ["'training'", "settings of its own"]),
        (EXPERIMENT + "training: {report_to: wandb}", ["a list", "write [wandb]"]),
        (EXPERIMENT + "teacher: {kind: opneai}", ["'opneai'", "Did you mean 'openai'?"]),
        (EXPERIMENT + "evaluation: {baseline: sctd}", ["'sctd'", "Did you mean 'scotd'?"]),
        (EXPERIMENT + "evaluation: {decodings: {}}", ["at least one"]),
        (EXPERIMENT.replace("{target: scotd}", "{target: scotd, training: {x: 1}}"), ["exp.yaml", "unknown key 'x'"]),
        (EXPERIMENT.replace("chains_per_question: 4", "stop: ['']"), ["stop", "not empty"]),
        (EXPERIMENT.replace("chains_per_question: 4", "temperature: 0"), ["same chain 30 times"]),
        (EXPERIMENT.replace("train: train.csv", "tr.ain: train.csv"), ["'tr.ain'", "letters, digits, _ and -"]),
        (EXPERIMENT.replace("[a, b, c]", "[a, 5]"), ["columns.choices.1", 'put it in quotes, "5"']),
        (EXPERIMENT.replace("[a, b, c]", "5"), ["columns.choices'", "text or a list"]),
        (EXPERIMENT.replace("name: mine", "name: 2024"), ['put it in quotes, "2024"']),
        (EXPERIMENT.replace("name: mine", "name: a/b"), ["'a/b'", "letters"]),
        (EXPERIMENT.replace("question: stem", "qestion: stem"), ["unknown key", "'question'?"]),
        (EXPERIMENT.replace("{train: train.csv, test: test.csv}", "train.csv"), ["'questions.files'"]),
        (EXPERIMENT + "name: again", ["line 11", "duplicate key"]),
        (EXPERIMENT + "\tx: 1", ["line 11", "not valid YAML"]),
        (EXPERIMENT + "x: !!python/object/apply:os.system [ls]", ["not valid YAML"]),
        ("{" * 5000, ["nested too deeply"]),
        (EXPERIMENT.replace("{exemplars: openbookqa}", "{}"), ["prompt.exemplars is missing"]),
        (EXPERIMENT.replace("openbookqa}", "openbokqa}"), ["openbokqa", "Did you mean 'openbookqa'?"]),
        (EXPERIMENT.replace("openbookqa}", "my.yaml}"), ["my.yaml", "no such file"]),
        (EXPERIMENT.replace("openbookqa}", "feedback}"), ["exemplar 1", "words"]),
        (EXPERIMENT.replace("openbookqa}", "openbookqa, student: '{{ x }}'}"), ["prompt.student", "question"]),
        (EXPERIMENT.replace("test: test.csv", "test: tset.csv"), ["tset.csv", "Did you mean 'test.csv'?"]),
        (EXPERIMENT.replace(", test: test.csv", ""), ["`evaluation.splits`", "'test'"]),
    ],
)
def test_a_wrong_experiment_file_gets_one_sentence(run: Run, own: Path, text: str, parts: list[str]) -> None:
    own.write_text(text, encoding="utf-8")
    refused(run("run", own, "--dry-run"), *parts)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epochs", ["expected key=value"]),
        ("=3", ["expected key=value"]),
        ("training..epochs=3", ["empty part"]),
        ("training.epohcs=3", ["Did you mean 'epochs'?"]),
        ("name.x=1", ["'name' is a value"]),
        ("training.epochs=[", ["--set training.epochs=[", "not valid YAML"]),
        ("training.epochs=", ["a whole number", "nothing"]),
    ],
)
def test_a_wrong_override_gets_one_sentence(run: Run, own: Path, override: str, parts: list[str]) -> None:
    refused(run("run", own, "--dry-run", "--set", override), *parts)


def test_overrides_reach_sections_that_are_empty_in_the_file(run: Run, own: Path) -> None:
    own.write_text(EXPERIMENT + "training:\n", encoding="utf-8")
    assert run("run", own, "--dry-run", "--set", "training.epochs=3").code == 0
    assert config.load(own, ["training.epochs=3"]).training.epochs == 3


def test_an_override_reaches_an_entry_of_a_list(run: Run, own: Path) -> None:
    own.write_text(EXPERIMENT, encoding="utf-8")
    students = config.load(own, ["students={mine: {target: scotd}}", "seeds=[4, 5]", "seeds.1=7"]).students
    assert set(students) == {"mine-seed4", "mine-seed7"}
    refused(run("run", own, "--set", "seeds=[4, 5]", "--set", "seeds.2=7"), "seeds.2=7", "no entry of a list of 2")


def test_other_slips(run: Run, own: Path, tmp_path: Path) -> None:
    refused(run("run", "nope.yaml"), "nope.yaml: no such file", "scotd init")
    refused(run("run", tmp_path), str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes("name: müll".encode("latin-1"))
    refused(run("run", "latin.yaml"), "UTF-8")
    refused(run("report", tmp_path), "no run folder")
    for arguments in (["rnu", own], ["run"], ["run", own, "--limit", "0"], ["run", own, "--until", "tain"]):
        result = run(*arguments)
        assert result.code == 2 and "Usage:" in result.err and "Traceback" not in result.err
    (tmp_path / "runs").write_text("in the way")
    refused(run("sample", own, "--set", "teacher.kind=openai"), str(tmp_path / "runs"))


def test_an_error_shows_no_escape_codes_of_a_file(run: Run, own: Path) -> None:
    own.write_text(EXPERIMENT, encoding="utf-8")
    (own.parent / "train.csv").write_text(TEN.replace("bakery,B", "bakery,\x1b[31mZ\x1b[0m"), encoding="utf-8")
    result = run("run", own, "--dry-run")
    refused(result, "␛[31mZ")
    assert "\x1b" not in result.err


def test_notes_on_questions_show_no_escape_codes_either(run: Run, own: Path) -> None:
    (own.parent / "test.csv").write_text(TEST + "t3,\x1b[31mred?,a,b,c,A\nt4,\x1b[31mred?,a,b,c,A\n", encoding="utf-8")
    result = run("run", own, "--dry-run")
    assert result.code == 0 and "␛[31mred?" in result.out and "\x1b" not in result.out


def test_no_slip_of_the_pen_is_a_traceback(run: Run, own: Path) -> None:
    """Files with random damage are either read or refused in one line."""
    assert run("init", "new.yaml", "--data", "train.csv").code == 0
    text = Path("new.yaml").read_text(encoding="utf-8")
    chance = random.Random(0)
    codes = []
    for _ in range(150):
        damaged = text
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(damaged))
            cut = at + chance.choice([0, 1, 1, 5])
            damaged = (
                damaged[:at]
                + chance.choice(["", "", ":", "]", "{", "\n", "- ", "x", "0", '"', "\t", "é"])
                + damaged[cut:]
            )
        Path("new.yaml").write_text(damaged, encoding="utf-8")
        result = run("run", "new.yaml", "--dry-run")
        codes.append(result.code)
        assert "Traceback" not in result.err
        if result.code:
            refused(result)
    assert codes.count(2) > 40, "the damage did none"


# -- somebody's own CSV of ten questions


def test_ten_questions_are_planned(run: Run, own: Path) -> None:
    result = run("run", own, "--dry-run")
    assert result.code == 0 and result.err == ""
    assert "10 training questions of 'mine'" in result.out and "40 of 40 chains are missing" in result.out
    assert not Path("runs").exists(), "a dry run writes nothing"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda text: text.replace("qid,stem", "qid,stm"), ["train.csv", "no column 'stem'", "Did you mean 'stm'?"]),
        (lambda text: text.replace("q7,", "q4,"), ["train.csv, row 7 (line 8)", "'q4'", "row 4", "give each"]),
        (lambda text: text.replace("What grows on trees?", " "), ["row 7", "question is empty", "fill it in"]),
        (
            lambda text: text.replace("ice,lava,B", "ice,lava,D"),
            ["row 6", "'D'", "A: an oven, B: ice", "leave the answer"],
        ),
        (lambda text: text.replace("ice,lava,B", "ice,lava,B,B"), ["row 6", "7 fields", "header has 6", "quotes"]),
        (lambda text: text.replace("an oven,ice,lava", "an oven,,"), ["row 6", "only the choice 'an oven'"]),
        (lambda text: text.replace(",", ";"), ["no column 'stem'", "parted by ';'"]),
        (lambda text: text.splitlines()[0], ["train.csv", "no rows"]),
        (lambda text: "", ["train.csv", "no rows"]),
        (lambda text: text.replace('"What', "What", 1).replace('wet""?"', 'wet"?'), []),
        (lambda text: text + 'q11,"open', ["line 12", "double quotes"]),
        (lambda text: text + TEST.splitlines()[1] + "\n", ["test.csv, row 1", "also", "train"]),
    ],
)
def test_a_slip_in_the_data_gets_one_sentence(
    run: Run, own: Path, damage: Callable[[str], str], parts: list[str]
) -> None:
    (own.parent / "train.csv").write_text(damage(TEN), encoding="utf-8")
    result = run("run", own, "--dry-run")
    if parts:
        refused(result, *parts)
    else:
        assert result.code == 0, "quotes inside a field without quotes are ordinary characters"


def test_a_missing_label_works_and_is_told(run: Run, own: Path) -> None:
    (own.parent / "train.csv").write_text(TEN.replace("bakery,B", "bakery,"), encoding="utf-8")
    result = run("run", own, "--dry-run")
    assert result.code == 0 and "1 of 10 questions in 'train' has no label." in result.out


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("What barks?", "What barks? 🐕‍🦺 „wau“ 犬").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["Windows line ends", "byte order mark", "emoji", "empty lines"],
)
def test_what_is_only_unusual_works(run: Run, own: Path, encode: Callable[[str], bytes]) -> None:
    (own.parent / "train.csv").write_bytes(encode(TEN))
    result = run("run", own, "--dry-run")
    assert result.code == 0 and "10 training questions" in result.out
    questions = load_questions(config.load(own).questions)
    assert {q.id for q in questions} >= {"q1", "q10"} and not any("\r" in q.stem for q in questions)
    emoji = run("preview", own, "--question", "q8", "--set", "student=no/such-model")
    assert emoji.code == 0 and "What barks?" in emoji.out


# -- init


def test_init_writes_files_that_load(run: Run) -> None:
    result = run("init", "exp.yaml")
    assert result.code == 0 and result.out == "Experiment: exp.yaml\nExemplars:  exp-exemplars.yaml\n"
    loaded = config.load(Path("exp.yaml"))
    assert loaded.name == "exp" and set(loaded.students) == {"scotd", "label-only", "undistilled"}
    assert len(load_exemplars(Path("exp-exemplars.yaml"))) == 2
    assert loaded.prompt.exemplars == Path("exp-exemplars.yaml").resolve()


def test_every_commented_setting_is_at_its_default(run: Run) -> None:
    run("init", "exp.yaml")
    text = Path("exp.yaml").read_text(encoding="utf-8")
    lines = [re.sub(r"^( *)# (?=[a-z_]+: )", r"\1", line) for line in text.splitlines()]
    assert sum(a != b for a, b in zip(lines, text.splitlines(), strict=True)) > 50
    Path("all.yaml").write_text("\n".join(lines), encoding="utf-8")
    assert config.load(Path("all.yaml")) == config.load(Path("exp.yaml"))
    assert default("training.epochs") == 1 and default("questions.dev") == "dev"


def test_no_setting_is_left_out_of_the_file(run: Run) -> None:
    run("init", "exp.yaml")
    text = Path("exp.yaml").read_text(encoding="utf-8")

    def keys(section: Any) -> Iterator[str]:
        for name, field in section.model_fields.items():
            yield name
            inner = section_of(field.annotation)
            if inner not in (
                None,
                config.FilterConfig,
                config.LoraConfig,
                config.PricesConfig,
                config.PublishedConfig,
            ):  # one line says it all
                yield from keys(inner)

    found = set(keys(config.Experiment))
    assert len(found) > 60
    missing = {name for name in found if not re.search(rf"^ *(?:# )?{name}:", text, re.MULTILINE)}
    assert missing == {"row", "at", "scale"}  # which a sweep and --scale write


def test_init_guesses_the_columns_of_a_csv(run: Run, own: Path) -> None:
    result = run("init", "new.yaml", "--data", own.parent / "train.csv")
    assert result.code == 0 and "10 questions can be read" in result.err and "10 of them labelled" in result.err
    loaded = config.load(Path("new.yaml"))
    assert loaded.questions.columns == config.ColumnsConfig(
        question="stem", choices=("a", "b", "c"), answer="answer", id="qid"
    )
    assert set(loaded.questions.files or ()) == {"train", "test"}
    assert Path("new.yaml").read_text(encoding="utf-8").count("guess") >= 5
    assert run("run", "new.yaml", "--dry-run").code == 0
    assert [one.question.stem for one in load_exemplars(Path("new-exemplars.yaml"))] == [
        "Where do you go to borrow a book?",
        "What do birds do with their wings?",
    ]


def test_placeholders_are_not_sampled_with(run: Run, own: Path) -> None:
    run("init", "new.yaml", "--data", "train.csv")
    assert "REPLACE ME" in run("run", "new.yaml", "--dry-run").err
    assert "REPLACE ME" in run("preview", "new.yaml", "--set", "student=no/such-model").out
    for command in ("run", "sample"):
        refused(run(command, "new.yaml"), "new-exemplars.yaml, item 1", "REPLACE ME", "5 to 10")
    assert not Path("runs").exists()


def test_init_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    Path("exp-exemplars.yaml").write_text("mine")
    refused(run("init", "exp.yaml"), "exp-exemplars.yaml", "is there already")
    assert not Path("exp.yaml").exists() and Path("exp-exemplars.yaml").read_text() == "mine"
    Path("a.yaml").write_text("mine")
    refused(run("init", "a.yaml"), "a.yaml", "not overwritten")
    assert not Path("a-exemplars.yaml").exists()
    refused(run("init", "folder"), "ends in .yaml")
    refused(run("init", "b.yaml", "--data", "nope.csv"), "nope.csv: no such file")
    assert not Path("b.yaml").exists()
    assert run("init", "new/folder/日本.yaml").code == 0
    assert config.load(tmp_path / "new/folder/日本.yaml").name == "mine"
    assert run("init", "feedback.yaml").code == 0
    assert config.load(Path("feedback.yaml")).questions.task == "my-feedback", "not the name of a built-in task"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "d.jsonl",
            '{"question": "x?", "choices": ["u", "v"], "answer": 0}\n'
            '{"question": "y?", "choices": ["s", "t"], "answer": 1}',
            {"question": "question", "choices": "choices", "answer": "answer", "labels": ("0", "1")},
        ),
        (
            "d.csv",
            "sentence,label\ngood,pos\nbad,neg\nfine,pos\n",
            {"question": "sentence", "choices": None, "answer": "label", "labels": ("pos", "neg")},
        ),
        (
            "d.csv",
            "id,review text,options\n1,why is it?,a;b;c\n2,how is it?,d;e\n",
            {"question": "review text", "choices": "options", "separator": ";", "id": "id", "answer": None},
        ),
        (
            "d.tsv",
            "id\tQuestion\tOption A\tOption B\tcorrect\n7\tx?\tu\tv\tB\n7\ty?\tu\tw\tA\n",
            {"question": "Question", "choices": ("Option A", "Option B"), "answer": "correct", "id": None},
        ),
        (
            "d.json",
            '[{"q": "is it?", "answer": true}, {"q": "was it?", "answer": false}]',
            {"question": "q", "answer": "answer", "labels": ("yes", "no")},
        ),
        (
            "d.jsonl",
            '{"id": "a", "question": {"stem": "x"}, "answerKey": "A"}',
            {"question": "question", "choices": None, "answer": "answerKey", "id": "id"},
        ),
    ],
)
def test_guesses(run: Run, tmp_path: Path, name: str, content: str, expected: dict[str, Any]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    guess = Guess.of(read_table(path))
    assert {key: getattr(guess, key) for key in expected} == expected
    assert run("init", "exp.yaml", "--data", path).code == 0
    loaded = config.load(Path("exp.yaml"))
    assert loaded.questions.columns is not None and loaded.questions.columns.question == expected["question"]


def test_unlabelled_data_get_students_that_need_no_label(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("question,a,b\nx?,u,v\ny?,u,w\n", encoding="utf-8")
    assert run("init", "exp.yaml", "--data", "d.csv").code == 0
    students = config.load(Path("exp.yaml")).students
    assert students["scotd"].selection == "majority" and students["label-only"].labels == "teacher"


def test_column_names_cannot_break_the_file(run: Run, tmp_path: Path) -> None:
    names = ["no", "a: b", "x ## y", "# c", "{d}", "@training.epochs", '"quoted"', "new\nline", "\x1b[31m"]
    rows = [{name: f"{name}{number}" for name in names} for number in range(2)]
    (tmp_path / "d.json").write_text(json.dumps([{"question": "x?", **rows[0]}, {"question": "y?", **rows[1]}]))
    for number, name in enumerate(names):
        (tmp_path / "e.json").write_text(
            json.dumps([{name: "why is it so?", "z": "1"}, {name: "and why not?", "z": "2"}])
        )
        assert run("init", f"e{number}.yaml", "--data", "e.json").code == 0
        columns = config.load(Path(f"e{number}.yaml")).questions.columns
        assert columns is not None and columns.question == name
    assert run("init", "d.yaml", "--data", "d.json").code == 0
    assert "\x1b" not in Path("d.yaml").read_text() and config.load(Path("d.yaml"))


# -- preview


def _student_folder(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _chain(question: str, index: int, text: str, finish: Finish = Finish.STOP, **sampling: Any) -> Chain:
    return Chain(
        question_key=question,
        prompt_id=Prompt(text="p").id,
        teacher="local:qwen2.5-coder-1.5b-instruct",
        sampling=SamplingParams(**sampling),
        index=index,
        text=text,
        finish=finish,
    )


def test_preview_shows_the_row_that_is_trained(
    run: Run, own: Path, make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    from scotd.prompts import Templates, student_prompt

    _student_folder(make_model("llama"), tokenizer, tmp_path / "tiny")
    result = run("preview", own, "--set", "student=./tiny")
    assert result.code == 0, result.err
    assert "--- teacher prompt, 4 exemplars ---" in result.out or "exemplars ---" in result.out
    assert "holds no chain of this question: the rationale of the first exemplar" in result.out
    settings = config.load(own)
    question = load_questions(settings.questions)[0]
    prompt = student_prompt(question, Templates.of(settings.prompt)).text or ""
    target = " The answer is (B)."
    assert f"prompt: {len(prompt)} tokens without loss" in result.out
    assert f"branch 1: {len(target) + 1} tokens with loss" in result.out
    assert f"the prompt's last token ':' (position {len(prompt) - 1})" in result.out
    assert "".join(f"[{character}]" for character in target) + "[</s>]" in result.out
    assert "|".join("Where do you go") in result.out


def test_preview_takes_real_chains_where_there_are_some(
    run: Run, own: Path, make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    _student_folder(make_model("llama"), tokenizer, tmp_path / "tiny")
    questions = load_questions(config.load(own).questions)
    with Corpus.open(tmp_path / "runs/mine/corpus.sqlite") as corpus:
        corpus.add_questions(questions)
        corpus.add_prompts([Prompt(text="p")])
        corpus.add_chains(
            [
                _chain("mine/q1", 0, " Money is there. So the answer is (A)."),
                _chain("mine/q1", 1, " No idea."),
                _chain("mine/q1", 2, " Books\x1b[2J are there. So the answer is (B).", Finish.LENGTH),
            ]
        )
    result = run("preview", own, "--set", "student=./tiny", "--question", "mine/q1")
    assert result.code == 0, result.err
    right, wrong = result.out.index("chain 2 of local:"), result.out.index("chain 0 of local:")
    assert right < wrong and ", right:" in result.out and ", wrong:" in result.out
    assert "cut off: no end token is taught" in result.out
    assert "branch 2" in result.out and "chain 1 of" not in result.out
    assert "\x1b" not in result.out and "␛[2J" in result.out


class ByteTokenizer:
    """One token a byte, as byte-level vocabularies have it for rare characters; above 255 it is SentencePiece."""

    def convert_ids_to_tokens(self, token: int) -> str:
        return "\u2581the" if token > 255 else f"<0x{token:02X}>"

    def decode(self, tokens: list[int]) -> str:
        return "the" if tokens[0] > 255 else bytes(tokens).decode(errors="replace")


def test_pieces_keep_characters_whole_and_blanks_in_sight() -> None:
    text = "a🐕é"
    found = pieces(ByteTokenizer(), [*text.encode(), 300])
    assert found == [("a", 1), ("🐕", 4), ("é", 2), (" the", 1)]
    broken = pieces(ByteTokenizer(), [0xFF] * 20 + [97])
    assert sum(count for _, count in broken) == 21 and max(count for _, count in broken) <= LONGEST_CHARACTER


def test_bright_and_dim_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    from scotd.tokens import encode_target
    from scotd.tree import Branch, pack

    row = pack(
        encode_target(tokenizer, "Q:", finished=False),
        [Branch(tokens=tuple(encode_target(tokenizer, " b", finished=True)))],
    )
    plain = list(row_lines(row, tokenizer))
    assert plain[1] == "    Q|:" and plain[-1] == "    [ ][b][</s>]"
    monkeypatch.setattr("scotd.cli.mask.coloured", lambda: True)
    bright = list(row_lines(row, tokenizer))
    assert "[b]" not in bright[-1] and bright[-1] != bright[1] and bright[-1].count("\x1b[1m") == 3
    assert [click.unstyle(line) for line in bright[:2]] == plain[:2]


def test_preview_of_other_questions(run: Run, own: Path) -> None:
    tiny = ["--set", "student=no/such-model"]
    assert "mine/t2 of the split 'test'" in run("preview", own, "--question", "t2", *tiny).out
    assert "mine/t1 of the split 'test'" in run("preview", own, "--split", "test", *tiny).out
    assert (
        "Tokens: the files of no/such-model are not on this machine; --tokens fetches them."
        in run("preview", own, *tiny).out
    )
    refused(run("preview", own, "--question", "q99", *tiny), "q99", "12 questions", "Did you mean 'q9'?")
    refused(run("preview", own, "--split", "tets", *tiny), "--split tets", "Did you mean 'test'?")
    (own.parent / "test.csv").unlink()
    assert run("preview", own, *tiny).code == 0, "the test file is not looked at for a training question"
    refused(run("preview", own, "--question", "t1", *tiny), "10 questions", "no file yet for test")
    own.write_text("name: x\nquestions: {task: feedback}\nstudents: {scotd: {target: scotd}}\n", encoding="utf-8")
    shown = run("preview", own, "--split", "contrast", *tiny)
    assert shown.code == 0 and "of the split 'contrast'" in shown.out
    refused(run("preview", own, "--split", "contrst", *tiny), "Did you mean 'contrast'?")


def test_preview_shows_each_student_its_own_prompt(
    run: Run, own: Path, make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    from scotd.experiment import Plan

    _student_folder(make_model("llama"), tokenizer, tmp_path / "tiny")
    own.write_text(
        "name: x\nquestions: {task: feedback}\ntraining: {max_length: 4096}\nstudents:\n  shown: {target: scotd, "
        "exemplars: 2}\n  bare: {target: scotd}\n  labels: {target: label-only}\n",
        encoding="utf-8",
    )
    result = run("preview", own, "--set", "student=./tiny")
    assert result.code == 0, result.err
    plan = Plan.of(config.load(own))
    question = plan.train[0]
    given = {name: plan.prompt_for(name, question).text or "" for name in plan.experiment.students}
    assert given["shown"] != given["bare"] == given["labels"] and given["shown"].endswith(given["bare"])
    for heading, text in (("shown", given["shown"]), ("bare, labels", given["bare"])):
        indented = "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
        assert f"--- prompt of {heading} ---\n{indented}\n" in "\n".join(map(str.rstrip, result.out.split("\n")))
    masks = result.out.split("--- loss mask of ")[1:]
    assert [one.split(", tokens of")[0] for one in masks] == ["shown", "bare", "a label-only student"]
    for mask, text in zip(masks, given.values(), strict=True):
        assert f"prompt: {len(text)} tokens without loss" in mask


def test_preview_of_an_unseen_task(run: Run, own: Path) -> None:
    with own.open("a", encoding="utf-8") as file:
        file.write("train_on: [{task: feedback, limit: {train: 20}, dev: null}]\n")
    tiny = ["--set", "student=no/such-model"]
    assert "Question feedback/" in run("preview", own, *tiny).out
    assert "Question mine/t1 of the split 'test'" in run("preview", own, "--split", "test", *tiny).out


def _shown_prompts(out: str) -> list[str]:
    """The prompts of students that `preview` shows, without their indentation."""
    found = re.findall(r"^--- (?:student prompt|prompt of [^\n]*) ---\n(.*?)\n\n---", out, re.MULTILINE | re.DOTALL)
    return [re.sub(r"^ +| +$", "", text, flags=re.MULTILINE) for text in found]


@pytest.mark.parametrize(
    "train_on", ["", "train_on: [{task: feedback, train: contrast, dev: null}]\n"], ids=["own task", "another task"]
)
def test_preview_draws_exemplars_for_training_questions_only(run: Run, own: Path, train_on: str) -> None:
    """As `run` does, whatever the training split of another task is called."""
    from scotd.experiment import Plan
    from scotd.prompts import student_prompt

    own.write_text(
        EXPERIMENT.replace("{target: scotd}", "{target: scotd, exemplars: 2}").replace(
            "  label-only: {target: label-only}\n", train_on
        ),
        encoding="utf-8",
    )
    plan = Plan.of(config.load(own))
    for question, arguments in ((plan.train[0], ()), (plan.evaluated["test"][0], ("--split", "test"))):
        first = student_prompt(question, plan.templates, plan.exemplars[question.task][:2])
        trained = plan.prompt_for("scotd", question)
        assert (trained == first) == bool(arguments), "this question's draw is not by chance the first two"
        result = run("preview", own, "--set", "student=no/such-model", *arguments)
        assert result.code == 0 and f"Question {question.key} of the split" in result.out, result.err
        assert _shown_prompts(result.out) == [(trained.text or "").rstrip()]


def test_preview_shows_the_masks_of_each_model_with_the_limits_of_its_students(
    run: Run, own: Path, make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    for folder in ("tiny", "other"):
        _student_folder(make_model("llama"), tokenizer, tmp_path / folder)
    own.write_text(
        "name: x\nquestions: {task: feedback}\nstudent: ./tiny\nstudents:\n"
        "  shown: {target: scotd, exemplars: 4, training: {max_length: 4096}}\n"
        "  short: {target: scotd, training: {max_length: 32}}\n"
        "  bare: {target: scotd, model: ./other}\n",
        encoding="utf-8",
    )
    result = run("preview", own)
    assert result.code == 0, result.err
    heads = re.findall(r"^--- loss mask of (.*), tokens of (.*) ---\n(.*)$", result.out, re.MULTILINE)
    assert [(rows, Path(model).name) for rows, model, _ in heads] == [
        ("shown", "tiny"),
        ("short", "tiny"),
        ("bare", "other"),
    ]
    left_out = "1 of 1 chains left out: over training.max_length, 32 tokens"
    assert [line == left_out for _, _, line in heads] == [False, True, False] and result.out.count("left out") == 1
    assert "--- prompt of shown ---" in result.out and "--- prompt of short, bare ---" in result.out


def test_preview_names_the_cells_of_a_sweep_that_differ(
    run: Run, own: Path, make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    _student_folder(make_model("llama"), tokenizer, tmp_path / "tiny")
    own.write_text(
        "name: x\nquestions: {task: feedback}\nstudent: ./tiny\nseeds: [0, 1]\ntraining: {max_length: 4096}\n"
        "students:\n  s: {target: scotd, sweep: {exemplars: [0, 1, 2]}}\n  bare: {target: scotd}\n"
        "  long: {target: scotd, sweep: {training.max_length: [2048, 32]}}\n",
        encoding="utf-8",
    )
    result = run("preview", own)
    assert result.code == 0, result.err
    several = ["s-1-seed0, s-1-seed1", "s-2-seed0, s-2-seed1"]
    texts = re.findall(r"^--- prompt of (.*) ---$", result.out, re.MULTILINE)
    assert texts == ["s-0-seed0, s-0-seed1, bare, long", *several], "the length limit changes no prompt"
    masks = re.findall(r"^--- loss mask of (.*), tokens of ", result.out, re.MULTILINE)
    assert masks == [
        "s-0-seed0, s-0-seed1, bare",
        *several,
        "long-2048-seed0, long-2048-seed1",
        "long-32-seed0, long-32-seed1",
    ]


def test_preview_of_a_chat(run: Run, own: Path) -> None:
    result = run("preview", own, "--set", "prompt.chat=true", "--set", "student=no/such-model")
    assert result.code == 0 and "  system:\n" in result.out and "  assistant:\n" in result.out


# -- predict


def _asking(**changes: Any) -> Asking:
    values: dict[str, Any] = {
        "task": "mine",
        "prompt": config.PromptConfig(),
        "words": False,
        "labels": ("A", "B", "C"),
        "columns": config.ColumnsConfig(question="stem", choices=("a", "b", "c"), answer="answer", id="qid"),
        "max_tokens": 12,
    }
    return Asking(**{**values, **changes})


def _write_record(folder: Path, asking: Asking | None = None) -> None:
    (folder / RECORD).write_text(json.dumps((asking or _asking()).to_json()), encoding="utf-8")


@pytest.fixture
def student(make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "mine" / "students" / "tiny"
    _student_folder(make_model("llama"), tokenizer, folder)
    _write_record(folder)
    return folder


def test_the_record_says_how_a_student_is_asked(own: Path, tmp_path: Path) -> None:
    from scotd.student import TRAINING_FILE

    assert RECORD == TRAINING_FILE
    own.write_text(EXPERIMENT.replace("label-only}", "label-only, max_tokens: 7}"), encoding="utf-8")
    settings = config.load(own)
    questions = load_questions(settings.questions)
    asking = Asking.of(settings, "label-only", questions)
    assert (asking.words, asking.labels, asking.max_tokens) == (False, ("A", "B", "C"), 7)
    assert asking.columns == settings.questions.columns
    assert str(tmp_path) not in json.dumps(asking.to_json()), "no path of this machine goes into a student's folder"
    _write_record(tmp_path, asking)
    assert Asking.read(tmp_path) == asking
    mixed = [*questions, _question(("1", "2"))]
    assert Asking.of(settings, "scotd", mixed).labels is None
    words = [_question(("yes", "no"), words=True)]
    assert Asking.of(settings, "scotd", words).labels == ("yes", "no") and Asking.of(settings, "scotd", words).words
    other = [*words, _question(("yes", "no", "maybe"), words=True)]
    assert Asking.of(settings, "scotd", other).labels is None


def _question(labels: tuple[str, ...], *, words: bool = False) -> Question:
    choices = tuple(Choice(label=label, text=label if words else f"text {label}") for label in labels)
    return Question(id="-".join(labels), task="t", split="train", stem="x", choices=choices, gold=None)


def test_predict_answers_one_question(run: Run, student: Path) -> None:
    asked = ["predict", student, "Where do you borrow a book?", "--choices", "bank|library"]
    result = run(*asked)
    assert result.code == 0, result.err
    assert result.out.startswith("Q: Where do you borrow a book?\nA: ") and "votes" not in result.out
    voted = run(*asked, "--votes", "5", "--json")
    (line,) = voted.out.splitlines()
    value = json.loads(line)
    assert len(value["chains"]) == 5 and value["decoding"] == "self-consistency-5"
    assert [choice["text"] for choice in value["choices"]] == ["bank", "library"]
    assert sum(value["tally"].values()) == sum(chain["answer"] is not None for chain in value["chains"])
    assert all(chain["n_tokens"] <= 12 for chain in value["chains"])
    assert run(*asked, "--votes", "5", "--json").out == voted.out, "the same seed, the same chains"
    assert run(*asked, "--votes", "5", "--json", "--seed", "1").out != voted.out
    short = json.loads(run(*asked, "--json", "--max-tokens", "3").out)
    assert short["chains"][0]["n_tokens"] <= 3


def test_predict_answers_a_file_as_it_was_trained(run: Run, student: Path, own: Path) -> None:
    result = run("predict", student, "--file", "train.csv", "--json")
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["question_key"] for row in rows] == [f"mine/q{number}" for number in range(1, 11)], (
        "in the file's order"
    )
    assert {row["gold"] for row in rows} == {"A", "B"}
    assert re.search(r"^\d+ of 10 labelled questions right", result.err, re.MULTILINE)
    Path("new.csv").write_text("stem,a,b,c\nWhat flies?,a stone,a bird,\n", encoding="utf-8")
    result = run("predict", student, "--file", "new.csv")
    assert result.code == 0 and "no column 'answer' (answer): it is done without" in result.err
    Path("other.csv").write_text("frage,opt1,opt2\nWhat flies?,a stone,a bird\n", encoding="utf-8")
    refused(run("predict", student, "--file", "other.csv"), "no column 'stem'")
    columns = ["--column", "question=frage", "--column", "choices=opt1,opt2"]
    assert run("predict", student, "--file", "other.csv", *columns).code == 0
    refused(run("predict", student, "--file", "other.csv", "--column", "qestion=frage"), "Did you mean 'question'?")
    refused(run("predict", student, "--file", "other.csv", "--choices", "a|b"), "--column choices")
    refused(run("predict", student, "--file", "nope.csv"), "nope.csv: no such file")


def test_predict_cuts_questions_as_its_training_did(run: Run, student: Path) -> None:
    record = json.loads((student / RECORD).read_text(encoding="utf-8"))
    (student / RECORD).write_text(json.dumps({**record, "max_stem_words": 3}), encoding="utf-8")
    asked = ["predict", student, "Where do you borrow a book?", "--choices", "bank|library"]
    result = run(*asked)
    assert result.out.startswith("Q: Where do you [...]\nA: ")
    assert "note: cut after 3 words, as in its training: 1 of 1 questions" in result.err
    del record["max_stem_words"]  # as an earlier scotd wrote it
    (student / RECORD).write_text(json.dumps(record), encoding="utf-8")
    assert "Where do you borrow a book?" in run(*asked).out


def test_predict_reads_questions_from_stdin(run: Run, student: Path) -> None:
    _write_record(student, _asking(words=True, labels=("yes", "no"), columns=None))
    result = run("predict", student, "-", "--json", stdin="Is it so?\r\n\nIs it \x1b[31mred?\nIs it so?\n")
    stems = [json.loads(line)["question"] for line in result.out.splitlines()]
    assert stems == ["Is it so?", "Is it \x1b[31mred?", "Is it so?"] and "\x1b" not in result.out
    assert "\x1b" not in run("predict", student, "-", stdin="Is it \x1b[31mred?\n").out
    refused(run("predict", student, "-", stdin="\n"), "stdin is empty")


def test_what_predict_refuses(run: Run, student: Path, tmp_path: Path) -> None:
    refused(run("predict", student), "QUESTION or --file")
    refused(run("predict", student, "x", "--file", "y.csv"), "not both")
    refused(run("predict", student, "x"), "--choices")
    refused(run("predict", student, "x", "--choices", "a"), "at least two")
    refused(run("predict", student, "x", "--choices", "a|A"), "same text")
    refused(run("predict", student, " ", "--choices", "a|b"), "question is empty")
    refused(
        run("predict", student, "x", "--choices", "a|b", "--votes", "3", "--temperature", "0"), "same chain 3 times"
    )
    refused(run("predict", student, "x", "--column", "a=b"), "--file")
    refused(run("predict", "nope", "x"), "no such folder")
    refused(run("predict", "runs/mine", "x"), "runs/mine/students/tiny")
    refused(run("predict", tmp_path, "x"), "not a student")
    record = json.loads((student / RECORD).read_text())
    del record["prompt"]
    (student / RECORD).write_text(json.dumps(record))
    refused(run("predict", student, "x"), "(prompt)", "train it again")
    for broken in ("", "[]", "{", '{"task": 1}'):
        (student / RECORD).write_text(broken)
        with pytest.raises(ModelError):
            Asking.read(student)


# -- corpus


@pytest.fixture
def corpus(own: Path, tmp_path: Path) -> Path:
    path = tmp_path / "c.sqlite"
    with Corpus.open(path) as opened:
        opened.add_questions(load_questions(config.load(own).questions))
        opened.add_prompts([Prompt(text="p")])
        opened.add_chains(
            [
                _chain("mine/q1", 0, " Money\x1b[31m is\x9b2J there\u202e. So the answer is (A)."),
                _chain("mine/q1", 1, " Books are there. So the answer is (B)."),
                _chain("mine/q1", 0, " Books. So the answer is (B).", temperature=0),
                _chain("mine/q2", 0, " Birds", Finish.LENGTH),
            ]
        )
    return path


def test_corpus_stats(run: Run, corpus: Path) -> None:
    result = run("corpus", "stats", corpus)
    assert result.code == 0
    assert re.search(r"^mine +train +10 +10 +2$", result.out, re.MULTILINE)
    assert re.search(r"^local:qwen\S+ +greedy, 128 tokens +1 +1 ", result.out, re.MULTILINE)
    value = json.loads(run("corpus", "stats", corpus, "--json").out)
    assert sum(row["chains"] for row in value["chains"]) == 4 and value["chains"][0]["sampling"]["max_tokens"] == 128


def test_corpus_show_is_safe_to_look_at(run: Run, corpus: Path) -> None:
    result = run("corpus", "show", corpus, "mine/q1")
    assert result.code == 0 and not re.search("[\x1b\x9b\u202e]", result.out)
    assert "[A, wrong] Money␛[31m is<U+009B>2J there<U+202E>." in result.out
    assert "[B, right] Books are there." in result.out and "library <- label" in result.out
    assert result.out.count("local:qwen") == 2, "one line for each way of sampling"
    assert "[- cut off] Birds" in run("corpus", "show", corpus, "q2").out
    first = run("corpus", "show", corpus)
    assert first.out.count("--- mine/") == 3 and "(9 more questions" in first.out
    assert run("corpus", "show", corpus, "--split", "test", "--limit", "1").out.count("--- mine/t") == 1
    assert "(2 more chains)" in run("corpus", "show", corpus, "q1", "--limit", "1").out


def test_what_corpus_commands_refuse(run: Run, corpus: Path, tmp_path: Path) -> None:
    refused(run("corpus", "stats", "nope.sqlite"), "nope.sqlite: no such corpus")
    refused(run("corpus", "stats", tmp_path), "a folder")
    refused(run("corpus", "stats", "exp.yaml"), "exp.yaml")
    refused(run("corpus", "show", corpus, "mine/q99"), "Did you mean 'mine/q9'?")
    refused(run("corpus", "show", corpus, "--split", "tset"), "mine, test")
    refused(run("corpus", "show", corpus, "--teacher", "local:qwen"), "Known: local:qwen2.5-")
    refused(run("corpus", "export", corpus, "out.txt"), ".parquet or .jsonl")
    refused(run("corpus", "export", corpus, "out.jsonl", "--split", "tset"), "Did you mean 'test'?")
    refused(run("corpus", "export", corpus, "out.parquet", "--form", "messages"), "--form")
    refused(run("corpus", "export", corpus, "out.jsonl", "--selection", "all"), "--experiment")
    refused(run("corpus", "import", "out.parquet", "exp.yaml", "--name", "x"), "first argument is the corpus")
    assert not list(tmp_path.glob("out*"))


def test_a_corpus_goes_out_and_comes_back(run: Run, corpus: Path) -> None:
    assert "4 chains" in run("corpus", "export", corpus, "c.parquet").out
    refused(run("corpus", "export", corpus, "c.parquet"), "--force")
    assert run("corpus", "export", corpus, "c.parquet", "--force").code == 0
    assert "4 chains (4 new, 0 were there)" in run("corpus", "import", "d.sqlite", "c.parquet").out
    assert "4 chains (0 new, 4 were there)" in run("corpus", "import", "d.sqlite", "c.parquet").out
    with Corpus.open("d.sqlite", "ro") as one, Corpus.open(corpus, "ro") as other:
        assert list(one.chains()) == list(other.chains()) and one.questions() == other.questions()
    refused(run("corpus", "import", "d.sqlite", "c.parquet", "--name", "x"), "--name")
    refused(run("corpus", "import", "d.sqlite", "c.parquet", "--temperature", "0"), "--temperature")
    refused(run("corpus", "stats", "c.parquet"), "scotd corpus import")
    assert run("corpus", "export", corpus, "c.jsonl", "--form", "messages").code == 0
    rows = [json.loads(line) for line in Path("c.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4 and rows[0]["messages"][0] == {"role": "user", "content": "p"}


def set_students(own: Path, students: str) -> None:
    """Put others in the place of an experiment file's students."""
    text = own.read_text(encoding="utf-8")
    own.write_text(re.sub(r"(?m)^students:\n(?:[ #].*\n|\n)*", f"students:\n{students}", text), encoding="utf-8")


def first_question_answered(corpus: Path, plan: Any, *texts: str, greedy: bool = False) -> None:
    """A corpus with chains of the experiment's teacher for the first question of `own`."""
    with Corpus.open(corpus) as opened:
        opened.add_questions(plan.train)
        opened.add_prompts(plan.teacher_prompts.values())
        opened.add_chains(
            Chain(
                question_key="mine/q1",
                prompt_id=plan.teacher_prompts["mine/q1"].id,
                teacher="local:qwen2.5-coder-1.5b-instruct",
                sampling=plan.greedy_sampling if greedy else plan.sampling,
                index=index,
                text=text,
                finish=Finish.STOP,
            )
            for index, text in enumerate(texts)
        )


def test_an_export_for_other_trainers_holds_what_students_are_trained_on(run: Run, own: Path, tmp_path: Path) -> None:
    from scotd.experiment import Plan

    plan = Plan.of(config.load(own))
    first_question_answered(
        tmp_path / "c.sqlite",
        plan,
        "Money. The answer is A.",
        "Books are lent there. So it is (B).",
        "So the answer is (B).",
    )
    result = run("corpus", "export", "c.sqlite", "t.jsonl", "--experiment", own)
    assert result.code == 0 and "kept: " in result.err and "wrong: 1" in result.err
    rows = [json.loads(line) for line in Path("t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(row["prompt"].startswith("Q: Where do you go") and row["prompt"].endswith("\nA:") for row in rows)
    assert " So the answer is (B)." in {row["completion"] for row in rows}
    assert run("corpus", "export", "c.sqlite", "a.jsonl", "--experiment", own, "--selection", "all").code == 0
    assert len(Path("a.jsonl").read_text().splitlines()) == len(rows) + 1
    refused(run("corpus", "export", "c.sqlite", "b.jsonl", "--experiment", own, "--split", "train"), "--experiment")


def test_an_export_where_all_learn_from_greedy_chains_holds_those(run: Run, own: Path, tmp_path: Path) -> None:
    from scotd.experiment import Plan

    set_students(own, "  greedy: {target: greedy-cot}\n")
    plan = Plan.of(config.load(own))
    first_question_answered(tmp_path / "c.sqlite", plan, "Books. So the answer is (B).")
    assert run("corpus", "export", "c.sqlite", "none.jsonl", "--experiment", own).out == "none.jsonl: 0 chains\n"
    first_question_answered(tmp_path / "c.sqlite", plan, "Books. So the answer is (B).", greedy=True)
    assert run("corpus", "export", "c.sqlite", "one.jsonl", "--experiment", own).out == "one.jsonl: 1 chains\n"


def test_an_export_of_one_student_goes_by_its_own_selection(run: Run, own: Path, tmp_path: Path) -> None:
    from scotd.experiment import Plan

    set_students(
        own,
        "  one: {target: scotd, filter: {name: shortest, budget: 1}}\n"
        "  labels: {target: label-only}\n"
        "  base: {target: undistilled}\n",
    )
    plan = Plan.of(config.load(own))
    first_question_answered(
        tmp_path / "c.sqlite",
        plan,
        "Books are lent there. So the answer is (B).",
        "Books. So the answer is (B).",
        "The answer is A.",
    )
    export = ["corpus", "export", "c.sqlite"]
    result = run(*export, "t.jsonl", "--experiment", own, "--student", "one")
    assert result.code == 0 and "kept: 1" in result.err
    (row,) = [json.loads(line) for line in Path("t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert row["completion"] == " Books. So the answer is (B)." and row["question"] == "mine/q1"
    assert run(*export, "l.jsonl", "--experiment", own, "--student", "labels", "--form", "messages").code == 0
    labels = [json.loads(line)["messages"][-1]["content"] for line in Path("l.jsonl").read_text().splitlines()]
    assert len(labels) == len(plan.train) and all("answer is (" in label for label in labels)
    refused(run(*export, "x.jsonl", "--experiment", own, "--student", "onne"), "Did you mean 'one'?")
    refused(run(*export, "x.jsonl", "--experiment", own, "--student", "base"), "undistilled", "not trained")
    refused(run(*export, "x.jsonl", "--student", "one"), "--experiment")
    refused(run(*export, "x.jsonl", "--experiment", own, "--student", "one", "--selection", "all"), "--selection")
    refused(run("corpus", "export", "no.sqlite", "x.jsonl", "--experiment", own, "--student", "one"), "no such corpus")


def test_chains_of_others_come_in_with_a_mapping(run: Run, own: Path, tmp_path: Path) -> None:
    rows = [
        {"q": "Where do you go to borrow a book?", "why": "Books.", "said": "b", "g": "B"},
        {"q": "Where do you go to borrow a book?", "why": "Money.", "said": "bank", "g": "A"},
        {"q": "Who \x1b[31mare you?", "why": "Me.", "said": "a", "g": "A"},
    ]
    Path("r.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    mapping = ["--name", "gpt", "--question", "q", "--rationale", "why", "--answer", "said", "--gold", "g"]
    base = ["corpus", "import", "i.sqlite", "r.jsonl", *mapping]
    refused(run(*base), "--task", "--experiment")
    refused(run(*base, "--experiment", own), "1 of 3 rows", "row 3", "␛[31m")
    assert not Path("i.sqlite").exists(), "an import that failed leaves no empty corpus behind"
    result = run(*base, "--experiment", own, "--unmatched", "skip")
    assert result.code == 0 and "3 rows, 2 chains for 1 questions (2 new" in result.out
    assert "1 because no question has this text" in result.out and "\x1b" not in result.out
    assert "1 rows with another label" in result.out
    assert 'name: "import:gpt"' in result.err
    with Corpus.open("i.sqlite", "ro") as opened:
        assert [chain.text for chain in opened.chains()] == [
            " Books. So the answer is (B).",
            " Money. So the answer is (A).",
        ]
    Path("t.json").write_text(json.dumps(["One. So the answer is (A).\n\nQ: next", "Two."]))
    Path("ids.csv").write_text("id\nq2\nq3\n")
    texts = ["corpus", "import", "i.sqlite", "t.json", "--name", "t", "--text", "text", "--ids", "ids.csv:id"]
    result = run(*texts, "--experiment", own, "--stop", r"\n\nQ:")
    assert result.code == 0 and "1 texts cut at a stop" in result.out
    refused(run(*base[:4], "--name", "x", "--experiment", own), "--text, or --rationale and --answer")
    refused(run(*base[:4], "--name", "x", "--text", "why", "--experiment", own), "--question, --id")
    refused(run(*base[:4], "--text", "why", "--question", "q"), "--name is missing")
    refused(run(*base[:4], "--name", "x", "--text", "wy", "--question", "q"), "no column 'wy'", "'why'?")
    refused(run(*texts[:-1], "ids.csv"), "FILE:COLUMN")
    refused(run("corpus", "import", "j.sqlite", "nope.jsonl", "--name", "x"), "nope.jsonl: no such file")


# -- processes


def test_a_closed_pipe_is_no_error(own: Path) -> None:
    command = f"{sys.executable} -m scotd.cli preview exp.yaml --set student=no/such-model | head -n 1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}; echo code $?"],
        capture_output=True,
        text=True,
        cwd=own.parent,
        check=False,
    )
    assert "Question mine/q1" in result.stdout and result.stderr == ""
    assert re.search(r"code (0|1|141)$", result.stdout.strip())


def test_a_terminal_that_cannot_show_a_character_is_no_error(own: Path) -> None:
    (own.parent / "train.csv").write_text(TEN.replace("Where do", "🐕 Where do"), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "scotd.cli", "preview", "exp.yaml", "--set", "student=no/such-model"],
        capture_output=True,
        cwd=own.parent,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=False,
    )
    assert result.returncode == 0 and b"\\U0001f415 Where do" in result.stdout
