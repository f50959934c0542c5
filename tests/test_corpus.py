"""The corpus keeps what it was given: through kills, second writers, failing disks and repeated requests."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scotd.corpus import Corpus, RequestIntent, Want
from scotd.corpus.schema import APPLICATION_ID, MIGRATIONS, connect_writer
from scotd.corpus.writer import GROUP_SECONDS
from scotd.errors import CorpusError
from scotd.types import (
    Chain,
    Choice,
    Completion,
    Decoding,
    Fate,
    Finish,
    Message,
    NoAnswer,
    Prediction,
    Prompt,
    Question,
    SamplingParams,
    Selection,
    Usage,
)

TEACHER = "local:teacher"
MODES: tuple[Literal["rw", "ro"], ...] = ("rw", "ro")
SAMPLING = SamplingParams(temperature=1.0, max_tokens=32, stop=("\n\nQ:",))


def question(number: int, **changes: Any) -> Question:
    fields: dict[str, Any] = {
        "id": f"q{number:03}",
        "task": "birds",
        "split": "train",
        "stem": f"Which of these {number} birds swims?",
        "choices": (Choice(label="A", text="duck"), Choice(label="B", text="wren")),
        "gold": "A",
    }
    return Question(**{**fields, **changes})


def prompt(number: int) -> Prompt:
    return Prompt(text=f"Q: Which of these {number} birds swims?\nA:")


def chain(number: int, index: int = 0, **changes: Any) -> Chain:
    fields: dict[str, Any] = {
        "question_key": question(number).key,
        "prompt_id": prompt(number).id,
        "teacher": TEACHER,
        "sampling": SAMPLING,
        "index": index,
        "text": f" Ducks have webbed feet ({number}, {index}). So the answer is (A).",
        "finish": Finish.STOP,
        "n_tokens": 20 + index,
        "mean_logprob": -0.25,
    }
    return Chain(**{**fields, **changes})


def intent(number: int, *indices: int) -> RequestIntent:
    return RequestIntent(
        question_key=question(number).key,
        prompt_id=prompt(number).id,
        teacher=TEACHER,
        sampling=SAMPLING,
        indices=indices,
    )


def want(number: int) -> Want:
    return Want(question_key=question(number).key, prompt_id=prompt(number).id, teacher=TEACHER, sampling=SAMPLING)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "corpus.sqlite"


@pytest.fixture
def corpus(path: Path) -> Iterator[Corpus]:
    with Corpus.open(path) as opened:
        opened.add_questions(question(number) for number in range(10))
        opened.add_prompts(prompt(number) for number in range(10))
        yield opened


# -- what goes in comes out


def test_everything_comes_back_as_it_was_after_reopening(path: Path) -> None:
    chat = Prompt(messages=(Message(role="system", content="Think."), Message(role="user", content="Ente – 🦆?")))
    unlabelled = question(2, gold=None, split="test", pair="q001", stem="Welcher Vogel\nschwimmt? 🦆")
    with Corpus.open(path) as corpus:
        assert corpus.add_questions([question(1), unlabelled]).new == 2
        assert corpus.add_prompts([prompt(1), chat, prompt(1)]) == 2
        chains = [
            chain(1),
            chain(2, prompt_id=chat.id, text="", n_tokens=None, mean_logprob=None, finish=Finish.UNKNOWN),
            chain(2, 1, prompt_id=chat.id, sampling=SamplingParams(temperature=0), text="a\x00b\r\n\t\u2028"),
        ]
        assert corpus.add_chains(chains).new == 3
        corpus.record_run("first", {"seeds": [1, 2], "git": "abc"})
    with Corpus.open(path, "ro") as corpus:
        assert corpus.questions() == [question(1), unlabelled]
        assert corpus.questions(task="birds", split="test") == [unlabelled]
        assert corpus.questions(keys=["birds/q001", "birds/none"]) == [question(1)]
        assert corpus.prompts() == {prompt(1).id: prompt(1), chat.id: chat}
        assert list(corpus.chains()) == chains
        assert corpus.runs()[0].lineage == {"seeds": [1, 2], "git": "abc"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5),
    logprob=st.none() | st.floats(max_value=0, allow_nan=False),
    temperature=st.floats(min_value=0, max_value=5),
)
def test_any_text_and_number_survives(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], logprob: float | None, temperature: float
) -> None:
    sampling = SamplingParams(temperature=temperature, stop=tuple(texts))
    chains = [chain(1, index, text=text, mean_logprob=logprob, sampling=sampling) for index, text in enumerate(texts)]
    with Corpus.open(tmp_path_factory.mktemp("any") / "c.sqlite") as corpus:
        corpus.add_questions([question(1)])
        corpus.add_prompts([prompt(1)])
        corpus.add_chains(chains)
        assert list(corpus.chains()) == chains


def test_half_an_emoji_is_stored_with_a_replacement_mark(corpus: Corpus) -> None:
    cut = chain(1, text="a duck \ud83e")  # what a token limit leaves of one, in a server's JSON
    corpus.finish_request(corpus.begin_requests([intent(1, 0)])[0], [cut], Usage())
    assert [found.text for found in corpus.chains()] == ["a duck \ufffd"]
    assert corpus.add_chains([cut]).same == 1


def test_a_log_probability_that_is_no_number_is_refused_where_it_is_given(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"'birds/q001'.*not a number"):
        corpus.finish_request(1, [chain(1, mean_logprob=float("nan"))], Usage())


def test_chains_are_filtered_and_ordered_by_content_not_by_arrival(path: Path, tmp_path: Path) -> None:
    greedy = SamplingParams(temperature=0)
    chains = [chain(number, index) for number in range(4) for index in range(3)]
    chains += [chain(1, 0, teacher="openai:x"), chain(1, 0, sampling=greedy)]
    orders = []
    for name, shuffle in (("a", 1), ("b", 2)):
        given_order = list(chains)
        random.Random(shuffle).shuffle(given_order)
        with Corpus.open(tmp_path / name) as corpus:
            for one in given_order:
                number = int(one.question_key[-3:])
                corpus.add_questions([question(number, split="test" if number == 3 else "train")])
                corpus.add_prompts([prompt(number)])
                corpus.add_chains([one])
            orders.append(list(corpus.chains()))
            assert {c.id for c in corpus.chains(teacher="openai:x")} == {chain(1, 0, teacher="openai:x").id}
            assert list(corpus.chains(sampling=greedy)) == [chain(1, 0, sampling=greedy)]
            assert list(corpus.chains(split="test", task="birds")) == [chain(3, 0), chain(3, 1), chain(3, 2)]
            assert list(corpus.chains(task="fish")) == []
            assert len(list(corpus.chains(question_keys=["birds/q000", "birds/q002"]))) == 6
            assert list(corpus.chains(prompt_ids=[prompt(2).id])) == [chain(2, 0), chain(2, 1), chain(2, 2)]
            assert list(corpus.chains(ids=[chain(2, 1).id, chain(0, 2).id])) == [chain(0, 2), chain(2, 1)]
    assert orders[0] == orders[1]
    assert [(c.question_key, c.index) for c in orders[0]] == sorted((c.question_key, c.index) for c in chains)


def test_a_stream_stays_as_it_was_while_the_writer_goes_on(corpus: Corpus) -> None:
    corpus.add_chains(chain(number) for number in range(5))
    stream = corpus.chains()
    first = next(stream)
    corpus.add_chains(chain(number, 1) for number in range(5))
    assert (
        len(corpus.present_indices([question(1).key], [prompt(1).id], TEACHER, SAMPLING)[question(1).key, prompt(1).id])
        == 2
    )
    assert [first, *stream] == [chain(number) for number in range(5)]
    assert len(list(corpus.chains())) == 10


# -- identities


def test_the_same_chain_twice_is_one_and_another_text_is_set_aside(corpus: Corpus, path: Path) -> None:
    other = chain(1, text="another text")
    assert corpus.add_chains([chain(1), chain(1)]).same == 1
    added = corpus.add_chains([chain(1), other, chain(2)])
    assert (added.new, added.same, added.duplicate) == (1, 1, 1)
    assert corpus.add_chains([other]).duplicate == 1
    assert list(corpus.chains()) == [chain(1), chain(2)], "the first one committed stays"
    assert corpus.stats().duplicates == 1, "the same other text is set aside once"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT text FROM duplicates").fetchall() == [("another text",)]
    connection.close()


def test_a_question_may_gain_a_label_but_not_other_words(corpus: Corpus) -> None:
    corpus.add_questions([question(20, gold=None)])
    added = corpus.add_questions([question(20), question(1)])
    assert (added.new, added.same, added.changed) == (0, 1, 1)
    assert corpus.questions(keys=[question(20).key])[0].gold == "A"
    assert corpus.add_questions([question(20, gold="B")], changes="keep").changed == 1
    assert corpus.questions(keys=[question(20).key])[0].gold == "A"
    for changed in (question(1, stem="Which one flies?"), question(1, choices=question(1).choices[::-1])):
        with pytest.raises(CorpusError, match="'birds/q001' is in the corpus with other words"):
            corpus.add_questions([question(30), changed])
    assert corpus.questions(keys=[question(30).key]) == [], "a refused call stores nothing"


def test_a_chain_of_an_unknown_question_or_prompt_is_refused(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="question 'birds/q077' is not in the corpus: call add_questions"):
        corpus.add_chains([chain(77)])
    with pytest.raises(CorpusError, match=r"prompt '.*' is not in the corpus: call add_prompts"):
        corpus.begin_requests([replace(intent(1, 0), prompt_id="nowhere")])
    with pytest.raises(CorpusError, match="holds no prompt 'nowhere'"):
        corpus.prompts([prompt(1).id, "nowhere"])
    corpus.add_chains([chain(1)])
    assert list(corpus.chains()) == [chain(1)], "the corpus still works"


def test_a_name_given_out_by_an_undone_operation_is_forgotten(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="add_questions"):
        corpus.add_chains([chain(1, teacher="openai:new"), chain(77)])  # first the teacher is stored, then undone
    corpus.add_chains([chain(1, teacher="openai:new")])
    assert [one.teacher for one in corpus.chains()] == ["openai:new"]


# -- requests


def test_names_of_rows_are_remembered_in_bounded_memory(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scotd.corpus.writer.KNOWN", 3)
    corpus.add_questions(question(number) for number in range(1, 20))
    corpus.add_prompts(prompt(number) for number in range(1, 20))
    given = [chain(number, index) for number in range(1, 20) for index in range(2)]
    corpus.add_chains(given)
    assert sorted(corpus.chains(), key=lambda one: one.id) == sorted(given, key=lambda one: one.id)
    assert corpus.write(lambda tables: len(tables.known)) <= 3


def test_missing_names_what_is_not_there_and_a_top_up_asks_for_the_rest(corpus: Corpus) -> None:
    corpus.add_chains([chain(1, index) for index in (0, 1, 2)] + [chain(2, 1), chain(3, 0, teacher="openai:x")])
    wants = [want(3), want(2), want(1)]
    assert corpus.missing(wants, 3) == [(want(3), (0, 1, 2)), (want(2), (0, 2))]
    assert corpus.missing(wants, 5) == [(want(3), (0, 1, 2, 3, 4)), (want(2), (0, 2, 3, 4)), (want(1), (3, 4))]
    mixed = [want(1), replace(want(3), teacher="openai:x"), replace(want(1), prompt_id=prompt(2).id)]
    assert corpus.missing(mixed, 1) == [(mixed[2], (0,))]
    assert corpus.missing([], 3) == []


def test_requests_are_counted_by_outcome_with_their_bill(corpus: Corpus) -> None:
    one, two, three = corpus.begin_requests([intent(1, 0, 1), intent(2, 0, 1), intent(3, 0)])
    corpus.finish_request(
        one, [chain(1, 0), chain(1, 1, finish=Finish.LENGTH)], Usage(prompt_tokens=100, completion_tokens=41)
    )
    corpus.fail_request(two, "503 overloaded")
    requests = corpus.stats().requests
    assert (requests.ok, requests.failed, requests.unaccounted) == (1, 1, 0)
    assert (requests.prompt_tokens, requests.completion_tokens) == (100, 41)
    assert corpus.unaccounted() == [], "a request in flight is not lost yet"
    assert three not in (one, two)


def test_what_was_in_flight_at_the_end_is_unaccounted_for_the_next(corpus: Corpus, path: Path) -> None:
    done, _ = corpus.begin_requests([intent(1, 0), intent(2, 0, 1, 2)])
    corpus.finish_request(done, [chain(1)], Usage())
    corpus.close()
    with Corpus.open(path) as later:
        assert later.unaccounted() == [intent(2, 0, 1, 2)]
        later.begin_requests([intent(2, 0, 1)])
        requests = later.stats().requests
        assert (requests.unaccounted, requests.unaccounted_chains) == (1, 3), "its own open request is in flight"


def test_stats_count_everything(corpus: Corpus) -> None:
    corpus.add_questions([question(50, split="test", gold=None)])
    corpus.add_chains([chain(1, 0), chain(1, 1, finish=Finish.LENGTH), chain(2, 0, n_tokens=None)])
    corpus.add_chains([chain(1, 0, sampling=SamplingParams(temperature=0))])
    stats = corpus.stats()
    assert [(q.split, q.questions, q.labelled, q.with_chains) for q in stats.questions] == [
        ("test", 1, 0, 0),
        ("train", 10, 10, 2),
    ]
    sampled = next(count for count in stats.chains if count.sampling == SAMPLING)
    assert (sampled.teacher, sampled.chains, sampled.questions) == (TEACHER, 3, 2)
    assert sampled.finish == {"stop": 2, "length": 1}
    assert (sampled.tokens, sampled.counted) == (20 + 21, 2)
    assert len(stats.chains) == 2
    assert (stats.prompts, stats.runs, stats.selections, stats.predictions, stats.scores) == (10, 0, 0, 0, {})


# -- what later stages store


def test_scores_selections_predictions_and_runs_come_back(corpus: Corpus, path: Path) -> None:
    corpus.add_chains(chain(1, index) for index in range(4))
    names = [chain(1, index).id for index in range(4)]
    corpus.put_scores("scored-by x", {names[0]: -1.5, names[1]: 2.0})
    corpus.put_scores("scored-by x", {names[1]: 3.0})
    chosen = [
        Fate(chain_id=names[index], question_key="birds/q001", dropped=dropped)
        for index, dropped in ((2, None), (3, "wrong"), (0, None), (1, "wrong"))
    ]
    assert corpus.save_selection("run", "correct", []) == Selection(kept=0, questions=0, dropped={})
    assert corpus.save_selection("run", "correct", iter(chosen)) == Selection(kept=2, questions=1, dropped={"wrong": 2})
    corpus.save_selection("other run", "correct", chosen[:1])
    predictions = [
        Prediction(
            question_key=question(number).key,
            decoding=Decoding(sampling=SamplingParams(temperature=0.7), votes=2),
            chains=(
                Completion(text="A", finish=Finish.STOP, n_tokens=3, mean_logprob=-0.5),
                Completion(text="", finish=Finish.LENGTH),
            ),
            answer="A" if number else None,
            reason=None if number else NoAnswer.EMPTY,
            tally={"B": 1, "A": 1},
            tied=True,
        )
        for number in (3, 1, 0)
    ]
    corpus.put_predictions("run", "scotd", "test", [replace(predictions[0], answer="B"), *predictions[1:]])
    corpus.put_predictions("run", "scotd", "test", predictions[:1])
    corpus.record_run("run", {"b": 1, "a": [2]})
    corpus.record_run("run", {"a": [2], "b": 1})
    corpus.record_run("run", {"resumed": True})
    corpus.close()
    with Corpus.open(path, "ro") as reader:
        assert reader.scores("scored-by x", names) == {names[0]: -1.5, names[1]: 3.0}
        assert reader.scores("scored-by x", [names[1], "nowhere"]) == {names[1]: 3.0}
        assert reader.scores("another kind", names) == {}
        assert list(reader.fates("run", "correct")) == chosen
        assert list(reader.fates("other run", "correct")) == chosen[:1]
        assert list(reader.selected("run", "correct")) == [chain(1, 2), chain(1, 0)]
        assert list(reader.fates("run", "all")) == []
        assert list(reader.selected("run", "all")) == []
        assert reader.predictions("run", "scotd", "test", "self-consistency-2") == predictions
        assert reader.predictions("run", "scotd", "test", "greedy") == []
        assert [record.lineage for record in reader.runs()] == [{"a": [2], "b": 1}, {"resumed": True}]


def test_scores_and_selections_name_chains_that_exist(corpus: Corpus) -> None:
    corpus.add_chains([chain(1)])
    with pytest.raises(CorpusError, match="'length': chain nowhere is not in the corpus"):
        corpus.put_scores("length", {chain(1).id: 1.0, "nowhere": 2.0})
    with pytest.raises(CorpusError, match="not a number"):
        corpus.put_scores("length", {chain(1).id: float("nan")})
    with pytest.raises(CorpusError, match="names the chain nowhere, which is not in the corpus"):
        corpus.save_selection("run", "all", [Fate(chain_id="nowhere", question_key="birds/q001", dropped=None)])
    assert corpus.scores("length", [chain(1).id]) == {}
    assert list(corpus.fates("run", "all")) == []


# -- one writer


def test_a_second_writer_is_refused_by_the_firsts_process_id_and_readers_are_not(corpus: Corpus, path: Path) -> None:
    with pytest.raises(CorpusError, match=rf"written by process {os.getpid()}\."):
        Corpus.open(path)
    corpus.add_chains([chain(1)])
    with Corpus.open(path, "ro") as reader:
        assert list(reader.chains()) == [chain(1)]
        corpus.add_chains([chain(2)])
        assert len(list(reader.chains())) == 2
        with pytest.raises(CorpusError, match="reading only"):
            reader.add_chains([chain(3)])
    corpus.close()
    assert not Path(f"{path}.lock").exists()
    Corpus.open(path).close()


def test_a_lock_file_left_by_a_dead_process_does_not_lock(path: Path) -> None:
    Path(f"{path}.lock").write_text("999999")
    Corpus.open(path).close()


def test_a_closed_corpus_says_so(corpus: Corpus) -> None:
    corpus.close()
    corpus.close()
    for use in (corpus.questions, corpus.chains, lambda: corpus.add_chains([chain(1)])):
        with pytest.raises(CorpusError, match="closed"):
            use()


def test_requests_finished_by_many_threads_are_all_there(corpus: Corpus) -> None:
    requests = corpus.begin_requests([intent(number, *range(5)) for number in range(10)])

    def finish(number: int) -> None:
        for index in range(5):
            corpus.add_chains([chain(number, index, teacher="other")])
        corpus.finish_request(requests[number], [chain(number, index) for index in range(5)], Usage())

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(corpus.chains(teacher=TEACHER))) == 50
    assert len(list(corpus.chains(teacher="other"))) == 50


# -- group commits


def test_a_finished_request_is_on_disk_soon_without_a_flush(corpus: Corpus, path: Path) -> None:
    corpus.finish_request(corpus.begin_requests([intent(1, 0)])[0], [chain(1)], Usage())
    with sqlite3.connect(path) as other:
        until = time.monotonic() + 5
        while not other.execute("SELECT count(*) FROM chains").fetchone()[0]:
            assert time.monotonic() < until
            time.sleep(0.01)
    other.close()


def test_many_finished_requests_take_few_commits(corpus: Corpus) -> None:
    requests = corpus.begin_requests([intent(number % 10, number) for number in range(500)])
    assert corpus._writer is not None
    statements: list[str] = []
    corpus._writer._tables.connection.set_trace_callback(statements.append)
    started = time.monotonic()
    for number, request in enumerate(requests):
        corpus.finish_request(request, [chain(number % 10, number)], Usage())
    corpus.flush()
    groups = (time.monotonic() - started) / GROUP_SECONDS
    assert 1 <= statements.count("COMMIT") <= groups + 2
    assert len(list(corpus.chains())) == 500


def test_a_failure_in_the_writers_thread_surfaces_at_the_next_call_and_at_the_end(path: Path) -> None:
    corpus = Corpus.open(path)
    corpus.add_questions([question(1)])
    corpus.add_prompts([prompt(1)])
    (request,) = corpus.begin_requests([intent(1, 0)])
    corpus.finish_request(request, [chain(1)], Usage())
    corpus.finish_request(12345, [chain(1, 1)], Usage())
    corpus.finish_request(request, [chain(1, 2)], Usage())
    with pytest.raises(CorpusError, match="request 12345 was never begun"):
        corpus.flush()
    with pytest.raises(CorpusError, match="request 12345 was never begun"):
        corpus.begin_requests([intent(1, 3)])
    with pytest.raises(CorpusError, match="request 12345 was never begun"):
        corpus.close()
    with Corpus.open(path) as later:
        assert list(later.chains()) == [chain(1)], "what was good in the same group is kept, the rest undone"


def test_an_error_of_the_callers_own_is_not_hidden_by_the_writers(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Corpus.open(path) as corpus:
        corpus.finish_request(12345, [], Usage())
        raise KeyboardInterrupt
    assert "request 12345 was never begun" in caught.value.__notes__[0]


def test_a_full_disk_loses_nothing_that_was_committed(path: Path) -> None:
    corpus = Corpus.open(path)
    corpus.add_questions([question(1)])
    corpus.add_prompts([prompt(1)])
    corpus.add_chains([chain(1)])
    assert corpus._writer is not None
    connection = corpus._writer._tables.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    (request,) = corpus.begin_requests([intent(1, 1)])
    corpus.finish_request(request, [chain(1, 1, text="x" * 100_000)], Usage())
    with pytest.raises(CorpusError, match="full"):
        corpus.flush()
    with pytest.raises(CorpusError, match="full"):
        corpus.close()
    with Corpus.open(path) as later:
        assert list(later.chains()) == [chain(1)]
        assert later.unaccounted() == [intent(1, 1)]


# -- kill -9

WORKER = """
    import random, sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from scotd.corpus import Corpus
    from scotd.types import Usage
    from test_corpus import chain, intent, prompt, question, want

    with Corpus.open(Path(sys.argv[1])) as corpus:
        corpus.add_questions(question(number) for number in range(200))
        corpus.add_prompts(prompt(number) for number in range(200))
        wants = corpus.missing([want(number) for number in range(200)], 8)
        print("unaccounted", len(corpus.unaccounted()), flush=True)
        for at in range(0, len(wants), 3):
            group = [(int(one.question_key[-3:]), indices) for one, indices in wants[at : at + 3]]
            requests = corpus.begin_requests([intent(number, *indices) for number, indices in group])
            for request, (number, indices) in zip(requests, group):
                corpus.finish_request(request, [chain(number, index) for index in indices], Usage(completion_tokens=9))
            time.sleep(random.uniform(0, 0.006))
            if random.random() < 0.5:
                corpus.flush()
                print("ack", " ".join(str(number) for number, _ in group), flush=True)
        corpus.flush()
        print("done", flush=True)
