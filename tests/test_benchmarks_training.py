"""Both sides of the training benchmark train the same model."""

import numpy as np
import pytest

from benchmarks import timing, training
from rope_lab.model import ModelConfig, count_parameters, init_model

pytestmark = pytest.mark.skipif(not timing.has_torch(), reason="needs the extra hf")
TINY = ModelConfig(
    vocab_size=32, num_layers=1, width=16, ff_width=24, num_heads=2, num_kv_heads=2,
    head_dim=8,
)  # fmt: skip
LAYERS = {
    "self_attn.q_proj": "attention.query.kernel",
    "self_attn.k_proj": "attention.key.kernel",
    "self_attn.v_proj": "attention.value.kernel",
    "self_attn.o_proj": "attention.out.kernel",
    "mlp.gate_proj": "feed_forward.gate.kernel",
    "mlp.up_proj": "feed_forward.up.kernel",
    "mlp.down_proj": "feed_forward.down.kernel",
    "input_layernorm": "attention_norm.scale",
    "post_attention_layernorm": "feed_forward_norm.scale",
}


def llama(attention: str):
    """Their model with our parameters of seed 0."""
    torch = timing.load_torch()
    model = training.make_llama(TINY, 24, attention)
    params = init_model(TINY, seed=0)[1]
    state = {
        "model.embed_tokens.weight": params["embed"]["embedding"][...],
        "lm_head.weight": params["embed"]["embedding"][...],
        "model.norm.weight": params["norm"]["scale"][...],
    }
    for theirs, ours in LAYERS.items():
        leaf = params["layers"]
        for name in ours.split("."):
            leaf = leaf[name]
        for number, values in enumerate(np.asarray(leaf[...])):
            state[f"model.layers.{number}.{theirs}.weight"] = values.T
    state = {name: torch.tensor(np.asarray(x)) for name, x in state.items()}
    model.load_state_dict(state)
    assert sum(x.numel() for x in model.parameters()) == count_parameters(params)
    return model


@pytest.fixture(scope="module")
def batch():
    return training.make_batch(24, TINY)


@pytest.fixture(scope="module")
def losses(batch):
    """Ours: before any update by each program, and by three updates."""
    parts = training.ours({"name": "rope"}, batch, TINY)
    value, _ = parts["forward+backward"]()
    return [float(parts["forward"]()), float(value), *(parts["step"]() for _ in "123")]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_losses_agree_before_and_after_updates(attention, batch, losses):
    parts = training.hugging_face(llama(attention), training.TRAINING, batch)
    calls = [parts["forward"], parts["forward+backward"], *[parts["step"]] * 3]
    # They decay the scales of norms too: by 1e-4 in each update.
    np.testing.assert_allclose([call().item() for call in calls], losses, rtol=1e-4)
    assert losses[-1] < losses[0]


def test_their_attention_alone_is_differentiated(batch):
    for attention in training.PEERS.values():
        parts = training.hugging_face(llama(attention), training.TRAINING, batch)
        assert [x.shape for x in parts["attention"]()] == [(4, 2, 24, 8)] * 3


def test_the_target_takes_the_length_where_we_are_worst():
    peer = next(iter(training.PEERS))
    cases = [
        {"rows": {training.OURS: {"step": 2.0}, peer: {"step": step}}}
        for step in (6.0, 4.0)
    ]
    assert training.TARGETS[0].measured({"cases": cases}) == 2.0
    assert training.TARGETS[1].measured({"cases": cases}) is None
