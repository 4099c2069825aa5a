#!/usr/bin/env bash
# The same command on every host of a TPU slice, over plain ssh:
#
#   TPU=my-slice ZONE=us-central2-b experiments/launch/tpu_gcloud.sh \
#       --config=configs/pretrain.py --workdir=/mnt/shared/base
#
# The folder of the run must be one that all hosts share. The first time, and after
# every change, SETUP=1 copies this checkout to the hosts and installs it there.
set -euo pipefail

: "${TPU:?name of the slice}" "${ZONE:?zone of the slice}"
if (($# == 0)); then
  echo "usage: TPU=... ZONE=... $0 --config=FILE --workdir=FOLDER [options]" >&2
  exit 2
fi
cd "$(dirname "$0")/../.."

on_every_host() {
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

if [[ -n "${SETUP:-}" ]]; then
  archive=$(mktemp --suffix=.tar.gz)
  trap 'rm -f "$archive"' EXIT
  git archive --format=tar.gz --output="$archive" HEAD
  gcloud compute tpus tpu-vm scp "$archive" "$TPU":rope_lab.tar.gz \
    --zone="$ZONE" --worker=all
  on_every_host "mkdir -p rope_lab && tar -xzf rope_lab.tar.gz -C rope_lab &&
    python3 -m venv rope_lab/.venv &&
    rope_lab/.venv/bin/pip install --quiet -e 'rope_lab[tpu,demo]'"
fi

# On a TPU VM, JAX asks the machine's metadata which host of how many it is. `pkill` of
# one host's process ends the others by their heartbeat; the same command continues.
options=$(printf ' %q' "$@")
on_every_host \
  "cd rope_lab && .venv/bin/python -m experiments.pretrain --distributed$options"
