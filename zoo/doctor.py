"""`python -m zoo doctor`: what this machine and its software are, and whether they compute right.

Child processes ask JAX, since it may raise where it is imported, or end the process.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from json import dumps, loads
from pathlib import Path
from typing import Any

import zoo
from zoo.common.data import DataError, fetch, files
from zoo.common.data.registry import ENTRIES, Entry

GIVEN = dict(os.environ)
"""The environment as it was before the command changed its own."""
SECONDS = 300
"""How long a child process may take for all that it is asked."""
_PACKAGES = r"jax|jaxlib|jax-(cuda|rocm).*|libtpu|numpy|optax|nvidia-(cublas|cuda-runtime|cudnn).*"
_PLUGINS = r"jaxlib|jax-(cuda|rocm)\d+-(plugin|pjrt)"  # of the same version as jax
_WRONG = ("0.10.2", "0.11.0")  # jaxlib: wrong numbers, and crashes, on CPUs
_SLOW = ("0.11.1",)  # on CPUs in loops that write into an array: jax-ml/jax#40101
_EXTENSIONS = r"avx2|avx_vnni.*|avx512.*|avx10.*|amx.*|fma|asimd.*|neon|sve.*|sme(?!p$).*|i8mm|bf16"
_LONG = 4_000_000  # bytes of an .xz file that takes a second to unpack
_SECRET = r"(?i).*(key|token|secret|password).*"
_MEANINGS = {
    r"JAX_PLATFORMS|JAX_PLATFORM_NAME": "JAX has these backends alone",
    r"JAX_DEFAULT_DEVICE": "what computes when nothing else is said",
    r"JAX_ENABLE_X64": "numbers of 64 bits; zoo's have 32 all the same",
    r"JAX_DISABLE_JIT": "nothing is compiled, which is slow",
    r"JAX_DEFAULT_MATMUL_PRECISION": "how float32 products are rounded",
    r"JAX_DEBUG_.*": "a check that makes JAX slow",
    r"JAX_.*CACHE.*": "which compiled programs are kept, and where",
    r"JAX_.*": "a setting of JAX",
    r"XLA_FLAGS|LIBTPU_INIT_ARGS": "options of the compiler",
    r"XLA_PYTHON_CLIENT_.*": "how much of a GPU's memory JAX takes",
    r"NVIDIA_TF32_OVERRIDE": "0 forbids TF32 to the libraries of CUDA",
    r"(CUDA|NVIDIA|HIP|ROCR)_VISIBLE_DEVICES": "which GPUs there are",
    r"(XLA|TF_(CPP|CUDNN|FORCE|GPU|XLA)|CUDA|NVIDIA|HIP|ROCR|NCCL|TPU)_.*": "a setting of XLA",
    r"LD_LIBRARY_PATH|LD_PRELOAD": "may bring other libraries than JAX's own",
    r"(OMP|OPENBLAS|MKL|VECLIB)_.*": "threads of NumPy, not of JAX",
    r"(?i)(https?|all|no)_proxy": "how data sets are downloaded",
    r"MPLBACKEND": "zoo's commands draw with agg all the same",
    r"MATPLOTLIBRC|MPLCONFIGDIR": "zoo's pictures have their own style",
    r"ZOO_DATA_DIR": "where data sets are looked for",
    r"ZOO_CACHE": "where data sets and compiled programs are kept",
    r"ZOO_DEBUG": "errors with their traceback",
    r"ZOO_.*": "nothing that zoo knows",
}
# The settings of JAX that change the numbers of a compiled program, or choose the devices.
_KEPT = r"JAX_(PLATFORM.*|DEFAULT_(DEVICE|MATMUL_PRECISION)|(CUDA|ROCM)_.*)"


def doctor(json: bool = False) -> None:
    """Report whether JAX computes right on this machine, and all that it depends on.

    Runs programs that some versions of JAX compute wrongly, on every device. The exit status is 1
    if something is wrong that zoo needs.

    Args:
        json: Print one JSON object and nothing else, for reports of bugs.
    """
    found = report()
    if json:
        print(dumps(found, indent=1))
    else:
        print("\n".join(lines(found)))
    if found["faults"]:
        raise SystemExit(1)


def check_import() -> None:
    """Ends the program with the report if JAX can't be imported; nothing else has to be then."""
    try:
        import jax  # noqa: F401
    except Exception:  # whatever a broken installation raises
        doctor("--json" in sys.argv)


