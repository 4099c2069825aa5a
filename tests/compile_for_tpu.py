"""Compiles the TPU's kernels ahead of time for a v5e; its caller sets the variables.

Every head dim in both dtypes, with encodings, segments and biases spread over them.
"""

import jax
from jax.experimental import topologies

from kernel_cases import pass_of
from rope_lab.attention.tpu import tpu

CHUNKS = {"chunk_length": 1024, "local_window": 256}
PROGRAMS = [
    ("rerope", 64, "float32", True, {"window": 1024}),
    ("dual_chunk", 64, "bfloat16", True, CHUNKS),
    ("alibi", 128, "float32", False, {"num_heads": 8}),
    ("rerope", 128, "bfloat16", True, {"window": 1024}),
    ("dual_chunk", 256, "float32", True, CHUNKS),
    ("rerope", 256, "bfloat16", False, {"window": 1024}),
]


def main() -> None:
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    chip = jax.sharding.SingleDeviceSharding(topology.devices[0])
    for name, dim, dtype, segmented, options in PROGRAMS:
        both, arguments = pass_of(tpu, name, dim, dtype, segmented, **options)
        placed = [
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=chip) for x in arguments
        ]
        both.lower(*placed).compile()
        print("compiled", name, dim, dtype, flush=True)


if __name__ == "__main__":
    main()
