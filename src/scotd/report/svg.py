"""Drawings for the middle of a page: made by matplotlib, coloured by the page's style sheet, the same bytes every time.

matplotlib draws with placeholder colours; in the result these become CSS variables, so that one drawing serves light
and dark pages. Text stays text (system fonts, selectable). Every plot is drawn twice, for wide and for narrow screens,
because a scaled-down plot cannot be read on a telephone. Every name goes through `short`, which makes it harmless;
matplotlib escapes it.
"""

import re
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass
from io import StringIO
from typing import Any

from markupsafe import Markup, escape

from scotd.clean import line
from scotd.report.words import TARGET_NAMES
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


def plot(draw: Callable[[float], Any], name: str, label: str) -> Plot:
    """Draw a figure for both kinds of screen; `draw` makes one of the given width, `label` says what it shows."""
    return Plot(wide=_svg(draw(WIDE), f"{name}-wide", label), narrow=_svg(draw(NARROW), f"{name}-narrow", label))


def short(text: str, width: float, beside: str = "") -> str:
    """Return a name, and what stands beside it, as a label: cleaned, on one line, cut where it is long.

    The name is cut first: what stands beside it tells apart labels that begin alike.
    """
    limit = 36 if width == WIDE else 24
    tail = f", {_cut(line(beside), limit // 2)}" if beside else ""
    return _cut(line(text), limit - len(tail)) + tail


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many points."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def style(axes: Any) -> None:
    """Take away from axes what is no data."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, colors=MUTED, labelcolor=MUTED, labelsize=8.5)
    axes.set_axisbelow(True)


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


def legend(targets: Container[Target]) -> tuple[tuple[str, str], ...]:
    """Return the name of each of these targets with the CSS variable of its colour."""
    return tuple(
        (TARGET_NAMES[target], VARIABLES[colour]) for target, colour in TARGET_COLOURS.items() if target in targets
    )
