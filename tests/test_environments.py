"""All commands of all chapters under the environments that people really have.

Each test is one process that runs the commands of `environments.py` one after the other, on the
built-in sample; what they compile is shared with the other tests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RC = """
text.usetex: True
font.family: No Such Font
axes.grid: True
savefig.bbox: tight
savefig.transparent: True
figure.autolayout: True
figure.dpi: 20
"""
# A user without an entry in the list of users, on a drive that knows neither modes nor links.
NOBODY = """
import os, pwd, runpy, sys
def unknown(*_):
    raise KeyError("uid not found")
def refuse(*_, **__):
    raise PermissionError(1, "Operation not permitted")
pwd.getpwuid = pwd.getpwnam = unknown
os.chmod = os.chown = os.link = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PROGRAM = Path(__file__).with_name("environments.py")
CASES = {
    "surroundings and settings of JAX": {
        "code": NOBODY,
        **dict.fromkeys(("HOME", "ZOO_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR")),
        **{"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"},
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": "{folder}/matplotlibrc",
        "JAX_ENABLE_X64": "1",
        "JAX_DEBUG_NANS": "1",
        "JAX_DEFAULT_DEVICE": "cpu",
    },
    "nothing compiled": {"JAX_DISABLE_JIT": "1"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_commands_work(tmp_path, name):
    changes = dict(CASES[name])
    code = changes.pop("code", "")
    folder = tmp_path / "a [folder] of \\ mine"
    folder.mkdir()
    (folder / "matplotlibrc").write_text(RC, encoding="utf-8")
    env = os.environ | {"TMPDIR": str(tmp_path)}
    for variable, value in changes.items():
        if value is None:
            env.pop(variable, None)
        else:
            env[variable] = value.format(folder=folder)
    start = [sys.executable, *(["-c", code] if code else []), str(PROGRAM), str(folder)]
    done = subprocess.run(start, env=env, cwd=PROGRAM.parent.parent, capture_output=True)
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    faults = {result["command"]: result["fault"] for result in results if result["fault"]}
    assert not faults
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    assert len(results) > (30 if name == "nothing compiled" else 55)
