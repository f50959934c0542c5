"""The pages on which raters judge, without a browser: what a page tells, what a click stores, who gets in."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi")  # the extra `web`

from fastapi.testclient import TestClient
from studies import A, B, item, make_study, pair

from scotd.judge.app import judging
from scotd.judge.store import Study
from scotd.judge.study import Pick

LOCAL = "http://127.0.0.1"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with make_study(tmp_path / "s.sqlite", n=6, rubric=("Which is more fluent?",)) as made:
        yield made


@pytest.fixture
def client(study: Study) -> TestClient:
    return TestClient(judging(study, open_to_all=True), base_url=LOCAL, follow_redirects=False)


def start(client: TestClient, name: str = "anna") -> str:
    return client.post("/raters", data={"name": name}).headers["location"]


def click(
    client: TestClient, here: str, place: int, pick: str, *, revision: int = 0, more: Mapping[str, str] | None = None
) -> str:
    data = {"pick": pick, "revision": str(revision), **(more or {})}
    return client.post(f"{here}/{place}", data=data).headers.get("location", "")


def test_a_rater_goes_from_name_to_done(client: TestClient, study: Study) -> None:
    here = start(client)
    assert "0 of 6 judged" in client.get(here).text
    address = re.search(rf"{here}/\d+", client.get(here).text)
    assert address is not None and address[0] == f"{here}/1"
    for place in range(1, 7):
        onward = click(client, here, place, "first", more={"seconds": "0.0"})
        assert onward == (f"{here}/{place + 1}" if place < 6 else here)
    assert "Done: thank you" in client.get(here).text
    (anna,) = study.raters()
    assert [vote.place for vote in study.votes(anna)] == [1, 2, 3, 4, 5, 6]
    assert start(client, "anna") == here, "the same name comes back to the same list"


def test_a_double_click_a_reload_and_a_second_tab_change_nothing(client: TestClient, study: Study) -> None:
    here = start(client)
    assert click(client, here, 1, "first") == click(client, here, 1, "first") == f"{here}/2"
    stale = client.post(f"{here}/1", data={"pick": "second", "revision": "0"})
    assert stale.status_code == 409 and "changed in another window" in stale.text
    assert 'value="first" data-key="1" aria-pressed="true"' in stale.text
    assert [vote.pick for vote in study.votes()] == [Pick.FIRST] and study.revisions() == 1
    assert click(client, here, 1, "second", revision=1) == f"{here}/2", "from the newer page it is a change of mind"
    assert [vote.pick for vote in study.votes()] == [Pick.SECOND]


def test_undo_takes_back_the_last_vote_once(client: TestClient, study: Study) -> None:
    here = start(client)
    click(client, here, 1, "first")
    click(client, here, 2, "second")
    assert f'action="{here}/2/undo"' in client.get(f"{here}/3").text
    for _ in range(2):
        assert client.post(f"{here}/2/undo", data={"revision": "1"}).headers["location"] == f"{here}/2"
    assert [vote.place for vote in study.votes()] == [1]
    assert f'action="{here}/1/undo"' in client.get(f"{here}/2").text


def test_rubric_answers_are_stored_and_shown_again(client: TestClient, study: Study) -> None:
    here = start(client)
    assert "Which is more fluent?" in client.get(f"{here}/1").text
    click(client, here, 1, "tie", more={"rubric-0": "second"})
    assert study.votes()[0].rubric == (Pick.SECOND,)
    assert 'name="rubric-0" value="second" checked' in client.get(f"{here}/1").text


def test_after_the_last_place_the_skipped_ones_come(client: TestClient) -> None:
    here = start(client)
    for place in (1, 3, 5, 6):
        last = click(client, here, place, "tie")
    assert last == f"{here}/2"


def test_nothing_tells_the_source(client: TestClient, study: Study) -> None:
    """Pages, headers and addresses of two raters who see an item in the two orders differ in the order alone."""
    anna, *others = (start(client, name) for name in ("anna", "ben", "cleo", "dora", "emil"))
    for here in (anna, *others):
        for place in range(1, 7):
            answer = client.get(f"{here}/{place}")
            told = answer.text + str(answer.headers)
            for secret in (A, B, "scotd:", "undistilled", "runs/", "q00", "gold", "right_a", "sqlite", "teacher"):
                assert secret not in told.replace("t-teacher", ""), secret

    def seen(here: str, place: int) -> tuple[str, list[str]]:
        page = client.get(f"{here}/{place}").text.replace(here, "").replace(here.rpartition("/")[2], "")
        texts = re.findall(r'class="text" dir="auto">(.*?)</p>', page)
        return re.sub(r'class="text" dir="auto">.*?</p>', "", page), texts

    by_texts: dict[frozenset[str], list[tuple[str, list[str]]]] = {}
    for here in (anna, *others):
        for place in range(1, 7):
            page, texts = seen(here, place)
            page = re.sub(r"\d+", "", page)
            page = re.sub(r"<a class=\"button\" data-key=\"b\".*?</a>", "", page)
            by_texts.setdefault(frozenset(texts), []).append((page, texts))
    assert len(by_texts) == 6
    both = 0
    for shown in by_texts.values():
        assert len({re.sub(r"\s+", " ", page) for page, _ in shown}) == 1
        both += len({tuple(texts) for _, texts in shown}) == 2
    assert both >= 3, "the orders were drawn"
    assert study.raters()


def test_a_wrong_token_gets_in_nowhere(study: Study) -> None:
    anna = study.enrol("anna")
    client = TestClient(judging(study, open_to_all=False), base_url="http://judge.example", follow_redirects=False)
    assert client.get(f"/r/{anna.token}/1").status_code == 200
    for token in ("x", anna.token[:-1], anna.token + "x", anna.token.swapcase(), "%00", "é", "1"):
        for method, path in (("GET", ""), ("GET", "/1"), ("POST", "/1"), ("POST", "/1/undo")):
            answer = client.request(method, f"/r/{token}{path}", data={"pick": "first", "revision": "0"})
            assert answer.status_code == 404 and "Alpha" not in answer.text and "Book" not in answer.text, (token, path)
    assert study.revisions() == 0
    assert client.post("/raters", data={"name": "eve"}).status_code == 404
    assert [rater.name for rater in study.raters()] == ["anna"]
    for hidden in ("/docs", "/openapi.json", "/redoc", "/results"):
        assert client.get(hidden).status_code == 404


def test_another_site_can_neither_post_nor_use_a_name_of_its_own(client: TestClient, study: Study) -> None:
    sent = client.post("/raters", data={"name": "eve"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert sent.status_code == 403 and study.raters() == []
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_every_answer_forbids_what_is_not_its_own(client: TestClient) -> None:
    here = start(client)
    for path in ("/", here, f"{here}/1", "/style.css", "/judge.js", "/nowhere"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer" and "server" not in answer.headers
        loaded = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
        assert all(address.startswith("/") or address == "data:," for address in loaded), loaded


@pytest.mark.parametrize(
    "form",
    [{}, {"pick": "first"}, {"pick": "both", "revision": "0"}, {"pick": "first", "revision": "x"}],
    ids=["empty", "no revision", "no pick", "no number"],
)
def test_a_vote_that_cannot_be_read_stores_nothing(client: TestClient, study: Study, form: dict[str, str]) -> None:
    here = start(client)
    assert client.post(f"{here}/1", data=form).status_code == 422
    assert client.post(f"{here}/99", data={"pick": "first", "revision": "0"}).status_code == 422
    assert client.post(f"{here}/1", content=b"x" * 20_000).status_code == 413
    assert client.get(f"{here}/99").status_code == client.get(f"{here}/zero").status_code == 404
    assert study.revisions() == 0


def test_where_ties_are_not_asked_for_none_is_taken(tmp_path: Path) -> None:
    with make_study(tmp_path / "t.sqlite", ties=False) as study:
        client = TestClient(judging(study, open_to_all=True), base_url=LOCAL, follow_redirects=False)
        here = start(client)
        assert 'value="tie"' not in client.get(f"{here}/1").text
        assert client.post(f"{here}/1", data={"pick": "tie", "revision": "0"}).status_code == 422


def test_what_a_model_or_a_rater_wrote_is_text(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x1b[2J"
    shown = pair(1)
    shown = replace(shown, a=nasty, question=replace(shown.question, stem=nasty))
    with make_study(tmp_path / "t.sqlite", items=[item(1, shown)], ask=nasty) as study:
        client = TestClient(judging(study, open_to_all=True), base_url=LOCAL, follow_redirects=False)
        here = start(client, nasty[:40])
        for path in (here, f"{here}/1"):
            page = client.get(path).text
            assert "<img" not in page and "<script>" not in page and "\u202e" not in page and "\x1b" not in page
        assert "&lt;script&gt;alert(2)" in client.get(f"{here}/1").text
        assert client.post("/raters", data={"name": " "}).status_code == 422
