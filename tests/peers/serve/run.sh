#!/usr/bin/env bash
# psql, psycopg, SQLAlchemy, pandas and pyarrow, as they come, against `aortica serve` with TLS and users, on loopback: see clients.py.
# Needs a built program (AORTICA, default target/debug/aortica); installs Debian's postgresql-client and openssl, as root, where they are
# missing, and the rest into .cache/serve, hashes checked. Of R its own and the driver that Debian has (RPostgreSQL); RPostgres is
# tried where it is installed.
set -euo pipefail
cd "$(dirname "$0")/../../.."
. tests/services/lib.sh
export AORTICA=${AORTICA:-target/debug/aortica} PYTHONDONTWRITEBYTECODE=1
tools=.cache/serve
wanted=$(cksum < tests/peers/serve/requirements.txt)
if [ "$(cat $tools/installed 2>/dev/null)" != "$wanted" ]; then
    rm -rf $tools
    mkdir -p .cache
    python3 -c 'import ensurepip' 2>/dev/null || need python3-venv-is-missing python3-venv
    python3 -m venv $tools
    $tools/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: --require-hashes \
        --requirement tests/peers/serve/requirements.txt
    echo "$wanted" > $tools/installed
fi
need psql postgresql-client
need openssl openssl
need Rscript r-base-core
Rscript -e 'stopifnot(requireNamespace("RPostgreSQL", quietly = TRUE))' 2>/dev/null ||
    need RPostgreSQL-of-R r-cran-rpostgresql
work=$(mktemp -d "${TMPDIR:-/tmp}/aortica-serve.XXXXXX")
server=
trap '[ -z "$server" ] || kill -TERM $server 2>/dev/null || true; wait; rm -rf "$work"' EXIT

$AORTICA phantom --participants 12 --seed 5 --out "$work/cohort" >/dev/null 2>&1
$AORTICA score "$work/cohort/images" --lake "$work/lake" >/dev/null 2>&1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key.pem" -out "$work/certificate.pem" \
    -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
echo 'correct horse' | $AORTICA serve user anna --users "$work/users.toml" 2>/dev/null
echo 'battery staple' | $AORTICA serve user ben --role aggregate --users "$work/users.toml" 2>/dev/null
AORTICA_TEST_TOKEN=$($AORTICA serve token anna --users "$work/users.toml" 2>/dev/null)
export AORTICA_TEST_TOKEN AORTICA_TEST_WORK=$work
# as R and Python users read a release of it
PYTHON=$tools/bin/python tests/peers/release/run.sh "$AORTICA" "$work/lake"
printf '[serve]\nmemory_mib = 128\nquery_memory_mib = 64\nquery_disk_mib = 64\n' > "$work/aortica.toml"
$AORTICA serve --settings "$work/aortica.toml" --lake "$work/lake" --pg 127.0.0.1:0 --http 127.0.0.1:0 --users "$work/users.toml" \
    --tls-certificate "$work/certificate.pem" --tls-key "$work/key.pem" > "$work/addresses" 2> "$work/log" &
server=$!
export AORTICA_TEST_SERVER=$server
if ! await 60 test -s "$work/addresses"; then cat "$work/log" >&2; exit 1; fi
$tools/bin/python -m unittest discover --start-directory tests/peers/serve --pattern clients.py "$@"
