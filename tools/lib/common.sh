# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# shellcheck shell=bash
# Sourced by the shell tools. They report progress on stderr.

say() { printf '%s\n' "[mmfrac] $*" >&2; }

die() {
    say "ERROR: $*"
    exit 1
}

# misuse MESSAGE: the arguments of the command were wrong
misuse() {
    say "ERROR: $*, see --help"
    exit 2
}

# count_cores: nproc answers with OMP_NUM_THREADS when that is set, which is not what is asked here
count_cores() {
    env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
}

# duration SECONDS: 75 -> "1 min 15 s"
duration() {
    if (($1 < 60)); then
        printf '%d s' "$1"
    else
        printf '%d min %d s' $(($1 / 60)) $(($1 % 60))
    fi
}

# quietly LOG WHAT EXPECTED COMMAND [ARG ...]: runs the command with its output in LOG, says every half
# minute that it is still going, and hands back its exit code.
quietly() {
    local log=$1 what=$2 expected=$3 start=$SECONDS status=0 beat
    shift 3
    say "$what (expected: $expected)"
    while true; do
        # detached from the pipes, so that a reader of them is not kept waiting for a leftover sleep
        sleep "${MMFRAC_HEARTBEAT:-30}" >/dev/null 2>&1
        kill -0 $$ 2>/dev/null || exit
        say "  still at it: $what ($(duration $((SECONDS - start))))"
    done 9>&- &
    beat=$!
    "$@" </dev/null >>"$log" 2>&1 || status=$?
    kill "$beat" 2>/dev/null || true
    wait "$beat" 2>/dev/null || true
    if ((status)); then
        say "  failed after $(duration $((SECONDS - start))), the end of $log:"
        tail -n 25 "$log" >&2
    else
        say "  done in $(duration $((SECONDS - start)))"
    fi
    return "$status"
}
