"""Templates -> HTML. Jinja2 escapes every value, and `clean` makes it harmless to the eye, as in the report.

pages = Pages("scotd.judge")
pages.html("item.html.j2", study=...)
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from scotd.clean import clean
from scotd.report.render import FILTERS


class Pages:
    """The templates of a package, over those of `web` and the report."""

    def __init__(self, package: str, filters: dict[str, Callable[..., Any]] | None = None) -> None:
        self._environment = Environment(
            loader=ChoiceLoader(
                [PackageLoader(package, "."), PackageLoader("scotd.web", "."), PackageLoader("scotd.report", ".")]
            ),
            autoescape=True,
            finalize=clean,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            **FILTERS,
            **(filters or {}),
        }

    def html(self, template: str, **values: Any) -> str:
        """Render one page."""
        return self._environment.get_template(template).render(**values)


def style_sheet() -> str:
    """The report's style sheet with what only served pages need."""
    return "\n".join(
        files(package).joinpath(name).read_text(encoding="utf-8")
        for package, name in (("scotd.report", "style.css"), ("scotd.web", "web.css"))
    )
