"""Several processes: equal to one, ended together, resumed; and what joins a cluster's job."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from zoo import ch03_mnist_ae_rbm
from zoo.ch10_deploy import launch
from zoo.common import checkpoint, device, fit, run
from zoo.common.data import mnist
from zoo.common.run import RunError

CHAPTER = "zoo.ch03_mnist_ae_rbm"
TASK = ch03_mnist_ae_rbm.TASKS[0]
CONFIG = dataclasses.replace(TASK.recipes["modern"], hidden=(16,), dropout=0.2, shift=0, epochs=4)
FLAGS = ["train", "--hidden", "16", "--dropout", "0.2", "--shift", "0"]
FLAGS += ["--epochs", "4", "--data", "sample", "--device", "cpu"]


def start(place, environment, folder, *flags):
    command = [sys.executable, "-m", "zoo.ch10_deploy", "launch", "--processes", "2"]
    command += ["--heartbeat", "300", "--", CHAPTER]  # so that no silence ends a process
    return subprocess.Popen(
        [*command, *FLAGS, *flags, "--out", str(folder)],
        cwd=place,
        env=environment | {"http_proxy": "http://127.0.0.1:9"},  # where nobody answers
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid):
    numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = {n: Path(f"/proc/{n}/cmdline").read_bytes().split(b"\0") for n in numbers}
    return {name[3].decode(): int(n) for n, name in named.items() if len(name) > 3}


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module")
def killed(place, environment):
    """A run of two processes, the second one killed outright behind the first checkpoint."""
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("this system has no /proc with the children of a process")
    folder = place / "pair"
    process = start(place, environment, folder)
    deadline = time.monotonic() + 120
    while checkpoint.latest(folder) is None and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    workers = children(process.pid)
    began = time.monotonic()
    os.kill(workers["1/2"], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    return folder, process.returncode, out, err, time.monotonic() - began, workers


def test_a_killed_process_ends_the_others_and_is_named(killed):
    _, status, _, err, seconds, workers = killed
    assert status == 1
    assert "process 1 of 2 was killed by SIGKILL (exit code -9); the others were stopped" in err
    assert "the same command goes on from the last checkpoint" in err
    assert "Traceback" not in err
    assert seconds < 60
    assert all(gone(pid) for pid in workers.values())


@pytest.fixture(scope="module")
def resumed(killed, place, environment):
    process = start(place, environment, killed[0])
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def test_two_processes_killed_and_started_again_equal_one_that_ran_through(killed, resumed):
    data = mnist.load(data="sample")
    like = TASK.start(CONFIG, data.train)
    together, _ = checkpoint.restore(killed[0], like)
    with jax.debug_key_reuse(False):
        alone = TASK.train(CONFIG, data.train, mesh=device.mesh(2))  # draws the same numbers
    moved = [
        np.abs(np.asarray(a) - np.asarray(b)).max()
        for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(like.params), strict=True)
    ]
    assert min(moved) > 0.01
    assert int(together.step) == int(alone.step)
    for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_the_first_process_alone_writes_and_draws(killed, resumed):
    folder = killed[0]
    assert resumed.count("epoch 4:") == 1
    assert "epoch 1:" not in resumed
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 4
    assert (folder / "summary.json").exists()
    assert any((folder / "figures").glob("*.png"))


def begun(process, folder, moment):
    """Waits until a long run is so far; its workers."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        workers = children(process.pid)
        if moment == "started" and len(workers) == 2:
            time.sleep(1)
            return workers
        if moment == "joined" and len(workers) == 2:
            assert process.stdout.readline()  # what the data are; the first step compiles next
            return workers
        if moment == "training" and checkpoint.latest(folder) is not None:
            return workers
        time.sleep(0.02)
    pytest.fail(f"not {moment} in time")


@pytest.mark.parametrize(
    ("moment", "number"),
    [("started", signal.SIGINT), ("joined", signal.SIGTERM), ("training", signal.SIGHUP)],
    ids=["started", "joined", "training"],
)
def test_a_stop_is_never_lost_and_the_status_says_whether_it_saved(
    moment, number, place, environment
):
    folder = place / moment
    process = start(place, environment, folder, "--epochs", "100000")
    workers = begun(process, folder, moment)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert all(gone(pid) for pid in workers.values())
    if moment == "started":
        assert process.returncode == launch.ENDED
    elif moment == "training":
        assert process.returncode == launch.STOPPED
    saved = checkpoint.latest(folder) is not None
    if process.returncode == launch.STOPPED:
        assert saved
        assert "stopped and saved at step" in err
    else:
        assert process.returncode == launch.ENDED
        assert not saved
        assert "stopped outside of training, without saving; the same command goes on" in err


