# Shared by the scripts of this directory; sourced, not run.

# What happens now, in one line.
say() {
    printf '\033[1m== %s\033[0m\n' "$*" >&2
}

# Why it ends, and what to do.
die() {
    printf '\033[1;31mbulkhead: %s\033[0m\n' "$*" >&2
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: run it as root: $*"
    fi
}

# A terminal gets colours and moving bars, a log gets neither.
if ! [ -t 2 ]; then
    say() { printf '== %s\n' "$*" >&2; }
    die() {
        printf 'bulkhead: %s\n' "$*" >&2
        exit 1
    }
fi

# Where cargo puts what it builds.
target_directory() {
    printf '%s\n' "${CARGO_TARGET_DIR:-$PWD/target}"
}
