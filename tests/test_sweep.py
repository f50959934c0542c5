"""A sweep is every combination, once; cells know where they stand and whom they are tested against."""

import json
from pathlib import Path
from typing import Any

import pytest

from scotd.config import Experiment, load
from scotd.errors import ConfigError


def loaded(folder: Path, students: dict[str, Any], **more: Any) -> Experiment:
    path = folder / "exp.yaml"
    sampling = {"chains_per_question": 30}
    value = {"name": "x", "questions": {"task": "feedback"}, "sampling": sampling, "students": students, **more}
    path.write_text(json.dumps(value))
    return load(path)


def test_every_combination_is_a_student(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        {
            "scotd": {
                "target": "scotd",
                "training": {"epochs": 2},
                "sweep": {"chains_per_question": [1, 5], "training.learning_rate": [1e-5, 1e-4]},
            },
            "labels": {"target": "label-only"},
            "base": {"target": "undistilled"},
        },
        seeds=[0, 7],
    )
    names = [f"scotd-{n}-{rate}-seed{seed}" for n in (1, 5) for rate in ("1e-05", "0_0001") for seed in (0, 7)]
    assert list(found.students) == [*names, "labels-seed0", "labels-seed7", "base"]
    cell = found.students["scotd-5-0_0001-seed7"]
    assert (cell.row, cell.chains_per_question) == ("scotd", 5)
    assert cell.at == {"chains_per_question": 5, "training.learning_rate": 1e-4, "training.seed": 7}
    settings = found.training_of("scotd-5-0_0001-seed7")
    assert (settings.epochs, settings.learning_rate, settings.seed) == (2, 1e-4, 7)
    assert found.students["base"].at == {} and found.students["base"].row is None
    again = Experiment.model_validate(found.model_dump(mode="json"))
    assert again == found  # what a run folder holds is not swept a second time


def test_filters_and_models_are_axes_too(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        {
            "small": {"target": "scotd", "sweep": {"filter.name": ["random", "diversity"]}, "filter": {"budget": 3}},
            "size": {"target": "scotd", "sweep": {"model": ["smollm2-135m-instruct", "someone/other-1B"]}},
        },
    )
    assert list(found.students) == ["small-random", "small-diversity", "size-smollm2-135m-instruct", "size-other-1B"]
    chosen = found.students["small-diversity"].filter
    assert chosen is not None and (chosen.name, chosen.budget) == ("diversity", 3)
    assert found.students["size-other-1B"].model == "someone/other-1B"


def test_the_baseline_is_the_cell_at_the_same_place(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        {
            "scotd": {"target": "scotd", "sweep": {"share": [0.5, 1.0], "chains_per_question": [1, 30]}},
            "labels": {"target": "label-only", "sweep": {"share": [0.5, 1.0]}},
            "base": {"target": "undistilled"},
        },
        seeds=[0, 1],
        evaluation={"baseline": "labels"},
    )
    assert found.baseline_of("scotd-0_5-30-seed1") == "labels-0_5-seed1"
    assert found.baseline_of("labels-0_5-seed1") is None
    assert found.baseline_of("base") is None  # four cells of the baseline could be meant
    assert len(found.baselines_of("base")) == 4


def test_the_baseline_may_be_one_place_of_a_sweep_for_every_other_place(tmp_path: Path) -> None:
    students = {
        "scotd": {"target": "scotd", "sweep": {"share": [0.5, 1.0]}},
        "labels": {"target": "label-only", "sweep": {"share": [0.5, 1.0]}},
        "base": {"target": "undistilled"},
    }
    found = loaded(tmp_path, students, seeds=[0, 1], evaluation={"baseline": "labels-1_0"})
    assert found.baseline_of("scotd-0_5-seed1") == "labels-1_0-seed1", "at another share, with its own seed"
    assert found.baseline_of("labels-0_5-seed0") == "labels-1_0-seed0"
    assert found.baseline_of("labels-1_0-seed0") is None
    assert found.baselines_of("base") == ("labels-1_0-seed0", "labels-1_0-seed1")
    with pytest.raises(ConfigError, match=r"names no student: 'labels-1'.*labels-1_0"):
        loaded(tmp_path, students, seeds=[0, 1], evaluation={"baseline": "labels-1"})
    with pytest.raises(ConfigError, match="names one seed, 'labels-1_0-seed0': name all of them, 'labels-1_0'"):
        loaded(tmp_path, students, seeds=[0, 1], evaluation={"baseline": "labels-1_0-seed0"})


def test_a_row_that_is_called_like_a_place_of_another_is_the_baseline(tmp_path: Path) -> None:
    students = {
        "labels": {"target": "label-only", "sweep": {"chains_per_question": [1, 5]}},
        "labels-5": {"target": "label-only", "sweep": {"share": [0.5, 1.0]}},
        "scotd": {"target": "scotd", "sweep": {"share": [0.5, 1.0]}},
    }
    found = loaded(tmp_path, students, evaluation={"baseline": "labels-5"})
    assert found.baseline_of("scotd-0_5") == "labels-5-0_5"
    assert [*found.baseline_cells()] == ["labels-5-0_5", "labels-5-1_0"]


