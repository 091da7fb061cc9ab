#!/usr/bin/env bash
# `make distributed-demo`: a simulated cohort goes through a private RabbitMQ and a private S3 server (Ceph RGW), two stage services, two
# workers and a committer, while `status` shows how far it is; then the same images by `score`, and the tables are compared.
# Everything runs on loopback, on free ports, in one folder; everything that is started is stopped, on Ctrl-C and after an error too.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/services/lib.sh
aortica=${AORTICA:-target/debug/aortica}
participants=${DEMO_PARTICIPANTS:-60} seed=${DEMO_SEED:-2026}
services=tests/services
# Short, because Ceph's sockets lie in it.
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-demo.XXXXXX")
pids=()

finish() {
    status=$?
    trap - EXIT INT TERM
    say "Stopping everything"
    [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    # who does not leave within seconds is not waited for
    [ ${#pids[@]} -eq 0 ] || await 15 all_ended || kill -KILL "${pids[@]}" 2>/dev/null || true
    $services/rabbitmq.sh stop "$work/rabbitmq" || true
    $services/s3.sh stop "$work/s3" || true
    if [ $status -ne 0 ] && [ $status -lt 128 ]; then
        echo "distributed-demo: FAILED (exit $status); the last lines of each log:" >&2
        tail -n 15 "$work"/*.log >&2 2>/dev/null || true
    fi
    rm -rf "$work"
    exit $status
}
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] && bold=$'\033[1m' plain=$'\033[0m' || bold='' plain=''
say() { printf '\n%s\n' "$bold$*$plain"; }
all_ended() { ! kill -0 "${pids[@]}"; } # kill succeeds as long as one of them is there
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting RabbitMQ and Ceph RGW on loopback (half a minute)"
AORTICA_AMQP_URL=$($services/rabbitmq.sh start "$work/rabbitmq")
s3=$($services/s3.sh start "$work/s3" images lake)
export AORTICA_AMQP_URL
eval "$s3"

say "Simulating $participants participants and putting their images into the bucket s3://images"
$aortica phantom --participants "$participants" --seed "$seed" --out "$work/cohort" 2>"$work/phantom.log"
python3 $services/s3_put.py folder "$work/cohort/images" images cohort
cat > "$work/settings.toml" <<SETTINGS
[study]
key_file = "$work/study.key"
[run]
commit_rows = 10
commit_after_s = 1
SETTINGS
run() { $aortica --settings "$work/settings.toml" "$@"; }
# In the background the program itself is started, not a shell function: the signal must reach the program.
start() { # name arguments..
    local name=$1
    shift
    $aortica --settings "$work/settings.toml" "$@" > "$work/$name.out" 2>"$work/$name.log" &
    pids+=($!)
    echo "  $name: aortica ${*//$work\//}"
}

say "Starting two stage services, two workers and a committer"
stages=
for model in locate segment; do
    start "$model" infer pipelines/vfa-unet --model $model --grpc 127.0.0.1:0 --http 127.0.0.1:0 --threads 1
done
for model in locate segment; do
    address=$(first_line "$work/$model.out" | python3 -c 'import json, sys; print(json.load(sys.stdin)["grpc"])')
    stages="$stages${stages:+,}$model=http://$address"
done
for n in 1 2; do start "worker-$n" worker --lake s3://lake/study --stages "$stages" --threads 1; done
start commit commit --lake s3://lake/study

say "aortica submit s3://images/cohort --lake s3://lake/study"
run submit s3://images/cohort --lake s3://lake/study 2>"$work/submit.log"

say "aortica status --lake s3://lake/study --watch 1      (until nothing is pending)"
run status --lake s3://lake/study --watch 1
for pid in "${pids[@]}"; do
    kill -0 "$pid" 2>/dev/null || { echo "a role has ended before its time" >&2; exit 1; }
done

sql="SELECT scanner_maker, count(*) AS images, count(aac24_total) AS totals, round(avg(aac24_total), 2) AS mean_aac24,
 sum(CASE WHEN aac24_cat_label = 'high' THEN 1 ELSE 0 END) AS high
 FROM readings WHERE status = 'scored' GROUP BY scanner_maker ORDER BY scanner_maker"
say "The cohort table, from the lake in the bucket"
run query --lake s3://lake/study "$sql"

say "The same images by aortica score, in one process"
run score s3://images/cohort --lake "$work/lake" 2>"$work/score.log"
run query --lake "$work/lake" "$sql"

# Every column of every row, but for those that tell when and by which submission it was made.
columns=$(run codebook --format csv | python3 -c 'import csv, sys
print(", ".join(row["column"] for row in csv.DictReader(sys.stdin) if row["column"] not in ("scored_at", "attempt", "submission_id")))')
for lake in s3://lake/study "$work/lake"; do
    run query --lake "$lake" --format csv "SELECT $columns FROM readings ORDER BY item_id" > "$work/table-${lake##*/}.csv"
done
diff "$work/table-study.csv" "$work/table-lake.csv" || { echo "the tables differ" >&2; exit 1; }
say "Equal: all $(($(wc -l < "$work/table-lake.csv") - 1)) rows, in each of $(wc -w <<< "$columns") columns."
