"""Names, options and refusals of position_logic, and what reaches the compiler."""

import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from rope_lab import position_logic, rotary
from rope_lab.logic import CATALOGUE

NAMES = {"rope", "interpolated", "ntk_aware", "ntk_old", "ntk_fixed", "ntk_mixed"}
NAMES |= {"dynamic_ntk", "yarn", "llama3", "longrope", "partial", "p_rope", "nope"}
NAMES |= {"rerope", "leaky_rerope", "self_extend", "dual_chunk", "alibi"}
NAMES |= {"kerple_log", "kerple_power", "t5", "fire", "xpos", "randomized"}


def build(name, **options):
    return position_logic(name, **({"head_dim": 8} | options))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="roope") as error:
        build("roope")
    assert not {name for name in NAMES if name not in str(error.value)}


WRONG = [
    # Windows beyond what training has seen.
    ("rerope", {"window": 65, "train_length": 64}, "window"),
    (
        "leaky_rerope",
        {"window": 4, "step": 2, "train_length": 8, "length": 32},
        "step|window",
    ),
    (
        "dual_chunk",
        {"chunk_length": 40, "local_window": 25, "train_length": 64},
        "chunk_length",
    ),
    # Three numbers of which two fix the third.
    ("interpolated", {"scale": 4.0, "train_length": 16, "length": 32}, "scale"),
    ("ntk_aware", {"scale": 4.0, "train_length": 16, "length": 32}, "scale"),
    ("yarn", {"scale": 4.0, "train_length": 16, "length": 32}, "scale"),
    ("llama3", {"scale": 4.0, "train_length": 16, "length": 32}, "scale"),
    # Options that mean nothing.
    ("nope", {"resonance": True}, "resonance"),
    ("alibi", {"num_heads": 4, "resonance": True}, "resonance"),
    ("alibi", {"num_heads": 4, "layout": "interleaved"}, "layout"),
    ("alibi", {"num_heads": 4, "base": 500.0}, "base"),
    ("rope", {"num_heads": 4}, "num_heads"),
    ("rope", {"window": 4}, "window"),
    ("dual_chunk", {"chunk_length": 8, "local_window": 2, "window": 4}, "window"),
    ("rope", {"scale": 4.0}, "scale"),
    ("rerope", {"window": 4, "step": 2}, "step"),
    ("rerope", {"window": 4, "group": 2}, "group"),
    ("self_extend", {"window": 4, "group": 2, "step": 2}, "step"),
    ("rope", {"windw": 4}, "windw"),
    ("yarn", {"scale": 4.0, "train_length": 8, "frequencies": rotary.rope(8)}, "freq"),
    ("nope", {"frequencies": rotary.rope(8)}, "frequencies"),
    ("alibi", {"num_heads": 4, "frequencies": rotary.rope(8)}, "frequencies"),
    ("t5", {"num_heads": 4, "layout": "interleaved"}, "layout"),
    ("fire", {"num_heads": 4, "max_distance": 9}, "max_distance"),
    ("xpos", {"frequencies": rotary.rope(8)}, "frequencies"),
    # Positions with gaps count no keys.
    ("randomized", {"draw_from": 64, "log_n": "train", "train_length": 8}, "log_n"),
    ("randomized", {"draw_from": 64, "sliding_window": 8}, "sliding_window"),
    # log n needs the length it is measured against, and a known form.
    ("rope", {"log_n": "test"}, "train_length"),
    ("nope", {"log_n": "train"}, "train_length"),
    ("rope", {"log_n": "always", "train_length": 8}, "log_n"),
    # Options an encoding cannot do without.
    ("yarn", {"train_length": 8}, "scale"),
    ("yarn", {"scale": 4.0}, "train_length"),
    ("interpolated", {}, "scale"),
    ("rerope", {}, "window"),
    ("leaky_rerope", {"window": 4}, "step"),
    ("self_extend", {"window": 4}, "group"),
    ("dual_chunk", {"chunk_length": 8}, "local_window"),
    ("dual_chunk", {"local_window": 2}, "chunk_length"),
    ("alibi", {}, "num_heads"),
    ("kerple_log", {}, "num_heads"),
    ("randomized", {}, "draw_from"),
    ("longrope", {"scale": 4.0, "train_length": 8, "length": 32}, "factors"),
    ("p_rope", {}, "fraction"),
    # Numbers out of range.
    ("rope", {"head_dim": 7}, "head_dim"),
    ("rope", {"head_dim": 0}, "head_dim"),
    ("ntk_aware", {"head_dim": 2, "scale": 4.0}, "head_dim"),
    ("interpolated", {"scale": 0.0}, "scale"),
    ("yarn", {"scale": 4.0, "train_length": 8, "beta_fast": 1.0}, "beta_fast"),
    ("rope", {"sliding_window": 0}, "sliding_window"),
    ("rope", {"layout": "neox"}, "layout"),
    ("rope", {"log_n": "test", "train_length": 1}, "train_length"),
    ("rerope", {"window": -1}, "window"),
    ("rerope", {"window": 2.5}, "window"),
    ("leaky_rerope", {"window": 4, "step": 0}, "step"),
    ("leaky_rerope", {"window": 4, "step": -2}, "step"),
    ("self_extend", {"window": 4, "group": 0}, "group"),
    ("self_extend", {"window": 4, "group": 1.5}, "group"),
    ("dual_chunk", {"chunk_length": 0, "local_window": 1}, "chunk_length"),
    ("dual_chunk", {"chunk_length": 8, "local_window": 2.5}, "local_window"),
    ("dual_chunk", {"chunk_length": 8, "local_window": 9}, "local_window"),
    ("alibi", {"num_heads": 0}, "num_heads"),
    ("alibi", {"num_heads": 2.5}, "num_heads"),
    ("partial", {"fraction": 2.0}, "fraction"),
    ("kerple_power", {"num_heads": 0}, "num_heads"),
    ("t5", {"num_heads": 4, "num_buckets": 1}, "num_buckets"),
    ("t5", {"num_heads": 4, "num_buckets": 32, "max_distance": 16}, "max_distance"),
    ("fire", {"num_heads": 4, "threshold": 0}, "threshold"),
    ("xpos", {"scale_base": -512}, "scale_base"),
    ("xpos", {"scale_base": math.inf}, "scale_base"),
    ("xpos", {"scale_base": "512"}, "scale_base"),
    ("rerope", {"window": math.inf}, "window"),
    ("rerope", {"window": math.nan}, "window"),
    ("rerope", {"window": 2**31}, "window"),
    ("rope", {"sliding_window": 2**33}, "sliding_window"),
    ("rope", {"sliding_window": math.inf}, "sliding_window"),
    ("leaky_rerope", {"window": 4, "step": math.inf}, "step"),
    ("leaky_rerope", {"window": 4, "step": math.nan}, "step"),
    ("leaky_rerope", {"window": 4, "step": "8"}, "step"),
    ("leaky_rerope", {"window": 2**20, "step": 1e5}, "smaller step or window"),
    ("interpolated", {"train_length": 16, "length": 0}, "length"),
    # Under the names that the user gave.
    (
        "llama3",
        {"scale": 4.0, "train_length": 8, "low_freq_factor": 0.0},
        "low_freq_factor must be",
    ),
    (
        "llama3",
        {"scale": 4.0, "train_length": 8, "high_freq_factor": math.nan},
        "high_freq_factor must be",
    ),
    # A length that would be ignored.
    ("interpolated", {"scale": 4.0, "length": 32}, "leave length out"),
    ("ntk_mixed", {"scale": 4.0, "length": 32}, "leave length out"),
    ("randomized", {"draw_from": 0}, "draw_from"),
    ("randomized", {"draw_from": 64, "at_test": "random"}, "at_test"),
]


