"""The plan of tiles: what is visited, in which bands, and what that costs."""

import jax
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.attention.operands import make_layout
from rope_lab.attention.tiles import make_tiles

TILE = 8
LOGICS = {
    "rope": {},
    "rope, windowed": {"sliding_window": 16},
    "rerope": {"window": 12},
    "rerope, edge to edge": {"window": 16},
    "leaky_rerope": {"window": 9, "step": 4},
    "self_extend, windowed": {"window": 5, "group": 2, "sliding_window": 30},
    "dual_chunk": {"chunk_length": 24, "local_window": 6},
    "dual_chunk, short": {"chunk_length": 5, "local_window": 3},
}


def build(name, **changes):
    options = LOGICS[name] | changes
    return position_logic(name.split(",")[0], head_dim=8, **options)


@jax.jit
def compiled(logic, queries, keys, segments):
    return make_tiles(make_layout(logic, queries, keys, segments), TILE, TILE)


def plan(logic, queries, keys=None, segments=None):
    """Tiles of one row of positions."""
    keys = queries if keys is None else keys
    rows = jax.tree.map(lambda x: x[None], (queries, keys, segments))
    return compiled(logic, *rows)


def visited(tiles):
    """bool[M, N]: key tiles that each query tile goes through, each of them once."""
    count, order = np.asarray(tiles.count_RM)[0], np.asarray(tiles.order_RMN)[0]
    found = np.zeros(order.shape, bool)
    for m, steps in enumerate(count):
        assert len(set(order[m, :steps])) == steps
        found[m, order[m, :steps]] = True
    return found


