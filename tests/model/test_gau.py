"""The gated attention unit against a float64 copy, from the cache, and in numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import oracle
from rope_lab import generate, position_logic
from rope_lab.logic import hwfa, receptive_field
from rope_lab.model import (
    Decoder,
    ModelConfig,
    apply_model,
    count_parameters,
    init_model,
    model_structure,
)
from rope_lab.model.decoder import init_caches

B, T, V, E, F, D = 2, 7, 11, 12, 20, 8
TINY = {"vocab_size": V, "num_layers": 3, "width": E, "ff_width": F, "block": "gau"}
TINY |= {"num_heads": 1, "num_kv_heads": 1, "head_dim": D}
ROPE = ("rope", {})
WINDOW = ("rope", {"sliding_window": 3})
FULL = ("nope", {"log_n": "train", "train_length": 4})

compiled = jax.jit(apply_model, static_argnums=0)


@functools.cache
def model(**changes):
    """(graphdef, params), random and large enough that every part matters."""
    config = ModelConfig(**(TINY | changes))
    empty = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(empty)
    rng = np.random.default_rng(0)

    def noise(path, leaf):
        centre = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(centre + 0.5 * rng.normal(size=leaf.shape), leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(noise, shapes)


def tokens(seed=0, length=T):
    return np.random.default_rng(seed).integers(0, V, (B, length), np.int32)


def logic_of(name="rope", **options):
    return position_logic(name, head_dim=D, **options)


# The float64 copy.


def normalised(x, gains=1.0):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * gains


def unit(x_BTE, layer, encoding, segments_BT, qk_norm):
    """x + unit(x), before the norm."""
    mixed = x_BTE @ layer["inputs.kernel"]
    mixed = mixed / (1 + np.exp(-mixed))
    u, v, z = mixed[..., :F], mixed[..., F : 2 * F], mixed[..., 2 * F :]
    q, k = z * layer["query.scale"], z * layer["key.scale"]
    if qk_norm == "rms":
        q = normalised(q, layer["query_norm.scale"])
        k = normalised(k, layer["key_norm.scale"])
    if qk_norm == "keys":
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    if qk_norm == "queries":
        q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    if qk_norm in ("keys", "queries"):  # the oracle divides by sqrt(D)
        q = q * np.sqrt(D)
    positions = np.tile(np.arange(x_BTE.shape[1]), (B, 1))
    name, options = encoding
    scores = oracle.logits(
        name, q[:, :, None], k[:, :, None], positions, positions, **options
    )
    o = oracle.attention(scores, v[:, :, None], segments_BT, segments_BT)[:, :, 0]
    return x_BTE + (u * o) @ layer["out.kernel"]


def reference(params, tokens_BT, encodings, segments_BT, qk_norm):
    """Logits of a post-norm decoder with one (name, options) per layer."""
    flat = {
        ".".join(str(part) for part in path): np.asarray(leaf.get_value(), np.float64)
        for path, leaf in nnx.to_flat_state(params)
    }
    embedding = flat["embed.embedding"]
    x = normalised(embedding[tokens_BT])
    for number, encoding in enumerate(encodings):
        layer = {
            key.removeprefix("layers."): value[number]
            for key, value in flat.items()
            if key.startswith("layers.")
        }
        x = normalised(unit(x, layer, encoding, segments_BT, qk_norm))
    return x @ embedding.T


@pytest.mark.parametrize(
    ("encodings", "qk_norm"),
    [
        ([ROPE] * 3, "none"),
        ([WINDOW, WINDOW, FULL], "rms"),
        ([WINDOW, WINDOW, FULL], "keys"),
        ([ROPE] * 3, "queries"),
    ],
)
def test_logits_equal_a_float64_decoder(encodings, qk_norm):
    graphdef, params = model(qk_norm=qk_norm)
    logics = [logic_of(name, **options) for name, options in encodings]
    segments = np.array([[1] * T, [1, 1, 1, 2, 2, 2, 0]], np.int32)
    expected = reference(params, tokens(), encodings, segments, qk_norm)
    found = compiled(graphdef, params, tokens(), logics, None, segments)
    assert found.shape == (B, T, V) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_a_softmax_scale_that_a_logic_states_stays_under_key_norm():
    graphdef, params = model(qk_norm="keys")
    left_open, one, half = (
        compiled(graphdef, params, tokens(), logic_of(softmax_scale=scale))
        for scale in (None, 1.0, 0.5)
    )
    np.testing.assert_array_equal(left_open, one)
    assert np.max(np.abs(half - one)) > 1e-2


# From the cache.


PATTERNS = {
    "rope": logic_of(),
    "hwfa": hwfa(3, head_dim=D, window=3, train_length=4),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("qk_norm", ["none", "keys"])
def test_cached_decoding_of_a_ragged_batch_equals_full_passes(name, qk_norm):
    """Prompts of 5 and 3 tokens in chunks of 4, then 4 tokens more, one at a time."""
    graphdef, params = model(qk_norm=qk_norm)
    text, lengths = tokens(length=9), np.array([5, 3])
    full = compiled(graphdef, params, text, PATTERNS[name])
    decoder = nnx.merge(graphdef, params)

    @functools.partial(jax.jit, static_argnames="fresh")
    def extend(tokens_BT, caches, counts_B, fresh=False):
        return decoder.extend(tokens_BT, PATTERNS[name], caches, counts_B, fresh=fresh)

    caches = init_caches(decoder.config, PATTERNS[name], B, 9, ragged=True)
    first, caches = extend(text[:, :4], caches, np.array([4, 3]), fresh=True)
    second, caches = extend(text[:, 4:8], caches, np.array([1, 0]))
    found = np.stack([second[0], first[1]])
    for step in range(5):
        ends = lengths + step
        expected = full[np.arange(B), ends - 1]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        if step < 4:
            more_B1 = text[np.arange(B), ends][:, None]
            found, caches = extend(more_B1, caches, np.ones(B, np.int32))


def test_greedy_text_is_the_argmax_of_full_passes():
    graphdef, params = model()
    found = generate(graphdef, params, tokens(length=3), PATTERNS["hwfa"], 20)
    text = np.concatenate([tokens(length=3), found.tokens], axis=1)
    logits = compiled(graphdef, params, text, PATTERNS["hwfa"])
    np.testing.assert_array_equal(found.tokens, np.argmax(logits, -1)[:, 2:-1])


# Numbers.


def test_tokens_reach_as_far_through_windows_as_the_formula_says():
    """The layers below HWFA's last; distinct tokens, so that a row is a position."""
    length, window = 11, 3
    config = {"num_layers": 3, "vocab_size": length, "tied_embeddings": False}
    graphdef, params = model(**config)
    below = hwfa(4, head_dim=D, window=window, train_length=length)[:3]
    row = np.arange(length, dtype=np.int32)[None]

    @jax.jit
    @jax.grad
    def influence(params):
        return apply_model(graphdef, params, row, below)[0, -1].sum()

    slopes = influence(params)["embed"]["embedding"].get_value()
    reached = np.any(np.asarray(slopes) != 0, axis=-1)
    assert reached.sum() == receptive_field(4, window) == 7
    assert reached[-7:].all()


