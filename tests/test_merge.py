"""Corpora put together: every chain once, every dollar once, what differs is said, and stopping costs nothing."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_corpus import TEACHER, chain, intent, prompt, question

from scotd.cli import cli
from scotd.corpus import Corpus, Merged, merge, verify
from scotd.corpus.schema import MIGRATIONS, connect_writer
from scotd.corpus.writer import WriterLock
from scotd.errors import CorpusError
from scotd.progress import Progress, silent
from scotd.types import Fate, ServerCap, Usage

MODULE = sys.modules["scotd.corpus.merge"]  # the package gives the function its module's name


def fill(path: Path, numbers: Sequence[int], indices: Sequence[int] = (0, 1), words: str = "", **changes: Any) -> None:
    """One answered request for each question, 10 prompt tokens and 5 a chain."""
    with Corpus.open(path) as corpus:
        corpus.add_questions(question(number, **changes) for number in numbers)
        corpus.add_prompts(prompt(number) for number in numbers)
        begun = corpus.begin_requests([intent(number, *indices) for number in numbers])
        for number, request in zip(numbers, begun, strict=True):
            chains = [chain(number, index) for index in indices]
            if words:
                chains = [chain(number, index, text=f"{words} {number}.{index}") for index in indices]
            corpus.finish_request(request, chains, Usage(prompt_tokens=10, completion_tokens=5 * len(indices)))


def merged(out: Path, *sources: Path) -> list[Merged]:
    with Corpus.open(out) as corpus:
        return [merge(corpus, source, progress=silent) for source in sources]


def content(path: Path) -> list[list[tuple[Any, ...]]]:
    """Everything that counts, without the numbers of rows and sittings."""
    connection = sqlite3.connect(path)
    queries = (
        "SELECT key, stem, choices, gold, split FROM questions ORDER BY key",
        "SELECT digest, body FROM prompts ORDER BY digest",
        "SELECT c.digest, c.text, r.begun, r.indices FROM chains c LEFT JOIN requests r ON r.id = c.request ORDER BY 1",
        "SELECT begun, indices, outcome, received, prompt_tokens, completion_tokens, lost FROM requests ORDER BY 1, 2",
        "SELECT c.digest, d.text FROM duplicates d JOIN chains c ON c.id = d.chain ORDER BY 1, 2",
        "SELECT s.kind, c.digest, s.value FROM scores s JOIN chains c ON c.id = s.chain ORDER BY 1, 2",
        "SELECT address, model, max_n FROM servers ORDER BY 1, 2",
        "SELECT run, lineage FROM runs ORDER BY 1, 2",
    )
    try:
        return [connection.execute(query).fetchall() for query in queries]
    finally:
        connection.close()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "out.sqlite", tmp_path / "a.sqlite", tmp_path / "b.sqlite"


# ---- every chain once, every dollar once ----------------------------------------------------------------------------


def test_everything_of_both_is_there_once_with_the_request_that_brought_it(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    fill(a, [1, 2])
    fill(b, [2, 3], [2, 3])  # further chains of question 2
    first, second = merged(out, a, b)
    assert (first.chains.new, first.requests.new, first.questions.new) == (4, 2, 2)
    assert (second.chains.new, second.requests.new, second.questions.new) == (4, 2, 1)
    with Corpus.open(out, "ro") as corpus:
        expected = [chain(1, 0), chain(1, 1), *(chain(2, index) for index in range(4)), chain(3, 2), chain(3, 3)]
        assert list(corpus.chains()) == expected
        counted = corpus.requests(TEACHER)
        assert (counted.ok, counted.prompt_tokens, counted.completion_tokens) == (4, 40, 40)
        assert {run.run for run in corpus.runs()} == {"merge:a", "merge:b"}
        assert verify(corpus, progress=silent).whole
    theirs = [row for path in (a, b) for row in content(path)[2]]
    assert content(out)[2] == sorted(theirs), "each chain leads to its own request"


def test_again_in_another_order_or_by_a_detour_changes_nothing(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, a, b = places
    fill(a, [1, 2])
    fill(b, [2, 3], [2])
    merged(out, a, b)
    before = content(out)
    again = merged(out, b, a, a)
    assert content(out) == before
    assert [(one.chains.new, one.requests.new, one.chains.same) for one in again] == [(0, 0, 2), (0, 0, 4), (0, 0, 4)]
    detour = tmp_path / "detour.sqlite"
    merged(detour, b)
    merged(detour, out, a)
    assert content(detour)[:7] == before[:7]


def test_a_chain_that_both_paid_for_is_one_and_both_bills_stay(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    fill(a, [1], words="first")
    fill(b, [1], words="second")
    first, second = merged(out, a, b)
    assert (first.chains.duplicate, second.chains.duplicate, second.chains.new) == (0, 2, 0)
    with Corpus.open(out, "ro") as corpus:
        assert [one.text for one in corpus.chains()] == ["first 1.0", "first 1.1"]
        assert corpus.requests().prompt_tokens == 20
        assert verify(corpus, progress=silent).whole
    assert sorted(row[1] for row in content(out)[4]) == ["second 1.0", "second 1.1"]
    merged(out, b)
    assert len(content(out)[4]) == 2, "set aside once"


def test_copies_of_a_corpus_that_went_on_apart(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    with Corpus.open(a) as corpus:
        corpus.add_questions([question(1)])
        corpus.add_prompts([prompt(1)])
        (open_request,) = corpus.begin_requests([intent(1, 0)])
        corpus.flush()
        shutil.copy(a, b)
        shutil.copy(f"{a}-wal", f"{b}-wal")
        corpus.finish_request(open_request, [chain(1, 0)], Usage(prompt_tokens=10, completion_tokens=5))
    fill(b, [1], [1])
    fill(a, [1], [2])
    first, second, third = merged(out, b, a, b)
    assert (first.requests.new, second.requests.new, second.requests.ended) == (2, 1, 1)
    assert (third.requests.new, third.requests.same) == (0, 2)
    with Corpus.open(out, "ro") as corpus:
        assert corpus.requests().ok == 3 and corpus.requests().prompt_tokens == 30 and corpus.unaccounted() == []
        assert [one.index for one in corpus.chains()] == [0, 1, 2]


def test_requests_begun_in_one_moment_and_alike_stay_two(places: tuple[Path, Path, Path]) -> None:
    out, a, _ = places
    with Corpus.open(a) as corpus:
        corpus.add_questions([question(1)])
        corpus.add_prompts([prompt(1)])
        for request in corpus.begin_requests([intent(1, 0), intent(1, 0)]):
            corpus.fail_request(request, "HTTP 500: no", Usage(prompt_tokens=3))
    merged(out, a, a)
    with Corpus.open(out, "ro") as corpus:
        assert corpus.requests().failed == 2 and corpus.requests().prompt_tokens == 6


def test_what_a_kill_left_open_stays_open_for_whoever_writes_next(places: tuple[Path, Path, Path]) -> None:
    out, a, _ = places
    for path, number in ((a, 1), (out, 2)):
        with Corpus.open(path) as corpus:
            corpus.add_questions([question(number)])
            corpus.add_prompts([prompt(number)])
            corpus.begin_requests([intent(number, 0)])
    merged(out, a)
    for _ in range(3):
        with Corpus.open(out) as corpus:
            assert len(corpus.unaccounted()) == 2
            corpus.fail_request(corpus.begin_requests([intent(1, 1)])[0], "no")


def test_scores_caps_and_lineages_come_along_and_selections_do_not(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    fill(a, [1])
    fill(b, [1], words="other")
    with Corpus.open(a) as corpus:
        corpus.put_scores("scored-by x", {chain(1, 0).id: -1.5, chain(1, 1).id: -2.0})
        corpus.learn_cap(ServerCap(server="http://a/v1", model="m", max_n=4))
        corpus.record_run("first", {"seed": 1})
        corpus.save_selection("r", "s", [Fate(chain_id=chain(1).id, question_key=question(1).key, dropped=None)])
    with Corpus.open(b) as corpus:
        corpus.put_scores("scored-by x", {chain(1, 0).id: -9.0})  # of another text
        corpus.learn_cap(ServerCap(server="http://a/v1", model="m", max_n=8))
    first, _ = merged(out, a, b)
    assert first.left == 1
    with Corpus.open(out) as corpus:
        assert corpus.scores("scored-by x", [chain(1, 0).id, chain(1, 1).id]) == {
            chain(1, 0).id: -1.5,
            chain(1, 1).id: -2,
        }
        assert [one.cap.max_n for one in corpus.caps()] == [8], "the newer finding"
        assert "first" in [run.run for run in corpus.runs()] and corpus.selection("r", "s") is None
        corpus.put_scores("scored-by x", {chain(1, 0).id: -3.0})
    (again,) = merged(out, a)
    assert again.other_scores == 1
    with Corpus.open(out, "ro") as corpus:
        assert corpus.scores("scored-by x", [chain(1, 0).id]) == {chain(1, 0).id: -3.0}


# ---- stopped, refused -----------------------------------------------------------------------------------------------


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("steps", [0, 2, 3, 4, 6])
def test_stopped_anywhere_and_run_again_it_is_as_if_never_stopped(
    places: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    out, a, b = places
    monkeypatch.setattr(MODULE, "BATCH", 3)
    monkeypatch.setattr(MODULE, "REQUESTS", 1)
    fill(a, range(4), words="a")
    fill(b, range(2, 6), [1, 2], words="b")
    whole = tmp_path / "whole.sqlite"
    merged(whole, a, b)

    @contextmanager
    def stopping(description: str, _total: int | None = None) -> Iterator[Progress]:
        class Bar:
            left = steps if description.startswith("merging") else 1_000

            def begin_at(self, n: int) -> None:
                pass

            def advance(self, n: int, note: str = "") -> None:
                self.left -= 1
                if self.left < 0:
                    raise StoppedError

            def say(self, message: str) -> None:
                pass

        yield Bar()

    merged(out, a)
    with pytest.raises(StoppedError), Corpus.open(out) as corpus:
        merge(corpus, b, progress=stopping)
    with Corpus.open(out, "ro") as corpus:
        assert verify(corpus, progress=silent).whole, "each request stands with the chains that it brought"
    merged(out, b)
    assert content(out) == content(whole)
    assert not (tmp_path / "b.sqlite.lock").exists()


def test_a_question_with_other_words_is_refused_and_nothing_of_that_corpus_is_taken(
    places: tuple[Path, Path, Path],
) -> None:
    out, a, b = places
    fill(a, [1])
    fill(b, [0])
    fill(b, [1], stem="Another bird?")
    merged(out, a)
    before = content(out)
    with pytest.raises(
        CorpusError, match=r"b\.sqlite: question 'birds/q001' is in the corpus with other words"
    ) as said:
        merged(out, b)
    assert str(said.value).count("\n") == 0 and content(out) == before


def test_another_label_stays_as_it_is_and_is_counted(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    fill(a, [1, 2])
    fill(b, [1, 2], gold="B")
    _, second = merged(out, a, b)
    assert second.questions.changed == 2
    with Corpus.open(out, "ro") as corpus:
        assert [one.gold for one in corpus.questions()] == ["A", "A"]


def test_a_corpus_that_is_being_written_is_refused(places: tuple[Path, Path, Path]) -> None:
    out, a, _ = places
    fill(a, [1])
    with Corpus.open(a), pytest.raises(CorpusError, match=rf"a\.sqlite: being written by process {os.getpid()}"):
        merged(out, a)
    lock = WriterLock(a)
    lock.release()


def test_other_versions_are_refused(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    connect_writer(a, (*MIGRATIONS, "CREATE TABLE later (id)")).close()
    connect_writer(b, MIGRATIONS[:-1]).close()
    with pytest.raises(CorpusError, match="Install a newer scotd"):
        merged(out, a)
    with pytest.raises(CorpusError, match=rf"Open it once with a command that writes.*servers {b} --forget"):
        merged(out, b)
    assert CliRunner().invoke(cli, ["corpus", "servers", str(b), "--forget"]).exit_code == 0
    merged(out, b)


DAMAGE = {
    "a question's": "UPDATE questions SET choices = '['",
    "a prompt's": "UPDATE prompts SET body = '\"other\"' WHERE id = 1",
    "a sampling's": "UPDATE samplings SET body = '{'",
    "a chain's": "UPDATE chains SET idx = 7 WHERE idx = 1",
    "an end's": "UPDATE chains SET finish = 'tired' WHERE id = 1",
    "a text's": "UPDATE chains SET text = CAST(x'C328' AS TEXT) WHERE id = 1",
    "a request's": "UPDATE requests SET prompt = 99",
    "a chain's request's": "UPDATE chains SET request = 99",
    "a lineage's": "UPDATE runs SET lineage = '{'",
}


@pytest.mark.parametrize("whose", DAMAGE)
def test_damage_is_not_handed_on(places: tuple[Path, Path, Path], whose: str) -> None:
    out, a, b = places
    fill(a, [1])
    fill(b, [2])
    merged(out, b)
    before = content(out)
    with Corpus.open(a) as corpus:
        corpus.record_run("first", {"seed": 1})
    connection = sqlite3.connect(a, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(DAMAGE[whose])
    connection.close()
    with pytest.raises(CorpusError, match=r"a\.sqlite: is damaged \(.*nothing of it is taken in.*corpus verify"):
        merged(out, a)
    assert content(out) == before


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command(places: tuple[Path, Path, Path]) -> None:
    out, a, b = places
    fill(a, [1, 2], words="a")
    fill(b, [2, 3], words="b")
    done = CliRunner().invoke(cli, ["corpus", "merge", str(out), str(a), str(b)])
    assert done.exit_code == 0, done.output
    assert f"{a}: 4 chains (4 new, 0 were there), 2 new questions, 2 new requests" in done.output
    assert "  2 chains have another text here, which stands; theirs are set aside" in done.output


def test_an_empty_corpus_merged_is_an_empty_corpus(places: tuple[Path, Path, Path]) -> None:
    out, a, _ = places
    Corpus.open(a).close()
    done = CliRunner().invoke(cli, ["corpus", "merge", str(out), str(a)])
    assert done.exit_code == 0 and out.is_file(), done.output


@pytest.mark.parametrize("wrong", ["nothing", "itself", "parquet"])
def test_the_command_makes_nothing_where_it_cannot_go_on(places: tuple[Path, Path, Path], wrong: str) -> None:
    out, a, b = places
    fill(a, [1])
    arguments = {"nothing": [out, a, b], "itself": [a, a], "parquet": [out.with_suffix(".parquet"), a]}[wrong]
    done = CliRunner().invoke(cli, ["corpus", "merge", *map(str, arguments)])
    assert isinstance(done.exception, Exception) and done.exit_code != 0
    assert not out.exists() and not b.exists() and not out.with_suffix(".parquet").exists()


def test_memory_does_not_grow_with_the_corpus(places: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer remembers so many names and no more, and the source is never read whole."""
    out, a, _ = places
    fill(a, range(30))
    monkeypatch.setattr(MODULE, "BATCH", 4)
    monkeypatch.setattr(MODULE, "REQUESTS", 4)
    monkeypatch.setattr("scotd.corpus.writer.KNOWN", 10)
    with Corpus.open(out) as corpus:
        merge(corpus, a, progress=silent)
        assert corpus.write(lambda tables: len(tables.known)) <= 10
        assert sum(1 for _ in corpus.chains()) == 60
