"""What the checks of k8s/ share: overlays as kustomize builds them, pods, the program, its settings."""

import functools
import os
import pathlib
import re
import subprocess
import tomllib

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
AORTICA = str(TOP / os.environ["AORTICA"])
KUBECTL = os.environ["KUBECTL"]
OVERLAYS = sorted(path.name for path in (TOP / "k8s/overlays").iterdir())


@functools.cache
def objects(overlay):
    """Every object of an overlay, to be read only."""
    command = [KUBECTL, "kustomize", f"k8s/overlays/{overlay}"]
    text = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(overlay, *kinds):
    return [document for document in objects(overlay) if document["kind"] in kinds]


def name(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(overlay):
    """(workload, pod template) of everything that makes pods."""
    for document in objects(overlay):
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield document, spec["template"]


def containers(overlay):
    for document, template in pods(overlay):
        spec = template["spec"]
        for container in spec.get("initContainers", []) + spec["containers"]:
            yield document, template, container


def matches(selector, labels):
    """Whether a label selector takes a pod."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def config_map(overlay, prefix):
    (found,) = [c for c in of_kind(overlay, "ConfigMap") if c["metadata"]["name"].startswith(prefix)]
    return found["data"]


@functools.cache
def settings(overlay):
    """The settings in force, defaults included, as the program reads them."""
    path = TOP / ".cache/k8s" / f"settings-{overlay}.toml"
    path.write_text(config_map(overlay, "aortica-settings")["settings.toml"])
    printed = aortica("config", "print", "--settings", str(path))
    return tomllib.loads(printed)


@functools.cache
def aortica(*arguments, code=0):
    done = subprocess.run([AORTICA, *arguments], cwd=TOP, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"aortica {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@functools.cache
def source(path):
    return (TOP / path).read_text()


def number(path, pattern):
    """One number of the program's source, by a pattern with one group."""
    (found,) = re.findall(pattern, source(path))
    return int(found.replace("_", ""))
