"""The corpus browser: columns, queries, marked words, pages."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("fastapi")  # the extra `web`

from fastapi.testclient import TestClient
from run_folders import EXPERIMENT, TEACHER, chains_of, make_run, question, rationale, write_corpus
from studies import judge_all, make_study

from scotd.browse import search as searching
from scotd.browse.app import browsing
from scotd.browse.library import Library, open_library
from scotd.browse.marking import MOST_WORDS, marked
from scotd.browse.question import question_page
from scotd.browse.search import Query, mixed, passing, search
from scotd.corpus import Corpus
from scotd.corpus.columns import MARKS, Columns, read_columns
from scotd.errors import ConfigError, DataError, RunError
from scotd.judge.study import Item, Pair, Sample
from scotd.report import write_report
from scotd.types import Answered, Fate, Mark
from scotd.web.app import LOOPBACK

NASTY = "<script>alert(1)</script>\u202e\x1b[2J"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("browse") / "mine", experiment={**EXPERIMENT, "name": "mine"})
    unlabelled = question("train", 90, gold=None, stem=f"{NASTY} Was the guest pleased?")
    with Corpus.open(folder / "corpus.sqlite") as corpus:
        corpus.add_questions([unlabelled])
        corpus.add_chains(chains_of(unlabelled, [f" {NASTY} So the answer is pleased.", ""]))
        fates = []
        for chain in corpus.chains():
            dropped = [None, "wrong", "over budget"][chain.index % 3]
            fates.append(Fate(chain_id=chain.id, question_key=chain.question_key, dropped=dropped))
        kept = corpus.save_selection("mine/scotd", "correct", fates[:200])
    counts = {"kept": kept.kept, "dropped": kept.dropped, "questions": kept.questions}
    for student, stored in {"scotd": "mine/scotd/correct", "greedy-cot": "mine/greedy-cot/gone"}.items():
        (folder / f"selections/{student}.json").write_text(json.dumps({"name": "correct", "stored": stored, **counts}))
    return folder


@pytest.fixture(scope="module")
def library(run: Path) -> Iterator[Library]:
    opened = open_library([run])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def columns(library: Library) -> Columns:
    return library.columns


@pytest.fixture(scope="module")
def answered(run: Path) -> dict[tuple[str, str], Answered]:
    with Corpus.open(run / "corpus.sqlite", "ro") as corpus:
        questions = {one.key: one for one in corpus.questions()}
        ids = {chain.id: chain.text for chain in corpus.chains()}
        return {(one.question_key, ids[one.chain_id]): one for one in corpus.answered(questions)}


# ---- columns and queries --------------------------------------------------------------------------------------------


def test_columns_say_of_every_chain_what_the_corpus_says(
    columns: Columns, answered: dict[tuple[str, str], Answered]
) -> None:
    assert len(columns) == 40 * 9 + 2
    for row, text in enumerate(columns.texts(range(len(columns)))):
        asked = columns.questions[columns.question[row]]
        one = answered[asked.key, text]
        answer = None if columns.answer[row] < 0 else columns.labels[columns.answer[row]]
        assert answer == one.answer and columns.characters[row] == len(text)
        without = Mark.UNPARSED if answer is None else Mark.OPEN if asked.gold is None else None
        assert columns.mark[row] == MARKS[without or (Mark.RIGHT if answer == asked.gold else Mark.WRONG)]
    assert [int(place) for place in columns.question] == sorted(map(int, columns.question))


@pytest.mark.parametrize("remembered", [False, True])
def test_columns_are_the_same_whether_answers_were_read_before(tmp_path: Path, remembered: bool) -> None:
    path = tmp_path / "c.sqlite"
    asked = [question("train", number) for number in range(3)]
    chains = [chain for one in asked for chain in chains_of(one, [rationale(one, "pleased"), " Hm."])]
    write_corpus(path, asked, chains)
    if remembered:
        with Corpus.open(path) as corpus:
            list(corpus.answered({one.key: one for one in asked}))
    columns = read_columns(path)
    assert columns.mark.tolist() == [0, 2, 1, 2, 1, 2] and columns.labels == ("pleased",)
    columns.close()


def test_every_filter_keeps_what_it_says(columns: Columns) -> None:
    def rows(**query: object) -> list[int]:
        return np.flatnonzero(passing(columns, Query(**query))).tolist()  # type: ignore[arg-type]

    everything = rows()
    assert len(everything) == len(columns)
    parts = [rows(mark=mark) for mark in Mark]
    assert sorted(row for part in parts for row in part) == everything and all(parts)
    assert rows(task="feedback", split="train") == everything and rows(split="test") == []
    assert rows(teacher=TEACHER) == everything
    kept, wrong, over = (rows(selection="mine/scotd/correct", fate=fate) for fate in ("kept", "wrong", "over budget"))
    assert sorted(kept + wrong + over) == rows(selection="mine/scotd/correct") and len(kept + wrong + over) == 200
    assert rows(fate="wrong") == wrong, "of any selection"
    several, one = rows(agreement="mixed"), rows(agreement="unanimous")
    assert sorted(several + one) == everything and several and one
    for row in several:
        same = columns.answer[columns.question == columns.question[row]]
        assert len(set(same[same >= 0].tolist())) > 1
    assert mixed(columns).sum() == len({int(columns.question[row]) for row in several})
    assert rows(least_characters=60, most_characters=70) == [
        row for row in everything if 60 <= columns.characters[row] <= 70
    ]
    assert rows(answer="pleased", mark="wrong") == [row for row in rows(mark="wrong") if row in rows(answer="pleased")]
    assert rows(reason="empty") and set(rows(reason="empty")) <= set(rows(mark="unparsed"))
    assert rows(least_likelihood=-9.0) == [], "these chains have no likelihood"


def test_pages_hold_every_row_once_in_every_order(columns: Columns) -> None:
    for order in searching.ORDERS:
        seen: list[int] = []
        query: Query | None = Query(order=order)
        while query is not None:
            found = search(columns, query)
            assert found.total == len(columns)
            seen += found.rows
            query = None if found.following is None else Query(order=order, after=found.following)
        assert sorted(seen) == list(range(len(columns)))
        if order in ("shortest", "longest"):
            lengths = columns.characters[seen].tolist()
            assert lengths == sorted(lengths, reverse=order == "longest")


def test_words_are_found_and_a_search_that_ran_out_of_time_goes_on(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = columns.texts(range(len(columns)))
    wanted = [row for row, text in enumerate(texts) if "ironic" in text]
    monkeypatch.setattr(searching, "AT_ONCE", 10)
    ticks = iter(range(10_000))
    seen: list[int] = []
    query, pages = Query(contains="IRONIC"), 0
    while True:
        found = search(columns, query, clock=lambda: 0.25 * next(ticks))  # the time is over after two looks
        seen += found.rows
        pages += 1
        if found.following is None:
            break
        assert found.total is None and found.looked < found.candidates
        query = Query(contains="IRONIC", after=found.following)
    assert seen == wanted and wanted and pages > 5 and found.total == len(columns)


def test_a_page_of_a_million_chains_takes_less_than_a_second(columns: Columns) -> None:
    """Processor time, so that a busy machine does not decide. The rows are those of a small corpus, again and again."""
    n = 1_000_000
    times = -(-n // len(columns))

    def again(column: NDArray[Any]) -> NDArray[Any]:
        return np.tile(column, times)[:n]

    names = ("number", "teacher", "answer", "reason", "mark", "tokens", "characters", "logprob")
    repeated: dict[str, Any] = {name: again(getattr(columns, name)) for name in names}
    million = replace(
        columns,
        **repeated,
        question=np.sort(again(columns.question)),
        selections=tuple(replace(one, row=again(one.row)) for one in columns.selections),
    )
    queries = [
        Query(),
        Query(mark="unparsed", split="train", order="longest"),
        Query(selection="mine/scotd/correct", fate="over budget", agreement="mixed", order="likeliest"),
        Query(teacher=TEACHER, least_characters=10, most_characters=400, after=900_000, order="shortest"),
        Query(contains="said by nobody", mark="wrong"),
        Query(contains="ironic", mark="right"),
    ]
    for query in queries:
        started = time.process_time()
        found = search(million, query, clock=time.process_time)
        took = time.process_time() - started
        assert took < 1, (query, took)
        assert found.rows or query.contains == "said by nobody"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mark": "wronk"}, "Did you mean 'wrong'"),
        ({"split": "nowhere"}, "split 'nowhere' is not in this corpus"),
        ({"selection": "mine/scotd/corect"}, "Did you mean 'mine/scotd/correct'"),
        ({"fate": "wronk"}, "Did you mean 'wrong'"),
        ({"least_characters": "few"}, "least characters: 'few' is no number"),
        ({"after": "-1"}, "out of range"),
        ({"least_likelihood": "nan"}, "out of range"),
    ],
)
def test_a_query_that_cannot_be_is_refused_in_one_sentence(columns: Columns, given: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        search(columns, Query.of(given))


def test_a_link_is_read_back_as_its_query() -> None:
    from urllib.parse import parse_qsl

    query = Query(mark="wrong", contains="a&b=c", least_likelihood=-1.5, order="longest", after=40)
    assert Query.of(dict(parse_qsl(query.link(after=40).partition("?")[2]))) == query
    assert "after" not in query.link(mark="right")


# ---- marked words ---------------------------------------------------------------------------------------------------


def test_marked_words_are_those_that_the_other_text_lacks() -> None:
    pieces = marked("The soup was\ncold and late.", "The soup was hot and late.")
    assert "".join(piece.text for piece in pieces) == "The soup was\ncold and late."
    assert [piece.text.strip() for piece in pieces if piece.differs] == ["cold"]
    assert not any(piece.differs for piece in marked("same words", "same   words"))
    assert marked("", "x") == ()
    long = "word " * (MOST_WORDS + 1)
    assert [piece.differs for piece in marked(long, "other")] == [False]


# ---- pages ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(library: Library) -> TestClient:
    return TestClient(browsing(library, LOOPBACK), base_url="http://127.0.0.1", follow_redirects=False)


def numbers_of(page: str, pattern: str) -> list[tuple[str, int]]:
    found = re.findall(rf'<a href="({pattern}[^"]*)">([\d,]+)</a>', page)
    return [(address.replace("&amp;", "&"), int(number.replace(",", ""))) for address, number in found]


def test_every_number_of_the_first_page_leads_to_as_many_rows(client: TestClient) -> None:
    page = client.get("/").text
    chains = numbers_of(page, "/chains")
    assert len(chains) >= 8
    for address, number in chains:
        shown = client.get(address)
        assert shown.status_code == 200 and f"{number:,} chain" in shown.text, address
    answers = numbers_of(page, "/answers")
    assert len(answers) >= 10
    for address, number in answers:
        assert f"{number:,} answer" in client.get(address).text, address


def test_a_question_shows_its_chains_by_answer_its_students_and_why_chains_were_dropped(
    client: TestClient, library: Library
) -> None:
    several = np.flatnonzero(passing(library.columns, Query(agreement="mixed")))
    asked = library.columns.questions[library.columns.question[several[0]]]
    made = question_page(library, asked.key)
    assert made is not None and sum(group.n for group in made.groups) == 9
    assert made.groups[0].answer == asked.gold or asked.gold not in {group.answer for group in made.groups}
    page = client.get("/question", params={"key": asked.key}).text
    assert "kept" in page and "dropped: <bdi>wrong</bdi>" in page and "<mark>" in page
    evaluated = client.get("/question", params={"key": "feedback/test-3"}).text
    for student in ("scotd", "greedy-cot", "label-only", "undistilled"):
        assert f"<strong><bdi>{student}</bdi></strong>" in evaluated
    assert client.get("/question", params={"key": "feedback/nope"}).status_code == 404
    contrast = client.get("/question", params={"key": "feedback/contrast-3"}).text
    assert "/question?key=feedback%2Ftest-3" in contrast


def test_answers_that_differ_from_another_students(client: TestClient, library: Library) -> None:
    cells = [cell for _, cell in library.cells]
    here = next(
        n for n, cell in enumerate(cells) if (cell.student, cell.split, cell.decoding) == ("scotd", "test", "greedy")
    )
    other = next(n for n, cell in enumerate(cells) if (cell.student, cell.split) == ("label-only", "test"))
    rows = [library.cells[n][0].predictions[library.cells[n][1]] for n in (here, other)]
    differing = sum(rows[0][key].answer != rows[1][key].answer for key in rows[0])
    page = client.get(f"/answers?cell={here}&other={other}").text
    assert f"{differing} answers" in page and 0 < differing < 60
    for bad in ("cell=99", "cell=x", f"cell={here}&other=99", f"cell={here}&mark=odd"):
        assert client.get(f"/answers?{bad}").status_code in (404, 422)


def test_the_reports_numbers_lead_to_their_rows(client: TestClient, run: Path, library: Library) -> None:
    assert client.get("/report/0/").status_code == 404
    write_report(run)
    page = client.get("/report/0/")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    links = re.findall(r'href="(answers/[^"]+)"', page.text)
    assert len(set(links)) == len(library.cells)
    for link in set(links):
        behind = client.get(f"/report/0/{link}").headers["location"]
        cell = library.cells[int(behind.rpartition("=")[2])][1]
        assert f"answers/{cell.student}.{cell.split}.{cell.decoding}.html" == link
    assert client.get("/report/0/answers/odd.html").status_code == client.get("/report/7/").status_code == 404


def test_the_report_s_funnel_leads_to_its_chains(client: TestClient, run: Path, library: Library) -> None:
    write_report(run)
    page = client.get("/report/0/").text
    links = [(unescape(link), int(n)) for link, n in re.findall(r'<a href="(/chains[^"]+)">(\d+)</a>', page)]
    assert len(links) == 3 and sum(n for _, n in links) == 200
    for link, n in links:
        query = Query.of(dict(parse_qsl(urlsplit(link).query)))
        assert len(np.flatnonzero(passing(library.columns, query))) == n
        assert f"{n} chains" in client.get(link).text
    assert page.count("mine%2Fgreedy-cot%2Fgone") == 3, "a selection that the corpus no longer holds is not a link"


def test_what_a_model_wrote_is_text(client: TestClient) -> None:
    for address in ("/chains?mark=no+gold+label", "/chains?contains=alert", "/question?key=feedback/train-90", "/"):
        page = client.get(address).text
        assert "<script>" not in page and "\u202e" not in page and "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in client.get("/question?key=feedback/train-90").text
    back = client.get("/chains", params={"contains": '"><script>alert(1)</script>'}).text
    assert "<script>" not in back
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_people_s_votes_stand_beside_the_chains(run: Path, tmp_path: Path, library: Library) -> None:
    asked = next(one for one in library.columns.questions if one.key == "feedback/test-3")
    shown = Item(
        number=1,
        pair=Pair(question=asked, a="Alpha", b="Beta", right_a=True, right_b=False),
        samples=(Sample.RANDOM,),
    )
    path = tmp_path / "study.sqlite"
    with make_study(path, items=[shown]) as study:
        judge_all(study, "anna", {1: "a"})
        judge_all(study, "ben", {1: None})
    opened = open_library([run], path)
    page = TestClient(browsing(opened, LOOPBACK), base_url="http://127.0.0.1").get("/question?key=feedback/test-3").text
    opened.close()
    assert "1 for the first, 0 for the second, 1 for neither" in page and "anna" not in page


def test_what_does_not_go_together_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    write_corpus(other, [question("train", 1)], [])
    with pytest.raises(ConfigError, match="one corpus at a time"):
        open_library([run, other])
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "experiment.json").write_text(
        (run / "experiment.json").read_text().replace("corpus.sqlite", "gone.sqlite"), encoding="utf-8"
    )
    with pytest.raises(RunError, match="Name it too"):
        open_library([moved])
    opened = open_library([other])
    assert len(opened.columns) == 0 and search(opened.columns, Query()).rows == ()
    page = TestClient(browsing(opened, LOOPBACK), base_url="http://127.0.0.1").get("/").text
    assert "0 chains on 1 question<" in page
    opened.close()
