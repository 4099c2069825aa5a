"""Every kind of logic and block trains on a mesh as it does on one device."""

import json
import os
import subprocess
import sys

import logics_on_a_mesh
import many_devices
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "apart.json"
    command = [sys.executable, logics_on_a_mesh.__file__, str(path)]
    environment = os.environ | many_devices.environment(8)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize("case", logics_on_a_mesh.CASES)
def test_gradients_on_eight_devices_are_those_on_one(case, apart):
    assert len(apart[case]) >= 6  # a gated attention unit has five matrices
    assert max(apart[case].values()) <= 1e-5, apart[case]


def test_devices_that_share_the_batch_alone_exchange_nothing_but_sums(apart):
    assert apart["collectives"] == ["all-reduce"]
