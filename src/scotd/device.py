"""The machine a run is on: device, compute precision, memory allocator. Nothing is assumed, everything is recorded."""

import ctypes
import os
import platform
import sys
from typing import Literal

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

# oneDNN keeps what it prepared for a product of certain shapes, and torch's own layer above it keeps as much once more,
# each 1,024 times if not told otherwise. Hardly two steps have the same shapes: that is gigabytes which nobody asks for
# again, in small pieces that keep the memory between them from being used as a whole. A step has some dozens.
_KEPT_SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "8"}

Precision = Literal["auto", "bfloat16", "float32"]


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA where there is one, else Apple's GPU, else the CPU."""
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 products run in hardware; a CPU without them emulates them, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(probe() for name in probes if (probe := getattr(torch.cpu, name, None)) is not None)


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products. "auto" is bfloat16 where the hardware has it; the choice is recorded by the run."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def product_dtype(states: torch.Tensor) -> torch.dtype:
    """The dtype of a product with these states: autocast's where that is on, else their own."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def keep_memory() -> bool:
    """Tell glibc's malloc to keep big blocks instead of returning them to the kernel after every tensor, and oneDNN to
    keep few products' shapes. Call it before the first product, which is when oneDNN asks.

    Activations of similar sizes come and go each step; faulting their pages in anew costs more than computing on
    them. Returns False where there is no glibc, which is no error.
    """
    for name, number in _KEPT_SHAPES.items():
        os.environ.setdefault(name, number)
    library = _glibc()
    if library is None:
        return False
    return bool(library.mallopt(_M_MMAP_MAX, 0)) and bool(library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def release_memory() -> None:
    """Give the kernel back what `keep_memory` kept and nobody uses.

    Steps differ in their sizes, so that what is kept falls to pieces and grows from step to step; done now and then,
    this bounds it.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library where its memory may be managed: glibc, and SCOTD_KEEP_MEMORY is not 0."""
    if sys.platform != "linux" or os.environ.get("SCOTD_KEEP_MEMORY") == "0":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def machine() -> dict[str, str]:
    """What a run's lineage records of the machine and the libraries."""
    facts = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "device": str(pick_device()),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts
