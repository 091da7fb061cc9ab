"""Alarms, recording rules and dashboard: sound, tested, and about metrics that the program exports."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml
from k8s import TOP, number, source
from roles import committer, stage
from test_manifests import trial_secrets

FOLDER = TOP / "k8s/monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
ALARMS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
# What Prometheus itself adds: scrape.yaml's relabelling, and its own series.
SCRAPED_LABELS = {"namespace", "pod", "component", "job"}
OF_PROMETHEUS = {"up", "ALERTS"}


def promtool(*arguments, code=0, folder=FOLDER):
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert (done.returncode == 0) == (code == 0), done.stdout + done.stderr
    return done.stdout


def queries():
    """(place, PromQL) of the rules and of the dashboard, its variables filled in."""
    for rule in ALARMS + RECORDED:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$namespace", "aortica")


def samples(text):
    """Prometheus text format: series name -> label -> values."""
    found = {}
    for series, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        of_series = found.setdefault(series, {})
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            of_series.setdefault(label, set()).add(value)
    return found


def exported():
    """What real roles export, under the labels and values that they give."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        trial_secrets(folder)
        with stage(folder) as of_stage, committer() as of_committer:
            found = samples(of_stage("/metrics")[1]) | samples(of_committer("/metrics")[1])
    # Two have no value before a broker answers or a batch is computed: their names and labels from the source.
    for path, name, label in [("crates/pipeline/src/metrics.rs", "aortica_lane_depth", "lane"),
                              ("crates/inference/src/metrics.rs", "aortica_inference_batches", "rows")]:
        assert name not in found and f'"{name}"' in source(path) and f'"{label}"' in source(path)
    found["aortica_lane_depth"] = {"lane": set(re.findall(r'=> "([\w.]+)"', source("crates/pipeline/src/queue/topology.rs")))}
    found["aortica_inference_batches"] = {"model": {"locate"}, "rows": set()}
    for of_series in found.values():
        if "model" in of_series:
            of_series["model"].add("segment")
    return found


class Rules(unittest.TestCase):
    def test_promtool_takes_the_rules_and_every_case_holds(self):
        promtool("check", "rules", "rules.yaml")
        promtool("test", "rules", "rules_test.yaml")

    def test_no_alarm_is_without_a_case(self):
        for alarm in ALARMS:
            with self.subTest(alarm=alarm["alert"]), tempfile.TemporaryDirectory() as folder:
                without = json.loads(json.dumps(RULES))
                for group in without["groups"]:
                    group["rules"] = [rule for rule in group["rules"] if rule.get("alert") != alarm["alert"]]
                (pathlib.Path(folder) / "rules.yaml").write_text(json.dumps(without))
                cases = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())
                cases["tests"] = [case for case in cases["tests"] if f'"{alarm["alert"]}"' in str(case)]
                self.assertTrue(cases["tests"])
                (pathlib.Path(folder) / "rules_test.yaml").write_text(json.dumps(cases))
                promtool("test", "rules", "rules_test.yaml", code=1, folder=folder)

    def test_every_alarm_says_what_to_do(self):
        headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                    for line in source("docs/operations.md").splitlines() if line.startswith("#")}
        names = [alarm["alert"] for alarm in ALARMS]
        self.assertEqual(len(names), len(set(names)))
        for alarm in ALARMS:
            with self.subTest(alarm=alarm["alert"]):
                self.assertIn(alarm["labels"]["severity"], ["page", "ticket"])
                self.assertEqual(set(alarm["annotations"]), {"summary", "description", "runbook"})
                self.assertGreater(len(alarm["annotations"]["description"]), 80)
                page, anchor = alarm["annotations"]["runbook"].split("#")
                self.assertEqual((page, anchor), ("docs/operations.md", alarm["alert"].lower()))
                self.assertIn(anchor, headings)

    def test_the_limit_of_a_queue_is_that_of_the_program(self):
        most = number("crates/pipeline/src/queue/topology.rs", r"MAX_MESSAGES: i64 = ([\d_]+);")
        (alarm,) = [alarm for alarm in ALARMS if alarm["alert"] == "AorticaQueueNearlyFull"]
        self.assertEqual(float(re.search(r"> ([\d.e]+)", alarm["expr"])[1]), 0.8 * most)
        self.assertIn(f"{most:,}", alarm["annotations"]["description"])

    def test_the_scrape_settings_are_understood(self):
        # Debian's promtool is built without Kubernetes: the discovery is replaced, the rest is checked.
        settings = yaml.safe_load((FOLDER / "scrape.yaml").read_text())
        for job in settings["scrape_configs"]:
            self.assertEqual(job.pop("kubernetes_sd_configs"), [{"role": "pod"}])
            self.assertEqual(job["job_name"], "aortica")
            labels = {rule["target_label"] for rule in job["relabel_configs"] if "target_label" in rule}
            self.assertEqual({label for label in labels if not label.startswith("__")} | {"job"}, SCRAPED_LABELS)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(settings, file)
            file.flush()
            promtool("check", "config", "--syntax-only", file.name)


class Names(unittest.TestCase):
    def test_rules_and_dashboard_ask_for_what_is_exported(self):
        known, recorded = exported(), {rule["record"] for rule in RECORDED}
        self.assertGreaterEqual(known["aortica_faults_total"]["fault"], {"transient", "overloaded", "misconfigured", "bug"})
        asked = set()
        for place, query in queries():
            # `up{...}`, `aortica_x_bucket`, `aortica:x:y`: a name is followed by no parenthesis.
            for name, selector in re.findall(r"\b((?:aortica[:_]|nv_)[\w:]*|up|ALERTS)\b(?!\s*\()(?:\{([^}]*)\})?", query):
                asked.add(name)
                if name in recorded or name in OF_PROMETHEUS:
                    continue
                with self.subTest(place=place, name=name):
                    self.assertIn(name, list(known))
                    for label, operator, value in re.findall(r'(\w+)(=~|=|!=)"([^"]*)"', selector):
                        if label in SCRAPED_LABELS:
                            continue
                        self.assertIn(label, known[name])
                        for one in value.split("|") if operator == "=~" else [value]:
                            self.assertIn(one, known[name][label], f"{label} never has this value")
            grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
            labels = SCRAPED_LABELS | {"le", "status", "reason", "step", "fate", "fault", "lane", "model", "rows"}
            self.assertLessEqual(grouped, labels)
        # What nothing watches might as well not be counted; of overlays and published jobs only `score` and `submit` know.
        counted = {re.sub(r"_(bucket|sum|count)$", "", name) if name.startswith("aortica_") else name for name in known}
        watched = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked if ":" not in name} - OF_PROMETHEUS
        self.assertLessEqual({name for name in counted if name.startswith("aortica_")} - watched,
                             {"aortica_overlays_failed_total", "aortica_jobs_published_total"})
        self.assertLessEqual(recorded, asked, "a recording rule that nothing reads")


class Dashboard(unittest.TestCase):
    def test_every_query_is_sound(self):
        rules = [{"record": f"panel:query:{n}", "expr": query} for n, (_, query) in enumerate(queries())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            promtool("check", "rules", file.name)

    def test_panels_lie_side_by_side_and_explain_themselves(self):
        taken = set()
        for panel in DASHBOARD["panels"]:
            with self.subTest(panel=panel["title"]):
                self.assertTrue(panel["description"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24)
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken)
                taken |= cells
                for target in panel["targets"]:
                    self.assertIn('namespace="$namespace"', target["expr"])
        identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
        self.assertEqual(len(identifiers), len(set(identifiers)))


if __name__ == "__main__":
    unittest.main()
