"""What the 7B fine-tuning steps need of 16 to 1024 TPU chips, from compilation alone.

    python -m benchmarks.weak_scaling           every row that is missing, one by one
    python -m benchmarks.weak_scaling --again   all rows

Every chip has 32,768 tokens in a step, as eight sequences of 4,096 or one of 32,768, so
that what grows with the number of chips is what they exchange. A v5e chip has memory
for a quarter of them at once: its rows take the step in parts, and share long sequences
(context). Each row is a `rope-lab plan` in a process of its own. Writes
benchmarks/results/weak_scaling.json, .md and .png.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.weak_scaling_page import write_page

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
TOKENS = 32_768  # of a chip, in a step
CONFIGS = {32_768: "llama2_7b_32k", 4_096: "llama2_7b_4k400"}


@dataclasses.dataclass(frozen=True)
class Slices:
    """Where a step runs, and how it is divided; the remaining chips are `data`."""

    topology: str
    length: int
    num_slices: int = 1
    fsdp: int = 64  # chips that share the parameters
    context: int = 1  # chips that share a sequence
    accumulation: int = 1  # parts of a step, one after the other

    @property
    def label(self) -> str:
        parts = f"{self.topology} x {self.num_slices}, {self.length}"
        divided = self.context > 1 or self.accumulation > 1
        return parts + divided * f", context {self.context} / {self.accumulation}"


V5P = [("v5p:2x2x4", 16), ("v5p:4x4x4", 64), ("v5p:4x8x8", 64), ("v5p:8x8x16", 64)]
V5E = "v5e:16x16"
ROWS = [Slices(name, n, fsdp=fsdp) for n in CONFIGS for name, fsdp in V5P]
for slices in (1, 4):
    ROWS += [
        Slices(V5E, 4_096, slices, accumulation=8),
        Slices(V5E, 32_768, slices),  # more than the chip has
        Slices(V5E, 32_768, slices, context=4, accumulation=4),
    ]
SCHEMA_VERSION = 1


def main() -> None:
    path = RESULTS / "weak_scaling.json"
    again = "--again" in sys.argv[1:]
    known = json.loads(path.read_text())["rows"] if path.exists() and not again else {}
    for row in ROWS:
        if row.label not in known:
            known[row.label] = measured(row)
            save(path, known)
            write_page(known, RESULTS)


def measured(row: Slices) -> dict[str, Any]:
    """The plan of a row, without what is the same in all, and the machine's load."""
    chips = row.num_slices * _size(row.topology)
    config = f"configs/{CONFIGS[row.length]}.py"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "plan.json"
        command = [
            sys.executable, "-m", "rope_lab.cli.main", "plan",
            f"--config={config}", f"--topology={row.topology}",
            f"--num_slices={row.num_slices}", f"--output={output}",
            f"--config.data.batch_size={chips * TOKENS // row.length}",
            f"--config.mesh.fsdp={row.fsdp}",
            f"--config.mesh.context={row.context}",
            f"--config.training.accumulation_steps={row.accumulation}",
        ]  # fmt: skip
        before = os.getloadavg()[0]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        plan = json.loads(output.read_text())
    load = {"before": before, "after": os.getloadavg()[0], "cores": os.cpu_count()}
    shared = ("config", "model")
    return {key: x for key, x in plan.items() if key not in shared} | {"load": load}


def _size(topology: str) -> int:
    size = 1
    for part in topology.partition(":")[2].split("x"):
        size *= int(part)
    return size


def save(path: Path, rows: dict[str, Any]) -> None:
    content = {"schema_version": SCHEMA_VERSION, "tokens": TOKENS, "rows": rows}
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(scratch, path)


if __name__ == "__main__":
    main()
