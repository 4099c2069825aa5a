"""python -m experiments.plan --config=FILE --topology=SLICE

See rope_lab/cli/plan.py for what it does, configs/ for what it reads.
"""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("plan")
