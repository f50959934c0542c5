"""How requests to one server look, by what it was found to refuse; this outlives a run."""

from typing import Any

from scotd.config import TeacherConfig
from scotd.errors import ConfigError
from scotd.teachers import Ask
from scotd.teachers.openai_replies import Extra
from scotd.types import Message, Prompt

NOTES = {
    Extra.N: "the server gives at most {max_n} chains a request: several requests are sent instead",
    Extra.LOGPROBS: "the server refuses log-probabilities: they are not asked for any more",
    Extra.SEED: "the server refuses seeds: none are sent any more",
    Extra.MAX_TOKENS: "the server refuses max_tokens: it is sent as max_completion_tokens, which counts reasoning too",
    Extra.TOP_P: "the server refuses top_p, even as 1: it is not sent any more",
    Extra.TEMPERATURE: "the server refuses a temperature, even of 1: none is sent any more",
}


class Server:
    """`max_n` is the configured bound on choices, or the server's own once it was met; `refuses` is what it lacks.

    One thread learns, others may read.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self.max_n: int | None = config.max_n
        self.refuses: frozenset[Extra] = frozenset()
        self._most = self._short = 0  # choices in a reply so far; replies with fewer than were asked for

    def learn(self, extra: Extra, max_n: int | None = None) -> str | None:
        """Remember what the server cannot do (`max_n` with Extra.N). Returns the note for it if it is news."""
        if extra is Extra.N:
            assert max_n is not None
            if self.max_n is not None and self.max_n <= max_n:
                return None
            self.max_n = max_n
        elif extra in self.refuses:
            return None
        else:
            self.refuses |= {extra}
        return NOTES[extra].format(max_n=max_n)

    def gave(self, asked: int, came: int) -> str | None:
        """Learn from a reply with fewer choices than were asked for: nothing where the server has given more before or
        where it is the first such one, which may be an accident. Returns the note if it is news."""
        self._most = max(self._most, came)
        if came >= asked or came < self._most:
            return None
        self._short += 1
        return self.learn(Extra.N, self._most) if self._short > 1 else None

    def request(
        self, ask: Ask, start: int, n: int, refuses: frozenset[Extra]
    ) -> tuple[dict[str, Any], frozenset[Extra]]:
        """JSON of a request for `n` chains of an ask from position `start`, and the extras that it carries."""
        sampling = ask.sampling
        body: dict[str, Any] = {"model": self._config.model, **_prompt_fields(ask.prompt, self._config.endpoint)}
        extras: dict[Extra, object] = {Extra.MAX_TOKENS: sampling.max_tokens}
        # Also where they are 1: some servers put a default of their own in their place.
        for extra, value in ((Extra.TEMPERATURE, sampling.temperature), (Extra.TOP_P, sampling.top_p)):
            if value == 1:
                extras[extra] = value
            else:
                body[extra] = value
        if n > 1:
            extras[Extra.N] = n
        else:
            extras[Extra.SEED] = ask.seeds[start] % 2**31  # some servers keep 32 bits
        if self._config.logprobs and sampling.plain:
            extras[Extra.LOGPROBS] = True if self._config.endpoint == "chat" else 1
        if Extra.MAX_TOKENS in refuses:
            body["max_completion_tokens"] = sampling.max_tokens
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        if sampling.min_p > 0:
            body["min_p"] = sampling.min_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        sent = {extra: value for extra, value in extras.items() if extra not in refuses}
        return {**body, **{str(extra): value for extra, value in sent.items()}}, frozenset(sent)


def _prompt_fields(prompt: Prompt, endpoint: str) -> dict[str, Any]:
    """The prompt in the endpoint's form; a text becomes one user message on the chat endpoint."""
    if endpoint == "chat":
        messages = prompt.messages or (Message(role="user", content=prompt.text or ""),)
        return {"messages": [{"role": message.role, "content": message.content} for message in messages]}
    if prompt.text is None:
        raise ConfigError(
            "teacher.endpoint: 'completions' continues a text, but the prompt is a chat. Set teacher.endpoint to chat, "
            "or prompt.chat to false."
        )
    return {"prompt": prompt.text}
