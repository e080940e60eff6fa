#!/usr/bin/env bash
# A worker made of grpcurl calls and jq: runs jobs of the type named on the command line, one after the other, and
# leaves when none has come for WAIT seconds. It needs no copy of the protos: grpcurl asks the server for them.
#   JOBHALL_ADDRESS=127.0.0.1:50051 ./worker.sh score_companies
set -euo pipefail
set -m # A task is a process group: it can be stopped with all that it has started.

readonly type=${1:?which job type? usage: worker.sh JOB_TYPE} wait_seconds=${WAIT:-5} beat_seconds=${BEAT:-20}
readonly address=${JOBHALL_ADDRESS:-127.0.0.1:50051} grpcurl=${GRPCURL:-grpcurl}
readonly no_server=1 not_found=69 unavailable=78 # What grpcurl exits with: 64 and the code of gRPC.
readonly stopped=143                             # What a program exits with that is told to stop.
readonly said=$(mktemp)
trap 'rm -f "$said"' EXIT
session=""

call() { # METHOD REQUEST, said again while no server answers: each of these may be repeated
  local code
  while :; do
    "$grpcurl" -plaintext -d "$2" "$address" "jobhall.v1.WorkerService/$1" && return || code=$?
    [ $code = $no_server ] || [ $code = $unavailable ] || return $code
    sleep 1
  done
}

claim() { # one task, begun at once
  call ClaimTasks "$(jq -n --arg session "$session" --arg type "$type" --arg wait "${wait_seconds}s" \
    '{session_id: $session, worker_name: "shell", job_types: [$type], timeout: $wait, accept: true}')"
}

report() { # TOKEN UPDATE
  call ReportTasks "$(jq -n --arg session "$session" --arg token "$1" --argjson update "$2" \
    '{session_id: $session, updates: [{seq: 1, lease_token: $token} + $update]}')"
}

beat() { # TOKEN PROCESS: the session lives for 60 s after each call; a task that is cancelled or lost is stopped
  local sleeping told
  trap 'kill $sleeping 2>/dev/null; exit' TERM
  while sleep "$beat_seconds" & sleeping=$!; wait $sleeping; do
    told=$(call Heartbeat "$(jq -n --arg session "$session" --arg token "$1" \
      '{session_id: $session, lease_tokens: [$token]}')")
    jq -e '.cancels // .lost_lease_tokens' <<<"$told" >/dev/null && kill -- "-$2"
  done
}

score() { # PARAMETERS: each company's ebit / total_assets, counted from the end, since names have commas
  local input output
  input=$(jq -r .input <<<"$1") output=$(jq -r .output <<<"$1")
  awk -F, 'NR == 1 { print "symbol,return_on_assets"; next } { printf "%s,%.3f\n", $1, $(NF - 1) / $(NF - 5) }' \
    "$input" >"$output" || return
  jq -nc --arg output "$output" --argjson rows "$(($(wc -l <"$output") - 1))" '{rows: $rows, results: $output}'
}

while :; do
  claimed=$(claim) || { code=$?; [ $code = $not_found ] && session="" && continue; exit $code; } # SESSION_EXPIRED
  session=$(jq -r .session_id <<<"$claimed")
  task=$(jq -c '.tasks[0] // empty' <<<"$claimed")
  [ -n "$task" ] || exit 0
  token=$(jq -r .lease_token <<<"$task")

  score "$(jq -r .parameters.json <<<"$task")" >"$said" 2>&1 &
  working=$!
  beat "$token" $working &
  beating=$!
  code=0
  wait $working 2>/dev/null || code=$?
  kill $beating && wait $beating || true
  case $code in
    0) outcome=$(jq -Rsc '{completed: {result: {json: .}}}' "$said") ;;
    "$stopped") outcome='{"cancelled": {}}' ;;
    *) outcome=$(jq -Rsc '{failed: {code: "SHELL_WORKER", message: ., retryable: false}}' "$said") ;;
  esac

  # After its session's end a completion may still be taken, by its token alone.
  answer=$(report "$token" "$outcome") || { [ $? = $not_found ] && session="" && answer=$(report "$token" "$outcome"); }
  jq -e .rejections <<<"$answer" >/dev/null && echo "not taken: $answer" >&2
done
