#!/bin/sh
# Moves a FlexVol to another aggregate of its cluster through ONTAP's REST API, with curl and jq alone, while its volumes
# are in use. Works with a state folder's clusters.json, and, with ONTAP_URL, ONTAP_USER and ONTAP_PASSWORD set, anywhere.
set -eu

usage() {
  cat <<TEXT
Usage: move.sh [--state DIR] CLUSTER FLEXVOL AGGREGATE [CUTOVER-WINDOW]

  --state DIR      the state folder with clusters.json (default: \$VOLANT_STATE, else /var/lib/volant)
  CUTOVER-WINDOW   seconds, 30 to 300

Examples:
  move.sh cinder-lma cinder_flexvol_OSTK02 aggr2
  move.sh --state /tmp/state cinder-lma cinder_flexvol_OSTK02 aggr2 60
Exit codes: 0 it is there, 1 it could not move (nothing changed, or what had moved was brought back), 2 wrong usage.
TEXT
}

state=${VOLANT_STATE:-/var/lib/volant}
while [ $# -gt 0 ]; do
  case $1 in
    --state) [ $# -ge 2 ] || { usage >&2; exit 2; }; state=$2; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    -*) echo "move.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) break ;;
  esac
done
[ $# -ge 3 ] && [ $# -le 4 ] || { usage >&2; exit 2; }
cluster=$1 flexvol=$2 aggregate=$3 window=${4:-30}
case $window in
  '' | *[!0-9]*) echo "move.sh: CUTOVER-WINDOW is a number of seconds, 30 to 300, not '$window'" >&2; exit 2 ;;
esac

fail() { echo "move.sh: $*" >&2; exit 1; }

if [ -n "${ONTAP_URL:-}" ]; then
  url=$ONTAP_URL user=${ONTAP_USER:?} password=${ONTAP_PASSWORD:?}
else
  [ -r "$state/clusters.json" ] || fail "cannot read $state/clusters.json; name the state folder with --state"
  access=$(jq -ce --arg name "$cluster" '.[] | select(.name == $name)' "$state/clusters.json") ||
    fail "there is no cluster $cluster in $state/clusters.json"
  url=$(printf %s "$access" | jq -r .url)
  user=$(printf %s "$access" | jq -r .user)
  password=$(printf %s "$access" | jq -r .password)
fi

# The password goes to curl by its standard input: arguments can be seen by everybody.
ontap() { # METHOD PATH [BODY]
  printf 'user = "%s:%s"\n' "$user" "$password" |
    curl --silent --show-error --max-time 150 --config - --request "$1" "$url/api$2" \
      --header 'content-type: application/json' ${3:+--data "$3"}
}
# Prints the answer, or fails with ONTAP's message.
ask() {
  answer=$(ontap "$@") || fail "$url does not answer"
  printf %s "$answer" | jq -e 'has("error") | not' >/dev/null ||
    fail "$(printf %s "$answer" | jq -r '"\(.error.message) (code \(.error.code))"')"
  printf %s "$answer"
}

found=$(ask GET "/storage/volumes?name=$flexvol&fields=uuid,aggregates.name,nas.path,space")
[ "$(printf %s "$found" | jq .num_records)" = 1 ] || fail "cluster $cluster has no volume $flexvol"
uuid=$(printf %s "$found" | jq -r '.records[0].uuid')
path=$(printf %s "$found" | jq -r '.records[0].nas.path')
printf %s "$found" |
  jq -r '.records[0] | "\(.name) is on \(.aggregates[0].name), at \(.nas.path), and occupies \(.space.used // "?") bytes"'

body=$(jq -nc --arg to "$aggregate" --argjson window "$window" \
  '{movement: {destination_aggregate: {name: $to}, cutover_window: $window}}') || { usage >&2; exit 2; }
ask PATCH "/storage/volumes/$uuid?validate_only=true" "$body" >/dev/null
begun=$(ask PATCH "/storage/volumes/$uuid" "$body")
job=$(printf %s "$begun" | jq -r .job._links.self.href)
echo "it moves to $aggregate: job ${job##*/}"

last=
while :; do
  seen=$(ask GET "/storage/volumes/$uuid?fields=movement")
  now=$(printf %s "$seen" | jq -r '.movement | "\(.state) \(.percent_complete) %"')
  [ "$now" = "$last" ] || { echo "  $now"; last=$now; }
  seen=$(ask GET "${job#/api}?fields=state,message")
  case $(printf %s "$seen" | jq -r .state) in
    success) break ;;
    failure) fail "the move has failed: $(printf %s "$seen" | jq -r .message)" ;;
  esac
  sleep 1
done

after=$(ask GET "/storage/volumes/$uuid?fields=aggregates.name,nas.path,movement.state")
[ "$(printf %s "$after" | jq -r '.aggregates[0].name')" = "$aggregate" ] || fail 'it is not where it should be'
[ "$(printf %s "$after" | jq -r .nas.path)" = "$path" ] || fail 'its junction path has changed'
[ "$(printf %s "$after" | jq -r .movement.state)" = success ] || fail 'its movement is not a success'
printf %s "$after" | jq -r '"  " + .movement.state'
echo "$flexvol is on $aggregate; its name, UUID and junction path are what they were"
