"""Training with several processes as if they were one: started on this machine, or on a cluster.

Every process runs the same command of the zoo. `jax.distributed` brings them together, the batch
is split over all their devices, and gradients are summed by collective operations, so that the
result is that of one process with as many devices. The first process alone writes the run folder.

A process that dies takes the others with it, since none can go on without its peers; the same
command with the same --out then goes on from the last checkpoint. The parent of local processes
notices the end of one at once; on a cluster JAX's heartbeat and the JobSet's restart do its work.
"""

import difflib
import importlib.util
import itertools
import os
import pkgutil
import queue
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import jax
import tyro

import zoo
from zoo.common import device
from zoo.common.run import RunError
from zoo.common.settings import Bounds, Duration

STOPPED, ENDED = 130, 143
"""The exit status of a run that a signal stopped: one that was saved, and one that was not."""
GRACE = 5.0
"""Seconds that processes without their peer get to end before they are killed."""
LOOPBACK = "127.0.0.1"


class Child(NamedTuple):
    """A process that the launcher started."""

    number: int
    process: subprocess.Popen
    log: IO[str] | None  # what it prints; None for the first one, which has the terminal


def run(
    command: tyro.conf.Positional[tuple[str, ...]],
    processes: Annotated[int, Bounds(1, ceiling=1024)] | None = None,
    heartbeat: Duration = 30.0,
) -> None:
    """Train with several processes, here or on a cluster, as if they were one.

    Here: `launch --processes 2 -- zoo.ch06_cnn train --out runs/pair`. Within a Kubernetes JobSet,
    or a job of Slurm or Open MPI, without --processes: JAX finds the peers. Run again with the same
    --out, it goes on from the last checkpoint.

    Args:
      command: after `--`, a training command of this zoo: `zoo.ch06_cnn train --epochs 5`
      processes: how many to start on this machine; none inside a cluster's job
      heartbeat: seconds of silence after which a process counts as lost

    Raises:
      RunError: the command is none of the zoo's, there is no cluster, there are fewer GPUs than
        processes, or a process failed.
      SystemExit: the run was stopped by a signal; the status is 130 if it was saved, else 143.
    """
    checked = _checked(command)
    if processes is None:
        _join_cluster()
        _become(checked)
    else:
        if not _on_cpu(checked):
            _check_gpus(processes)
        _supervise([*_start(checked, processes, heartbeat)], checked)


