"""One address, one key, one owner of retries: a request goes in, a JSON answer comes out, or the reason why not.

    endpoint = Endpoint(config.teacher)
    with endpoint.client() as client:
        answer = endpoint.post(body, client, stop=threading.Event(), notes=[])

Retried with growing, jittered waits and the server's Retry-After: no connection, time-outs, cut connections, HTTP 408,
409, 425, 429 and 5xx. Nothing else is asked again; an unreadable answer with HTTP 200 is not either, as it was probably
billed. The key is read from the environment at each request and stands in no object, message or error; a server other
than OpenAI's is sent one only where `teacher.api_key_env` names it.
"""

import json
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import httpx

from scotd import __version__
from scotd.config import TeacherConfig
from scotd.errors import ConfigError, TeacherError
from scotd.teachers.openai_replies import error_code, error_message, shorten

OPENAI_HOST = "api.openai.com"
OPENAI_KEY = "OPENAI_API_KEY"
PATHS = {"chat": "/chat/completions", "completions": "/completions"}  # the longer one first: it ends in the other
HOPELESS = {401, 402, 403, 404, 405}  # the next request will fare no better
RETRIED = {408, 409, 425, 429}
NOT_IMPLEMENTED = 501
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
CONNECT_SECONDS = 15.0

NOTE_LOST = "an answer was lost on the way and may be billed though it never came"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is tried. Waits are in seconds; they double from try to try and are jittered down by up to a half.

    `tries_before_contact` bounds the tries while no server has answered at all (a wrong address should not take a
    minute to tell). `failures_in_a_row` ends a run in which nothing succeeds any more, `drain_seconds` is how long
    answers under way are waited for then.
    """

    tries: int = 6
    tries_before_contact: int = 3
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    failures_in_a_row: int = 20
    drain_seconds: float = 5.0

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait after try number `attempt` (0, 1, ...); `chance` is uniform in [0, 1)."""
        full: float = min(self.longest_wait, self.first_wait * 2.0**attempt)
        return full * (1 - chance / 2)


class GaveUpError(Exception):
    """This request failed for good, the next one may succeed; the message is the outcome's error."""


