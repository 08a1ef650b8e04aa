"""What lies in deploy/: validated, linted, hardened, and its command lines parsed by zoo itself."""

import functools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import zoo
from zoo.ch10_deploy import keys
from zoo.common import cli

yaml = pytest.importorskip("yaml")
kubernetes = pytest.importorskip("kubernetes_validate")
jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
K8S = DEPLOY / "k8s"
VERSION = zoo.__version__
KUBERNETES = ("1.34.0", "1.37.0")
TRAINING = [DEPLOY / "slurm/train.sbatch", DEPLOY / "openmpi/train.sh"]
PLAIN = sorted(
    path
    for folder in ("base", "batch", "training")
    for path in (K8S / folder).glob("*.yaml")
    if path.name not in ("kustomization.yaml", "images.yaml")
)


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def tool(name):
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def shell(*command, **options):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=60, **options
    )


def templates(document):
    """The pod templates in a manifest."""
    if document["kind"] == "JobSet":
        return [job["template"]["spec"]["template"] for job in document["spec"]["replicatedJobs"]]
    if document["kind"] == "RayJob":
        spec = document["spec"]
        groups = (
            spec["rayClusterSpec"]["headGroupSpec"],
            *spec["rayClusterSpec"]["workerGroupSpecs"],
        )
        return [spec["submitterPodTemplate"], *(group["template"] for group in groups)]
    template = document.get("spec", {}).get("template")
    return [template] if template else []


def validate(document):
    if document["kind"] == "JobSet":
        jsonschema.validate(document, json.loads((K8S / "training/jobset-schema.json").read_text()))
        for job in document["spec"]["replicatedJobs"]:
            about = {"name": job["name"], "namespace": document["metadata"]["namespace"]}
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, **job["template"]}
            validate(job)
        return
    if document["kind"] == "RayJob":
        jsonschema.validate(document, json.loads((K8S / "batch/rayjob-schema.json").read_text()))
        for number, template in enumerate(templates(document)):
            about = {**template["metadata"], "name": f"pod-{number}", "namespace": "zoo"}
            validate({**template, "apiVersion": "v1", "kind": "Pod", "metadata": about})
        return
    for version in KUBERNETES:
        kubernetes.validate(document, version, strict=True)


# Manifests.


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_manifest_is_valid_by_itself(path):
    for document in documents(path.read_text()):
        validate(document)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "zoo"


