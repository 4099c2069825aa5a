"""Decoding from a cache equals one pass, for every logic and any chunks.

Letters: B batch, T tokens of the texts, H query heads, K key heads, D their head dim, C
that of the values, n tokens of a chunk.
"""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_properties import TABLE, label

from rope_lab import attend, position_logic
from rope_lab.attention.cache import extend, init_cache
from rope_lab.attention.slots import latest, make_plan

B, T, H, K, D, C = 2, 24, 4, 2, 8, 6
CHUNK, SINGLE = 7, 8  # tokens of a chunk; steps of one token behind the chunks
every_row = pytest.mark.parametrize("row", TABLE, ids=label)


def logic_of(name="rope", **options):
    return position_logic(name, head_dim=D, **options)


def vectors(seed=0, length=T, dtype=jnp.float32):
    """q, k, v of B texts."""
    rng = np.random.default_rng(seed)
    shapes = ((B, length, H, D), (B, length, K, D), (B, length, K, C))
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def one_pass(logic, q, k, v):
    return np.asarray(attend(q, k, v, logic, implementation="dense"))


@functools.partial(jax.jit, static_argnames=("capacity", "dtype", "ragged"))
def decoded(logic, data, counts=None, capacity=T, dtype=jnp.float32, ragged=False):
    """Outputs of chunks [steps, B, n, ...] in order, one compiled program for all."""
    cache = init_cache(logic, B, capacity, K, D, C, dtype, ragged)

    def step(cache, given):
        *vectors, count = given
        out, cache = extend(cache, logic, *vectors, counts=count)
        return cache, out

    return jax.lax.scan(step, cache, (*data, counts))[::-1]


def in_chunks(x, counts, n, base=0):
    """[steps, B, n, ...]: the next counts[step, b] tokens of each text, then junk."""
    x = np.asarray(x)
    junk = np.full((B, n, *x.shape[2:]), 1e3, x.dtype)
    longer = np.concatenate([x, junk], axis=1)
    starts = base + np.cumsum(counts, axis=0) - counts
    indices = starts[..., None] + np.arange(n)  # [steps, B, n]
    chunks = longer[np.arange(B)[:, None], indices]
    chunks[np.arange(n) >= counts[..., None]] = 1e3
    return chunks


def put_together(chunks, counts):
    """The inverse: per text, the outputs of its real tokens in order."""
    real = np.arange(chunks.shape[2]) < counts[..., None]
    return [np.asarray(chunks)[:, b][real[:, b]] for b in range(B)]


def random_counts(seed, n, totals):
    """int32[steps, B] of 0 .. n tokens a step, `totals` in all for each text."""
    rng = np.random.default_rng(seed)
    left, steps = np.array(totals), []
    while left.any():
        steps.append(np.minimum(left, rng.integers(0, n + 1, B)))
        left = left - steps[-1]
    steps += [np.zeros(B, int)] * (10 - len(steps))  # one program for every seed
    return np.array(steps, np.int32)


@functools.partial(jax.jit, static_argnames="dtype")
def read_then_decoded(logic, chunks, counts, singles, dtype=jnp.float32):
    """Ragged chunks into an empty cache, then single tokens: outputs of both."""
    cache = init_cache(logic, B, T, K, D, C, dtype, ragged=True)

    def read(cache, given):
        *vectors, count = given
        out, cache = extend(cache, logic, *vectors, counts=count)
        return cache, out

    def decode(cache, given):
        out, cache = extend(cache, logic, *given)
        return cache, out

    cache, first = jax.lax.scan(read, cache, (*chunks, counts))
    cache, then = jax.lax.scan(decode, cache, singles)
    return first, then


