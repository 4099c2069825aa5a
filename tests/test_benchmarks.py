"""The attention benchmark compares like with like, and says what it measured."""

import dataclasses
import functools
import json
import re
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    attention,
    ceiling,
    crossover,
    kept_memory,
    peers,
    report,
    rows,
    targets,
    timing,
)
from benchmarks.programs import with_gradients
from benchmarks.rows import Case
from rope_lab import attend, position_logic

CASES = [Case(48, mode, heads=2, head_dim=8) for mode in rows.MODES]
NEEDS_TORCH = pytest.mark.skipif(not timing.has_torch(), reason="needs the extra hf")
BY_LABEL = {row.label: row for row in rows.cpu_rows()}


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    monkeypatch.setenv("ROPE_LAB_BENCHMARK_THREADS", "1")


def expected(case: Case, name: str, **options):
    """Output, and gradients if the mode has them, of dense attention."""
    logic = position_logic(name, head_dim=case.head_dim, **options)
    *arrays, dout = case.arrays()
    dense = functools.partial(attend, logic=logic, implementation="dense")
    if case.mode == "forward":
        return jax.jit(dense)(*arrays)
    return jax.jit(with_gradients(dense))(*arrays, dout)


def outputs(label: str, case: Case):
    """What a row computes, as [B, T, H, D]."""
    row = BY_LABEL[label]
    found = row.program(case).call()
    if row.framework == "torch":
        found = jax.tree.map(lambda x: jnp.asarray(x.numpy()).swapaxes(1, 2), found)
    return found


@pytest.mark.parametrize("case", CASES, ids=rows.MODES)
@pytest.mark.parametrize("label", [rows.SDPA, rows.JAX_OWN, rows.DENSE])
def test_every_row_of_rope_computes_the_same(case, label):
    if label == rows.SDPA and not timing.has_torch():
        pytest.skip("needs the extra hf")
    chex.assert_trees_all_close(outputs(label, case), expected(case, "rope"), atol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=rows.MODES)
@pytest.mark.parametrize("label", [rows.SEED_TORCH, rows.SEED_JAX])
def test_the_seeds_method_is_rerope(case, label):
    if label == rows.SEED_TORCH and not timing.has_torch():
        pytest.skip("needs the extra hf")
    chex.assert_trees_all_close(
        outputs(label, case),
        expected(case, "rerope", window=case.window),
        atol=2e-5,
    )


def test_every_kind_of_logic_has_one_tiled_row():
    kinds = rows.logic_options(CASES[0])
    assert {f"{kind}, ours, tiled" for kind in kinds} <= set(BY_LABEL)


@pytest.mark.parametrize("mode", rows.MODES)
def test_a_tile_takes_the_stated_number_of_products(mode):
    q = jnp.ones((3, 1, 16, 8))  # one tile of 16 tokens, head dim 8

    def both(q, k, v, dout):
        forward = ceiling.forward_products(q, k, v)
        if mode == "forward":
            return forward
        return forward, ceiling.backward_products(q, k, v, dout)

    text = str(jax.make_jaxpr(both)(q, q, q, q))
    assert text.count("dot_general") == ceiling.PRODUCTS[mode]
    case = Case(16, mode, heads=3, head_dim=8)
    each = 2 * 3 * 16 * 16 * 8
    assert case.operations(16 * 16) == ceiling.PRODUCTS[mode] * each


@pytest.mark.parametrize(("t", "s"), [(4, 4), (4, 8), (8, 4)])
def test_tile_products_walk_the_causal_tiles_and_no_others(t, s):
    q, k, v, dout = np.random.default_rng(0).normal(size=(4, 16, 8))
    tiles = [
        x.reshape(1, -1, n, 8)
        for x, n in zip((q, k, v, dout), (t, s, s, t), strict=True)
    ]
    i, j = np.arange(16)[:, None], np.arange(16)[None]
    seen = j // s * s <= i // t * t + t - 1  # the tile has a pair with j <= i
    scores, slopes = np.where(seen, q @ k.T, 0), np.where(seen, dout @ v.T, 0)
    tiles = [jnp.asarray(x, jnp.float32) for x in tiles]
    found = ceiling.forward_products(*tiles[:3]), *ceiling.backward_products(*tiles)
    wanted = scores @ v, slopes @ k, slopes.T @ q, scores.T @ dout
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.reshape(16, 8), other, rtol=1e-4, atol=1e-3)