def test_the_validation_can_fail():
    deployment = documents((K8S / "base/deployment.yaml").read_text())[0]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes.ValidationError):
        validate(deployment)
    jobset = documents((K8S / "training/jobset.yaml").read_text())[0]
    jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["paralelism"] = 2
    with pytest.raises(kubernetes.ValidationError):
        validate(jobset)
    jobset["spec"]["successPolicy"]["operator"] = "Most"
    with pytest.raises(jsonschema.ValidationError):
        validate(jobset)
    rayjob = documents((K8S / "batch/rayjob.yaml").read_text())[0]
    templates(rayjob)[2]["spec"]["containers"][0]["portz"] = []
    with pytest.raises(kubernetes.ValidationError):
        validate(rayjob)
    rayjob["spec"]["entrypoints"] = "python"
    with pytest.raises(jsonschema.ValidationError):
        validate(rayjob)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Each Kustomize folder as kubectl renders it, with a file of keys as the command makes it."""
    kubectl = tool("kubectl")
    folder = tmp_path_factory.mktemp("render") / "k8s"
    shutil.copytree(K8S, folder)
    (folder / "keys/keys.json").unlink(missing_ok=True)
    keys.add(folder / "keys/keys.json", "tester", 10.0)
    found = {}
    for name in ("overlays/cpu", "overlays/cuda", "batch", "training"):
        done = shell(kubectl, "kustomize", folder / name)
        assert done.returncode == 0, done.stderr
        found[name] = documents(done.stdout)
    return found


def of_kind(rendered, name, kind):
    (one,) = (document for document in rendered[name] if document["kind"] == kind)
    return one


def test_what_kustomize_makes_is_valid_too(rendered):
    for manifests in rendered.values():
        for document in manifests:
            validate(document)


@pytest.mark.parametrize(
    ("name", "kind", "variant"),
    [
        ("overlays/cpu", "Deployment", "cpu"),
        ("overlays/cuda", "Deployment", "cuda"),
        ("batch", "RayJob", "cpu"),
        ("training", "JobSet", "cpu"),
    ],
)
def test_kustomize_puts_the_registrys_image_everywhere(name, kind, variant, rendered):
    found = templates(of_kind(rendered, name, kind))
    images = [container["image"] for one in found for container in one["spec"]["containers"]]
    assert set(images) == {f"registry.example/zoo:{VERSION}-{variant}"}


def test_the_secret_is_named_by_its_content_and_holds_hashes_alone(rendered):
    secret = of_kind(rendered, "overlays/cpu", "Secret")
    (template,) = templates(of_kind(rendered, "overlays/cpu", "Deployment"))
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == secret["metadata"]["name"]
    assert re.fullmatch("zoo-keys-[a-z0-9]{10}", secret["metadata"]["name"])


def test_only_the_cuda_overlay_asks_for_a_gpu(rendered):
    for name, gpus in (("overlays/cpu", None), ("overlays/cuda", "1")):
        (template,) = templates(of_kind(rendered, name, "Deployment"))
        (container,) = template["spec"]["containers"]
        assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def pods():
    for path in PLAIN:
        for document in documents(path.read_text()):
            for template in templates(document):
                yield pytest.param(document, template, id=document["metadata"]["name"])


@pytest.mark.parametrize(("document", "template"), [*pods()])
def test_every_pod_is_restricted(document, template):
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is (document["kind"] == "JobSet")
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
    assert all(volume.keys().isdisjoint({"hostPath"}) for volume in pod["volumes"])
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert {"cache", "tmp"} <= mounted == {volume["name"] for volume in pod["volumes"]}


def base(name):
    return documents((K8S / f"base/{name}.yaml").read_text())[0]


def test_the_servers_parts_belong_together():
    deployment, service = base("deployment"), base("service")
    (template,) = templates(deployment)
    labels, (container,) = template["metadata"]["labels"], template["spec"]["containers"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert base("pdb")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert base("hpa")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert base("hpa")["spec"]["minReplicas"] > base("pdb")["spec"]["maxUnavailable"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    paths = {p: container[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "liveness")}
    assert paths == {"startup": "/readyz", "liveness": "/healthz"}
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] < 45
    assert template["spec"]["terminationGracePeriodSeconds"] == 45
    network = documents((K8S / "base/networkpolicy.yaml").read_text())
    assert network[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert network[1]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_rayjob_has_the_images_ray_and_the_networks_labels():
    rayjob = documents((K8S / "batch/rayjob.yaml").read_text())[0]
    policy = documents((K8S / "batch/networkpolicy.yaml").read_text())[0]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert all(labels.items() <= one["metadata"]["labels"].items() for one in templates(rayjob))
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pins(DEPLOY / "constraints.txt")["ray"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    config = documents((K8S / "batch/configmap.yaml").read_text())[0]["data"]
    assert set(re.findall(r"\$(\w+)", rayjob["spec"]["entrypoint"])) <= config.keys()


def test_the_jobset_is_what_jax_looks_for():
    jobset = documents((K8S / "training/jobset.yaml").read_text())[0]
    network, (workers,) = jobset["spec"]["network"], jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    assert network["subdomain"] == jobset["metadata"]["name"]
    assert network["enableDNSHostnames"]
    assert workers["replicas"] == 1
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] > 1
    account = job["template"]["spec"]["serviceAccountName"]
    role, binding = documents((K8S / "training/role.yaml").read_text())
    assert binding["subjects"][0]["name"] == account
    allowed = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert {("pods", "list"), ("jobs", "get"), ("services", "list")} <= allowed
    assert {verb for _, verb in allowed} <= {"get", "list"}


# Commands: none may go stale.


@functools.cache
def interface(module):
    """What a chapter gives to `cli.main`, with commands that only say that they were reached."""
    given, main = {}, cli.main

    def take(doc, commands, tasks=()):
        given.update(doc=doc, commands=commands, tasks=tasks)

    cli.main = take
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        cli.main = main
    reached = []

    def stub(command):
        if isinstance(command, dict):
            return {name: stub(inner) for name, inner in command.items()}
        return functools.wraps(command)(lambda *_, **values: reached.append(values))

    tasks = {task.config_type: task for task in given["tasks"]}
    return given["doc"], stub(given["commands"]), tasks, reached


def parse(module, arguments):
    doc, commands, tasks, reached = interface(module)
    reached.clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [module, *arguments])
            cli._dispatch(doc, commands, tasks)
    except SystemExit as end:
        pytest.fail(f"python -m {module} {shlex.join(arguments)}: status {end.code}")
    (values,) = reached
    if "command" in values:
        inner = list(values["command"])
        inner = inner[2:] if inner[0].startswith("python") else inner
        parse(inner[0], inner[1:])
    return values


def from_texts():
    paths = [DEPLOY / "README.md", DEPLOY / "Makefile", ROOT / "zoo/ch10_deploy/SCALING.md"]
    for path in [*paths, *PLAIN, *sorted(DEPLOY.glob("kops/*.sh")), *TRAINING]:
        whole = path.read_text().replace("\\\n", " ").replace("$(NAME)", "alice")
        for line in whole.splitlines():
            for found in re.finditer(r"(?:python3?|\$\(PYTHON\)) -m (zoo\.[^`|;)]*)", line):
                yield path.name, shlex.split(found[1], comments=True)


def from_lists():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", dockerfile, re.M)[1])[2] == "zoo.ch10_deploy"
    yield "Dockerfile", json.loads(re.search(r"^CMD (\[\"serve.*)$", dockerfile, re.M)[1])
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        yield f"compose {name}", service["command"]
    for path in PLAIN:
        for document in documents(path.read_text()):
            for template in templates(document) if document["kind"] != "RayJob" else ():
                yield path.name, template["spec"]["containers"][0]["args"]


LINES = [*from_texts(), *((name, ["zoo.ch10_deploy", *args]) for name, args in from_lists())]


@pytest.mark.parametrize("line", [line for _, line in LINES], ids=[name for name, _ in LINES])
def test_every_command_line_is_understood(line):
    parse(line[0], line[1:])


def test_there_are_command_lines_and_wrong_ones_are_found():
    assert {"README.md", "SCALING.md", "Dockerfile", "deployment.yaml"} <= {n for n, _ in LINES}
    with pytest.raises(pytest.fail.Exception):
        parse("zoo.ch10_deploy", ["serve", "/model", "--no-such-flag"])
    with pytest.raises(pytest.fail.Exception):
        parse("zoo.ch10_deploy", ["launch", "--", "zoo.ch06_cnn", "train", "--epoch", "x"])


def test_variables_in_arguments_are_in_the_configuration():
    for folder in ("base", "batch"):
        config = documents((K8S / folder / "configmap.yaml").read_text())[0]
        for path in (K8S / folder).glob("*.yaml"):
            for name in re.findall(r"\$\((\w+)\)", path.read_text()):
                assert name in config["data"], path


# Images.


def test_hadolint_finds_nothing():
    done = shell(tool("hadolint"), DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_images_are_pinned_unprivileged_and_watched():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-", text, re.M)
    assert {"build", "build-cuda", "runtime", "cuda", "cpu"} == set(
        re.findall(r"^FROM .* AS (\S+)$", text, re.M)
    )
    assert text.index("\nUSER 10001:10001") < text.index("\nENTRYPOINT")
    assert "HEALTHCHECK" in text
    assert "/healthz" in text


def test_what_the_dockerfile_copies_is_not_ignored():
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DEPLOY / "Dockerfile").read_text(), re.M):
        copied |= set(line.split()[:-1])
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def pins(path):
    """What holds in the images: on Linux, under the Python that the Dockerfile names."""
    python = re.search(r"^ARG PYTHON=([\d.]+)", (DEPLOY / "Dockerfile").read_text(), re.M)[1]
    image = {"python_full_version": python, "sys_platform": "linux"}
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    found = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(image)]
    return {r.name: str(r.specifier).removeprefix("==") for r in found}


def test_the_images_pins_agree_with_the_lock():
    lock, own = pins(ROOT / "requirements" / "3.11.txt"), pins(DEPLOY / "constraints.txt")
    assert {"kubernetes", "jax-cuda12-plugin"} <= own.keys()
    assert own["jax-cuda12-plugin"] == own["jax-cuda12-pjrt"] == lock["jaxlib"]
    assert {name: own[name] for name in own.keys() & lock.keys()} == {
        name: lock[name] for name in own.keys() & lock.keys()
    }


def test_compose_is_as_restricted_as_the_cluster():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"
        assert not service.keys() & {"privileged", "network_mode", "pid"}
    serve = compose["services"]["serve"]
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert compose["secrets"]["keys"]["file"] == "./k8s/keys/keys.json"
    assert f"${{VERSION:-{VERSION}}}" in serve["image"]


def test_real_keys_are_ignored_by_git():
    done = shell(tool("git"), "check-ignore", "deploy/k8s/keys/keys.json", cwd=ROOT)
    if "not a git repository" in done.stderr:
        pytest.skip("this is no clone")
    assert done.returncode == 0


def test_nothing_in_deploy_holds_or_asks_for_credentials():
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".md" and path.name != "keys.json":
            text = path.read_text()
            assert not re.search(r"AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY|ACCESS_KEY_ID", text), path
            assert not re.search(r"privileged:\s*true", text), path


# The Makefile.


def make(*arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return shell(tool("make"), "-C", DEPLOY, *arguments, env=environment | variables)


@pytest.mark.parametrize("target", ["cpu-image", "cpu-push", "cifarcnn-image", "cifarcnn-push"])
def test_the_books_targets_work(target):
    done = make("-n", target, "REGISTRY=registry.test/me", f"VERSION={VERSION}")
    assert done.returncode == 0, done.stderr
    image = f"registry.test/me/zoo:{VERSION}-cpu"
    assert f"docker build --file Dockerfile --target cpu --tag {image} .." in done.stdout
    assert (f"docker push {image}" in done.stdout) == target.endswith("push")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("gpu-push", "--target cuda"),
        ("cpu-deploy", "kustomize k8s/overlays/cpu"),
        ("gpu-deploy", "kustomize k8s/overlays/cuda"),
        ("batch", "wait --for jsonpath={.status.jobStatus}=SUCCEEDED rayjob/zoo-batch "),
        ("train", "kustomize k8s/training"),
        ("cluster-up", "kops/up.sh"),
        ("cluster-down", "kops/down.sh"),
        ("keys", "keys add 'alice'"),
        ("check", "pytest tests/ch10_deploy/test_deploy.py"),
    ],
)
def test_the_other_targets_work(target, says):
    done = make("-n", target, "REGISTRY=registry.test", "NAME=alice")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.parametrize("target", ["cpu-push", "gpu-push", "cifarcnn-push", "batch", "train"])
def test_without_a_registry_nothing_is_built_or_sent(target):
    done = make(target, "DOCKER=echo docker", "KUBECTL=echo kubectl", "REGISTRY=")
    assert done.returncode != 0
    assert "REGISTRY is not set" in done.stderr
    assert "docker" not in done.stdout
    assert "kubectl" not in done.stdout


def test_the_manifests_get_the_registry_and_the_version():
    done = make("-n", "cpu-deploy", "REGISTRY=registry.test/me", "VERSION=9.9.9")
    command = re.search(r"sed '[^']*'", done.stdout)[0]
    line = "image: registry.example/zoo:0.1.0-cpu"
    changed = shell("sh", "-c", f"echo {line!r} | {command}").stdout
    assert "image: registry.test/me/zoo:9.9.9-cpu" in changed
    assert "registry.example" not in changed


def test_the_versions_agree():
    for path in (*PLAIN, *K8S.glob("overlays/*/*.yaml"), *K8S.glob("*/kustomization.yaml")):
        for found in re.findall(r"(?:zoo:|newTag: )(\d+\.\d+\.\d+)-", path.read_text()):
            assert found == VERSION, path
    assert f"VERSION ?= {VERSION}" in (DEPLOY / "Makefile").read_text()


# Slurm and Open MPI; how their processes find each other is tested in test_launch.py.


def test_scripts_for_clusters_are_sound():
    done = shell(tool("shellcheck"), *TRAINING)
    assert done.returncode == 0, done.stdout
    assert len([name for name, _ in from_texts() if name.startswith("train.")]) == len(TRAINING)


def test_a_job_of_slurm_that_saved_goes_back_into_the_queue(tmp_path):
    log = tmp_path / "log"
    for name, status in (("srun", "${STATUS}"), ("scontrol", "0")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\nexit {status}\n')
        program.chmod(0o755)
    for status, calls in ((0, 1), (1, 1), (130, 2), (143, 1)):
        log.write_text("")
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATUS": str(status)}
        environment["SLURM_JOB_ID"] = "7"
        done = subprocess.run(["bash", TRAINING[0]], env=environment, check=False)
        assert done.returncode == status
        lines = log.read_text().splitlines()
        assert len(lines) == calls
        assert " python -m zoo.ch10_deploy launch -- zoo.ch06_cnn train " in lines[0]
        assert lines[1:] == ["scontrol requeue 7"][: calls - 1]


# kOps.

SCRIPTS = sorted((DEPLOY / "kops").glob("*.sh"))
GIVEN = {"ALLOWED_CIDR": "203.0.113.7/32", "BUCKET_PREFIX": "mine"}


def test_shellcheck_finds_nothing():
    done = shell(tool("shellcheck"), "-x", "-P", "SCRIPTDIR", *SCRIPTS, cwd=DEPLOY / "kops")
    assert done.returncode == 0, done.stdout


def test_scripts_stop_at_the_first_failure():
    for path in (DEPLOY / "kops/up.sh", DEPLOY / "kops/down.sh"):
        assert "\nset -euo pipefail\n" in path.read_text()
        assert os.access(path, os.X_OK)


@pytest.fixture
def cloud(tmp_path):
    """Runs a script beside programs that only write down how they were called."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    for name in ("aws", "kops", "kubectl"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n[ "$2" != head-bucket ]\n')
        program.chmod(0o755)
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA")
    shutil.copytree(DEPLOY / "kops", tmp_path / "kops", ignore=lambda *_: ["rendered"])

    def run(script, answer, **given):
        path = f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": str(tmp_path)}
        environment |= {"SSH_PUBLIC_KEY": str(tmp_path / "key.pub"), **given}
        done = shell("bash", tmp_path / "kops" / script, input=answer, env=environment)
        return done, log.read_text() if log.exists() else ""

    return run


