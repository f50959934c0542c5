"""The pages on which raters judge: one item at a time, two chains side by side, sources hidden.

    /                 your name (on this machine only)
    /r/TOKEN          a rater's start: what is asked, how far they are
    /r/TOKEN/7        the seventh item of that rater's list; POST casts the vote
    /r/TOKEN/7/undo   POST takes it back

A page holds the question, the two texts and the rater's own vote. Items are known to the browser by their place in the
rater's list alone: nothing in a page, an address or a header depends on where a text came from.
"""

from importlib.resources import files
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from scotd.errors import DataError
from scotd.judge.store import Cast, Study
from scotd.judge.study import Pick, Rater
from scotd.web.app import LOOPBACK, Form, application
from scotd.web.pages import Pages

TITLE = "Judging chains"
AFTER_POST = 303


def _known(token: str, request: Request) -> Rater:
    rater: Rater | None = request.app.state.study.rater(token)
    if rater is None:
        raise HTTPException(404, "No study is open under this address. Ask whoever sent you the link.")
    return rater


Known = Annotated[Rater, Depends(_known)]


def judging(study: Study, *, open_to_all: bool) -> FastAPI:
    """The application; `open_to_all`: who reaches it may enter a name (loopback), else only tokens let in."""
    app = application(TITLE, LOOPBACK if open_to_all else None)
    app.state.study = study
    pages = Pages("scotd.judge")
    script = files("scotd.judge").joinpath("judge.js").read_text(encoding="utf-8")

    def start(rater: Rater) -> str:
        return f"/r/{rater.token}"

    def onward(rater: Rater, after: int = 0) -> str:
        """Where a rater goes on: the next place without a vote, around the end of the list, or the start page."""
        voted = {vote.place for vote in study.votes(rater)}
        places = range(1, len(study.list_of(rater)) + 1)
        left = [place for place in places if place not in voted]
        following = next((place for place in left if place > after), left[0] if left else None)
        return start(rater) if following is None else f"{start(rater)}/{following}"

    @app.get("/judge.js")
    def js() -> Response:
        return Response(script, media_type="text/javascript; charset=utf-8")

    @app.get("/")
    def enter() -> HTMLResponse:
        return HTMLResponse(pages.html("enter.html.j2", title=TITLE, open_to_all=open_to_all, problem=None))

    @app.post("/raters")
    def enrol(form: Form) -> Response:
        if not open_to_all:
            raise HTTPException(404, "Raters come by their own links here.")
        try:
            rater = study.enrol(form.get("name", ""))
        except DataError:
            page = pages.html(
                "enter.html.j2", title=TITLE, open_to_all=True, problem="Enter a name of 1 to 60 letters."
            )
            return HTMLResponse(page, status_code=422)
        return RedirectResponse(start(rater), AFTER_POST)

    @app.get("/r/{token}")
    def overview(rater: Known) -> HTMLResponse:
        votes = study.votes(rater)
        return HTMLResponse(
            pages.html(
                "overview.html.j2",
                title=TITLE,
                settings=study.settings,
                rater=rater,
                here=start(rater),
                onward=onward(rater),
                done=len(votes),
                total=len(study.list_of(rater)),
                last=study.last_place(rater),
            )
        )

    def item_page(rater: Rater, place: int, told: str = "", status: int = 200) -> HTMLResponse:
        shown = study.list_of(rater)
        if not 1 <= place <= len(shown):
            raise HTTPException(404, f"This study has places 1 to {len(shown)}.")
        study.see(rater, place)
        votes = study.votes(rater)
        vote = next((one for one in votes if one.place == place), None)
        pair = study.items[shown[place - 1].item].pair
        texts = (pair.a, pair.b) if shown[place - 1].first == "a" else (pair.b, pair.a)
        page = pages.html(
            "item.html.j2",
            title=TITLE,
            settings=study.settings,
            here=start(rater),
            place=place,
            total=len(shown),
            done=len(votes),
            question=pair.question,
            texts=texts,
            vote=vote,
            revision=study.revision(rater, place),
            onward=onward(rater, place) if vote else None,
            undo=_undo(study, rater),
            told=told,
            Pick=Pick,
        )
        return HTMLResponse(page, status_code=status)

    @app.get("/r/{token}/{place}")
    def item(rater: Known, place: int) -> HTMLResponse:
        return item_page(rater, place)

    @app.post("/r/{token}/{place}")
    def vote(rater: Known, place: int, form: Form) -> Response:
        try:
            came = study.cast(
                rater,
                place,
                seen=int(form["revision"]),
                pick=Pick(form["pick"]),
                rubric=[_pick(form.get(f"rubric-{number}")) for number in range(len(study.settings.rubric))],
                seconds=_seconds(form.get("seconds")),
            )
        except (KeyError, ValueError):
            raise HTTPException(422, "This vote cannot be read. Go back and choose again.") from None
        if came is Cast.STALE:
            told = "Your vote here was changed in another window. This is how it stands; change it below if you like."
            return item_page(rater, place, told, status=409)
        return RedirectResponse(onward(rater, place), AFTER_POST)

    @app.post("/r/{token}/{place}/undo")
    def undo(rater: Known, place: int, form: Form) -> Response:
        try:
            study.cast(rater, place, seen=int(form["revision"]), pick=None)
        except (KeyError, ValueError):
            raise HTTPException(422, "This cannot be undone. Go back to the item and choose again.") from None
        return RedirectResponse(f"{start(rater)}/{place}", AFTER_POST)

    return app


def _undo(study: Study, rater: Rater) -> tuple[int, int] | None:
    """Place and revision of the vote that undoing would take back."""
    place = study.last_place(rater)
    return None if place is None else (place, study.revision(rater, place))


def _pick(value: str | None) -> Pick | None:
    return None if value in (None, "") else Pick(value)


def _seconds(value: str | None) -> float | None:
    """Seconds as the page counted them; None without a script, and where it is no number."""
    try:
        return round(float(value), 2) if value else None
    except ValueError:
        return None
