"""What is decided about the machine before the first product."""

import os
import subprocess
import sys

import pytest
import torch

from scotd.device import has_fast_bfloat16, keep_memory

_PRODUCTS = """
import sys
import torch
from scotd.device import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
weight = torch.zeros(64, 64, dtype=torch.bfloat16)
with torch.inference_mode():
    for rows in range(2, 202):
        torch.nn.functional.linear(torch.zeros(rows, 64, dtype=torch.bfloat16), weight)
    torch.nn.functional.linear(torch.zeros(2, 64, dtype=torch.bfloat16), weight)
"""

# Prints by how many MiB the process grew over the second hundred of shapes.
_GROWTH = """
import re
import sys
from pathlib import Path
import torch
from scotd.device import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
weight = torch.zeros(576, 576, dtype=torch.bfloat16, requires_grad=True)
held = []
for rows in range(100, 300):
    torch.nn.functional.linear(torch.zeros(rows, 576, dtype=torch.bfloat16), weight).sum().backward()
    weight.grad = None
    held.append(int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 2**10)
print(held[-1] - held[99])
"""
_SHAPES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOTD_KEEP_MEMORY", "0")
    for name in _SHAPES:
        monkeypatch.setenv(name, "7")
    keep_memory()
    assert [os.environ[name] for name in _SHAPES] == ["7", "7"]


@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="only such products go through oneDNN")
@pytest.mark.parametrize(("way", "last"), [("kept", "create:cache_miss"), ("left", "create:cache_hit")])
def test_shapes_of_long_ago_are_forgotten(way: str, last: str) -> None:
    """oneDNN says what it takes from its cache: after 200 other shapes the first is prepared anew."""
    said = _run(_PRODUCTS, way, ONEDNN_VERBOSE="profile_create")
    created = [line for line in said.splitlines() if ",create:" in line]
    assert len(created) > 200 and last in created[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="only such products go through oneDNN")
@pytest.mark.parametrize(("way", "grows"), [("kept", False), ("left", True)])
def test_memory_stands_still_while_shapes_go_by(way: str, grows: bool) -> None:
    """torch keeps shapes above oneDNN as well: with oneDNN's cache bounded alone a process grows for a thousand."""
    grown = float(_run(_GROWTH, way, ONEDNN_PRIMITIVE_CACHE_CAPACITY="32"))
    assert grown > 40 if grows else grown < 20


def _run(script: str, way: str, **environment: str) -> str:
    """What a script prints in a process of its own, in which no earlier product has asked for the settings."""
    inherited = {name: value for name, value in os.environ.items() if name not in _SHAPES}
    return subprocess.run(
        [sys.executable, "-c", script, way],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
