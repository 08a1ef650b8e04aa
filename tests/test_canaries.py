"""The programs of `python -m zoo doctor`, in this process: zoo's options keep it alive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import canaries
from zoo.canaries import CANARIES, Case
from zoo.common import device

CASES = {canaries.name(canary): canary for canary in CANARIES}
X = np.linspace(1, 2, 100, dtype=np.float32)


@pytest.mark.parametrize("name", CASES)
def test_one_operation_at_a_time_every_program_is_right(name):
    with jax.disable_jit():  # so that what compilers make of several operations does not count
        assert check(CASES[name]()) == "right"


@pytest.mark.parametrize("name", CASES)
def test_what_zoo_has_in_its_models_is_right_under_its_options(name):
    case = CASES[name]()
    if case.used:
        assert check(case, device.compiler_options("cpu")) == "right"


@pytest.mark.parametrize("name", CASES)
def test_each_says_where_it_was_reported_or_that_it_was_not(name):
    canary = CASES[name]
    assert canaries.reports(canary) or "no public report" in canary.__doc__


def test_a_report_is_named_as_github_does():
    assert canaries.reports(canaries.scaled_bias) == ["openxla/xla#46110", "jax-ml/jax#39336"]


def check(case, options=None):
    return canaries.check(case, jax.devices("cpu")[0], options or {})


def test_a_wrong_number_is_found_and_shown():
    case = Case(lambda x: x.at[7].set(5.0), (X,), X)
    assert check(case) == "wrong: 1 of 100 numbers, such as 5 in place of 1.071"


def test_what_is_no_number_is_wrong():
    assert check(Case(lambda x: x * jnp.nan, (X,), X)).startswith("wrong: 100 of 100 numbers")


def test_each_of_several_results_counts():
    case = Case(lambda x: (x, x + 1), (X,), (X, X))
    assert check(case).startswith("wrong: 100 of 200 numbers")


@pytest.mark.parametrize(("bits", "verdict"), [(23, "right"), (10, "in TF32"), (7, "in bfloat16")])
def test_a_coarser_product_has_its_precision_named(bits, verdict):
    case = canaries.rounded_product()
    rounded = case._replace(program=lambda x, y: jax.lax.reduce_precision(x, 8, bits) @ y)
    assert check(rounded) == verdict


def test_a_still_coarser_one_is_wrong():
    case = canaries.rounded_product()
    rounded = case._replace(program=lambda x, y: jax.lax.reduce_precision(x, 8, 3) @ y)
    assert check(rounded).startswith("wrong")


def test_what_jax_refuses_is_told_in_a_line():
    def refuse(x):
        raise NotImplementedError("no algorithm\nfor " + "that " * 100)

    verdict = check(Case(refuse, (X,), X))
    assert verdict.startswith("refused: no algorithm for that that")
    assert len(verdict) < 200
