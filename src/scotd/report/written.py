"""Files that a reader finds whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scotd.corpus.jsonl import whole_or_not_at_all
from scotd.errors import RunError


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path to write to that takes the file's name when it is whole. Raises RunError where it cannot be written."""
    try:
        with whole_or_not_at_all(path) as part:
            yield part
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}). Free space or mend its permissions.") from None


def write_text(path: Path, text: str) -> None:
    """Raises RunError where it cannot be written."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
