"""A broker that is away when roles start."""

import unittest

import study

AWAY = "no connection to the broker, trying again: connecting to the broker: the broker does not answer"
CONNECTED = "aortica_broker_connected"


class BrokerDownAtStart(unittest.TestCase):
    def test_roles_say_so_wait_and_go_on_when_it_comes(self):
        mine = study.Study(study.shared_servers(), "late", "[run]\ncommit_after_s = 1\n")
        source, images = study.small_cohort("late")
        mine.broker.close()
        for model in mine.stages:
            mine.stage(model)
        roles = [mine.worker(), mine.committer(), mine.role("submit", "submit", source, f"--lake={mine.lake}", "--json")]
        for role in roles:
            role.says(AWAY)
        for role in roles[:2]:
            self.assertEqual(role.metrics().get(CONNECTED), 0)
            self.assertEqual(role.fetch("/health/ready")[0], 503)
            self.assertEqual(role.fetch("/health/live")[0], 200)
        mine.broker.open()
        submit = roles.pop()
        mine.until("jobs are submitted", lambda: submit.process.poll() is not None, tended=False)
        self.assertEqual(submit.process.returncode, 0, submit.said())
        mine.until("every item has its row", mine.is_complete, tended=False)
        self.assertEqual(mine.progress(), (images, images))
        for role in roles:
            self.assertEqual(role.metric(CONNECTED), 1)
            self.assertEqual(role.fetch("/health/ready")[0], 200)
            self.assertEqual(role.end(), 0, f"{role.name} is the process that waited\n{role.said()}")

    def test_a_role_ends_when_its_patience_is_spent(self):
        mine = study.Study(study.shared_servers(), "never", "[queue]\nreconnect_within_s = 1\n")
        mine.broker.close()
        for arguments in (["commit"], ["worker", "--threads=1"], ["submit", study.small_cohort("late")[0]]):
            with self.subTest(role=arguments[0]):
                said = mine.run(*arguments, f"--lake={mine.lake}", code=study.OUTSIDE, by_proxy=True)
                self.assertIn("aortica: connecting to the broker: the broker does not answer", said)
                self.assertIn(AWAY, said)


if __name__ == "__main__":
    unittest.main()
