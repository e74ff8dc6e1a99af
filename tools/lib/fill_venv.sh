# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# shellcheck shell=bash disable=SC2154
# Sourced by setup_env.sh, which sets repo, requirements, venv, for_tests, test_files, with_mmcv_ops: what .venv is made of.

log=$venv/setup.log

# pin NAME: the tested version of a distribution, as NAME==VERSION
pin() { sed -n "s/^\($1==[^ ]*\).*/\1/p" "$requirements/tested.txt"; }

pip_install() { "$venv/bin/python" -m pip install --no-input "$@"; }

imports() { (cd / && "$venv/bin/python" -c "import $1") >>"$log" 2>&1; }

# What .venv was filled from and holds now: another pin or a torch swapped by hand is noticed.
state() {
    (cd "$repo" && "$venv/bin/python" - requirements/*.txt setup.py <<'PYTHON')
import hashlib
import os
import sys
from importlib import metadata


def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return 'none'


digest = hashlib.sha256(b''.join(open(path, 'rb').read() for path in sys.argv[1:])).hexdigest()
names = ('torch', 'numpy', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmfrac')
print(digest, sys.version.split()[0], os.getcwd(), *(f'{name}={version(name)}' for name in names))
PYTHON
}

# base_python: the interpreter that .venv is made with
base_python() {
    local name candidate reason reasons=''
    for name in python3.11 python3.12 python3.10 python3; do
        while read -r candidate; do
            reason=$("$candidate" - ${with_mmcv_ops:+with_mmcv_ops} 2>&1 <<'PYTHON'
import os
import sys
import sysconfig

name = 'python%d.%d' % sys.version_info[:2]
if sys.version_info < (3, 10):
    sys.exit('%s is too old (>= 3.10)' % name)
try:
    import ensurepip, venv
except ImportError:
    sys.exit('%s has no venv module: apt-get install python3-venv (or %s-venv)' % (name, name))
headers = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
if sys.argv[1:] == ['with_mmcv_ops'] and not os.path.exists(headers):
    sys.exit('%s has no headers, which mmcv is built with: apt-get install %s-dev' % (name, name))
PYTHON
            ) && {
                [[ $name == python3.11 ]] ||
                    say "no usable python3.11, which the pins were tested with: taking $candidate"
                echo "$candidate"
                return
            }
            reasons+=$'\n'"  $candidate: ${reason##*$'\n'}"
        done < <(type -aP "$name")
    done
    die "no Python to make .venv with (3.11 is best: apt-get install python3.11 python3.11-venv" \
        "python3.11-dev).${reasons:-" No python3 is on PATH."}"
}

need_compiler() {
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
        die "mmcv's ops are C++ and there is no compiler: apt-get install g++ (or build-essential)"
}

make_venv() {
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    local base
    base=$(base_python)
    say "making $venv with $base"
    "$base" -m venv --clear "$venv" >&2 || die "$base could not make $venv"
}

# mmcv_lite: mmcv without operators, unless compiled ones are there and load
mmcv_lite() {
    [[ $(pip_version mmcv-lite) != "$(pin mmcv-lite | sed 's/.*==//')" ]] || return 0
    if [[ -n $(pip_version mmcv) ]]; then
        imports mmcv.ops && return
        quietly "$log" "removing an mmcv that does not load" "seconds" \
            "$venv/bin/python" -m pip uninstall -y mmcv || true
    fi
    quietly "$log" "$(pin mmcv-lite)" "seconds" pip_install --no-deps "$(pin mmcv-lite)" ||
        die "see above"
}

# mmcv_with_ops: mmcv with compiled operators, in the place of one without
mmcv_with_ops() {
    local wanted jobs memory
    wanted=$(pin mmcv)
    # a compiler process takes up to 2 GB
    jobs=$(count_cores)
    memory=$(awk '/MemAvailable/ {print int($2 / 2000000)}' /proc/meminfo 2>/dev/null || echo "$jobs")
    if ((memory < jobs)); then jobs=$((memory > 1 ? memory : 1)); fi
    export MMCV_WITH_OPS=1 MAX_JOBS=$jobs
    local minutes="about $((24 / jobs + 1)) min"

    if [[ $(pip_version mmcv) != "${wanted#*==}" ]]; then
        [[ -z $(pip_version mmcv-lite) ]] ||
            "$venv/bin/python" -m pip uninstall -y mmcv-lite >>"$log" 2>&1 || true
        quietly "$log" "$wanted with compiled ops" "$minutes, or seconds when pip kept it from before" \
            pip_install --no-build-isolation --no-deps "$wanted" ||
            die "mmcv could not be built; the whole output is in $log"
    fi
    imports mmcv.ops && return
    say "the $wanted that is installed does not load with this torch: building it anew"
    need_compiler
    quietly "$log" "removing it" "seconds" "$venv/bin/python" -m pip uninstall -y mmcv || true
    quietly "$log" "$wanted from its sources" "$minutes" \
        pip_install --no-build-isolation --no-cache-dir --no-binary mmcv --force-reinstall --no-deps \
        "$wanted" || die "mmcv could not be built; the whole output is in $log"
    imports mmcv.ops || {
        tail -n 5 "$log" >&2
        die "'import mmcv.ops' fails with a freshly built mmcv; the whole output is in $log"
    }
}

# pip_version NAME: the installed version, or nothing
pip_version() {
    "$venv/bin/python" -c 'import sys; from importlib import metadata as m
print(next((d.version for d in m.distributions(name=sys.argv[1])), ""))' "$1"
}

fill_venv() {
    local constraints=(-c "$requirements/tested.txt") file wanted=()
    if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "the pins need Python >= 3.11: on this one the newest versions in range are taken"
        constraints=()
    fi
    for file in runtime dicom ${for_tests:+"${test_files[@]}"}; do
        wanted+=(-r "$requirements/$file.txt")
    done
    # the user's own pip settings may ask for --user, which a virtual environment refuses
    export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

    # torch before build.txt: it brings a setuptools that mmcv's setup.py does not run with
    quietly "$log" "$(pin torch)" "1 to 5 min" pip_install "$(pin torch)" || die "see above"
    quietly "$log" "what mmfrac is installed with" "seconds" \
        pip_install "${constraints[@]}" -r "$requirements/build.txt" || die "see above"
    # before mmcv: what fails fast should fail before what takes long, and mmcv imports cv2
    quietly "$log" "mmengine, mmdet and the other libraries" "1 to 3 min" \
        pip_install "${constraints[@]}" "$(pin mmengine)" "$(pin mmdet)" "${wanted[@]}" ||
        die "see above"
    # without its dependencies: only its label tables are wanted
    [[ -z $for_tests ]] ||
        quietly "$log" "real label tables for the tests" "seconds" \
            pip_install --no-deps "${constraints[@]}" -r "$requirements/test_data.txt" ||
        die "see above"
    if ! imports cv2; then
        use_headless_opencv
    fi
    if [[ -n $with_mmcv_ops ]]; then mmcv_with_ops; else mmcv_lite; fi
    quietly "$log" "mmfrac itself, editable" "seconds" \
        pip_install --no-deps --no-build-isolation -e "$repo" || die "see above"
}

use_headless_opencv() {
    local version
    version=$(pip_version opencv-python)
    quietly "$log" "opencv without a display, as this machine lacks libGL: removing opencv-python" \
        "seconds" "$venv/bin/python" -m pip uninstall -y opencv-python || true
    quietly "$log" "opencv-python-headless==$version" "seconds" \
        pip_install --no-deps "opencv-python-headless==$version" || die "see above"
    imports cv2 || {
        tail -n 5 "$log" >&2
        die "'import cv2' fails; often a system library is missing: apt-get install libglib2.0-0"
    }
}
