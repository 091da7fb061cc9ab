"""The short form of `make prove`'s storm: about 60 images."""

import pathlib
import tempfile
import unittest

import study
from storm import Storm

IMAGES = 60
BLOWS = {"kill": 7, "cut": 4, "slow": 1, "stall": 1, "restart_broker": 1}
SIZE = {"workers": 2, "committers": 1, "prefetch": 2, "rows": 5}


class AStorm(unittest.TestCase):
    def test_nothing_is_lost_and_the_table_is_that_of_score(self):
        servers = study.shared_servers()
        with tempfile.TemporaryDirectory() as folder:
            study.simulate(folder, IMAGES, seed=404)
            pathlib.Path(folder, "images/note.txt").write_text("not an image\n")
            servers.put_folder(f"{folder}/images", "images", "storm")
        record = Storm(servers, "s3://images/storm", 404, BLOWS, SIZE).run(print)
        self.assertEqual(record["rows"]["items"], IMAGES + 1)
        self.assertEqual(sum(record["blows"].values()), sum(BLOWS.values()))
        self.assertGreater(sum(record["connections_broken"].values()), 0)
        print({name: value for name, value in record.items() if name not in ("happened", "last_reports_of_committers")})


if __name__ == "__main__":
    unittest.main()
