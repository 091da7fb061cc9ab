"""A stage service that hangs, that answers too late, that is scaled to zero: jobs wait, and go on by themselves."""

import signal
import unittest

import study

# One try of a job misses its deadline soon; how long a network takes on a busy machine is well below.
SETTINGS = "[stages]\ndeadline_ms = 4000\n[run]\ncommit_after_s = 1\n"
TRANSIENT, RETRIED = 'aortica_faults_total{fault="transient"}', 'aortica_jobs_total{fate="retried"}'
LATE = "asking the stage locate: "


class StageServices(unittest.TestCase):
    def setUp(self):
        self.mine = study.Study(study.shared_servers(), self.id().rsplit("_", 1)[1], SETTINGS)
        self.locate, self.segment = (self.mine.stage(model) for model in self.mine.stages)
        self.worker, self.committer = self.mine.worker(), self.mine.committer()
        self.mine.until("the worker is ready", lambda: (self.worker.fetch("/health/ready") or [0])[0] == 200, tended=False)
        self.source, self.images = study.small_cohort("stages")

    def tearDown(self):
        self.mine.stop()

    def the_jobs_wait(self, message):
        """Every job has met the fault, says so, is counted, and waits on its queue: none has a row."""
        self.mine.until("every job is put back", lambda: self.worker.metric(RETRIED) >= self.images, tended=False)
        self.assertIn(message, self.worker.said())
        self.assertIn(LATE, self.worker.said())
        self.assertGreaterEqual(self.worker.metric(TRANSIENT), self.images)
        self.assertEqual(self.mine.progress(), (self.images, 0))

    def every_item_has_its_row(self):
        self.mine.until("every item has its row", self.mine.is_complete, tended=False)
        self.assertEqual(self.mine.progress(), (self.images, self.images))
        told = self.mine.status()["submissions"][0]
        self.assertEqual((told["failed"], told["scored"] > 0), ({}, True), told)
        self.assertEqual((self.worker.end(), self.committer.end()), (0, 0), "no role had to be started again")

    def test_a_stage_service_that_hangs(self):
        self.locate.signal(signal.SIGSTOP)
        self.mine.submit(self.source)
        self.the_jobs_wait("the deadline passed before ")
        self.locate.signal(signal.SIGCONT)
        self.every_item_has_its_row()

    def test_a_stage_service_that_is_slow(self):
        self.mine.stages["locate"].slow(20)
        self.mine.submit(self.source)
        self.the_jobs_wait("the deadline passed before ")
        # slow as before, but in time: nothing more is put back, and the time of the step shows it
        self.mine.stages["locate"].slow(0.3)
        self.every_item_has_its_row()
        seen = self.worker.counted
        mean_s = seen['aortica_step_seconds_sum{step="locate"}'] / seen['aortica_step_seconds_count{step="locate"}']
        self.assertGreater(mean_s, 0.3)

    def test_a_stage_service_that_is_scaled_to_zero(self):
        self.assertEqual(self.locate.end(), 0)
        self.mine.stages["locate"].close()
        self.mine.submit(self.source)
        self.the_jobs_wait("the service cannot be reached (Unavailable")
        # a worker that starts meanwhile says what is missing, and ends for its supervisor to start it again
        urls = ",".join(f"http://{self.mine.stages[model].address}" for model in ("locate", "segment"))
        said = self.mine.run("worker", f"--lake={self.mine.lake}", f"--stages={urls}", "--threads=1", code=study.OUTSIDE)
        self.assertIn("the service cannot be reached (Unavailable", said)
        self.locate.start()
        self.mine.stages["locate"].open()
        self.every_item_has_its_row()


if __name__ == "__main__":
    unittest.main()