@pytest.mark.parametrize("moment", ["started", "joined"])
def test_processes_end_when_their_launcher_is_killed(moment, place, environment):
    process = start(place, environment, place / f"orphans-{moment}", "--epochs", "100000")
    workers = begun(process, place / f"orphans-{moment}", moment)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while not all(map(gone, workers.values())):
        assert time.monotonic() < deadline, workers
        time.sleep(0.1)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["ls"], ["zoo.ch99_none", "train"], ["python", "-m", "http.server"]),
        *(["zoo.ch06_cnn.cnn", "train"], ["zoo.ch06_cnn.none.at_all", "train"], ["zoo.", "train"]),
    ],
    ids=" ".join,
)
def test_only_commands_of_the_zoo_are_launched(command):
    with pytest.raises(RunError, match="expected a chapter of the zoo"):
        launch.run(command, 2)


def test_a_mistyped_chapter_is_told_what_was_meant():
    with pytest.raises(RunError, match=r"did you mean zoo\.ch06_cnn\?"):
        launch.run(["zoo.ch6_cnn", "train"], 2)


def test_a_command_may_begin_with_its_interpreter():
    plain = [CHAPTER, "train"]
    assert launch._checked(["python3", "-m", *plain]) == launch._checked(plain) == plain


def test_more_processes_than_gpus_are_refused_before_one_is_started(monkeypatch):
    monkeypatch.setattr(launch, "_gpus", lambda: 1)
    monkeypatch.setattr(launch, "_start", lambda *_: pytest.fail("started"))
    with pytest.raises(
        RunError, match=r"got --processes 2, expected at most 1 here.* --device cpu"
    ):
        launch.run([CHAPTER, "train"], 2)
    for fine in ({"_gpus": lambda: 2}, {"_gpus": lambda: 0}):
        started = []
        monkeypatch.setattr(launch, "_gpus", fine["_gpus"])
        monkeypatch.setattr(launch, "_start", lambda *given, to=started: to.append(given) or [])
        launch.run([CHAPTER, "train"], 2)
        assert len(started) == 1


@pytest.mark.parametrize("form", [["--device", "cpu"], ["--device=cpu"]])
def test_processes_on_the_cpu_do_not_look_at_a_gpu(form, monkeypatch):
    monkeypatch.setattr(launch, "_gpus", lambda: pytest.fail("looked"))
    environments = []
    monkeypatch.setattr(launch, "_supervise", lambda *_: None)
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda command, env, **_: environments.append(env)
    )
    launch.run([CHAPTER, "train", *form], 2)
    assert [env["JAX_PLATFORMS"] for env in environments] == ["cpu", "cpu"]
    assert launch._on_cpu([CHAPTER, "train", *form])
    assert not launch._on_cpu([CHAPTER, "train", "--device", "gpu"])
    assert not launch._on_cpu([CHAPTER, "train"])


def test_gpus_are_counted_by_another_process(monkeypatch):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    assert launch._gpus() == 0  # a JAX without plugins: nothing to ask
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: name)

    answers = [(0, "2\n"), (1, "")]

    def run(command, env, **_):
        assert env["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        return subprocess.CompletedProcess(command, *answers.pop(0))

    monkeypatch.setattr(launch.subprocess, "run", run)
    assert [launch._gpus(), launch._gpus()] == [2, 0]  # one that fails leaves it to the workers


def child(number, program):
    log = tempfile.TemporaryFile("w+") if number else None  # noqa: SIM115
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    return launch.Child(number, process, log)


def test_a_process_that_fails_is_named_with_its_last_words():
    long = child(0, "import time; time.sleep(60)")
    with pytest.raises(RunError, match=r"(?s)process 1 of 2 ended with exit code 3.*\[1\] oh dear"):
        launch._supervise([long, child(1, "print('oh dear'); exit(3)")], [CHAPTER, "train"])
    assert long.process.poll() is not None


def test_a_process_that_jax_ended_points_to_the_others():
    with pytest.raises(RunError, match=r"SIGABRT .exit code -6., as JAX does where another"):
        launch._supervise([child(0, "import os; os.abort()")], [CHAPTER, "train"])


def test_without_a_folder_the_advice_is_another():
    broken = child(0, "exit(3)")
    broken.process.wait()
    assert "--resume RUN-FOLDER" in launch._describe(broken, 1, [CHAPTER, "train"])
    assert "the same command" in launch._describe(broken, 1, [CHAPTER, "train", "--out=a"])


def test_a_run_that_was_stopped_ends_with_its_status():
    with pytest.raises(SystemExit) as end:
        launch._supervise([child(0, "exit(130)"), child(1, "exit(130)")], [CHAPTER, "train"])
    assert end.value.code == 130


def test_a_second_signal_kills_what_does_not_end(capfd):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    stubborn = [child(n, f"{deaf}; time.sleep(60)") for n in (1, 2)]
    for one in stubborn:
        while not one.log.seek(0) and not one.log.read():
            time.sleep(0.02)
    for seconds in (0.2, 1.0):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as end:
        launch._supervise(stubborn, [CHAPTER, "train"])
    assert end.value.code == launch.ENDED
    assert [one.process.returncode for one in stubborn] == [-signal.SIGKILL] * 2
    assert "killed by a second signal, without saving" in capfd.readouterr().err


def test_a_signal_behind_the_end_of_a_run_changes_nothing():
    patient = "import signal, time; signal.signal(15, lambda *_: exit(0)); print(1, flush=True)"
    one = child(1, f"{patient}; time.sleep(60)")
    while not one.log.seek(0) and not one.log.read():
        time.sleep(0.02)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    launch._supervise([one], [CHAPTER, "train"])


def test_a_process_that_will_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.5)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    stubborn = child(1, f"{deaf}; time.sleep(60)")
    while not stubborn.log.seek(0) and not stubborn.log.read():
        time.sleep(0.02)
    launch._end([stubborn])
    assert stubborn.process.returncode == -signal.SIGKILL


