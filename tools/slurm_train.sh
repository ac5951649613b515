#!/usr/bin/env bash
# slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]
# by environment: GPUS GPUS_PER_NODE CPUS_PER_TASK SRUN_ARGS MASTER_PORT
# Under sbatch it can be requeued, and goes on from its last checkpoint then (docs/distributed.md).
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
shift 3
OPTIONS=()
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    OPTIONS+=("--work-dir=$1")
    shift
fi
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    OPTIONS+=(--resume)
fi
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
# Two jobs on one node must not meet at one port.
export MASTER_PORT="${MASTER_PORT:-$((20000 + RANDOM % 10000))}"
SCRIPT=$0
if [ "$(basename "$0")" = slurm_script ]; then  # sbatch runs a copy, elsewhere
    SCRIPT=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi

# SRUN_ARGS is several arguments in one string, and is split on purpose
# shellcheck disable=SC2086
exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$SCRIPT")/train.py" "$CONFIG" \
    ${OPTIONS[@]+"${OPTIONS[@]}"} --launcher=slurm "$@"
