"""The properties every position encoding has: one table, one row per encoding.

Adding an encoding is one row of TABLE, and one function in oracle.py. Letters: B batch,
T queries, S keys, H query heads, K key heads, D their head dim, C that of the values.
`run` and `run_in_tiles` are compiled once per band structure; `explicit` runs op by op,
which is quicker where one call is enough because all rows share the compiled
operations.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from rope_lab import attend, position_logic, relative_positions
from rope_lab.attention.operands import make_layout
from rope_lab.attention.tiled import tiled

B, T, S, H, K, D, C = 2, 5, 9, 4, 2, 8, 6
FAR = 2**20


class Row(NamedTuple):
    """An encoding, its options, and what is true of it."""

    name: str
    options: dict = {}
    # Shifting every position by a multiple of this many tokens changes nothing.
    shift_period: int | None = 1
    # Options at which it is plain RoPE (merged over `options`), if there are any.
    plain: dict | None = None

    def logic(self, **changes):
        logic = position_logic(self.name, head_dim=D, **(self.options | changes))
        if not self.learned():
            return logic
        bias = dataclasses.replace(logic.bias, **self.learned())
        return dataclasses.replace(logic, bias=bias)

    def learned(self):
        """What its bias might have learned, by name; empty for most."""
        rng, units = np.random.default_rng(3), self.options.get("hidden", 32)
        buckets = self.options.get("num_buckets", 32)
        pair = {"a_H": (H,), "p_H": (H,)}
        shapes = {"kerple_log": pair, "kerple_power": pair, "t5": {}, "fire": {}}
        shapes["t5"] = {"table_NH": (buckets, H)}
        shapes["fire"] = {"c": (), "multiplier": (), "hidden_kernel_U": (units,)}
        shapes["fire"] |= {"hidden_bias_U": (units,)}
        shapes["fire"] |= {"out_kernel_UH": (units, H)}
        laws = {"a_H": rng.uniform, "p_H": lambda size: rng.uniform(0.1, 1.2, size)}
        laws |= {"c": lambda size: np.float32(0.2), "multiplier": rng.uniform}
        # Units that start to act at some distance: others add a constant, or nothing.
        laws["hidden_kernel_U"] = lambda size: rng.uniform(1.0, 2.0, size)
        laws["hidden_bias_U"] = lambda size: -rng.uniform(0.1, 0.6, size)
        drawn = shapes.get(self.name, {}).items()
        return {
            name: np.float32(laws.get(name, rng.normal)(size=shape))
            for name, shape in drawn
        }


TEST, TRAIN = ({"log_n": kind, "train_length": 6} for kind in ("test", "train"))
TWO_LISTS = {"short_factors": (1.0,) * 4, "long_factors": (1.0, 1.5, 3.0, 6.0)}
YARN = {"scale": 8.0, "train_length": 64}
NO_SCALE = {"scale": 1.0}
CHUNKS = {"chunk_length": 4, "local_window": 2}
THIRDS = {"chunk_length": 3, "local_window": 3}
HEADS = {"num_heads": H}

TABLE = [
    Row("rope", plain={}),
    Row("rope", {"resonance": True}, plain={"resonance": False}),
    Row("rope", {"base": 500.0, "layout": "interleaved"}),
    Row("rope", {"softmax_scale": 0.2}),
    Row("rope", {"sliding_window": 4}, plain={"sliding_window": 99}),
    Row("rope", TEST, shift_period=None, plain={"train_length": 99}),
    Row("rope", TRAIN | {"log_n_minimum": 3}, shift_period=None),
    Row("interpolated", {"scale": 4.0}, plain=NO_SCALE),
    Row("interpolated", {"scale": 3.7, "resonance": True, "layout": "interleaved"}),
    Row("ntk_aware", {"scale": 8.0}, plain=NO_SCALE),
    Row("ntk_old", {"scale": 8.0}, plain=NO_SCALE),
    Row("ntk_fixed", {"scale": 8.0}, plain=NO_SCALE),
    Row("ntk_mixed", {"scale": 8.0}, plain=NO_SCALE),
    Row("ntk_mixed", {"scale": 12.0, "exponent": 0.75} | TEST, shift_period=None),
    Row("dynamic_ntk", {"train_length": 8, "length": 20}, plain={"length": 8}),
    Row("dynamic_ntk", {"train_length": 8, "length": 20, "scale": 2.0}),
    Row("yarn", YARN, plain=NO_SCALE),
    Row("yarn", YARN | {"ramp": "rotations"}, plain=NO_SCALE),
    Row("yarn", YARN | {"truncate": False, "logit_scale": 1.3}),
    Row("yarn", YARN | {"resonance": True, "sliding_window": 4}),
    Row("yarn", TRAIN | YARN | {"beta_fast": 4.0, "beta_slow": 0.1}, None),
    Row("llama3", YARN, plain=NO_SCALE),
    Row("longrope", YARN | TWO_LISTS | {"length": 64}, plain=NO_SCALE),
    Row("longrope", YARN | TWO_LISTS | {"length": 65}),
    Row("partial", {"fraction": 0.5}, plain={"fraction": 1.0}),
    Row("partial", {"fraction": 0.5, "layout": "interleaved", "resonance": True}),
    Row("p_rope", {"fraction": 0.5}, plain={"fraction": 1.0}),
    Row("p_rope", {"train_length": 70}, plain={"train_length": 10**5}),
    Row("rerope", {"window": 3}, plain={"window": 99}),
    Row("rerope", {"window": 2, "sliding_window": 5, "layout": "interleaved"}),
    Row("rerope", {"window": 3, "resonance": True} | TEST, shift_period=None),
    Row("leaky_rerope", {"window": 3, "step": 4}, plain={"step": 1}),
    Row("leaky_rerope", {"window": 3, "step": 2.5}, plain={"window": 99}),
    Row("leaky_rerope", {"window": 3, "step": 0.3, "resonance": True}),
    Row("leaky_rerope", {"window": 3, "step": 1 / 16}, plain={"step": 1}),  # inverse
    Row("self_extend", {"window": 4, "group": 2}, 2, plain={"group": 1}),
    Row("self_extend", {"window": 5, "group": 3}, 3, plain={"window": 99}),
    Row("dual_chunk", CHUNKS, 4, plain={"chunk_length": 99}),
    Row("dual_chunk", CHUNKS | {"sliding_window": 7}, 4),
    Row("dual_chunk", CHUNKS | {"resonance": True}, 4),
    Row("dual_chunk", THIRDS | {"layout": "interleaved"} | TEST, shift_period=None),
    Row("nope"),
    Row("nope", {"sliding_window": 4} | TEST, shift_period=None),
    Row("alibi", HEADS),
    Row("alibi", HEADS | {"sliding_window": 4, "softmax_scale": 0.2}),
    Row("alibi", HEADS | TRAIN, shift_period=None),
    Row("kerple_log", HEADS),
    Row("kerple_log", HEADS | TRAIN | {"sliding_window": 6}, shift_period=None),
    Row("kerple_power", HEADS),
    Row("t5", HEADS | {"num_buckets": 6, "max_distance": 9}),
    Row("t5", HEADS | {"softmax_scale": 1.0}),
    Row("fire", HEADS | {"threshold": 8}, shift_period=None),
    Row("fire", HEADS | {"hidden": 5, "sliding_window": 7}, shift_period=None),
    Row("xpos", plain={"scale_base": 1e7}),
    Row("xpos", {"scale_base": 0.5, "layout": "interleaved", "resonance": True}),
    Row("xpos", TEST | {"scale_base": 2.5, "sliding_window": 6}, shift_period=None),
    Row("randomized", {"draw_from": 64}),
    Row("randomized", {"draw_from": 64, "at_test": "even", "resonance": True}),
]


def label(row):
    shown = [f"{k}={v}" for k, v in row.options.items() if not isinstance(v, tuple)]
    return " ".join([row.name, *shown])


every_row = pytest.mark.parametrize("row", TABLE, ids=label)


def rows(condition):
    chosen = [row for row in TABLE if condition(row)]
    return pytest.mark.parametrize("row", chosen, ids=label)


def explicit(logic, q, k, v, q_positions, k_positions, q_segments, k_segments):
    """attend with everything given."""
    return attend(
        q,
        k,
        v,
        logic,
        query_positions=q_positions,
        key_positions=k_positions,
        segment_ids=(q_segments, k_segments),
        implementation="dense",
    )


@jax.jit
def run(logic, *data):
    """The same, compiled and mapped over the batch."""
    single = jax.tree.map(lambda x: x[:, None], data)
    return jax.vmap(lambda *x: explicit(logic, *x))(*single)[:, 0]


def in_tiles(logic, q, k, v, q_positions, k_positions, *segments):
    """Tiled attention as attend calls it, but in tiles of eight tokens."""
    layout = make_layout(logic, q_positions, k_positions, segments)
    return tiled(q, k, v, logic, layout, query_tile=8 * H // K, key_tile=8)


@jax.jit
def run_in_tiles(weights, logic, q, k, v, *rest):
    """Output, and the gradients of its weighted sum in (logic, q, k, v)."""
    out, pull = jax.vjp(lambda *x: in_tiles(*x, *rest), logic, q, k, v)
    return out, pull(weights)


class Inputs(NamedTuple):
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_positions: np.ndarray
    k_positions: np.ndarray
    q_segments: np.ndarray
    k_segments: np.ndarray


def inputs(seed=0, start=0, T=T, S=S):
    """Unsorted positions, two segments and padding, grouped heads, C != D."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(B, T, H, D)).astype(np.float32)
    k = rng.normal(size=(B, S, K, D)).astype(np.float32)
    v = rng.normal(size=(B, S, K, C)).astype(np.float32)
    q_positions = start + rng.integers(5, S + 7, (B, T), np.int32)
    k_positions = start + np.stack([rng.permutation(S + 3)[:S] for _ in range(B)])
    q_segments = rng.choice(3, (B, T), p=[0.1, 0.6, 0.3]).astype(np.int32)
    k_segments = rng.choice(3, (B, S), p=[0.1, 0.6, 0.3]).astype(np.int32)
    q_segments[0, 0] = 0  # at least one row sees no key
    return Inputs(
        q, k, v, q_positions, k_positions.astype(np.int32), q_segments, k_segments
    )


