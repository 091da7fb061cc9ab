#!/usr/bin/env bash
# The benchmark of queue, worker loop, committer and resume; `throughput.py` says what is measured and how. Arguments go to it:
# `queue.sh --large` for ten million items. Needs a release build of the example `throughput` (`make bench` builds it); RabbitMQ and Ceph
# RGW are private ones on loopback, installed when it runs as root. Without Ceph its figure is left out, and that is said.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
throughput=${THROUGHPUT:-$target/release/examples/throughput}
[ -x "$throughput" ] || { echo "bench: no $throughput: run \`cargo build --release --workspace --bins --examples\`" >&2; exit 3; }
services=tests/services
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-queue.XXXXXX")
finish() {
    $services/rabbitmq.sh stop "$work/rabbitmq" || true
    $services/s3.sh stop "$work/s3" || true
    rm -rf "$work"
}
trap finish EXIT
url=$($services/rabbitmq.sh start "$work/rabbitmq")
ceph=()
if [ -z "${WITHOUT_CEPH:-}" ] && lines=$($services/s3.sh start "$work/s3" throughput); then
    eval "$lines"
    ceph=(--ceph s3://throughput/lake)
else
    echo "bench: Ceph RGW is left out" >&2
fi
python3 tests/bench/throughput.py --throughput "$throughput" --amqp "$url" --broker-pid "$(cat "$work/rabbitmq/pid")" --work "$work" \
    ${ceph[@]+"${ceph[@]}"} "$@"
