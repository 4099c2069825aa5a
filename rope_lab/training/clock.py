"""Where the time of a run goes, and how much of a device it uses."""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Iterator

import jax

from rope_lab.model import ModelConfig

PARTS = ("data", "step", "evaluation", "saving")
# Dense bfloat16 products of one chip, FLOP/s, by JAX's name of the device: what the
# makers state.
PEAK = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


class Clock:
    """Adds up the time of each part of a step; what belongs to none is the host's.

    A step is given to the device and waited for later, so "step" is both together.
    """

    def __init__(self):
        self._restart()

    def _restart(self) -> None:
        self._spent = dict.fromkeys(PARTS, 0.0)
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Time spent in the block is of this part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[part] += time.perf_counter() - start

    def row(
        self, steps: int, tokens: float, devices: int, flops_per_token: float | None
    ) -> dict[str, float]:
        """Means since the last call: seconds a step of each part, and speeds.

        Args:
          steps: done since then.
          tokens: of each step.
          devices: that share them.
          flops_per_token: from `training_flops`; None: speeds in tokens alone.
        """
        whole = max(time.perf_counter() - self._start, 1e-9)
        row = {f"{part}_seconds": spent / steps for part, spent in self._spent.items()}
        row["host_seconds"] = max(0.0, whole / steps - sum(row.values()))
        row["tokens_per_second"] = tokens * steps / whole
        row["tokens_per_second_per_device"] = row["tokens_per_second"] / devices
        if flops_per_token is not None:
            speed = flops_per_token * row["tokens_per_second_per_device"]
            row["flops_per_second_per_device"] = speed
            peak = PEAK.get(jax.devices()[0].device_kind)
            if peak is not None:
                row["model_flops_utilisation"] = speed / peak
        row["memory_peak_bytes"] = memory_peak()
        self._restart()
        return row


def training_flops(model: ModelConfig, parameters: int, length: int) -> float:
    """FLOPs that one token of training needs, whatever is computed twice.

        3 * (2 * N + 2 * L * H * (D + C) * (T + 1) / 2)

    Forward once and backward twice; N parameters in products, a token sees half of the
    T before it on average, and a pair costs a product of D and one of C numbers.
    Windows, documents shorter than T and recomputed layers are not looked at: so the
    figure can be compared between encodings.

    Args:
      parameters: of the whole model, vocabulary included.
      length: T, tokens of a sequence.
    """
    looked_up = 0 if model.tied_embeddings else model.vocab_size * model.width
    pairs = (length + 1) / 2
    heads = model.num_layers * model.num_heads * (model.head_dim + model.value_dim)
    return 3.0 * (2 * (parameters - looked_up) + 2 * heads * pairs)


def device_memory() -> int:
    """Bytes of the first device; its share of the machine's where it does not tell."""
    stats = jax.local_devices()[0].memory_stats() or {}
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(stats.get("bytes_limit", machine // jax.local_device_count()))


def memory_peak() -> float:
    """Most bytes in use until now: of a device, or of the process where that is all."""
    found = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in found if "peak_bytes_in_use" in one]
    if peaks:
        return float(max(peaks))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
