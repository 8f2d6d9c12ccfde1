"""The files of `cluster/deploy`, field by field; docs/cluster.md shows how they are used."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.main import handler, parser
from sweeps.spec.files import read_spec

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"

# The fields of ray.io/v1 that KubeRay publishes: docs/reference/api.md of ray-project/kuberay, and
# `authOptions` of its release 1.5 (ray-project.github.io/kuberay/reference/api).
CLUSTER = {
    *("suspend", "managedBy", "authOptions", "autoscalerOptions", "headServiceAnnotations"),
    *("enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion"),
    "workerGroupSpecs",
}
HEAD = {"template", "headService", "enableIngress", "rayStartParams", "serviceType"}
WORKERS = {
    *("suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds"),
    *("rayStartParams", "template", "scaleStrategy", "numOfHosts"),
}
JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate"),
    *("metadata", "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy"),
    *("entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources"),
    *("entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished"),
    *("shutdownAfterJobFinishes", "suspend"),
}
SERVICE = {
    *("serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold", "serveService"),
    *("upgradeStrategy", "serveConfigV2", "rayClusterConfig", "excludeHeadPodFromServeSvc"),
}
MANIFESTS = {  # file -> kind, its fields, the one that holds the cluster
    "kuberay-rayjob.yaml": ("RayJob", JOB, "rayClusterSpec"),
    "kuberay-rayservice.yaml": ("RayService", SERVICE, "rayClusterConfig"),
}


def documents(file: str) -> dict[str, dict[str, Any]]:
    """The file's documents by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / file).read_text())}


def groups(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


@pytest.mark.parametrize("file", MANIFESTS)
def test_every_field_of_a_manifest_is_one_that_kuberay_publishes(file: str) -> None:
    kind, fields, key = MANIFESTS[file]
    manifest = documents(file)[kind]
    assert manifest["apiVersion"] == "ray.io/v1"
    assert manifest["spec"].keys() <= fields
    cluster = manifest["spec"][key]
    assert cluster.keys() <= CLUSTER
    assert cluster["headGroupSpec"].keys() <= HEAD
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups(cluster):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["enableInTreeAutoscaling"] is True


@pytest.mark.parametrize("file", MANIFESTS)
def test_pods_and_claims_are_valid_kubernetes_objects(file: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    kind, _, key = MANIFESTS[file]
    manifest = documents(file).pop(kind)
    others = [each for name, each in documents(file).items() if name != kind]
    for group in groups(manifest["spec"][key]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, **group["template"]}
        others.append(pod)
    assert others
    for each in others:
        validate.validate(each, "1.32", strict=True)


@pytest.mark.parametrize("file", MANIFESTS)
def test_every_pod_mounts_the_shared_volume_and_runs_as_nobody_special(file: str) -> None:
    kind, _, key = MANIFESTS[file]
    for group in groups(documents(file)[kind]["spec"][key]):
        spec = group["template"]["spec"]
        [container] = spec["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "amnesia"}
        assert spec["securityContext"]["runAsNonRoot"] is True


def test_the_job_goes_on_from_its_rows_and_leaves_no_cluster() -> None:
    job = documents("kuberay-rayjob.yaml")["RayJob"]
    spec = job["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" in job["metadata"]["labels"]
    gpu = spec["rayClusterSpec"]["workerGroupSpecs"][-1]
    assert gpu["minReplicas"] == gpu["replicas"] == 0
    [container] = gpu["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_jobs_entrypoint_is_a_command_of_ours_on_the_shared_volume() -> None:
    command = shlex.split(documents("kuberay-rayjob.yaml")["RayJob"]["spec"]["entrypoint"])
    assert command.pop(0) == "amnesia"
    args = parser().parse_args(command)
    assert callable(handler(args))
    assert read_spec(args.spec, args.set)[0].resources.gpu == 0.25
    assert {Path(args.results).parent, Path(args.store).parent} == {Path("/shared")}


def test_the_service_is_one_that_ray_serve_takes() -> None:
    service = documents("kuberay-rayservice.yaml")["RayService"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    [app] = config.applications
    assert (app.name, app.import_path) == ("amnesia", "serve.app:build")
    assert app.args == {"gallery": "/shared/gallery"}


@pytest.mark.parametrize("file", ["ray-cluster.yaml", "ray-cluster-aws.yaml"])
def test_ray_up_takes_the_file(file: str) -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    config = yaml.safe_load((DEPLOY / file).read_text())
    jsonschema.validate(config, schema)
    for role in ("head", "worker"):
        stop, start = config[f"{role}_start_ray_commands"]
        assert stop.endswith("ray stop")
        assert "export RAY_AUTH_MODE=token" in start
        assert "ray start" in start
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])


def test_gpu_workers_of_a_cloud_come_and_go() -> None:
    config = yaml.safe_load((DEPLOY / "ray-cluster-aws.yaml").read_text())
    types = config["available_node_types"]
    assert types["gpu-worker"]["min_workers"] == 0
    assert types["gpu-worker"]["max_workers"] == config["max_workers"]
    assert config["head_node_type"] in types


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text())
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def test_the_image_is_made_by_the_makefile_and_runs_as_nobody_special() -> None:
    steps = instructions()
    copied = [part for name, text in steps if name == "COPY" for part in text.split()[1:-1]]
    assert all((ROOT / part).exists() for part in copied)
    assert {"cluster", "sweeps", "serve", "unlearn", "constraints.txt"} <= set(copied)
    [user] = [text for name, text in steps if name == "USER"]
    assert user not in ("root", "0")
    made = [text for name, text in steps if name == "RUN" and text.startswith("make ")]
    [target] = made
    dry = subprocess.run(
        [*shlex.split(target), "--dry-run", "VENV=/nowhere"],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install" in dry.stdout
    assert "-c constraints.txt -e '.[s3]'" in dry.stdout


def test_the_image_serves_and_is_asked_for_its_health() -> None:
    steps = dict(instructions())
    args = parser().parse_args(json.loads(steps["CMD"]))
    assert json.loads(steps["ENTRYPOINT"]) == ["amnesia"]
    assert args.handler == "serving.serve"
    check = json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    assert check[-1] == f"http://127.0.0.1:{args.port}/healthz"
    assert steps["EXPOSE"] == str(args.port)


def test_the_slurm_script_is_bash_and_asks_to_be_told_before_it_is_killed() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = re.findall(r"(?m)^#SBATCH (\S+)$", script.read_text())
    assert "--requeue" in options
    assert "--signal=B:TERM@120" in options
    assert "--exclusive" in options
