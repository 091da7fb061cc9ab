"""A store that refuses, and a disk that is full."""

import os
import subprocess
import unittest

import study

SETTINGS = "[run]\ncommit_after_s = 1\n"
MISCONFIGURED, RETRIED = 'aortica_faults_total{fault="misconfigured"}', 'aortica_jobs_total{fate="retried"}'
TRANSIENT = 'aortica_faults_total{fault="transient"}'
REFUSED = "the object store refused access; check credentials and the bucket's policy"


def may(user, bucket, *actions):
    """A statement of a bucket's policy, as Ceph takes it."""
    things = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return {"Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]}, "Action": list(actions), "Resource": things}


class Permissions(unittest.TestCase):
    def test_roles_end_with_code_3_and_jobs_wait_until_the_policy_is_mended(self):
        servers = study.shared_servers()
        mine = study.Study(servers, "refused", SETTINGS)
        source, images = study.small_cohort("refused")
        user = servers.make_user("narrow")
        # one that may nothing
        for arguments in (["submit", source], ["worker", "--threads=1"], ["commit"]):
            with self.subTest(role=arguments[0]):
                said = mine.run(*arguments, f"--lake={mine.lake}", code=3, **user)
                self.assertIn("check credentials and the bucket's policy", said.splitlines()[-1])
                self.assertNotIn("narrow-secret", said)

        # one that may read no image any more, as after a slip in the bucket's policy
        every = may("narrow", "lake", "s3:*")
        servers.set_policy("lake", [every])
        servers.set_policy("images", [may("narrow", "images", "s3:ListBucket")])
        for model in mine.stages:
            mine.stage(model)
        # first, so that the tables are not the narrow user's: an object is its writer's
        mine.submit(source)
        worker, committer = mine.worker(**user), mine.committer()
        mine.until("every job is put back", lambda: worker.metric(RETRIED) >= images, tended=False)
        self.assertIn(REFUSED, worker.said())
        self.assertGreaterEqual(worker.metric(MISCONFIGURED), images)
        self.assertEqual(mine.progress(), (images, 0), "no image is failed(access_denied) for it")
        servers.set_policy("images", [may("narrow", "images", "s3:ListBucket", "s3:GetObject")])
        mine.until("every item has its row", mine.is_complete, tended=False)

        # one that may put no artifact
        source, more = study.small_cohort("refused-too", seed=78)
        servers.set_policy("lake", [may("narrow", "lake", "s3:ListBucket", "s3:GetObject")])
        before = worker.metric(RETRIED)
        mine.submit(source)
        mine.until("every job is put back", lambda: worker.metric(RETRIED) >= before + more, tended=False)
        self.assertRegex(worker.said(), "putting an artifact: .*; check credentials and the bucket's policy")
        servers.set_policy("lake", [every])
        mine.until("every item has its row", mine.is_complete, tended=False)
        told = mine.status()["submissions"]
        self.assertEqual([(each["pending"], each["failed"]) for each in told], [(0, {}), (0, {})])
        self.assertEqual((worker.end(), committer.end()), (0, 0), "no role had to be started again")


class FullDisk(unittest.TestCase):
    def test_records_wait_until_the_committer_has_room(self):
        mine = study.Study(study.shared_servers(), "full", SETTINGS)
        source, images = study.small_cohort("full")
        lake = mine.folder / "lake"
        tables = lake / "instances"
        tables.mkdir(parents=True)
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "aortica", tables], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("CI") == "true":
                raise
            self.skipTest(f"a small file system cannot be mounted here; CI requires it: {error}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", tables])
        for model in mine.stages:
            mine.stage(model)
        committer = mine.committer(lake=lake)
        mine.until("the tables are there", lambda: (committer.fetch("/health/ready") or [0])[0] == 200, tended=False)
        ballast = tables / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass
        worker = mine.worker(lake=lake)
        mine.submit(source, lake)
        committer.says("a commit failed, trying again: ")
        self.assertIn("No space left on device", committer.said())
        mine.until("the fault is counted", lambda: committer.metric(TRANSIENT) > 0, tended=False)
        self.assertEqual(mine.progress(lake), (images, 0))
        # it does not wait for ever: its supervisor sees the end, and starts it again
        mine.until("the committer has ended and runs again", lambda: committer.exits and committer.process.poll() is None)
        self.assertEqual(set(committer.exits), {study.OUTSIDE})
        ballast.unlink()
        mine.until("every item has its row", lambda: mine.is_complete(lake))
        self.assertEqual(len(mine.table(lake)), images)
        self.assertEqual((worker.end(), worker.exits), (0, []), "the worker never noticed")


if __name__ == "__main__":
    unittest.main()