@every_row
def test_ragged_chunks_and_single_tokens_equal_one_pass(row):
    """Chunks of 0 to 7 tokens, longer than most windows; rings go round eight times."""
    logic, data, totals = row.logic(), vectors(), (16, 13)
    expected = one_pass(logic, *data)
    counts = random_counts(1, CHUNK, totals)
    ones = np.ones((SINGLE, B), np.int32)
    chunks = [in_chunks(x, counts, CHUNK) for x in data]
    singles = [in_chunks(x, ones, 1, base=np.array(totals)) for x in data]
    read, alone = map(np.asarray, read_then_decoded(logic, chunks, counts, singles))
    np.testing.assert_array_equal(read[np.arange(CHUNK) >= counts[..., None]], 0.0)
    read, alone = put_together(read, counts), put_together(alone, ones)
    for b, total in enumerate(totals):
        found = np.concatenate([read[b], alone[b]])
        np.testing.assert_allclose(found, expected[b, : total + SINGLE], atol=1e-5)


STRUCTURES = {
    "rope": logic_of(),
    "a window": logic_of(sliding_window=4),
    "rerope": logic_of("rerope", window=3),
    "rerope in a window": logic_of("rerope", window=2, sliding_window=5),
    "dual chunk": logic_of("dual_chunk", chunk_length=5, local_window=2),
    "alibi": logic_of("alibi", num_heads=H),
}
some = pytest.mark.parametrize("logic", STRUCTURES.values(), ids=STRUCTURES)


def split(x, steps):
    """[B, T, ...] to [steps, B, T / steps, ...]."""
    x = x.reshape(B, steps, -1, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)


@some
def test_equally_long_texts_decode_token_by_token_from_the_first_on(logic):
    data = vectors(2)
    found, cache = decoded(logic, [split(x, T) for x in data])
    found = np.moveaxis(np.asarray(found)[:, :, 0], 0, 1)
    np.testing.assert_allclose(found, one_pass(logic, *data), atol=1e-5)
    assert cache.lengths_R.tolist() == [T]


@pytest.mark.parametrize("name", ["rerope", "alibi"])
def test_a_bfloat16_cache_rounds_what_it_stores_and_nothing_else(name):
    """Values that bfloat16 holds exactly, and keys that it does where none turns."""
    logic = STRUCTURES[name]
    q, k, v = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in vectors(3))
    found, cache = decoded(logic, [split(x, T) for x in (q, k, v)], dtype=jnp.bfloat16)
    found = np.moveaxis(np.asarray(found)[:, :, 0], 0, 1)
    assert found.dtype == np.float32 and cache.dtype == jnp.bfloat16
    bound = 1e-5 if name == "alibi" else 3e-2
    np.testing.assert_allclose(found, one_pass(logic, q, k, v), atol=bound)


def test_a_plain_callable_sees_raw_keys_at_their_positions():
    logic, data = logic_of("rerope", window=3), vectors(4)
    counts = random_counts(2, 5, (T - 1, T))

    def mine(*arguments):
        return logic(*arguments)

    cache = init_cache(mine, B, T, K, D, C, ragged=True)
    step = jax.jit(lambda cache, *x: extend(cache, mine, *x[:3], counts=x[3]))
    outs = []
    for given in zip(*(in_chunks(x, counts, 5) for x in data), counts, strict=True):
        out, cache = step(cache, *given)
        outs.append(out)
    expected = one_pass(logic, *data)
    for b, found in enumerate(put_together(np.array(outs), counts)):
        np.testing.assert_allclose(found, expected[b, : len(found)], atol=1e-5)


def test_a_first_chunk_costs_what_attend_does_and_fills_the_cache_alike():
    logic, counts = logic_of("rerope", window=3), jnp.array([T, 9], jnp.int32)

    @functools.partial(jax.jit, static_argnames="fresh")
    def filled(*data, fresh):
        empty = init_cache(logic, B, T, K, D, C, ragged=True)
        return extend(empty, logic, *data, counts=counts, fresh=fresh)

    found, other = (filled(*vectors(5), fresh=fresh) for fresh in (True, False))
    chex.assert_trees_all_close(found, other, atol=1e-5)


