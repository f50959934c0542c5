"""Report -> report.html, results.md, summary.json.

Nothing a model or a user wrote can act on the page or on the terminal that prints it: Jinja2 escapes every value, and
`clean`, which the environment applies to every value too, makes control characters, escape codes and direction
overrides visible. The page holds no script and forbids them (Content-Security-Policy), and loads nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from scotd.report import plots
from scotd.report.clean import clean, cleaned, line
from scotd.report.data import Mark, Report, Row
from scotd.report.verdict import TARGET_NAMES, p_number, percent, points

SIGNS = {Mark.RIGHT: "✓", Mark.WRONG: "✗", Mark.UNPARSED: "?", Mark.OPEN: "–"}
CLASSES = {Mark.RIGHT: "right", Mark.WRONG: "wrong", Mark.UNPARSED: "unparsed", Mark.OPEN: "open"}
DASH = "–"


def html(report: Report) -> str:
    """Return the whole page."""
    environment = Environment(
        loader=PackageLoader("scotd.report", "."),
        autoescape=True,
        finalize=clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "count": _count,
        "duration": duration,
        "p_number": p_number,
        "points": points,
        "sign": SIGNS.__getitem__,
        "css": CLASSES.__getitem__,
        "target": TARGET_NAMES.__getitem__,
    }
    return environment.get_template("template.html.j2").render(
        report=report,
        legend=plots.legend(),
        comparisons=sum(row.comparison is not None for table in report.tables for row in table.rows),
        total_seconds=sum(stage.seconds or 0 for stage in report.stages if not stage.skipped),
        total_tokens=sum(stage.tokens or 0 for stage in report.stages if not stage.skipped),
        plots={
            "accuracy": plots.accuracy_plot(report.tables),
            "funnel": plots.bar_plot(
                plots.funnel_groups(report.funnel),
                "funnel",
                "Chains asked for, received, parsed, correct and trained on. The tables below hold the same numbers.",
            ),
            "time": plots.bar_plot(
                plots.stage_groups(report.stages, duration),
                "time",
                "Seconds by stage. The table below holds the same numbers.",
            ),
        },
    )


def duration(seconds: float) -> str:
    """Return seconds as "4.2 s", "1 min 20 s", "2 h 05 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s" if seconds < 9.95 else f"{seconds:.0f}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def markdown(report: Report) -> str:
    """Return the accuracy table with verdict and limits as Markdown, for pasting into a log or an issue."""
    lines = [f"## {_cell(report.name)}", "", _paragraph(report.verdict), ""]
    if report.limits:
        lines += [_paragraph(report.limits), ""]
    confidence = f"{100 * report.confidence:g} %"
    against = [] if report.baseline is None else [f"against {_cell(report.baseline)}", "p (McNemar)"]
    head = ["split", "student", "target", "decoding", "n", "correct", "accuracy", f"{confidence} interval"]
    head += ["unparsed", "ties", "tokens", *against]
    lines += [_md(head), _md(["---"] * 4 + ["--:"] * (len(head) - 4))]
    for table in report.tables:
        for row in table.rows:
            cell = row.cell
            names = [table.split, cell.student, TARGET_NAMES[cell.target], cell.decoding]
            lines.append(_md([*map(_cell, names), *_numbers(row, bool(against))]))
    lines += ["", *(f"Guessing on {_cell(t.split)}: {percent(t.chance)}." for t in report.tables if t.chance)]
    return "\n".join(lines).rstrip().replace("\u00a0", " ") + "\n"


def _numbers(row: Row, against: bool) -> list[str]:
    """Return a row's cells from n on."""
    result, comparison = row.result, row.comparison
    if result is None:
        return ["not yet there"] + [""] * (8 if against else 6)
    accuracy = DASH if result.accuracy is None else percent(result.accuracy)
    interval = DASH
    if result.interval is not None:
        interval = f"{100 * result.interval.low:.1f} to {100 * result.interval.high:.1f}"
    unparsed = percent(result.unparsed / result.answered) if result.answered else DASH
    tokens = DASH if result.tokens is None else f"{result.tokens:.1f}"
    cells = [str(result.n), str(result.correct), accuracy, interval, unparsed, str(result.ties), tokens]
    if not against:
        return cells
    if comparison is None:
        return [*cells, DASH, DASH]
    pairs = f"{points(comparison.difference)} ({comparison.only_this} : {comparison.only_baseline})"
    return [*cells, pairs, p_number(comparison.p)]


def _paragraph(sentences: Sequence[str]) -> str:
    return _cell(" ".join(sentences))


def _cell(text: str) -> str:
    """Escape what Markdown or the HTML inside it would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", line(text))


def _md(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def summary(report: Report) -> str:
    """Return the accuracy table as JSON, one object a row; `result` and `comparison` are null where there is none."""
    rows = [
        {
            "split": table.split,
            "student": row.cell.student,
            "target": row.cell.target.value,
            "decoding": row.cell.decoding,
            "chance": table.chance,
            "result": None if row.result is None else _result(row),
            "comparison": _comparison(row),
        }
        for table in report.tables
        for row in table.rows
    ]
    value = {"name": report.name, "confidence": report.confidence, "baseline": report.baseline, "rows": rows}
    return json.dumps(cleaned(value), indent=1, ensure_ascii=False) + "\n"


def _result(row: Row) -> Mapping[str, Any]:
    result = row.result
    assert result is not None
    return {
        "n": result.n,
        "unlabelled": result.unlabelled,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "interval": None if result.interval is None else list(result.interval),
        "unparsed": result.unparsed,
        "reasons": result.reasons,
        "ties": result.ties,
        "chains": result.chains,
        "chains_unparsed": result.chains_unparsed,
        "tokens": result.tokens,
    }


def _comparison(row: Row) -> Mapping[str, Any] | None:
    comparison = row.comparison
    if comparison is None:
        return None
    return {
        "student": comparison.student,
        "decoding": comparison.decoding,
        "pairs": comparison.pairs,
        "only_this": comparison.only_this,
        "only_baseline": comparison.only_baseline,
        "difference": comparison.difference,
        "p": comparison.p,
    }