def test_a_first_signal_is_handed_on_and_a_second_one_kills():
    """A process that hears SIGTERM and goes on nevertheless."""
    words = "signal.signal(15, lambda *_: print('asked', flush=True)); print('ready', flush=True)"
    deaf = child(1, f"import signal, time; {words}; time.sleep(30)")

    def interrupt_twice():
        for word in (b"ready", b"asked"):
            while word not in os.pread(deaf.log.fileno(), 100, 0) and deaf.process.poll() is None:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_twice, daemon=True).start()
    with pytest.raises(SystemExit) as end:
        launch._supervise([deaf], [CHAPTER, "train"])
    assert end.value.code == launch.ENDED  # nothing was saved
    assert deaf.process.returncode == -signal.SIGKILL


def test_a_process_ends_when_its_launcher_is_gone(monkeypatch):
    read, write = os.pipe()
    ended = []
    own = types.SimpleNamespace(read=lambda _, count: os.read(read, count), _exit=ended.append)
    monkeypatch.setattr(launch, "os", own)
    thread = threading.Thread(target=launch._end_with_the_launcher)
    thread.start()
    os.write(write, b"no end yet")
    thread.join(0.05)
    assert thread.is_alive()
    os.close(write)
    thread.join(30)
    os.close(read)
    assert ended == [1]


# In a cluster.


@pytest.fixture
def joined(monkeypatch):
    """What the command line of the chapter becomes, and how JAX was asked for peers."""
    calls = []
    monkeypatch.setenv("grpc_proxy", "http://proxy:3128")
    monkeypatch.setenv("TERM", "xterm")  # which joining changes
    monkeypatch.setattr(jax.config, "update", lambda *a: calls.append(a))
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(launch.runpy, "run_module", lambda name, **_: calls.append(sys.argv))
    monkeypatch.setattr(sys, "argv", sys.argv)
    return calls


def test_inside_a_job_the_peers_are_found_by_jax(joined):
    launch.run([CHAPTER, *FLAGS])
    assert joined[0] == ("jax_cpu_collectives_implementation", "gloo")
    assert joined[-2:] == [((), {}), [CHAPTER, *FLAGS]]
    assert os.environ["grpc_proxy"] == ""  # noqa: SIM112


def test_a_local_process_joins_its_peers_and_watches_its_launcher(joined, monkeypatch):
    watched = threading.Event()
    monkeypatch.setattr(launch, "_end_with_the_launcher", watched.set)
    launch._worker(["1/2", "4321", "0.2"], [CHAPTER, *FLAGS])
    assert watched.wait(30)
    assert joined[0] == ("jax_cpu_collectives_implementation", "gloo")
    arguments, options = joined[-2]
    assert arguments == ("127.0.0.1:4321", 2, 1)
    assert options["local_device_ids"] == [1]
    assert options["coordinator_bind_address"] == "127.0.0.1:4321"
    assert options["heartbeat_timeout_seconds"] == 1
    assert joined[-1] == [CHAPTER, *FLAGS]


@pytest.mark.parametrize("form", [("--out", "{}"), ("--out={}",)])
def test_a_folder_with_a_run_in_it_is_resumed(form, joined, tmp_path):
    flags = [part.format(tmp_path) for part in form]
    launch.run([CHAPTER, *flags, "--seed", "1"])
    (tmp_path / "config.json").write_text("{}")
    launch.run([CHAPTER, *flags, "--seed", "1"])
    first, _ = (call for call in joined if isinstance(call, list))
    assert first == [CHAPTER, *flags, "--seed", "1"]
    assert joined[-1] == [CHAPTER, *(f.replace("--out", "--resume") for f in flags), "--seed", "1"]


