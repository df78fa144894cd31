#!/usr/bin/env bash
# Installs what is missing on this machine, and nothing that is there. A second run takes a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

[ "$(uname -sm)" = "Linux x86_64" ] || die "Bulkhead is built on x86-64 Linux; this is $(uname -sm)"

# Rust -----------------------------------------------------------------------------------------------------------
command -v cargo >/dev/null || die "no Rust here: install it with rustup (https://rustup.rs), then run this again"
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
found=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ] ||
    die "Rust $found is too old, $wanted is needed: rustup update stable"

# Debian's packages ----------------------------------------------------------------------------------------------
packages=()
# Some of our dependencies are C (SQLite, ring), and the guest is linked statically with libc.a.
{ command -v cc && [ -e /usr/include/stdio.h ]; } >/dev/null || packages+=(build-essential)
command -v git >/dev/null || packages+=(git)
command -v npm >/dev/null || packages+=(npm)
command -v ldd >/dev/null || packages+=(libc-bin)
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
# What Debian's kernel and its modules are compressed with.
command -v xz >/dev/null || packages+=(xz-utils)
command -v zstd >/dev/null || packages+=(zstd)
ldconfig=$(PATH=$PATH:/sbin:/usr/sbin command -v ldconfig || true)
{ [ -n "$ldconfig" ] && "$ldconfig" -p | grep 'libstdc++\.so\.6' >/dev/null; } || packages+=(libstdc++6)
if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
        die "missing, and there is no apt-get to install it with: ${packages[*]} (Debian's names)"
    say "installing Debian packages: ${packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# PostgreSQL, whose programs the tests start a private cluster with ------------------------------------------------
# Not where DATABASE_URL says which one to use.
if [ -z "${DATABASE_URL:-}" ] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    command -v apt-get >/dev/null ||
        die "missing: PostgreSQL 15 or later. Install it, or set DATABASE_URL to one in which tests may create databases"
    say "installing Debian package: postgresql"
    # The package would start a server of its own, which nobody here asked for.
    quiet=/etc/postgresql-common/createcluster.d/bulkhead-no-main-cluster.conf
    as_root mkdir -p "$(dirname $quiet)"
    echo 'create_main_cluster = false' | as_root tee $quiet >/dev/null
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
    as_root rm -f $quiet
fi

# gVisor, for the wall of that name --------------------------------------------------------------------------------
# Debian 12 itself has a release of 2022, which lacks systrap: its backports have one of 2024. Other machines bring their
# own (https://gvisor.dev/docs/user_guide/install).
runsc_is_new_enough() {
    local release
    release=$(runsc --version 2>/dev/null | sed -n '1s/.*[^0-9]\(20[0-9]\{6\}\).*/\1/p')
    [ "${release:-0}" -ge 20240101 ]
}
if ! runsc_is_new_enough; then
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    { [ "$codename" = bookworm ] && command -v apt-get >/dev/null; } ||
        die "missing: runsc (gVisor) of 2024 or later; see https://gvisor.dev/docs/user_guide/install"
    say "installing Debian package: runsc (bookworm-backports)"
    source=/etc/apt/sources.list.d/bulkhead-backports.list
    [ -e $source ] || echo 'deb http://deb.debian.org/debian bookworm-backports main' | as_root tee $source >/dev/null
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -t bookworm-backports runsc
    runsc_is_new_enough || die "runsc is still too old: $(runsc --version | head -1)"
fi

# What walls are measured beside, only for that -----------------------------------------------------------------------
if [ "${1:-}" = --bench ] && ! command -v bwrap >/dev/null; then
    if command -v apt-get >/dev/null; then
        say "installing Debian package: bubblewrap"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bubblewrap
    else
        say "no bubblewrap here: bench walls does without"
    fi
fi

# QEMU and a kernel, for the wall of virtual machines --------------------------------------------------------------
# From the backports too: Debian 12's own kernel is older than what keeps forks apart there (Landlock's scopes, 6.12).
# The kernel is unpacked and never installed, so that this machine boots as before.
has_qemu() {
    command -v qemu-system-x86_64 >/dev/null && [ -e /usr/share/qemu/qboot.rom ]
}
kernel=$(target_directory)/kernel
if ! has_qemu || ! compgen -G "$kernel/boot/vmlinuz-*" >/dev/null; then
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    { [ "$codename" = bookworm ] && command -v apt-get >/dev/null; } ||
        die "missing: QEMU (qemu-system-x86) or Debian's cloud kernel, unpacked into $kernel (docs/walls.md tells how)"
    source=/etc/apt/sources.list.d/bulkhead-backports.list
    [ -e $source ] || echo 'deb http://deb.debian.org/debian bookworm-backports main' | as_root tee $source >/dev/null
    as_root apt-get update -qq
fi
if ! has_qemu; then
    say "installing Debian package: qemu-system-x86 (bookworm-backports)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -t bookworm-backports qemu-system-x86
fi
if ! compgen -G "$kernel/boot/vmlinuz-*" >/dev/null; then
    package=$(apt-cache depends linux-image-cloud-amd64/bookworm-backports | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
    [ -n "$package" ] || die "bookworm-backports names no cloud kernel; see \`apt-cache depends linux-image-cloud-amd64/bookworm-backports\`"
    say "fetching Debian's cloud kernel: $package"
    rm -rf "$kernel.new"
    mkdir -p "$kernel.new"
    (cd "$kernel.new" && apt-get download -qq "$package")
    dpkg-deb -x "$kernel.new"/*.deb "$kernel.new"
    rm "$kernel.new"/*.deb
    rm -rf "$kernel"
    mv "$kernel.new" "$kernel"
fi

# Packages from the npm registry, with the pinned Node.js among them ----------------------------------------------
# Stamped by content: the lockfile has the integrity of every package.
install_npm() {
    local directory=$1 what=$2 stamp=$1/node_modules/.stamp lock
    lock=$(cat "$directory/package.json" "$directory/package-lock.json" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$stamp" 2>/dev/null)" != "$lock" ] || return 0
    say "installing $what from the npm registry ($directory/package-lock.json)"
    # No install scripts: nothing that we take needs one, and none gets to run.
    (cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    echo "$lock" >"$stamp"
}
install_npm runtime/node "Node.js and the bundler"
install_npm runtime/node/mcp "the library of the Model Context Protocol"
install_npm tests/s3 "an S3-compatible server for tests"
install_npm tests/oauth "an OAuth2 server for tests"

# Schemathesis, which makes requests out of our OpenAPI document ---------------------------------------------------
# Stamped by content, as above; into a directory of its own.
install_python() {
    local venv lock requirements=tests/api/requirements.txt
    venv=$(target_directory)/schemathesis
    lock=$(sha256sum <$requirements | cut -d' ' -f1)
    [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$lock" ] || return 0
    # Debian has Python without what makes such a directory.
    python3 -c 'import ensurepip, venv' 2>/dev/null || {
        command -v apt-get >/dev/null || die "missing: Python 3.10 or later with its venv module"
        say "installing Debian package: python3-venv"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
    }
    say "installing schemathesis from PyPI ($requirements)"
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: \
        -r $requirements >&2
    echo "$lock" >"$venv/.stamp"
}
install_python
