"""Token ids of prompts and targets: the same in training and in decoding, or a student is asked what it never saw.

A prompt gets the special tokens of its tokenizer, or its chat template with the opening of the answer; a target gets
none. The two are tokenized apart and joined, so that no merge crosses the border and a decoded prompt is exactly the
trained one.
"""

from typing import Any

from scotd.errors import ModelError
from scotd.types import Prompt

Tokenizer = Any  # transformers' tokenizers share no importable base without importing torch


def encode_prompt(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """Token ids of a prompt. Raises ModelError where messages meet a tokenizer without a chat template."""
    if prompt.messages is None:
        return list(tokenizer(prompt.text)["input_ids"])
    if not tokenizer.chat_template:
        raise ModelError(
            f"{tokenizer.name_or_path}: has no chat template; set prompt.chat (or prompt.student_chat) to false."
        )
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_target(tokenizer: Tokenizer, text: str, *, finished: bool) -> list[int]:
    """Token ids of a target. `finished` adds the end token; a chain that was cut off gets none."""
    tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not finished:
        return tokens
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{tokenizer.name_or_path}: has no end token, so a student would never learn to stop.")
    return [*tokens, tokenizer.eos_token_id]


def common_prefix(prompts: list[list[int]]) -> int:
    """Length of the longest beginning that all prompts share, short of the shortest one's last token."""
    first, last = min(prompts), max(prompts)  # lexicographic order: the extremes share what all share
    limit = min(len(prompt) for prompt in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return length
