"""The served pages in real Chromium: keyboard, reload, undo, several raters, a killed server, a phone, axe.

make test-browser

CHROMIUM names the browser; AXE the script of axe-core, which is for these tests alone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from run_folders import EXPERIMENT, make_run
from studies import A, B, item, make_study, pair

from scotd.judge.store import Study
from scotd.judge.study import Item, Pick, Rater
from scotd.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
AXE = Path(os.environ.get("AXE", ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NASTY = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202e"
SECONDS = 120  # that a server may take to start on a busy machine


@dataclass
class Served:
    """A server in a process of its own; `kill` is SIGKILL, `start` takes the same port again."""

    arguments: list[str]
    port: int = 0
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> "Served":
        command = [sys.executable, "-m", "scotd.cli", *self.arguments, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            line = self.process.stdout.readline()
            if found := re.search(r"http://[\d.]+:(\d+)", line):
                self.port = int(found[1])
                return self
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "s.sqlite"
    shown = pair(1)
    odd = replace(shown, a=NASTY, question=replace(shown.question, stem=f"{NASTY} Where is book 1?"))
    items: list[Item] = [item(1, odd), *(item(number) for number in range(2, 21))]
    make_study(path, items=items).close()
    return path


@pytest.fixture
def server(study: Path) -> Iterator[Served]:
    served = Served(["judge", "serve", str(study)]).start()
    yield served
    served.kill()


def page_of(browser: Any, **options: Any) -> Any:
    """A page of a browser profile of its own, which fails the test at what it should not do."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: _refuse(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: _refuse(str(error)))
    return page


TROUBLE: list[str] = []


def _refuse(text: str) -> None:
    if "net::ERR" not in text and "409" not in text:  # a killed server and a refused second tab say so
        TROUBLE.append(text)


@pytest.fixture(autouse=True)
def no_trouble() -> Iterator[None]:
    TROUBLE.clear()
    yield
    assert TROUBLE == []


def enter(page: Any, url: str, name: str) -> None:
    page.goto(url)
    page.keyboard.type(name)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Welcome")
    page.wait_for_load_state("load")  # keys work from here on


def press(page: Any, key: str) -> None:
    with page.expect_navigation():
        page.keyboard.press(key)


def accessible(page: Any) -> None:
    assert AXE.is_file(), f"{AXE} is missing: make test-browser fetches it"
    page.wait_for_load_state("load")  # with its style sheet
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]] == []
    assert len(found["passes"]) > 10


def votes(path: Path) -> list[Any]:
    with Study.open(path) as study:
        return study.votes()


def test_twenty_items_by_keyboard_with_a_reload_a_way_back_and_an_undo(
    browser: Any, server: Served, study: Path
) -> None:
    page = page_of(browser)
    enter(page, server.url, "Anna")
    press(page, "n")
    keys = "12012012012012012012"
    for place, key in enumerate(keys, start=1):
        assert page.url.endswith(f"/{place}"), page.url
        if place == 5:
            page.reload()
        if place == 9:
            press(page, "b")
            assert page.locator("[aria-pressed=true]").inner_text().startswith("2")
            press(page, "1")  # a change of mind, and on to where one was
            assert page.url.endswith("/9")
        if place == 13:
            press(page, "u")
            assert page.url.endswith("/12") and page.locator("[aria-pressed=true]").count() == 0
            press(page, keys[11])
        press(page, key)
    assert "Done: thank you" in page.inner_text("h1")
    stored = votes(study)
    picks = [{"1": Pick.FIRST, "2": Pick.SECOND, "0": Pick.TIE}[key] for key in keys]
    picks[7] = Pick.FIRST
    assert [one.pick for one in stored] == picks
    assert all(one.seconds is not None and 0 < one.seconds < 600 for one in stored)