"""
IN_FLIGHT = 3  # requests that the worker begins at a time


def _work(path: Path, seconds: float | None) -> list[str]:
    """Run the worker, killed after a time; returns the lines that it managed to print."""
    code = textwrap.dedent(WORKER).format(tests=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        lines = [worker.stdout.readline().strip()]  # it has opened the corpus: from here on any moment is fair
        if seconds is not None:
            time.sleep(seconds)
            worker.send_signal(signal.SIGKILL)
        lines += [line.strip() for line in worker.stdout]
    if seconds is None:
        assert worker.returncode == 0
    return lines


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_writer_loses_nothing_it_acknowledged_and_asks_for_nothing_twice(path: Path) -> None:
    moments = random.Random(20230614)
    acknowledged: set[int] = set()
    kills = 0
    while kills < 12:
        lines = _work(path, moments.uniform(0.0, 0.08))
        acknowledged |= {int(word) for line in lines for word in line.split()[1:] if line.startswith("ack")}
        if "done" in lines:
            break
        kills += 1
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        raw.close()
        with Corpus.open(path) as corpus:
            present = {(one.question_key, one.index) for one in corpus.chains()}
            expected = {(question(number).key, index) for number in acknowledged for index in range(8)}
            assert expected <= present
            asked = {
                (one.question_key, i)
                for one, indices in corpus.missing([want(n) for n in range(200)], 8)
                for i in indices
            }
            assert not asked & present
            assert len(asked) + len(present) == 200 * 8
            # Journaling a group commits what was queued before it.
            assert len(corpus.unaccounted()) <= kills * IN_FLIGHT
    assert kills >= 3, "the worker was too quick to be killed"
    if "done" not in lines:
        assert "done" in _work(path, None)
    with Corpus.open(path, "ro") as corpus:
        stats = corpus.stats()
        assert sum(count.chains for count in stats.chains) == 200 * 8
        assert stats.duplicates == 0
        assert stats.requests.completion_tokens == 9 * stats.requests.ok
        assert list(corpus.chains()) == [chain(number, index) for number in range(200) for index in range(8)]


# -- files that are something else


def test_files_that_are_no_corpus_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such corpus"):
        Corpus.open(tmp_path / "none.sqlite", "ro")
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, not at all. " * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    before = other.read_bytes()
    for mode in MODES:
        with pytest.raises(CorpusError, match=r"text\.sqlite: cannot be opened as a corpus"):
            Corpus.open(text, mode)
        with pytest.raises(CorpusError, match=r"other\.sqlite: a SQLite file of another program"):
            Corpus.open(other, mode)
    assert other.read_bytes() == before
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["other.sqlite", "text.sqlite"], "no lock is left"


def test_a_newer_corpus_is_refused_and_an_older_one_brought_up_to_date(path: Path) -> None:
    newer = (*MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT", "CREATE TABLE later (id INTEGER PRIMARY KEY)")
    with Corpus.open(path) as corpus:
        corpus.add_questions([question(1)])
    connection = connect_writer(path, newer)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 2
    assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert connection.execute("SELECT count(*), count(note) FROM questions LEFT JOIN runs").fetchone() == (1, 0)
    connection.close()
    for mode in MODES:
        with pytest.raises(
            CorpusError, match=rf"version {len(newer)}, this scotd knows versions up to {len(MIGRATIONS)}"
        ):
            Corpus.open(path, mode)


def test_a_migration_that_fails_leaves_the_version_before_it(path: Path) -> None:
    Corpus.open(path).close()
    broken = (*MIGRATIONS, "CREATE TABLE half (id); CREATE TABLE half (id)")
    with pytest.raises(CorpusError, match=f"could not be brought to corpus version {len(broken)}"):
        connect_writer(path, broken)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    connection.close()
    Corpus.open(path).close()


def test_a_corpus_on_a_read_only_medium_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Corpus.open(path) as corpus:
        corpus.add_questions([question(1)])
        corpus.add_prompts([prompt(1)])
        corpus.add_chains([chain(1)])
    path.parent.chmod(0o555)
    monkeypatch.setattr("scotd.corpus.schema.os.access", lambda *_: False)  # as it is for anyone but root
    try:
        with Corpus.open(path, "ro") as reader:
            assert reader.questions() == [question(1)]
            assert list(reader.chains()) == [chain(1)]
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    finally:
        path.parent.chmod(0o755)


def test_chains_stream_along_an_index_and_are_never_sorted_as_a_whole(corpus: Corpus, path: Path) -> None:
    from scotd.corpus.summary import CHAINS

    connection = sqlite3.connect(path)
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + CHAINS.format(join="CROSS JOIN", where="1"))]
    connection.close()
    assert any("chains_by_question" in step for step in plan), plan
    assert not any(step == "USE TEMP B-TREE FOR ORDER BY" for step in plan), plan


def test_what_chains_answer_is_read_once_by_each_parser(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scotd import answers

    read: list[str] = []
    original = answers.answer_of

    def answer_of(text: str, asked: Question, finish: Finish) -> tuple[str | None, NoAnswer | None]:
        read.append(text)
        return original(text, asked, finish)

    monkeypatch.setattr("scotd.answers.answer_of", answer_of)
    known = {question(number).key: question(number) for number in (1, 2)}
    chains = [chain(1, 0), chain(1, 1, text=" So the answer is (B)."), chain(2, 0, text=" Ducks", finish=Finish.LENGTH)]
    expected = [("A", None), ("B", None), (None, "cut off")]

    def said(corpus: Corpus, **filters: Any) -> list[tuple[str | None, str | None]]:
        found = list(corpus.answered(known, **filters))
        assert [one.chain_id for one in found] == [one.id for one in corpus.chains(**filters)]
        return [(one.answer, one.reason) for one in found]

    with Corpus.open(path) as corpus:
        corpus.add_questions(known.values())
        corpus.add_prompts([prompt(1), prompt(2)])
        corpus.add_chains(chains)
        assert said(corpus, question_keys=[question(1).key]) == expected[:2] and len(read) == 2
        assert said(corpus) == expected and len(read) == 3
        assert said(corpus, teacher=TEACHER) == expected and len(read) == 3
    monkeypatch.setattr("scotd.answers.version", lambda: "another")
    with Corpus.open(path, "ro") as corpus:
        assert said(corpus) == expected and len(read) == 6
        assert said(corpus) == expected and len(read) == 9, "a reader stores nothing"
    with Corpus.open(path) as corpus:
        assert said(corpus) == expected and len(read) == 12
        assert said(corpus) == expected and len(read) == 12


def test_a_parsers_version_is_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scotd import answers, languages

    before = answers.version()
    other = tmp_path / "languages.py"
    other.write_bytes(Path(languages.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(languages, "__file__", str(other))
    assert answers.version.__wrapped__() != before
