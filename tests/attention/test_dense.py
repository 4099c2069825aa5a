"""The contract of attend that does not depend on the encoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from rope_lab import attend, position_logic

B, T, S, H, K, D, C = 2, 3, 6, 4, 2, 8, 5

compiled = jax.jit(attend)


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    shapes = (B, T, H, D), (B, S, K, D), (B, S, K, C)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def rope():
    return position_logic("rope", head_dim=D)


def test_default_positions_end_with_the_last_key(rope):
    q, k, v = tensors()
    positions = np.tile(np.arange(S), (B, 1))
    scores = oracle.logits("rope", q, k, positions[:, S - T :], positions)
    expected = oracle.attention(scores, v)
    auto, dense = jax.jit(
        lambda: [attend(q, k, v, rope, implementation=i) for i in ("auto", "dense")]
    )()
    np.testing.assert_allclose(auto, expected, atol=1e-5)
    np.testing.assert_array_equal(dense, auto)


def test_positions_without_a_batch_axis_serve_every_row(rope):
    q, k, v = tensors()
    q_positions = np.array([9, 4, 30], np.int32)
    k_positions = np.array([3, 0, 9, 5, 30, 4], np.int32)
    flat = compiled(
        q, k, v, rope, query_positions=q_positions, key_positions=k_positions
    )
    full = compiled(
        q,
        k,
        v,
        rope,
        query_positions=np.tile(q_positions, (B, 1)),
        key_positions=np.tile(k_positions, (B, 1)),
    )
    np.testing.assert_array_equal(flat, full)
    scores = oracle.logits("rope", q, k, [q_positions] * B, [k_positions] * B)
    np.testing.assert_allclose(full, oracle.attention(scores, v), atol=1e-5)


def test_one_array_of_segments_gives_the_queries_the_last_of_it(rope):
    q, k, v = tensors()
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 2, 2]], np.int32)
    found = compiled(q, k, v, rope, segment_ids=segments)
    pair = compiled(q, k, v, rope, segment_ids=(segments[:, S - T :], segments))
    np.testing.assert_array_equal(found, pair)
    positions = np.tile(np.arange(S), (B, 1))
    scores = oracle.logits("rope", q, k, positions[:, S - T :], positions)
    expected = oracle.attention(scores, v, segments[:, S - T :], segments)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[0, 2], np.zeros((H, C)))


def test_query_heads_share_key_heads_in_order(rope):
    """Heads 0 and 1 use key head 0, heads 2 and 3 key head 1."""
    q, k, v = tensors()
    grouped = compiled(q, k, v, rope)
    repeated = compiled(q, np.repeat(k, 2, axis=2), np.repeat(v, 2, axis=2), rope)
    np.testing.assert_allclose(grouped, repeated, atol=1e-6)


def test_large_logits_do_not_overflow(rope):
    q, k, v = tensors()
    found, slopes = jax.jit(
        jax.value_and_grad(lambda q: jnp.sum(attend(q, k * 1e4, v, rope)))
    )(q * 1e4)
    assert np.isfinite(found) and np.all(np.isfinite(slopes))


def test_a_callable_of_ones_own_is_an_encoding():
    """A linear distance bias of one line: attend adds causality and segments."""
    q, k, v = tensors()

    def biased(q_BTHD, k_BSKD, query_positions, key_positions):
        k_BSHD = jnp.repeat(k_BSKD, H // K, axis=2)
        distance = query_positions[:, :, None] - key_positions[:, None, :]
        scores = jnp.einsum("BTHD,BSHD->BHTS", q_BTHD, k_BSHD)
        return scores - 0.5 * distance[:, None].astype(jnp.float32)

    # Default positions reach the callable as [B, T] and [B, S], like given ones.
    found = attend(q, k, v, biased)
    scores = np.full((B, H, T, S), -np.inf)
    for b, h, t, s in np.ndindex(B, H, T, S):
        if s <= t + S - T:
            distance = t + S - T - s
            scores[b, h, t, s] = q[b, t, h] @ k[b, s, h // 2] - 0.5 * distance
    np.testing.assert_allclose(found, oracle.attention(scores, v), atol=1e-5)


def test_an_unknown_implementation_raises_and_names_those_there_are(rope):
    with pytest.raises(ValueError, match="dense.*tiled.*fast"):
        attend(*tensors(), rope, implementation="fast")


def shape_changes():
    q, k, v = tensors()
    positions = np.arange(S, dtype=np.int32)
    return {
        "query heads not a multiple": ((q[:, :, :3], k, v), {}, "3"),
        "keys and values of other lengths": ((q, k, v[:, 1:]), {}, "5"),
        "keys and values of other heads": ((q, k, v[:, :, :1]), {}, "1"),
        "queries and keys of other widths": ((q, k[..., :6], v), {}, "6"),
        "batches that differ": ((q, k[:1], v[:1]), {}, "batch|1"),
        "positions of another length": (
            (q, k, v),
            {"query_positions": positions, "key_positions": positions},
            "positions",
        ),
        "positions that are floats": (
            (q, k, v),
            {
                "query_positions": positions[:T].astype(np.float32),
                "key_positions": positions.astype(np.float32),
            },
            "int",
        ),
        "segments of another length": (
            (q, k, v),
            {"segment_ids": np.ones((B, S - 1), np.int32)},
            "segment",
        ),
        "segments that are floats": (
            (q, k, v),
            {"segment_ids": np.ones((B, S), np.float32)},
            "segment_ids must be int32, got float32",
        ),
        "rows of segments in place of a pair": (
            (q, k, v),
            {"segment_ids": [[1] * S, [1] * S]},
            "segment_ids of shapes",
        ),
        "more queries than keys by default": (
            (k, k[:, :T], v[:, :T]),
            {},
            "positions|queries",
        ),
        "more queries than keys where only keys have positions": (
            (k, k[:, :T], v[:, :T]),
            {"key_positions": positions[:T]},
            "6 queries for 3 keys",
        ),
        "integers": ((q.astype(np.int32), k, v), {}, "float dtype.*int32"),
    }


@pytest.mark.parametrize("case", shape_changes())
def test_shapes_that_cannot_be_meant_raise(rope, case):
    arrays, options, word = shape_changes()[case]
    with pytest.raises(ValueError, match=word):
        attend(*arrays, rope, **options)


def test_a_name_in_place_of_a_logic_raises():
    with pytest.raises(ValueError, match="got 'rope'.*position_logic"):
        attend(*tensors(), "rope")


def test_arrays_of_numpy_beside_traced_ones_are_taken(rope):
    """Tiles are cut out of all three at traced places."""
    q, k, v = tensors()
    found = jax.jit(lambda q: attend(q, k, v, rope, implementation="tiled"))(q)
    np.testing.assert_allclose(found, attend(q, k, v, rope), atol=1e-6)


def test_vectors_of_another_width_than_the_logic_raise(rope):
    q, k, v = tensors()
    with pytest.raises(ValueError, match="head_dim|8"):
        attend(q[..., :4], k[..., :4], v, rope)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_no_queries_give_nothing_and_no_keys_give_zeros(rope, implementation):
    q, k, v = tensors()
    found = attend(q[:, :0], k, v, rope, implementation=implementation)
    assert found.shape == (B, 0, H, C) and found.dtype == q.dtype
    none = {"query_positions": np.arange(T), "implementation": implementation}
    found = attend(q, k[:, :0], v[:, :0], rope, **none)
    np.testing.assert_array_equal(found, np.zeros((B, T, H, C)))
    found = attend(q[:0], k[:0], v[:0], rope, implementation=implementation)
    assert found.shape == (0, T, H, C)