class RefusedError(Exception):
    """The server understood the request and refuses it; `body` may tell what in it."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {error_message(body)}")
        self.body = body


class Endpoint:
    """Where a teacher is asked. Used by several threads at once. Raises ConfigError for a `base_url` that is none."""

    def __init__(self, config: TeacherConfig, teacher: str, patience: Patience) -> None:
        self._config, self._teacher, self._patience = config, teacher, patience
        self._url = endpoint_url(config)
        self._contact = False
        self._jitter = random.Random()

    @property
    def _variable(self) -> str | None:
        """Name of the environment variable with the key: OpenAI's goes to OpenAI only, unless the file says so."""
        if self._config.api_key_env is not None:
            return self._config.api_key_env
        return OPENAI_KEY if self._url.host == OPENAI_HOST else None

    @property
    def shown(self) -> str:
        """The address without user name, password and query: any of them may be a secret."""
        return f"{self._url.scheme}://{self._url.netloc.decode()}{self._url.path}"

    def client(self) -> httpx.Client:
        """A client for one run; a loopback server is never asked through a proxy."""
        seconds = self._config.timeout_seconds
        return httpx.Client(
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._config.concurrency),
            headers={"User-Agent": f"scotd/{__version__}"},
            trust_env=not _is_loopback(self._url.host),
        )

    def post(self, body: dict[str, Any], client: httpx.Client, stop: threading.Event, notes: list[str]) -> object:
        """Return the JSON value of the answer; remarks go into `notes`, and `stop` ends the waits between tries.

        Raises RefusedError, GaveUpError, or TeacherError where no request can succeed.
        """
        attempt = 0
        while True:
            key = self._key()
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            try:
                response = client.post(self._url, json=body, headers=headers)
            except httpx.RequestError as error:
                failure = f"{_kind(error)}: {shorten(_redacted(str(error), key)) or type(error).__name__}"
                wait = self._patience.wait(attempt, self._jitter.random())
                if not isinstance(error, NEVER_SENT):
                    self._contact = True
                    notes.append(NOTE_LOST)
            else:
                self._contact = True
                if response.is_success:
                    return _json(response, key)
                text = _redacted(response.text, key)
                failure = f"HTTP {response.status_code}: {error_message(text)}"
                self._raise_unless_retried(response.status_code, text)
                wait = self._wait(attempt, response.headers, failure)
            attempt += 1
            self._raise_if_unreachable(attempt, failure)
            if attempt >= self._patience.tries or stop.wait(wait):
                raise GaveUpError(f"{failure} (tried {attempt} times)")

    def _wait(self, attempt: int, headers: httpx.Headers, failure: str) -> float:
        """Seconds until the next try: the server's wish, jittered up, or ours. Raises GaveUpError for an hour."""
        wished = retry_after(headers, time.time())
        if wished is None:
            return self._patience.wait(attempt, self._jitter.random())
        if wished > self._patience.longest_retry_after:
            raise GaveUpError(f"{failure} (the server asks to wait {wished:.0f} s)")
        return wished + self._jitter.random() * min(wished, self._patience.first_wait)

    def _raise_unless_retried(self, status: int, text: str) -> None:
        """Return where a retry may help; else raise what the status means."""
        no_credit = status == httpx.codes.TOO_MANY_REQUESTS and error_code(text) == "insufficient_quota"
        if status in HOPELESS or 300 <= status < 400 or no_credit:
            raise TeacherError(self._hopeless(status, text))
        if status == NOT_IMPLEMENTED or (400 <= status < 500 and status not in RETRIED):
            raise RefusedError(status, text)

    def _raise_if_unreachable(self, attempt: int, failure: str) -> None:
        if not self._contact and attempt >= min(self._patience.tries_before_contact, self._patience.tries):
            raise TeacherError(
                f"Teacher {self._teacher}: no server answers at {self.shown} ({failure}). Check teacher.base_url and "
                f"that the server runs."
            )

    def _hopeless(self, status: int, text: str) -> str:
        """The sentence for a status that ends the run."""
        variable = self._variable
        credit = "Check the account's credit."
        remedies = {
            401: f"Check the key in the environment variable {variable} (teacher.api_key_env names the variable).",
            402: credit,
            403: "Name the environment variable that holds a key in teacher.api_key_env."
            if variable is None
            else f"Check that the key in {variable} may use this model.",
            404: f"Check teacher.base_url, teacher.model ('{self._config.model}') and teacher.endpoint "
            f"('{self._config.endpoint}').",
            429: credit,
        }
        remedy = remedies.get(status, "Check teacher.base_url: it must be the API's own address.")
        if variable is None and status == httpx.codes.UNAUTHORIZED:
            remedy = "It was asked without a key: name the environment variable that holds one in teacher.api_key_env."
        elif variable is not None and status == httpx.codes.UNAUTHORIZED and not _environment(variable):
            remedy = f"Set the environment variable {variable}, or name another one in teacher.api_key_env."
        return f"Teacher {self._teacher}: {self.shown} answered HTTP {status} ({error_message(text)}). {remedy}"

    def _key(self) -> str | None:
        """The key as it stands in the environment now; None where the server is asked without one."""
        variable = self._variable
        if variable is None:
            return None
        key = _environment(variable)
        if not key:
            if self._url.host == OPENAI_HOST:
                raise TeacherError(
                    f"Teacher {self._teacher}: the environment variable {variable} is not set. Set it to your API key, "
                    f"or name another variable in teacher.api_key_env."
                )
            return None
        if re.fullmatch(r"[\x21-\x7e]+", key) is None:  # httpx would show the header in its error
            raise TeacherError(
                f"Teacher {self._teacher}: the environment variable {variable} holds blanks or characters that no key "
                f"has. Copy the key again."
            )
        return key


def endpoint_url(config: TeacherConfig) -> httpx.URL:
    """Full address to POST to. `http://host:8000`, `.../v1`, `.../v1/` and the full address all mean the same."""
    try:
        url = httpx.URL(config.base_url.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"teacher.base_url: '{config.base_url}' is no web address. Write it as https://{OPENAI_HOST}/v1 or "
            f"http://127.0.0.1:8000/v1."
        )
    path = url.path.rstrip("/")
    for ending in PATHS.values():
        path = path.removesuffix(ending)
    return url.copy_with(path=(path or "/v1") + PATHS[config.endpoint])


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds that a server asks to wait (a number or a date; `now` in seconds since 1970); None where it does not."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _json(response: httpx.Response, key: str | None) -> object:
    content = response.content if key is None else response.content.replace(key.encode(), b"[key]")
    try:
        return json.loads(content)
    except ValueError:
        shown = shorten(_redacted(response.text, key)) or "an empty body"
        raise GaveUpError(f"unreadable answer: not JSON but {shown}") from None


def _kind(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "no connection"
    return "timeout" if isinstance(error, httpx.TimeoutException) else "connection lost"


def _environment(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _redacted(text: str, key: str | None) -> str:
    return text if key is None else text.replace(key, "[key]")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
