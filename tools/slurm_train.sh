#!/usr/bin/env bash
# slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]
# by environment: GPUS GPUS_PER_NODE CPUS_PER_TASK SRUN_ARGS
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [options of train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
shift 3
WORK_DIR=()
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    WORK_DIR=("--work-dir=$1")
    shift
fi
GPUS_PER_NODE=${GPUS_PER_NODE:-8}

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
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" ${WORK_DIR[@]+"${WORK_DIR[@]}"} \
    --launcher=slurm "$@"