@pytest.mark.parametrize(("name", "options", "word"), WRONG)
def test_a_wrong_combination_raises_and_says_which(name, options, word):
    with pytest.raises(ValueError, match=word):
        build(name, **options)


RIGHT = [
    ("rerope", {"window": 64, "train_length": 64}),
    ("leaky_rerope", {"window": 4, "step": 16, "train_length": 8, "length": 32}),
    # 4 + (20 - 1 - 4) / 3.75 is the training length itself: not beyond it.
    ("leaky_rerope", {"window": 4, "step": 3.75, "train_length": 8, "length": 20}),
    ("leaky_rerope", {"window": 4, "step": 2, "train_length": 8}),
    (
        "dual_chunk",
        {"chunk_length": 32, "local_window": 32, "train_length": 64},
    ),
    ("yarn", {"scale": 4.0, "train_length": 16, "length": 64}),
    ("dynamic_ntk", {"scale": 2.0, "train_length": 16, "length": 50}),
    (
        "longrope",
        {"scale": 8.0, "train_length": 16, "length": 17}
        | {"short_factors": (1.0,) * 4, "long_factors": (2.0,) * 4},
    ),
]


@pytest.mark.parametrize(("name", "options"), RIGHT)
def test_combinations_at_the_edge_of_the_law_are_accepted(name, options):
    record = build(name, **options).to_dict()
    assert record["name"] == name and set(record["options"]) == set(options)


