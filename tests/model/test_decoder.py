"""The decoder against a float64 copy of it, and what must hold for every logic."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import oracle
from rope_lab import position_logic, rotary
from rope_lab.model import (
    Decoder,
    ModelConfig,
    apply_model,
    build_logic,
    count_parameters,
    init_model,
)

B, T, V = 2, 7, 11
TINY = {"vocab_size": V, "num_layers": 4, "width": 12, "ff_width": 20}
TINY |= {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
EVERYTHING = {"tied_embeddings": False, "qk_norm": "rms", "biases": True}

compiled = jax.jit(apply_model, static_argnums=0)


def run(graphdef, params, tokens_BT, logic, positions=None, segments=None):
    """apply_model with everything given: one program for most tests of this file."""
    shape = tokens_BT.shape
    if positions is None:
        positions = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    segments = np.ones(shape, np.int32) if segments is None else segments
    return compiled(graphdef, params, tokens_BT, logic, positions, segments)


def logic_of(name="rope", **options):
    return position_logic(name, head_dim=8, **options)


@functools.cache
def model(**changes):
    """(graphdef, params) with every parameter random, zeros and ones included."""
    config = ModelConfig(**(TINY | changes))
    empty = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(empty)
    rng = np.random.default_rng(0)

    def noise(path, leaf):
        centre = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(centre + 0.25 * rng.normal(size=leaf.shape), leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(noise, shapes)


@functools.cache
def fresh(seed):
    """(graphdef, params) that training starts from."""
    return init_model(ModelConfig(**TINY), seed)


def tokens(seed=0, length=T):
    return np.random.default_rng(seed).integers(0, V, (B, length), np.int32)


# The float64 copy.


def normalised(x, scale):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def projected(x, layer, name):
    kernel, bias = layer[f"{name}.kernel"], layer.get(f"{name}.bias", 0.0)
    return x @ kernel + bias


def attended(x, layer, encoding, positions, segments, qk_norm):
    def heads(name, count):
        split = projected(x, layer, f"attention.{name}").reshape(B, -1, count, 8)
        scale = layer.get(f"attention.{name}_norm.scale")
        return split if scale is None else normalised(split, scale)

    name, options = encoding
    q, k = heads("query", 4), heads("key", 2)
    if qk_norm in ("keys", "cosine"):
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    if qk_norm in ("queries", "cosine"):
        q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    if qk_norm in ("keys", "queries", "cosine"):  # the oracle divides by sqrt(8)
        q = q * np.sqrt(8) * (5.0 if qk_norm == "cosine" else 1.0)
    scores = oracle.logits(name, q, k, positions, positions, **options)
    mixed = oracle.attention(scores, heads("value", 2), segments, segments)
    return projected(mixed.reshape(B, -1, 32), layer, "attention.out")


def fed_forward(x, layer):
    gate, up = (projected(x, layer, f"feed_forward.{n}") for n in ("gate", "up"))
    return projected(gate / (1 + np.exp(-gate)) * up, layer, "feed_forward.down")


def reference(params, tokens_BT, encodings, positions, segments, qk_norm="none"):
    """Logits of a Llama-style decoder with one (name, options) per layer."""
    flat = {
        ".".join(str(part) for part in path): np.asarray(leaf.get_value(), np.float64)
        for path, leaf in nnx.to_flat_state(params)
    }
    embedding = flat["embed.embedding"]
    x = embedding[tokens_BT]
    stacked = {k.removeprefix("layers."): v for k, v in flat.items() if "layers" in k}
    for number, encoding in enumerate(encodings):
        layer = {key: value[number] for key, value in stacked.items()}
        h = normalised(x, layer["attention_norm.scale"])
        x = x + attended(h, layer, encoding, positions, segments, qk_norm)
        x = x + fed_forward(normalised(x, layer["feed_forward_norm.scale"]), layer)
    return normalised(x, flat["norm.scale"]) @ flat.get("unembed.kernel", embedding.T)


WINDOW = ("rope", {"sliding_window": 3})
FULL = ("nope", {"log_n": "test", "train_length": 4})
YARN = ("yarn", {"scale": 4.0, "train_length": 64, "resonance": True})
PATTERNS = {
    "one for all": [("rerope", {"window": 3})] * 4,
    "periodic": [WINDOW, FULL] * 2,
    "runs": [WINDOW, WINDOW, YARN, YARN],
    "last differs": [WINDOW, WINDOW, WINDOW, FULL],
}


@pytest.mark.parametrize(
    ("pattern", "changes"),
    [
        ("one for all", {}),
        ("periodic", EVERYTHING),
        ("runs", {"biases": True}),
        ("one for all", {"biases": "qkv"}),
        ("last differs", {"qk_norm": "rms"}),
        ("runs", {"qk_norm": "keys"}),
        ("runs", {"qk_norm": "queries"}),
        ("one for all", {"qk_norm": "cosine"}),
    ],
)
def test_logits_equal_a_float64_decoder(pattern, changes):
    graphdef, params = model(**changes)
    encodings = PATTERNS[pattern]
    stated = {"softmax_scale": 5.0} if changes.get("qk_norm") == "cosine" else {}
    logics = [logic_of(name, **options, **stated) for name, options in encodings]
    positions = np.tile(np.arange(T, dtype=np.int32), (B, 1))
    segments = np.ones((B, T), np.int32)
    norm = changes.get("qk_norm", "none")
    expected = reference(params, tokens(), encodings, positions, segments, norm)
    found = compiled(graphdef, params, tokens(), logics)
    chex.assert_shape(found, (B, T, V))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if pattern == "one for all":
        alone = run(graphdef, params, tokens(), logics[0])
        np.testing.assert_allclose(alone, found, atol=1e-5)


def test_cosine_attention_needs_a_softmax_scale():
    graphdef, params = model(qk_norm="cosine")
    with pytest.raises(ValueError, match="give the position logic one"):
        run(graphdef, params, tokens(), logic_of())


def test_positions_and_segments_reach_every_layer():
    graphdef, params = model()
    positions = np.array([[3, 4, 5, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 9]], np.int32)
    segments = np.array([[1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 0]], np.int32)
    encodings = [("self_extend", {"window": 2, "group": 2})] * 4
    found = run(
        graphdef,
        params,
        tokens(),
        logic_of("self_extend", window=2, group=2),
        positions,
        segments,
    )
    expected = reference(params, tokens(), encodings, positions, segments)
    np.testing.assert_allclose(found, expected, atol=2e-4)


# What must hold for every logic.


def test_a_token_influences_itself_and_the_future_only():
    """Distinct tokens: the gradient in an embedding row is that of one position."""
    graphdef, params = model(tied_embeddings=False)
    row = np.tile(np.arange(T, dtype=np.int32), (B, 1))

    @jax.jit
    def influence(params):
        logits = jax.jacrev(
            lambda params: apply_model(graphdef, params, row, logic_of())[0].sum(-1)
        )(params)
        return logits["embed"]["embedding"].get_value()

    reached = np.any(np.asarray(influence(params)) != 0, -1)
    np.testing.assert_array_equal(reached[:, :T], np.tri(T, dtype=bool))
    np.testing.assert_array_equal(reached[:, T:], np.zeros((T, V - T), bool))


def test_packed_documents_equal_documents_alone():
    graphdef, params = model()
    packed = tokens(length=6)
    positions = np.tile(np.r_[0:3, 0:3].astype(np.int32), (B, 1))
    segments = np.tile(np.r_[[1] * 3, [2] * 3].astype(np.int32), (B, 1))
    together = run(graphdef, params, packed, logic_of(), positions, segments)
    for part in (slice(0, 3), slice(3, 6)):
        alone = compiled(graphdef, params, packed[:, part], logic_of())
        np.testing.assert_allclose(together[:, part], alone, atol=2e-5)
    careless = run(graphdef, params, packed, logic_of(), positions)
    assert np.max(np.abs(careless[:, 3:] - together[:, 3:])) > 1e-2


def test_what_lies_in_the_padding_changes_nothing():
    graphdef, params = model()
    segments = np.tile(np.r_[[1] * 5, [0] * 2].astype(np.int32), (B, 1))
    other = tokens().copy()
    other[:, 5:] = (other[:, 5:] + 1) % V
    found, same = (
        run(graphdef, params, x, logic_of(), None, segments) for x in (tokens(), other)
    )
    np.testing.assert_array_equal(found[:, :5], same[:, :5])
    unpadded = run(graphdef, params, tokens(), logic_of())
    np.testing.assert_allclose(found[:, :5], unpadded[:, :5], atol=2e-5)


def test_swapping_the_logic_changes_the_outputs_and_compiles_nothing_new():
    graphdef, params = model()
    chex.clear_trace_counter()
    counted = jax.jit(
        chex.assert_max_traces(
            lambda params, logic: apply_model(graphdef, params, tokens(), logic), n=1
        )
    )
    rope = counted(params, logic_of())
    for name, options in [("interpolated", {"scale": 8.0}), YARN]:
        other = counted(params, logic_of(name, **options))
        assert np.max(np.abs(other - rope)) > 1e-3
    np.testing.assert_array_equal(counted(params, logic_of()), rope)


def test_a_plain_callable_is_a_logic():
    graphdef, params = model()
    logic = logic_of("rerope", window=3)

    def mine(q_BTHD, k_BSKD, query_positions, key_positions):
        return logic(q_BTHD, k_BSKD, query_positions, key_positions)

    expected = run(graphdef, params, tokens(), logic)
    for given in (mine, [mine] * 2 + [logic] * 2):
        found = jax.jit(lambda p, g=given: apply_model(graphdef, p, tokens(), g))(
            params
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


def gradient_of(graphdef, segments=None):
    logic = logic_of("rerope", window=3)

    def loss(params):
        arguments = params, tokens(), logic, None, segments
        return jnp.mean(jax.nn.log_softmax(apply_model(graphdef, *arguments)) ** 2)

    return loss


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_recomputing_layers_changes_no_gradient_and_padding_harms_none(remat):
    graphdef, params = model()
    again, _ = model(remat=remat)
    segments = np.tile(np.r_[[1] * 5, [0] * 2].astype(np.int32), (B, 1))
    stored, recomputed = (
        jax.jit(jax.value_and_grad(gradient_of(one, segments)))(params)
        for one in (graphdef, again)
    )
    chex.assert_tree_all_finite(stored)
    chex.assert_trees_all_close(
        jax.tree.leaves(stored), jax.tree.leaves(recomputed), rtol=1e-4, atol=1e-6
    )


def test_each_remat_keeps_less_than_the_one_before_it():
    """Numbers that wait for the backward pass, parameters included."""
    kept = []
    for remat in ("none", "dots", "full"):
        graphdef, params = model(remat=remat)
        pull_back = jax.eval_shape(
            lambda p, one=graphdef: jax.vjp(gradient_of(one), p)[1], params
        )
        kept.append(sum(x.size for x in jax.tree.leaves(pull_back)))
    assert kept[0] > 1.2 * kept[1] > 1.2**2 * kept[2], kept


def test_bfloat16_compute_keeps_parameters_and_logits_in_float32():
    graphdef, params = model(dtype="bfloat16")
    chex.assert_type(jax.tree.leaves(params), jnp.float32)
    found = run(graphdef, params, tokens(), logic_of())
    chex.assert_type(found, jnp.float32)
    exact = run(model()[0], params, tokens(), logic_of())
    spread = float(np.std(exact))
    assert 1e-4 * spread < np.max(np.abs(found - exact)) < 0.15 * spread


def test_bfloat16_compute_knows_positions_a_million_tokens_in():
    graphdef, params = model(dtype="bfloat16")
    near = np.tile(np.arange(T, dtype=np.int32), (B, 1))
    close = run(graphdef, params, tokens(), logic_of(), near)
    far = run(graphdef, params, tokens(), logic_of(), near + 2**20)
    np.testing.assert_allclose(close, far, atol=0.05 * float(np.std(close)))


def equations(jaxpr):
    """Number of equations, those of inner programs included."""
    total = len(jaxpr.eqns)
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda x: isinstance(
                x, (jax.extend.core.ClosedJaxpr, jax.extend.core.Jaxpr)
            ),
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += equations(inner)
    return total


@pytest.mark.parametrize("remat", ["none", "full"])
@pytest.mark.parametrize("period", [1, 2])
def test_32_layers_are_as_many_equations_as_few(period, remat):
    logics = [logic_of(), logic_of("nope")][:period]

    def count(num_layers):
        graphdef, params = model(num_layers=num_layers, remat=remat)
        pattern = logics * (num_layers // period)

        def loss(params):
            return apply_model(graphdef, params, tokens(), pattern).sum()

        return equations(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)

    few, many = count(2 * period), count(32)
    assert few == many and few > 50


# Parameters and configuration.


def test_the_module_and_the_pure_function_agree():
    graphdef, params = model()
    module = nnx.merge(graphdef, params)
    found = jax.jit(lambda tokens: module(tokens, logic_of()))(tokens())
    expected = run(graphdef, params, tokens(), logic_of())
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["bare", "everything"])
def test_the_number_of_parameters_is_that_of_the_formula(changes):
    _, params = model(**changes)
    L, E, F, H, K, D = 4, 12, 20, 4, 2, 8
    matrices = E * D * (2 * H + 2 * K) + 3 * E * F
    expected = V * E + E + L * (matrices + 2 * E)
    if changes:
        expected += V * E + L * (2 * D + D * (H + 2 * K) + E + 2 * F + E)
    assert count_parameters(params) == expected


def test_seeds_and_layers_start_different_from_each_other():
    (_, first), (_, other) = fresh(0), fresh(1)
    chex.assert_trees_all_equal_structs(first, other)
    chex.assert_type(jax.tree.leaves(first), jnp.float32)
    kernels = (p["layers"]["attention"]["query"]["kernel"] for p in (first, other))
    one, two = (np.asarray(kernel.get_value()) for kernel in kernels)
    assert np.mean(one == two) < 0.01
    assert np.min(np.std(one, axis=0)) > 0


def test_an_untrained_model_predicts_about_evenly():
    logits = run(*fresh(0), tokens(), logic_of())
    loss = -jnp.mean(jax.nn.log_softmax(logits))
    assert abs(float(loss) - np.log(V)) < 1.0


@pytest.mark.parametrize("number", [0, 3, 5, 8])
def test_a_list_of_logics_has_one_per_layer(number):
    graphdef, params = model()
    with pytest.raises(ValueError, match="4"):
        apply_model(graphdef, params, tokens(), [logic_of()] * number)


def test_equal_specs_share_a_logic_also_where_they_hold_arrays():
    config = ModelConfig(**TINY)
    factors = {"short_factors": np.ones(4), "long_factors": np.full(4, 2.0)}
    longrope = {"name": "longrope", "scale": 2, "train_length": 8, "length": 16}
    same = [longrope | {k: x.copy() for k, x in factors.items()} for _ in range(2)]
    other = longrope | factors | {"long_factors": np.full(4, 3.0)}
    carried = [{"name": "rope", "frequencies": rotary.rope(8)} for _ in range(2)]
    first, second, third, fourth = build_logic([*same, other, carried[0]], config)
    assert first is second and len({id(x) for x in (second, third, fourth)}) == 3
    pair = build_logic(carried, config)
    assert pair[0] is pair[1]


def test_a_bias_for_another_number_of_heads_than_the_models_is_not_built():
    config = ModelConfig(vocab_size=9, num_layers=2, num_heads=2, num_kv_heads=1)
    alibi = {"name": "alibi", "num_heads": 8}
    for spec in (alibi, [{"name": "rope"}, alibi]):
        with pytest.raises(ValueError, match="built for num_heads 8.* have 2 heads"):
            build_logic(spec, config)
    assert build_logic({"name": "alibi", "num_heads": 2}, config).bias.num_heads == 2
