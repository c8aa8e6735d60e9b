#!/bin/sh
# Runs a script with Volant's own Node.js where the set-up brought one, else with the machine's.
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
node=node
[ -x "$root/.tools/node/bin/node" ] && node="$root/.tools/node/bin/node"
exec "$node" --disable-warning=ExperimentalWarning "$@"
