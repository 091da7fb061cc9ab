"""The manifests against the schemas of Kubernetes and KEDA, against their own rules, and against the program."""

import base64
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from k8s import (
    AORTICA, KUBECTL, OVERLAYS, TOP, aortica, config_map, containers, matches, name, number, objects, of_kind, pods,
    settings, source,
)
from roles import committer, stage

# The oldest Kubernetes that is promised (preStop.sleep is on by default since), and the newest whose schema is at hand.
VERSIONS = ["1.30", "1.37"]
ROLES = {"infer", "worker", "commit", "submit"}
# The variables that hold a secret themselves, and so may only come from one.
SECRET_VARIABLES = {"AORTICA_AMQP_URL", "AORTICA_STAGE_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                    "AWS_SESSION_TOKEN"}


def each_container(test):
    """Runs a test for every container of every overlay."""
    def run(self):
        seen = 0
        for overlay in OVERLAYS:
            for document, template, container in containers(overlay):
                with self.subTest(overlay=overlay, object=name(document), container=container["name"]):
                    test(self, overlay, document, template, container)
                seen += 1
        self.assertGreaterEqual(seen, 15, "five workloads in three overlays")
    return run


def variables(overlay, container):
    """Every variable of a container: name -> its value, or None where a Secret holds it."""
    found = {}
    for source_ in container.get("envFrom", []):
        found.update(config_map_named(overlay, source_["configMapRef"]["name"]))
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value")
    return found


def config_map_named(overlay, wanted):
    (found,) = [c["data"] for c in of_kind(overlay, "ConfigMap") if c["metadata"]["name"] == wanted]
    return found


def arguments(overlay, container):
    """The arguments as the container gets them: $(NAME) replaced."""
    values = variables(overlay, container)
    return [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], argument) for argument in container["args"]]


def option(overlay, container, flag):
    return [a.split("=", 1)[1] for a in arguments(overlay, container) if a.startswith(f"{flag}=")]


def mounts(template, container):
    """Mount path -> volume."""
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container.get("volumeMounts", [])}


def mounted_file(template, container, path):
    """(Secret or ConfigMap, key) that a path in a container shows; None where nothing is mounted."""
    path = pathlib.PurePosixPath(path)
    volume = mounts(template, container).get(str(path.parent))
    if volume is None:
        return None
    content = volume.get("secret") or volume["configMap"]
    items = content.get("items")
    keys = [path.name] if items is None else [item["key"] for item in items if item["path"] == path.name]
    return (content.get("secretName") or content["name"], keys[0]) if keys else None


class Schemas(unittest.TestCase):
    def test_every_object_is_what_kubernetes_expects(self):
        for overlay in OVERLAYS:
            for document in objects(overlay):
                if document["apiVersion"].startswith("keda.sh/"):
                    continue
                for version in VERSIONS:
                    with self.subTest(overlay=overlay, object=name(document), version=version):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_the_scaling_is_what_keda_expects(self):
        found = 0
        for overlay in OVERLAYS:
            for document in objects(overlay):
                if not document["apiVersion"].startswith("keda.sh/"):
                    continue
                found += 1
                with self.subTest(overlay=overlay, object=name(document)):
                    model = getattr(keda, document["kind"]).model_validate(document)
                    known = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
                    self.assertEqual(known, document, "fields that the definition does not know are dropped")
        self.assertEqual(found, 4, "two objects in two overlays")

    def test_every_object_lies_in_the_namespace_and_is_unique(self):
        for overlay in OVERLAYS:
            names = [name(document) for document in objects(overlay)]
            self.assertEqual(len(names), len(set(names)))
            for document in objects(overlay):
                with self.subTest(overlay=overlay, object=name(document)):
                    if document["kind"] != "Namespace":
                        self.assertEqual(document["metadata"]["namespace"], "aortica")
                    self.assertEqual(document["metadata"]["labels"]["app.kubernetes.io/name"], "aortica")


