"""`experiments.pretrain` with NaN in the batch of one step, for `benchmarks.faults`.

python -m benchmarks.fault_child STEP --config=... --workdir=...
"""

import sys

import numpy as np

from rope_lab.cli.main import run_experiment
from rope_lab.data import PackedSequences


def main() -> None:
    step = int(sys.argv.pop(1))
    read = PackedSequences.__getitem__

    def broken(self, n):
        row = read(self, n)
        if n // 4 == step - 1:  # batches of four
            row["weights"] = np.full_like(row["weights"], np.nan)
        return row

    PackedSequences.__getitem__ = broken
    run_experiment("pretrain")


if __name__ == "__main__":
    main()