def test_long_chunks_are_attended_to_in_tiles():
    """Enough pairs for the tiled path, which the dense pass has to agree with."""
    logic, data = logic_of("rerope", window=200), vectors(6, length=600)

    @jax.jit
    def extended(logic, q, k, v):
        cache = init_cache(logic, B, 600, K, D, C)
        _, cache = extend(cache, logic, q[:, :20], k[:, :20], v[:, :20], fresh=True)
        return extend(cache, logic, q[:, 20:], k[:, 20:], v[:, 20:])[0]

    expected = one_pass(logic, *data)[:, 20:]
    np.testing.assert_allclose(extended(logic, *data), expected, atol=1e-5)


def test_layers_are_scanned_with_stacked_caches():
    logics = [logic_of(base=base) for base in (100.0, 10_000.0)]
    data = [jnp.stack([x, x]) for x in vectors(7)]
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    caches = stack(*(init_cache(logic, B, T, K, D, C) for logic in logics))

    def layer(_, given):
        cache, logic, *vectors = given
        out, cache = extend(cache, logic, *vectors)
        return None, out

    _, found = jax.lax.scan(layer, None, (caches, stack(*logics), *data))
    for number, logic in enumerate(logics):
        expected = one_pass(logic, *(x[number] for x in data))
        np.testing.assert_allclose(found[number], expected, atol=1e-5)


# What a cache holds, and what a step does.


def test_a_slot_holds_the_latest_position_that_is_congruent_to_it():
    lengths = jnp.arange(20, dtype=jnp.int32)
    expected = [
        [max([j for j in range(n) if j % 6 == m], default=-1) for m in range(6)]
        for n in range(20)
    ]
    np.testing.assert_array_equal(latest(lengths, 6), expected)


@pytest.mark.parametrize(
    ("logic", "capacity", "lengths", "values"),
    [
        (logic_of(), 100, (100,), 100),
        (logic_of("rerope", window=16), 100, (16, 100), 100),
        (logic_of("leaky_rerope", window=16, step=4), 100, (16, 100), 100),
        (logic_of("self_extend", window=16, group=4), 100, (16, 100), 100),
        (logic_of("rerope", window=100), 100, (100,), 100),
        (logic_of("dual_chunk", chunk_length=16, local_window=4), 100, (100,), 100),
        (logic_of(sliding_window=16), 100, (16,), 16),
        (logic_of("nope", sliding_window=16), 9, (9,), 9),
        # A ring of 40 would not line up with one of 16: 48.
        (logic_of("rerope", window=16, sliding_window=40), 100, (16, 48), 48),
        (logic_of("rerope", window=60, sliding_window=80), 100, (60, 100), 100),
    ],
)
def test_stores_are_as_short_as_what_their_bands_look_back_to(
    logic, capacity, lengths, values
):
    plan = make_plan(logic, capacity)
    assert (plan.key_lengths, plan.length) == (lengths, values)


@pytest.mark.parametrize("name", ["rerope", "leaky_rerope", "self_extend"])
def test_a_window_adds_its_share_of_half_the_cache(name):
    options = {"leaky_rerope": {"step": 8}, "self_extend": {"group": 8}}.get(name, {})
    logic = logic_of(name, window=1024, **options)
    size = {"batch": 1, "capacity": 32768, "key_heads": 1, "head_dim": D}
    plain = init_cache(logic_of(), **size)
    assert plain.nbytes == 2 * 32768 * D * 4
    assert init_cache(logic, **size).nbytes <= (1 + 1024 / (2 * 32768)) * plain.nbytes
    low = init_cache(logic, **size, dtype=jnp.bfloat16)
    assert low.nbytes * 2 == init_cache(logic, **size).nbytes


CAPACITY = 1031  # a prime: no other size of the program has it as a factor


