#!/bin/bash
# Submits both levels to SLURM: the participants as an array, and the group level when all its tasks have ended.
#
#   export DATA=/path/to/bids OUT=/path/to/derivatives IMAGE=/path/to/bids-alps.sif
#   CHUNK=20 bash submit.sh [options of the participant level] [-- options of the group level]
#
# CHUNK participants a task (1), LIMIT tasks at the same time (200). Without IMAGE the installed bids-alps is run.
# PARTICIPANTS is a list of labels, one a line; without it, a list of all folders sub-* of DATA is made here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUT" # a folder that is not there cannot be bound
DATA=$(cd "$DATA" && pwd) OUT=$(cd "$OUT" && pwd)
if [ -n "${PARTICIPANTS:-}" ]; then
    PARTICIPANTS=$(realpath "$PARTICIPANTS")
else
    PARTICIPANTS=$(mktemp "$PWD/participants-XXXXXX.txt") # of this submission, whatever is submitted meanwhile
    find "$DATA" -maxdepth 1 -name 'sub-*' -xtype d -printf '%f\n' | sort > "$PARTICIPANTS"
fi
export DATA OUT PARTICIPANTS IMAGE="${IMAGE:-}" CHUNK="${CHUNK:-1}"

participant=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    participant+=("$1")
    shift
done
if [ $# -gt 0 ]; then shift; fi

tasks=$((($(grep -c . "$PARTICIPANTS") + CHUNK - 1) / CHUNK))
job=$(sbatch --parsable --array="1-$tasks%${LIMIT:-200}" "$here/participants.sbatch" ${participant[@]+"${participant[@]}"})
group=$(sbatch --parsable --dependency="afterany:${job%%;*}" "$here/group.sbatch" "$@")
echo "participants: job $job, $tasks tasks of $CHUNK; group: job $group"
