#!/bin/sh
# Writes what CI installs, by version and hash: sh requirements/lock.sh UV VERSION
# (`make lock` does, for every Python of CI). UV is the program uv, VERSION 3.11, say.
#
# py311.txt         rope_lab's own needs, and the extras dev, demo and docs
# py311-build.txt   of these, what has to be there first: it builds the one that has no
#                   wheel (promise), and rope_lab itself
# py311-libtpu.txt  the compiler for TPUs, which lies beside the environment
# py311-parity.txt  what transformers needs besides; without torch and what torch alone
#                   needs: its wheel for CPUs alone is another file, from another index,
#                   than the one of the same version for GPUs, and so has another hash
set -eu
uv=$1
python=py$(echo "$2" | tr -d .)
cd "$(dirname "$0")/.."
there=requirements
version=$2

# No file names an index: whoever installs has one, and hashes say what it may give.
compile() {
  echo "Locking $1"
  "$uv" pip compile --quiet --no-config --upgrade --generate-hashes --no-annotate \
    --custom-compile-command "make lock" --python-version "$version" \
    --python-platform x86_64-manylinux_2_31 --output-file "$@" setup.py
}

with_extras() {
  compile "$@" --extra dev --extra demo --extra docs
}

# The entries of $1 that the expression $2 names.
only() {
  awk -v names="^($2)==" '/^[a-z]/ { wanted = $0 ~ names } wanted || /^#/' "$1"
}

with_extras $there/"$python".txt
only $there/"$python".txt "setuptools|wheel" > $there/"$python"-build.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
printf 'torch\n' > "$scratch"/without.txt
compile "$scratch"/tpu.txt --extra tpu --constraint $there/"$python".txt
only "$scratch"/tpu.txt libtpu > $there/"$python"-libtpu.txt
with_extras "$scratch"/parity.txt --extra parity \
  --constraint $there/"$python".txt --excludes "$scratch"/without.txt
awk 'FNR == NR { known[$1]; next }
     /^[a-z]/ { wanted = !($1 in known) } wanted || /^#/' \
  $there/"$python".txt "$scratch"/parity.txt > $there/"$python"-parity.txt
