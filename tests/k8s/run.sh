#!/usr/bin/env bash
# Checks everything under k8s/: manifests against the schemas of Kubernetes and KEDA and against the program itself, alert
# rules by promtool, policies by a real RabbitMQ. Needs a built program (AORTICA, default target/debug/aortica); installs
# its tools into .cache/k8s, hashes checked, and Debian's prometheus, as root, where promtool is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/services/lib.sh
tools=.cache/k8s
wanted=$(cksum < tests/k8s/requirements.txt)
if [ "$(cat $tools/installed 2>/dev/null)" != "$wanted" ]; then
    rm -rf $tools
    mkdir -p .cache
    python3 -c 'import ensurepip' 2>/dev/null || need python3-venv-is-missing python3-venv
    python3 -m venv $tools
    $tools/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: --require-hashes \
        --requirement tests/k8s/requirements.txt
    echo "$wanted" > $tools/installed
fi
need promtool prometheus
need openssl openssl
export AORTICA=${AORTICA:-target/debug/aortica} KUBECTL=$PWD/$tools/bin/kubectl PYTHONDONTWRITEBYTECODE=1
$tools/bin/python -m unittest discover --start-directory tests/k8s --pattern 'test_*.py' --buffer "$@"
