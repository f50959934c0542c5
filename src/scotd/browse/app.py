"""The browser's pages. Read-only; every number leads to the rows behind it.

/                       what the corpus holds, what selections kept, how students answered
/chains?mark=wrong&...  chains by any filter
/question?key=...       one question with its chains by answer, students' answers, votes
/answers?cell=0&...     a student's answers, all of them or those that differ from another's
/report/0/              a run's report; its numbers lead to /answers and /chains
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from scotd.browse.library import Library
from scotd.browse.question import chain_facts, question_page
from scotd.browse.search import AGREEMENT, KEPT_WORD, ORDERS, PAGE, Query, passing, search
from scotd.corpus.columns import KEPT, NONE, Columns
from scotd.errors import DataError
from scotd.report.answers import page_of
from scotd.report.data import Answer, Cell
from scotd.types import Mark, NoAnswer
from scotd.web.app import application
from scotd.web.pages import Pages

TITLE = "Chains"
MOST_CHOICES = 200  # of one filter's menu
CUT = 700  # characters of a chain in a list
OF_REPORT = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
ROWS_OF_REPORT = re.compile(r'<span data-rows="([^"<>]*)">([^<>]*)</span>')  # as the report's template writes them


def browsing(library: Library, hosts: tuple[str, ...] | None) -> FastAPI:
    """The application."""
    app = application(TITLE, hosts)
    pages = Pages("scotd.browse", {"key_link": _key_link})
    columns = library.columns
    overview = _overview(library)  # counted once: the columns do not change
    menus = _menus(columns)

    def page(template: str, **values: Any) -> HTMLResponse:
        common = {"title": TITLE, "library": library, "columns": columns, "Query": Query, "Mark": Mark}
        return HTMLResponse(pages.html(template, **common, **values))

    @app.get("/")
    def start() -> HTMLResponse:
        return page("overview.html.j2", **overview)

    @app.get("/chains")
    def chains(request: Request) -> HTMLResponse:
        try:
            query = Query.of(request.query_params)
            found = search(columns, query)
        except DataError as error:
            raise HTTPException(422, str(error)) from None
        rows = [(chain_facts(columns, row), text) for row, text in zip(found.rows, found.texts, strict=True)]
        return page("chains.html.j2", query=query, found=found, rows=rows, menus=menus, cut=CUT, page_size=PAGE)

    @app.get("/question")
    def question(key: str, show: str = "") -> HTMLResponse:
        made = question_page(library, key, all_chains=show == "all")
        if made is None:
            raise HTTPException(404, f"The corpus has no question '{key}'.")
        return page("question.html.j2", page=made)

    @app.get("/answers")
    def answers(request: Request) -> HTMLResponse:
        given = request.query_params
        cell, rows = _cell(library, given.get("cell", ""))
        other = given.get("other", "")
        against = _cell(library, other) if other else None
        wanted = given.get("mark", "")
        if wanted and wanted not in list(Mark):
            raise HTTPException(422, f"There is no mark '{wanted}'. Known: {', '.join(Mark)}.")
        found = [
            (answer, None if against is None else against[1].get(key))
            for key, answer in sorted(rows.items())
            if wanted in ("", answer.mark)
            and (against is None or (key in against[1] and against[1][key].answer != answer.answer))
        ]
        after = int(given["after"]) if given.get("after", "").isdigit() else 0
        return page(
            "answers.html.j2",
            cell=cell,
            number=int(given["cell"]),
            counts=Counter(answer.mark for answer in rows.values()),
            total=len(found),
            rows=found[after : after + PAGE],
            questions={question.key: question for question in columns.questions},
            wanted=wanted,
            other=other,
            against=None if against is None else against[0],
            after=after,
            page_size=PAGE,
        )

    @app.get("/report/{number}/")
    def report(number: int) -> Response:
        path = _at(library.folders, number) / "report.html"
        if not path.is_file():
            raise HTTPException(404, f"{path.parent} has no report yet: `scotd report {path.parent}` writes it.")
        text = ROWS_OF_REPORT.sub(partial(_row_link, columns), path.read_text("utf-8"))
        return HTMLResponse(text, headers=OF_REPORT)

    @app.get("/report/{number}/answers/{name}")
    def behind(number: int, name: str) -> Response:
        run = _at(library.runs, number)
        for place, (owner, cell) in enumerate(library.cells):
            if owner is run and _page_name(cell) == name:
                return RedirectResponse(f"/answers?cell={place}")
        raise HTTPException(404, "The report is older than the run's answers: `scotd report` writes it anew.")

    return app


def _row_link(columns: Columns, found: re.Match[str]) -> str:
    """A number of a report as a link to its rows; as it stands where the corpus no longer holds that selection."""
    query, number = found.groups()
    named = parse_qs(unescape(query)).get("selection", [""])[0]
    known = {one.title for one in columns.selections}
    return f'<a href="/chains?{query}">{number}</a>' if named in known else found[0]


def _page_name(cell: Cell) -> str:
    """A cell's page as the run's own report names it, which knows of no other run."""
    return page_of(replace(cell, run="")).rpartition("/")[2]


def _at(values: Any, number: int) -> Any:
    if not 0 <= number < len(values):
        raise HTTPException(404, "There is no such run here.")
    return values[number]


def _cell(library: Library, number: str) -> tuple[Cell, Mapping[str, Answer]]:
    if not number.isdigit() or int(number) >= len(library.cells):
        raise HTTPException(404, "There are no such answers here.")
    run, cell = library.cells[int(number)]
    return cell, run.predictions[cell]


def _key_link(key: str) -> str:
    return f"/question?{urlencode({'key': key})}"


def _overview(library: Library) -> dict[str, Any]:
    """Counts of the first page, each with the query that shows its rows."""
    columns = library.columns
    splits = sorted({(question.task, question.split) for question in columns.questions})
    asked = Counter((question.task, question.split) for question in columns.questions)
    table = []
    for task, split in splits:
        mask = passing(columns, Query(task=task, split=split))
        marks = np.bincount(columns.mark[mask], minlength=len(Mark)).tolist()
        table.append((Query(task=task, split=split), asked[task, split], int(mask.sum()), marks))
    unparsed = [(reason.value, int((columns.reason == place).sum())) for place, reason in enumerate(NoAnswer)]
    selections = []
    for fates in columns.selections:
        counted = [(reason, int((fates.row == place).sum())) for place, reason in enumerate(fates.reasons, start=1)]
        named = fates.title
        selections.append((named, int((fates.row == KEPT).sum()), counted))
    cells = []
    for number, (run, cell) in enumerate(library.cells):
        counts = Counter(answer.mark for answer in run.predictions[cell].values())
        cells.append((number, run.part.name, cell, counts))
    return {
        "table": table,
        "unparsed": [one for one in unparsed if one[1]],
        "selections": selections,
        "cells": cells,
    }


def _menus(columns: Columns) -> dict[str, list[str]]:
    """What each filter's menu offers; a long one is cut, and its values still work in the address."""
    present = {int(code) for code in np.unique(columns.answer)} - {NONE}
    reasons = sorted({reason for fates in columns.selections for reason in fates.reasons})
    menus = {
        "task": sorted({question.task for question in columns.questions}),
        "split": sorted({question.split for question in columns.questions}),
        "teacher": list(columns.teachers),
        "mark": [mark.value for mark in Mark],
        "reason": [reason.value for reason in NoAnswer],
        "answer": sorted(columns.labels[code] for code in present),
        "selection": [fates.title for fates in columns.selections],
        "fate": [KEPT_WORD, *reasons] if columns.selections else [],
        "agreement": list(AGREEMENT),
        "order": list(ORDERS),
    }
    assert menus.keys() <= {one.name for one in fields(Query)}
    return {name: values[:MOST_CHOICES] for name, values in menus.items()}
