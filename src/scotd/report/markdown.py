"""Report -> results.md: the tables of the page as Markdown.

Every text of a model or a user is escaped, and made harmless for the terminal that prints the file.
"""

import re
from collections.abc import Iterator, Sequence

from scotd.clean import line
from scotd.report.collect import Report
from scotd.report.data import Against, Arm, Row
from scotd.report.votes import shown_votes
from scotd.report.words import DASH, TARGET_NAMES, arm_name, bounds, p_number, percent, points, row_name
from scotd.stats import Estimate


def markdown(report: Report) -> str:
    """Return the tables with verdict and limits as Markdown, for pasting into a log or an issue."""
    lines = [f"## {_cell(report.name)}", "", _paragraph(report.verdict), ""]
    if report.limits:
        lines += [_paragraph(report.limits), ""]
    if report.swept:
        lines += [*_arms(report), ""]
    lines += [*_rows(report), ""]
    lines += [f"Guessing on {_cell(table.split)}: {percent(table.chance)}." for table in report.tables if table.chance]
    for part in (_votes(report), _contrasts(report), _between(report), _published(report)):
        found = list(part)
        lines += ["", *found] if found else []
    return "\n".join(lines).rstrip().replace("\u00a0", " ") + "\n"


def _rows(report: Report) -> Iterator[str]:
    """The accuracy table: one line for each student, split and decoding."""
    runs = ["run"] if len(report.runs) > 1 else []
    against = [] if report.baseline is None else [f"against {_cell(report.baseline)}", "p (McNemar)"]
    names = [*runs, "split", "student", "target", "decoding"]
    numbers = ["n", "correct", "accuracy", f"{100 * report.confidence:g} % interval", "unparsed", "ties", "tokens"]
    yield from _head(names, [*numbers, *against])
    for table in report.tables:
        for row in table.rows:
            cell = row.cell
            texts = [cell.run] if runs else []
            texts += [table.split, cell.student, TARGET_NAMES[cell.target], cell.decoding]
            yield _md([*map(_cell, texts), *_numbers(row, bool(against))])


def _numbers(row: Row, against: bool) -> list[str]:
    """Return a row's cells from n on."""
    result, comparison = row.result, row.comparison
    if result is None:
        return ["not yet there"] + [""] * (8 if against else 6)
    accuracy = DASH if result.accuracy is None else percent(result.accuracy)
    unparsed = percent(result.unparsed / result.answered) if result.answered else DASH
    cells = [str(result.n), str(result.correct), accuracy, bounds(result.interval), unparsed, str(result.ties)]
    cells.append(DASH if result.tokens is None else f"{result.tokens:.1f}")
    if not against:
        return cells
    if comparison is None:
        return [*cells, DASH, DASH]
    pairs = f"{points(comparison.difference)} ({comparison.only_this} : {comparison.only_baseline})"
    return [*cells, pairs, p_number(comparison.p)]


def _arms(report: Report) -> Iterator[str]:
    """The table of means over seeds: one line for each row of the experiment and place in its sweep."""
    against = [] if report.baseline is None else [f"against {_cell(report.baseline)}", "p (bootstrap)", "p (McNemar)"]
    numbers = ["seeds", "n", "accuracy", f"{100 * report.confidence:g} % interval", "each seed", "unparsed", "tokens"]
    yield from _head(["split", "row", "target", "decoding"], [*numbers, *against])
    for table in report.tables:
        for arm in table.arms:
            names = [table.split, arm_name(arm.cell), TARGET_NAMES[arm.cell.target], arm.cell.decoding]
            yield _md([*map(_cell, names), *_arm_numbers(arm, bool(against))])


def _arm_numbers(arm: Arm, against: bool) -> list[str]:
    if not arm.results:
        return ["not yet there"] + [""] * (9 if against else 6)
    own = [DASH if accuracy is None else f"{100 * accuracy:.1f}" for _, accuracy in arm.accuracies]
    cells = [f"{len(arm.results)} of {len(arm.rows)}" if len(arm.results) < len(arm.rows) else str(len(arm.rows))]
    cells += [str(arm.n), DASH if arm.mean is None else percent(arm.mean), bounds(arm.interval)]
    cells += [", ".join(own) if len(own) > 1 else DASH, DASH if arm.unparsed is None else percent(arm.unparsed)]
    cells.append(DASH if arm.tokens is None else f"{arm.tokens:.1f}")
    exact = ", ".join(DASH if row.comparison is None else p_number(row.comparison.p) for row in arm.rows)
    return [*cells, *_against(arm.against), exact] if against else cells


