#!/usr/bin/env python3
"""Records what PyPI `gguf` dequantises blocks of random bytes to, for every quantised type that files may hold.

Run: python3 tests/golden/formats/make_block_goldens.py      (pip install gguf numpy)

blocks.json   per type the blocks' bytes and, as bits of float32, the values of their weights
"""
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

# Where the half-precision scales stand in a block.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0]}
WEIGHTS = 512


def blocks_of(name, random):
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.integers(0, 256, (WEIGHTS // elements, size), dtype=np.uint8)
    for at in SCALES[name]:
        scales = random.normal(0, 0.05, len(blocks)).astype("<f2")
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks


def golden(name, random):
    blocks = blocks_of(name, random)
    values = dequantize(blocks.reshape(1, -1), GGMLQuantizationType[name]).astype("<f4").reshape(-1)
    assert len(values) == WEIGHTS and np.isfinite(values).all()
    return {"type": name, "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    cases = [golden(name, rng) for name in SCALES]
    made_by = f"make_block_goldens.py, gguf {version('gguf')}"
    text = json.dumps({"made_by": made_by, "cases": cases}, separators=(",", ":")).replace('},{', '},\n{')
    path = Path(__file__).resolve().parent / "blocks.json"
    path.write_text(text + "\n")
    print(path.name, path.stat().st_size, "bytes")
