#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail
# shellcheck source=tools/lib/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

help_or_need 2 "Trains on several ranks: GPUs, or CPU processes (gloo) where there is none.

    bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
    bash tools/dist_train.sh configs/frac_ssl.py 4 --amp
    NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 PORT=29500 bash tools/dist_train.sh configs/frac_ssl.py 4

GPUS is the number of ranks on this machine. Variables, with their defaults:
    NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1   several machines: the same command on each
    PORT                   a free one on a single machine, 29500 on several
    OMP_NUM_THREADS        without a GPU: cores / GPUS
    PYTHON                 python, or the project's .venv when python has no torch" "$@"

config=$(need_file CONFIG "$1")
torchrun "$2" "$tools/train.py" "$config" --launcher pytorch "${@:3}"
