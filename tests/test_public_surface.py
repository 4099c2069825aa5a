"""The names and signatures that notebooks and papers may rely on."""

import inspect

import jax
import pytest

import rope_lab
from rope_lab import rotary

SIGNATURES = {
    "rope": "(head_dim, base=10000.0)",
    "interpolated": "(head_dim, base, scale)",
    "ntk_aware": "(head_dim, base, scale)",
    "ntk_old": "(head_dim, base, scale)",
    "ntk_fixed": "(head_dim, base, scale)",
    "ntk_mixed": "(head_dim, base, scale, exponent=0.625)",
    "dynamic_ntk": "(head_dim, base, train_length, length, scale=1.0)",
    "yarn": "(head_dim, base, scale, train_length, beta_fast=32.0, beta_slow=1.0, "
    "truncate=True, ramp='index', logit_scale=None)",
    "llama3": "(head_dim, base, scale, train_length, low_freq_factor=1.0, "
    "high_freq_factor=4.0)",
    "longrope": "(head_dim, base, short_factors, long_factors, scale, train_length, "
    "length, logit_scale=None)",
    "partial": "(head_dim, base, fraction)",
    "p_rope": "(head_dim, base, fraction=None, train_length=None)",
    "resonance": "(frequencies)",
    "critical_dimension": "(frequencies, train_length)",
    "angles": "(positions, frequencies)",
    "rotate": "(x, angles, layout='half')",
    "piecewise_relative": "(length, pieces)",
}


def signature(function):
    """Parameters and defaults without the annotations, which may grow."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in _parameters(found)]
    return str(inspect.Signature(bare))


def _parameters(found):
    return found.parameters.values()


@pytest.mark.parametrize("name", SIGNATURES)
def test_rotary_functions_keep_their_signatures(name):
    assert signature(getattr(rotary, name)) == SIGNATURES[name]


def test_attend_keeps_its_signature():
    assert signature(rope_lab.attend) == (
        "(q_BTHD, k_BSKD, v_BSKC, logic, *, query_positions=None, key_positions=None, "
        "segment_ids=None, implementation='auto', context_axis=None)"
    )


def test_generate_keeps_its_signature():
    assert signature(rope_lab.generate) == (
        "(graphdef, params, prompt_tokens, logic, max_new_tokens, *, "
        "prompt_lengths=None, temperature=None, top_k=None, top_p=None, seed=0, "
        "stop_tokens=(), prefill_chunk=None, cache_dtype=None)"
    )


def test_position_logic_keeps_its_signature():
    expected = "(name, *, head_dim, base=10000.0, **options)"
    assert signature(rope_lab.position_logic) == expected


def test_relative_positions_keeps_its_signature():
    assert signature(rope_lab.relative_positions) == "(logic, length)"


def test_a_logic_is_called_with_vectors_and_their_positions():
    logic = rope_lab.position_logic("rope", head_dim=8)
    expected = "(q_BTHD, k_BSKD, query_positions, key_positions)"
    assert signature(logic) == expected


def test_all_lists_the_fixed_names_and_every_name_exists():
    fixed = {"rotary", "position_logic", "attend", "relative_positions", "generate"}
    assert fixed <= set(rope_lab.__all__)
    assert set(SIGNATURES) <= set(rotary.__all__)
    for module in (rope_lab, rotary):
        assert [n for n in module.__all__ if not hasattr(module, n)] == []


def test_frequencies_are_one_pytree_of_three_arrays():
    frequencies = rotary.rope(8)
    names = ("angular", "angular_low", "logit_scale")
    shapes = [getattr(frequencies, name).shape for name in names]
    assert shapes == [(4,), (4,), ()]
    assert len(jax.tree.leaves(frequencies)) == 3
    assert frequencies.wavelengths.shape == (4,)


@pytest.mark.parametrize("name", [*SIGNATURES, "Frequencies"])
def test_everything_public_in_rotary_is_documented(name):
    assert len(inspect.getdoc(getattr(rotary, name)) or "") > 40


@pytest.mark.parametrize("name", rope_lab.__all__)
def test_everything_public_is_documented(name):
    assert len(inspect.getdoc(getattr(rope_lab, name)) or "") > 40