def test_the_100m_model_has_96_516_096_parameters_with_12_000_tokens():
    """24 layers of (768 x (2 x 1536 + 128)) + (1536 x 768) + 2 x 128, the embedding,
    and nothing else: the norms have no gains, and scores reuse the embedding."""
    size = {"num_layers": 24, "width": 768, "ff_width": 1536, "head_dim": 128}
    config = ModelConfig(**(TINY | size | {"vocab_size": 12_000}))
    layer = 768 * (2 * 1536 + 128) + 1536 * 768 + 2 * 128
    assert layer == 3_637_504
    shapes = model_structure(config)[1]
    assert count_parameters(shapes) == 24 * layer + 12_000 * 768 == 96_516_096


def test_matrices_start_with_the_published_deviation_and_gains_at_one():
    config = ModelConfig(**(TINY | {"width": 64, "ff_width": 128, "num_layers": 8}))
    params = init_model(config, 0)[1]
    layers = params["layers"]
    for matrix, fan in [
        (layers["inputs"]["kernel"], 64),
        (layers["out"]["kernel"], 128),
        (params["embed"]["embedding"], 64),
    ]:
        values = np.asarray(matrix.get_value())
        deviation = 0.5 / np.sqrt(fan)  # 8 layers, to the power of -1/3
        assert abs(np.std(values) / deviation - 1) < 0.06
        assert np.max(np.abs(values)) <= 2 * 1.1369 * deviation
    np.testing.assert_array_equal(layers["query"]["scale"].get_value(), np.ones((8, D)))


def test_padding_and_unseen_tokens_leave_gradients_finite():
    graphdef, params = model(qk_norm="keys")
    segments = np.array([[1] * T, [1] * 3 + [0] * 4], np.int32)

    @jax.jit
    @jax.grad
    def slopes(params):
        logits = apply_model(graphdef, params, tokens(), logic_of(), None, segments)
        return jnp.mean(jax.nn.log_softmax(logits[:, :3]) ** 2)

    leaves = jax.tree.leaves(slopes(params))
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in leaves)
