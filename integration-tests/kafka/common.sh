# Sourced by the scripts beside it, from the project's root: a folder `$work` and a broker below it that go at the end with all that was
# started, and how a condition is waited for. `$0` names the script in what is said. A script that sets `service` to a process has it
# looked after while it waits.
script=$(basename "$0")
faultline=${FAULTLINE:?FAULTLINE must name the program}
if ! reason=$(scripts/kafka ready 2>&1); then
  echo "$script: SKIPPED: $reason"
  [ -z "${CI:-}" ]
  exit
fi
work=$(mktemp -d)
service=""
finish() {
  local started
  started=$(jobs -p)
  # shellcheck disable=SC2086 # one process a word
  [ -z "$started" ] || { kill -9 $started; wait $started; } 2>/dev/null || true
  scripts/kafka kill "$work/broker" || true
  rm -rf "$work"
}
trap finish EXIT
fail() {
  echo "$script: $*" >&2
  tail -n 5 "$work"/*.log >&2 || true
  exit 1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Below those that systems give to outgoing connections, which could take one between this and the broker's start.
broker_port() {
  python3 -c '
import random, socket
while True:
    first, sockets = random.randrange(15000, 32000, 10), []
    try:
        for port in range(first, first + 4):
            sockets.append(socket.create_server(("127.0.0.1", port)))
    except OSError:
        continue
    finally:
        for one in sockets:
            one.close()
    print(first)
    break'
}
until_true() { # until_true SECONDS WHAT COMMAND...
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || fail "$what"
    [ -z "$service" ] || kill -0 "$service" 2>/dev/null || fail "$what: the service has ended"
    sleep 0.2
  done
}
# The newest record of each key that is there, without what is named. A topic that is not compacted yet has older ones as well.
newest() { # newest NAME... <RECORDS
  python3 -c '
import json, sys
newest = {}
for line in sys.stdin:
    record = json.loads(line)
    newest[record["key"]] = record
for key in sorted(newest):
    record = newest[key]
    if record["value"] is not None:
        print(json.dumps({name: part for name, part in record.items() if name not in sys.argv[1:]}, sort_keys=True))' "$@"
}

# granted COMMAND NAME TERMS...: an exception that three people grant. COMMAND is who is asked.
granted() {
  local ask=$1 name=$2 id ends
  shift 2
  ends=$(date -u -d "+20 days" +%F)
  id=$("$ask" --json exceptions propose "$@" --title "$name" --reason "a test" --ends "$ends" --covers-at-most 100000 --name "$name" --request --actor ann | jq -er '.steps[0].exception')
  "$ask" exceptions review "$id" --actor ben >/dev/null || fail "$name is not reviewed"
  "$ask" exceptions approve "$id" --actor cem >/dev/null || fail "$name is not approved"
  echo "$id"
}
