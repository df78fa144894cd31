#!/usr/bin/env bash
# Requests that nobody thought of, made from our own OpenAPI document (schemathesis), against a running server: none may
# be answered with 5xx, and each answer is as the document says. The seed is fixed, so that two runs send the same.
# usage: scripts/api.sh PATH_OF_BULKHEAD [EXAMPLES_PER_OPERATION [SEED]]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
bulkhead=$(realpath "$1")
examples=${2:-20}
seed=${3:-1}
tools=$(realpath -m "$(target_directory)/schemathesis/bin")
[ -x "$tools/schemathesis" ] || die "no schemathesis here: run scripts/setup.sh"

# What was started by root becomes somebody else, who makes its directory there.
home=$(mktemp -d)
chmod 1777 "$home"
server=
finish() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } || true
    as_root rm -rf "$home"
}
trap finish EXIT
"$bulkhead" --set log.format=json serve --no-worker --listen 127.0.0.1:0 --data-dir "$home/data" 2>"$home/log" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/.*"url":"\(http[^"]*\)".*/\1/p' "$home/log" | head -1)
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || die "the server ended: $(tail -3 "$home/log")"
    sleep 0.1
done
[ -n "$url" ] || die "the server did not say where it serves: $(tail -3 "$home/log")"

admin=$(as_root cat "$home/data/admin.key")
ask() {
    "$tools/python" -c '
import requests, sys
method, url, key, body = sys.argv[1:]
answer = requests.request(method, url, data=body, headers={"Authorization": "Bearer " + key}, timeout=60)
print(answer.text)
answer.raise_for_status()' "$1" "$url$2" "$3" "$4"
}
# A tenant with something of everything: what there is to ask for is asked for by name.
ask PUT /v1/tenants/acme "$admin" '{}' >"$home/out"
key=$(ask POST /v1/tenants/acme/keys "$admin" '{"label": "schemathesis"}' | sed -n 's/.*"secret":"\([^"]*\)".*/\1/p')
ask PUT /v1/integrations/crm "$key" '{"base_url": "https://crm.example"}' >"$home/out"
ask POST /v1/connections "$key" '{"integration": "crm", "connection_id": "c1", "credentials": {}}' >"$home/out"
function='{"spec": {"integration": "crm", "kind": "KIND", "name": "KIND"EXTRA}, "bundle": "module.exports = {}"}'
sync=', "frequency": "every 1h", "models": {"Contact": {"type": "object"}}'
of() { printf '%s' "$function" | sed "s|KIND|$1|g; s|EXTRA|$2|"; }
ask POST /v1/deployments "$key" "{\"functions\": [$(of action ''), $(of sync "$sync"), $(of webhook '')]}" >"$home/out"

# Routes of the operator take another key than those of tenants. `wait=0`: nothing runs here that could be waited for.
cat >"$home/schemathesis.toml" <<TOML
headers = { Authorization = "Bearer $key", Prefer = "wait=0" }

[[operations]]
include-path-regex = "^/v1/(tenants|workers|worker-tokens|secrets)"
headers = { Authorization = "Bearer $admin" }
TOML
# It keeps what failed where it runs: not here.
cd "$home"
"$tools/schemathesis" --config-file "$home/schemathesis.toml" run "$url/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases fuzzing --max-examples "$examples" --seed "$seed" --no-shrink \
    --continue-on-failure --request-timeout 60 --suppress-health-check all --warnings off
kill -0 "$server" 2>/dev/null || die "the server is gone: $(tail -3 "$home/log")"
