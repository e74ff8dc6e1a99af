#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail
# shellcheck source=tools/lib/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

help_or_need 4 "Trains under Slurm.

    bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
    GPUS=4 bash tools/slurm_train.sh gpu frac_ssl configs/frac_ssl.py work_dirs/frac_ssl --amp

Variables, with their defaults:
    GPUS=8                 ranks in all
    GPUS_PER_NODE          8, or GPUS when that is less
    CPUS_PER_TASK=5        cores of each rank
    SRUN_ARGS              further options of srun, separated by blanks
    PORT                   MASTER_PORT of the job, 29500
    PYTHON                 python, or the project's .venv when python has no torch" "$@"

config=$(need_file CONFIG "$3")
slurm_run "$1" "$2" "$tools/train.py" "$config" --work-dir="$4" "${@:5}"
