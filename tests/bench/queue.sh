#!/usr/bin/env bash
# The benchmark of queue, worker loop, committer and resume; `throughput.py` says what is measured and how. Arguments go to it:
# `queue.sh --large` for ten million items, `--without-ceph` where there is none. Needs a release build of the example `throughput` (`make bench`
# builds it); RabbitMQ and Ceph RGW are private ones on loopback, installed when it runs as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
throughput=${THROUGHPUT:-$target/release/examples/throughput}
[ -x "$throughput" ] || { echo "bench: no $throughput: run \`cargo build --release --workspace --bins --examples\`" >&2; exit 3; }
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-queue.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 tests/bench/throughput.py --throughput "$throughput" --work "$work" "$@"