def report() -> dict[str, Any]:
    """Everything that `doctor` prints; zoo can't be trusted with what is among the `faults`."""
    began = time.monotonic()
    found: dict[str, Any] = {"zoo": zoo.__version__, "faults": [], "warnings": [], "remarks": []}
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        asked = pool.submit(_describe)
        found["data"] = _data_sets(pool, found["faults"])
        installed = [one for one in importlib.metadata.distributions() if one.name]
        # What is imported comes first.
        packages = {_normal(one.name): one.version for one in reversed(installed)}
        found["folders"] = _folders(found["faults"])
        answer = asked.result()
        found["software"] = _software(packages, answer, found)
        found["machine"] = answer["machine"] | _machine()
        found["devices"] = answer["devices"]
        found["environment"] = environment(GIVEN)
        found["extras"] = _extras(packages)
        if "error" in answer:
            found["faults"].append(f"JAX fails: {answer['error']}")
        found["canaries"] = _canaries(pool, answer["present"], found)
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


def lines(found: dict[str, Any]) -> Iterable[str]:
    """A report as text."""
    for topic in ("software", "machine", "devices", "environment", "data", "folders", "extras"):
        yield topic
        for name, text in found[topic].items() or {"": "none"}.items():
            yield files.printable(f"  {name:<22}{text}")
    yield "canaries, as plain jax.jit compiles them and under zoo's options"
    for row in found["canaries"]:
        both = row["plain"] if row["plain"] == row["zoo"] else "{plain}; zoo: {zoo}".format(**row)
        yield files.printable(f"  {row['canary']:<22}{row['device']:<7} {both}")
    if not found["canaries"]:
        yield "  not run: JAX has no device"
    yield ""
    for state in ("remarks", "warnings", "faults"):
        for text in found[state]:
            yield files.printable(f"{state[:-1]}: {text}")
    count = len(found["faults"])
    verdict = f"{count} fault{'s' * (count > 1)}" if count else "no fault"
    yield f"{verdict}, in {found['seconds']} s"


def environment(given: dict[str, str]) -> dict[str, str]:
    """The variables that change JAX or zoo, with their values, no secrets, and what they do."""
    found = {}
    for name, value in sorted(given.items()):
        meaning = (text for glob, text in _MEANINGS.items() if re.fullmatch(glob, name))
        if (does := next(meaning, None)) is None:
            continue
        if "://" in value or "proxy" in name.lower():
            value = re.sub(r"^(\w+://)?.*@", r"\1***@", value)  # user and password
        found[name] = f"{'***' if re.fullmatch(_SECRET, name) else value} ({does})"
    return found


