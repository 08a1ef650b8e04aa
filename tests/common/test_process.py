"""What a command does to its own process, tried in processes."""

import os
import pty
import signal
import subprocess
import sys

import pytest

HELD = """
import sys
from zoo.common import process
process.prepare()
"""


def python(code, *arguments, **options):
    """A process that runs `code` behind `process.prepare()`."""
    command = [sys.executable, "-c", HELD + code, *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, timeout=60, check=False, **options)


def test_a_reader_that_goes_away_ends_nothing(tmp_path):
    out, into = os.pipe()
    os.close(out)
    code = "print('one'); print('two', file=sys.stderr); open(sys.argv[1], 'w').write('done')"
    done = python(code, str(tmp_path / "file"), stdout=into, stderr=into)
    os.close(into)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "done"


def test_a_full_disk_behind_the_output_is_an_error_once():
    code = """
try:
    print("one")
except OSError as error:
    print(error.errno, file=sys.stderr)
print("two")
"""
    with open("/dev/full", "w") as full:
        done = python(code, stdout=full)
    assert (done.returncode, done.stderr) == (0, b"28\n")


def test_a_terminal_that_was_closed_ends_nothing(tmp_path):
    ours, theirs = pty.openpty()
    os.close(ours)
    done = python("print('one'); open(sys.argv[1], 'w')", str(tmp_path / "file"), stdout=theirs)
    os.close(theirs)
    assert done.returncode == 0
    assert (tmp_path / "file").exists()


def test_output_that_the_caller_has_closed_is_no_error():
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >&-', sys.executable, HELD + "print('one')"], check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "█ · ± é 字".encode()),
        ("cp1252", b"# \xb7 \xb1 \xe9 \\u5b57"),
        ("ascii", b"# . +- \\xe9 \\u5b57"),
    ],
)
def test_what_a_terminal_cannot_show_is_spelt(encoding, shown):
    done = python("print('█ · ± é 字')", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.stdout.rstrip() == shown


def test_a_file_name_of_other_bytes_can_be_printed():
    done = python("print(sys.argv[1])", b"a\xff.png", env={**os.environ, "PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout) == (0, b"a\\udcff.png\n")


def test_lines_appear_at_once_in_a_file(tmp_path):
    code = "print('one'); print(open(sys.argv[1]).read(), file=sys.stderr)"
    with open(tmp_path / "log", "w") as log:
        done = python(code, str(tmp_path / "log"), stdout=log)
    assert done.stderr == b"one\n\n"


# As in a container whose user has no entry: `pwd` knows nobody.
NOBODY = """
import os, pwd, sys
os.environ.pop("HOME", None)
def unknown(*_):
    raise KeyError("uid not found")
pwd.getpwuid = pwd.getpwnam = unknown
"""


def test_a_user_without_a_home_gets_one_and_keeps_it(tmp_path):
    code = (
        NOBODY + HELD + "from pathlib import Path; print(Path.home(), os.stat(Path.home()).st_mode)"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True
        ).stdout
        for _ in range(2)
    }
    assert outputs == {f"{tmp_path}/zoo-{os.getuid()} {0o40700}\n".encode()}


def test_a_home_that_somebody_else_laid_out_is_not_used(tmp_path):
    code = NOBODY + HELD + "print(os.environ['HOME'])"
    code = code.replace("process.prepare()", "os.getuid = lambda: 12345; process.prepare()")
    (tmp_path / "zoo-12345").mkdir()
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    assert done.stdout == b"/dev/null/zoo\n"


@pytest.mark.parametrize(
    "arguments", [["zoo", "--help"], ["zoo.ch06_cnn", "--help"], ["zoo", "data", "list"]]
)
def test_a_user_without_a_home_gets_help(tmp_path, arguments):
    code = NOBODY + "import runpy; sys.argv = sys.argv[1:]; "
    code += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    env = {
        k: v for k, v in os.environ.items() if k not in ("ZOO_CACHE", "JAX_COMPILATION_CACHE_DIR")
    }
    env |= {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_libraries_are_loaded_ends_a_command_without_a_word():
    code = """
import signal, sys
sys.argv[:] = eval(sys.argv[1])
signal.signal(signal.SIGINT, {})
import zoo
print(signal.Handlers(signal.getsignal(signal.SIGINT)).name)
"""
    default, command = "signal.default_int_handler", "['-m', 'train']"
    for handler, arguments, expected in (
        (default, command, "SIG_DFL"),
        ("signal.SIG_IGN", command, "SIG_IGN"),  # behind an `&`
        ("signal.SIG_DFL", "['zoo', '-m', 'x']", "SIG_DFL"),
    ):
        run = [sys.executable, "-c", code.format(handler), arguments]
        assert subprocess.check_output(run, text=True).strip() == expected
    code = f"""
import signal
signal.signal(signal.SIGINT, {default})
import zoo
print(signal.getsignal(signal.SIGINT) is {default})
signal.signal(signal.SIGINT, signal.SIG_DFL)
{HELD}
print(signal.getsignal(signal.SIGINT) is {default})
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\nTrue\n"
    assert signal.getsignal(signal.SIGINT) != signal.SIG_DFL  # nor is it changed by an import here


def test_a_commands_process_gets_the_compiler_options():
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = python("import os; print(os.environ['XLA_FLAGS'])", env=kept)
    assert b"INDIVIDUAL_DOT" in done.stdout


def test_a_command_that_finds_its_programs_compiled_is_as_quiet_as_the_first_time(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "TF_CPP_"))}
    kept |= {"ZOO_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for name in ("first", "second"):
        command = [sys.executable, "-m", "zoo.ch02_basic_nn", "train", "--steps", "3"]
        command += ["--out", str(tmp_path / name)]
        done = subprocess.run(command, env=kept, capture_output=True, check=True)
        assert done.stderr == b""
    assert list((tmp_path / "xla").iterdir())
