"""Token ids of prompts and targets: the same in training and in decoding, or a student is asked what it never saw.

A prompt gets the special tokens of its tokenizer, or its chat template with the opening of the answer; a target gets
none. The two are tokenized apart and joined, so that no merge crosses the border and a decoded prompt is exactly the
trained one.
"""

from collections.abc import Sequence
from typing import Any

from scotd.errors import ModelError
from scotd.models import ModelFiles
from scotd.types import Prompt

Tokenizer = Any  # transformers' tokenizers share no importable base without importing torch
LONGEST_CHARACTER = 8  # tokens: bytes of one character, and some that are broken


def encode_prompt(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """Token ids of a prompt. Raises ModelError where messages meet a tokenizer without a chat template."""
    text = spelt_prompt(tokenizer, prompt)
    return list(tokenizer(text, add_special_tokens=prompt.messages is None)["input_ids"])


def spelt_prompt(tokenizer: Tokenizer, prompt: Prompt) -> str:
    """A prompt as the one text that is tokenized; raises as `encode_prompt` does."""
    if prompt.messages is None:
        return str(prompt.text)
    if not tokenizer.chat_template:
        raise ModelError(
            f"{tokenizer.name_or_path}: has no chat template; set prompt.chat (or prompt.student_chat) to false."
        )
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def encode_target(tokenizer: Tokenizer, text: str, *, finished: bool) -> list[int]:
    """Token ids of a target. `finished` adds the end token; a chain that was cut off gets none."""
    tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not finished:
        return tokens
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{tokenizer.name_or_path}: has no end token, so a student would never learn to stop.")
    return [*tokens, tokenizer.eos_token_id]


def tokens_of(tokenizer: Tokenizer, text: str, part: str) -> range:
    """Which tokens of a target spell the last occurrence of a part of it, as places in `encode_target`'s list."""
    start = text.rindex(part)
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    found = [place for place, (first, end) in enumerate(spans) if first < start + len(part) and end > start]
    return range(found[0], found[-1] + 1)


def common_prefix(prompts: list[list[int]]) -> int:
    """Length of the longest beginning that all prompts share, short of the shortest one's last token."""
    first, last = min(prompts), max(prompts)  # lexicographic order: the extremes share what all share
    limit = min(len(prompt) for prompt in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return length


def load_tokenizer(files: ModelFiles) -> Tokenizer:
    """The tokenizer of a model without its weights. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.pretrained, gguf_file=files.gguf_file)
    except (OSError, ValueError, KeyError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{files.reference}: its tokenizer cannot be loaded: {problem}") from None


def pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[tuple[str, int]]:
    """What a person sees of tokens: (text, number of tokens) in order.

    One character may be several tokens, none of which is a text of its own (an emoji in byte-level vocabularies): these
    are one piece.
    """
    found: list[tuple[str, int]] = []
    start = 0
    for end in range(1, len(tokens) + 1):
        text = _piece(tokenizer, tokens[start:end])
        if "\ufffd" in text and end < len(tokens) and end - start < LONGEST_CHARACTER:
            continue
        found.append((text, end - start))
        start = end
    return found


def _piece(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    name = tokenizer.convert_ids_to_tokens(tokens[0]) if len(tokens) == 1 else None
    if isinstance(name, str) and "\u2581" in name:  # SentencePiece: its decoder swallows a first blank
        return name.replace("\u2581", " ")
    return str(tokenizer.decode(tokens))
