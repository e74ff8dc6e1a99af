#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail
# shellcheck source=tools/lib/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

help_or_need 3 "Evaluates on several ranks: GPUs, or CPU processes (gloo) where there is none.

    bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
    bash tools/dist_test.sh configs/frac_ssl.py work_dirs/frac_ssl/epoch_30.pth 4

GPUS is the number of ranks on this machine. Variables: those of tools/dist_train.sh." "$@"

config=$(need_file CONFIG "$1")
checkpoint=$(need_file CHECKPOINT "$2")
torchrun "$3" "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
