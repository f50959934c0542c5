"""Fifty raters at once, a server that is killed under them, and every vote that was acknowledged once in the file.

pytest -m slow tests/test_judge_load.py -s     # 10,000 votes, 5 kills; prints its figures
pytest -m "not slow" tests/test_judge_load.py  # 120 votes, 1 kill
"""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

pytest.importorskip("uvicorn")  # the extra `web`

from studies import make_study

from scotd.judge.store import Study
from scotd.judge.study import Pick

PICKS = {"first": Pick.FIRST, "second": Pick.SECOND, "tie": Pick.TIE}
SECONDS = 120  # that a server may take to start on a busy machine


@dataclass
class Server:
    """`scotd judge serve` in a process of its own, on one port, killed and started again."""

    study: Path
    port: int = 0
    process: "subprocess.Popen[str] | None" = None
    kills: int = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "scotd.cli", "judge", "serve", str(self.study), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://[\d.]+:(\d+)", self.process.stdout.readline())
        assert found is not None, "the server did not start"
        self.port = int(found[1])

    def kill(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.kills += 1


@dataclass
class SimulatedRater:
    """Judges every place over HTTP; clicks twice now and then, and after any failure looks again and repeats."""

    url: str
    name: str
    places: int
    stop: threading.Event
    acknowledged: dict[int, Pick] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    clicks: int = 0

    def run(self) -> None:
        dice = random.Random(self.name)
        with httpx.Client(base_url=self.url, timeout=60.0) as client:
            here = self._try(lambda: client.post("/raters", data={"name": self.name}).headers["location"])
            for place in range(1, self.places + 1):
                if self.stop.is_set():
                    return
                pick = dice.choice(list(PICKS))
                twice = dice.random() < 0.1

                def click(place: int = place, pick: str = pick, twice: bool = twice) -> None:
                    page = client.get(f"{here}/{place}").text
                    revision = re.search(r'name="revision" value="(\d+)"', page)
                    assert revision is not None, page
                    for _ in range(1 + twice):
                        started = time.monotonic()
                        form = {"pick": pick, "revision": revision[1], "seconds": "0.0"}
                        answer = client.post(f"{here}/{place}", data=form)
                        assert answer.status_code == 303, (answer.status_code, answer.text)
                        self.seconds.append(time.monotonic() - started)
                        self.clicks += 1

                self._try(click)
                self.acknowledged[place] = PICKS[pick]

    def _try(self, act):  # type: ignore[no-untyped-def]
        while not self.stop.is_set():
            try:
                return act()
            except (httpx.TransportError, KeyError):
                self.failures += 1
                time.sleep(0.1)
        raise AssertionError("stopped")


@pytest.mark.parametrize(
    ("raters", "places", "kills"), [(6, 20, 1), pytest.param(50, 200, 5, marks=pytest.mark.slow)], ids=["small", "full"]
)
def test_every_vote_of_many_raters_is_stored_once_though_the_server_is_killed(
    tmp_path: Path, raters: int, places: int, kills: int
) -> None:
    path = tmp_path / "s.sqlite"
    make_study(path, n=places).close()
    server = Server(path)
    server.start()
    stop = threading.Event()
    crowd = [SimulatedRater(f"http://127.0.0.1:{server.port}", f"rater {n}", places, stop) for n in range(raters)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in crowd]
    started = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        for kill in range(1, kills + 1):
            due = raters * places * kill // (kills + 1)
            while sum(len(one.acknowledged) for one in crowd) < due:
                assert any(thread.is_alive() for thread in threads)
                time.sleep(0.01)
            server.kill()
            server.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        server.kill()
    elapsed = time.monotonic() - started
    with Study.open(path) as study:
        stored = {rater.name: {one.place: one.pick for one in study.votes(rater)} for rater in study.raters()}
        assert stored == {one.name: one.acknowledged for one in crowd}
        assert sum(map(len, stored.values())) == study.revisions() == raters * places
    assert server.kills == kills + 1 and sum(one.failures for one in crowd) > 0
    waits = sorted(second for one in crowd for second in one.seconds)
    clicks, lost = (sum(getattr(one, name) for one in crowd) for name in ("clicks", "failures"))
    sys.stdout.write(
        f"\n{raters * places:,} votes by {raters} raters in {elapsed:.0f} s, {clicks:,} clicks, {kills} kills, "
        f"{lost:,} requests without an answer; a click took {1000 * waits[len(waits) // 2]:.0f} ms (median), "
        f"{1000 * waits[int(0.99 * len(waits))]:.0f} ms (99 %)\n"
    )
