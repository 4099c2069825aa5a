"""Settings every test runs under.

Set before JAX is first imported, and through the environment where there is a
variable for it, so that processes which tests start inherit them.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Broadcasting between ranks is how a [T] slips into a [B, T] unseen: refuse it.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# Most of the time goes into compiling small programs that run once: optimized little,
# the tests take half as long. XLA_FLAGS= make test runs what users run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Every compiled program that stays takes a few mappings of memory. Linux allows 65,530
# to a process unless told otherwise; the program that asks for one more crashes it.
MAPPINGS = 20_000


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drops what a worker has compiled, between modules, before it has too much."""
    yield
    maps = Path("/proc/self/maps")  # Linux alone has it
    if maps.exists() and maps.read_bytes().count(b"\n") > MAPPINGS:
        jax.clear_caches()


def pytest_addoption(parser):
    parser.addoption(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="of a test's cases, run the first and then each N-th",
    )


def pytest_collection_modifyitems(config, items):
    every, seen, kept, left_out = config.getoption("every"), {}, [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        case = seen[test] = seen.get(test, -1) + 1
        (left_out if case % every else kept).append(item)
    if left_out:
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)
