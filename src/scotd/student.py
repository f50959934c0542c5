"""Load and save a causal language model with its tokenizer: students, and the local teacher's weights.

Full-precision folders and hub ids load as they are; GGUF files are dequantised on the way in. A saved student is a
folder of safetensors that `AutoModelForCausalLM.from_pretrained` opens, with a model card.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import gguf
import torch
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils

from scotd.errors import ModelError
from scotd.models import ModelFiles, converted
from scotd.progress import Tracker, silent
from scotd.tokens import Tokenizer, load_tokenizer

Stored = Literal["float32", "bfloat16"]

TRAINING_FILE = "scotd_training.json"
_DROPOUTS = ("dropout", "pdrop", "layerdrop", "drop_rate")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in memory. `dropouts` are the config's non-zero dropout settings, which were set to 0."""

    model: Any
    tokenizer: Tokenizer
    dropouts: dict[str, float]


def load(
    files: ModelFiles,
    *,
    dtype: torch.dtype,
    device: torch.device,
    stored: Stored = "float32",
    progress: Tracker = silent,
) -> Loaded:
    """Load weights as `dtype` onto a device, with every dropout set to 0.

    A GGUF file is converted once, to a folder of `stored` precision, and loaded from there ever after: float32 for a
    student, which trains on the dequantised values as they are; bfloat16 for a teacher that computes in it anyway.
    Dropout is 0 because a shared prompt would draw it once for all its chains (a stated deviation: OPT and GPT-2 ship
    0.1). Raises ModelError where the files are no causal language model.
    """
    files = on_disk(files, stored, progress)
    tokenizer, model = _from_pretrained(files, dtype=dtype, attn_implementation="sdpa")
    dropouts = silence_dropout(model)
    return Loaded(model=model.to(device).eval(), tokenizer=tokenizer, dropouts=dropouts)


def on_disk(files: ModelFiles, stored: Stored, progress: Tracker = silent) -> ModelFiles:
    """The files in transformers' own format: themselves, or of a GGUF file the conversion, made where it is missing."""
    return converted(files, dtype=stored, write=partial(_dequantise, dtype=getattr(torch, stored)), progress=progress)


def outline(files: ModelFiles, *, progress: Tracker = silent) -> tuple[Any, Tokenizer]:
    """The model without its weights, for what its configuration says, and its tokenizer. Raises as `load` does."""
    files = on_disk(files, "float32", progress)
    tokenizer = load_tokenizer(files)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(files.pretrained)), tokenizer
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(files, error) from None


def _dequantise(files: ModelFiles, folder: Path, *, dtype: torch.dtype) -> None:
    """Load a GGUF file in a precision and save it as a folder.

    transformers 5.23 parses the file's header again and again, and rebuilds the table of names for every module:
    remembering both saves a third of the minute that 1.5B parameters take, with equal weights.
    """
    with (
        patch.object(gguf, "GGUFReader", cache(gguf.GGUFReader)),
        patch.object(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        patch.object(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=True)),  # our own line stands for it
    ):
        tokenizer, model = _from_pretrained(
            files, dtype=dtype, gguf_file=files.gguf_file, quantization_config=GgufConfig(dequantize=True)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_pretrained(files: ModelFiles, **options: Any) -> tuple[Tokenizer, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.pretrained, gguf_file=files.gguf_file)
        return tokenizer, AutoModelForCausalLM.from_pretrained(files.pretrained, **options)
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(files, error) from None


def _unloadable(files: ModelFiles, error: Exception) -> ModelError:
    return ModelError(f"{files.reference}: cannot be loaded as a causal language model: {str(error).splitlines()[0]}")


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
    write_training_record(staging, training)
    if folder.exists():
        number = 1
        while folder.with_name(f"{folder.name}.old-{number}").exists():
            number += 1
        folder.rename(folder.with_name(f"{folder.name}.old-{number}"))
    staging.replace(folder)


def write_training_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write the record of a student's training; it appears whole."""
    staging = folder / f"{TRAINING_FILE}.partial"
    staging.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    staging.replace(folder / TRAINING_FILE)


def training_record(folder: Path) -> dict[str, Any] | None:
    """The record as it was written, or None where there is no finished student."""
    path = folder / TRAINING_FILE
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