def held(logic, queries, keys, segments=None):
    """bool[P, M, N, t, s]: pairs that each band shows, from its own definition.

    Padded as tiles are: with pairs that nothing shows.
    """
    shown = [band.holds(queries[:, None], keys[None]) for band in logic.bands]
    shown = np.array(shown)
    if segments is not None:
        same = segments[0][:, None] == segments[1][None]
        shown &= same & (segments[1] != 0)[None]
    padding = [(0, -x.size % TILE) for x in (queries, keys)]
    shown = np.pad(shown, [(0, 0), *padding])
    parts = [size // TILE for size in shown.shape[1:]]
    shown = shown.reshape(-1, parts[0], TILE, parts[1], TILE)
    return shown.transpose(0, 1, 3, 2, 4)


# First query and number of keys: the same tokens, a last tile of keys that is not full,
# and the same seen from where it lies wholly in the past.
in_order = pytest.mark.parametrize(("first", "keys"), [(0, 64), (3, 61), (70, 61)])


@pytest.mark.parametrize("name", LOGICS)
@in_order
def test_in_order_only_tiles_with_a_visible_pair_are_visited(name, first, keys):
    logic = build(name)
    positions = [x.astype(np.int32) for x in (first + np.arange(64), np.arange(keys))]
    tiles, shown = plan(logic, *positions), held(logic, *positions)
    np.testing.assert_array_equal(visited(tiles), shown.any((0, 3, 4)))


@pytest.mark.parametrize("name", LOGICS)
@in_order
def test_in_order_a_tile_is_cut_where_no_band_holds_all_of_it(name, first, keys):
    logic = build(name)
    positions = [x.astype(np.int32) for x in (first + np.arange(64), np.arange(keys))]
    tiles, shown = plan(logic, *positions), held(logic, *positions)
    seen, whole = shown.any((0, 3, 4)), shown.all((3, 4)).any(0)
    np.testing.assert_array_equal(np.asarray(tiles.cut_RMN)[0][seen], ~whole[seen])
    np.testing.assert_array_equal(np.asarray(tiles.bands_RMN)[0][whole], 1)


def drawn(seed):
    """Positions in order or not; documents one after another or mixed."""
    rng = np.random.default_rng(seed)
    sizes = 37, 53
    positions = [rng.integers(0, 80, size).astype(np.int32) for size in sizes]
    if seed % 2:
        positions = [np.sort(x) for x in positions]
    first = [0, 1, 1][seed % 3]  # padding, or two documents, or one
    segments = [rng.integers(first, [3, 3, 2][seed % 3], size) for size in sizes]
    if seed % 3 == 0:
        segments = [np.sort(ids) for ids in segments]
    return *positions, tuple(ids.astype(np.int32) for ids in segments)


@pytest.mark.parametrize("name", LOGICS)
def test_in_any_order_no_visible_pair_is_left_out(name):
    """Where the plan says less than all, it errs towards visiting and masking."""
    logic = build(name)
    for seed in range(12):
        queries, keys, segments = drawn(seed)
        tiles, shown = plan(logic, queries, keys, segments), held(logic, *drawn(seed))
        bands, numbers = (np.asarray(x)[0] for x in (tiles.bands_RMN, tiles.band_RMNP))
        listed = np.zeros(shown.shape[:3], bool)
        for m, n in np.ndindex(bands.shape):
            listed[numbers[m, n, : bands[m, n]], m, n] = True
        assert not np.any(shown.any((3, 4)) & ~listed), seed
        assert not np.any(listed.any(0) & ~visited(tiles)), seed
        uncut = listed.any(0) & (np.asarray(tiles.cut_RMN)[0] == 0)
        assert np.all(listed.sum(0)[uncut] == 1), seed
        assert np.all(shown.all((3, 4))[listed & uncut]), seed


def test_documents_that_fill_tiles_do_not_meet():
    """Three documents of two, one and three tiles, then one of padding."""
    documents = np.repeat([1, 2, 3, 0], [16, 8, 24, 8])
    positions = np.r_[0:16, 0:8, 0:24, 0:8].astype(np.int32)
    tiles = plan(build("rope"), positions, segments=(documents, documents))
    expected = np.zeros((7, 7), bool)
    for first, count in ((0, 2), (2, 1), (3, 3)):
        inside = slice(first, first + count)
        expected[inside, inside] = np.tri(count, dtype=bool)
    np.testing.assert_array_equal(visited(tiles), expected)


# Work: products of a tile of queries with a tile of keys.


def products(logic, length):
    """Tiles visited, and products of two tiles: one for each band in them."""
    tiles = plan(logic, np.arange(length, dtype=np.int32))
    seen = visited(tiles)
    return seen.sum(), np.asarray(tiles.bands_RMN)[0][seen].sum()


@pytest.mark.parametrize("length", [64, 128])
def test_rope_costs_the_causal_triangle(length):
    side = length // TILE
    tiles = plan(build("rope"), np.arange(length, dtype=np.int32))
    assert products(build("rope"), length) == (side * (side + 1) // 2,) * 2
    assert np.asarray(tiles.cut_RMN)[0][visited(tiles)].sum() == side


@pytest.mark.parametrize("length", [128, 256, 512])
def test_a_sliding_window_costs_the_same_for_every_query(length):
    """16 keys reach into three tiles of 8, except in the first two tiles of queries."""
    side = length // TILE
    assert products(build("rope, windowed"), length) == (3 * side - 3,) * 2


@pytest.mark.parametrize("window", [5, 8, 12, 100])
def test_rerope_costs_rope_and_one_product_for_each_tile_on_its_edge(window):
    length = 64
    tiles, cost = products(build("rerope", window=window), length)
    causal, plain = products(build("rope"), length)
    distance = np.arange(length)[:, None] - np.arange(length)
    parts = distance.reshape(length // TILE, TILE, -1, TILE)
    near = ((parts >= 0) & (parts < window)).any((1, 3))
    on_edge = near & (parts >= window).any((1, 3))
    assert tiles == causal
    assert cost == plain + on_edge.sum()
    # The edge crosses each row of tiles at most twice: cost per token is constant.
    assert on_edge.sum() <= 2 * length // TILE
