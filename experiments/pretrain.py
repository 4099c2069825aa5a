"""python -m experiments.pretrain --config=FILE --workdir=FOLDER; see rope_lab/cli/pretrain.py."""

from rope_lab.cli.main import run_experiment

if __name__ == "__main__":
    run_experiment("pretrain")