def _normal(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _ask(code: str) -> tuple[list[str], str]:
    """The lines that a Python process prints, and what ended it, "" if nothing did."""
    kept = dict(os.environ)
    for name in os.environ:
        if name.startswith("JAX_") and not re.fullmatch(_KEPT, name):
            del kept[name]
    kept.pop("XLA_FLAGS", None)  # a command's process has zoo's options there
    if "XLA_FLAGS" in GIVEN:
        kept["XLA_FLAGS"] = GIVEN["XLA_FLAGS"]
    kept["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the processes share a GPU
    place = str(Path(zoo.__file__).parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH"))))
    start = [sys.executable, "-c", code]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        done = subprocess.run(start, env=kept, timeout=SECONDS, **options)
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace").splitlines(), "no answer"
    said, errors = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    ended = errors.strip().rpartition("\n")[2] if done.returncode else ""
    if done.returncode < 0:
        ended = f"crashed: {signal.Signals(-done.returncode).name}"
    elif "Timeout (" in errors:  # of `faulthandler`
        ended = "no answer"
    return said.splitlines(), ended


def describe() -> None:
    """Prints what JAX says of the machine, one JSON object a line; for a process of its own."""
    try:
        from zoo.ch04_gpu import machine
        from zoo.common import device

        about = {"processor": f"{device.processor()}, {device.threads()} threads"}
        about["memory"] = f"{device.memory() / 2**30:.1f} GiB"
        about["NVIDIA driver"] = machine.driver() or "none"
        print(dumps({"machine": about, "tested": device.TESTED}))
        devices, present = {}, []
        for b in machine.backends():
            parts = [f"{b.number} x {b.kind}, {b.memory}" if b.number else b.kind, b.note]
            devices[b.name] = ": ".join(filter(None, parts))
        for kind in machine.present():
            here = device.devices(kind)
            devices[kind] += f" ({' '.join(here[0].client.platform_version.split())})"
            # Several on one CPU are the same processor.
            present += [(kind, number) for number in range(1 if kind == "cpu" else len(here))]
        print(dumps({"devices": devices, "present": present}))
        device.current()
    except Exception as error:  # whatever a broken installation raises
        print(dumps({"error": " ".join(f"{type(error).__name__}: {error}".split())}))


def _describe() -> dict[str, Any]:
    """What `describe` prints, from a process of its own."""
    answer: dict[str, Any] = {"machine": {}, "devices": {}, "present": []}
    printed, ended = _ask("from zoo import doctor; doctor.describe()")
    for line in printed:
        if line.startswith("{"):
            answer |= loads(line)
    return answer | ({"error": ended} if ended else {})


def _software(
    packages: dict[str, str], answer: dict[str, Any], found: dict[str, Any]
) -> dict[str, str]:
    shown = {"zoo": f"{zoo.__version__}, from {Path(zoo.__file__).parent}"}
    shown["Python"] = f"{platform.python_version()}, {sys.executable}"
    shown |= {k: packages[k] for k in sorted(packages) if re.fullmatch(_PACKAGES, k)}
    jax, jaxlib = packages.get("jax", ""), packages.get("jaxlib", "")
    for name in packages:
        if re.fullmatch(_PLUGINS, name) and _numbers(packages[name]) != _numbers(jax):
            found["faults"].append(
                f"{name} {packages[name]} and jax {jax} differ: pip install {name}=={jax}"
            )
    if jaxlib in _WRONG:
        found["faults"].append(
            f"jaxlib {jaxlib} computes wrong numbers on CPUs: pip install --upgrade -e ."
        )
    elif jaxlib in _SLOW:
        found["warnings"].append(f"jaxlib {jaxlib} is slow on CPUs: pip install --upgrade -e .")
    elif "tested" in answer:
        first, end = answer["tested"]
        if not _numbers(first) <= _numbers(jaxlib) < _numbers(end):
            found["warnings"].append(
                f"jaxlib {jaxlib}: zoo is tested with {first} and newer, before {end}"
            )
    return shown


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _machine() -> dict[str, str]:
    shown = {"system": platform.platform()}
    if extensions := _extensions():
        shown["vector extensions"] = " ".join(extensions)
    try:
        text = Path("/proc/meminfo").read_text()
        free = int(text.split("MemAvailable:")[1].split()[0])
        shown["free memory"] = f"{free / 2**20:.1f} GiB"
    except (OSError, IndexError, ValueError):
        pass  # not Linux
    return shown


def _extensions() -> list[str]:
    """What the processor can do with vectors and matrices, as its system names it."""
    try:
        words = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].split()
    except OSError:
        words = []
    if shutil.which("sysctl") and not words:  # macOS
        asked = ["sysctl", "hw.optional", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        text = re.sub(r"\S*\.(\w+): 0$", "", done.stdout, flags=re.MULTILINE)
        words = re.sub(r"\S*\.(FEAT_)?(\w+): 1$", r"\2", text, flags=re.MULTILINE).lower().split()
    return list(dict.fromkeys(word for word in words if re.fullmatch(_EXTENSIONS, word)))


def _data_sets(pool: ThreadPoolExecutor, faults: list[str]) -> dict[str, str]:
    """Where each data set is, and whether its files are the published ones."""
    try:
        fetch.roots()
    except DataError as error:
        faults.append(str(error))
        return {"": str(error)}
    found = dict(zip(ENTRIES, pool.map(_data_set, ENTRIES.values()), strict=True))
    faults += [f"{name}: {text}" for name, (text, broken) in found.items() if broken]
    return {name: text for name, (text, _) in found.items()}


def _data_set(entry: Entry) -> tuple[str, bool]:
    """Where it is, and whether a file differs, as `python -m zoo data verify` finds out."""
    skipped = False
    try:
        for root in fetch.roots():
            for place in fetch.places(entry, root):
                for file in entry.files:
                    path = fetch.find(entry, place, file.name)
                    if path and path.suffix == ".xz" and path.stat().st_size > _LONG:
                        skipped = True
                    elif path:
                        files.check_published(path, file, files.read_bytes(path))
        if found := fetch.locate(entry):
            advice = f", not verified: python -m zoo data verify {entry.name}" if skipped else ""
            return f"{'here' if skipped else 'intact'}, in {found.source}{advice}", False
    except DataError as error:
        return f"differs: {error}", True
    return f"not here: python -m zoo data fetch {entry.name}", False


def _folders(faults: list[str]) -> dict[str, str]:
    """Whether what is downloaded and compiled can be kept."""
    try:
        cache = fetch.cache()
    except DataError as error:
        faults.append(str(error))
        return {"cache": str(error)}
    programs = GIVEN.get("JAX_COMPILATION_CACHE_DIR") or str(cache / "xla")
    folders = {"cache": str(cache), "compiled programs": programs}
    for name, folder in folders.items():
        if "://" in folder:  # a bucket
            continue
        there = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()
            free = f"{shutil.disk_usage(there).free / 2**30:.1f} GiB free"
            folders[name] = f"{folder}: writable, {free}"
        except OSError as error:
            folders[name] = f"{folder}: not writable: {error.strerror}"
            faults.append(f"{folders[name]}: name another folder by ZOO_CACHE")
    return folders


def _extras(packages: dict[str, str]) -> dict[str, str]:
    """Which optional parts are installed."""
    missing: dict[str, list[str]] = {}
    try:
        required = importlib.metadata.requires("zoo") or []
    except importlib.metadata.PackageNotFoundError:
        return {"": "unknown, since zoo runs without being installed"}
    pattern = r"([\w.-]+)(?:\[(\w+)\])?.*extra == ['\"](\w+)['\"]"
    for name, kind, extra in re.findall(pattern, "\n".join(required)):
        package = f"jax-{kind}-plugin" if name == "jax" else _normal(name)
        absent = name != "zoo" and package not in packages
        missing.setdefault(extra, []).extend([package] * absent)
    texts = {extra: ", ".join(dict.fromkeys(names)) for extra, names in missing.items()}
    return {extra: f"without {names}" if names else "installed" for extra, names in texts.items()}


def _canaries(
    pool: ThreadPoolExecutor, present: list[tuple[str, int]], found: dict[str, Any]
) -> list[dict[str, Any]]:
    """The verdicts on each canary on each device, plainly and under zoo's options."""
    if not present:
        return []
    from zoo import canaries  # here, since JAX can be imported as it seems

    names = [canaries.name(canary) for canary in canaries.CANARIES]
    runs = [
        pool.submit(_verdicts, kind, number, options, names)
        for kind, number in present
        for options in (False, True)
    ]
    rows = []
    for (kind, number), plain, own in zip(present, runs[::2], runs[1::2], strict=True):
        where = f"{kind}:{number}"
        lost = []
        for canary, *both in zip(canaries.CANARIES, plain.result(), own.result(), strict=True):
            row: dict[str, Any] = {"canary": canaries.name(canary), "device": where}
            row |= {"plain": both[0], "zoo": both[1], "reports": canaries.reports(canary)}
            rows.append(row)
            _judge(canary(), row, found)
            lost += [row["canary"]] * (row["plain"] != row["zoo"] == "right")
        if lost:
            found["warnings"].append(
                f"plain jax.jit on {where} fails at {', '.join(lost)}; zoo's programs are right. "
                "In your own call zoo.set_xla_flags() before JAX computes for the first time, "
                "or install another JAX"
            )
    return rows


def _judge(case: Any, row: dict[str, Any], found: dict[str, Any]) -> None:
    """Adds what a canary's verdict under zoo's options means to the report."""
    if row["zoo"].startswith("in "):
        found["remarks"].append("{canary} on {device} {zoo}; ".format(**row) + case.avoid)
    elif row["zoo"] != "right":
        known = f" ({', '.join(row['reports'])})" if row["reports"] else ""
        text = "{canary} on {device}: {zoo}".format(**row) + known
        unset = ", or unset XLA_FLAGS" if "XLA_FLAGS" in GIVEN else ""
        if case.used:
            found["faults"].append(f"{text}; {case.avoid}{unset}")
        else:
            found["warnings"].append(f"{text}; zoo has no such program, in yours {case.avoid}")


def _verdicts(kind: str, number: int, options: bool, names: list[str]) -> list[str]:
    """A device's verdict on each canary; a new process goes on where one has ended."""
    verdicts: list[str] = []
    while len(verdicts) < len(names):
        call = f"canaries.run({kind!r}, {number}, {options}, {len(verdicts)})"
        printed, ended = _ask(f"from zoo import canaries; {call}")
        for line in printed:
            if len(verdicts) < len(names) and line.startswith(f"{names[len(verdicts)]}: "):
                verdicts.append(line.partition(": ")[2])
        if len(verdicts) < len(names):
            verdicts.append(ended or "no verdict")
    return verdicts