def test_a_cluster_is_made_after_a_yes(cloud, tmp_path):
    done, log = cloud("up.sh", "zoo.k8s.local\n", **GIVEN)
    assert done.returncode == 0, done.stderr
    assert "s3 mb s3://mine-kops-state" in log
    assert "kops update cluster --name zoo.k8s.local --yes" in log
    cluster, *groups = (
        documents(path.read_text())[0]
        for path in [
            tmp_path / f"kops/rendered/{name}.yaml"
            for name in ("cluster", "control-plane", "nodes", "gpu-nodes")
        ]
    )
    assert cluster["apiVersion"] == "kops.k8s.io/v1alpha2"
    assert cluster["spec"]["sshAccess"] == cluster["spec"]["kubernetesApiAccess"]
    assert cluster["spec"]["sshAccess"] == [GIVEN["ALLOWED_CIDR"]]
    assert cluster["spec"]["configBase"] == "s3://mine-kops-state/zoo.k8s.local"
    roles = cluster["spec"]["iam"]["serviceAccountExternalPermissions"]
    assert {role["name"] for role in roles} == {"zoo-serve", "zoo-batch"}
    for role in roles:
        assert "mine-models" in json.dumps(json.loads(role["aws"]["inlinePolicy"]))
    assert [group["kind"] for group in groups] == ["InstanceGroup"] * 3
    assert all(group["spec"]["instanceMetadata"]["httpTokens"] == "required" for group in groups)
    names = {group["metadata"]["name"] for group in groups}
    members = [
        e["instanceGroup"] for c in cluster["spec"]["etcdClusters"] for e in c["etcdMembers"]
    ]
    assert set(members) <= names
    selected = documents((K8S / "overlays/cuda/gpu.yaml").read_text())[0]["spec"]["template"][
        "spec"
    ]
    assert selected["nodeSelector"]["kops.k8s.io/instancegroup"] in names


