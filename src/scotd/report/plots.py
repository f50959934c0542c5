"""The report's plots as inline SVG: drawn by matplotlib, coloured by the page's style sheet, the same bytes every time.

matplotlib draws with placeholder colours; in the result these become CSS variables, so that one drawing serves light
and dark pages. Text stays text (system fonts, selectable). Every plot is drawn twice, for wide and for narrow screens,
because a scaled-down plot cannot be read on a telephone. Every name goes through `_short`, which makes it harmless;
matplotlib escapes it.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from markupsafe import Markup, escape

from scotd.report.clean import line
from scotd.report.data import Funnel, Row, SplitTable, Stage
from scotd.report.verdict import TARGET_NAMES, percent, questions
from scotd.types import Target

WIDE, NARROW = 700.0, 272.0  # points; shown at 4/3 pixels a point
INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
BAR, GOOD = "#050505", "#060606"
TARGET_COLOURS = {
    Target.SCOTD: "#070707",
    Target.GREEDY_COT: "#080808",
    Target.LABEL_ONLY: "#090909",
    Target.UNDISTILLED: "#0a0a0a",
    Target.TEACHER: "#0b0b0b",
}
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    BAR: "--bar",
    GOOD: "--good",
    **{colour: f"--{target.value}" for target, colour in TARGET_COLOURS.items()},
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One drawing for each kind of screen; the markup is safe to put into the page."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a bar chart: how long, and what stands beside it."""

    label: str
    value: float | None
    note: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bars under a common heading."""

    title: str
    bars: tuple[Bar, ...]


def accuracy_plot(tables: Sequence[SplitTable]) -> Plot | None:
    """Draw accuracy with interval by student and decoding, one panel a split; None where nothing is evaluated."""
    if not any(row.result is not None and row.result.n for table in tables for row in table.rows):
        return None
    label = "Accuracy with intervals by student and split. The table below holds the same numbers."
    return Plot(
        wide=_svg(_accuracy(tables, WIDE, min(len(tables), 3)), "accuracy-wide", label),
        narrow=_svg(_accuracy(tables, NARROW, 1), "accuracy-narrow", label),
    )


def bar_plot(groups: Sequence[Group], name: str, label: str) -> Plot | None:
    """Draw groups of horizontal bars on one scale from 0; None where there is nothing to draw."""
    if not any(bar.value for group in groups for bar in group.bars):
        return None
    return Plot(
        wide=_svg(_bars(groups, WIDE), f"{name}-wide", label),
        narrow=_svg(_bars(groups, NARROW), f"{name}-narrow", label),
    )


def funnel_groups(funnel: Funnel) -> tuple[Group, ...]:
    """Return the funnel's bars: what became of the chains of each way of drawing, then what each student trained on."""
    groups = []
    for row in funnel.rows:
        steps = {"asked": row.asked, "received": row.received, "parsed": row.parsed, "correct": row.correct}
        bars = tuple(
            Bar(
                label=step,
                value=None if value is None else float(value),
                note=_share(value, row.asked if step == "received" else row.received if step != "asked" else None),
                colour=GOOD if step == "correct" else BAR,
            )
            for step, value in steps.items()
        )
        groups.append(Group(title=row.sampling, bars=bars))
    trained = tuple(
        Bar(
            label=student.student,
            value=None if student.trained is None else float(student.trained),
            note=_share(student.trained, None),
            colour=TARGET_COLOURS[student.target],
        )
        for student in funnel.students
    )
    return (*groups, Group(title="trained on, by student", bars=trained)) if trained else tuple(groups)


def stage_groups(stages: Sequence[Stage], duration: Any) -> tuple[Group, ...]:
    """Return one bar for each stage with its seconds; `duration` writes seconds as words."""
    bars = tuple(
        Bar(
            label=f"{stage.stage} {stage.name}".strip(),
            value=stage.seconds,
            note="not known" if stage.seconds is None else duration(stage.seconds),
            colour=BAR,
        )
        for stage in stages
        if not stage.skipped
    )
    return (Group(title="", bars=bars),) if bars else ()


def _share(value: int | None, whole: int | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,} ({percent(value / whole, 0)})" if whole else f"{value:,}"


def _short(text: str, width: float) -> str:
    """Return a name as a label: cleaned, on one line, cut where it would squeeze the drawing."""
    text, limit = line(text), 30 if width == WIDE else 22
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def _style(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, colors=MUTED, labelcolor=MUTED, labelsize=8.5)
    axes.set_axisbelow(True)


