#!/bin/sh
# One prompt as events; the same run once more from its beginning, and from behind its second event; then a plain one.
set -eu
api=${TOKENWIRE:-http://127.0.0.1:8000}/api
prompt=$(printf '%s' "${1:-Hello}" | sed 's/[\\"]/\\&/g')
key=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)
asked="{\"id\": \"$key\", \"prompt\": \"$prompt\"}"
who="Authorization: Bearer $TOKEN"

curl -sSN --fail-with-body -H "$who" -d "$asked" "$api/stream" | tee "${TMPDIR:-/tmp}/tokenwire-$$"
run=$(sed -n 's/^id: \([0-9a-f-]*\):0$/\1/p' "${TMPDIR:-/tmp}/tokenwire-$$")
rm "${TMPDIR:-/tmp}/tokenwire-$$"
[ "$run" ] || exit 1
curl -sSN --fail-with-body -H "$who" "$api/runs/$run/events"
curl -sSN --fail-with-body -H "$who" -H "Last-Event-ID: $run:2" "$api/runs/$run/events"
curl -sS --fail-with-body -H "$who" -X POST "$api/runs/$run/stop"
echo
curl -sSN --fail-with-body -H "$who" -d "$asked" "$api/text"
