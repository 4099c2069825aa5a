"""Faults injected into runs, and what becomes of the runs.

    python -m benchmarks.faults                  everything, 50 kills of each kind
    python -m benchmarks.faults --kills=5 --only=killed,one_of_two
    python -m benchmarks.faults --folder=/tmp/faults   goes on where it was interrupted

Each run must end with the parameters of one that nobody disturbed, bit for bit. Writes
benchmarks/faults.md (--out): faults injected, survived, and what was lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import fault_kinds
from benchmarks.fault_cycles import keep_result, open_suite, read_results
from benchmarks.fault_jobs import ROOT, SAVE_EVERY, Bench
from rope_lab.cli.record import describe_machine, describe_versions

OUT = ROOT / "benchmarks" / "faults.md"


@dataclasses.dataclass
class Result:
    """What a kind of fault did, in one row of the table."""

    kind: str
    outcome: fault_kinds.Outcome
    seconds: float


def run(kinds: list[str], kills: int, folder: Path, seed: int = 0) -> list[Result]:
    """Injects faults of these kinds; `kills` says how many of those that repeat.

    What the folder says was done is not done again.
    """
    bench = Bench(folder)
    done = {result["kind"]: result for result in read_results(folder)}
    results = []
    try:
        for kind in kinds:
            if kind in done:
                outcome = fault_kinds.Outcome(**done[kind]["outcome"])
                results.append(Result(kind, outcome, done[kind]["seconds"]))
            else:
                results.append(_injected(bench, kind, kills, seed))
                keep_result(folder, results[-1])
    finally:
        bench.close()
    return results


def _injected(bench: Bench, kind: str, kills: int, seed: int) -> Result:
    start, earlier = time.monotonic(), bench.cycles(kind).earlier
    inject: Callable = getattr(fault_kinds, kind)
    print(f"=== {kind}", file=sys.stderr, flush=True)
    outcome = inject(bench, kills, random.Random(f"{seed} {kind}"))
    print(f"    {outcome}", file=sys.stderr, flush=True)
    return Result(kind, outcome, earlier + time.monotonic() - start)


def page(results: list[Result], command: str, of: str | None) -> str:
    """The Markdown of benchmarks/faults.md; `of` is the commit."""
    versions = ", ".join(f"{k} {v}" for k, v in describe_versions().items())
    lines = [
        "# Faults",
        "",
        f"`{command}`, commit {of}, {describe_machine()['cores']} cores, load average "
        f"{os.getloadavg()[2]:.1f} at the end, {versions}.",
        "",
        "Survived: the run went on by the same command and ended with the parameters "
        "of a run that nobody disturbed, bit for bit. Steps lost were saved nowhere "
        "and were done again; bytes lost were saved and could not be used. Runs save "
        f"every {SAVE_EVERY} steps.",
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
    parser.add_argument("--folder", type=Path, help="kept until the suite is done")
    options = parser.parse_args(argv)
    kinds = options.only.split(",")
    unknown = sorted(set(kinds) - set(fault_kinds.TITLES))
    if unknown or options.kills < 1:
        parser.error(f"unknown {unknown}; choose of {', '.join(fault_kinds.TITLES)}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    of = open_suite(folder, kills=options.kills, seed=options.seed)
    try:
        results = run(kinds, options.kills, folder, options.seed)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    given = sys.argv[1:] if argv is None else argv
    given = [one for one in given if not one.startswith(("--folder", "--out"))]
    command = " ".join(["python -m benchmarks.faults", *given])
    options.out.write_text(page(results, command, of))
    if any(r.outcome.survived < r.outcome.injected for r in results):
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