def test_two_raters_at_once_and_two_tabs_of_one(browser: Any, server: Served, study: Path) -> None:
    anna, ben = page_of(browser), page_of(browser)
    for page, name in ((anna, "Anna"), (ben, "Ben")):
        enter(page, server.url, name)
        press(page, "n")
    for key in "1212":
        press(anna, key)
        press(ben, key)
    with Study.open(study) as opened:
        assert [len(opened.votes(rater)) for rater in opened.raters()] == [4, 4]
    tab = anna.context.new_page()
    tab.goto(anna.url)
    press(anna, "1")
    press(tab, "2")  # from the older page
    assert "changed in another window" in tab.inner_text("[role=alert]")
    assert tab.locator("[aria-pressed=true]").inner_text().startswith("1")
    assert len(votes(study)) == 9


def test_a_double_click_is_one_vote(browser: Any, server: Served, study: Path) -> None:
    page = page_of(browser)
    enter(page, server.url, "Anna")
    press(page, "n")
    page.dblclick("button[data-key='1']", no_wait_after=True)
    page.wait_for_url("**/2")
    with Study.open(study) as opened:
        assert len(opened.votes()) == opened.revisions() == 1


def test_a_server_killed_between_click_and_answer_loses_and_doubles_nothing(
    browser: Any, server: Served, study: Path
) -> None:
    page = page_of(browser)
    enter(page, server.url, "Anna")
    press(page, "n")
    press(page, "1")
    here = page.url
    server.kill()
    page.keyboard.press("2")  # nobody answers
    page.wait_for_function("() => !document.querySelector('.pair')", timeout=60_000)
    server.start()
    page.goto(here)
    assert page.locator("[aria-pressed=true]").count() == 0, "this vote never arrived, and the page says so"
    press(page, "2")
    with Study.open(study) as opened:
        assert [one.pick for one in opened.votes()] == [Pick.FIRST, Pick.SECOND] and opened.revisions() == 2

    def store_and_die(route: Any) -> None:
        route.fetch()  # the server has stored the vote ...
        server.kill()
        route.abort()  # ... and its answer never arrives

    page.route("**/r/*/3", lambda route: store_and_die(route) if route.request.method == "POST" else route.continue_())
    page.keyboard.press("1")
    page.wait_for_function("() => !document.querySelector('.pair')", timeout=60_000)
    page.unroute("**/r/*/3")
    server.start()
    page.goto(f"{here.rpartition('/')[0]}/3")
    assert page.locator("[aria-pressed=true]").inner_text().startswith("1"), "this one did arrive"
    press(page, "1")
    with Study.open(study) as opened:
        assert len(opened.votes()) == opened.revisions() == 3


