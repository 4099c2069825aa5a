"""python -m experiments.demo --config=FILE --workdir=FOLDER; see rope_lab/cli/demo.py."""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("demo")
