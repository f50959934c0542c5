"""Corpora and students to a stand-in of the hub; cards that no text can break out of."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hub_stand_in import TOKEN, Hub, Repo
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from tiny_experiment import write_student

from scotd.cards import code, fenced, front_matter
from scotd.cli import cli
from scotd.corpus import Corpus, import_parquet
from scotd.errors import ScotdError
from scotd.types import Chain, Choice, Finish, Prompt, Question, SamplingParams, ServerCap

# How huggingface_hub 2.4 calls its own HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

EVIL = (
    "Fine.\n```\n---\nlicense: mit\n---\n# <script>alert(1)</script> [x](javascript:1) | a | b |\n"
    "````text\n~~~\n\x1b[31m\u202e So the answer is yes.\n```````"
)
YES_NO = (Choice(label="yes", text="yes"), Choice(label="no", text="no"))


def fill(path: Path, texts: list[str], teacher: str = "openai:big") -> Path:
    """One labelled question a text, and an unlabelled one; each with one chain."""
    prompt = Prompt(text=f"Q: What does {EVIL} mean?\nA:")
    with Corpus.open(path) as corpus:
        for number, text in enumerate([*texts, "So the answer is no."]):
            gold = "yes" if number < len(texts) else None
            question = Question(
                id=f"q{number}", task="odd", split="train", stem=f"Is {number} odd?", choices=YES_NO, gold=gold
            )
            corpus.add_questions([question])
            corpus.add_prompts([prompt])
            chain = Chain(
                question_key=question.key,
                prompt_id=prompt.id,
                teacher=teacher,
                sampling=SamplingParams(temperature=1.0, max_tokens=40),
                index=0,
                text=text,
                finish=Finish.STOP,
            )
            corpus.add_chains([chain])
        corpus.record_run("mine`run", {"scotd": "0.9"})
        corpus.record_run("import:gpt3", {"files": []})
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return fill(tmp_path / "corpus.sqlite", [EVIL, "It is. So the answer is yes.", "So the answer is no.", "Hm."])


@pytest.fixture
def student(tmp_path: Path, tokenizer_folder: Path) -> Path:
    folder = write_student(tmp_path / "student", tokenizer_folder)
    (folder / "scotd_training.json").write_text("{}")
    (folder / "README.md").write_text("---\ntags: []\n---\n# mine\n")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the other way to send large files, plain HTTP
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between tries
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def call(*arguments: object) -> Result:
    done = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert TOKEN not in done.output and TOKEN not in str(done.exception)
    if done.exception is not None and not isinstance(done.exception, (ScotdError, SystemExit)):
        raise done.exception
    return done


# ---- corpora ---------------------------------------------------------------------------------------------------------


def test_a_corpus_is_published_whole_and_private(corpus: Path, hub: Hub, tmp_path: Path) -> None:
    done = call("corpus", "push", corpus, "ada/chains")
    assert done.exit_code == 0 and hub.url in done.stdout, done.output
    repo = hub.repos["datasets/ada/chains"]
    assert repo.private and set(repo.files) == {"README.md", "chains.parquet"}
    again = tmp_path / "back.parquet"
    again.write_bytes(repo.files["chains.parquet"])
    with Corpus.open(tmp_path / "back.sqlite") as opened, Corpus.open(corpus, "ro") as first:
        import_parquet(opened, again)
        assert list(opened.chains()) == list(first.chains()) and opened.questions() == first.questions()


def test_what_is_published_names_no_server(corpus: Path, hub: Hub, tmp_path: Path) -> None:
    teacher = {"base_url": ["http://gpu.within:8000/secret/v1"], "model": "big"}
    with Corpus.open(corpus) as opened:
        opened.record_run("served", {"scotd": "0.9", "configuration": {"teacher": teacher}})
        opened.learn_cap(ServerCap(server="http://gpu.within:8000/secret/v1", model="big", max_n=4))
    call("corpus", "push", corpus, "ada/chains")
    path = tmp_path / "back.parquet"
    path.write_bytes(hub.repos["datasets/ada/chains"].files["chains.parquet"])
    with Corpus.open(tmp_path / "back.sqlite") as back:
        import_parquet(back, path)
        assert back.runs()[-1].lineage == {"scotd": "0.9", "configuration": {"teacher": {"model": "big"}}}
    assert all(b"gpu.within" not in held for held in hub.repos["datasets/ada/chains"].files.values())
    call("corpus", "export", corpus, tmp_path / "copy.parquet")
    assert b"gpu.within" in (tmp_path / "copy.parquet").read_bytes(), "a copy of one's own is whole"


def test_nothing_is_not_published(tmp_path: Path, hub: Hub) -> None:
    Corpus.open(tmp_path / "empty.sqlite").close()
    done = call("corpus", "push", tmp_path / "empty.sqlite", "ada/chains")
    assert "nothing to publish" in str(done.exception) and hub.asked == []


def test_the_card_counts_what_the_corpus_holds(corpus: Path) -> None:
    card = call("corpus", "push", corpus, "ada/chains", "--dry-run", "--licence", "cc-by-4.0").stdout
    row = next(line for line in card.splitlines() if "`openai:big`" in line and "|" in line)
    assert row.strip().endswith("| `odd` | `train` | 5 | 5 | 80.0% | 50.0% of 4 |"), row
    assert "5 chains of thought for 5 questions" in card and "licence of the questions: `cc-by-4.0`" in card
    assert (
        "- `import:gpt3`\n" in card
        and "`` mine`run ``, scotd `0.9`" in card
        and "load_dataset('ada/chains', split=\"train\")" in card
    )
    unknown = call("corpus", "push", corpus, "ada/chains", "--dry-run", "--split", "train").stdout
    assert "licence of the questions: unknown" in unknown and "filters: split `train`" in unknown


def test_a_dry_run_asks_the_network_nothing(corpus: Path, student: Path, hub: Hub) -> None:
    done = call("corpus", "push", corpus, "ada/chains", "--dry-run")
    assert "chains.parquet" in done.stdout and "# `ada/chains`" in done.stdout
    assert "model.safetensors" in call("student", "push", student, "ada/mine", "--dry-run").stdout
    assert hub.asked == []


def test_the_loader_of_the_card_reads_what_is_published(corpus: Path, hub: Hub, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    call("corpus", "push", corpus, "ada/chains")
    folder = tmp_path / "there"
    folder.mkdir()
    for name, held in hub.repos["datasets/ada/chains"].files.items():
        (folder / name).write_bytes(held)
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert EVIL in loaded["text"] and len(loaded) == 5


# ---- students --------------------------------------------------------------------------------------------------------


def test_of_a_student_only_what_holds_no_program_is_published(student: Path, hub: Hub) -> None:
    for name in ("pytorch_model.bin", "optimizer.pt", "notes.txt", "modeling_mine.py"):
        (student / name).write_text("x")
    done = call("student", "push", student, "ada/mine", "--public")
    assert done.exit_code == 0, done.output
    repo = hub.repos["models/ada/mine"]
    assert not repo.private and repo.files["README.md"] == (student / "README.md").read_bytes()
    assert repo.files["model.safetensors"] == (student / "model.safetensors").read_bytes()
    assert {"config.json", "scotd_training.json", "tokenizer.json"} <= set(repo.files)
    assert not {"pytorch_model.bin", "optimizer.pt", "notes.txt", "modeling_mine.py"} & set(repo.files)
    assert all(f"stays here: {name}" in done.stderr for name in ("pytorch_model.bin", "modeling_mine.py"))


def test_a_folder_without_safetensors_is_refused(student: Path, hub: Hub) -> None:
    (student / "model.safetensors").rename(student / "pytorch_model.bin")
    done = call("student", "push", student, "ada/mine")
    assert "no weights as .safetensors" in str(done.exception) and hub.asked == []
    (student / "scotd_training.json").unlink()
    assert "is not a student" in str(call("student", "push", student, "ada/mine").exception)


def test_an_update_takes_the_weights_of_before_away(student: Path, hub: Hub) -> None:
    old = {"model-00002-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}", "LICENSE": b"kept"}
    hub.repos["models/ada/mine"] = Repo(private=True, files=dict(old))
    refused = call("student", "push", student, "ada/mine")
    assert "is there already: --update" in str(refused.exception)
    assert hub.repos["models/ada/mine"].files == old
    call("student", "push", student, "ada/mine", "--update")
    files = hub.repos["models/ada/mine"].files
    assert "LICENSE" in files and "model.safetensors" in files
    assert not old.keys() - {"LICENSE"} & files.keys()


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_private_goes_to_a_public_repository(corpus: Path, hub: Hub) -> None:
    hub.repos["datasets/ada/chains"] = Repo(private=False)
    done = call("corpus", "push", corpus, "ada/chains", "--update")
    assert "is there and public" in str(done.exception) and hub.repos["datasets/ada/chains"].files == {}
    assert call("corpus", "push", corpus, "ada/chains", "--update", "--public").exit_code == 0


def test_a_wrong_token_is_one_sentence(corpus: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = call("corpus", "push", corpus, "ada/chains")
    assert "HTTP 401" in str(done.exception) and "HF_TOKEN" in str(done.exception)
    assert "hf_wrong" not in str(done.exception) and hub.repos == {}


def test_the_name_of_somebody_else_is_refused(corpus: Path, hub: Hub) -> None:
    done = call("corpus", "push", corpus, "bob/chains")
    assert "HTTP 403" in str(done.exception) and "OWNER/NAME" in str(done.exception)
    hub.refuses = (409, f"taken, says your {TOKEN}\x1b[31m")
    said = str(call("corpus", "push", corpus, "ada/chains").exception)
    assert "HTTP 409" in said and "the name is taken" in said and "[token]" in said and "\x1b" not in said


@pytest.mark.parametrize("place", ["/api/repos/create", "/preupload/", "/info/lfs/", "/objects/", "/commit/"])
def test_a_broken_connection_publishes_nothing_and_says_how_to_go_on(corpus: Path, hub: Hub, place: str) -> None:
    hub.breaks_at = place
    said = str(call("corpus", "push", corpus, "ada/chains").exception)
    assert "the connection to the hub broke" in said and "--update" in said and "\n" not in said
    assert all(repo.files == {} for repo in hub.repos.values())
    hub.breaks_at = None
    assert call("corpus", "push", corpus, "ada/chains", "--update").exit_code == 0
    assert hub.repos["datasets/ada/chains"].private and len(hub.repos["datasets/ada/chains"].files) == 2


@pytest.mark.parametrize("name", ["chains", "ada/", "ada/a`b", "ada/a/b", "ada/a\n# x", "../x"])
def test_what_is_no_name_never_reaches_a_card(corpus: Path, hub: Hub, name: str) -> None:
    assert "give OWNER/NAME" in str(call("corpus", "push", corpus, name, "--dry-run").exception)


def test_the_endpoint_and_the_token_are_those_of_the_environment(corpus: Path, tmp_path: Path) -> None:
    """The command in a process of its own: HF_ENDPOINT, HF_TOKEN, and nothing secret on either stream."""
    with Hub() as server:
        held = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "scotd.cli", "corpus", "push", str(corpus), "ada/chains"]
        done = subprocess.run(command, env=held | own, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and TOKEN not in done.stdout + done.stderr, done.stderr
        assert "chains.parquet" in server.repos["datasets/ada/chains"].files
        again = subprocess.run(command, env=held | own, capture_output=True, text=True, check=False)
        assert again.returncode == 2 and again.stderr.startswith("Error: ada/chains is there already")


# ---- cards -----------------------------------------------------------------------------------------------------------


def outside(card: str) -> str:
    """What of a card is not within a fence or a span of code, by CommonMark's rules."""
    kept: list[str] = []
    fence: str | None = None
    for line in card.split("\n"):
        mark = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if fence is None and mark is not None:
            fence = mark[1]
        elif fence is not None:
            if re.fullmatch(rf" {{0,3}}`{{{len(fence)},}}[ \t]*", line):
                fence = None
        else:
            kept.append(re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "CODE", line))
    assert fence is None, "a fence that nothing closes"
    return "\n".join(kept)


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_no_text_ends_the_form_it_stands_in(text: str) -> None:
    assert outside(f"before\n{fenced(text)}\nafter") == "before\nafter"
    assert outside(f"| {code(text)} | x |") == "| CODE | x |"
    header = front_matter({"title": text, "tags": [text]})
    assert header.startswith("---\n") and header.endswith("\n---\n") and header.count("\n") == 4
    assert YAML(typ="safe").load(header.removesuffix("---\n")) == {"title": text, "tags": [text]}


def test_a_card_is_safe_with_any_chain_in_it(tmp_path: Path) -> None:
    path = fill(tmp_path / "evil.sqlite", [EVIL], teacher="openai:`x`|<b>\n# y")
    with Corpus.open(path, "ro") as opened:
        from scotd.corpus import corpus_card

        card = corpus_card(opened, "ada/chains", file="chains.parquet")
    assert "alert(1)" in card, "the chain is shown"
    bare = outside(card)
    assert "script" not in bare and "javascript" not in bare and "<b>" not in bare and "# y" not in bare
    assert "\x1b" not in card and "\u202e" not in card
    header: dict[str, Any] = YAML(typ="safe").load(card.split("---\n")[1])
    assert header["license"] == "unknown" and header["configs"][0]["data_files"][0]["path"] == "chains.parquet"
    assert json.dumps(header).isascii()
