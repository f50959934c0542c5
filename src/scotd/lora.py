"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) through peft, beside full fine-tuning.

    merge = adapt(model, config.lora)     # in place: only the adapters learn from here on
    train(loaded, ...)
    model = merge()                       # a plain model again, with the adapters in its weights

Training goes through the model itself and not through peft's wrapper, so that trees, checkpoints and the loss are those
of full fine-tuning. Dropout is 0, as everywhere.
"""

import warnings
from collections.abc import Callable
from typing import Any

from peft import LoraConfig as PeftConfig
from peft import get_peft_model

from scotd.config import LoraConfig
from scotd.errors import ModelError


def adapt(model: Any, config: LoraConfig) -> Callable[[], Any]:
    """Put adapters into a model and freeze the rest; returns what merges them into its weights in the end.

    Raises ModelError where no layer has a name among `config.layers`.
    """
    layers = "all-linear" if config.layers is None else list(config.layers)
    wanted = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=layers, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layouts that peft then sets right by itself
            wrapped = get_peft_model(model, wanted)
    except ValueError as error:
        problem = str(error).splitlines()[0]
        raise ModelError(f"training.lora.layers: {', '.join(config.layers or ())}: {problem}") from None
    return wrapped.merge_and_unload
