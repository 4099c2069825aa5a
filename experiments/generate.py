"""python -m experiments.generate CHECKPOINT [--config=FILE]

See rope_lab/cli/generate.py for what it does, configs/ for what it reads.
"""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("generate")