def test_pairs_are_the_causal_half_or_what_a_window_leaves_of_it():
    case = Case(64, "forward")
    i, j = np.arange(64)[:, None], np.arange(64)[None]
    assert BY_LABEL[rows.ROPE].pairs(case) == (j <= i).sum()
    sliding = BY_LABEL["RoPE, sliding window, ours, tiled"]
    assert sliding.pairs(case) == ((j <= i) & (i - j < case.window)).sum()


@NEEDS_TORCH
def test_the_memory_of_an_eager_program_is_what_it_allocates():
    torch = timing.load_torch()
    grown = peers.eager(lambda: torch.ones(8 << 20).sum()).temporary  # 32 MiB
    if grown is None:
        pytest.skip("the system does not say")
    assert 0.9 < grown / (32 << 20) < 1.5


def test_rounds_are_interleaved_in_an_order_that_rotates():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    taken = timing.interleaved(calls, rounds=3)
    # The first three warm up; then each is made once unmeasured, once measured.
    assert "".join(order) == "abc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert [len(each) for each in taken.values()] == [3, 3, 3]


def test_a_first_call_that_is_long_is_a_round(monkeypatch):
    monkeypatch.setattr(timing, "LONG", -1.0)
    monkeypatch.setattr(timing, "SHORT", -1.0)
    calls = []
    assert len(timing.interleaved({"a": lambda: calls.append(1)}, 3)["a"]) == 3
    assert len(calls) == 3


def record_of(times: dict[str, float], length=4096, mode="forward") -> dict:
    """A record of one case, every row with these milliseconds."""
    found = {
        label: {"ms": ms, "gflops": 1 / ms, "temporary_bytes": length}
        for label, ms in times.items()
    }
    attention._add_shares(found)
    case = {"length": length, "mode": mode, "heads": 4, "rounds": 1, "rows": found}
    return {"cases": [case]}


def test_a_target_is_met_missed_or_not_measured():
    times = {rows.REROPE: 2.1, rows.ROPE: 2.0, rows.SDPA: 2.5, rows.PRODUCTS: 1.4}
    lines = targets.table(targets.ON_CPU, record_of(times)).splitlines()[2:]
    known = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in lines}
    assert known["ReRoPE / RoPE, both tiled, forward, T >= 4096"] == [
        "<= 1.05", "1.05", "yes |",
    ]  # fmt: skip
    sdpa = known["ReRoPE tiled / PyTorch SDPA with plain RoPE, forward, T = 4096"]
    assert sdpa == ["<= 0.8", "0.84", "no |"]
    share = "ReRoPE tiled, share of the rate of the tile products, forward, %"
    assert known[share] == [">= 70", "66.67", "no |"]
    assert known[share.replace("forward", "forward+backward")][1:] == [
        "not measured", "- |",
    ]  # fmt: skip


def test_targets_look_at_the_worst_length_and_not_at_short_ones():
    ratio = targets.ratio(rows.REROPE, rows.ROPE, "forward")
    record = {"cases": []}
    for length, ours in ((512, 9.0), (4096, 1.0), (8192, 3.0), (16384, 2.0)):
        times = {rows.REROPE: ours, rows.ROPE: 1.0, rows.PRODUCTS: 1.0}
        record["cases"] += record_of(times, length)["cases"]
    assert ratio(record) == 3.0


def test_memory_that_grows_with_the_square_misses_its_target():
    record = {"cases": []}
    for length in (4096, 8192):
        found = record_of({rows.REROPE: 1.0, rows.PRODUCTS: 1.0}, length, rows.MODES[1])
        record["cases"] += found["cases"]
    growth = targets.memory_growth(rows.REROPE)
    assert growth(record) == 1.0
    record["cases"][1]["rows"][rows.REROPE]["temporary_bytes"] *= 2
    assert growth(record) == 2.0


