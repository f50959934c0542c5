"""What `scotd corpus export` writes, through TRL's own preparation: the tokens and the loss of our own training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_experiment import Scripted, write, write_student

from scotd.cli import cli
from scotd.config import load
from scotd.corpus import Corpus
from scotd.experiment import Plan
from scotd.experiment.selections import examples_of
from scotd.progress import silent
from scotd.teachers.sampling import sample
from scotd.token_store import tokenize

Prepare = Callable[[Path], list[dict[str, Any]]]
Rows = list[tuple[tuple[int, ...], tuple[int, ...]]]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A tiny model whose tokenizer merges bytes, learnt from the texts it is to read: words with the space before."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = write_student(tmp_path_factory.mktemp("base") / "student", tokenizer_folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"Q: Is {n} odd?\nAnswer Choices: yes, no\nA: It ends in {n}. So the answer is no." for n in range(20)]
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<s>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def experiment(tmp_path: Path, student: Path) -> Path:
    """With its chains in a corpus; one of every four is cut off after its answer."""
    path = write(tmp_path / "tiny", student, {"scotd": {"target": "scotd"}})
    plan = Plan.of(load(path, ()))
    with Corpus.open(tmp_path / "corpus.sqlite") as corpus:
        corpus.add_questions(plan.questions.values())
        sample(corpus, Scripted(tmp_path / "log"), plan.wants(), seed=0, progress=silent)
    return path


@pytest.fixture
def prepare(student: Path, tmp_path: Path) -> Prepare:
    """`datasets.load_dataset` and SFTTrainer's preparation of a file."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'scotd[hub]'")
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'scotd[bench]'")

    def prepared(path: Path) -> list[dict[str, Any]]:
        data = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        settings = trl.SFTConfig(
            output_dir=str(tmp_path / "out"), max_length=None, report_to=[], use_cpu=True, bf16=False
        )
        return list(trl.SFTTrainer(model=str(student), args=settings, train_dataset=data).train_dataset)

    return prepared


def export(tmp_path: Path, experiment: Path, *more: str) -> Path:
    out = tmp_path / "train.jsonl"
    held = ["corpus", "export", tmp_path / "corpus.sqlite", out, "--experiment", experiment, "--student", "scotd"]
    done = CliRunner().invoke(cli, [*map(str, held), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


def ours(tmp_path: Path, experiment: Path, student: Path) -> tuple[Rows, list[bool]]:
    """Tokens and labels of our own training, and which chains are finished."""
    from transformers import AutoTokenizer

    plan = Plan.of(load(experiment, ()))
    with Corpus.open(tmp_path / "corpus.sqlite") as corpus:
        made = list(examples_of(plan, corpus, "scotd", silent).stream())
    rows: Rows = []
    for encoded in tokenize(made, AutoTokenizer.from_pretrained(student), 512):
        for branch in encoded.branches:
            assert branch.weight == 1.0
            labels = (-100,) * len(encoded.prompt) + branch.tokens
            rows.append(((*encoded.prompt, *branch.tokens), labels))
    return rows, [finished for one in made for finished in one.finished]


pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and datasets' own


def test_the_tokens_form_is_our_training_row_by_row(
    tmp_path: Path, experiment: Path, student: Path, prepare: Prepare
) -> None:
    theirs = prepare(export(tmp_path, experiment, "--form", "tokens"))
    rows, _ = ours(tmp_path, experiment, student)
    assert [(tuple(row["input_ids"]), tuple(row["labels"])) for row in theirs] == rows and len(rows) > 8


def test_prompt_and_completion_get_our_tokens_and_our_loss(
    tmp_path: Path, experiment: Path, student: Path, prepare: Prepare
) -> None:
    """But for chains that were cut off: TRL ends every completion, so that they learn an end where there was none."""
    theirs = prepare(export(tmp_path, experiment))
    rows, finished = ours(tmp_path, experiment, student)
    assert len(theirs) == len(rows) and set(finished) == {True, False}
    end = 1
    for their, (ids, labels), whole in zip(theirs, rows, finished, strict=True):
        assert their["finished"] == whole
        added = () if whole else (end,)
        assert tuple(their["input_ids"]) == (*ids, *added)
        assert tuple(their["labels"]) == (*labels, *added)
        assert labels[-1] == end if whole else labels[-1] != end


def test_tokens_need_a_student(tmp_path: Path, experiment: Path) -> None:
    held = ["corpus", "export", tmp_path / "corpus.sqlite", tmp_path / "x.jsonl", "--form", "tokens"]
    done = CliRunner().invoke(cli, list(map(str, held)))
    assert "--student" in str(done.exception)