# The frequencies a logic holds.


def total(frequencies):
    high, low = frequencies.angular, frequencies.angular_low
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


def test_resonance_rounds_after_scaling():
    options = {"scale": 4.0, "train_length": 128, "resonance": True}
    logic = position_logic("yarn", head_dim=32, **options)
    exact, factor = oracle.frequencies("yarn", 32, **options)
    np.testing.assert_allclose(total(logic.bands[0].frequencies), exact, 1e-12)
    assert float(logic.bands[0].frequencies.logit_scale) == pytest.approx(factor)


def test_leaky_rounds_before_the_far_band_is_divided():
    logic = build("leaky_rerope", window=4, step=2.5, resonance=True)
    whole = oracle.resonance(oracle.rope(8, 1e4)[0])
    near, far = (total(band.frequencies) for band in logic.bands)
    np.testing.assert_allclose(near, whole, 1e-12)
    np.testing.assert_allclose(far, whole / 2.5, 1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rope", {}),
        ("rerope", {"window": 3}),
        ("leaky_rerope", {"window": 3, "step": 2.5}),
        ("self_extend", {"window": 4, "group": 2}),
        ("dual_chunk", {"chunk_length": 4, "local_window": 2}),
    ],
)
def test_any_frequencies_take_the_place_of_the_named_ones(name, options):
    """ReRoPE over YaRN's frequencies is ReRoPE's positions at YaRN's angles."""
    yarn = {"scale": 4.0, "train_length": 16}
    logic = build(name, frequencies=rotary.yarn(8, 1e4, **yarn), **options)
    theta, factor = oracle.frequencies("yarn", 8, **yarn)
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 1, 9, 1, 8)).astype(np.float32)
    positions = np.arange(9, dtype=np.int32)[None]
    found = logic(q, k, positions, positions)
    for i, j in [(8, 0), (8, 3), (8, 7), (5, 2), (4, 4)]:
        relative = oracle.relative_position(name, i, j, **options)
        vectors = (x.astype(np.float64) for x in (q[0, i, 0], k[0, j, 0]))
        score = oracle.rotary_score(*vectors, relative * theta)
        assert float(found[0, 0, i, j]) == pytest.approx(
            factor * score / np.sqrt(8), abs=1e-5
        )


# What is compiled.

ONE_BAND = [
    ("rope", {}),
    ("rope", {"base": 5e5}),
    ("rope", {"resonance": True}),
    ("interpolated", {"scale": 4.0}),
    ("ntk_aware", {"scale": 4.0}),
    ("ntk_old", {"scale": 4.0}),
    ("ntk_fixed", {"scale": 4.0}),
    ("ntk_mixed", {"scale": 4.0}),
    ("dynamic_ntk", {"train_length": 8, "length": 32}),
    ("yarn", {"scale": 4.0, "train_length": 8}),
    ("yarn", {"scale": 8.0, "train_length": 16, "resonance": True}),
    ("llama3", {"scale": 4.0, "train_length": 8}),
    ("p_rope", {"fraction": 0.5}),
]


def inputs():
    q, k = np.random.default_rng(3).normal(size=(2, 1, 5, 1, 8)).astype(np.float32)
    return q, k, np.arange(5, dtype=np.int32)[None]


@pytest.mark.parametrize(
    "family",
    [
        ONE_BAND,
        [("rerope", {"window": 3}), ("rerope", {"window": 3, "resonance": True})],
        [
            ("leaky_rerope", {"window": 3, "step": 2, "base": base})
            for base in (1e3, 1e4)
        ],
    ],
    ids=["one band", "rerope", "leaky"],
)
def test_logics_of_one_band_structure_are_one_program(family):
    q, k, positions = inputs()
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def logits(logic):
        return logic(q, k, positions, positions)

    found = [
        np.asarray(logits(build(name, **opts)))[0, 0, 4, 1] for name, opts in family
    ]
    assert len({round(float(value), 4) for value in found}) > 1


def test_a_different_window_is_another_program():
    """The count above is worth something: static numbers do retrace."""
    q, k, positions = inputs()
    traces = []

    @jax.jit
    def logits(logic):
        traces.append(None)
        return logic(q, k, positions, positions)

    for window in (2, 3):
        logits(build("rerope", window=window))
    assert len(traces) == 2


