"""One error tree. A `ScotdError` is something the user can mend: it is shown as one line, exit code 2, no traceback.

Every message names the value, the place (file and row, or the configuration key) and the remedy.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ScotdError(Exception):
    """Root of everything that the command line turns into one sentence and exit code 2."""


class ConfigError(ScotdError):
    """The experiment file, or a `--set` on top of it, cannot be used as it stands."""


class DataError(ScotdError):
    """A file of questions, exemplars or chains holds something that cannot be used."""


class CorpusError(ScotdError):
    """The corpus file cannot be opened, is of another version, or is written by another process."""


class ModelError(ScotdError):
    """A model cannot be found, fails its digest, or is of a kind that the training or decoding cannot serve exactly."""


class TeacherError(ScotdError):
    """The teacher cannot be reached or refuses every request; what had arrived is in the corpus."""


class RunError(ScotdError):
    """A run folder does not fit the experiment file, or a stage was asked for before what it needs."""


class PublishError(ScotdError):
    """The hub cannot be reached or refuses what is to be published."""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known word, or " Known: a, b, c." where none is near."""
    words = sorted(known)
    near = get_close_matches(value, words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(words)}." if words else ""
