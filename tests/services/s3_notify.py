"""Has a bucket of Ceph RGW publish its created objects to an exchange of RabbitMQ, with nothing but the standard library.

    s3_notify.py BUCKET EXCHANGE AMQP_URL

The exchange must be there (durable, topic). Requests are signed with AWS signature 4; see "Bucket Notifications" of Ceph.
"""
import datetime
import hashlib
import hmac
import http.client
import os
import sys
import urllib.parse


def request(connection, host, method, path, query, body):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    region = os.environ["AWS_REGION"]
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    if method == "POST":
        headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
    names = ";".join(sorted(headers))
    signed = "\n".join([method, path, query, *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, digest])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(signed.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (now[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    connection.request(method, path + ("?" + query if query else ""), body=body, headers=headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        sys.exit(f"{method} {path}: {response.status} {text[:300]!r}")
    return text


def main():
    bucket, exchange, url = sys.argv[1:4]
    host = urllib.parse.urlparse(os.environ["AWS_ENDPOINT"]).netloc
    broker = urllib.parse.urlparse(url)
    endpoint = f"amqp://{broker.hostname}:{broker.port}"
    connection = http.client.HTTPConnection(host)
    attributes = {"push-endpoint": endpoint, "amqp-exchange": exchange, "amqp-ack-level": "broker"}
    form = {"Action": "CreateTopic", "Name": "created"}
    for number, (name, value) in enumerate(attributes.items(), 1):
        form[f"Attributes.entry.{number}.key"] = name
        form[f"Attributes.entry.{number}.value"] = value
    request(connection, host, "POST", "/", "", urllib.parse.urlencode(form).encode())
    xml = (
        '<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TopicConfiguration><Id>created</Id>'
        "<Topic>arn:aws:sns:default::created</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration>"
        "</NotificationConfiguration>"
    )
    request(connection, host, "PUT", f"/{bucket}", "notification=", xml.encode())
    print(f"{bucket} tells {exchange} of created objects")


main()
