"""How far logits of an exported model are off in transformers, and how much is angles.

    rope-lab pretrain --config=configs/pretrain.py --workdir=runs/base
    rope-lab finetune --config=configs/finetune.py --workdir=runs/long
    rope-lab export runs/long exported/long
    python -m benchmarks.export_logits runs/long exported/long

Reads held-out text of the run with the run here, with what was exported of it in
transformers, and here once more with angles as transformers has them, float32
frequency times float32 position. If angles are all that differs, the last two agree,
and the first two differ by what the last predicts. Needs the extra `parity`; all in
float32.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from rope_lab import rotary
from rope_lab.cli.evaluation_config import PerplexityConfig
from rope_lab.cli.subject import Loading
from rope_lab.interop.card import float32_frequencies
from rope_lab.interop.rope_export import wavelength_factors
from rope_lab.logic import PositionLogic
from rope_lab.model import apply_model

EDGES = (128, 256, 512, 1024, 2048, 4096, 8192)  # tokens
HEADER = [
    "positions",
    "of transformers",
    "the same, RMS at the worst position",
    "predicted",
    "not predicted",
    "with its angles",
    "largest logit",
]


def in_float32(logic: PositionLogic) -> Callable[..., jax.Array]:
    """The logic with angles as transformers has them: float32 times float32."""
    record = logic.record.value
    exponents = np.arange(record.head_dim // 2) * (2.0 / record.head_dim)
    factors = wavelength_factors(logic)
    angular = jnp.asarray(float32_frequencies(factors, float(record.base), exponents))
    scale = float(logic.logit_scale) / record.head_dim**0.5

    def turned(x_BTHD, positions):
        positions_BT1 = jnp.atleast_2d(positions)[..., None].astype(jnp.float32)
        angles_BTP = positions_BT1 * angular[None, None]
        return rotary.rotate(x_BTHD, angles_BTP[:, :, None])

    def call(q_BTHD, k_BSKD, query_positions, key_positions):
        q_BTHD = turned(q_BTHD, query_positions)
        k_BSKD = turned(k_BSKD, key_positions)
        k_BSHD = jnp.repeat(k_BSKD, q_BTHD.shape[2] // k_BSKD.shape[2], axis=2)
        return jnp.einsum("BTHD,BSHD->BHTS", q_BTHD, k_BSHD) * scale

    return call


def measure(run: str, exported: str, length: int, count: int) -> dict[str, Any]:
    """Differences of logits by position; `tokens` of `count` held-out documents.

    Raises:
      ValueError: too few documents of the length, or an encoding of several bands.
    """
    config = PerplexityConfig(checkpoint=run, count=count, minimum_tokens=length)
    loading = Loading(config)
    opened = loading.opened
    logic = opened.own(length)
    documents = loading.documents(config, length)
    tokens_BT = np.stack([tokens[:length] for tokens in documents.tokens])

    def logits(logic):
        apply = jax.jit(lambda p: apply_model(opened.graphdef, p, tokens_BT, logic))
        return np.asarray(apply(opened.params))

    ours, single = logits(logic), logits(in_float32(logic))
    theirs = _in_transformers(exported, tokens_BT)
    rows = [
        _row(ours[:, a:b], single[:, a:b], theirs[:, a:b], f"{a:,} to {b:,}")
        for a, b in itertools.pairwise((0, *(e for e in EDGES if e < length), length))
    ]
    return {"documents": documents.describe(), "length": length, "rows": rows}


def _in_transformers(folder: str, tokens_BT: np.ndarray) -> np.ndarray:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        return model(torch.tensor(tokens_BT)).logits.numpy()


def _row(ours, single, theirs, positions: str) -> dict[str, Any]:
    """The largest over documents, positions and vocabulary, but for the RMS."""
    off, predicted = np.abs(theirs - ours), np.abs(single - ours)
    return {
        "positions": positions,
        "off": float(off.max()),
        "rms": float(np.sqrt(np.square(off).mean(axis=-1)).max()),
        "predicted": float(predicted.max()),
        "rest": float((off - predicted).max()),
        "same_angles": float(np.abs(theirs - single).max()),
        "largest": float(np.abs(theirs).max()),
    }


def text(record: dict[str, Any]) -> str:
    """The page, in Markdown."""
    lines = []
    for row in record["rows"]:
        positions, *numbers, largest = row.values()
        lines.append([positions, *(f"{x:.1e}" for x in numbers), f"{largest:.1f}"])
    return "\n\n".join(
        [
            "# Logits of an exported model in transformers",
            timing.describe(record),
            f"{len(record['documents']['numbers'])} held-out documents, the first "
            f"{record['length']:,} tokens of each. Largest absolute differences of "
            "single logits over documents, positions and vocabulary, all in float32. "
            "*Of transformers*: from rope_lab with exact angles. *Predicted*: rope_lab "
            "with the float32 angles of transformers, from rope_lab with exact ones. "
            "*Not predicted*: by how much the first exceeds it for any logit. "
            "*With its angles*: transformers from rope_lab with the same angles.",
            timing.markdown(HEADER, lines) + "\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="workdir of the run")
    parser.add_argument("exported", help="what `rope-lab export` wrote of it")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    found = measure(options.run, options.exported, options.length, options.documents)
    record = timing.heading(os.cpu_count() or 1) | found
    timing.write(options.output / "export_logits.json", record)
    (options.output / "export_logits.md").write_text(text(record))
    print(text(record) + f"written to {options.output}")


if __name__ == "__main__":
    main()
