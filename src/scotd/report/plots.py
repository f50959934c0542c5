"""Plots of accuracy: every arm with its interval, and curves along an axis of a sweep or along the number of votes.

The numbers are those of the tables: nothing is smoothed, and lines only join what was measured.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scotd.report.curves import Line, Panel, Point, curve_plot
from scotd.report.data import Arm, SplitTable, Value
from scotd.report.svg import INK, MUTED, PAPER, RULE, TARGET_COLOURS, WIDE, Plot, new_figure, plot, short, style
from scotd.report.votes import VoteCurve, shown_votes
from scotd.report.words import arm_name, axis_name, percent, questions, row_name, spelt

ACCURACY = "Accuracy with intervals by student and split. The table below holds the same numbers."


def accuracy_plot(tables: Sequence[SplitTable], name: str = "accuracy") -> Plot | None:
    """Draw accuracy with interval by arm, one panel a split; None where nothing is evaluated."""
    if not any(arm.mean is not None for table in tables for arm in table.arms):
        return None
    # Splits of different runs may have no lane in common: beside each other they would be mostly empty.
    names = [{_lane(arm) for arm in table.arms} for table in tables]
    beside = min(len(tables), 3) if all(names[0] & others for others in names) else 1
    return plot(lambda width: _accuracy(tables, width, beside if width == WIDE else 1), name, ACCURACY)


def axis_plots(tables: Sequence[SplitTable]) -> tuple[tuple[str, Plot], ...]:
    """Draw accuracy along each axis of the sweeps, the name of the axis with each plot.

    Along numbers these are curves, one for every row and place on the other axes, with the rows that were not swept as
    levels; along words (filters, models) every value has a line of its own, and what would be `accuracy_plot` once more
    is left out.
    """
    found = []
    places = [dict(arm.cell.place) for table in tables for arm in table.arms]
    for number, axis in enumerate(dict.fromkeys(axis for place in places for axis in place)):
        name = f"axis-{number}"
        values = [place[axis] for place in places if axis in place]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            panels = [panel for table in tables for panel in _panels(table, axis)]
            drawn = curve_plot(panels, name, f"Accuracy along {axis_name(axis)}, with intervals.")
        else:
            parts = [part for table in tables if (part := _along(table, axis)).swept]
            drawn = None if parts == list(tables) else accuracy_plot(parts, name)
        if drawn is not None:
            found.append((axis_name(axis), drawn))
    return tuple(found)


def _along(table: SplitTable, axis: str) -> SplitTable:
    """The arms that were swept over an axis, and those that were not swept at all."""
    arms = (arm for arm in table.arms if not arm.cell.place or axis in dict(arm.cell.place))
    return replace(table, arms=tuple(arms))


def _panels(table: SplitTable, axis: str) -> list[Panel]:
    """A panel for every decoding of a split that swept students were decoded by."""
    panels = []
    decodings = list(dict.fromkeys(arm.cell.decoding for arm in table.arms))
    for decoding in decodings:
        here = [arm for arm in table.arms if arm.cell.decoding == decoding and arm.mean is not None]
        lines: dict[str, tuple[Arm, list[Point]]] = {}
        for arm in here:
            place = dict(arm.cell.place)
            if axis in place:
                rest = replace(arm.cell, place=tuple(item for item in arm.cell.place if item[0] != axis))
                lines.setdefault(arm_name(rest), (arm, []))[1].append(_point(place[axis], arm))
        if not lines:
            continue
        panels.append(
            Panel(
                title=table.split if len(decodings) == 1 else f"{table.split}, {decoding}",
                x_name=axis_name(axis),
                lines=tuple(
                    Line(name=name, target=arm.cell.target, points=tuple(sorted(points)))
                    for name, (arm, points) in lines.items()
                ),
                levels=tuple(
                    Line(name=arm_name(arm.cell), target=arm.cell.target, points=(_point(0, arm),))
                    for arm in here
                    if not arm.cell.place
                ),
                chance=table.chance,
                ticks=tuple((point.x, spelt(point.x)) for point in _every_x(lines)),
            )
        )
    return panels


def _every_x(lines: dict[str, tuple[Arm, list[Point]]]) -> list[Point]:
    return sorted({point.x: point for _, points in lines.values() for point in points}.values())


def _point(x: Value, arm: Arm) -> Point:
    assert isinstance(x, int | float) and arm.mean is not None and arm.interval is not None
    return Point(x, arm.mean, *arm.interval)


def vote_plot(curves: Sequence[tuple[str, Sequence[VoteCurve]]]) -> Plot | None:
    """Draw accuracy against the number of votes, a panel a split; None where nothing was decoded by vote."""
    panels = []
    for split, of_split in curves:
        several = len({curve.cell.decoding for curve in of_split}) > 1
        most = max(len(curve.accuracies) for curve in of_split)
        panels.append(
            Panel(
                title=split,
                x_name="votes",
                lines=tuple(
                    Line(
                        name=arm_name(curve.cell) + (f", {curve.cell.decoding}" if several else ""),
                        target=curve.cell.target,
                        points=tuple(
                            Point(k, estimate.mean, *estimate.interval)
                            for k, estimate in enumerate(curve.accuracies, start=1)
                        ),
                    )
                    for curve in of_split
                ),
                levels=(),
                chance=None,
                ticks=tuple((k, str(k)) for k in shown_votes(most)),
            )
        )
    return curve_plot(panels, "votes", "Accuracy against the number of votes, with intervals.")


def _accuracy(tables: Sequence[SplitTable], width: float, columns: int) -> Any:
    """Draw a panel for each split. Panels side by side share their lines, so that students stand at one height."""
    lines = [_lanes([table]) for table in tables] if columns == 1 else [_lanes(tables)] * len(tables)
    several = len({decoding for keys in lines for _, _, decoding in keys if decoding}) > 1
    lanes = [lines[start] for start in range(0, len(tables), columns)]
    heights = [56 + 19 * len(keys) for keys in lanes]
    figure = new_figure(width, sum(heights))
    figure.get_layout_engine().set(h_pad=0.09)
    grid = figure.subplots(len(lanes), columns, squeeze=False, height_ratios=[len(keys) + 1 for keys in lanes])
    for axes in grid.flat[len(tables) :]:
        axes.set_visible(False)
    for place, (axes, table, keys) in enumerate(zip(grid.flat, tables, lines, strict=False)):
        style(axes)
        for arm in table.arms:
            _whisker(axes, keys.index(_lane(arm)), arm)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.xaxis.grid(color=RULE, linewidth=0.6)
        names = [short(name or run, width, decoding if several else "") for run, name, decoding in keys]
        axes.set_yticks(range(len(keys)), names if place % columns == 0 else [""] * len(keys))
        for text, (_, name, _) in zip(axes.get_yticklabels(), keys, strict=True):
            text.set(color=INK if name else MUTED, weight="normal" if name else "bold", parse_math=False, fontsize=9)
        sizes = {arm.n for arm in table.arms if arm.results}
        asked = f" · {questions(sizes.pop())}" if len(sizes) == 1 else ""
        axes.set_title(
            short(table.split, width) + asked, loc="left", fontsize=9.5, color=INK, weight="bold", parse_math=False
        )
        if table.chance is not None:
            axes.axvline(100 * table.chance, color=INK, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
            axes.set_xlabel(f"dashed: guessing, {percent(table.chance)}", fontsize=8.5, color=MUTED, loc="left")
    return figure


Lane = tuple[str, str, str]  # run, row, decoding; the last two are empty in the line that names a run


def _lanes(tables: Sequence[SplitTable]) -> list[Lane]:
    """The lines that panels share; with several runs those of each below its name."""
    found: dict[str, dict[Lane, None]] = {}
    for table in tables:
        for arm in table.arms:
            run = arm.cell.run
            found.setdefault(run, {(run, "", ""): None} if run else {})[_lane(arm)] = None
    return [lane for lanes in found.values() for lane in lanes]


def _lane(arm: Arm) -> Lane:
    return arm.cell.run, row_name(arm.cell), arm.cell.decoding


def _whisker(axes: Any, y: int, arm: Arm) -> None:
    """Draw one interval with its accuracy: a disc for greedy answers, a square for votes; the number at the right.

    Several seeds stand as small strokes of their own.
    """
    edge = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    if arm.mean is None or arm.interval is None:
        words = "no gold labels" if arm.results else "not yet there"
        axes.annotate(words, (0.02, y), color=MUTED, fontsize=8.5, style="italic", **edge)
        return
    colour, value = TARGET_COLOURS[arm.cell.target], 100 * arm.mean
    low, high = (100 * bound for bound in arm.interval)
    axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round", zorder=2, clip_on=False)
    if len(arm.results) > 1:
        own = [100 * accuracy for _, accuracy in arm.accuracies if accuracy is not None]
        axes.plot(own, [y] * len(own), "|", color=INK, markersize=10, markeredgewidth=0.7, zorder=1, clip_on=False)
    shape = "o" if arm.cell.votes == 1 else "s"
    axes.plot([value], [y], shape, color=colour, markersize=6.5, markeredgecolor=PAPER, zorder=3, clip_on=False)
    axes.annotate(f"{value:.1f}", (1.03, y), color=INK, fontsize=8.5, **edge)
