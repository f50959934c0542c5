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


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOTD_KEEP_MEMORY", "0")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    keep_memory()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="only such products go through oneDNN")
@pytest.mark.parametrize(("way", "last"), [("kept", "create:cache_miss"), ("left", "create:cache_hit")])
def test_shapes_of_long_ago_are_forgotten(way: str, last: str) -> None:
    """oneDNN says what it takes from its cache: after 200 other shapes the first is prepared anew."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    said = subprocess.run(
        [sys.executable, "-c", _PRODUCTS, way],
        env={**environment, "ONEDNN_VERBOSE": "profile_create"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    created = [line for line in said.splitlines() if ",create:" in line]
    assert len(created) > 200 and last in created[-1]
