"""Datasets of the hub, as the library reads them from folders on this machine: no test here needs a network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scotd import config
from scotd.config import QuestionsConfig
from scotd.errors import ConfigError, DataError
from scotd.tasks import hub, hub_note, load_questions, notes
from scotd.types import Question

datasets = pytest.importorskip("datasets")

CLASSES = {"columns": {"question": "text", "answer": "label"}, "labels": ["neg", "pos"]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub._load.cache_clear()
    datasets.disable_progress_bars()


def load(folder: Path | str, **more: Any) -> list[Question]:
    return load_questions(QuestionsConfig.model_validate({"task": "films", "hub": str(folder), **more}))


def saved(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    """A dataset with a column of named classes, as `save_to_disk` writes it."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    made = {name: datasets.Dataset.from_list(rows, features=features) for name, rows in splits.items()}
    datasets.DatasetDict(made).save_to_disk(folder)
    return folder


def test_named_classes_are_read_by_their_names(tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "films",
        train=[{"text": "fun", "label": 1}, {"text": "dull", "label": 0}, {"text": "unknown", "label": -1}],
        validation=[{"text": "so so", "label": 0}, {"text": "nothing", "label": None}],
    )
    questions = load(folder, **CLASSES)
    assert [(q.split, q.stem, q.gold) for q in questions] == [
        ("train", "fun", "pos"),
        ("train", "dull", "neg"),
        ("train", "unknown", None),
        ("validation", "so so", "neg"),
        ("validation", "nothing", None),
    ]
    assert all(q.task == "films" and q.has_label_set for q in questions)


def test_a_folder_of_data_files_is_read_by_its_splits(tmp_path: Path) -> None:
    folder = tmp_path / "quiz"
    folder.mkdir()
    rows = [{"id": f"q{n}", "stem": f"Is it {n}?", "options": {"label": ["A", "B"], "text": ["no", "yes"]}, "key": "B"}
            for n in range(3)]  # fmt: skip
    for name, part in (("train", rows[:2]), ("test", rows[2:])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    columns = {"question": "stem", "choices": "options", "answer": "key", "id": "id"}
    questions = load(folder, columns=columns)
    assert [(q.id, q.split, q.gold) for q in questions] == [
        ("q0", "train", "B"),
        ("q1", "train", "B"),
        ("q2", "test", "B"),
    ]
    assert questions[0].choice("B").text == "yes"
    assert [q.id for q in load(folder, columns=columns, limit={"train": 1}) if q.split == "test"] == ["q2"]


def test_repeats_of_a_published_dataset_stay_and_are_counted(tmp_path: Path) -> None:
    fun = {"text": "fun", "label": 1}
    folder = saved(tmp_path / "films", train=[fun, fun], test=[fun])
    questions = load(folder, **CLASSES)
    assert len({q.key for q in questions}) == 3
    assert questions[1].id == questions[0].id + "-2" and questions[2].id.startswith("test-")
    assert notes(questions) == (
        "1 of the questions in 'train' repeats an earlier one there: 'fun'.",
        "1 of the questions in 'test' is in 'train' too: 'fun'.",
    )


def test_a_wrong_row_column_or_id_gets_its_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path / "films", train=[{"text": "fun", "label": 1}, {"text": " ", "label": 1}])
    with pytest.raises(DataError) as error:
        load(folder, **CLASSES)
    assert str(error.value).startswith(f"{folder}/train, row 2: the question is empty (column 'text')")
    with pytest.raises(DataError, match=r"films/train: no column 'txt', which `columns.question` names. Did you mean"):
        load(folder, columns={"question": "txt"}, labels=["neg", "pos"])
    twice = saved(tmp_path / "twice", train=[{"text": "a", "label": 1}], test=[{"text": "a", "label": 0}])
    with pytest.raises(DataError, match="the id 'a' is also in the split 'train'"):
        load(twice, columns={"question": "text", "id": "text"}, labels=["neg", "pos"])


def test_what_cannot_be_had_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "quiz"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}')
    with pytest.raises(ConfigError) as error:
        load(folder, **CLASSES, hub_config="second")
    assert str(error.value) == (
        f"questions.hub '{folder}' cannot be loaded (BuilderConfig 'second' not found. Available: ['default']): "
        "check the id, `hub_config` and `hub_revision`."
    )

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ConfigError) as error:
        load("owner/name", **CLASSES)
    assert str(error.value) == (
        "questions.hub 'owner/name' cannot be loaded "
        "(Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)): "
        "connect to the network, or name a folder that holds the dataset."
    )