@pytest.fixture
def tiny(tmp_path):
    """Cases, two rows, and a record as main begins it."""
    table = [BY_LABEL[rows.JAX_OWN], BY_LABEL[rows.PRODUCTS]]
    cases = [dataclasses.replace(case, length=16) for case in CASES]
    record = timing.heading(1) | {"platform": "cpu", "head_dim": 8, "dtype": "float32"}
    record |= {"matrix_product_gflops": {"jax": 1.0}, "cases": []}
    return cases, table, record, tmp_path


def test_a_run_that_was_cut_off_goes_on_where_it_ended(tiny, monkeypatch):
    cases, table, record, folder = tiny
    attention.run(cases[:1], table, record, folder, rounds=1)
    again = attention.finished(folder / "attention.json", record)
    assert [case["mode"] for case in again] == ["forward"]
    measured = []
    measure = attention.measure
    monkeypatch.setattr(
        attention, "measure", lambda c, *a: measured.append(c) or measure(c, *a)
    )
    whole = attention.run(cases, table, record | {"cases": again}, folder, rounds=1)
    assert measured == cases[1:]
    assert len(json.loads((folder / "attention.json").read_text())["cases"]) == 2
    attention.publish(whole, folder)
    assert f"| {rows.JAX_OWN} |" in (folder / "attention.md").read_text()
    assert (folder / "time.png").exists() and (folder / "memory.png").exists()


def test_a_run_is_not_resumed_with_other_code(tiny):
    cases, table, record, folder = tiny
    attention.run(cases[:1], table, record, folder, rounds=1)
    with pytest.raises(SystemExit, match="commit"):
        attention.finished(folder / "attention.json", record | {"commit": "other"})


def test_without_torch_its_rows_say_so(monkeypatch):
    monkeypatch.setattr(timing, "has_torch", lambda: False)
    table = [BY_LABEL[rows.SDPA], BY_LABEL[rows.JAX_OWN], BY_LABEL[rows.PRODUCTS]]
    case = attention.measure(dataclasses.replace(CASES[0], length=16), table, 1)
    assert case["rows"][rows.SDPA] == {"absent": attention.ABSENT}
    assert case["rows"][rows.JAX_OWN]["ms"] > 0
    assert report._time(case, rows.SDPA, rows.JAX_OWN) == attention.ABSENT


def test_the_recommended_crossover_loses_least():
    cases = [
        {"length": n, "dense_ms": dense, "tiled_ms": 1.0}
        for n, dense in ((64, 0.5), (128, 0.9), (256, 1.1), (512, 3.0))
    ]
    assert crossover.recommended(cases) == 256**2
    assert crossover.lost(cases, 256**2) == 0.0
    assert crossover.lost(cases, 512**2) == pytest.approx(np.log(1.1))
    assert crossover.recommended(cases[:2]) > 128**2  # dense everywhere


def test_memory_is_kept_as_the_makefile_and_the_site_say():
    root = Path(__file__).parents[1]
    rule = re.compile(r"^export (MALLOC_\w+) \?= (\d+)$", re.MULTILINE)
    assert dict(rule.findall((root / "Makefile").read_text())) == kept_memory.KEEPING
    said = " ".join(f"{name}={value}" for name, value in kept_memory.KEEPING.items())
    assert f"export {said}\n" in (root / "docs" / "faq.md").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the variables are those of glibc")
def test_a_process_that_keeps_its_memory_asks_for_fewer_pages():
    given, kept = (kept_memory.measured(keeping, 5) for keeping in (False, True))
    assert kept["pages"] < 0.5 * given["pages"]
    record = timing.heading(1) | {"rows": {"as glibc comes": [given], "kept": [kept]}}
    assert f"| kept | {kept['ms']:,.0f} |" in kept_memory.text(record)
