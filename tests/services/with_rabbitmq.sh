#!/usr/bin/env bash
# Runs a command with a private RabbitMQ whose URL is in AORTICA_TEST_AMQP_URL, and stops it afterwards. Where none can be had
# the command runs without it and its tests say that they are skipped; CI requires it.
set -euo pipefail
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/aortica-rabbitmq.XXXXXX")
trap '"$here/rabbitmq.sh" stop "$dir"; rm -rf "$dir"' EXIT
if url=$("$here/rabbitmq.sh" start "$dir"); then
    export AORTICA_TEST_AMQP_URL=$url
elif [ "${CI:-}" = true ]; then
    exit 1
else
    echo "SKIPPED: the tests that need RabbitMQ (it cannot be had here, see above; CI requires it)" >&2
fi
"$@"