def long_inputs(seed, start=0):
    """Three tiles of queries and of keys; the first sequence is two packed documents.

    The first query of each sequence is padding; the second sequence is as in `inputs`.
    """
    data = inputs(seed, start, T=20, S=24)
    positions = start + np.r_[0:13, 0:9, 0:2].astype(np.int32)
    segments = np.r_[[1] * 13, [2] * 9, [0] * 2].astype(np.int32)
    data.q_positions[0], data.k_positions[0] = positions[-20:], positions
    data.q_segments[0], data.k_segments[0] = segments[-20:], segments
    data.q_segments[:, 0] = 0
    return data


def weights(data):
    """Of a weighted sum of the outputs, whose gradients are compared."""
    shape = (*data.q.shape[:3], C)
    return np.random.default_rng(12).normal(size=shape).astype(np.float32)


def oracle_logits(row, *arrays):
    return oracle.logits(row.name, *arrays, row.learned(), **row.options)


def reference(row, data):
    """The oracle's attention for the same inputs."""
    q, k, v, q_positions, k_positions, *segments = data
    scores = oracle_logits(row, q, k, q_positions, k_positions)
    return oracle.attention(scores, v, *segments)


def far_bound(row):
    """log n makes logits up to eight times larger, and their rounding with them."""
    return 1e-5 if row.options.get("log_n", "off") == "off" else 8e-5


