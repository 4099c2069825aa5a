"""The benchmark compares like with like."""

import chex
import jax

from benchmarks import dense


def test_rope_and_the_function_it_is_timed_against_agree():
    keys = jax.random.split(jax.random.key(1), 3)
    shape = (1, 32, dense.HEADS, dense.HEAD_DIM)
    arrays = [jax.random.normal(key, shape) for key in keys]
    rows = dense.programs(length=32)
    ours, theirs = rows["rope"], rows[dense.BASELINE]
    chex.assert_trees_all_close(
        jax.jit(ours)(*arrays), jax.jit(theirs)(*arrays), atol=1e-5
    )
    chex.assert_trees_all_close(
        jax.jit(dense.with_gradients(ours))(*arrays),
        jax.jit(dense.with_gradients(theirs))(*arrays),
        atol=1e-4,
    )


def test_the_table_divides_by_its_first_row():
    row = {dense.BASELINE: 2.0, "rope": 3.0}
    text = dense.table({512: {"forward": row}})
    assert "| rope | 3.0 (1.50) |" in text