@pytest.mark.parametrize("script", ["up.sh", "down.sh"])
@pytest.mark.parametrize("answer", ["", "y\n", "zoo\n"])
def test_without_the_clusters_name_nothing_is_done(script, answer, cloud):
    done, log = cloud(script, answer, **GIVEN)
    assert done.returncode == 1
    assert "nothing was done" in done.stderr
    assert "--yes" not in log
    assert "s3 mb" not in log


def test_a_cluster_is_deleted_after_it_was_shown(cloud):
    done, log = cloud("down.sh", "zoo.k8s.local\n", **GIVEN)
    assert done.returncode == 0, done.stderr
    assert log.splitlines() == [
        "kops delete cluster --name zoo.k8s.local",
        "kops delete cluster --name zoo.k8s.local --yes",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "ALLOWED_CIDR: set it to the addresses"),
        ({"ALLOWED_CIDR": "203.0.113.7/32"}, "BUCKET_PREFIX: set it to a name"),
        ({**GIVEN, "ALLOWED_CIDR": "0.0.0.0/0"}, "the whole internet"),
        ({**GIVEN, "ALLOWED_CIDR": "::/0"}, "the whole internet"),
        ({**GIVEN, "ALLOWED_CIDR": "0.0.0.0/1"}, "the whole internet"),
        ({**GIVEN, "ALLOWED_CIDR": "anywhere"}, "expected a range"),
        ({**GIVEN, "SSH_PUBLIC_KEY": "/none.pub"}, "no SSH key /none.pub"),
    ],
)
def test_what_is_missing_or_open_to_the_world_is_refused(given, said, cloud):
    done, log = cloud("up.sh", "zoo.k8s.local\n", **given)
    assert done.returncode != 0
    assert said in done.stderr
    assert "kops" not in log
