"""The rows of the decoding benchmark compute the same token."""

import functools

import jax
import numpy as np
import pytest

from benchmarks import decoder_step, decoding
from rope_lab import attend
from rope_lab.model import ModelConfig

WINDOW, LENGTH = 8, 40
ARRAYS = decoding.make_arrays(LENGTH, heads=2, head_dim=8)
LOGICS = decoding.logics(WINDOW, head_dim=8)


@functools.cache
def last_token(label):
    """The same by dense attention over all tokens."""
    dense = functools.partial(attend, logic=LOGICS[label], implementation="dense")
    return jax.jit(dense)(*ARRAYS)


@pytest.mark.parametrize("label", LOGICS)
def test_a_token_through_the_cache_is_the_last_of_one_pass(label):
    call, _ = decoding.ours(LOGICS[label], *ARRAYS)
    for _ in range(2):  # the second call decodes the same token once more
        np.testing.assert_allclose(call(), last_token(label), atol=1e-5)


@pytest.mark.parametrize("table", [True, False], ids=["tables", "trigonometry"])
def test_the_seeds_way_is_rerope(table):
    call, _ = decoding.seeds_way(table, WINDOW, *ARRAYS)
    for _ in range(2):
        np.testing.assert_allclose(call(), last_token(decoding.REROPE), atol=1e-5)


def test_rows_say_what_their_caches_weigh():
    _, seeds = decoding.seeds_way(True, WINDOW, *ARRAYS)
    _, rope = decoding.ours(LOGICS[decoding.ROPE], *ARRAYS)
    _, rerope = decoding.ours(LOGICS[decoding.REROPE], *ARRAYS)
    assert seeds == rope == 2 * LENGTH * 2 * 8 * 4
    assert rerope == rope * (1 + WINDOW / (2 * LENGTH))


def test_both_targets_read_the_cache_of_32768_keys():
    def case(length, factor):
        rows = {decoding.ROPE: 1.0, decoding.REROPE: factor, decoding.SEED_TABLE: 6.0}
        found = {x: {"ms": ms, "cache_bytes": 64} for x, ms in rows.items()}
        return {"length": length, "rows": found}

    record = {"cases": [case(4096, 9.0), case(32768, 1.5)]}
    assert [x.measured(record) for x in decoding.TARGETS] == [1.5, 1.0, 4.0]
    assert [x.measured({"cases": []}) for x in decoding.TARGETS] == [None] * 3


def test_the_decoders_step_makes_the_same_token_again():
    config = ModelConfig(vocab_size=16, num_layers=1, width=16, ff_width=24, head_dim=4)
    call = decoder_step.token_step({"name": "nope"}, LENGTH, config)
    first, second = call(), call()  # the second has the memory of the first's cache
    assert first.shape == (1,) and int(first[0]) == int(second[0])
