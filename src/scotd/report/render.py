"""Report -> report.html, and for each cell a page of all its answers.

Nothing a model or a user wrote can act on the page: Jinja2 escapes every value, and `clean`, which the environment
applies to every value too, makes control characters, escape codes and direction overrides visible. The page holds no
script and forbids them (Content-Security-Policy), and loads nothing.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from scotd.clean import clean
from scotd.report import bars, plots, words
from scotd.report.answers import AnswerPage, page_of
from scotd.report.collect import Report
from scotd.report.svg import legend
from scotd.report.votes import shown_votes
from scotd.types import Mark

SIGNS = {Mark.RIGHT: "✓", Mark.WRONG: "✗", Mark.UNPARSED: "?", Mark.OPEN: "–"}
CLASSES = {Mark.RIGHT: "right", Mark.WRONG: "wrong", Mark.UNPARSED: "unparsed", Mark.OPEN: "open"}
MANY = 12  # rows of the accuracy table from which on it is folded, where seeds or sweeps have a table of their own


def html(report: Report) -> str:
    """Return the whole page."""
    rows = [row for table in report.tables for row in table.rows]
    template = _environment().get_template("template.html.j2")
    return template.render(
        report=report,
        legend=legend({row.cell.target for row in rows}),
        several=len(report.runs) > 1,
        folded=len(report.runs) > 1 or (report.swept and len(rows) > MANY),
        comparisons=sum(row.comparison is not None for row in rows),
        arm_comparisons=sum(arm.against is not None for table in report.tables for arm in table.arms),
        many=bars.MANY,
        shown_votes=shown_votes,
        accuracy_plot=plots.accuracy_plot(report.tables),
        axis_plots=plots.axis_plots(report.tables),
        vote_plot=plots.vote_plot(report.votes),
        funnel_plots=[
            bars.bar_plot(
                bars.funnel_groups(run.funnel),
                f"funnel-{number}",
                "Chains asked for, received, parsed, correct and trained on. The tables below hold the same numbers.",
            )
            for number, run in enumerate(report.runs)
        ],
        time_plots=[
            bars.bar_plot(
                bars.stage_groups(run.stages, words.duration),
                f"time-{number}",
                "Seconds by stage. The table below holds the same numbers.",
            )
            for number, run in enumerate(report.runs)
        ],
    )


def answers_html(page: AnswerPage) -> str:
    """Return the page of one cell."""
    return _environment().get_template("answers.html.j2").render(page=page)


def _count(value: int | None) -> str:
    return words.DASH if value is None else f"{value:,}"


# What templates spell numbers and marks with; pages that are served use them too.
FILTERS: dict[str, Callable[..., Any]] = {
    "percent": words.percent,
    "bounds": words.bounds,
    "count": _count,
    "duration": words.duration,
    "p_number": words.p_number,
    "points": words.points,
    "spelt": words.spelt,
    "row_name": words.row_name,
    "arm_name": words.arm_name,
    "page_of": page_of,
    "sign": SIGNS.__getitem__,
    "css": CLASSES.__getitem__,
    "target": words.TARGET_NAMES.__getitem__,
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("scotd.report", "."),
        autoescape=True,
        finalize=clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
