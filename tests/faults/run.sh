#!/usr/bin/env bash
# Real servers, real roles, real faults (see study.py): a storm over 60 images (test_storm.py), and beside it every fault alone, with its
# message, its metric, and the recovery without a hand. Needs a built program (AORTICA, default target/debug/aortica).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/services/lib.sh
export AORTICA=${AORTICA:-target/debug/aortica} PYTHONDONTWRITEBYTECODE=1
# One after the other: apt serves one at a time. What is missing is told by the tests.
need rabbitmq-server rabbitmq-server || true
need radosgw radosgw ceph-mon ceph-osd ceph-mgr ceph-common || true
need openssl openssl || true
log=$(mktemp "${TMPDIR:-/tmp}/aortica-storm.XXXXXX")
finish() {
    status=$?
    trap - EXIT
    kill -TERM "$storm" 2>/dev/null && wait "$storm" || true
    rm -f "$log"
    exit $status
}
# The two wait most of the time, and so they wait together.
(cd tests/faults && exec python3 -u -m unittest test_storm) > "$log" 2>&1 &
storm=$!
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
alone=0
(cd tests/faults && exec python3 -u -m unittest --verbose test_broker test_stages test_store test_tls) || alone=$?
wait "$storm" && together=0 || together=$?
cat "$log"
[ $alone -eq 0 ] && [ $together -eq 0 ]
