"""Line plots: accuracy against a number, with intervals, and levels of what has no such number beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, NamedTuple

from scotd.report.svg import INK, MUTED, PAPER, RULE, TARGET_COLOURS, WIDE, Plot, new_figure, plot, short, style
from scotd.report.words import percent
from scotd.types import Target

LOG_FROM = 8  # values that span more than this factor stand on a logarithmic scale
DENSE, BANDS = 10, 3  # points from which on intervals are a band, for so many lines at most
STYLES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))
SHAPES = "os^D"
LEVEL, GUESSING = (0, (5, 3)), (0, (1, 2))
HEIGHT, LABEL = 190.0, 11.0  # points: of a panel, and between the names at its right


class Point(NamedTuple):
    """One accuracy with its interval, all within 0 and 1, at a number."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, or with one point, whose number does not matter, a level."""

    name: str
    target: Target
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes. `ticks` are numbers with what stands below them."""

    title: str
    x_name: str
    lines: tuple[Line, ...]
    levels: tuple[Line, ...]
    chance: float | None
    ticks: tuple[tuple[float, str], ...]


def curve_plot(panels: Sequence[Panel], name: str, label: str) -> Plot | None:
    """Draw the panels, two beside each other on wide screens; None where there is none."""
    if not panels:
        return None
    return plot(lambda width: _curves(panels, width), name, label)


def _curves(panels: Sequence[Panel], width: float) -> Any:
    columns = min(2, len(panels)) if width == WIDE else 1
    rows = -(-len(panels) // columns)
    # A single wide panel would be a stretched one.
    figure = new_figure(width if columns == 2 or width != WIDE else 0.7 * width, HEIGHT * rows + 8)
    figure.get_layout_engine().set(h_pad=0.09, w_pad=0.09)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, panel, width)
    return figure


def _panel(axes: Any, panel: Panel, width: float) -> None:
    style(axes)
    numbers = [point.x for line in panel.lines for point in line.points]
    if min(numbers) > 0 and max(numbers) > LOG_FROM * min(numbers):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xlim(min(numbers) / 1.2, 1.2 * max(numbers))
    else:
        margin = 0.06 * (max(numbers) - min(numbers)) or 1
        axes.set_xlim(min(numbers) - margin, max(numbers) + margin)
    names: list[tuple[float, str, str, Any]] = []  # height, text, colour, dashes
    for place, (line, (dash, shape)) in enumerate(zip(panel.lines, _styles(panel), strict=True)):
        colour = TARGET_COLOURS[line.target]
        shift = min(4, 20 / len(panel.lines)) * (place - (len(panel.lines) - 1) / 2)
        strokes = None if len(panel.lines) <= BANDS else {x for x, _ in panel.ticks}
        _curve(axes, line, colour, dash, shape, shift=shift, strokes=strokes)
        names.append((100 * line.points[-1].y, line.name, colour, dash))
    for place, level in enumerate(panel.levels):
        colour, (_, y, low, high) = TARGET_COLOURS[level.target], level.points[0]
        axes.axhline(100 * y, color=colour, linewidth=1.3, linestyle=LEVEL, zorder=1)
        at = 1.015 + 0.012 * place
        whisker = {"transform": axes.get_yaxis_transform(), "color": colour, "linewidth": 1.3, "clip_on": False}
        axes.plot([at, at], [100 * low, 100 * high], **whisker)
        names.append((100 * y, level.name, colour, LEVEL))
    if panel.chance is not None:
        axes.axhline(100 * panel.chance, color=INK, linewidth=1, linestyle=GUESSING, zorder=1)
        names.append((100 * panel.chance, f"guessing, {percent(panel.chance)}", MUTED, GUESSING))
    low, high = _range(panel)
    axes.set_ylim(low, high)
    axes.yaxis.grid(color=RULE, linewidth=0.6)
    axes.yaxis.get_major_locator().set_params(nbins=6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xticks([x for x, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.set_xlabel(panel.x_name, fontsize=8.5, color=MUTED)
    axes.set_title(short(panel.title, width) + " · %", loc="left", fontsize=9.5, color=INK, weight="bold")
    edge = 1.03 + 0.012 * len(panel.levels)
    gap = LABEL * (high - low) / (HEIGHT - 62)
    for height, (_, text, colour, dash) in zip(spread([name[0] for name in names], gap), names, strict=True):
        sample = {"transform": axes.get_yaxis_transform(), "color": colour, "linestyle": dash, "clip_on": False}
        axes.plot([edge, edge + 0.07], [height, height], linewidth=1.6, **sample)
        axes.annotate(
            short(text, width), (edge + 0.09, height), xycoords=("axes fraction", "data"), va="center", color=colour,
            fontsize=8.5, annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _styles(panel: Panel) -> list[tuple[Any, str]]:
    """Lines of one colour differ in their dashes and markers."""
    seen: dict[Target, int] = {}
    found = []
    for line in panel.lines:
        number = seen[line.target] = seen.get(line.target, -1) + 1
        found.append((STYLES[number % len(STYLES)], SHAPES[number % len(SHAPES)]))
    return found


def _curve(
    axes: Any, line: Line, colour: str, dash: Any, shape: str, *, shift: float, strokes: set[float] | None
) -> None:
    """Draw a curve with its intervals: a band where points are dense, else strokes, set apart from other curves'.

    With `strokes` a dense curve has them at these numbers in place of a band, which others would lie upon.
    """
    from matplotlib.transforms import ScaledTranslation

    x, y, low, high = ([point[side] for point in line.points] for side in range(4))
    y, low, high = ([100 * value for value in values] for values in (y, low, high))
    dense = len(line.points) >= DENSE
    apart = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    if dense and strokes is None:
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=1)
    else:
        for place, bottom, top in zip(x, low, high, strict=True):
            if not dense or strokes is None or place in strokes:
                axes.plot(
                    [place, place], [bottom, top], color=colour, linewidth=1.6, alpha=0.6, transform=apart, zorder=2,
                    clip_on=False,
                )  # fmt: skip
    axes.plot(
        x, y, linestyle=dash, marker=shape, color=colour, linewidth=1.6, markersize=3.2 if dense else 5.5,
        markeredgecolor=PAPER, markeredgewidth=0.5, transform=axes.transData if dense else apart, zorder=3,
        clip_on=False,
    )  # fmt: skip


def _range(panel: Panel) -> tuple[float, float]:
    """Bounds in percent, at tens, that hold every interval and the accuracy of guessing."""
    bounds = [bound for line in (*panel.lines, *panel.levels) for point in line.points for bound in point[2:]]
    bounds += [] if panel.chance is None else [panel.chance]
    low, high = 10 * floor(10 * min(bounds)), 10 * ceil(10 * max(bounds))
    return low, max(high, low + 10)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights apart, as little as it takes, so that names at them do not cover each other."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    groups: list[tuple[list[int], float]] = []  # places that touch, and the height of their middle
    for place in order:
        members, middle = [place], heights[place]
        while groups and middle - groups[-1][1] < gap * (len(members) + len(groups[-1][0])) / 2:
            before, _ = groups.pop()
            members = before + members
            middle = sum(heights[one] for one in members) / len(members)
        groups.append((members, middle))
    found = list(heights)
    for members, middle in groups:
        for rank, place in enumerate(members):
            found[place] = middle + gap * (rank - (len(members) - 1) / 2)
    return found
