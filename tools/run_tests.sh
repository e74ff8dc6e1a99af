#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail

usage() {
    cat <<'TEXT'
Lint, format, types and tests, in this order; ends with the exit code of the first that fails.

    bash tools/run_tests.sh [--python PATH] [arguments of pytest]
    bash tools/run_tests.sh --slow
    bash tools/run_tests.sh tests/evaluation -k froc

    --python PATH   interpreter to use as it is; see tools/setup_env.sh for what is taken without it
    --slow          all tests: every config trained, every kill, every pair of teacher and step

The tests run in MMFRAC_TEST_WORKERS processes (default: the number of cores, at most 4; 0: in one,
for a debugger) of one thread each.
TEXT
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/common.sh
source "$repo/tools/lib/common.sh"

setup_arguments=(--for-tests)
of_pytest=()
while (($#)); do
    case $1 in
        --python)
            (($# > 1)) || misuse '--python needs the path of an interpreter'
            setup_arguments+=(--python "$2")
            shift
            ;;
        --python=*) setup_arguments+=(--python "${1#*=}") ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) of_pytest+=("$1") ;;
    esac
    shift
done

python=$(bash "$repo/tools/setup_env.sh" "${setup_arguments[@]}")
export PYTHONPATH=$repo${PYTHONPATH:+:$PYTHONPATH}
# the tests are many and small: threads of several processes would only fight for the cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
cores=$(count_cores)
workers=${MMFRAC_TEST_WORKERS:-$((cores < 4 ? cores : 4))}

run() {
    say "$1"
    shift
    "$@"
}

cd "$repo"
run 'lint' "$python" -m ruff check .
run 'format' "$python" -m ruff format --check .
run 'types' "$python" -m mypy mmfrac
run "tests, in $workers processes" "$python" -m pytest -n "$workers" ${of_pytest[@]+"${of_pytest[@]}"}
