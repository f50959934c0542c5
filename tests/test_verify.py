"""A whole corpus is called whole, whatever happened to it; each kind of damage is named with its row."""

import os
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_corpus import chain, intent, prompt, question
from test_merge import fill
from test_practice import practising, sampled

from scotd.cli import cli
from scotd.corpus import Corpus, Verified, verify
from scotd.progress import silent
from scotd.teachers.practice import Fault
from scotd.types import Completion, Decoding, Fate, Finish, Prediction, SamplingParams


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A corpus with a row in every table that can have one."""
    place = tmp_path / "c.sqlite"
    fill(place, [1, 2, 3], [0, 1, 2])
    with Corpus.open(place) as corpus:
        corpus.add_chains([chain(1, 0, text="another text")])
        corpus.begin_requests([intent(2, 3)])
        corpus.fail_request(corpus.begin_requests([intent(2, 4)])[0], "HTTP 500: no")
        corpus.put_scores("scored-by x", {chain(1).id: -1.0})
        fates = [Fate(chain_id=chain(1, k).id, question_key=question(1).key, dropped=None) for k in range(3)]
        corpus.save_selection("r", "s", fates)
        list(corpus.answered({question(number).key: question(number) for number in (1, 2, 3)}))
        completion = Completion(text="A", finish=Finish.STOP)
        decoding = Decoding(sampling=SamplingParams(temperature=0))
        corpus.put_predictions(
            "r",
            "student",
            "test",
            [
                Prediction(
                    question_key=question(1).key,
                    decoding=decoding,
                    chains=(completion,),
                    answer="A",
                    reason=None,
                    tally={"A": 1},
                )
            ],
        )
        corpus.record_run("r", {"seed": 1})
    return place


def found(path: Path) -> Verified:
    with Corpus.open(path, "ro") as corpus:
        return verify(corpus, progress=silent)


def spoil(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_whole_corpus_is_whole_and_everything_in_it_was_looked_at(path: Path) -> None:
    before = path.read_bytes()
    seen = found(path)
    assert seen.whole, seen.damages
    assert seen.counts == {
        **{"questions": 3, "prompts": 3, "samplings": 1, "chains": 9, "requests": 5, "parses": 9, "predictions": 1},
        **{"runs": 1, "teachers": 1, "duplicates": 1, "scores": 1, "selections": 1, "selected": 3, "servers": 0},
    }
    assert list(seen.notes.values()) == [1, 1], "one request left open, one text set aside"
    assert path.read_bytes() == before


DAMAGE = {
    "questions": ("UPDATE questions SET name = 'q9' WHERE id = 1", "question birds/q001: is stored as birds/q001, and"),
    "labels": ("UPDATE questions SET gold = 'Z' WHERE id = 1", "question birds/q001: cannot be read"),
    "prompts": ("UPDATE prompts SET body = '\"other\"' WHERE id = 1", "its content has the identity"),
    "samplings": ("UPDATE samplings SET body = replace(body, '32', '33')", "its content has the identity"),
    "chains": ("UPDATE chains SET idx = 9 WHERE id = 1", f"chain {chain(1).id}: its content has the identity"),
    "finish": ("UPDATE chains SET finish = 'tired' WHERE id = 1", f"chain {chain(1).id}: cannot be read ('tired' is"),
    "text": ("UPDATE chains SET text = CAST(x'C328' AS TEXT) WHERE id = 1", "holds bytes that are no text"),
    "teacher": ("UPDATE teachers SET name = 'somebody else'", "its content has the identity"),
    "reference": ("DELETE FROM prompts WHERE id = 1", "chains row 1: refers to a row of prompts that is not there"),
    "lost": ("DELETE FROM chains WHERE id = 5", "request 2: the chain that it brought for place 1 is not there"),
    "failed": (
        "UPDATE requests SET outcome = 'failed', error = 'x' WHERE id = 1",
        "request 1: failed, and yet brought",
    ),
    "open": ("UPDATE requests SET outcome = NULL WHERE id = 1", "request 1: has an end and no outcome"),
    "others": (
        "UPDATE requests SET indices = '[0, 1, 8]' WHERE id = 1",
        "request 1 is said to have brought it, and ask",
    ),
    "indices": ("UPDATE requests SET indices = '[0, 0]' WHERE id = 1", "request 1: asks for the chains [0, 0]"),
    "too many": ("UPDATE requests SET received = 4 WHERE id = 1", "request 1: brought 4 of 3 chains"),
    "tokens": ("UPDATE requests SET prompt_tokens = -1 WHERE id = 1", "counts tokens below 0"),
    "selected": ("DELETE FROM selected WHERE position = 1", "selection s of run r: has gaps in its order"),
    "scores": ("UPDATE scores SET value = 'high'", "is no number"),
    "parses": ("UPDATE parses SET reason = 'empty' WHERE chain = 1", "both an answer and a reason"),
    "predictions": ("UPDATE predictions SET body = '{'", "prediction of student for birds/q001: cannot be read"),
    "runs": ("UPDATE runs SET lineage = '[]'", "run r: its lineage is no JSON object"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_damage_is_named_with_its_row(path: Path, kind: str) -> None:
    statement, words = DAMAGE[kind]
    spoil(path, statement)
    seen = found(path)
    assert not seen.whole
    assert any(words in line for damage in seen.damages for line in damage.shown), seen.damages


def test_two_chains_in_one_place(path: Path) -> None:
    spoil(path, "DROP INDEX chains_by_question", "UPDATE chains SET idx = 0 WHERE id = 2")
    assert any("has 3 chains in 2 places" in line for damage in found(path).damages for line in damage.shown)


def test_places_without_a_chain_are_counted_and_are_no_damage(tmp_path: Path) -> None:
    fill(tmp_path / "c.sqlite", [1], [0, 4])
    seen = found(tmp_path / "c.sqlite")
    assert seen.whole and list(seen.notes.values()) == [3]


def test_bytes_that_changed_on_the_disk(path: Path) -> None:
    fill(path, range(100, 200), words="many words " * 30)  # some pages to hit
    raw = bytearray(path.read_bytes())
    pages = len(raw) // 4096
    for page in range(pages - 12, pages - 8):
        raw[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(raw)
    Path(f"{path}-wal").unlink(missing_ok=True)
    seen = found(path)
    assert not seen.whole and any(damage.kind == "file" for damage in seen.damages)


def test_what_a_storm_leaves_is_whole(tmp_path: Path) -> None:
    faults = {Fault.CUT: 0.1, Fault.BAD_JSON: 0.1, Fault.FEWER: 0.1, Fault.EMPTY: 0.1, Fault.BROKEN: 0.1}
    with practising(faults=faults, max_n=5) as practice:
        sampled(practice, tmp_path / "c.sqlite", 6)
        sampled(practice, tmp_path / "c.sqlite", 9)
    seen = found(tmp_path / "c.sqlite")
    assert seen.whole, seen.damages
    assert seen.counts["chains"] > 100 and seen.counts["requests"] > 40


def test_the_command_says_it_by_its_exit_code(path: Path, tmp_path: Path) -> None:
    whole = CliRunner().invoke(cli, ["corpus", "verify", str(path)])
    assert whole.exit_code == 0 and whole.output.endswith(f"{path} is whole.\n"), whole.output
    assert "chains 9" in whole.output
    spoil(path, "UPDATE chains SET finish = 'tired'")
    damaged = CliRunner().invoke(cli, ["corpus", "verify", str(path), "--limit", "2"])
    assert damaged.exit_code == 1
    assert "damaged chains: 9" in damaged.output and "(7 more; --limit shows more)" in damaged.output
    (tmp_path / "text.sqlite").write_text("no database, but long enough to be looked at " * 50)
    missing = CliRunner().invoke(cli, ["corpus", "verify", str(tmp_path / "text.sqlite")])
    assert missing.exception is not None and "cannot be opened as a corpus" in str(missing.exception)


def test_it_reads_beside_a_writer(path: Path) -> None:
    with Corpus.open(path) as corpus:
        corpus.add_questions([question(8)])
        corpus.add_prompts([prompt(8)])
        assert found(path).whole
