"""The GPU's kernels: interpreted against dense attention, and lowered for CUDA."""

import jax
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

import kernel_cases
from kernel_cases import CASES
from rope_lab import attend, position_logic
from rope_lab.attention.gpu import gpu, refusal
from rope_lab.attention.gpu_walk import plgpu


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_are_those_of_dense(name):
    kernel_cases.compare(CASES[name], gpu)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("segmented", [False, True])
def test_both_passes_become_triton_kernels_on_a_host_without_gpu(dtype, segmented):
    both, arguments = kernel_cases.pass_of(
        gpu, "rerope", 128, dtype, segmented, window=1024
    )
    # JAX 0.12 lowers for a kind of GPU, which without one has to be named.
    card = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    with use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=card)):
        lowered = both.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("@__gpu$xla.gpu.triton(") == 3


def test_this_jax_has_the_backend_the_kernels_are_written_for():
    assert plgpu is not None, (
        "JAX has removed Pallas' Triton backend: port rope_lab/attention/gpu.py to "
        "Mosaic GPU, or set an upper bound on jax"
    )


def test_without_a_gpu_asking_for_it_says_so():
    q = np.ones((1, 4, 2, 8), np.float32)
    with pytest.raises(ValueError, match="needs a GPU; this process runs on cpu"):
        attend(q, q, q, position_logic("rope", head_dim=8), implementation="gpu")


class _Device:
    device_kind, compute_capability = "a card", "9.0"


@pytest.fixture
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [_Device])


def test_what_the_kernels_cannot_do_is_refused_with_its_reason(on_a_gpu, monkeypatch):
    q = np.ones((1, 4, 2, 8), np.float32)
    wide = np.ones((1, 4, 2, 512), np.float32)
    rope = position_logic("rope", head_dim=8)
    assert refusal(q, q, q, rope) is None
    assert "256" in refusal(q, q, wide, rope)
    assert "one dtype" in refusal(q, q, q.astype(np.float16), rope)
    assert "float64" in refusal(*[q.astype(np.float64)] * 3, rope)
    assert "PositionLogic" in refusal(q, q, q, lambda *x: x)
    kerple = position_logic("kerple_log", head_dim=8, num_heads=2)
    assert "KerpleLog" in refusal(q, q, q, kerple)
    assert "amplitudes" in refusal(q, q, q, position_logic("xpos", head_dim=8))
    monkeypatch.setattr("rope_lab.attention.gpu.plgpu", None)
    assert "Triton" in refusal(q, q, q, rope)
    monkeypatch.setattr(_Device, "compute_capability", "7.5")
    assert "7.5" in refusal(q, q, q, rope)
    monkeypatch.setattr(_Device, "compute_capability", "gfx942")
    assert "NVIDIA" in refusal(q, q, q, rope)


def test_auto_takes_another_path_where_the_kernels_refuse(on_a_gpu):
    def logic(q, k, queries, keys):
        return np.zeros((1, 2, 4, 4), np.float32)

    q = np.random.default_rng(0).normal(size=(1, 4, 2, 8)).astype(np.float32)
    means = q.cumsum(1) / np.arange(1, 5).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(attend(q, q, q, logic), means, atol=1e-6)
