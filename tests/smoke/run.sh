#!/usr/bin/env bash
# The mission in one thin slice: 50 simulated images go through a private RabbitMQ and an S3 server, one stage service for
# each network, one worker and one committer; the table must equal the one that `aortica score` makes alone. Then the roles that
# look after a lake, and notifications of a bucket, on the same servers.
# Everything runs on loopback, on free ports, in one folder; everything that is started is stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."
aortica=${AORTICA:-target/debug/aortica}
services=tests/services
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-smoke.XXXXXX")
pids=()

finish() {
    status=$?
    trap - EXIT
    [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    $services/rabbitmq.sh stop "$work/rabbitmq" || true
    $services/s3.sh stop "$work/s3" || true
    if [ $status -ne 0 ]; then
        echo "smoke: FAILED (exit $status); the last lines of each log:" >&2
        tail -n 15 "$work"/*.log >&2 2>/dev/null || true
    fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT
say() { echo "smoke: $*"; }

say "starting RabbitMQ and Ceph RGW"
if ! url=$($services/rabbitmq.sh start "$work/rabbitmq") || ! s3=$($services/s3.sh start "$work/s3" images lake told); then
    [ "${CI:-}" = true ] && exit 1
    say "SKIPPED: the servers cannot be had here (see above); CI requires them"
    exit 0
fi
eval "$s3"
export AORTICA_AMQP_URL=$url

say "simulating 50 images and putting them into the bucket"
$aortica phantom --participants 50 --seed 404 --out "$work/cohort" 2>"$work/phantom.log"
printf 'not an image\n' > "$work/cohort/images/note.txt"
python3 $services/s3_put.py folder "$work/cohort/images" images cohort
cat > "$work/settings.toml" <<SETTINGS
[study]
key_file = "$work/study.key"
[run]
commit_rows = 20
commit_after_s = 1
SETTINGS
run() { $aortica --settings "$work/settings.toml" "$@"; }

say "scoring in one process"
run score s3://images/cohort --lake "$work/lake" --json > "$work/score.json" 2>"$work/score.log"

# In the background the program itself is started, not a shell function: the signal must reach the program.
say "starting a stage service for each network, a worker and a committer"
wait_line() { # file: the first line that appears in it
    for _ in $(seq 300); do [ -s "$1" ] && { head -1 "$1"; return; }; sleep 0.1; done
    echo "nothing was printed to $1" >&2
    return 1
}
stages=
for model in locate segment; do
    $aortica --settings "$work/settings.toml" infer pipelines/vfa-unet --model $model --grpc 127.0.0.1:0 --http 127.0.0.1:0 --threads 1 \
        > "$work/$model.ready" 2>"$work/$model.log" &
    pids+=($!)
done
for model in locate segment; do
    address=$(wait_line "$work/$model.ready" | python3 -c 'import json, sys; print(json.load(sys.stdin)["grpc"])')
    stages="$stages${stages:+,}http://$address"
done
$aortica --settings "$work/settings.toml" worker --lake s3://lake/study --stages "$stages" > "$work/worker.out" 2>"$work/worker.log" &
pids+=($!)
submission=$(run submit s3://images/cohort --lake s3://lake/study --json 2>"$work/submit.log" | tee "$work/submit.json" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["submission"])')
timeout 300 $aortica --settings "$work/settings.toml" commit --lake s3://lake/study --until-complete "$submission" > "$work/commit.out" 2>"$work/commit.log"

say "comparing the tables"
table="SELECT image_id, fingerprint, participant_id, sop_id, site_id, scanner_maker, image_date, sex, age_years, status, fail_reason,
 aac_l1_ant, aac_l1_post, aac_l2_ant, aac_l2_post, aac_l3_ant, aac_l3_post, aac_l4_ant, aac_l4_post, aac24_total,
 aac_n_segments, aac24_min, aac24_max, aac8_total, aac_levels, aac_walls, aac24_cat, aac_length_mm, aac_length_pct, flag_review
 FROM readings ORDER BY image_id, sop_id, status, fail_reason"
run query --lake "$work/lake" --format csv "$table" > "$work/alone.csv"
run query --lake s3://lake/study --format csv "$table" > "$work/distributed.csv"
diff "$work/alone.csv" "$work/distributed.csv"
rows=$(($(wc -l < "$work/alone.csv") - 1))
scored=$(run query --lake s3://lake/study --format csv "SELECT count(*) FROM readings WHERE status = 'scored'" | tail -1)
pending=$(run query --lake s3://lake/study --format csv "SELECT count(*) FROM ledger WHERE status = 'pending'" | tail -1)
[ "$rows" -eq 51 ] && [ "$pending" -eq 0 ] && [ "$scored" -ge 25 ] || {
    echo "rows $rows (51 expected), scored $scored (25 or more expected), pending $pending (0 expected)" >&2
    exit 1
}
say "looking after the lake: status, reconcile, rebuild"
run status --lake s3://lake/study --json > "$work/status.json"
run reconcile s3://images/cohort --lake s3://lake/study > "$work/reconcile.txt"
run rebuild --lake "$work/rebuilt" --from s3://lake/study > "$work/rebuild.txt"
run query --lake "$work/rebuilt" --format csv "$table" > "$work/rebuilt.csv"
diff "$work/distributed.csv" "$work/rebuilt.csv"
python3 - "$work" <<'CHECK'
import json, sys
status = json.load(open(f"{sys.argv[1]}/status.json"))
lanes = {lane["lane"]: lane.get("ready") for lane in status["broker"]["lanes"]}
left = {name: ready for name, ready in lanes.items() if ready != 0}
assert not left, f"messages are left on the queues: {left}"
assert status["submissions"][0]["pending"] == 0 and status["submissions"][0]["items"] == 51, status
order = open(f"{sys.argv[1]}/reconcile.txt").read()
assert "all is in order" in order, order
CHECK
say "following what a bucket tells: names with spaces and plus signs, objects elsewhere"
( . "$work/rabbitmq/env"; /usr/lib/rabbitmq/bin/rabbitmqctl -q eval \
    'rabbit_exchange:declare(rabbit_misc:r(<<"/">>, exchange, <<"bucket-events">>), topic, true, false, false, [], <<"smoke">>).' ) > "$work/exchange.log"
python3 $services/s3_notify.py told bucket-events "$url"
$aortica --settings "$work/settings.toml" submit s3://told/cohort --lake s3://lake/study --events --exchange bucket-events --every 1 \
    > "$work/events.out" 2>"$work/events.log" &
events=$!
pids+=($events)
told() { # python expression of the status `s`
    run status --lake s3://lake/study --json | python3 -c "import json, sys; s = json.load(sys.stdin); sys.exit(0 if $1 else 1)"
}
settled() { # python expression of the status, awaited for a minute
    for _ in $(seq 120); do told "$1" && return; sleep 0.5; done
    echo "never came: $1" >&2
    return 1
}
settled 'any(l["lane"] == "events" and l.get("consumers") == 1 for l in s["broker"]["lanes"])'
mkdir "$work/told"
for name in "a film (1).dcm" "b+c.dcm" "d.dcm"; do printf '%s' "$name" > "$work/told/$name"; done
python3 $services/s3_put.py folder "$work/told" told elsewhere
python3 $services/s3_put.py folder "$work/told" told cohort
# the first submission has 51 items
settled 'sum(t["items"] for t in s["submissions"]) == 54'
kill -TERM "$events"
wait "$events"
grep -q '"elsewhere":3' "$work/events.out" || { cat "$work/events.out" >&2; exit 1; }
# no committer runs: what the worker has told lies on the queue and among the artifacts
settled 'next(l for l in s["broker"]["lanes"] if l["lane"] == "records")["ready"] == 3'
run reconcile s3://told/cohort --lake s3://lake/study --repair --json > "$work/repaired.json"
python3 -c 'import json, sys; assert json.load(sys.stdin)["repaired"]["rows"]["instances_added"] == 3' < "$work/repaired.json"
run reconcile s3://told/cohort --lake s3://lake/study > "$work/reconcile-told.txt"
grep -q "all is in order" "$work/reconcile-told.txt" || { cat "$work/reconcile-told.txt" >&2; exit 1; }
say "OK: $rows rows through RabbitMQ, S3 and two stage services equal those of score; $scored scored, 0 pending"
