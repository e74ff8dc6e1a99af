#!/usr/bin/env bash
# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
set -euo pipefail

usage() {
    cat <<'TEXT'
Finds or makes the Python environment of mmfrac and prints the path of its interpreter on stdout.

    bash tools/setup_env.sh [--python PATH] [--for-tests] [--with-mmcv-ops]
    MMFRAC_PYTHON=$(bash tools/setup_env.sh)

The first of these that meets the requirements is taken:
  1. --python PATH, used as it is; an error says what it lacks
  2. the active environment (VIRTUAL_ENV, CONDA_PREFIX) or the python3 on PATH, used as it is
  3. .venv in the project, made and filled with the versions of requirements/tested.txt
     (with --for-tests: what the tests need as well)

Nothing is ever installed anywhere but into .venv. The first time takes 2 to 4 minutes, of which most is
the download of torch; an interrupted set-up goes on where it stopped; later runs take a second.

    --for-tests   the environment must have the test tools, their data and all extras as well
    --with-mmcv-ops  .venv gets an mmcv with compiled operators, which box detectors on a GPU are faster
                  with; builds them where pip has no copy (a C++ compiler, 7 to 45 minutes)
TEXT
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$repo/requirements
venv=$repo/.venv
# shellcheck source=tools/lib/common.sh
source "$repo/tools/lib/common.sh"
# shellcheck source=tools/lib/fill_venv.sh
source "$repo/tools/lib/fill_venv.sh"

# ---- what an interpreter lacks -------------------------------------------------------------------

# lacks PYTHON [REQUIREMENTS_FILE ...]: prints what is wrong; prints nothing when all is well
lacks() {
    local python=$1 output
    shift
    # by exit code: libraries may print warnings while they are imported
    output=$(cd "$repo" && "$python" - "$@" 2>&1 <<'PYTHON'
import sys

if sys.version_info < (3, 10):
    sys.exit('Python %d.%d is too old (>= 3.10)' % sys.version_info[:2])
import importlib.util

# by path: importing the package would run the check at once, and need what is to be checked
spec = importlib.util.spec_from_file_location('environment', 'mmfrac/utils/environment.py')
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)
try:
    environment.check_environment()
    problems = [one for path in sys.argv[1:] for one in environment.unmet_requirements(path)]
except ImportError as error:
    problems = [str(error)]
sys.exit('\n'.join(problems) or None)
PYTHON
    ) || echo "${output:-it does not run}"
}

use_venv() {
    local stamp=$venv/setup.stamp
    # one set-up at a time: quickstart and tests may be started side by side
    exec 9<"$repo/tools/setup_env.sh"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "another set-up is at work on $venv: waiting for it"
        flock 9
    fi
    if [[ -f $stamp && $(state 2>/dev/null) == "$(head -n 1 "$stamp")" ]] &&
        { [[ -z $for_tests ]] || grep -qx tests "$stamp"; } &&
        { [[ -z $with_mmcv_ops ]] || imports mmcv.ops; }; then
        say "using $venv (complete)"
        return
    fi
    local start=$SECONDS problems file files=("$requirements"/{runtime,dicom}.txt)
    # what it was filled with before stays in it
    if [[ -f $stamp ]] && grep -qx tests "$stamp"; then for_tests=1; fi
    rm -f "$stamp"
    make_venv
    [[ -z $with_mmcv_ops ]] || imports mmcv.ops || need_compiler
    say "filling $venv; the output of pip is in $log"
    fill_venv
    if [[ -n $for_tests ]]; then
        for file in "${test_files[@]}" test_data; do files+=("$requirements/$file.txt"); done
    fi
    problems=$(lacks "$venv/bin/python" "${files[@]}")
    [[ -z $problems ]] || die "$venv is filled, but:"$'\n'"$problems"
    state >"$stamp.new"
    [[ -z $for_tests ]] || echo tests >>"$stamp.new"
    mv "$stamp.new" "$stamp"
    say "$venv is complete, after $(duration $((SECONDS - start)))"
}

# ---- which interpreter -----------------------------------------------------------------------------

# beside those of the runtime
test_files=(test deploy onnx benchmarks)
given='' with_mmcv_ops='' for_tests='' wanted_files=("$requirements/runtime.txt")
while (($#)); do
    case $1 in
        --python)
            (($# > 1)) || misuse "--python needs the path of an interpreter"
            given=$2
            shift
            ;;
        --python=*) given=${1#*=} ;;
        --with-mmcv-ops) with_mmcv_ops=1 ;;
        --for-tests)
            for_tests=1
            for file in dicom "${test_files[@]}" test_data; do
                wanted_files+=("$requirements/$file.txt")
            done
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) misuse "unknown argument '$1'" ;;
    esac
    shift
done

if [[ -n $given ]]; then
    resolved=$(command -v "$given") || die "--python: there is no interpreter '$given'"
    # not the target of a link: a virtual environment is known by the path it is called with
    [[ $resolved == /* ]] || resolved=$PWD/$resolved
    given=$resolved
    problems=$(lacks "$given" "${wanted_files[@]}")
    [[ -z $problems ]] || die "--python $given does not meet the requirements:"$'\n'"$problems"
    say "using $given, as given"
    echo "$given"
    exit 0
fi

for candidate in ${VIRTUAL_ENV:+"$VIRTUAL_ENV/bin/python"} ${CONDA_PREFIX:+"$CONDA_PREFIX/bin/python"} \
    python3; do
    # .venv is looked after below, also when it is the active environment
    [[ $candidate != "$venv/bin/python" ]] || continue
    command -v "$candidate" >/dev/null || continue
    [[ $(command -v "$candidate") != "$venv/bin/"* ]] || continue
    problems=$(lacks "$candidate" "${wanted_files[@]}")
    if [[ -z $problems ]]; then
        candidate=$(command -v "$candidate")
        say "using $candidate, which meets the requirements"
        echo "$candidate"
        exit 0
    fi
    say "not using $candidate: $(grep -m1 '^  ' <<<"$problems" || head -n 1 <<<"$problems")"
done

use_venv
echo "$venv/bin/python"
