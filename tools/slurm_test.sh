#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail
# shellcheck source=tools/lib/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

help_or_need 4 "Evaluates under Slurm.

    bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
    GPUS=4 bash tools/slurm_test.sh gpu frac_ssl configs/frac_ssl.py work_dirs/frac_ssl/epoch_30.pth

Variables: those of tools/slurm_train.sh." "$@"

config=$(need_file CONFIG "$3")
checkpoint=$(need_file CHECKPOINT "$4")
slurm_run "$1" "$2" "$tools/test.py" "$config" "$checkpoint" "${@:5}"
