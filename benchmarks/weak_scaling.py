"""What the 7B fine-tuning steps need of 16 to 1024 TPU chips, from compilation alone.

    python -m benchmarks.weak_scaling           every row that is missing, one by one
    python -m benchmarks.weak_scaling --again   all rows

Every chip has 32,768 tokens, as eight sequences of 4,096 or one of 32,768, so that what
grows with the number of chips is what they exchange. Each row is a `rope-lab plan` in a
process of its own. Writes benchmarks/results/weak_scaling.json, .md and .png.
"""

from __future__ import annotations

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
# Topology, slices, and chips that share the parameters; the rest share the sequences.
SLICES = [
    ("v5p:2x2x4", 1, 16),
    ("v5p:4x4x4", 1, 64),
    ("v5p:4x8x8", 1, 64),
    ("v5p:8x8x16", 1, 64),
    ("v5e:16x16", 1, 64),
    ("v5e:16x16", 4, 64),
]
SCHEMA_VERSION = 1


def main() -> None:
    path = RESULTS / "weak_scaling.json"
    again = "--again" in sys.argv[1:]
    known = json.loads(path.read_text())["rows"] if path.exists() and not again else {}
    for length in CONFIGS:
        for topology, num_slices, fsdp in SLICES:
            label = f"{topology} x {num_slices}, {length}"
            if label not in known:
                known[label] = measured(topology, num_slices, fsdp, length)
                save(path, known)
                write_page(known, RESULTS)


def measured(topology: str, num_slices: int, fsdp: int, length: int) -> dict[str, Any]:
    """The plan of a row, without what is the same in all, and the machine's load."""
    chips = num_slices * _size(topology)
    config = f"configs/{CONFIGS[length]}.py"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "plan.json"
        command = [
            sys.executable, "-m", "rope_lab.cli.main", "plan",
            f"--config={config}", f"--topology={topology}",
            f"--num_slices={num_slices}", f"--output={output}",
            f"--config.data.batch_size={chips * TOKENS // length}",
            f"--config.mesh.fsdp={fsdp}",
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
