"""A run folder as one page that can be read, sent and printed: `report.html`, with its table in two plain forms.

path = write_report(Path("runs/quickstart"))

read.py      the folder's files, half done or not
collect.py   run folder -> Report, every number
examples.py  which questions are shown
verdict.py   what came out and what it can show, in sentences
plots.py     inline SVG
render.py    Report -> HTML, Markdown, JSON; everything escaped
data.py      the values that pass between them
"""

from pathlib import Path

from scotd.errors import RunError

__all__ = ["write_report"]


def write_report(run_folder: Path) -> Path:
    """Write report.html, results.md and summary.json into a run folder and return the path of the page.

    The same folder gives the same bytes. What a stopped run has not reached is shown as not yet there. Raises RunError
    where the folder is no run folder or cannot be written.
    """
    # Here, not above: `scotd --help` imports this package's name and must not wait for Jinja2 and matplotlib.
    from scotd.report import render
    from scotd.report.collect import collect

    report = collect(run_folder)
    page = run_folder / "report.html"
    texts = {
        run_folder / "results.md": render.markdown(report),
        run_folder / "summary.json": render.summary(report),
        page: render.html(report),
    }
    for path, text in texts.items():
        # Written beside and moved, so that a reader never opens half a page.
        part = path.with_name(f"{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8", newline="\n")
            part.replace(path)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}). Free space or mend its permissions."
            ) from None
    return page
