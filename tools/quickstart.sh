#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail

usage() {
    cat <<'TEXT'
From a clone to a trained and evaluated fracture detector, on phantom films, without a GPU.

    bash tools/quickstart.sh [--python PATH] [--work-dir DIR] [--data-root DIR]

    --python PATH     interpreter to use as it is; see tools/setup_env.sh for what is taken without it
    --work-dir DIR    checkpoints, logs, plots and overlays (default work_dirs/frac_ssl_quickstart)
    --data-root DIR   phantom films, written when missing (default data/phantom)

Everything that is there already is used again: the environment, the films, a finished training, its
evaluations. An interrupted training is resumed. To train anew, remove the work dir or name another.
TEXT
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/common.sh
source "$repo/tools/lib/common.sh"

# ---- what is run -----------------------------------------------------------------------------------

config=$repo/configs/phantom/frac_ssl_quickstart.py
work_dir=$repo/work_dirs/frac_ssl_quickstart
data_root=$repo/data/phantom
phantom_arguments=(--size 256 --seed 0 --difficulty 0.05 --train 60 240 240 360 --val 30 50 --test 60 100)
# bfloat16 where the CPU or GPU computes in it
train_arguments=(--amp)
# names below the work dir; of several that match, the newest is taken
burn_in_checkpoint='burn_in.pth'
ssl_checkpoint='epoch_*.pth'
expected_setup='a second when it is there, else 2 to 4 min'
expected_phantom='1 to 2 min, less when they are there'
expected_training='3 min on 2 cores'
expected_evaluation='20 to 40 s'
expected_plots='15 s'

setup_arguments=()
while (($#)); do
    case $1 in
        --python | --work-dir | --data-root) (($# > 1)) || misuse "$1 needs a value" ;;&
        --python) setup_arguments=(--python "$2") && shift ;;
        --work-dir) work_dir=$2 && shift ;;
        --data-root) data_root=$2 && shift ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) misuse "unknown argument '$1'" ;;
    esac
    shift
done

# ---- steps -----------------------------------------------------------------------------------------

steps=5 step=0
announce() {
    step=$((step + 1)) step_start=$SECONDS
    say "step $step of $steps: $1 (expected: $2)"
}
took() { say "step $step took $(duration $((SECONDS - step_start)))"; }

# newest PATTERN: the newest match in the work dir, or nothing
newest() {
    local found='' file
    # unquoted: it is a pattern
    for file in "$work_dir"/$1; do
        if [[ -f $file && (-z $found || $file -nt $found) ]]; then found=$file; fi
    done
    echo "$found"
}

train() {
    local finished=$work_dir/training_finished state resume=()
    state=$(cd "$repo/configs" && cat _base_/*.py _base_/*/*.py phantom/*.py | cksum)
    if [[ -f $finished ]]; then
        say "$work_dir holds a finished training: it is used again"
        [[ $(cat "$finished") == "$state" ]] ||
            say "note: the configs were changed since; to train with them, remove $work_dir"
        return
    fi
    if [[ -f $work_dir/last_checkpoint ]]; then
        say "$work_dir holds a part of a training: it is resumed"
        resume=(--resume)
    fi
    "$python" "$repo/tools/train.py" "$config" --work-dir "$work_dir" --data-root "$data_root" \
        ${resume[@]+"${resume[@]}"} "${train_arguments[@]}"
    echo "$state" >"$finished.new" && mv "$finished.new" "$finished"
}

# evaluate NAME CHECKPOINT_PATTERN
evaluate() {
    local name=$1 checkpoint result=$work_dir/frac_$1.json
    checkpoint=$(newest "$2")
    [[ -n $checkpoint ]] || die "$work_dir holds no $2; remove the folder to train anew"
    if [[ -f $result && $result -nt $checkpoint ]]; then
        say "$result is newer than $checkpoint: it is used again"
        return
    fi
    "$python" "$repo/tools/test.py" "$config" "$checkpoint" --data-root "$data_root" \
        --work-dir "$work_dir/test_$name" --show-dir "$work_dir/overlays_$name" --out-json "$result"
}

# at_once LOG COMMAND... -- COMMAND...: run two commands, each on half of the cores; what the first says
# goes to LOG, and to the terminal if it fails
at_once() {
    local log=$1 first=() status=0
    shift
    while [[ $1 != -- ]]; do first+=("$1") && shift; done
    shift
    local -x OMP_NUM_THREADS=$(((cores + 1) / 2))
    "${first[@]}" >"$log" 2>&1 &
    ("$@") || status=$?
    wait $! || {
        status=$?
        cat "$log" >&2
    }
    return "$status"
}

print_table() {
    "$python" - "burn-in=$work_dir/frac_burn_in.json" "semi-supervised=$work_dir/frac_ssl.json" <<'PYTHON'
import json
import sys

metrics = ('AUROC', 'FROC', 'Recall@0.1')
print(f'\n{"phantom test films":20}' + ''.join(f'{name:>12}' for name in metrics))
for argument in sys.argv[1:]:
    row, path = argument.split('=', 1)
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    values = {key.split('/')[-1]: value for key, value in content.get('metrics', content).items()}
    print(f'{row:20}' + ''.join(f'{values[name]:12.3f}' for name in metrics))
PYTHON
}

cores=$(count_cores)
start=$SECONDS
announce 'Python environment' "$expected_setup"
python=$(bash "$repo/tools/setup_env.sh" ${setup_arguments[@]+"${setup_arguments[@]}"})
export PYTHONPATH=$repo${PYTHONPATH:+:$PYTHONPATH}
took

announce "phantom films in $data_root" "$expected_phantom"
"$python" "$repo/tools/make_phantom.py" "$data_root" "${phantom_arguments[@]}"
took

announce "burn-in and semi-supervised training in $work_dir" "$expected_training"
mkdir -p "$work_dir"
work_dir=$(cd "$work_dir" && pwd)
train
took

announce 'burn-in model and semi-supervised model on the test films' "$expected_evaluation"
at_once "$work_dir/test_burn_in.log" evaluate burn_in "$burn_in_checkpoint" \
    -- evaluate ssl "$ssl_checkpoint"
took

announce 'plots' "$expected_plots"
picture=$work_dir/before_after.png
at_once "$work_dir/before_after.log" "$python" "$repo/tools/analysis_tools/compare_overlays.py" \
    "burn-in=$work_dir/overlays_burn_in" "semi-supervised=$work_dir/overlays_ssl" --out "$picture" \
    -- "$python" "$repo/tools/analysis_tools/plot_run.py" "$work_dir"
took

print_table
cat <<TEXT

before and after  $picture
plots             $work_dir/*.png
overlays          $work_dir/overlays_ssl/ (burn-in: $work_dir/overlays_burn_in/)
TensorBoard       $python -m tensorboard.main --logdir $work_dir
TEXT
say "all done in $(duration $((SECONDS - start)))"
# where there is a screen
if [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]] && command -v xdg-open >/dev/null; then
    xdg-open "$picture" >/dev/null 2>&1 &
fi
