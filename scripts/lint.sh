#!/usr/bin/env bash
# Clippy without a warning; licences, sources and banned crates. `--install` fetches and compiles cargo-deny where it
# is missing (minutes); without it, a machine that has no cargo-deny skips that check and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
deny_version=0.20.2
tools=$(target_directory)/tools
export PATH="$PATH:$tools/bin"

say "lints"
cargo fmt --all --check
cargo clippy --quiet --release --workspace --all-targets --locked -- --deny warnings

if [ "${1:-}" = --install ]; then
    cargo xtask tidy
    cargo deny --version >/dev/null 2>&1 || {
        say "compiling cargo-deny $deny_version into $tools, once"
        cargo install --locked --root "$tools" --version "$deny_version" cargo-deny
    }
fi
if cargo deny --version >/dev/null 2>&1; then
    say "licences, bans and sources of all dependencies"
    cargo deny --log-level warn --locked check licenses bans sources
else
    say "skipped: licences, bans and sources (cargo-deny is not installed; \`make lint\` installs it)"
fi
