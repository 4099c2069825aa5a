"""Faults injected into runs, and what becomes of the runs.

    python -m benchmarks.faults                  everything, 50 kills of each kind
    python -m benchmarks.faults --kills=5 --only=killed,one_of_two

Each run must end with the parameters of one that nobody disturbed, bit for bit. Writes
benchmarks/faults.md (--out): faults injected, survived, and what was lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import fault_kinds
from benchmarks.fault_jobs import ROOT, Bench
from rope_lab.cli.record import commit, describe_machine, describe_versions

OUT = ROOT / "benchmarks" / "faults.md"
STEPS_PER_KILL = 60


@dataclasses.dataclass
class Result:
    """What a kind of fault did, in one row of the table."""

    kind: str
    outcome: fault_kinds.Outcome
    seconds: float


def run(kinds: list[str], kills: int, folder: Path, seed: int = 0) -> list[Result]:
    """Injects faults of these kinds; `kills` says how many of those that repeat."""
    bench = Bench(folder, num_steps=STEPS_PER_KILL * (kills + 1))
    rng = random.Random(seed)
    results = []
    for kind in kinds:
        start = time.monotonic()
        inject: Callable = getattr(fault_kinds, kind)
        print(f"=== {kind}", file=sys.stderr, flush=True)
        outcome = inject(bench, kills, rng)
        results.append(Result(kind, outcome, time.monotonic() - start))
        print(f"    {outcome}", file=sys.stderr, flush=True)
    return results


def page(results: list[Result], command: str) -> str:
    """The Markdown of benchmarks/faults.md."""
    versions = ", ".join(f"{k} {v}" for k, v in describe_versions().items())
    lines = [
        "# Faults",
        "",
        f"`{command}`, commit {commit()}, {describe_machine()['cores']} cores, "
        f"{versions}.",
        "",
        "Survived: the run went on by the same command and ended with the parameters "
        "of a run that nobody disturbed, bit for bit. Steps lost were saved nowhere "
        "and were done again; bytes lost were saved and could not be used.",
        "",
        "| fault | injected | survived | steps lost at most | bytes lost | seconds | |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        o = result.outcome
        figures = [o.injected, o.survived, o.steps_lost, f"{o.bytes_lost:,}"]
        figures = ["", "", "", ""] if not o.injected else figures
        cells = [
            fault_kinds.TITLES[result.kind],
            *figures,
            round(result.seconds),
            o.note,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--only", default=",".join(fault_kinds.TITLES))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    kinds = options.only.split(",")
    unknown = sorted(set(kinds) - set(fault_kinds.TITLES))
    if unknown or options.kills < 1:
        parser.error(f"unknown {unknown}; choose of {', '.join(fault_kinds.TITLES)}")
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        results = run(kinds, options.kills, folder, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    arguments = " ".join(sys.argv[1:] if argv is None else argv)
    options.out.write_text(
        page(results, f"python -m benchmarks.faults {arguments}".strip())
    )
    return int(any(r.outcome.survived < r.outcome.injected for r in results))


if __name__ == "__main__":
    sys.exit(main())