class Hardening(unittest.TestCase):
    @each_container
    def test_what_every_container_must_have(self, overlay, document, template, container):
        pod = template["spec"]
        for forbidden in ["hostNetwork", "hostPID", "hostIPC"]:
            self.assertFalse(pod.get(forbidden))
        self.assertIs(pod["automountServiceAccountToken"], False)
        self.assertIs(pod["enableServiceLinks"], False)
        self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
        self.assertGreater(pod["securityContext"]["runAsUser"], 1000)
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse([volume for volume in pod.get("volumes", []) if "hostPath" in volume])
        context = container["securityContext"]
        self.assertIs(context["allowPrivilegeEscalation"], False)
        self.assertIs(context["readOnlyRootFilesystem"], True)
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
        self.assertFalse(context.get("privileged"))
        self.assertTrue(all(mount["readOnly"] for mount in container["volumeMounts"]))

    @each_container
    def test_resources_are_asked_for_and_bounded(self, overlay, document, template, container):
        for side in ["requests", "limits"]:
            self.assertLessEqual({"cpu", "memory"}, set(container["resources"][side]))
        self.assertEqual("nvidia.com/gpu" in container["resources"]["limits"],
                         overlay == "gpu" and container["name"] == "infer")

    @each_container
    def test_an_image_has_a_version(self, overlay, document, template, container):
        self.assertRegex(container["image"], r"^[a-z.]+/aortica(-cuda)?:\d+\.\d+\.\d+$")
        self.assertEqual("-cuda:" in container["image"], overlay == "gpu" and container["name"] == "infer")

    def test_every_account_exists_and_may_nothing(self):
        for overlay in OVERLAYS:
            accounts = {a["metadata"]["name"] for a in of_kind(overlay, "ServiceAccount")}
            self.assertEqual({template["spec"]["serviceAccountName"] for _, template in pods(overlay)}, accounts)
            self.assertFalse(of_kind(overlay, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"))

    def test_the_namespace_refuses_more(self):
        for overlay in OVERLAYS:
            (namespace,) = of_kind(overlay, "Namespace")
            self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")


class Secrets(unittest.TestCase):
    def test_no_manifest_holds_a_secret(self):
        for overlay in OVERLAYS:
            self.assertFalse(of_kind(overlay, "Secret"))
            text = yaml.safe_dump_all(objects(overlay))
            self.assertNotRegex(text, r"://[^/\s:@]+:[^/\s@]+@", "a URL with a password")
            self.assertNotRegex(text, r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|[0-9a-f]{40}")

    @each_container
    def test_secret_variables_come_from_secrets(self, overlay, document, template, container):
        for variable, value in variables(overlay, container).items():
            if variable in SECRET_VARIABLES:
                self.assertIsNone(value, variable)
        for variable in container["env"]:
            if "value" not in variable:
                self.assertEqual(set(variable["valueFrom"]), {"secretKeyRef"})

    def test_secrets_sh_makes_every_secret_that_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            made = trial_secrets(pathlib.Path(folder))
        referenced = set()
        for overlay in OVERLAYS:
            for _, template, container in containers(overlay):
                for variable in container["env"]:
                    if "valueFrom" in variable:
                        reference = variable["valueFrom"]["secretKeyRef"]
                        referenced.add((reference["name"], reference["key"]))
                    elif variable["name"].endswith("_FILE"):
                        found = mounted_file(template, container, variable["value"])
                        self.assertIsNotNone(found, f"{variable['name']} names a file that nothing mounts")
                        referenced.add(found)
                for volume in mounts(template, container).values():
                    for item in volume.get("secret", {}).get("items", []):
                        referenced.add((volume["secret"]["secretName"], item["key"]))
            for document in of_kind(overlay, "TriggerAuthentication"):
                referenced |= {(r["name"], r["key"]) for r in document["spec"]["secretTargetRef"]}
        referenced.add(("aortica-study", "study.key"))
        self.assertEqual(referenced, set(made))


def trial_secrets(folder):
    """What k8s/secrets.sh makes: (Secret, key) -> content; the certificates and the token also as files in `folder`."""
    environment = {**os.environ, "KUBECTL": KUBECTL, "AORTICA_AMQP_URL": "amqp://user:word@broker/%2f",
                   "AORTICA_AMQP_MANAGEMENT": "http://user:word@broker:15672/%2f",
                   "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    printed = subprocess.run(["k8s/secrets.sh"], cwd=TOP, check=True, capture_output=True, text=True, env=environment).stdout
    made = {}
    for document in filter(None, yaml.safe_load_all(printed)):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
        for key, value in document["data"].items():
            made[document["metadata"]["name"], key] = base64.b64decode(value).decode()
    for secret, key in [("aortica-stage-tls", "tls.crt"), ("aortica-stage-tls", "tls.key"), ("aortica-stage-tls", "ca.crt"),
                        ("aortica-stage-token", "token"), ("aortica-study", "study.key")]:
        (folder / key).write_text(made[secret, key])
    return made


class Program(unittest.TestCase):
    """What the manifests say to the program is what the program understands."""

    def test_the_settings_are_understood(self):
        for overlay in OVERLAYS:
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(config_map(overlay, "aortica-settings")["settings.toml"])
                file.flush()
                self.assertIn("every setting is understood", aortica("config", "check", file.name))

    @each_container
    def test_every_file_that_settings_and_arguments_name_is_mounted(self, overlay, document, template, container):
        role, read = container["args"][0], settings(overlay)
        named = {
            "infer": [read["infer"]["certificate"], read["infer"]["key"]],
            "worker": [read["study"]["key_file"], read["stages"]["ca_certificate"]],
            "submit": [read["study"]["key_file"]],
            "commit": [],
        }[role]
        for path in named + option(overlay, container, "--settings"):
            self.assertIsNotNone(mounted_file(template, container, path), path)
        if role != "infer":
            self.assertNotIn("tls.key", str(template), "only a stage service has its private key")

    @each_container
    def test_every_argument_is_an_option_of_the_role(self, overlay, document, template, container):
        role, *rest = arguments(overlay, container)
        self.assertIn(role, ROLES)
        known = set(re.findall(r"--[a-z-]+", aortica(role, "--help")))
        self.assertEqual(len(known & {"--help", "--settings"}), 2)
        for argument in rest:
            if argument.startswith("-"):
                self.assertIn(argument.split("=")[0], known)
        self.assertNotIn("command", container, "the image names the program")

    @each_container
    def test_the_program_takes_the_arguments(self, overlay, document, template, container):
        """With nothing behind them, a role comes as far as the first thing that is missing: broker or certificate."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "images").mkdir()
            (folder / "settings.toml").write_text(config_map(overlay, "aortica-settings")["settings.toml"])
            site = {"SOURCE": str(folder / "images"), "LAKE": str(folder / "lake")}
            here = [re.sub(r"\$\((\w+)\)", lambda found: site[found[1]], argument) for argument in container["args"]]
            here = [re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", argument) for argument in here]
            here = [argument.replace("/etc/aortica", str(folder)) for argument in here]
            here = [argument.replace("/usr/share/aortica/pipelines", "pipelines") for argument in here]
            clean = {k: v for k, v in os.environ.items() if not k.startswith(("AORTICA_AMQP", "AORTICA_STAGE", "AWS_"))}
            done = subprocess.run([AORTICA, *here], cwd=TOP, env=clean, capture_output=True, text=True, timeout=60)
        missing = "TLS file /run/secrets/aortica/stage-tls/" if here[0] == "infer" else "no broker: set AORTICA_AMQP_URL"
        self.assertIn(missing, done.stderr)
        self.assertEqual(done.returncode, 3)

    @each_container
    def test_every_variable_is_one_that_the_program_reads(self, overlay, document, template, container):
        text = source("crates/aortica/src/environment.rs")
        plain, secrets = (set(re.findall(rf'{call}\("(\w+)"\)', text)) for call in ["variable", "secret"])
        self.assertIn("AORTICA_AMQP_URL", secrets)
        known = plain | secrets | {f"{secret}_FILE" for secret in secrets}
        expanded = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
        site = {key for key in config_map(overlay, "aortica-site")}
        for variable in variables(overlay, container):
            self.assertTrue(variable in known | expanded | site or variable.startswith("AWS_"), variable)
        # What the site names and nobody reads is a mistake as well.
        everywhere = set(re.findall(r"\$\((\w+)\)", str(objects(overlay))))
        self.assertTrue(all(key in everywhere or key.startswith("AWS_") for key in site), site)

    def test_probes_ask_what_the_roles_answer(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            trial_secrets(folder)
            with stage(folder) as of_stage, committer() as of_committer:
                for overlay in OVERLAYS:
                    for document, template, container in containers(overlay):
                        role = container["args"][0]
                        if role == "submit":
                            continue
                        with self.subTest(overlay=overlay, object=name(document)):
                            self.check_probes(container, role, of_stage if role == "infer" else of_committer)
                # worker and committer share crates/aortica/src/health.rs; a broker that is away means alive and not ready
                self.assertEqual(of_committer("/health/live")[0], 200)
                self.assertEqual(of_committer("/health/ready")[0], 503)
                self.assertEqual(of_stage("/health/live")[0], 401, "another role's path")

    def check_probes(self, container, role, fetch):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        self.assertEqual(option_port(container, "--http"), ports["http"])
        for kind in ["startupProbe", "readinessProbe", "livenessProbe"]:
            get = container[kind]["httpGet"]
            self.assertEqual(get["port"], "http")
            self.assertEqual(get.get("scheme", "HTTP"), "HTTPS" if role == "infer" else "HTTP")
            self.assertIn(fetch(get["path"])[0], [200, 503] if get["path"].endswith("ready") else [200])
        self.assertTrue(container["livenessProbe"]["httpGet"]["path"].endswith("/live"), "a slow broker is no reason to die")
        self.assertTrue(container["readinessProbe"]["httpGet"]["path"].endswith("/ready"))

    def test_pods_are_given_the_time_that_the_program_takes_to_leave(self):
        grace = number("crates/pipeline/src/worker.rs", r"grace: Duration::from_secs\((\d+)\)")
        cancel = number("crates/pipeline/src/queue/amqp.rs", r"CALL_WITHIN: Duration = Duration::from_secs\((\d+)\)")
        for overlay in OVERLAYS:
            least = {"worker": cancel + grace, "commit": 2 * 60, "submit": cancel,
                     "infer": 5 + settings(overlay)["infer"]["drain_s"]}
            for _, template, container in containers(overlay):
                given = template["spec"]["terminationGracePeriodSeconds"]
                pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                self.assertGreater(given, least[container["args"][0]])
                self.assertEqual(pause, 5 if container["name"] == "infer" else 0)

    def test_an_overlay_for_gpus_changes_the_fingerprint_everywhere(self):
        for overlay in OVERLAYS:
            devices, providers = set(), set()
            for _, _, container in containers(overlay):
                if container["args"][0] == "infer":
                    devices |= set(option(overlay, container, "--device")) or {settings(overlay)["networks"]["device"]}
                if container["args"][0] == "submit":
                    providers |= set(option(overlay, container, "--device")) or {"cpu"}
            self.assertEqual(devices, {"cuda" if overlay == "gpu" else "cpu"})
            self.assertEqual(providers, devices, "jobs of another fingerprint wait until they are given up")


def option_port(container, flag):
    (address,) = [a.split("=")[1] for a in container["args"] if a.startswith(f"{flag}=")]
    host, port = address.rsplit(":", 1)
    assert host == "0.0.0.0", "a probe does not come from loopback"
    return int(port)


class Selectors(unittest.TestCase):
    """Labels, ports and names that point at each other do so."""

    def labels(self, overlay):
        return {name(document): template["metadata"]["labels"] for document, template in pods(overlay)}

    def test_services_reach_one_workload_by_a_port_that_it_opens(self):
        for overlay in OVERLAYS:
            for service in of_kind(overlay, "Service"):
                found = [(template, container) for _, template, container in containers(overlay)
                         if matches({"matchLabels": service["spec"]["selector"]}, template["metadata"]["labels"])]
                self.assertEqual(len(found), 1, name(service))
                opened = {port["name"]: port["containerPort"] for port in found[0][1]["ports"]}
                for port in service["spec"]["ports"]:
                    self.assertEqual(opened[port["targetPort"]], port["port"])
                self.assertEqual(option_port(found[0][1], "--grpc"), opened["grpc"])

    def test_stage_urls_are_services_and_names_of_networks(self):
        models = {path.name.split(".")[0] for path in (TOP / "pipelines/vfa-unet").glob("*.onnx")}
        for overlay in OVERLAYS:
            served = {}
            for document, _, container in containers(overlay):
                if container["args"][0] == "infer":
                    (model,) = option(overlay, container, "--model")
                    served[document["metadata"]["name"]] = model
            self.assertEqual(set(served.values()), models)
            services = {s["metadata"]["name"]: s["spec"]["ports"][0]["port"] for s in of_kind(overlay, "Service")}
            (worker,) = [c for _, _, c in containers(overlay) if c["args"][0] == "worker"]
            asked = set()
            for url in ",".join(option(overlay, worker, "--stages")).split(","):
                model, host, port = re.fullmatch(r"(\w+)=https://([\w-]+):(\d+)", url).groups()
                self.assertEqual(services[host], int(port))
                self.assertEqual(served[host], model)
                asked.add(model)
            self.assertEqual(asked, models)

    def test_scraped_ports_are_those_of_metrics(self):
        for overlay in OVERLAYS:
            for document, template, container in containers(overlay):
                if container["args"][0] == "submit":
                    continue
                said = {key.split("/")[1]: value for key, value in template["metadata"]["annotations"].items()}
                scheme = "https" if container["args"][0] == "infer" else "http"
                port = str(option_port(container, "--http"))
                self.assertEqual(said, {"scrape": "true", "scheme": scheme, "port": port, "path": "/metrics"})

    def test_budgets_and_spread_are_of_the_workload_itself(self):
        for overlay in OVERLAYS:
            labels = self.labels(overlay)
            for budget in of_kind(overlay, "PodDisruptionBudget"):
                taken = [w for w, own in labels.items() if matches(budget["spec"]["selector"], own)]
                self.assertEqual(taken, [f"Deployment/{budget['metadata']['name']}"])
            self.assertEqual(len(of_kind(overlay, "PodDisruptionBudget")), len(of_kind(overlay, "Deployment")))
            for document, template in pods(overlay):
                for spread in template["spec"].get("topologySpreadConstraints", []):
                    taken = [w for w, own in labels.items() if matches(spread["labelSelector"], own)]
                    self.assertEqual(taken, [name(document)])

    def test_the_network_lets_through_what_the_roles_need_and_no_more(self):
        for overlay in OVERLAYS:
            with self.subTest(overlay=overlay):
                broker, store = ("5672", "7480") if overlay == "local" else ("5671", "443")
                expected = set()
                for role in ["worker", "commit", "submit"]:
                    expected |= {(role, "outside", broker), (role, "outside", store)}
                for stage_ in ["locate", "segment"]:
                    expected.add(("worker", stage_, "grpc"))
                for role in ["locate", "segment", "worker", "commit"]:
                    expected.add(("monitoring", role, "http"))
                for role in ["locate", "segment", "worker", "commit", "submit"]:
                    expected.add((role, "kube-system", "53"))
                self.assertEqual(self.allowed(overlay), expected)

    def allowed(self, overlay):
        """(from, to, port) of everything that the policies allow at both ends, once all else is denied."""
        roles = {own["app.kubernetes.io/component"]: own for own in self.labels(overlay).values()}
        policies = of_kind(overlay, "NetworkPolicy")
        (deny,) = [p for p in policies if p["spec"]["podSelector"] == {} and "egress" not in p["spec"]]
        self.assertEqual(set(deny["spec"]["policyTypes"]), {"Ingress", "Egress"})
        ingress, egress = set(), set()
        for policy in policies:
            own = [role for role, labels in roles.items() if matches(policy["spec"]["podSelector"], labels)]
            self.assertTrue(own, f"{name(policy)} takes no pod")
            for side, found in [("ingress", ingress), ("egress", egress)]:
                for rule in policy["spec"].get(side, []):
                    peers = rule["from" if side == "ingress" else "to"]
                    ports = {str(port["port"]) for port in rule["ports"]}
                    self.assertTrue(peers and ports, f"{name(policy)}: an empty list allows everything")
                    found |= {(role, other, port) for role in own for peer in peers
                              for other in self.peers(peer, roles) for port in ports}
        inside = {(role, other, port) for role, other, port in egress if other in roles}
        self.assertEqual(inside, {(other, role, port) for role, other, port in ingress if other in roles},
                         "what one end may send, the other end takes")
        return egress | {(other, role, port) for role, other, port in ingress}

    def peers(self, peer, roles):
        if "ipBlock" in peer:
            self.assertIn("169.254.0.0/16", peer["ipBlock"]["except"], "the cloud's metadata service gives credentials")
            return ["outside"]
        if "namespaceSelector" in peer:
            return [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]]
        found = [role for role, labels in roles.items() if matches(peer["podSelector"], labels)]
        self.assertTrue(found, peer)
        return found


class Scaling(unittest.TestCase):
    def test_keda_watches_the_queue_that_the_workers_read(self):
        for overlay in ["cpu", "gpu"]:
            (scaled,) = of_kind(overlay, "ScaledObject")
            (trigger,) = scaled["spec"]["triggers"]
            (authentication,) = of_kind(overlay, "TriggerAuthentication")
            jobs = re.search(r'Lane::Jobs => "([\w.]+)"', source("crates/pipeline/src/queue/topology.rs"))[1]
            self.assertEqual(trigger["metadata"]["queueName"], f"{settings(overlay)['queue']['name']}.{jobs}")
            self.assertEqual(trigger["metadata"]["protocol"], "http", "AMQP counts waiting messages only")
            self.assertEqual(trigger["authenticationRef"]["name"], authentication["metadata"]["name"])
            (worker,) = [d for d in of_kind(overlay, "Deployment") if d["metadata"]["name"] == "worker"]
            self.assertEqual(scaled["spec"]["scaleTargetRef"], {"name": "worker"})
            self.assertNotIn("replicas", worker["spec"], "a number here would undo KEDA's at every apply")
            down = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
            self.assertGreaterEqual(down["stabilizationWindowSeconds"], 900)

    def test_two_committers_and_spare_stage_services(self):
        for overlay, least in [("cpu", 2), ("gpu", 1)]:
            for document in of_kind(overlay, "Deployment"):
                if document["metadata"]["name"] in ["locate", "segment"]:
                    self.assertGreaterEqual(document["spec"]["replicas"], least)
                if document["metadata"]["name"] == "commit":
                    self.assertEqual(document["spec"]["replicas"], 2)


if __name__ == "__main__":
    unittest.main()
