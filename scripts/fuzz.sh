#!/usr/bin/env bash
# Fuzzes everything that reads what an attacker writes (fuzz/): each target from its seeds, for a bounded number of
# inputs in an order that is always the same, so that a run that passed passes again. Needs nothing but the compiler:
# the targets are ordinary programs, instrumented by flags that stable Rust has.
#
#   scripts/fuzz.sh                            as `make test` does
#   scripts/fuzz.sh --seconds 3600 egress      one target for an hour, each time another hour
#   scripts/fuzz.sh --replay egress FILE       one input
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

runs=60000
seconds=25
random=(-seed=1 -runs=$runs)
replay=
case "${1:-}" in
--seconds)
    seconds=$2
    random=()
    shift 2
    ;;
--replay)
    replay=$3
    set -- "$2"
    ;;
esac
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls fuzz/seeds)

# Edges and comparisons are told to libFuzzer by code that LLVM puts in; dependencies have it too.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
directory=$(realpath -m "$(target_directory)/fuzz")
build=()
for target in "${targets[@]}"; do build+=(--bin "$target"); done
# With --target the flags are for the targets and not for what runs while they are built.
RUSTFLAGS=$(tr -s '\n ' '  ' <<<"$coverage") cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml \
    --target "$host" --target-dir "$directory" "${build[@]}"
programs=$directory/$host/release

if [ -n "$replay" ]; then
    exec "$programs/${targets[0]}" "$replay"
fi

fuzz() {
    local target=$1 found=$directory/found/$1 corpus=$directory/corpus/$1 log=$directory/$1.log
    # A bounded run is the same each time; a long one goes on where the last one ended.
    if [ ${#random[@]} -gt 0 ]; then rm -rf "$corpus"; fi
    mkdir -p "$found" "$corpus"
    # What is found on the way goes into the first directory; the seeds stay as they are.
    if "$programs/$target" "${random[@]}" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=8192 \
        -print_final_stats=1 -artifact_prefix="$found/" "$corpus" "fuzz/seeds/$target" >"$log" 2>&1; then
        say "fuzzing $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
        return 0
    fi
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    grep -v '^#' "$log" | grep -A 3 'panicked at' >&2 || tail -n 30 "$log" >&2
    printf 'fuzzing %s found an input that breaks it: %s\nreplay it:  scripts/fuzz.sh --replay %s %s\n' \
        "$target" "${input:-see $log}" "$target" "$input" >&2
    return 1
}

# Two at a time: they are one thread each.
failed=0
for ((at = 0; at < ${#targets[@]}; at += 2)); do
    pids=()
    for target in "${targets[@]:at:2}"; do
        fuzz "$target" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
done
exit "$failed"
