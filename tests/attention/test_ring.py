"""Attention over shards of a sequence equals attention over the sequence."""

import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from fake_devices import xla_flags

from rope_lab import attend, position_logic
from rope_lab.attention import attend_by_heads, zigzag
from rope_lab.attention.operands import make_layout
from rope_lab.attention.tiles import make_tiles

ROOT = pathlib.Path(__file__).parents[2]
FEW = ["rerope-packed", "kerple_log-shuffled"]
MANY = [
    "rope",
    "leaky_rerope-packed",
    "self_extend",
    "dual_chunk-shuffled",
    "sliding_window-packed",
    "log_n-unchecked",
    "xpos-packed-shuffled",
    "plain-packed",
    "kerple_log-unchecked",
    "rerope-heads-packed",
    "rope-heads-shuffled",
]


def compare(cases):
    """In a process of eight devices."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "ring_and_dense.py", *cases],
        env=os.environ | {"XLA_FLAGS": xla_flags(8), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["case"] for each in found] == cases
    for each in found:
        assert each["out"] < 1e-5 and each["slopes"] < 1e-4, each


def test_eight_shards_equal_dense_forward_and_backward():
    compare(FEW)


@pytest.mark.slow
def test_eight_shards_equal_dense_for_every_kind_of_logic_and_order():
    compare(MANY)


def products(logic, order, shards, tile):
    """int[shards, shards]: products of each shard's tiles, step by step of the ring."""
    parts = order.reshape(shards, -1)

    def met(queries, keys):
        layout = make_layout(logic, jnp.asarray(queries)[None], keys[None], None)
        return int(make_tiles(layout, tile, tile).bands_RMN.sum())

    return np.array([[met(mine, theirs) for theirs in parts] for mine in parts])


@pytest.mark.parametrize("shards", [2, 4])
def test_zigzag_gives_every_shard_the_same_work_and_rerope_no_more_than_rope(shards):
    tile = 8
    length = shards * 32 * tile
    rope = position_logic("rope", head_dim=8)
    plain = products(rope, np.arange(length, dtype=np.int32), shards, tile).sum(1)
    assert plain.max() / plain.mean() > 1.4
    order = zigzag(length, shards, tile)
    even = products(rope, order, shards, tile)
    assert even.sum(1).max() / even.sum(1).mean() <= 1.01
    assert even.max() / even.mean() <= 1.1  # also within each step
    rerope = position_logic("rerope", head_dim=8, window=length // 4)
    clipped = products(rerope, order, shards, tile)
    assert even.sum() < clipped.sum() <= 1.05 * even.sum()
    assert clipped.sum(1).max() / clipped.sum(1).mean() <= 1.01
    for window in (length // 2, length // 4, length // 16, 4 * tile, tile // 2):
        sliding = position_logic("rope", head_dim=8, sliding_window=window)
        counts = products(sliding, order, shards, tile).sum(1)
        assert counts.max() / counts.mean() <= 1.1


def test_zigzag_holds_every_token_once_and_refuses_what_does_not_divide():
    order = zigzag(48, 4)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(48))
    np.testing.assert_array_equal(order[:12], [*range(6), *range(42, 48)])
    order = zigzag(48, 4, tile=3)
    np.testing.assert_array_equal(np.sort(order), np.arange(48))
    np.testing.assert_array_equal(
        order[:12], [0, 1, 2, 21, 22, 23, 24, 25, 26, 45, 46, 47]
    )
    np.testing.assert_array_equal(zigzag(48, 4, tile=4), zigzag(48, 4))
    with pytest.raises(ValueError, match="no 8 equal chunks for 4 shards; pad"):
        zigzag(44, 4)


ARRAYS = [jnp.ones((1, 4, 2, 8))] * 3
WHERE = {"query_positions": jnp.arange(4), "key_positions": jnp.arange(4)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give query_positions and key_positions"),
        (WHERE | {"segment_ids": jnp.ones((1, 4), jnp.int32)}, "has to be a pair"),
        (WHERE | {"implementation": "dense"}, "leave it 'auto'"),
        (WHERE, "inside jax.shard_map over a mesh that has it"),
    ],
)
def test_a_call_that_lacks_what_shards_need_says_so(given, message):
    rope = position_logic("rope", head_dim=8)
    with pytest.raises(ValueError, match=message):
        attend(*ARRAYS, rope, context_axis="context", **given)


def test_heads_that_cannot_be_shared_out_are_refused():
    import jax
    from jax.sharding import PartitionSpec as P

    mesh = jax.make_mesh((1,), ("context",), axis_types=(jax.sharding.AxisType.Auto,))
    alibi = position_logic("alibi", head_dim=8, num_heads=2)
    with pytest.raises(ValueError, match="does not take biases"):
        jax.shard_map(
            lambda *x: attend_by_heads(*x, alibi, context_axis="context", **WHERE),
            mesh=mesh,
            in_specs=P(),
            out_specs=P(),
        )(*ARRAYS)