def test_a_sweep_over_frequencies_builds_the_logic_inside():
    q, k, positions = inputs()
    names = ("rope", "interpolated", "ntk_aware")
    sweep = [
        rotary.rope(8),
        rotary.interpolated(8, 1e4, 4.0),
        rotary.ntk_aware(8, 1e4, 4.0),
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sweep)

    @jax.jit
    @jax.vmap
    def logits(frequencies):
        logic = build("rerope", window=3, frequencies=frequencies)
        return logic(q, k, positions, positions)

    found = logits(stacked)
    for row, name in zip(found, names, strict=True):
        theta, _ = oracle.frequencies(name, 8, scale=4.0)
        vectors = (x.astype(np.float64) for x in (q[0, 4, 0], k[0, 0, 0]))
        exact = oracle.rotary_score(*vectors, 3 * theta) / np.sqrt(8)
        assert float(row[0, 0, 4, 0]) == pytest.approx(exact, abs=1e-5)


def test_a_traced_step_of_frequencies_is_exact_at_long_positions():
    """Leaky's far band divides traced frequencies by its step as a pair."""
    q, k, _ = inputs()
    positions = np.array([[0, 1, 1000, 2**20 - 5, 2**20]], np.int32)
    theta = np.asarray(rotary.rope(8).angular, np.float64)

    @jax.jit
    def logits(angular):
        frequencies = rotary.rope(8)
        frequencies = jax.tree.map(jnp.asarray, frequencies)
        low = jnp.zeros_like(frequencies.angular_low)
        frequencies = type(frequencies)(angular, low, frequencies.logit_scale)
        logic = build("leaky_rerope", window=3, step=2.5, frequencies=frequencies)
        return logic(q, k, positions, positions)

    found = logits(theta.astype(np.float32))
    for row, column in [(4, 0), (4, 2), (3, 1)]:
        i, j = int(positions[0, row]), int(positions[0, column])
        relative = oracle.relative_position("leaky_rerope", i, j, window=3, step=2.5)
        vectors = (x.astype(np.float64) for x in (q[0, row, 0], k[0, column, 0]))
        exact = oracle.rotary_score(*vectors, relative * theta) / np.sqrt(8)
        assert float(found[0, 0, row, column]) == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("rope", {"softmax_scale": 0.0}, "softmax_scale"),
        ("rope", {"softmax_scale": -1.0}, "softmax_scale"),
        ("rope", {"softmax_scale": math.inf}, "softmax_scale"),
        ("rope", {"softmax_scale": math.nan}, "softmax_scale"),
        ("rope", {"softmax_scale": "1"}, "softmax_scale"),
        ("nope", {"head_dim": 0}, "head_dim"),
        (
            "yarn",
            {"scale": 4.0, "train_length": 8, "ramp": "rotations", "truncate": False},
            "truncate",
        ),
        ("leaky_rerope", {"window": 4, "step": 2, "length": 40}, "train_length"),
        ("rope", {"log_n": "train", "train_length": "trained"}, "needs train_length"),
        (
            "rope",
            {"log_n": "test", "train_length": 8, "log_n_minimum": None},
            "needs log_n_minimum",
        ),
        (
            "leaky_rerope",
            {"window": 4, "step": 2, "train_length": 32, "length": "trained"},
            "needs length",
        ),
        ("rope", {"frequencies": [0.5] * 4}, "rotary.Frequencies.*list"),
        ("rope", {"base": None}, "base must be a number"),
        ("interpolated", {"scale": True}, "scale must be a number"),
        # p_rope takes exactly one of the two; without log n nothing reads the length.
        ("p_rope", {"fraction": 0.5, "train_length": 64}, "fraction"),
    ],
)
def test_a_number_out_of_range_or_without_meaning_raises(name, options, word):
    with pytest.raises(ValueError, match=word):
        position_logic(name, **({"head_dim": 8} | options))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_row_says_what_it_computes_costs_and_comes_from(name):
    entry = CATALOGUE[name]
    assert entry.formula and entry.tex and entry.cost and entry.source
    assert "\n" not in entry.formula and len(entry.formula) <= 72  # for a terminal
    known = r"(arXiv \d{4}\.\d{5}|kexue\.fm \d{4}|transformers|GPT-J|GPT-NeoX)"
    assert re.fullmatch(rf"{known}(, {known})*", entry.source)
