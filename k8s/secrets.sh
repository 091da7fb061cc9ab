#!/usr/bin/env bash
# Prints every Secret that the manifests name, for a trial: one broker user and one pair of S3 keys for all roles, a new study
# key, a new stage token and certificates of a new authority.
#
#   AORTICA_AMQP_URL=.. AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. k8s/secrets.sh | kubectl apply -f -
#
# In earnest each role gets its own user and keys (k8s/policies), and a controller that knows your vault writes the Secrets.
# STUDY_KEY=FILE takes a study key that exists: readings of one participant join only under one key, so keep it for ever.
# AORTICA_AMQP_MANAGEMENT=http(s)://user:password@host:15671/vhost is what KEDA asks. Needs openssl and kubectl (no cluster).
set -euo pipefail
: "${AORTICA_AMQP_URL:?amqps://user:password@host:5671/vhost}" "${AWS_ACCESS_KEY_ID:?}" "${AWS_SECRET_ACCESS_KEY:?}"
kubectl=${KUBECTL:-kubectl}
namespace=${NAMESPACE:-aortica}
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

secret() { # name key=file..
    local name=$1 from=()
    shift
    for pair in "$@"; do from+=("--from-file=$pair"); done
    echo ---
    $kubectl create secret generic "$name" --namespace "$namespace" "${from[@]}" --dry-run=client -o yaml
}
put() { # file content: without a newline at the end
    printf %s "$2" > "$work/$1"
}

put url "$AORTICA_AMQP_URL"
put id "$AWS_ACCESS_KEY_ID"
put secret "$AWS_SECRET_ACCESS_KEY"
put host "${AORTICA_AMQP_MANAGEMENT:-}"
put token "$(openssl rand -hex 32)"
if [ -n "${STUDY_KEY:-}" ]; then
    cp "$STUDY_KEY" "$work/study.key"
else
    printf 'name = "k-%s"\nsecret = "%s"\n' "$(openssl rand -hex 4)" "$(openssl rand -hex 32)" > "$work/study.key"
fi
# An authority that signs one certificate and is forgotten: its key is not kept.
names=DNS:locate,DNS:segment,DNS:locate.$namespace.svc,DNS:segment.$namespace.svc
names=$names,DNS:locate-pods.$namespace.svc,DNS:segment-pods.$namespace.svc
ec=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
{
    openssl req -x509 "${ec[@]}" -keyout "$work/ca.key" -out "$work/ca.crt" -days 825 -subj "/CN=aortica stage services"
    openssl req "${ec[@]}" -keyout "$work/tls.key" -out "$work/tls.csr" -subj "/CN=locate"
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "$names" > "$work/extensions"
    openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 825 \
        -extfile "$work/extensions" -out "$work/tls.crt"
} 2> "$work/openssl" || { cat "$work/openssl" >&2; exit 1; }

for role in worker commit submit; do
    secret aortica-amqp-$role url="$work/url"
    secret aortica-s3-$role access-key-id="$work/id" secret-access-key="$work/secret"
done
[ ! -s "$work/host" ] || secret aortica-amqp-keda host="$work/host"
secret aortica-study study.key="$work/study.key"
secret aortica-stage-token token="$work/token"
secret aortica-stage-tls tls.crt="$work/tls.crt" tls.key="$work/tls.key" ca.crt="$work/ca.crt"
