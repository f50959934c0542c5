"""Where a teacher is asked and with which key, and what a server's refusals mean to whoever reads them.

    address = Address(config.teacher, config.teacher.base_urls[0], teacher="openai:gpt-4o-mini")
    address.url, address.shown, address.key()

The key is read from the environment at each request and stands in no object, message or error; a server other than
OpenAI's is sent one only where `teacher.api_key_env` names it.
"""

import os
import re
from ipaddress import ip_address

import httpx

from scotd.config import TeacherConfig, bare_address
from scotd.errors import ConfigError, TeacherError
from scotd.teachers.openai_replies import error_message
from scotd.types import ServerCap

OPENAI_HOST = "api.openai.com"
OPENAI_KEY = "OPENAI_API_KEY"
PATHS = {"chat": "/chat/completions", "completions": "/completions"}  # the longer one first: it ends in the other


class Address:
    """One server of a teacher. Raises ConfigError for an address that is none."""

    def __init__(self, config: TeacherConfig, address: str, *, teacher: str) -> None:
        self._config, self._teacher = config, teacher
        self.url = endpoint_url(address, config.endpoint)

    @property
    def shown(self) -> str:
        """The address without user name, password and query: any of them may be a secret."""
        return f"{self.url.scheme}://{self.host}{self.url.path}"

    @property
    def host(self) -> str:
        return self.url.netloc.decode()

    def cap(self, max_n: int) -> ServerCap:
        """What is remembered of a server that gives at most so many chains a request."""
        return ServerCap(server=self.redacted(self.shown), model=self._config.model, max_n=max_n)

    @property
    def is_loopback(self) -> bool:
        """True where the server runs on this machine; such a one is never asked through a proxy."""
        if self.url.host == "localhost":
            return True
        try:
            return ip_address(self.url.host).is_loopback
        except ValueError:
            return False

    def key(self) -> str | None:
        """The key as it stands in the environment now; None where the server is asked without one. Raises TeacherError
        for one that is missing or no key."""
        variable = self._variable
        if variable is None:
            return None
        key = _environment(variable)
        if not key:
            if self.url.host == OPENAI_HOST:
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

    def redacted(self, text: str) -> str:
        """The text without the key."""
        key = self._secret
        return text.replace(key, "[key]") if key else text

    def redacted_bytes(self, content: bytes) -> bytes:
        key = self._secret
        return content.replace(key.encode(), b"[key]") if key else content

    def hopeless(self, status: int, text: str) -> TeacherError:
        """The error for a status that no retry mends."""
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
        return TeacherError(
            f"Teacher {self._teacher}: {self.shown} answered HTTP {status} ({error_message(text)}). {remedy}"
        )

    def unreachable(self, failure: str) -> TeacherError:
        """The error for a server that never answered."""
        return TeacherError(
            f"Teacher {self._teacher}: no server answers at {self.shown} ({failure}). Check teacher.base_url and that "
            f"the server runs."
        )

    @property
    def _secret(self) -> str:
        return "" if self._variable is None else _environment(self._variable)

    @property
    def _variable(self) -> str | None:
        """Name of the environment variable with the key: OpenAI's goes to OpenAI only, unless the file says so."""
        if self._config.api_key_env is not None:
            return self._config.api_key_env
        return OPENAI_KEY if self.url.host == OPENAI_HOST else None


def endpoint_url(address: str, endpoint: str) -> httpx.URL:
    """Full address to POST to. `http://host:8000`, `.../v1`, `.../v1/` and the full address all mean the same."""
    try:
        url = httpx.URL(address.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"teacher.base_url: '{bare_address(address)}' is no web address. Write it as https://{OPENAI_HOST}/v1 or "
            f"http://127.0.0.1:8000/v1."
        )
    path = url.path.rstrip("/")
    for ending in PATHS.values():
        path = path.removesuffix(ending)
    return url.copy_with(path=(path or "/v1") + PATHS[endpoint])


def _environment(variable: str) -> str:
    return os.environ.get(variable, "").strip()