def slurm(number):
    """The variables by which a process knows its place in a job of Slurm."""
    place = {"SLURM_JOB_ID": "90", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    return place | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}


def in_a_job(manager, folder):
    """What is started for a training of two: commands, and what is added to their environment."""
    command = [sys.executable, "-m", "zoo.ch10_deploy", "launch", "--", CHAPTER, *FLAGS]
    command += ["--out", str(folder)]
    if manager == "slurm":
        return [(command, slurm(0)), (command, slurm(1))]
    if shutil.which("mpirun") is None:
        pytest.skip("there is no mpirun here: install Open MPI")
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    options = ["--bind-to", "none", "--oversubscribe", "-np", "2"]
    return [(["mpirun", *options, *command], allowed)]


@pytest.mark.parametrize("manager", ["slurm", "mpirun"])
def test_the_processes_of_a_job_train_as_one(manager, place, environment):
    folder = place / manager
    started = [
        subprocess.Popen(
            command,
            cwd=place,
            env=environment | added | {"http_proxy": "http://127.0.0.1:9"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, added in in_a_job(manager, folder)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert all(process.returncode == 0 for process in started), said
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 4
    assert sum(text.count("trained in") for text in said) == 1  # by the first process alone
    assert "\x1b" not in "".join(said)  # no progress bars, though mpirun gives each a terminal


POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "package", "said"),
    [
        ({}, True, "give --processes N"),
        (POD, False, r"pip install jax\[k8s\]"),
        (POD, True, "completionMode Indexed"),
        (POD | {"JOB_COMPLETION_INDEX": "0"}, True, "headless service"),
    ],
    ids=["no cluster", "no package", "no index", "no rights"],
)
def test_what_is_missing_for_peers_is_said(environment, package, said, joined, monkeypatch):
    def fail():
        raise ValueError("coordinator_address should be defined.")

    for name in ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    find = launch.importlib.util.find_spec
    found = {"kubernetes": object() if package else None}
    monkeypatch.setattr(
        launch.importlib.util,
        "find_spec",
        lambda name: found[name] if name in found else find(name),
    )
    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(RunError, match=f"no peers found: .*{said}.*JAX says: coordinator_address"):
        launch.run([CHAPTER, "train"])


# What several processes ask of common, as one process can see it.


def test_alone_everyone_is_one_and_own_changes_nothing():
    assert device.everyone(3.5).tolist() == [3.5]
    array = jax.numpy.arange(3)
    assert device.own(array) is array


def test_a_mesh_takes_as_many_devices_of_each_process(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Device:
        id: int
        process_index: int
        platform: str = "cpu"

    there = [Device(*pair) for pair in zip(itertools.count(), (1, 0, 1, 0, 0))]
    monkeypatch.setattr(device, "devices", lambda name: there)
    monkeypatch.setattr(jax.sharding, "Mesh", lambda devices, axes: list(devices))
    assert [d.process_index for d in device.mesh(2)] == [0, 0, 1, 1]
    with pytest.raises(device.DeviceError, match="got 3 devices, expected at most 2"):
        device.mesh(3)


def test_processes_with_other_flags_or_data_refuse_to_train(monkeypatch):
    run._check_peers(CONFIG, "abc")
    monkeypatch.setattr(device, "everyone", lambda words: np.stack([words, words, words + 1]))
    with pytest.raises(RunError, match="process 2 of 3 has another configuration or other data"):
        run._check_peers(CONFIG, "abc")


def test_a_model_that_trains_alone_refuses_company(monkeypatch):
    state = TASK.start(CONFIG, TASK.random(CONFIG, 1500))
    run._check_shared(state)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RunError, match="trains within one process only"):
        run._check_shared(state)


def test_what_a_state_carries_for_each_example_goes_from_call_to_call_on_a_mesh():
    def loss(params, batch, key, carried):
        value = jax.numpy.mean((batch["x"] * params + 0.5 * carried - batch["y"]) ** 2)
        return value, ({}, jax.numpy.tanh(batch["x"] + carried))

    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(24, 3)).astype(np.float32) for name in ("x", "y")}
    optimizer = optax.sgd(0.1)
    params, carry = np.ones(3, np.float32), np.zeros((8, 3), np.float32)
    begin = fit.start(params, optimizer, jax.random.key(0), carry=carry)
    options = {"epochs": 3, "batch_size": 8, "form": "step"}
    alone = fit.last(fit.iterate(loss, optimizer, begin, data, **options))
    options["mesh"] = device.mesh(4)
    split = fit.last(fit.iterate(loss, optimizer, begin, data, **options))
    np.testing.assert_allclose(split.params, alone.params, rtol=1e-5)
    np.testing.assert_allclose(split.carry, alone.carry, rtol=1e-5)
    assert np.abs(alone.carry).min() > 0
