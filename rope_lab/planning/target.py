"""Devices that are not here, as XLA's compiler for TPUs describes them."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from rope_lab.planning.chips import Topology

# Without them libtpu looks for a TPU, and for a server that knows of one. What the
# accelerator is called here decides nothing: the topology is given with each call.
_WITHOUT_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing runs, so others may hold it too
}


def devices(topology: Topology) -> list[jax.Device]:
    """To compile for; this process then computes on its CPU.

    Raises:
      ValueError: the compiler is not installed, or does not know the slice.
    """
    _find_compiler()
    for name, value in _WITHOUT_TPU.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")
    more: dict[str, Any] = (
        {} if topology.num_slices == 1 else {"num_slices": topology.num_slices}
    )
    if topology.chips == topology.num_slices:  # of one chip each: a host has four
        more["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **more
        )
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"libtpu does not know the slice {topology.name}: {error}"
        ) from None
    return list(found.devices)


def _find_compiler() -> None:
    """Makes libtpu importable, also from beside the environment.

    `make test` puts it there: inside, every program of the environment would look for
    a TPU.
    """
    if importlib.util.find_spec("libtpu") or os.environ.get("TPU_LIBRARY_PATH"):
        return
    beside = Path(sys.prefix) / "libtpu"
    if not beside.exists():
        raise ValueError(
            "the compiler for TPUs is not installed: pip install "
            "'rope-lab[tpu]', on Linux, or name its libtpu.so in TPU_LIBRARY_PATH"
        )
    sys.path.append(str(beside))