def _against(against: Against | None) -> list[str]:
    if against is None:
        return [DASH, DASH]
    mean, interval, p = against.difference
    return [f"{points(mean)} ({bounds(interval, signed=True)})", p_number(p)]


def _votes(report: Report) -> Iterator[str]:
    for split, curves in report.votes:
        columns = shown_votes(max(len(curve.accuracies) for curve in curves))
        yield f"Accuracy on {_cell(split)} by votes, expected over all subsets of the sampled chains:"
        yield ""
        yield from _head(["row", "decoding"], ["seeds", "n", *map(str, columns)])
        for curve in curves:
            names = map(_cell, (arm_name(curve.cell), curve.cell.decoding))
            found = curve.accuracies
            shown = (f"{_estimate(found[k - 1])}" if k <= len(found) else DASH for k in columns)
            yield _md([*names, str(curve.seeds), str(curve.n), *shown])
        yield ""


def _contrasts(report: Report) -> Iterator[str]:
    for split, rows in report.contrasts:
        yield f"Pairs of {_cell(split)} and the questions they are a minimal change of, right on both (consistent):"
        yield ""
        yield from _head(["row", "decoding"], ["seeds", "pairs", "original", "changed", "consistent"])
        for row in rows:
            names = map(_cell, (arm_name(row.cell), row.cell.decoding))
            numbers = [str(row.seeds), str(row.pairs), percent(row.original), percent(row.changed)]
            yield _md([*names, *numbers, _estimate(row.consistent)])
        yield ""


def _between(report: Report) -> Iterator[str]:
    for split, rows in report.between:
        yield f"Between runs, on {_cell(split)}:"
        yield ""
        yield from _head(
            ["row", "decoding", "in", "against"], ["seeds", "questions", "difference", "p (bootstrap)", ""]
        )
        for row in rows:
            names = map(_cell, (row_name(row.cell), row.cell.decoding, row.cell.run, row.other.run))
            found = row.against
            sizes = [DASH, DASH] if found is None else [str(found.seeds), str(found.pairs)]
            yield _md([*names, *sizes, *_against(found), _cell(row.why)])
        yield ""
    yield from map(_cell, report.alone)
    if report.differing:
        yield from ("", "Settings that differ:", "")
        yield from _head(["setting", *(_cell(run.name) for run in report.runs)], [])
        for setting in report.differing:
            yield _md([_cell(text or DASH) for text in (setting.key, *setting.values)])


def _published(report: Report) -> Iterator[str]:
    for part in report.published:
        yield f"Beside published numbers{f' ({_cell(part.run)})' if part.run else ''}:"
        yield ""
        yield from _head(["what", "where", "ours"], ["published", "here", "interval", "difference"])
        for row in part.rows:
            arm = row.arm
            ours = row.row if arm is None else f"{arm_name(arm.cell)}, {arm.cell.decoding}"
            numbers = [percent(row.published), "not yet there", "", ""]
            if arm is not None and arm.mean is not None:
                numbers[1:] = [percent(arm.mean), bounds(arm.interval), points(arm.mean - row.published)]
            what = f"{row.what} ({row.note})" if row.note else row.what
            yield _md([*map(_cell, (what, row.where, f"{ours}, {row.split}")), *numbers])
        yield ""
        if part.differences:
            yield "Differences in set-up:"
            yield ""
            yield from (f"- {_cell(sentence)}" for sentence in part.differences)
            yield ""


def _estimate(estimate: Estimate) -> str:
    return f"{percent(estimate.mean)} ({bounds(estimate.interval)})"


def _paragraph(sentences: Sequence[str]) -> str:
    return _cell(" ".join(sentences))


def _cell(text: str) -> str:
    """Escape what Markdown or the HTML inside it would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", line(text))


def _head(names: Sequence[str], numbers: Sequence[str]) -> Iterator[str]:
    yield _md([*names, *numbers])
    yield _md(["---"] * len(names) + ["--:"] * len(numbers))


def _md(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
