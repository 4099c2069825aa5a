"""python -m experiments.finetune --config=FILE --workdir=FOLDER; see rope_lab/cli/finetune.py."""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("finetune")
