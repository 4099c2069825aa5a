#!/usr/bin/env bash
# A run on TPU slices of a GKE cluster, through xpk (pip install xpk):
#
#   CLUSTER=my-cluster ZONE=us-east5-b TPU_TYPE=v5p-32 IMAGE=gcr.io/me/rope_lab \
#       experiments/launch/tpu_xpk.sh base \
#       --config=configs/pretrain.py --workdir=/mnt/shared/base
#
# IMAGE has this checkout in /rope_lab, installed with the extras tpu and demo. The
# folder of the run must be on storage that is mounted on all hosts. GKE sends SIGTERM
# before it takes a host away: the run saves and ends, and xpk starts it again.
set -euo pipefail

: "${CLUSTER:?name of the cluster}" "${ZONE:?its zone}"
: "${TPU_TYPE:?as v5p-32}" "${IMAGE:?with rope_lab installed}"
if (($# < 2)); then
  echo "usage: $0 NAME --config=FILE --workdir=FOLDER [options]" >&2
  exit 2
fi
name=$1
shift

# JAX reads from GKE's environment who is process 0 and how many there are. 60 s are
# enough to save; see benchmarks/checkpoints.py for how much that is.
options=$(printf ' %q' "$@")
xpk workload create \
  --cluster="$CLUSTER" --zone="$ZONE" --tpu-type="$TPU_TYPE" \
  --num-slices="${NUM_SLICES:-1}" --workload="$name" --docker-image="$IMAGE" \
  --max-restarts="${MAX_RESTARTS:-10}" --termination-grace-period-seconds=60 \
  --command="cd /rope_lab && python -m experiments.pretrain --distributed$options"
