"""The TPU's kernels: interpreted against dense attention, lowered, and compiled."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import kernel_cases
from kernel_cases import CASES
from rope_lab import attend, position_logic
from rope_lab.attention.kernels import softmax_end
from rope_lab.attention.tpu import refusal, tpu

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_are_those_of_dense(name):
    kernel_cases.compare(CASES[name], tpu)


def test_a_row_whose_sum_is_no_number_says_so_and_one_without_keys_does_not():
    total = np.array([2.0, np.nan, 0.0], np.float32)
    factor, lse = softmax_end(np.zeros(3, np.float32), total)
    np.testing.assert_allclose(factor, [0.5, np.nan, 0.0])
    np.testing.assert_allclose(lse, [np.log(2.0), np.nan, np.inf], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_passes_become_mosaic_kernels_on_a_host_without_tpu(dtype):
    both, arguments = kernel_cases.pass_of(tpu, "rerope", 128, dtype, True, window=1024)
    lowered = both.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    assert lowered.count("@tpu_custom_call(") == 3


@pytest.mark.slow
def test_the_kernels_compile_for_a_real_chip():
    """Only libtpu's compiler knows what the chip cannot do and what VMEM holds."""
    beside = Path(sys.prefix) / "libtpu"  # where `make test` puts it
    if not beside.exists() and importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: `make test` does, on Linux")
    chip = {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        # Nothing runs, so other processes may hold libtpu too.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "compile_for_tpu"],
        cwd=TESTS,
        env={**os.environ, **chip, "PYTHONPATH": f"{TESTS.parent}:{TESTS}:{beside}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.count("compiled") == 6


def test_without_a_tpu_asking_for_it_says_so():
    q = np.ones((1, 4, 2, 8), np.float32)
    with pytest.raises(ValueError, match="needs a TPU; this process runs on cpu"):
        attend(q, q, q, position_logic("rope", head_dim=8), implementation="tpu")


def test_what_the_kernels_cannot_do_is_refused_with_its_reason(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    q = np.ones((1, 4, 2, 8), np.float32)
    rope = position_logic("rope", head_dim=8)
    assert refusal(q, q, q, rope) is None
    assert "float16" in refusal(*[q.astype(np.float16)] * 3, rope)
    assert "PositionLogic" in refusal(q, q, q, lambda *x: x)
    wide = np.ones((1, 4, 2, 512), np.float32)  # as a gated attention unit's values
    assert "256" in refusal(q, q, wide, rope)
    long = jax.ShapeDtypeStruct((4, 2**20, 2, 8), np.float32)
    assert "scalar memory" in refusal(long, long, long, rope)