def _checked(command: Sequence[str]) -> list[str]:
    """The command without an interpreter; a module of the zoo comes first."""
    rest = list(command)
    if len(rest) > 1 and Path(rest[0]).name.startswith("python") and rest[1] == "-m":
        rest = rest[2:]
    chapters = [f"zoo.{m.name}" for m in pkgutil.iter_modules(zoo.__path__) if m.name[:2] == "ch"]
    if rest and rest[0] in chapters:
        return rest
    close = difflib.get_close_matches(rest[0] if rest else "", chapters, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise RunError(
        f"got the command {' '.join(command)!r}, expected a chapter of the zoo and its flags "
        f"after --{hint}: launch --processes 2 -- zoo.ch06_cnn train --out runs/pair"
    )


def _on_cpu(command: Sequence[str]) -> bool:
    """Whether the command itself chooses the CPU."""
    chosen = [part.partition("--device=")[2] for part in command if part.startswith("--device=")]
    chosen += [value for flag, value in itertools.pairwise(command) if flag == "--device"]
    return chosen == ["cpu"]


def _check_gpus(processes: int) -> None:
    """Refuses more processes than there are GPUs, as each needs one of its own."""
    if 0 < (there := _gpus()) < processes:
        raise RunError(
            f"got --processes {processes}, expected at most {there} here, one for each GPU: "
            "start fewer, or add --device cpu to the command"
        )


def _gpus() -> int:
    """How many GPUs JAX computes on by itself, 0 for a CPU.

    Another process counts them, since one that looks at a GPU takes its memory.
    """
    if importlib.util.find_spec("jax_plugins") is None:  # JAX has CPUs alone
        return 0
    count = "import jax; print(sum(one.platform == 'gpu' for one in jax.local_devices()))"
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command, pipe = [sys.executable, "-c", count], subprocess.PIPE
    done = subprocess.run(
        command, env=environment, stdout=pipe, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 else 0


def _join_cluster() -> None:
    """Makes this process a member of the job that JAX finds around it."""
    os.environ["TERM"] = "dumb"  # mpirun gives each a terminal: their progress bars would mix
    try:
        _initialize()
    except (ValueError, RuntimeError, OSError) as error:
        raise RunError(f"no peers found: {_missing()} (JAX says: {error})") from error


def _initialize(*args: Any, **options: Any) -> None:
    """`jax.distributed.initialize`, with what several processes of the zoo need."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It takes SIGTERM and leaves the rest to programs that ask for it. Until `run` listens, which
    # stops at a step of its own, the signal shall end the process.
    jax.config.update("jax_enable_preemption_service", False)
    # gRPC would look for the peers behind http_proxy, which is for downloads; empty means none.
    os.environ["grpc_proxy"] = ""  # noqa: SIM112  # gRPC reads no capitals
    jax.config.update("jax_check_proxy_envs", False)
    jax.distributed.initialize(*args, **options)


def _missing() -> str:
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return (
            "this is not a Kubernetes pod, nor a job of Slurm or Open MPI; to start processes on "
            "this machine give --processes N"
        )
    if importlib.util.find_spec("kubernetes") is None:
        return "in a pod JAX asks the API for them by the package kubernetes: pip install jax[k8s]"
    if "JOB_COMPLETION_INDEX" not in os.environ:
        return "JOB_COMPLETION_INDEX is not set: the Job needs completionMode Indexed"
    return (
        "the pod's service account has to read pods, jobs and services, and a headless service "
        "has to name the pods, as deploy/k8s/training has it"
    )


def _become(command: Sequence[str]) -> None:
    """Runs the command in this process, which has its peers already."""
    module, *arguments = command
    status = 1
    try:
        sys.argv = [module, *_resumed(arguments)]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    except SystemExit as end:
        if end.code in (None, 0, STOPPED):
            raise
        status = end.code if isinstance(end.code, int) else 1
        if not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except jax.errors.JaxRuntimeError as error:  # as a rule a peer has gone
        if os.environ.get("ZOO_DEBUG"):
            sys.excepthook(*sys.exc_info())
        print(f"process {jax.process_index()}: {str(error).splitlines()[0]}", file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    # Not sys.exit: at a regular end JAX would wait minutes for peers that wait for this process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _resumed(arguments: Sequence[str]) -> list[str]:
    """The arguments with --resume DIR for --out DIR where the first process sees a run there."""
    arguments, there = list(arguments), False
    for n, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != "--out" or not (equals or n + 1 < len(arguments)):
            continue
        folder = Path(value if equals else arguments[n + 1])
        # Asked before any process goes on, so that all do the same.
        there = bool(device.everyone((folder / "config.json").exists())[0])
        if there:
            arguments[n] = f"--resume={folder}" if equals else "--resume"
    return arguments


def _start(command: Sequence[str], processes: int, heartbeat: float) -> list[Child]:
    # Another program could take the port in between; then the processes fail, and say why.
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    # Not even to look at: with its number a process asks for a GPU that may not be there.
    environment = os.environ | ({"JAX_PLATFORMS": "cpu"} if _on_cpu(command) else {})
    children = []
    for number in range(processes):
        # A file, not a pipe: nobody would read the pipe, and a full one stops its writer.
        log = tempfile.TemporaryFile("w+", errors="replace") if number else None  # noqa: SIM115
        about = [f"{number}/{processes}", str(port), str(heartbeat)]
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo.ch10_deploy.launch", *about, *command],
            env=environment,
            stdin=subprocess.PIPE,  # never written to; its end tells that the launcher is gone
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C reaches each process once, through the parent
        )
        children.append(Child(number, process, log))
    return children


def _supervise(children: list[Child], command: Sequence[str]) -> None:
    """Waits until all have ended; hands signals on; ends all where one fails."""
    ended: queue.SimpleQueue[Child] = queue.SimpleQueue()

    def wait(child: Child) -> None:
        child.process.wait()
        ended.put(child)

    for child in children:
        threading.Thread(target=wait, args=(child,), daemon=True).start()
    asked = []

    def hand_on(number, frame) -> None:
        asked.append(number)
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM if len(asked) == 1 else signal.SIGKILL)

    heard = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as under `nohup`
        heard.append(hangup)
    before = {s: signal.signal(s, hand_on) for s in heard}
    try:
        for _ in children:
            child = _next(ended)
            if child.process.returncode not in (0, STOPPED):
                _end(children)
                if asked:
                    break
                raise RunError(_describe(child, len(children), command))
    finally:
        _end(children)
        for number, handler in before.items():
            signal.signal(number, handler)
    status = children[0].process.returncode if children else 0  # it is the one that saves
    if asked and status not in (0, STOPPED):
        how = "killed by a second signal" if len(asked) > 1 else "stopped outside of training"
        print(f"{how}, without saving; {_advice(command)}", file=sys.stderr)
        sys.exit(ENDED)
    if any(child.process.returncode == STOPPED for child in children):
        sys.exit(STOPPED)


def _next(ended: "queue.SimpleQueue[Child]") -> Child:
    while True:  # in short waits, between which Python handles signals
        try:
            return ended.get(timeout=0.2)
        except queue.Empty:
            continue


def _end(children: list[Child]) -> None:
    """Ends what still runs, kindly at first."""
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + GRACE
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _describe(child: Child, processes: int, command: Sequence[str]) -> str:
    status = child.process.returncode
    how = f"ended with exit code {status}"
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name} (exit code {status})"
    if status == -signal.SIGABRT:
        how += ", as JAX does where another one no longer answers"
    said = ""
    if child.log is not None:
        child.log.seek(0)
        lines = child.log.read().splitlines()[-15:]
        said = "".join(f"\n  [{child.number}] {line}" for line in lines)
    return (
        f"process {child.number} of {processes} {how}; the others were stopped. "
        f"When the cause is fixed, {_advice(command)}{said}"
    )


def _advice(command: Sequence[str]) -> str:
    if any(part.partition("=")[0] in ("--out", "--resume") for part in command):
        return "the same command goes on from the last checkpoint, if there is one"
    return "go on from the last checkpoint with --resume RUN-FOLDER, if there is one"


def _worker(about: Sequence[str], command: Sequence[str]) -> None:
    """What each local process does."""
    number, processes = map(int, about[0].split("/"))
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    # Only on this machine: peers are trusted, whoever they are.
    address = f"{LOOPBACK}:{about[1]}"
    _initialize(
        address,
        processes,
        number,
        local_device_ids=[number],  # of the GPUs of this machine each process has one
        coordinator_bind_address=address,
        heartbeat_timeout_seconds=max(1, round(float(about[2]))),
        initialization_timeout=120,
    )
    _become(command)


def _end_with_the_launcher() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    _worker(sys.argv[1:4], sys.argv[4:])
