"""A FastAPI application that answers its own pages and nothing else.

Every answer carries a policy under which the page may load its own style sheet and script and nothing from anywhere,
may not be framed, and tells nobody where its reader came from. The host name is checked, so that no other site can
reach a server on this machine under a name of its own (DNS rebinding).
"""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scotd.web.pages import Pages, style_sheet

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; img-src data:; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
MOST_FORM = 16_384  # bytes
CSS = "text/css; charset=utf-8"


class Headers:
    """Puts the headers on every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def application(title: str, hosts: Sequence[str] | None = LOOPBACK) -> FastAPI:
    """An application with the style sheet and plain error pages; `hosts` are the names it answers to, None for any."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(Headers)
    pages = Pages("scotd.web")
    sheet = style_sheet()

    @app.get("/style.css")
    def style() -> Response:
        return Response(sheet, media_type=CSS)

    @app.exception_handler(StarletteHTTPException)
    def error(_: Request, problem: StarletteHTTPException) -> Response:
        text = pages.html("error.html.j2", title=title, detail=problem.detail)
        return Response(text, status_code=problem.status_code, media_type="text/html; charset=utf-8")

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, _: RequestValidationError) -> Response:
        return error(request, StarletteHTTPException(404, "There is no such page."))

    return app


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is given twice the last counts. Refuses what another site sends."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "This form was sent by another site.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM:
            raise HTTPException(413, "This form is too long.")
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise HTTPException(400, "This form cannot be read.") from None


Form = Annotated[dict[str, str], Depends(_form)]