@every_row
def test_dense_equals_the_oracle_at_unsorted_positions_and_segments(row):
    data = inputs()
    found = run(row.logic(), *data)
    chex.assert_shape(found, (B, T, H, C))
    chex.assert_type(found, jnp.float32)
    expected = reference(row, data)
    assert np.any(np.all(expected == 0, axis=(2, 3))), "no row without visible keys"
    np.testing.assert_allclose(found, expected, atol=1e-5)


@every_row
def test_dense_equals_the_oracle_a_million_tokens_in(row):
    data = inputs(2, start=FAR)
    found = run(row.logic(), *data)
    np.testing.assert_allclose(found, reference(row, data), atol=far_bound(row))


@every_row
def test_tiled_equals_the_oracle_and_has_the_gradients_of_dense(row):
    """One test: each row's program takes seconds to compile."""
    logic, near, far = row.logic(), long_inputs(13), long_inputs(14, start=FAR)
    found, slopes = run_in_tiles(weights(near), logic, *near)
    chex.assert_type(found, jnp.float32)
    np.testing.assert_allclose(found, reference(row, near), atol=1e-5)
    # In queries, keys, values and every leaf of the logic.
    _, pull = jax.vjp(lambda *x: explicit(*x, *near[3:]), logic, *near[:3])
    expected = pull(weights(near))
    chex.assert_trees_all_equal_structs(slopes, expected)
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(expected), strict=True)
    for ours, theirs in pairs:
        bound = 1e-4 * np.max(np.abs(theirs), initial=1e-6)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
    found, _ = run_in_tiles(weights(far), logic, *far)
    np.testing.assert_allclose(found, reference(row, far), atol=far_bound(row))


