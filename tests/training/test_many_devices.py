"""The same run on one device, on eight, and in two processes of four."""

import json

import chex
import many_devices
import numpy as np
import pytest

from rope_lab.training import load_parameters, read_metrics

ONE = {"data": 1}
ALONE = {
    "data": {"data": 8},
    "fsdp": {"data": 1, "fsdp": 8},
    "tensor": {"data": 1, "tensor": 8},
    "context": {"data": 2, "context": 4},
}
TOGETHER = {"all": {"data": 2, "fsdp": 2, "tensor": 2}}
ACROSS = {"context": {"data": 1, "context": 4}}  # each process has half of a sequence
ORDER = 500  # batches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of what three jobs found, each under its own name."""
    folder = tmp_path_factory.mktemp("devices")
    jobs = {
        "one": (1, 1, {"one": ONE}),
        "eight": (1, 8, ALONE | TOGETHER),
        "two": (2, 4, ALONE | TOGETHER),
        "pair": (2, 2, ACROSS),
    }
    for name, (processes, devices, meshes) in jobs.items():
        out = folder / name
        out.mkdir()
        task = {"out": str(out), "meshes": meshes, "order": ORDER}
        many_devices.start(processes, devices, **task)
    return folder


PLACES = [(job, mesh) for job in ("eight", "two") for mesh in (*ALONE, *TOGETHER)]
PLACES.append(("pair", "context"))


@pytest.mark.parametrize(("job", "mesh"), PLACES)
def test_first_gradients_are_those_of_one_device(job, mesh, results):
    expected = np.load(results / "one" / "one.npz")
    found = np.load(results / job / f"{mesh}.npz")
    assert set(found) == set(expected) and len(found) > 10
    for name in expected:
        off = np.linalg.norm(found[name] - expected[name])
        assert off <= 1e-5 * np.linalg.norm(expected[name]), name


@pytest.mark.parametrize(("job", "mesh"), PLACES)
def test_one_device_reads_the_parameters_of_many(job, mesh, results):
    found, meta = load_parameters(results / job / mesh)
    expected, _ = load_parameters(results / "one" / "one")
    assert meta["step"] == 20
    chex.assert_trees_all_close(found, expected, atol=1e-4)


def losses(folder):
    return {row["step"]: row["loss"] for row in read_metrics(folder)}


@pytest.mark.parametrize(("job", "mesh"), PLACES)
def test_twenty_losses_are_those_of_one_device(job, mesh, results):
    expected = losses(results / "one" / "one")
    found = losses(results / job / mesh)
    assert list(found) == list(expected) == list(range(1, 21))
    np.testing.assert_allclose([*found.values()], [*expected.values()], atol=1e-5)
    assert expected[20] < 0.9 * expected[1]


@pytest.mark.parametrize(("job", "mesh"), PLACES)
def test_every_sequence_of_500_batches_is_read_in_its_place(job, mesh, results):
    expected = json.loads((results / "one" / "one-order-0.json").read_text())
    parts = [
        json.loads(path.read_text())
        for path in sorted((results / job).glob(f"{mesh}-order-*.json"))
    ]
    assert len(parts) == (1 if job == "eight" else 2)
    seen = sorted(tuple(entry) for part in parts for entry in part)
    if (job, mesh) in (("two", "tensor"), ("pair", "context")):  # both hold all
        assert parts[0] == parts[1] == expected
    else:
        assert seen == sorted(map(tuple, expected))


@pytest.mark.parametrize(
    ("processes", "devices", "mesh", "source"),
    [
        (1, 1, ONE, "two/all"),
        (1, 8, {"data": 1, "fsdp": 4, "tensor": 2}, "one/one"),
        (2, 1, {"data": 2}, "eight/tensor"),
    ],
)
def test_the_checkpoint_of_one_goes_on_in_another(
    processes, devices, mesh, source, results, tmp_path
):
    many_devices.start(
        processes,
        devices,
        out=str(tmp_path),
        meshes={"resumed": mesh},
        resume=str(results / source),
    )
    expected, found = losses(results / "one" / "one"), losses(tmp_path / "resumed")
    assert list(found) == list(range(11, 21))
    wanted = [expected[step] for step in found]
    np.testing.assert_allclose([*found.values()], wanted, atol=1e-5)
