"""The search for wrong numbers: its reference, its verdicts, and a process that dies."""

import functools
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from studies import right_numbers as study
from studies.right_numbers_cases import Case, cases
from studies.right_numbers_reference import in_float64
from zoo.common.data import DataError


def mixed(x, key):
    """Loops, branches, draws, a gradient, a scatter: what zoo's functions are made of."""

    def loss(x):
        def step(carry, row):
            return 0.9 * carry + jnp.where(row > 0, row, jnp.exp(row)).sum(), carry

        last, seen = jax.lax.scan(step, 0.0, x)
        halve = functools.partial(jax.lax.while_loop, lambda v: v > 1.0, lambda v: v / 2.0)
        half = halve(jnp.abs(last)) + jax.vmap(halve)(jnp.abs(x[:, 0])).sum()
        chosen = jax.lax.cond(half > 0.5, lambda v: v**2, lambda v: -v, half)
        return chosen + jax.nn.softmax(seen).max() + jax.nn.relu(last)

    noise = jax.random.normal(key, x.shape)
    value, slope = jax.value_and_grad(lambda x: jnp.sum(x[jnp.array([0, 0, 2])] ** 2))(x + noise)
    return {"loss": loss(x), "value": value, "slope": slope, "top": jnp.argmax(x, 1)}


def test_the_reference_computes_in_float64_and_draws_the_same(getkey):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    key = getkey()
    found = in_float64(mixed, x, key)
    assert found["slope"].dtype == np.float64
    single = jax.jit(mixed)(x, jax.random.clone(key))
    shares = study.errors(single, found)
    assert 0 < max(shares.values()) < 1e-5
    with jax.enable_x64(True):
        noise = np.asarray(jax.random.normal(jax.random.clone(key), x.shape, np.float32), float)
    moved = np.asarray(x, np.float64) + noise
    slope = np.zeros_like(moved)
    slope[0], slope[2] = 4 * moved[0], 2 * moved[2]
    np.testing.assert_allclose(found["slope"], slope, rtol=1e-12)


def test_errors_are_shares_of_each_array():
    expected = {"a": np.array([100.0, 1.0]), "n": np.array([1, 2, 3, 4]), "z": np.array([0.0])}
    found = {"a": np.array([100.0, 2.0]), "n": np.array([1, 2, 3, 5]), "z": np.array([1e-8])}
    shares = study.errors(found, expected)
    assert shares == pytest.approx({"['a']": 0.01, "['n']": 0.25, "['z']": 1e-4})
    for wrong in (np.nan, np.inf):
        assert study.errors({"a": np.array([wrong])}, {"a": np.array([1.0])}) == {"['a']": np.inf}
    assert study.errors({"a": np.array([np.inf])}, {"a": np.array([np.inf])}) == {"['a']": 0}
    assert study.errors({"a": np.zeros(2)}, {"a": np.zeros(3)}) == {"['a']": np.inf}


def test_a_verdict_names_what_is_farthest_beyond_what_is_allowed():
    allowed = {"a": 1e-3, "b": 1e-6}
    assert study.judge({"a": 1e-4, "b": 1e-7}, allowed) == {"error": 1e-4}
    assert study.judge({"a": 1e-2, "b": 1e-4}, allowed) == {"error": 1e-2, "wrong": "b"}
    assert json.dumps(study.judge({"a": np.inf}, allowed), allow_nan=False)


def test_each_case_has_a_name_of_its_own_and_the_controls_come_first():
    found = cases()
    assert len({case.label for case in found}) == len(found) > 500
    assert [case.kind for case in found[:4]] == ["control"] * 4
    names = " ".join(case.name for case in found)
    for part in ("ops.conv2d", "ch05 lstm", "ch07 planner", "ch08 bounds"):
        assert part in names


def test_the_search_computes_a_function_in_three_ways():
    case = Case("sum", "3", lambda: (lambda x: x.sum(), (np.ones(3, np.float32),)))
    lines = list(study._of_function(case, ["option", "plain", "eager"]))
    assert lines[0] == ("reference", None)
    verdicts = {mode: verdict for mode, verdict in lines if verdict is not None}
    assert verdicts == {mode: {"error": 0.0} for mode in ("option", "plain", "eager")}


def test_the_search_sees_a_function_that_is_wrong():
    def eagerly_wrong(x):
        return x.sum() + (not isinstance(x, jax.core.Tracer))

    case = Case("sum", "3", lambda: (eagerly_wrong, (np.ones(3, np.float32),)))
    verdicts = {m: v for m, v in study._of_function(case, ["option", "plain", "eager"]) if v}
    assert "wrong" not in verdicts["plain"]
    assert verdicts["eager"]["error"] == pytest.approx(1 / 3)
    assert "wrong" in verdicts["eager"]


FAKE = """#!{python}
import json, os, sys
order = json.load(sys.stdin)
print(json.dumps({{"system": {{"versions": {{"jax": "1.2.3"}}}}, "options": {{}}}}), flush=True)
for case, modes in order["asked"]:
    for mode in modes:
        print(json.dumps({{"case": case, "mode": mode, "verdict": None}}), flush=True)
        if (case, mode) == (1, "plain"):
            os.abort()
        print(json.dumps({{"case": case, "mode": mode, "verdict": {{"error": 0}}}}), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="a script with an interpreter in its first line")
def test_a_process_that_dies_is_a_result_and_the_rest_goes_on(tmp_path):
    python = tmp_path / "python"
    python.write_text(FAKE.format(python=sys.executable))
    python.chmod(0o755)
    modes = ["option", "plain", "eager"]
    lines = list(study._ask(str(python), "library", [(n, modes) for n in range(3)], ""))
    found = {(a["case"], a["mode"]): a["verdict"] for a in lines if a.get("verdict")}
    assert len(found) == 9
    assert found.pop((1, "plain")) == {"failed": "killed by signal 6"}
    assert all(verdict == {"error": 0} for verdict in found.values())


def test_the_table_counts_what_is_wrong(tmp_path, capsys):
    fine, wrong = {"error": 1e-7}, {"error": 0.5, "wrong": "x"}
    found = {
        "one, 7": {"plain": wrong, "option": fine, "eager": fine},
        "one, 97": {"plain": {"failed": "killed by signal 11"}, "option": fine},
        "two, 7": {"plain": fine, "option": fine},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"versions": {"0.10.2": {"found": found}}}))
    study.table(path)
    out = capsys.readouterr().out
    assert "2 of 3" in out
    assert "0 of 1" in out
    assert "killed by signal 11! | 1e-07 | 1e-07" in out
    assert "two" not in out
    study.table(path, full=True)
    assert "two" in capsys.readouterr().out


def test_a_search_for_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no case has 'cat' in its name"):
        study.search(only="cat", out=tmp_path / "none.json")
