import jax
import jax.numpy as jnp
import pytest

from zoo.visit import functions

ENDS = (0.0, -1.0, 1.0)


def test_operations_are_in_the_order_of_computing():
    program = functions.program(
        lambda x, y: jax.nn.sigmoid(x * y) ** 2 - 3.0, {"x": ENDS, "y": ENDS}
    )
    assert program["inputs"] == [["x", *ENDS], ["y", *ENDS]]
    names = [node["name"] for node in program["nodes"]]
    assert names[:2] == ["mul", "logistic"]
    assert names[-1] == "sub"
    assert program["nodes"][0]["operands"] == [0, 1]
    assert program["nodes"][-1]["operands"] == [len(names), [3.0]]


def test_an_operation_that_the_page_lacks_is_named():
    with pytest.raises(ValueError, match="got erf"):
        functions.program(lambda x: jax.lax.erf(x), {"x": ENDS})
    with pytest.raises(ValueError, match="expected operations on numbers"):
        functions.program(lambda x: jnp.stack([x, x]).sum(), {"x": ENDS})
