"""A model whose weights are spread over processes (FSDP), put together again where somebody wants it whole."""

from typing import Any

import torch
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor


def is_sharded(model: Any) -> bool:
    """Whether some of a model's weights are elsewhere (torch's `fully_shard`, FSDP2)."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(model: Any) -> Any:
    """The model itself, or of a sharded one a whole copy on the CPU; all processes call it, the first gets the copy.

    The others get their sharded model back, which is nothing to save or to decode with.
    """
    if not is_sharded(model):
        return model
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if distributed.get_rank() != 0:
        return model
    with torch.device("cpu"):
        copy = type(model)(model.config)
    copy.to(next(model.parameters()).dtype).load_state_dict(state)
    copy.generation_config = model.generation_config
    return copy.eval()
