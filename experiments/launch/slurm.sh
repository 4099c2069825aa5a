#!/usr/bin/env bash
# One process per GPU on SLURM:
#
#   sbatch --nodes=4 --gpus-per-node=8 experiments/launch/slurm.sh \
#       --config=configs/pretrain.py --workdir=/shared/runs/base
#
# The folder of the run and of the data (data.data_dir) must be on a file system that
# all nodes share. SLURM sends SIGTERM 120 s before the time is up: the run then saves,
# ends with status 143, and the same command continues.
#SBATCH --job-name=rope_lab
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

if (($# == 0)); then
  echo "usage: sbatch ... $0 --config=FILE --workdir=FOLDER [options]" >&2
  exit 2
fi

# Where the checkout and its environment lie, on every node.
cd "${ROPE_LAB_DIR:-$SLURM_SUBMIT_DIR}"

# JAX reads from SLURM who is process 0 and how many there are. One process that dies
# must not leave the others waiting.
status=0
srun --kill-on-bad-exit=1 \
  "${PYTHON:-.venv/bin/python}" -m experiments.pretrain --distributed "$@" || status=$?

# Put back into the queue what was stopped for time, where SLURM has not done so.
if ((status == 143)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
