"""What an OpenAI-compatible server sent, read into our values: replies, refusals, messages. Pure functions.

Shapes read here (source: OpenAI's API reference; where others part from it the function says so):
    completions  {"choices": [{"text", "finish_reason", "logprobs": {"tokens", "token_logprobs"}}], "usage": {...}}
    chat         {"choices": [{"message": {"content"}, "finish_reason", "logprobs": {"content": [{"token", "logprob",
                 "bytes"}]}}], "usage": {...}}; "reasoning" (vLLM, Ollama) or "reasoning_content" (SGLang, llama.cpp,
                 earlier vLLM) beside the content
    error        {"error": {"message", "param", "code"}}, {"error": "text"}, {"message"}, {"detail": "text" | [...]}
"""

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scotd.types import Completion, Finish, SamplingParams, Usage

FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTERED}
UNKNOWN_LOGPROB = -9999.0  # the API's own mark for "very unlikely", not a measured value
SHOWN_CHARACTERS = 200

NOTE_CUT = "the server went on after a stop string: the text was cut there"
NOTE_NO_LOGPROB = "the server sent no log-probabilities that fit the text: left unknown"
NOTE_REASONING = "the server sends reasoning in a field of its own: the content alone is the chain (docs/teachers.md)"
NOTE_ONLY_REASONING = (
    "a choice held reasoning and no text, an empty one is stored: the reasoning may have used up sampling.max_tokens"
)
NOTE_REFUSAL = "the model refused to answer: an empty text is stored"
NOTE_NO_TEXT = "the server sent a choice without a text: left out"
NOTE_TOO_MANY = "the server sent more choices than were asked for: the surplus was left out"


class MalformedError(ValueError):
    """The reply is not what the API describes; the message says what was found."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One reply taken apart. `choices` counts all that the server sent, `completions` holds the usable ones."""

    completions: tuple[Completion, ...]
    choices: int
    usage: Usage
    notes: tuple[str, ...]


class Extra(StrEnum):
    """A part of a request that some servers refuse and that can be done without."""

    MAX_TOKENS = "max_tokens"  # in favour of max_completion_tokens
    LOGPROBS = "logprobs"
    SEED = "seed"
    TOP_P = "top_p"  # these two where they are 1, which is what they are without
    TEMPERATURE = "temperature"
    N = "n"


def read_reply(body: object, sampling: SamplingParams, *, n: int, logprobs: bool) -> Reply:
    """Read a reply to a request for `n` choices. `logprobs` says whether they were asked for. Raises MalformedError."""
    if not isinstance(body, dict):
        raise MalformedError(f"not a JSON object but {shorten(json.dumps(body))}")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedError(f"no choices in {shorten(json.dumps(body))}")
    usage = read_usage(body.get("usage"))
    spent = usage.completion_tokens if n == 1 and not _reasoned(body.get("usage")) else None
    notes = [NOTE_TOO_MANY] if len(choices) > n else []
    completions = []
    for choice in choices[:n]:
        text = _text(choice)
        if text is None:
            notes.append(NOTE_NO_TEXT)
            continue
        remarks = _beside(choice, text)
        completion, more = _completion(choice, text, sampling, None if remarks else spent, logprobs)
        completions.append(completion)
        notes += remarks + more
    return Reply(completions=tuple(completions), choices=min(len(choices), n), usage=usage, notes=tuple(notes))


def read_usage(value: object) -> Usage:
    """Read an answer's `usage` object; what is missing or not a count is None, and the answer then has not said all."""
    fields = value if isinstance(value, dict) else {}

    def count(name: str) -> int | None:
        number = fields.get(name)
        return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None

    prompt, completion = count("prompt_tokens"), count("completion_tokens")
    unsaid = int(prompt is None or completion is None)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, unsaid=unsaid)


def _reasoned(usage: object) -> bool:
    """Whether some of the completion tokens are of reasoning that was not sent (OpenAI's reasoning models)."""
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return isinstance(details, dict) and bool(details.get("reasoning_tokens"))


