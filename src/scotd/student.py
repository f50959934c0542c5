"""Load and save a causal language model with its tokenizer: students, and the local teacher's weights.

Full-precision folders and hub ids load as they are; GGUF files are dequantised on the way in. A saved student is a
folder of safetensors that `AutoModelForCausalLM.from_pretrained` opens, with a model card.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from scotd.errors import ModelError
from scotd.models import ModelFiles
from scotd.tokens import Tokenizer

TRAINING_FILE = "scotd_training.json"
_DROPOUTS = ("dropout", "pdrop", "layerdrop", "drop_rate")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in memory. `dropouts` are the config's non-zero dropout settings, which were set to 0."""

    model: Any
    tokenizer: Tokenizer
    dropouts: dict[str, float]


def load(files: ModelFiles, *, dtype: torch.dtype, device: torch.device) -> Loaded:
    """Load weights as `dtype` onto a device, with every dropout set to 0.

    Dropout is 0 because a shared prompt would draw it once for all its chains (a stated deviation: OPT and GPT-2 ship
    0.1). Raises ModelError where the files are no causal language model.
    """
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if files.gguf_file is not None:
        options |= {"gguf_file": files.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.pretrained, gguf_file=files.gguf_file)
        model: Any = AutoModelForCausalLM.from_pretrained(files.pretrained, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{files.reference}: cannot be loaded as a causal language model: {str(error).splitlines()[0]}"
        ) from None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    dropouts = silence_dropout(model)
    return Loaded(model=model.to(device).eval(), tokenizer=tokenizer, dropouts=dropouts)


def silence_dropout(model: Any) -> dict[str, float]:
    """Set every dropout of a model to 0 and return what the config's non-zero settings were."""
    before: dict[str, float] = {}
    for name, value in vars(model.config).items():
        if any(part in name for part in _DROPOUTS) and isinstance(value, float) and value > 0:
            before[name] = value
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return before


def save(model: Any, tokenizer: Tokenizer, folder: Path, *, training: dict[str, object], card: str) -> None:
    """Write a student: safetensors, tokenizer, model card and the record of its training; appears whole or not at all.

    An older student in the same folder is kept beside it as FOLDER.old-N.
    """
    staging = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    (staging / "README.md").write_text(card, encoding="utf-8")
    (staging / TRAINING_FILE).write_text(json.dumps(training, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if folder.exists():
        number = 1
        while folder.with_name(f"{folder.name}.old-{number}").exists():
            number += 1
        folder.rename(folder.with_name(f"{folder.name}.old-{number}"))
    staging.replace(folder)


def training_record(folder: Path) -> dict[str, Any] | None:
    """The record that `save` wrote, or None where there is no finished student."""
    path = folder / TRAINING_FILE
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