def test_a_phone_shows_all_of_it_and_judges_by_touch(browser: Any, server: Served, study: Path) -> None:
    page = page_of(browser, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    page.goto(server.url)
    page.fill("#name", "Anna")
    page.tap("button")
    page.wait_for_selector("text=Welcome")
    page.tap("text=Begin")
    for place in range(1, 4):
        page.wait_for_url(f"**/{place}")  # loaded
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for key in "102":
            box = page.locator(f"button[data-key='{key}']").bounding_box()
            assert box["width"] >= 44 and box["height"] >= 44
            assert box["y"] + box["height"] <= 640, "in reach of a thumb without scrolling"
        page.tap("button[data-key='2']")
    page.wait_for_url("**/4")
    assert len(votes(study)) == 3


def test_what_a_model_wrote_is_shown_as_text(browser: Any, server: Served, study: Path) -> None:
    page = page_of(browser)
    enter(page, server.url, "Anna")
    for place in range(1, 21):
        page.goto(f"{page.url.rpartition('/r/')[0]}/r/{rater(study).token}/{place}")
        if "Where is book 1?" in page.inner_text("main"):
            break
    assert "<script>document.title='owned'</script><img src=x" in page.inner_text(".asked")
    assert page.title() != "owned" and page.locator("main img, main script").count() == 0


def rater(path: Path) -> Rater:
    with Study.open(path) as study:
        return study.raters()[0]


def test_neither_page_nor_network_tells_the_source_and_nothing_leaves_the_machine(
    browser: Any, server: Served, study: Path
) -> None:
    page = page_of(browser)
    asked: list[str] = []
    told: list[str] = []

    def answered(response: Any) -> None:
        told.append(str(response.all_headers()))
        if not 300 <= response.status < 400 and not response.url.endswith("/style.css"):  # the same for every study
            told.append(response.text())

    page.on("request", lambda request: asked.append(f"{request.url} {request.post_data or ''}"))
    page.on("response", answered)
    enter(page, server.url, "Anna")
    press(page, "n")
    for key in "1212120":
        press(page, key)
    page.wait_for_load_state("networkidle")
    assert len(told) > 20 and all(one.startswith(server.url) for one in asked), asked
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    for text in (*told, *asked, stored):
        for secret in (A, B, "scotd:", "undistilled", "runs/mine", "q00", "s.sqlite"):
            assert secret not in text, secret


def test_a_wrong_token_gets_in_nowhere(browser: Any, study: Path) -> None:
    with Study.open(study) as opened:
        anna = opened.enrol("Anna")
    served = Served(["judge", "serve", str(study), "--host", "0.0.0.0", "--rater", "Anna"]).start()
    try:
        page = browser.new_context().new_page()
        wrong = anna.token[:-2] + ("xy" if anna.token[-2:] != "xy" else "yx")
        for path in ("", f"/r/{wrong}", f"/r/{wrong}/1", "/r/", "/r/1", f"/r/{anna.token.lower()}x/2"):
            page.goto(f"{served.url}{path}")
            assert "Where is book" not in page.inner_text("body") and page.locator("form").count() == 0, path
        page.goto(f"{served.url}/r/{anna.token}/2")
        assert "Where is book" in page.inner_text("body")
    finally:
        served.kill()
    assert votes(study) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_a_rater_are_accessible(browser: Any, server: Served, study: Path, scheme: str) -> None:
    page = page_of(browser, color_scheme=scheme)
    page.goto(server.url)
    accessible(page)
    enter(page, server.url, "Anna")
    accessible(page)
    press(page, "n")
    accessible(page)
    press(page, "1")
    press(page, "b")
    accessible(page)  # with a vote on it
    page.keyboard.press("Tab")
    for _ in range(12):
        if page.evaluate("document.activeElement.value") == "second":
            break
        page.keyboard.press("Tab")
    press(page, "Enter")  # Tab and Enter alone do it too
    assert votes(study)[0].pick is Pick.SECOND


def test_single_keys_can_be_turned_off_and_stay_so(browser: Any, server: Served, study: Path) -> None:
    page = page_of(browser)
    enter(page, server.url, "Anna")
    press(page, "n")
    page.uncheck("#keys")
    page.reload()
    page.keyboard.press("1")
    page.wait_for_timeout(300)
    assert not page.is_checked("#keys") and votes(study) == []


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = make_run(tmp_path_factory.mktemp("browse") / "mine", experiment={**EXPERIMENT, "name": "mine"})
    write_report(run)
    served = Served(["browse", str(run)]).start()
    yield served
    served.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_browsers_pages_are_accessible_and_lead_from_number_to_rows(
    browser: Any, browsed: Served, scheme: str
) -> None:
    page = page_of(browser, color_scheme=scheme)
    page.goto(browsed.url)
    accessible(page)
    page.click("table a >> nth=1")
    assert "mark=right" in page.url
    accessible(page)
    page.select_option("select[name=mark]", "wrong")
    page.fill("input[name=contains]", "ironic")
    page.click("text=Show")
    page.click(".found a >> nth=0")
    accessible(page)
    page.goto(f"{browsed.url}/report/0/")
    page.click('a[href^="answers/"] >> nth=0')
    assert "/answers?cell=" in page.url
    accessible(page)


def test_the_browsers_pages_fit_a_phone(browser: Any, browsed: Served) -> None:
    page = page_of(browser, viewport={"width": 360, "height": 640})
    for path in ("/", "/chains?agreement=mixed", "/question?key=feedback/test-3", "/answers?cell=0"):
        page.goto(f"{browsed.url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
