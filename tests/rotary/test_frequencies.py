"""Frequencies of every scaling against float64 formulas and the numbers of papers."""

import math

import chex
import jax
import numpy as np
import pytest

import oracle
from rope_lab import rotary

NUM_DRAWS = 40
NUM_COMPILED_DRAWS = 4


def draw(seed):
    """Random shared arguments: (head_dim, base, scale, train_length)."""
    rng = np.random.default_rng(seed)
    head_dim = 2 * int(rng.integers(2, 129))
    base = float(np.exp(rng.uniform(math.log(50.0), math.log(1e6))))
    scale = float(rng.uniform(1.0, 32.0))
    return head_dim, base, scale, int(rng.integers(64, 8193))


def methods(head_dim, base, scale, train_length):
    """(method, keyword arguments) of every scaling for one draw."""
    grow = {"base": base, "scale": scale}
    trained = grow | {"train_length": train_length}
    planes = head_dim // 2
    short = tuple(np.linspace(1.0, 1.5, planes).tolist())
    long = tuple(np.linspace(1.0, 40.0, planes).tolist())
    lists = trained | {"short_factors": short, "long_factors": long}
    # int(head_dim * fraction) must not fall below the even number by a rounding.
    even = 2 * max(1, planes // 3) / head_dim + 1e-9
    return [
        ("rope", {"base": base}),
        ("interpolated", grow),
        ("ntk_aware", grow),
        ("ntk_old", grow),
        ("ntk_fixed", grow),
        ("ntk_mixed", grow),
        ("ntk_mixed", grow | {"exponent": 0.75}),
        ("dynamic_ntk", trained | {"length": train_length // 2}),
        ("dynamic_ntk", trained | {"length": 3 * train_length}),
        ("yarn", trained),
        ("yarn", trained | {"truncate": False}),
        ("yarn", trained | {"ramp": "rotations"}),
        ("yarn", trained | {"beta_fast": 8.0, "beta_slow": 0.5, "logit_scale": 1.25}),
        ("llama3", trained),
        ("llama3", trained | {"low_freq_factor": 0.5, "high_freq_factor": 8.0}),
        ("longrope", lists | {"length": train_length}),
        ("longrope", lists | {"length": train_length + 1}),
        ("longrope", lists | {"length": train_length, "logit_scale": 1.1}),
        ("partial", {"base": base, "fraction": even}),
        ("p_rope", {"base": base, "fraction": 0.37}),
        ("p_rope", {"base": base, "train_length": train_length}),
    ]


def with_numbers(options, base, scale):
    """The same options at another base and, where there is one, another scale."""
    return options | {"base": base} | ({"scale": scale} if "scale" in options else {})


def expected(head_dim, cases):
    return [oracle.frequencies(name, head_dim, **options) for name, options in cases]


def total(frequencies):
    """The frequency that the high and the low part stand for, in float64."""
    high, low = frequencies.angular, frequencies.angular_low
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


def check(frequencies, cases, references, tolerance):
    for found, case, (angular, factor) in zip(
        frequencies, cases, references, strict=True
    ):
        chex.assert_shape([found.angular, found.angular_low], (len(angular),))
        chex.assert_shape(found.logit_scale, ())
        chex.assert_type([found.angular, found.angular_low], np.float32)
        note = str(case)
        np.testing.assert_allclose(total(found), angular, tolerance, err_msg=note)
        np.testing.assert_allclose(found.angular, angular, 1e-6, err_msg=note)
        np.testing.assert_allclose(found.logit_scale, factor, 1e-6, err_msg=note)


def test_plain_numbers_give_float64_frequencies_in_two_parts():
    for seed in range(NUM_DRAWS):
        head_dim, *rest = draw(seed)
        cases = methods(head_dim, *rest)
        found = [getattr(rotary, name)(head_dim, **opts) for name, opts in cases]
        check(found, cases, expected(head_dim, cases), 1e-12)


@pytest.mark.parametrize("seed", range(NUM_COMPILED_DRAWS))
def test_plain_numbers_under_jit_give_the_same_frequencies(seed):
    head_dim, *rest = draw(seed)
    cases = methods(head_dim, *rest)
    found = jax.jit(
        lambda: [getattr(rotary, name)(head_dim, **opts) for name, opts in cases]
    )()
    check(found, cases, expected(head_dim, cases), 1e-12)


@pytest.mark.parametrize("head_dim", [4, 22, 256])
def test_traced_base_and_scale_give_the_same_frequencies(head_dim):
    rng = np.random.default_rng(head_dim)
    # The reference sees the base and scale that a float32 argument can hold.
    bases = np.exp(rng.uniform(math.log(50.0), math.log(1e6), 25)).astype(np.float32)
    scales = rng.uniform(1.0, 32.0, 25).astype(np.float32)
    cases = methods(head_dim, 1e4, 4.0, int(rng.integers(64, 8193)))

    @jax.jit
    @jax.vmap
    def traced(base, scale):
        return [
            getattr(rotary, name)(head_dim, **with_numbers(opts, base, scale))
            for name, opts in cases
        ]

    found = jax.device_get(traced(bases, scales))
    for n, numbers in enumerate(zip(bases.tolist(), scales.tolist(), strict=True)):
        row = jax.tree.map(lambda leaf, n=n: leaf[n], found)
        exact = [(name, with_numbers(opts, *numbers)) for name, opts in cases]
        check(row, exact, expected(head_dim, exact), 1e-6)


def test_every_method_returns_leaves_of_one_structure():
    cases = [case for case in methods(16, 1e4, 4.0, 64) if case[0] != "partial"]
    found = [getattr(rotary, name)(16, **options) for name, options in cases]
    chex.assert_trees_all_equal_structs(*found)
    chex.assert_trees_all_equal_shapes_and_dtypes(*found)
    assert len(jax.tree.leaves(found[0])) == 3


def test_frequencies_can_be_mapped_over_the_base():
    bases = np.array([1e3, 1e4, 5e5], np.float32)
    stacked = jax.vmap(lambda base: rotary.ntk_aware(16, base, 4.0))(bases)
    chex.assert_shape(stacked.angular, (3, 8))
    for row, base in zip(stacked.angular, bases, strict=True):
        np.testing.assert_allclose(row, oracle.ntk_aware(16, float(base), 4.0)[0], 1e-6)


def test_frequencies_can_be_differentiated_with_respect_to_the_base():
    slope = jax.jacobian(lambda base: rotary.rope(16, base).angular)(1e4)
    plane = np.arange(8)
    exact = -2 * plane / 16 * 1e4 ** (-2 * plane / 16 - 1)
    np.testing.assert_allclose(slope, exact, 1e-5)


# Literal numbers.


def ratios(scaled):
    return total(scaled) / total(rotary.rope(128))


@pytest.mark.parametrize(
    ("options", "ratio"),
    [({}, 0.53125), ({"ramp": "rotations"}, 0.20298), ({"truncate": False}, 0.53069)],
)
def test_yarn_ramp_at_plane_33_is_the_number_of_methods(options, ratio):
    """d = 128, L = 4096, s = 16: the released code's ramp and the paper's differ."""
    found = ratios(rotary.yarn(128, 1e4, 16.0, 4096, **options))[33]
    assert found == pytest.approx(ratio, abs=5e-6)


def test_yarn_keeps_fast_planes_and_interpolates_slow_ones_exactly():
    found = ratios(rotary.yarn(128, 1e4, 16.0, 4096))
    np.testing.assert_allclose(found[:21], 1.0, 1e-12)
    np.testing.assert_allclose(found[46:], 1 / 16, 1e-12)


@pytest.mark.parametrize(
    ("scale", "mscale"), [(8.0, 1.207944), (4.0, 1.138629), (1.0, 1.0)]
)
def test_yarn_multiplies_logits_by_the_square_of_mscale(scale, mscale):
    """2403.00071 ran LLaMA2 7B at scale 8 and 13B at scale 4."""
    found = rotary.yarn(128, 1e4, scale, 4096).logit_scale
    assert float(found) == pytest.approx(mscale**2, rel=2e-6)


@pytest.mark.parametrize(("scale", "base"), [(2.0, 30527.7), (1.0, 20221.3)])
def test_dynamic_ntk_at_twice_the_length_has_the_base_of_methods(scale, base):
    """n = 8192, L = 4096: transformers' factor 2 means a scale of 3, not of 2."""
    found = rotary.dynamic_ntk(128, 1e4, 4096, 8192, scale)
    implied = total(found)[1] ** (-128 / 2)
    assert implied == pytest.approx(base, abs=0.05)


def test_dynamic_ntk_within_the_training_length_is_plain_rope():
    found = rotary.dynamic_ntk(128, 1e4, 4096, 4096, 2.0)
    np.testing.assert_allclose(total(found), total(rotary.rope(128)), 1e-12)


def test_ntk_slowest_plane_is_exactly_interpolated():
    slowest = total(rotary.rope(64))[-1] / 8
    for name in ("ntk_aware", "ntk_fixed", "ntk_mixed"):
        found = getattr(rotary, name)(64, 1e4, 8.0)
        assert total(found)[-1] == pytest.approx(slowest, rel=1e-12), name


def test_ntk_mixed_runs_from_interpolation_to_ntk_fixed():
    mixed, fixed = rotary.ntk_mixed(64, 1e4, 8.0, 1.0), rotary.ntk_fixed(64, 1e4, 8.0)
    np.testing.assert_allclose(total(mixed), total(fixed), 1e-12)
    mixed, linear = rotary.ntk_mixed(64, 1e4, 8.0, 0.0), rotary.interpolated
    np.testing.assert_allclose(total(mixed), total(linear(64, 1e4, 8.0)), 1e-12)


def test_ntk_old_is_base_80000_for_an_eightfold_extension():
    np.testing.assert_allclose(
        total(rotary.ntk_old(64, 1e4, 8.0)), total(rotary.rope(64, 80_000.0)), 1e-12
    )


def test_llama3_is_the_papers_yarn_ramp_with_four_and_one():
    options = {"beta_fast": 4.0, "beta_slow": 1.0, "ramp": "rotations"}
    paper = rotary.yarn(128, 5e5, 8.0, 8192, **options)
    np.testing.assert_allclose(
        total(rotary.llama3(128, 5e5, 8.0, 8192)), total(paper), 1e-12
    )


def test_longrope_squares_the_attention_factor():
    ones = (1.0,) * 64
    found = rotary.longrope(128, 1e4, ones, ones, 32.0, 4096, 100).logit_scale
    assert float(found) == pytest.approx(1 + math.log(32) / math.log(4096), rel=1e-6)


def test_partial_has_the_planes_of_the_rotary_dims_only():
    found = rotary.partial(64, 1e4, 0.25)
    chex.assert_shape(found.angular, (8,))
    np.testing.assert_allclose(total(found), total(rotary.rope(16)), 1e-12)


@pytest.mark.parametrize(
    ("options", "kept"), [({"fraction": 0.75}, 24), ({"train_length": 64}, 9)]
)
def test_p_rope_keeps_the_fast_planes_of_the_full_grid(options, kept):
    found = total(rotary.p_rope(64, 1e4, **options))
    np.testing.assert_allclose(found[:kept], total(rotary.rope(64))[:kept], 1e-12)
    np.testing.assert_array_equal(found[kept:], np.zeros(32 - kept))


def test_wavelengths_are_tokens_per_turn():
    found = rotary.rope(64).wavelengths
    chex.assert_shape(found, (32,))
    np.testing.assert_allclose(found[:2], [6.2831853, 8.3787620], 1e-6)
    unturned = rotary.p_rope(64, 1e4, fraction=0.5).wavelengths
    assert np.all(np.isinf(unturned[16:])) and np.all(np.isfinite(unturned[:16]))


# Errors.

ONES, INFINITE, NANS = ((x,) * 4 for x in (1.0, math.inf, math.nan))
WRONG = [
    ("rope", (7,), {}, "head_dim"),
    ("rope", (0,), {}, "head_dim"),
    ("rope", (-8,), {}, "head_dim"),
    ("rope", (8, 0.0), {}, "base"),
    ("rope", (8, -1e4), {}, "base"),
    ("interpolated", (7, 1e4, 4.0), {}, "head_dim"),
    ("interpolated", (8, 1e4, 0.0), {}, "scale"),
    ("interpolated", (8, 1e4, -2.0), {}, "scale"),
    ("ntk_aware", (2, 1e4, 4.0), {}, "head_dim"),
    ("ntk_aware", (8, 1e4, 0.0), {}, "scale"),
    ("ntk_old", (8, 1e4, -4.0), {}, "scale"),
    ("ntk_fixed", (9, 1e4, 4.0), {}, "head_dim"),
    ("ntk_fixed", (8, 1e4, 0.0), {}, "scale"),
    ("ntk_mixed", (8, 1e4, -1.0), {}, "scale"),
    ("dynamic_ntk", (2, 1e4, 64, 128), {}, "head_dim"),
    ("dynamic_ntk", (8, 1e4, 0, 128), {}, "train_length"),
    ("dynamic_ntk", (8, 1e4, 64, 0), {}, "length"),
    ("yarn", (8, 1e4, 4.0, 64), {"beta_fast": 1.0}, "beta_fast"),
    ("yarn", (8, 1e4, 4.0, 64), {"beta_fast": 1.0, "beta_slow": 2.0}, "beta_fast"),
    ("yarn", (8, 1e4, 4.0, 64), {"ramp": "paper"}, "ramp"),
    ("yarn", (8, 1e4, 0.0, 64), {}, "scale"),
    ("yarn", (8, 1e4, 4.0, 0), {}, "train_length"),
    ("yarn", (11, 1e4, 4.0, 64), {}, "head_dim"),
    ("llama3", (8, 1e4, 4.0, 64), {"high_freq_factor": 1.0}, "freq_factor"),
    ("llama3", (8, 1e4, -4.0, 64), {}, "scale"),
    ("longrope", (8, 1e4, ONES[:3], ONES, 4.0, 64, 128), {}, "short_factors"),
    ("longrope", (8, 1e4, ONES, ONES[:3], 4.0, 64, 128), {}, "long_factors"),
    ("longrope", (8, 1e4, ONES, ONES, 0.0, 64, 128), {}, "scale"),
    ("partial", (8, 1e4, 0.0), {}, "fraction"),
    ("partial", (8, 1e4, 1.5), {}, "fraction"),
    ("p_rope", (8, 1e4), {}, "fraction"),
    ("p_rope", (8, 1e4), {"fraction": 0.5, "train_length": 64}, "fraction"),
    ("p_rope", (8, 1e4), {"fraction": 1.5}, "fraction"),
    ("p_rope", (8, 1e4), {"train_length": -1}, "train_length"),
    # Neither finite nor numbers.
    ("ntk_mixed", (8, 1e4, 4.0), {"exponent": math.nan}, "exponent"),
    ("ntk_mixed", (8, 1e4, 4.0), {"exponent": "1"}, "exponent"),
    ("yarn", (8, 1e4, 4.0, 64), {"beta_fast": math.nan}, "beta_fast"),
    ("yarn", (8, 1e4, 4.0, 64), {"beta_fast": math.inf}, "beta_fast"),
    ("yarn", (8, 1e4, 4.0, 64), {"logit_scale": -1.0}, "logit_scale"),
    ("yarn", (8, 1e4, 4.0, 64), {"logit_scale": math.inf}, "logit_scale"),
    ("llama3", (8, 1e4, 4.0, 64), {"low_freq_factor": 0.0}, "low_freq_factor"),
    ("llama3", (8, 1e4, 4.0, 64), {"high_freq_factor": math.inf}, "high_freq_factor"),
    ("longrope", (8, 1e4, ONES, ONES, 4.0, 1, 128), {}, "train_length"),
    ("longrope", (8, 1e4, ONES, INFINITE, 4.0, 64, 128), {}, "long_factors"),
    ("longrope", (8, 1e4, NANS, ONES, 4.0, 64, 128), {}, "short_factors"),
    (
        "longrope",
        (8, 1e4, ONES, ONES, 4.0, 64, 128),
        {"logit_scale": 0.0},
        "logit_scale",
    ),
    ("partial", (8, 1e4, math.nan), {}, "fraction"),
    ("partial", (8, 1e4, math.inf), {}, "fraction"),
    ("p_rope", (8, 1e4), {"fraction": math.nan}, "fraction"),
]


@pytest.mark.parametrize(("name", "arguments", "options", "word"), WRONG)
def test_a_wrong_argument_raises_and_is_named(name, arguments, options, word):
    with pytest.raises(ValueError, match=word):
        getattr(rotary, name)(*arguments, **options)


@pytest.mark.parametrize(
    ("name", "head_dim", "base", "scale", "length", "options"),
    [  # found by search where the ramp ends, with planes no power of two
        ("yarn", 22, 429.1236572265625, 30.830102920532227, 1707, {"truncate": False}),
        ("llama3", 256, 1207.3018798828125, 30.174104690551758, 6469, {}),
    ],
)
def test_traced_ramps_keep_their_promise_at_the_slow_end(
    name, head_dim, base, scale, length, options
):
    method = getattr(rotary, name)
    found = jax.jit(lambda b, s: method(head_dim, b, s, length, **options))(base, scale)
    exact, _ = oracle.frequencies(
        name, head_dim, base, scale=scale, train_length=length, **options
    )
    np.testing.assert_allclose(np.asarray(found.angular, np.float64), exact, 1e-6)