@every_row
def test_logits_equal_the_oracle_where_keys_are_not_in_the_future(row):
    q, k, _, q_positions, k_positions, *_ = inputs(4)
    found = row.logic()(q, k, q_positions, k_positions)
    chex.assert_shape(found, (B, H, T, S))
    chex.assert_type(found, jnp.float32)
    exact = oracle_logits(row, q, k, q_positions, k_positions)
    past = np.broadcast_to(
        (k_positions[:, None] <= q_positions[:, :, None])[:, None], exact.shape
    )
    np.testing.assert_allclose(np.asarray(found)[past], exact[past], atol=2e-5)


@every_row
def test_relative_positions_equal_the_oracle(row):
    if row.name in oracle.UNROTATED:
        with pytest.raises(ValueError, match=row.name):
            relative_positions(row.logic(), 12)
        return
    found = relative_positions(row.logic(), 12)
    expected = [
        [oracle.relative_position(row.name, i, j, **row.options) for j in range(12)]
        for i in range(12)
    ]
    np.testing.assert_allclose(found, np.array(expected, np.float32), 1e-6)


# Causality and segments, by gradients.


def gradients(row, data):
    """Gradients of a projection of each output t in (logic, q, k, v): [T, ...]."""
    rest = data[3:]
    _, pull = jax.vjp(lambda *x: explicit(*x, *rest), row.logic(), *data[:3])
    one_query = (np.arange(T)[:, None, None] == t for t in range(T))
    each = [pull(weights(data) * chosen) for chosen in one_query]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def visible_pairs(row, data):
    """[B, T, S] of the definition: not future, same segment, shown by the logic."""
    future = data.k_positions[:, None, :] > data.q_positions[:, :, None]
    queries, keys = data.q_segments[:, :, None], data.k_segments[:, None, :]
    distance = data.q_positions[:, :, None] - data.k_positions[:, None, :]
    shown = distance < row.options.get("sliding_window", 10**9)
    return ~future & (queries == keys) & (queries > 0) & shown


@every_row
def test_gradients_reach_exactly_the_visible_keys(row):
    data = inputs(5)
    logic_slope, q_slope, k_slope, v_slope = gradients(row, data)
    chex.assert_tree_all_finite((logic_slope, q_slope, k_slope, v_slope))
    visible = visible_pairs(row, data)
    assert visible.any() and not visible.any(-1).all()
    k_reached, v_reached, q_reached = (
        np.swapaxes(np.any(slope != 0, (3, 4)), 0, 1)
        for slope in (k_slope, v_slope, q_slope)
    )
    np.testing.assert_array_equal(v_reached, visible)
    assert not np.any(k_reached & ~visible)
    assert not np.any(q_reached & ~np.eye(T, dtype=bool))
    # A softmax over one key is constant; two or more let the query matter.
    assert np.all(np.diagonal(q_reached, 0, 1, 2) | (visible.sum(-1) < 2))


