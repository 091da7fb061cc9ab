"""Has a bucket of Ceph RGW publish its created objects to an exchange of RabbitMQ, with nothing but the standard library.

    s3_notify.py BUCKET EXCHANGE AMQP_URL

The exchange must be there (durable, topic). See "Bucket Notifications" of Ceph.
"""
import http.client
import os
import sys
import urllib.parse

from s3_put import put, send

FORM = "application/x-www-form-urlencoded; charset=utf-8"


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
    status, text = send(connection, host, "POST", "/", urllib.parse.urlencode(form).encode(), kind=FORM)
    if status != 200:
        sys.exit(f"POST /: {status} {text[:300]!r}")
    xml = (
        '<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TopicConfiguration><Id>created</Id>'
        "<Topic>arn:aws:sns:default::created</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration>"
        "</NotificationConfiguration>"
    )
    put(connection, host, f"/{bucket}", xml.encode(), "notification")
    print(f"{bucket} tells {exchange} of created objects")


main()