def test_nothing_of_a_dataset_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="Dataset scripts are no longer supported"):
        load(folder, **CLASSES)
    assert not (tmp_path / "ran").exists()


def test_the_library_gets_configuration_and_revision_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load_dataset(*given: object, **named: object) -> dict[str, object]:
        asked.append((given, named))
        return {"train": datasets.Dataset.from_list([{"text": "fun", "label": "pos"}])}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (only,) = load("owner/name", **CLASSES, hub_config="plain", hub_revision="abc123")
    assert asked == [(("owner/name", "plain"), {"revision": "abc123"})]
    assert only.gold == "pos"


def test_the_commit_that_the_hub_had_is_named_and_another_than_the_wanted_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, other = "0123456789" * 4, "f" * 40
    folder = tmp_path / "owner___name" / "default" / "0.0.0" / commit  # where the library keeps what it loaded
    folder.mkdir(parents=True)
    made = datasets.Dataset.from_list([{"text": "fun", "label": "pos"}])
    made.save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "data-00000-of-00001.arrow").rename(folder / "name-train.arrow")
    kept = datasets.Dataset.from_file(str(folder / "name-train.arrow"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": kept})

    def section(**more: str) -> QuestionsConfig:
        return QuestionsConfig.model_validate({"task": "films", "hub": "owner/name", **CLASSES, **more})

    named = f"questions.hub 'owner/name' was at commit {commit}: `hub_revision: {commit}` keeps it."
    assert hub_note(section()) == hub_note(section(hub_revision="v1")) == named
    assert hub_note(section(hub_revision=commit)) is None
    assert [question.stem for question in load_questions(section(hub_revision=commit))] == ["fun"]
    with pytest.raises(ConfigError, match=f"is here at commit {commit}, and hub_revision wants {other}"):
        load_questions(section(hub_revision=other))


def test_a_folder_has_no_commit(tmp_path: Path) -> None:
    folder = tmp_path / "quiz"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "fun", "label": "pos"}')
    for place in (folder, saved(tmp_path / "films", train=[{"text": "fun", "label": 1}])):
        assert hub_note(QuestionsConfig.model_validate({"task": "films", "hub": str(place), **CLASSES})) is None
    assert hub_note(QuestionsConfig(task="feedback")) is None


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"hub": "owner/name"}, "`hub` needs `columns`"),
        ({"hub_config": "x"}, "`hub_config` needs `hub`"),
        ({"hub_revision": "x"}, "`hub_revision` needs `hub`"),
        ({"hub": "a/b", "files": {"train": "x.csv"}, **CLASSES}, "`files` and `hub` are two places"),
        ({"hub": "a/b", "path": "x", **CLASSES}, "with `hub`, leave it out"),
        ({"hub": "a/b", **CLASSES, "task": "sst2"}, "give the questions in `hub` another name"),
    ],
)
def test_a_section_that_does_not_fit_together(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ConfigError, ValueError)) as error:
        load_questions(QuestionsConfig.model_validate(section))
    assert sentence in str(error.value)


def test_a_split_that_no_file_name_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_list([{"text": "fun", "label": "pos"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train.fold1": rows})
    with pytest.raises(ConfigError, match=r"'train\.fold1' becomes part of a file name"):
        load("owner/name", **CLASSES)


def test_a_folder_is_relative_to_the_experiment_file_and_an_id_stays_one(tmp_path: Path) -> None:
    (tmp_path / "data" / "films").mkdir(parents=True)
    questions = "{task: t, hub: NAME, columns: {question: q}, labels: [a, b]}"
    text = f"{{name: x, questions: {questions}, students: {{s: {{target: scotd}}}}}}"
    found = {}
    for name in ("data/films", "./films", "owner/name"):
        (tmp_path / "x.yaml").write_text(text.replace("NAME", name))
        found[name] = config.load(tmp_path / "x.yaml").questions.hub
    assert found == {
        "data/films": str(tmp_path / "data" / "films"),
        "./films": str(tmp_path / "films"),
        "owner/name": "owner/name",
    }


def test_without_the_library_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["datasets"] = None
from scotd.config import QuestionsConfig
from scotd.errors import ConfigError
from scotd.tasks import load_questions
section = {"task": "t", "hub": "owner/name", "columns": {"question": "q"}, "labels": ["a", "b"]}
try:
    load_questions(QuestionsConfig.model_validate(section))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == (
        "questions.hub 'owner/name': datasets is not installed, and reading a dataset of the hub needs it: "
        "pip install 'scotd[hub]'.\n"
    )
