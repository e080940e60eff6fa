#!/usr/bin/env bash
# A worker made of grpcurl calls and jq: runs jobs of the type named on the command line, one after the other, and
# leaves when none has come for WAIT seconds.
#   JOBHALL_ADDRESS=127.0.0.1:50051 ./worker.sh score_companies
set -euo pipefail

readonly type=$1 address=${JOBHALL_ADDRESS:-127.0.0.1:50051} grpcurl=${GRPCURL:-grpcurl} wait_seconds=${WAIT:-5}
session=""

call() { # METHOD, request on stdin, answer on stdout
  "$grpcurl" -plaintext -d @ "$address" "jobhall.v1.WorkerService/$1"
}

claim() { # one task, begun at once
  jq -n --arg session "$session" --arg type "$type" --arg wait "${wait_seconds}s" \
    '{session_id: $session, worker_name: "shell", job_types: [$type], timeout: $wait, accept: true}' | call ClaimTasks
}

report() { # TOKEN UPDATE
  jq -n --arg session "$session" --arg token "$1" --argjson update "$2" \
    '{session_id: $session, updates: [{seq: 1, lease_token: $token} + $update]}' | call ReportTasks
}

beat() { # TOKEN, every 20 s: the session lives for 60 s after each call
  while sleep 20; do
    jq -n --arg session "$session" --arg token "$1" '{session_id: $session, lease_tokens: [$token]}' | call Heartbeat
  done >/dev/null
}

score() { # PARAMETERS: each company's ebit / total_assets, counted from the end, since names have commas
  local input output
  input=$(jq -r .input <<<"$1") output=$(jq -r .output <<<"$1")
  awk -F, 'NR == 1 { print "symbol,return_on_assets"; next } { printf "%s,%.3f\n", $1, $(NF - 1) / $(NF - 5) }' \
    "$input" >"$output"
  jq -nc --arg output "$output" --argjson rows "$(($(wc -l <"$output") - 1))" '{rows: $rows, results: $output}'
}

while :; do
  claimed=$(claim)
  session=$(jq -r .sessionId <<<"$claimed")
  task=$(jq -c '.tasks[0] // empty' <<<"$claimed")
  [ -n "$task" ] || exit 0
  token=$(jq -r .leaseToken <<<"$task")
  beat "$token" & beating=$!
  if result=$(score "$(jq -r .parameters.json <<<"$task")" 2>&1); then
    outcome=$(jq -nc --arg result "$result" '{completed: {result: {json: $result}}}')
  else
    outcome=$(jq -nc --arg message "$result" '{failed: {code: "SHELL_WORKER", message: $message, retryable: false}}')
  fi
  pkill -P "$beating" 2>/dev/null || true
  kill "$beating" 2>/dev/null || true
  answer=$(report "$token" "$outcome")
  [ "$(jq '.rejections // [] | length' <<<"$answer")" = 0 ] || echo "not taken: $answer" >&2
done