def _beside(choice: dict[str, Any], text: str) -> list[str]:
    """Notes on what a chat message holds beside its content."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return []
    if message.get("reasoning") or message.get("reasoning_content"):
        return [NOTE_REASONING] if text.strip() else [NOTE_REASONING, NOTE_ONLY_REASONING]
    return [NOTE_REFUSAL] if message.get("refusal") and not text else []


def _text(choice: object) -> str | None:
    """Text of a choice of either endpoint; a chat message without content (filtered) is an empty text."""
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if isinstance(message, dict):
        content = message.get("content")
        return "" if content is None else content if isinstance(content, str) else None
    text = choice.get("text")
    return text if isinstance(text, str) else None


def _completion(
    choice: dict[str, Any], text: str, sampling: SamplingParams, n_tokens: int | None, logprobs: bool
) -> tuple[Completion, list[str]]:
    """One usable choice. `n_tokens` is what the usage of a request for one choice says of it."""
    notes = []
    finish = FINISH.get(str(choice.get("finish_reason")), Finish.UNKNOWN)
    kept_text = cut_at_stop(text, sampling.stop)
    if kept_text != text:  # the stop string and what follows are not part of a chain, whatever the server thinks
        notes.append(NOTE_CUT)
        finish, n_tokens = Finish.STOP, None
    mean = None
    if logprobs:
        kept = kept_logprobs(choice, kept_text)
        if kept:
            n_tokens = len(kept) + (1 if finish is Finish.STOP else 0)  # the token that ended it
            mean = sum(kept) / len(kept) if all(_measured(value) for value in kept) else None
        if mean is None and kept_text:
            notes.append(NOTE_NO_LOGPROB)
    return Completion(text=kept_text, finish=finish, n_tokens=n_tokens, mean_logprob=mean), notes


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """Text up to the first stop string in it."""
    places = [place for place in (text.find(string) for string in stop if string) if place >= 0]
    return text[: min(places)] if places else text


def kept_logprobs(choice: dict[str, Any], text: str) -> list[float] | None:
    """Log-probabilities (nats) of the tokens that make up `text`, in order; None where the listed tokens do not fit it.

    Servers also list the tokens of the stop string, and end tokens: those are not kept. A token that holds the text's
    end and the stop string's beginning is kept. An unknown value is NaN.
    """
    tokens = _listed_tokens(choice.get("logprobs"))
    if tokens is None:
        return None
    pieces, values = tokens
    wanted = text.encode(errors="replace")  # half an emoji may stand as a lone surrogate
    kept = length = 0
    while length < len(wanted) and kept < len(pieces):
        length += len(pieces[kept])
        kept += 1
    joined = b"".join(pieces[:kept])
    fits = joined.startswith(wanted) or joined.decode(errors="replace").startswith(text)
    return values[:kept] if fits else None


def _listed_tokens(logprobs: object) -> tuple[list[bytes], list[float]] | None:
    """Tokens and values of either endpoint's form; llama.cpp's server sends the chat form on both."""
    if not isinstance(logprobs, dict):
        return None
    tokens: object = logprobs.get("tokens")
    values: object = logprobs.get("token_logprobs")
    content = logprobs.get("content")
    if isinstance(content, list):
        entries = [entry for entry in content if isinstance(entry, dict)]
        tokens = [entry.get("bytes") or entry.get("token") for entry in entries]
        values = [entry.get("logprob") for entry in entries]
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        return None
    pieces = []
    for token in tokens:
        piece = _token_bytes(token)
        if piece is None:
            return None
        pieces.append(piece)
    return pieces, [float(value) if isinstance(value, (int, float)) else math.nan for value in values]


def _token_bytes(token: object) -> bytes | None:
    """Bytes of a token: a list of byte values, a text, or OpenAI's "bytes:\\xe2\\x80" for a part of a character."""
    if isinstance(token, list):
        try:
            return bytes(token)
        except (TypeError, ValueError):
            return None
    if not isinstance(token, str):
        return None
    if token.startswith("bytes:") and re.fullmatch(r"bytes:(\\x[0-9a-fA-F]{2})+", token):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode(errors="replace")


def _measured(value: float) -> bool:
    return math.isfinite(value) and value > UNKNOWN_LOGPROB


def error_message(body: str) -> str:
    """What a server says in an error reply, in one short line; the raw beginning where it has no known shape."""
    try:
        value = json.loads(body)
    except ValueError:
        return shorten(body) or "no message"
    return shorten(_message_in(value) or body) or "no message"


def error_code(body: str) -> str:
    """The error's `code`, else its `type`, else ""."""
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


def _message_in(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_message_in, value)))
    if not isinstance(value, dict):
        return ""
    for key in ("error", "message", "detail", "msg"):
        if value.get(key):
            place = value.get("loc")  # FastAPI's validation errors: {"loc": ["body", "n"], "msg": "..."}
            where = f"{place[-1]}: " if key == "msg" and isinstance(place, list) and place else ""
            return where + _message_in(value[key])
    return ""


def refused_extra(body: str, sent: frozenset[Extra]) -> Extra | None:
    """Which of the extras that a request carried its refusal is about, by `param` or by name; None: another matter."""
    text = f"{error_message(body)} {_param(body)}"
    names = {
        Extra.MAX_TOKENS: r"(?i)\buse \W?max_completion_tokens",
        Extra.LOGPROBS: r"(?i)log_?prob",
        Extra.SEED: r"(?i)\bseed\b",
        Extra.TOP_P: r"(?i)\btop_p\b",
        Extra.TEMPERATURE: r"(?i)\btemperature\b",
        Extra.N: r"(?<![\\\w])n(?!\w)|\bn_cmpl\b"
        r"|(?i:only one (completion|choice)|multiple (completions|choices|candidates))",
    }
    return next((extra for extra, pattern in names.items() if extra in sent and re.search(pattern, text)), None)


def refused_in_error(body: str, sent: frozenset[Extra]) -> bool:
    """Whether a server error is in truth such a refusal: llama.cpp's server says "Only one completion choice is
    allowed" with HTTP 500."""
    denied = r"(?i)not (supported|allowed|implemented)|unsupported|is allowed|cannot be greater"
    return re.search(denied, error_message(body)) is not None and refused_extra(body, sent) is not None


def stated_cap(body: str, n: int) -> int:
    """Greatest `n` that a refusal of `n` names ("maximum of 4"), else 1."""
    found = re.search(
        r"(?i)(?:at most|maximum|less than or equal to|no more than|up to|<=)\D{0,20}(\d+)", error_message(body)
    )
    cap = int(found.group(1)) if found else 1
    return cap if 1 <= cap < n else 1


def _param(body: str) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    error = value.get("error", value) if isinstance(value, dict) else None
    return str(error.get("param") or "") if isinstance(error, dict) else ""


def shorten(text: str) -> str:
    """One line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 3] + "..."
