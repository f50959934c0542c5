"""Tiny random models of some families and a byte tokenizer: every test of training and decoding runs in seconds."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: two threads gain nothing on models this small, and where other processes want the same cores
# they wait for each other at every product. Processes that tests start inherit it, so that their bits can be compared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

VOCABULARY = 96
END = 1
Kind = str
MakeModel = Callable[[Kind], Any]

KINDS = ("llama", "opt", "gpt2", "qwen2")


@pytest.fixture
def make_model() -> MakeModel:
    """A model of a kind with random weights, float32, the same on every call."""
    import torch
    from transformers import AutoModelForCausalLM, GemmaConfig, GPT2Config, LlamaConfig, OPTConfig, Qwen2Config

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": END, "pad_token_id": 0}
    configs: dict[Kind, Callable[[], Any]] = {
        "llama": lambda: LlamaConfig(
            **sizes, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=512, **ends
        ),
        "qwen2": lambda: Qwen2Config(
            **sizes, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=512, **ends
        ),
        "gemma": lambda: GemmaConfig(
            **sizes, intermediate_size=64, num_key_value_heads=2, head_dim=8, max_position_embeddings=512, **ends
        ),
        "opt": lambda: OPTConfig(**sizes, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=512, **ends),
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512, n_inner=64, **ends
        ),
    }

    def make(kind: Kind) -> Any:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(configs[kind](), attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)  # the default init is near uniform: greedy choices would hang on rounding
        return model.eval()

    return make


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character tokenizer over printable ASCII in the fast tokenizers' own file format."""
    folder = tmp_path_factory.mktemp("tokenizer")
    alphabet = ["<s>", "</s>", *(chr(code) for code in range(32, 125)), "\n"]
    assert len(alphabet) == VOCABULARY
    specials = [
        {
            "id": number,
            "content": alphabet[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number in (0, END)
    ]
    split = {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False}
    description = {
        "version": "1.0",
        "added_tokens": specials,
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {character: number for number, character in enumerate(alphabet)},
            "unk_token": " ",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<s>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)