@every_row
def test_rows_without_visible_keys_are_zero_and_so_are_their_gradients(row):
    data = inputs(6)
    hidden = data._replace(k_positions=data.k_positions + 1000)
    np.testing.assert_array_equal(run(row.logic(), *hidden), np.zeros((B, T, H, C)))
    for leaf in jax.tree.leaves(gradients(row, hidden)):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))


@every_row
def test_documents_packed_together_equal_documents_alone(row):
    """Five tokens and four; the queries are the last of one and all of the other."""
    q, k, v, *_ = inputs(7)
    positions = np.tile(np.r_[0:5, 0:4].astype(np.int32), (B, 1))
    documents = np.tile(np.r_[[1] * 5, [2] * 4].astype(np.int32), (B, 1))

    def attended(q, k, v, segments):
        latest = positions[:, S - T :], positions
        return run(row.logic(), q, k, v, *latest, segments[:, S - T :], segments)

    packed = attended(q, k, v, documents)
    for number in (1, 2):
        # Everything outside the document becomes padding with wild contents.
        inside = documents == number
        wild = np.where(inside, 1.0, 1e3).astype(np.float32)[:, :, None, None]
        found = attended(q, k * wild, v * wild, inside.astype(np.int32))
        mine = inside[0, S - T :]
        np.testing.assert_array_equal(found[:, mine], packed[:, mine])


# Invariances and limits.


@rows(lambda row: row.shift_period)
@pytest.mark.parametrize("periods", [1, 77, 2**18])
def test_shifting_every_position_changes_nothing(row, periods):
    data = inputs(7)
    shift = np.int32(periods * row.shift_period)
    moved = data._replace(
        q_positions=data.q_positions + shift, k_positions=data.k_positions + shift
    )
    before, after = run(row.logic(), *data), run(row.logic(), *moved)
    np.testing.assert_allclose(before, after, atol=1e-5)


@rows(lambda row: row.shift_period is None)
def test_log_n_and_fire_depend_on_where_the_query_is(row):
    data = inputs(7)
    moved = data._replace(
        q_positions=data.q_positions + 5000, k_positions=data.k_positions + 5000
    )
    difference = run(row.logic(), *data) - run(row.logic(), *moved)
    assert np.max(np.abs(difference)) > 1e-2


@rows(lambda row: row.plain is not None)
def test_at_its_limit_it_is_plain_rope(row):
    data = inputs(8)
    lists = {"short_factors": (1.0,) * 4, "long_factors": (1.0,) * 4}
    changes = row.plain | (lists if row.name == "longrope" else {})
    plain = run(position_logic("rope", head_dim=D), *data)
    limit = explicit(row.logic(**changes), *data)
    np.testing.assert_allclose(limit, plain, atol=1e-5)
    if row.options:
        assert np.max(np.abs(run(row.logic(), *data) - plain)) > 1e-4


# Transformations and precision.


@every_row
def test_eager_calls_equal_the_compiled_and_mapped_one(row):
    data = inputs(9)
    compiled = run(row.logic(), *data)
    np.testing.assert_allclose(explicit(row.logic(), *data), compiled, atol=2e-6)


@every_row
@pytest.mark.parametrize("start", [0, FAR])
def test_bfloat16_inputs_are_rounded_once_at_the_output(row, start):
    """Angles of bfloat16 vectors are float32: far positions lose nothing."""
    data = inputs(10, start=start)
    low = [jnp.asarray(x, jnp.bfloat16) for x in data[:3]]
    found = explicit(row.logic(), *low, *data[3:])
    chex.assert_type(found, jnp.bfloat16)
    exact = run(row.logic(), *(x.astype(jnp.float32) for x in low), *data[3:])
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)


@every_row
def test_a_plain_callable_around_the_logic_gives_the_same(row):
    data = inputs(11)
    logic = row.logic()
    # The wrapper shows future keys and other segments: attend itself hides them.
    found = explicit(lambda *arguments: logic(*arguments), *data)
    np.testing.assert_allclose(found, run(logic, *data), atol=2e-6)
