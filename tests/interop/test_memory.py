"""Loading holds the arrays, and of the file hardly more than a tensor."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from fake_devices import xla_flags

from rope_lab import position_logic
from rope_lab.data.tokenizers import ByteTokenizer
from rope_lab.interop import export_pretrained
from rope_lab.model import ModelConfig, model_structure

# Measured from a process that has made arrays on all devices and traced the model once,
# so that what JAX and Flax take themselves is not counted. Every matrix is split over
# the eight devices.
PROGRAM = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from rope_lab.interop import assemble, folder
from rope_lab.model import model_structure

def peak():
    lines = open("/proc/self/status").read().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

mesh = jax.make_mesh((8,), ("x",))
def sharding(names):
    split = P(None, "x") if names[0] == "layers" else P("x")
    return NamedSharding(mesh, P() if names[-1] == "scale" else split)
jax.block_until_ready(jax.device_put(np.ones(8), NamedSharding(mesh, P("x"))))
described, source, _ = folder.open_folder(folder.Path(sys.argv[1]))
largest = max(4 * np.prod(shape) for shape in source.shapes.values())
model_structure(described.model)
before = peak()
_, params = assemble.load_parameters(described.model, source, sharding)
jax.block_until_ready(params)
kernel = params["layers"]["attention"]["query"]["kernel"][...]
print(json.dumps({
    "extra": peak() - before, "largest": int(largest),
    "loaded": sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
    "devices": len(kernel.sharding.device_set),
}))
"""


def measured(tmp_path, **sizes):
    config = ModelConfig(
        num_heads=8, num_kv_heads=8, head_dim=32, tied_embeddings=False, **sizes
    )
    logic = position_logic("rope", head_dim=32)
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: generator.standard_normal(leaf.shape, np.float32),
        model_structure(config)[1],
    )
    export_pretrained(tmp_path / "x", config, params, logic, ByteTokenizer(), length=64)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "x")]
    done = subprocess.run(
        command,
        env=os.environ | {"XLA_FLAGS": xla_flags(8)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def check(found):
    assert found["devices"] == 8
    assert found["extra"] - found["loaded"] <= 2 * found["largest"], found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_needs_the_arrays_and_two_tensors(tmp_path):
    sizes = {"vocab_size": 16_000, "num_layers": 12, "width": 512, "ff_width": 1024}
    found = measured(tmp_path, **sizes)
    assert found["loaded"] > 100_000_000
    check(found)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_a_gigabyte_needs_the_arrays_and_two_tensors(tmp_path):
    sizes = {"vocab_size": 24_000, "num_layers": 10, "width": 1536, "ff_width": 4096}
    found = measured(tmp_path, **sizes)
    assert found["loaded"] > 1_000_000_000
    check(found)
