#!/usr/bin/env bash
# tritonclient and kserve, over gRPC and HTTP, against `aortica infer` on loopback: see clients.py.
set -euo pipefail
cd "$(dirname "$0")/../../.."
aortica=${AORTICA:-target/debug/aortica}
venv=.cache/clients
here=tests/peers/inference
models=crates/inference/tests/models
if ! cmp -s $here/clients.txt $venv/clients.txt; then
    echo "interop: installing the clients"
    python3 -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check -r $here/clients.txt
    cp $here/clients.txt $venv/clients.txt
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-interop.XXXXXX")
trap 'kill -TERM $server 2>/dev/null || true; wait; rm -rf "$work"' EXIT
$aortica infer $models --model scale,identity --grpc 127.0.0.1:0 --http 127.0.0.1:0 > "$work/addresses" 2>"$work/log" &
server=$!
address() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/addresses" "$1"; }
ready() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null; }
for _ in $(seq 300); do
    kill -0 $server 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    [ -s "$work/addresses" ] && ready "http://$(address http)/v2/health/ready" && break
    sleep 0.1
done
for client in triton-grpc triton-http kserve-grpc kserve-http; do
    $venv/bin/python $here/clients.py $client --grpc "$(address grpc)" --http "$(address http)" --golden $models/scale.golden.npz
done
