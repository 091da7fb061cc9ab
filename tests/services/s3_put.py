"""Makes a bucket, sets its policy, or puts a folder's files into one, with nothing but the standard library (AWS signature 4).

    s3_put.py bucket NAME
    s3_put.py policy NAME FILE
    s3_put.py folder DIR BUCKET PREFIX
"""
import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import sys
import urllib.parse


def send(connection, host, method, path, body=b"", query="", kind=None):
    """One signed request; status and body of the answer. `query`: a parameter without a value, or nothing; `kind`: of the body."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    region = os.environ["AWS_REGION"]
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    if kind:
        headers["content-type"] = kind
    names = ";".join(sorted(headers))
    path = urllib.parse.quote(path)
    query = f"{query}=" if query else ""
    request = "\n".join([method, path, query, *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, digest])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (now[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    connection.request(method, f"{path}?{query}" if query else path, body=body, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def put(connection, host, path, body, query=""):
    status, text = send(connection, host, "PUT", path, body, query)
    if status not in (200, 204):
        sys.exit(f"PUT {path}: {status} {text[:300]!r}")


def main():
    host = urllib.parse.urlparse(os.environ["AWS_ENDPOINT"]).netloc
    connection = http.client.HTTPConnection(host)
    if sys.argv[1] == "bucket":
        put(connection, host, f"/{sys.argv[2]}", b"")
    elif sys.argv[1] == "policy":
        put(connection, host, f"/{sys.argv[2]}", pathlib.Path(sys.argv[3]).read_bytes(), "policy")
    else:
        folder, bucket, prefix = pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4].strip("/")
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        for file in files:
            put(connection, host, f"/{bucket}/{prefix}/{file.relative_to(folder)}", file.read_bytes())
        print(f"{len(files)} objects put under {bucket}/{prefix}")


if __name__ == "__main__":
    main()