def _accuracy(tables: Sequence[SplitTable], width: float, columns: int) -> Any:
    """Draw a panel for each split. Panels side by side share their lines, so that students stand at one height."""
    lines = [[(row.cell.student, row.cell.decoding) for row in table.rows] for table in tables]
    if columns > 1:
        lines = [list(dict.fromkeys(key for keys in lines for key in keys))] * len(tables)
    several = len({decoding for keys in lines for _, decoding in keys}) > 1
    lanes = [lines[start] for start in range(0, len(tables), columns)]
    heights = [56 + 19 * len(keys) for keys in lanes]
    figure = _figure(width, sum(heights))
    figure.get_layout_engine().set(h_pad=0.09)
    grid = figure.subplots(len(lanes), columns, squeeze=False, height_ratios=[len(keys) + 1 for keys in lanes])
    for axes in grid.flat[len(tables) :]:
        axes.set_visible(False)
    for place, (axes, table, keys) in enumerate(zip(grid.flat, tables, lines, strict=False)):
        _style(axes)
        for row in table.rows:
            _whisker(axes, keys.index((row.cell.student, row.cell.decoding)), row)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.xaxis.grid(color=RULE, linewidth=0.6)
        names = [_short(f"{name}, {decoding}" if several else name, width) for name, decoding in keys]
        axes.set_yticks(range(len(keys)), names if place % columns == 0 else [""] * len(keys))
        for text in axes.get_yticklabels():
            text.set(color=INK, parse_math=False, fontsize=9)
        sizes = {row.result.n for row in table.rows if row.result is not None}
        asked = f" · {questions(sizes.pop())}" if len(sizes) == 1 else ""
        axes.set_title(
            _short(table.split, width) + asked, loc="left", fontsize=9.5, color=INK, weight="bold", parse_math=False
        )
        if table.chance is not None:
            axes.axvline(100 * table.chance, color=INK, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
            axes.set_xlabel(f"dashed: guessing, {percent(table.chance)}", fontsize=8.5, color=MUTED, loc="left")
    return figure


def _whisker(axes: Any, y: int, row: Row) -> None:
    """Draw one interval with its accuracy: a disc for greedy answers, a square for votes; the number at the right."""
    edge = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    if row.result is None or row.result.interval is None or row.result.accuracy is None:
        words = "not yet there" if row.result is None else "no gold labels"
        axes.annotate(words, (0.02, y), color=MUTED, fontsize=8.5, style="italic", **edge)
        return
    colour, value = TARGET_COLOURS[row.cell.target], 100 * row.result.accuracy
    low, high = (100 * bound for bound in row.result.interval)
    axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round", zorder=2, clip_on=False)
    shape = "o" if row.cell.votes == 1 else "s"
    axes.plot([value], [y], shape, color=colour, markersize=6.5, markeredgecolor=PAPER, zorder=3, clip_on=False)
    axes.annotate(f"{value:.1f}", (1.03, y), color=INK, fontsize=8.5, **edge)


def _bars(groups: Sequence[Group], width: float) -> Any:
    places: list[tuple[float, Bar]] = []
    heads: list[tuple[float, str]] = []
    y = 0.0
    for group in groups:
        if group.title:
            heads.append((y, group.title))
            y += 0.95
        for bar in group.bars:
            places.append((y, bar))
            y += 1
        y += 0.35
    figure = _figure(width, 14 + 17 * y)
    axes = figure.subplots()
    _style(axes)
    axes.spines["bottom"].set_visible(False)
    top = max(bar.value or 0 for _, bar in places)
    for place, bar in places:
        axes.barh(place, bar.value or 0, height=0.66, color=bar.colour, linewidth=0)
        axes.annotate(
            bar.note, (bar.value or 0, place), (5, 0), textcoords="offset points", va="center", color=INK,
            fontsize=8.5, parse_math=False,
        )  # fmt: skip
    for place, title in heads:
        axes.annotate(
            _short(title, WIDE), (0, place), (0, 0), textcoords="offset points", va="center", color=MUTED,
            fontsize=9, weight="bold", parse_math=False,
        )  # fmt: skip
    # Room at the right for the longest note, which stands outside its bar.
    axes.set_xlim(0, top * (1.22 if width == WIDE else 1.75))
    axes.set_ylim(y - 0.6, -0.7)
    axes.set_xticks([])
    axes.set_yticks([place for place, _ in places], [_short(bar.label, width) for _, bar in places])
    for text in axes.get_yticklabels():
        text.set(color=INK, parse_math=False, fontsize=9)
    return figure


def _svg(figure: Any, name: str, label: str) -> Markup:
    """Save a figure as SVG for the middle of an HTML page.

    What an SVG file carries and a page must not: the XML head, comments, a style sheet that would hold for the whole
    page, ids that would stand there twice.
    """
    from matplotlib import rc_context

    stream = StringIO()
    options: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"scotd-{name}",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.parse_math": False,
    }
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context(options), warnings.catch_warnings():
        # Names may be in any script. The reader's own fonts draw them; matplotlib's is used to measure only.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        _settle(figure)
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style\b.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    text = re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})", lambda found: _variable(found[1], found[2]), text)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None
    width, height = (4 / 3 * float(side) for side in box.groups())
    head = (
        f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="0 0 {box[1]} {box[2]}" '
        f'width="{width:.0f}" height="{height:.0f}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + text[text.index(">") + 1 :])


def _settle(figure: Any) -> None:
    """Lay the figure out once and hold the places, rounded: the solver's last digits differ from call to call."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(side, 4) for side in axes.get_position().bounds])


def _variable(attribute: str, colour: str) -> str:
    name = VARIABLES.get(colour)
    return f"{attribute}: {colour}" if name is None else f"{attribute}: var({name})"


def legend() -> tuple[tuple[str, str], ...]:
    """Return each target's name with the CSS variable of its colour."""
    return tuple((TARGET_NAMES[target], VARIABLES[TARGET_COLOURS[target]]) for target in TARGET_COLOURS)
