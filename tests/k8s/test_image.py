"""The image: what root.sh gathers is all that the program needs, and the Containerfile says the same as the manifests."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from k8s import AORTICA, OVERLAYS, TOP, containers, source

CONTAINERFILE = source("k8s/image/Containerfile")


def environment():
    text = CONTAINERFILE.replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in line.split())


class Image(unittest.TestCase):
    def test_it_runs_as_the_user_of_the_manifests(self):
        (user,) = re.findall(r"^USER (\d+):(\d+)$", CONTAINERFILE, re.MULTILINE)
        self.assertIn('ENTRYPOINT ["/usr/bin/aortica"]', CONTAINERFILE)
        for overlay in OVERLAYS:
            for _, template, container in containers(overlay):
                context = template["spec"]["securityContext"]
                self.assertEqual((str(context["runAsUser"]), str(context["runAsGroup"])), user)
                if container["args"][0] == "infer":
                    self.assertIn(f"{environment()['AORTICA_PIPELINES']}/vfa-unet", container["args"])

    @unittest.skipUnless(os.geteuid() == 0, "chroot needs root")
    def test_the_files_suffice_and_cannot_be_written(self):
        with tempfile.TemporaryDirectory(dir=TOP / ".cache") as folder:
            root = pathlib.Path(folder) / "root"
            subprocess.run(["k8s/image/root.sh", str(root)], cwd=TOP, check=True, stdout=subprocess.DEVNULL,
                           env={**os.environ, "AORTICA": AORTICA})
            os.chmod(folder, 0o755)
            for path in root.rglob("*"):
                self.assertFalse(path.stat().st_mode & 0o022, f"{path} can be written")
                self.assertNotIn(path.name, ["sh", "bash", "busybox"])

            def inside(*arguments):
                command = [shutil.which("chroot"), "--userspec=10001:10001", str(root), "/usr/bin/aortica", *arguments]
                return subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout

            names = [pipeline["name"] for pipeline in json.loads(inside("pipeline", "list", "--json"))]
            self.assertIn("aortica", names)
            # reads a network with the ONNX Runtime library of the image
            described = inside("model", "describe", "/usr/share/aortica/pipelines/vfa-unet/segment.onnx")
            self.assertIn("segment", described)
            for file in environment().values():
                if file.startswith("/etc") or file.endswith(".so"):
                    self.assertTrue((root / file.lstrip("/")).is_file(), file)


if __name__ == "__main__":
    unittest.main()