def test_without_a_sweep_the_baseline_is_the_student_of_that_name(tmp_path: Path) -> None:
    students = {"scotd": {"target": "scotd"}, "labels": {"target": "label-only"}}
    found = loaded(tmp_path, students, evaluation={"baseline": "labels"})
    assert (found.baseline_of("scotd"), found.baseline_of("labels")) == ("labels", None)
    assert loaded(tmp_path, students).baseline_of("scotd") is None


def test_a_scale_replaces_settings_and_stands_apart(tmp_path: Path) -> None:
    small = {"sampling.chains_per_question": 2, "students.scotd.sweep": {"chains_per_question": [1, 2]}, "seeds": [5]}
    path = tmp_path / "exp.yaml"
    students = {"scotd": {"target": "scotd", "sweep": {"chains_per_question": [1, 30]}}}
    loaded(tmp_path, students, scales={"small": small}, sampling={"chains_per_question": 30, "max_tokens": 9})
    whole, found = load(path), load(path, ["training.epochs=3"], scale="small")
    assert (whole.name, whole.scale, list(whole.students)) == ("x", None, ["scotd-1", "scotd-30"])
    assert (found.name, found.scale, list(found.students)) == ("x-small", "small", ["scotd-1-seed5", "scotd-2-seed5"])
    assert (found.sampling.chains_per_question, found.sampling.max_tokens, found.training.epochs) == (2, 9, 3)
    assert found.run_folder is not None and found.run_folder.name == "x-small"
    with pytest.raises(ConfigError, match="has no such scale, it has small"):
        load(path, scale="tiny")


@pytest.mark.parametrize(
    ("students", "said"),
    [
        ({"a": {"target": "scotd", "sweep": {"nothing": [1]}}}, "unknown key 'students.a-1.nothing'"),
        ({"a": {"target": "scotd", "sweep": {"chains_per_question": [40]}}}, "only 30 are sampled"),
        ({"a": {"target": "scotd", "sweep": {"chains_per_question": []}}}, "chains_per_question"),
        ({"a": {"target": "scotd", "sweep": {"share": 0.5}}}, "expected a list"),
        ({"a": {"target": "scotd", "sweep": {"share": [0.5, 1, 0.5]}}}, r"students\.a\.sweep\.share lists 0\.5 twice"),
        ({"a": {"target": "scotd", "sweep": {"target.x": [1]}}}, r"students\.a\.sweep: 'target' is a value"),
        ({"a": {"target": "scotd", "sweep": {"training.epochs": [0]}}}, "epochs"),
        (
            {"a": {"target": "scotd", "sweep": {"share": [0.5]}}, "a-0_5": {"target": "scotd"}},
            "two cells would be called 'a-0_5'",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(tmp_path: Path, students: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, students)


def test_a_seed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seeds lists 0 twice: leave one out"):
        loaded(tmp_path, {"a": {"target": "scotd"}}, seeds=[0, 1, 0])


def test_published_results_name_rows_and_decodings_of_the_file(tmp_path: Path) -> None:
    students = {"scotd": {"target": "scotd", "sweep": {"chains_per_question": [1, 5]}}}
    entry = {"what": "SCoTD", "where": "Table 2b", "row": "scotd", "value": 67.0}
    found = loaded(tmp_path, students, published={"results": [entry], "differences": ["A smaller student."]})
    assert found.published.results[0].split == "test" and found.published.results[0].at == {}
    for wrong, said in (
        ({"row": "scotd-1"}, r"item 1, names no row of students: 'scotd-1'.*Did you mean 'scotd'"),
        ({"decoding": "gredy"}, "names no decoding: 'gredy'.*Did you mean 'greedy'"),
        ({"value": 167}, "value"),
    ):
        with pytest.raises(ConfigError, match=said):
            loaded(tmp_path, students, published={"results": [{**entry, **wrong}]})
    for setup, said in (
        (
            {"training.epoch": 1},
            r"published\.setup, training\.epoch: there is no setting 'epoch'\. Did you mean 'epochs'",
        ),
        ({"training": {"epochs": 1}}, "published.setup: 'training' is a section"),
    ):
        with pytest.raises(ConfigError, match=said):
            loaded(tmp_path, students, published={"setup": setup})


def test_published_settings_are_set_against_those_of_every_trained_student(tmp_path: Path) -> None:
    students = {
        "scotd": {"target": "scotd", "sweep": {"training.learning_rate": [1e-4, 2e-4]}},
        "labels": {"target": "label-only", "model": "other", "training": {"epochs": 3, "learning_rate": 1e-4}},
        "base": {"target": "undistilled", "model": "third"},
    }
    setup = {"training.lora.rank": 8, "train_on": [], "training.epochs": 1, "student": "small", "note": "x"}
    found = loaded(tmp_path, students, published={"setup": setup})
    assert found.settings_at("training.learning_rate") == [1e-4, 2e-4]
    assert found.settings_at("training.epochs") == [1, 3]
    assert found.settings_at("student") == [found.student, "other"]
    assert found.settings_at("training.lora.rank") == [None]  # below what is null everything is
