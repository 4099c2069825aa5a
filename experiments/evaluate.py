"""python -m experiments.evaluate CHECKPOINT [--config=FILE] --workdir=FOLDER

See rope_lab/cli/evaluate.py for what it does, configs/ for what it reads.
"""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("evaluate")
