"""What a Markdown card may show of texts that others wrote: a chain, a question, a teacher's name.

Cards are rendered by sites that know links, HTML, formulas and a YAML header. A text stands in one of three forms, in
none of which it can end the form it stands in:

    front_matter({"pretty_name": name})   the YAML header; every value in JSON's quotes
    fenced(text)                          a block of code, its fence longer than any run of backticks in the text
    code(text)                            the same within a line, or in a cell of a table
"""

import json
import re
from collections.abc import Mapping

from scotd.clean import clean, line


def front_matter(values: Mapping[str, object]) -> str:
    """The header of a card: JSON, which is YAML, so that no value is taken for anything but a text, list or map.

    What is not ASCII is escaped as YAML does it: JSON's own pairs of surrogates are two characters there.
    """
    held = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "---\n" + re.sub(r"[^\n -~]", lambda found: f"\\U{ord(found[0]):08x}", held) + "---\n"


def fenced(text: str, limit: int | None = None) -> str:
    """A text as a block of code; what is longer than `limit` characters is cut, and says so."""
    shown = str(clean(text))
    if limit is not None and len(shown) > limit:
        shown = f"{shown[:limit]}\n[... {len(shown) - limit} more characters]"
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"{fence}text\n{shown}\n{fence}"


def code(text: str, limit: int = 200) -> str:
    """A text as code within a line: on one line, and without the bar that would end a table's cell."""
    shown = line(text).replace("|", "\u00a6") or " "
    shown = shown if len(shown) <= limit else f"{shown[:limit]}..."
    fence = "`" * (_longest_run(shown) + 1)
    padding = " " if "`" in shown else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