@functools.cache
def program_of_a_step(name, **options):
    logic = logic_of(name, **options)
    cache = init_cache(logic, 1, CAPACITY, K, D)
    data = [x[:1, :1] for x in vectors()]
    data[2] = data[1]
    step = jax.jit(extend, donate_argnums=0)
    return step.lower(cache, logic, *data).compile().as_text()


ONE_TOKEN = [
    ("rope", {}),
    ("rerope", {"window": 64}),
    ("leaky_rerope", {"window": 64, "step": 4}),
    ("self_extend", {"window": 64, "group": 4}),
    ("dual_chunk", {"chunk_length": 64, "local_window": 8}),
]


def turned_at_once(text):
    """Shapes with the capacity and the number of planes: angles, or halves of keys."""
    shapes = [shape.split(",") for shape in re.findall(r"\[([\d,]+)\]", text)]
    return [x for x in shapes if str(CAPACITY) in x and str(D // 2) in x]


@pytest.mark.parametrize(("name", "options"), ONE_TOKEN)
def test_a_step_turns_no_key_that_the_cache_holds(name, options):
    assert not turned_at_once(program_of_a_step(name, **options))


def test_turning_all_keys_would_be_seen():
    keys = jnp.ones((1, CAPACITY, K, D))
    positions = jnp.arange(CAPACITY)[None]

    def again(keys):
        band = logic_of().bands[0]
        return logic_of().rotated(keys, band.key_angles(positions)).sum()

    assert turned_at_once(jax.jit(again).lower(keys).compile().as_text())


@pytest.mark.parametrize(("name", "options"), ONE_TOKEN)
def test_a_step_writes_in_place_and_copies_no_store(name, options):
    """Arrays as large as a store come from the caller or from a one-token write."""
    text = program_of_a_step(name, **options)
    store = re.compile(rf"= f32\[{K},(?:{D},{CAPACITY}|{CAPACITY},{D})\]\S* ([\w-]+)\(")
    makers = set(store.findall(text))
    assert makers <= {"parameter", "dynamic-update-slice", "fusion", "bitcast"}
    # One write of keys, one of values; a second fusion with the same write would copy.
    writes = re.findall(r"= f32\[[\d,]*\]\S* dynamic-update-slice\(", text)
    assert len(writes) == (3 if "window" in options else 2)


# Mistakes.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (B, 1, K, D + 2)}, "head dim"),
        ({"k": (B, 2, K, D)}, "tokens"),
        ({"v": (B, 1, K, C + 1)}, "value dim"),
        ({"q": (B, 1, 3, D)}, "multiple"),
        ({"counts": (B,)}, "ragged=True"),
        ({"logic": logic_of("rerope", window=3)}, "bands"),
    ],
)
def test_what_does_not_fit_the_cache_is_refused(change, message):
    given = {"q": (B, 1, H, D), "k": (B, 1, K, D), "v": (B, 1, K, C)} | change
    arrays = {
        key: jnp.ones(shape, jnp.int32 if key == "counts" else jnp.float32)
        for key, shape in given.items()
        if key != "logic"
    }
    cache = init_cache(logic_of(), B, T, K, D, C)
    logic, counts = change.get("logic", logic_of()), arrays.get("counts")
    with pytest.raises(ValueError, match=message):
        extend(cache, logic, arrays["q"], arrays["k"], arrays["v"], counts)


def test_a_cache_needs_a_size_and_a_dtype_it_can_hold():
    with pytest.raises(ValueError, match="capacity"):
        init_cache(logic_of(), B, 0, K, D)
    with pytest.raises(ValueError, match="float16"):
        init_cache(logic_of(), B, T, K, D, dtype=jnp.float16)
    hiding = logic_of()
    never = dataclasses.replace(hiding.bands[0], last_key=lambda i: i - 1000)
    with pytest.raises(ValueError, match="no key"):
        init_cache(dataclasses.replace(hiding, bands=(never,)), B, T, K, D)
