"""`python -m zoo doctor`: once as it is, and what it makes of machines that are not so well."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo import canaries, doctor
from zoo.common.data import registry

NAMES = [canaries.name(canary) for canary in canaries.CANARIES]


@pytest.fixture(scope="module")
def report():
    return doctor.report()


def test_a_report_has_no_fault_here_and_all_its_parts(report):
    assert report["faults"] == []
    assert {"zoo", "Python", "jax", "jaxlib", "numpy"} <= report["software"].keys()
    assert "threads" in report["machine"]["processor"]
    assert report["devices"]["cpu"].startswith("8 x ")  # as the tests have it
    assert list(report["data"]) == list(registry.ENTRIES)
    assert report["folders"].keys() == {"cache", "compiled programs"}
    assert [row["canary"] for row in report["canaries"]] == NAMES  # one processor, one device
    assert all(row["device"] == "cpu:0" for row in report["canaries"])


def test_a_report_is_printed_with_each_canary_and_the_verdict(report):
    text = "\n".join(doctor.lines(report))
    for word in ("software", "canaries", *NAMES, "no fault, in "):
        assert word in text


def small(**changes):
    parts = ("software", "machine", "devices", "environment", "data", "folders", "extras")
    lists = ("canaries", "remarks", "warnings", "faults")
    found = {part: {} for part in parts} | {name: [] for name in lists} | {"seconds": 1.0}
    return found | changes


def test_json_is_one_object_and_nothing_else(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "report", lambda: small(warnings=["a warning"]))
    doctor.doctor(json=True)
    assert json.loads(capsys.readouterr().out) == small(warnings=["a warning"])


@pytest.mark.parametrize("as_json", [False, True])
def test_a_fault_is_the_exit_status(capsys, monkeypatch, as_json):
    monkeypatch.setattr(doctor, "report", lambda: small(faults=["the moon"]))
    with pytest.raises(SystemExit) as ended:
        doctor.doctor(as_json)
    assert ended.value.code == 1
    assert "the moon" in capsys.readouterr().out


def test_warnings_are_printed_and_are_no_fault(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "report", lambda: small(warnings=["a warning"]))
    doctor.doctor()
    out = capsys.readouterr().out
    assert "warning: a warning\nno fault, in 1.0 s\n" in out
    assert "not run: JAX has no device" in out


def judged(monkeypatch, number=0, name="constant product", **verdicts):
    """What is said where one canary has other verdicts than the rest, which are right."""

    def answer(kind, index, options, names):
        own = verdicts["zoo" if options else "plain"]
        return [own if one == name and index == number else "right" for one in names]

    monkeypatch.setattr(doctor, "_verdicts", answer)
    found = small()
    with ThreadPoolExecutor() as pool:
        found["canaries"] = doctor._canaries(pool, [("gpu", 0), ("gpu", 1)], found)
    assert len(found["canaries"]) == 2 * len(NAMES)
    return found


def test_a_plain_jit_that_is_wrong_is_a_warning_with_what_to_do(monkeypatch):
    found = judged(monkeypatch, plain="wrong: 1 of 2", zoo="right", number=1)
    (warning,) = found["warnings"]
    assert "plain jax.jit on gpu:1 fails at constant product" in warning
    assert "zoo.set_xla_flags()" in warning
    assert found["faults"] == []


@pytest.mark.parametrize(
    "verdict", ["wrong: 1 of 2", "crashed: SIGSEGV", "refused: it", "no answer"]
)
def test_what_is_wrong_under_zoos_options_is_a_fault(monkeypatch, verdict):
    found = judged(monkeypatch, name="scaled bias", plain="right", zoo=verdict)
    (fault,) = found["faults"]
    assert fault.startswith(f"scaled bias on gpu:0: {verdict} (openxla/xla#46110, ")
    assert "autotune_level=3" in fault
    assert found["warnings"] == []


def test_what_no_model_of_zoo_has_is_a_warning(monkeypatch):
    found = judged(monkeypatch, name="shifted write", plain="wrong: 1", zoo="wrong: 1")
    (warning,) = found["warnings"]
    assert "zoo has no such program, in yours use jnp.concatenate" in warning
    assert found["faults"] == []


def test_tf32_is_named_and_nothing_wrong(monkeypatch):
    found = judged(monkeypatch, name="rounded product", plain="in TF32", zoo="in TF32")
    assert found["faults"] == found["warnings"] == []
    (remark,) = found["remarks"]
    assert remark.startswith("rounded product on gpu:0 in TF32; set JAX_DEFAULT_MATMUL_PRECISION")


def test_after_a_crash_the_next_canary_has_a_process_of_its_own(monkeypatch):
    calls = []

    def ask(code):
        calls.append(code.partition("run")[2])
        if len(calls) == 1:
            return ["a: right", "a line of XLA: right"], "crashed: SIGSEGV"
        return (["c: wrong: 1"], "") if len(calls) == 2 else ([], "no answer")

    monkeypatch.setattr(doctor, "_ask", ask)
    verdicts = doctor._verdicts("gpu", 3, True, ["a", "b", "c", "d"])
    assert verdicts == ["right", "crashed: SIGSEGV", "wrong: 1", "no verdict"]
    assert calls == ["('gpu', 3, True, 0)", "('gpu', 3, True, 2)"]


def test_a_process_that_crashes_has_what_it_printed_before():
    crash = "print('first', flush=True); import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert doctor._ask(crash) == (["first"], "crashed: SIGSEGV")


def test_a_canary_that_takes_too_long_ends_its_process():
    code = "import faulthandler, time; faulthandler.dump_traceback_later(0.1, exit=True)"
    assert doctor._ask(f"{code}; time.sleep(60)") == ([], "no answer")


def test_a_process_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 1)
    code = "import time; print('first', flush=True); time.sleep(60)"
    assert doctor._ask(code) == (["first"], "no answer")


def test_a_process_that_raises_tells_its_error():
    assert doctor._ask("raise OSError('why')") == ([], "OSError: why")


@pytest.mark.parametrize("given", [None, "--xla_cpu_enable_fast_math=false"])
def test_a_plain_process_has_the_options_of_the_user_alone(monkeypatch, given):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=OF_THE_COMMAND")
    monkeypatch.setattr(doctor, "GIVEN", {"XLA_FLAGS": given} if given else {})
    code = "import os; print(os.environ.get('XLA_FLAGS'))"
    assert doctor._ask(code) == ([str(given)], "")


def test_settings_that_change_no_program_are_not_handed_on(monkeypatch):
    for name in ("JAX_DISABLE_JIT", "JAX_ENABLE_X64", "JAX_DEBUG_NANS", "JAX_TRANSFER_GUARD"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    code = "import os; print(*sorted(name for name in os.environ if name.startswith('JAX_')))"
    assert doctor._ask(code) == (["JAX_PLATFORMS"], "")


def test_the_environment_is_told_without_passwords_and_other_variables():
    shown = doctor.environment(
        {
            "JAX_ENABLE_X64": "1",
            "XLA_FLAGS": "--xla_dump_to=a@b",
            "https_proxy": "http://me:pass/w@rd@proxy:3128",
            "HTTP_PROXY": "me:pass@proxy:3128",
            "ZOO_API_KEY": "secret",
            "EDITOR": "vi",
            "TF_VAR_token": "secret",
        }
    )
    assert shown == {
        "HTTP_PROXY": "***@proxy:3128 (how data sets are downloaded)",
        "JAX_ENABLE_X64": "1 (numbers of 64 bits; zoo's have 32 all the same)",
        "XLA_FLAGS": "--xla_dump_to=a@b (options of the compiler)",
        "ZOO_API_KEY": "*** (nothing that zoo knows)",
        "https_proxy": "http://***@proxy:3128 (how data sets are downloaded)",
    }


def software(**versions):
    found = small()
    packages = {name.replace("_", "-"): version for name, version in versions.items()}
    doctor._software(packages, {"tested": ("0.10.1", "0.12.1")}, found)
    return found["faults"], found["warnings"]


@pytest.mark.parametrize("version", ["0.10.1", "0.11.2", "0.12.0.1"])
def test_a_tested_jax_is_taken(version):
    assert software(jax=version, jaxlib=version) == ([], [])


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0"])
def test_a_jax_that_is_known_to_be_wrong_is_a_fault(version):
    faults, warnings = software(jax=version, jaxlib=version)
    assert faults == [
        f"jaxlib {version} computes wrong numbers on CPUs: pip install --upgrade -e ."
    ]
    assert warnings == []


@pytest.mark.parametrize("version", ["0.9.2", "0.12.1", "1.0"])
def test_a_jax_that_is_not_tested_is_a_warning(version):
    faults, (warning,) = software(jax=version, jaxlib=version)
    assert faults == []
    assert warning == f"jaxlib {version}: zoo is tested with 0.10.1 and newer, before 0.12.1"


@pytest.mark.parametrize("other", ["jaxlib", "jax_cuda12_plugin", "jax_cuda13_pjrt"])
def test_parts_of_jax_that_differ_are_a_fault(other):
    versions = {"jax": "0.11.2", "jaxlib": "0.11.2", other: "0.12.0.1"}
    (fault,), _ = software(**versions)
    name = other.replace("_", "-")
    assert fault == f"{name} 0.12.0.1 and jax 0.11.2 differ: pip install {name}==0.11.2"


X86 = "processor\t: 0\nflags\t\t: sse2 fma avx avx2 smep avx512f amx_tile\n\nprocessor\t: 1"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp sve bf16 i8mm crc32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(X86, "fma avx2 avx512f amx_tile"), (ARM, "asimd asimddp sve bf16 i8mm")],
)
def test_vector_extensions_are_read_off_the_processor(monkeypatch, text, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert doctor._extensions() == expected.split()


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """One data set, a short text in a folder that ZOO_DATA_DIR names."""
    (tmp_path / "input.txt").write_bytes(b"hello\n")
    digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    known = (registry.File("input.txt", 6, digest),)
    entry = registry.ENTRIES["tiny-shakespeare"]._replace(files=known)
    monkeypatch.setattr(doctor, "ENTRIES", {entry.name: entry})
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def data_sets():
    faults = []
    with ThreadPoolExecutor() as pool:
        found = doctor._data_sets(pool, faults)
    return found, faults


def test_a_data_set_that_is_whole_is_intact(shakespeare):
    assert data_sets() == ({"tiny-shakespeare": f"intact, in {shakespeare}"}, [])


def test_a_data_set_that_differs_is_a_fault(shakespeare):
    (shakespeare / "input.txt").write_bytes(b"hellO\n")
    _, (fault,) = data_sets()
    assert fault.startswith(f"tiny-shakespeare: differs: {shakespeare / 'input.txt'}: ")


def test_a_data_set_that_is_not_here_is_no_fault(shakespeare):
    (shakespeare / "input.txt").unlink()
    found, faults = data_sets()
    assert found["tiny-shakespeare"] == "not here: python -m zoo data fetch tiny-shakespeare"
    assert faults == []


def test_what_takes_long_to_unpack_is_not_verified_and_says_so(shakespeare, monkeypatch):
    (shakespeare / "input.txt").rename(shakespeare / "input.txt.xz")
    monkeypatch.setattr(doctor, "_LONG", 5)
    found, faults = data_sets()
    assert found["tiny-shakespeare"].endswith(
        "not verified: python -m zoo data verify tiny-shakespeare"
    )
    assert faults == []


def test_a_data_folder_that_is_not_there_is_one_fault(shakespeare, monkeypatch):
    monkeypatch.setenv("ZOO_DATA_DIR", str(shakespeare / "nowhere"))
    _, (fault,) = data_sets()
    assert "ZOO_DATA_DIR" in fault
    assert "no such folder" in fault


def test_folders_that_can_be_written_are_left_as_they_were(shakespeare, monkeypatch):
    monkeypatch.setattr(doctor, "GIVEN", {})
    faults = []
    found = doctor._folders(faults)
    assert found["cache"].startswith(f"{shakespeare / 'cache'}: writable, ")
    assert found["compiled programs"].startswith(f"{shakespeare / 'cache' / 'xla'}: writable, ")
    assert faults == []
    assert not (shakespeare / "cache").exists()


def test_a_cache_that_can_not_be_written_is_a_fault(shakespeare, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(shakespeare / "input.txt" / "cache"))
    monkeypatch.setattr(doctor, "GIVEN", {"JAX_COMPILATION_CACHE_DIR": "gs://bucket/programs"})
    faults = []
    found = doctor._folders(faults)
    assert "not writable: Not a directory" in found["cache"]
    assert found["compiled programs"] == "gs://bucket/programs"
    (fault,) = faults
    assert fault.endswith("name another folder by ZOO_CACHE")


def test_extras_say_what_is_missing(monkeypatch):
    required = [
        'jax[cuda12]<0.12,>=0.10; extra == "cuda"',
        "fastapi<1; extra == 'serve'",
        "python_multipart; extra == 'serve'",
        "zoo[serve]; extra == 'test'",
        "numpy>=2",
    ]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: required)
    packages = dict.fromkeys(("jax", "fastapi", "python-multipart", "numpy"), "1")
    extras = doctor._extras(packages)
    assert extras == {
        "cuda": "without jax-cuda12-plugin",
        "serve": "installed",
        "test": "installed",
    }


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A JAX that can't be imported, for child processes."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise RuntimeError('jaxlib is\\nolder')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_jax_that_can_not_be_imported_is_a_fault_in_a_line(broken, shakespeare):
    found = doctor.report()
    assert "JAX fails: RuntimeError: jaxlib is older" in found["faults"]
    assert found["canaries"] == []
    assert "jax" in found["software"]


def test_the_report_comes_before_anything_imports_a_broken_jax(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(doctor, "report", lambda: small(faults=["no JAX"]))
    monkeypatch.setattr(sys, "argv", ["zoo", "doctor", "--json"])
    with pytest.raises(SystemExit):
        doctor.check_import()
    assert json.loads(capsys.readouterr().out)["faults"] == ["no JAX"]


def test_a_backend_that_is_not_here_is_a_fault_in_a_line(shakespeare, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    found = doctor.report()
    (fault,) = found["faults"]
    assert "JAX_PLATFORMS=nonsense has a backend that can't be started" in fault
    assert found["canaries"] == []
    assert "JAX_PLATFORMS=nonsense" in found["devices"]["cpu"]
