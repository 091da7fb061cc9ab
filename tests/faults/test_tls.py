"""Broker and store that are spoken to by TLS only, with a certificate of an authority of the study's own."""

import ssl
import subprocess
import unittest

import study
from proxy import Proxy

SETTINGS = "[run]\ncommit_after_s = 1\n[queue]\nreconnect_within_s = 1\n"
UNTRUSTED = "invalid peer certificate"


def authority(folder):
    """A new authority and a certificate of it for 127.0.0.1: the authority's file, and the context of a server."""
    folder.mkdir()

    def make(name, *more):
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        named = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run([*new, *named, *more], cwd=folder, check=True, capture_output=True)

    make("ca")
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    make("server", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return folder / "ca.crt", context


class Tls(unittest.TestCase):
    def setUp(self):
        self.mine = study.Study(study.shared_servers(), "tls-" + self.id().rsplit("_", 1)[1], SETTINGS)
        known, context = authority(self.mine.folder / "known")
        broker, store = (Proxy(proxy.server, tls=context) for proxy in (self.mine.broker, self.mine.store))
        plain = self.mine.environment()["AORTICA_AMQP_URL"]
        self.by_tls = {
            "AORTICA_AMQP_URL": plain.replace("amqp://", "amqps://").replace(self.mine.broker.address, broker.address),
            "AWS_ENDPOINT": f"https://{store.address}",
            "SSL_CERT_FILE": str(known),
        }
        # nothing may get through beside them
        self.mine.broker.close()
        self.mine.store.close()
        self.source, self.images = study.small_cohort("tls")

    def test_images_are_read_by_tls(self):
        for model in self.mine.stages:
            self.mine.stage(model)
        roles = [self.mine.worker(**self.by_tls), self.mine.committer(**self.by_tls)]
        self.mine.run("submit", self.source, f"--lake={self.mine.lake}", **self.by_tls)
        self.mine.until("every item has its row", self.mine.is_complete, tended=False)
        self.assertEqual(self.mine.progress(), (self.images, self.images))
        for role in roles:
            self.assertEqual(role.end(), 0, role.said())

    def test_a_certificate_of_nobody_known_is_refused(self):
        direct = self.mine.environment(by_proxy=False)
        stranger, _ = authority(self.mine.folder / "stranger")
        for server in ("AORTICA_AMQP_URL", "AWS_ENDPOINT"):
            with self.subTest(server):
                environment = {name: direct[name] for name in self.by_tls if name in direct}
                environment |= {"SSL_CERT_FILE": str(stranger), server: self.by_tls[server]}
                said = self.mine.run("submit", self.source, f"--lake={self.mine.lake}", code=study.OUTSIDE, **environment)
                self.assertIn(UNTRUSTED, said)


if __name__ == "__main__":
    unittest.main()
