# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# shellcheck shell=bash
# Sourced by dist_*.sh and slurm_*.sh: what starting train.py and test.py on several ranks shares.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repo=$(dirname "$tools")
# shellcheck source=tools/lib/common.sh
source "$tools/lib/common.sh"
export PYTHONPATH=$repo${PYTHONPATH:+:$PYTHONPATH}

# choose_python: PYTHON when it is set, else `python` when it has torch, else the .venv of setup_env.sh
choose_python() {
    if [[ -n ${PYTHON:-} ]]; then
        echo "$PYTHON"
    elif python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' \
        2>/dev/null || [[ ! -x $repo/.venv/bin/python ]]; then
        echo python
    else
        echo "$repo/.venv/bin/python"
    fi
}

# need_file WHAT PATH: the path as given, or below the project when it is there and not here
need_file() {
    if [[ -f $2 ]]; then
        echo "$2"
    elif [[ -f $repo/$2 ]]; then
        echo "$repo/$2"
    else
        die "$1 '$2' is neither in $PWD nor in $repo"
    fi
}

need_count() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || misuse "$1 is '$2', not a number of ranks from 1"
}

# has_gpu: whether ranks compute on a GPU. Asking the driver is 2 s faster than asking torch.
has_gpu() {
    [[ -z ${CUDA_VISIBLE_DEVICES+set} || -n $CUDA_VISIBLE_DEVICES && $CUDA_VISIBLE_DEVICES != -1 ]] &&
        command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1
}

# share_cores RANKS: on a CPU the ranks of a machine divide its cores
share_cores() {
    if [[ -n ${OMP_NUM_THREADS:-} ]] || has_gpu; then
        return
    fi
    local cores
    cores=$(count_cores)
    export OMP_NUM_THREADS=$((cores > $1 ? cores / $1 : 1))
}

# torchrun RANKS SCRIPT [ARG ...]: replaces this shell, so that its exit code and signals are passed on.
# One machine and no PORT: --standalone, where torchrun finds a free port by itself; two jobs that are
# started in the same second do not meet, as they would when 29500 is looked at first and taken later.
torchrun() {
    local ranks=$1 python
    shift
    need_count GPUS "$ranks"
    need_count NNODES "${NNODES:-1}"
    share_cores "$ranks"
    local rendezvous=(
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}"
    )
    if [[ ${NNODES:-1} == 1 && -z ${PORT:-} ]]; then
        rendezvous=(--standalone --local-addr=127.0.0.1)
    fi
    python=$(choose_python)
    exec "$python" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$ranks" "$@"
}

# slurm_run PARTITION JOB_NAME SCRIPT [ARG ...]
slurm_run() {
    local partition=$1 job_name=$2 ranks=${GPUS:-8} per_node srun_args=() python
    shift 2
    need_count GPUS "$ranks"
    per_node=${GPUS_PER_NODE:-$((ranks < 8 ? ranks : 8))}
    need_count GPUS_PER_NODE "$per_node"
    command -v srun >/dev/null || die "there is no srun here: start this on a login node of Slurm"
    # options, split at blanks as mmdet does
    read -r -a srun_args <<<"${SRUN_ARGS:-}"
    if [[ -n ${PORT:-} ]]; then export MASTER_PORT=$PORT; fi
    python=$(choose_python)
    exec srun -p "$partition" --job-name="$job_name" --gres="gpu:$per_node" --ntasks="$ranks" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${srun_args[@]+"${srun_args[@]}"} "$python" -u "$@" --launcher=slurm
}

# help_or_need COUNT USAGE [ARG ...]: prints USAGE on request, or refuses fewer than COUNT arguments
help_or_need() {
    local count=$1 text=$2 argument
    shift 2
    for argument in "${@:1:$count}"; do
        if [[ $argument == -h || $argument == --help ]]; then
            echo "$text"
            exit 0
        fi
    done
    if (($# < count)); then
        echo "$text" >&2
        exit 2
    fi
}
