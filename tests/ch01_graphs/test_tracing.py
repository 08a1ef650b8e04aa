"""What a trace must hold: every equation once, the right wires, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import ch01_graphs as graphs


def node(graph, name, number=0):
    return [n for n in graph.nodes if n.name == name][number]


def test_every_equation_of_every_nested_function_appears_once(
    everywhere, arguments, assert_complete
):
    graph = graphs.trace(everywhere, *arguments)
    assert_complete(graph, everywhere, *arguments)
    constructs = {"jit", "scan", "cond", "remat2", "custom_jvp_call", "custom_vjp_call"}
    assert constructs <= {cluster.primitive for cluster in graph.clusters}
    lines = str(jax.make_jaxpr(everywhere)(*arguments)).splitlines()
    assert graph.equations >= sum(" = " in line for line in lines)  # which shares what is equal


def test_while_loops_show_body_and_condition(assert_complete):
    def f(x):
        return jax.lax.while_loop(lambda c: c.sum() < 10.0, lambda c: c * 2.0 + x, x)

    graph = graphs.trace(f, jnp.ones(2))
    assert_complete(graph, f, jnp.ones(2))
    assert [c.name for c in graph.clusters] == ["while", "body", "cond"]
    x = graph.nodes.index(node(graph, "x"))
    reached = {graph.nodes[e.target].name for e in graph.edges if e.source == x}
    assert reached == {"constant 0", "carry 0"}


def test_shard_map_is_a_cluster_with_ports():
    types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("i",), types, devices=jax.devices()[:2])
    spec = jax.sharding.PartitionSpec("i")
    f = jax.shard_map(lambda x: x * 2.0, mesh=mesh, in_specs=spec, out_specs=spec)
    graph = graphs.trace(f, jnp.arange(4.0), values=True)
    assert graph.clusters[0].primitive == "shard_map"
    assert node(graph, "operand 0").shape == (2,)
    np.testing.assert_array_equal(node(graph, "result").arrays[0].value, [0.0, 2.0, 4.0, 6.0])


def test_equations_whose_wires_are_unknown_are_connected_all_the_same(assert_complete):
    def f(a, b):
        return jax.scipy.sparse.linalg.cg(lambda x: a @ x, b)[0]

    arguments = jnp.eye(2) * 2.0, jnp.ones(2)
    graph = graphs.trace(f, *arguments)
    assert_complete(graph, f, *arguments)
    folded = graphs.fold(graph, 0)
    ends = {n.name: i for i, n in enumerate(folded.nodes)}
    reached = {ends["b"]}
    for edge in folded.edges:
        if edge.source in reached:
            reached.add(edge.target)
    assert ends["result"] in reached


def test_names_shapes_and_types_of_inputs_and_results():
    def f(params, *rest):
        return {"sum": params["layers"][0] + rest[1], "rest": (rest[0],)}

    key = jax.random.key(0)
    graph = graphs.trace(f, {"layers": [jnp.ones((2, 3), jnp.bfloat16)]}, key, 1.0)
    ends = [(n.kind, n.name, n.dtype, n.shape) for n in graph.nodes if n.kind != "operation"]
    assert ends == [
        ("input", "params['layers'][0]", "bfloat16", (2, 3)),
        ("input", "rest[0]", "key<fry>", ()),
        ("input", "rest[1]", "float32", ()),
        ("output", "result['rest'][0]", "key<fry>", ()),
        ("output", "result['sum']", "bfloat16", (2, 3)),
    ]


def test_operands_come_in_their_order():
    graph = graphs.trace(lambda a, b: b - 2.0 * a, 1.0, 5.0)
    names = {
        (graph.nodes[e.target].name, e.operand): graph.nodes[e.source].name for e in graph.edges
    }
    assert names["sub", 0] == "b"
    assert names["sub", 1] == "mul"
    assert names["mul", 0] == "2"
    assert names["mul", 1] == "a"


def test_edges_into_a_call_run_from_its_operand_to_who_uses_it():
    graph = graphs.trace(lambda x: jax.jit(lambda v: jnp.sin(v))(x) + 1.0, 0.5)
    at = {n.name: i for i, n in enumerate(graph.nodes)}
    pairs = {(e.source, e.target) for e in graph.edges}
    assert (at["x"], at["sin"]) in pairs
    assert (at["sin"], at["add"]) in pairs
    assert graph.nodes[at["sin"]].cluster == 0
    assert graph.nodes[at["add"]].cluster is None


def test_a_function_that_is_called_twice_is_shown_twice():
    inner = jax.jit(lambda v: jnp.sin(v) * 2.0)
    graph = graphs.trace(lambda x: inner(inner(x)), 0.5)
    assert [cluster.primitive for cluster in graph.clusters] == ["jit", "jit"]
    operations = [n.name for n in graph.nodes if n.kind == "operation"]
    assert operations == ["sin", "mul", "sin", "mul"]


def test_values_are_those_of_direct_evaluation(everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments, values=True)
    params, x, flag = arguments
    np.testing.assert_allclose(
        node(graph, "result").arrays[0].value, everywhere(params, x, flag), rtol=1e-6
    )
    hidden = params["w"] @ x + params["b"]
    np.testing.assert_allclose(node(graph, "dot_general").arrays[0].value, params["w"] @ x)
    np.testing.assert_allclose(node(graph, "max").arrays[0].value, jax.nn.relu(hidden))
    carry, seen = jax.lax.scan(
        lambda c, a: (jnp.tanh(c + a), c.sum()), jax.nn.relu(hidden), jnp.ones((3, 2))
    )
    np.testing.assert_allclose(node(graph, "y 0", -1).arrays[0].value, seen, rtol=1e-6)
    np.testing.assert_allclose(node(graph, "sin").arrays[0].value, jnp.sin(carry), rtol=1e-6)
    assert node(graph, "tanh").arrays[0].value is None  # within a loop
    assert node(graph, "cos").arrays[0].value is None  # the branch that is not taken
    known = [n for n in graph.nodes if n.kind == "operation" and n.arrays[0].value is not None]
    for n in known:
        assert n.arrays[0].value.shape == n.shape
        assert str(n.arrays[0].value.dtype) == n.dtype


def test_without_values_nothing_is_computed(everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments)
    assert all(a.value is None and a.gradient is None for n in graph.nodes for a in n.arrays)
    shapes = jax.eval_shape(lambda *a: a, *arguments)
    assert graphs.trace(everywhere, *shapes) == graph


def test_gradients_at_the_inputs_are_those_of_jax_grad(everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments, gradients=True)
    grads = jax.grad(everywhere, argnums=(0, 1))(*arguments)
    for name, expected in (
        ("params['w']", grads[0]["w"]),
        ("params['b']", grads[0]["b"]),
        ("x", grads[1]),
    ):
        np.testing.assert_allclose(node(graph, name).arrays[0].gradient, expected, rtol=1e-5)
    assert node(graph, "flag").arrays[0].gradient is None  # an integer has none


def test_gradients_within_are_those_of_what_follows():
    def head(w, x):
        return w @ x

    def middle(y):
        return jax.jit(jnp.tanh)(y)

    def tail(z):
        return jnp.sum(z * z)

    w, x = jnp.array([[0.9, 0.7], [0.4, 0.2]]), jnp.array([0.5, 0.7])
    graph = graphs.trace(lambda w, x: tail(middle(head(w, x))), w, x, gradients=True)
    y = head(w, x)
    expected = {
        "dot_general": jax.grad(lambda y: tail(middle(y)))(y),
        "tanh": jax.grad(tail)(middle(y)),
        "mul": jnp.ones(2),
        "reduce_sum": 1.0,
    }
    for name, gradient in expected.items():
        np.testing.assert_allclose(node(graph, name).arrays[0].gradient, gradient, rtol=1e-6)


def test_gradients_agree_with_finite_differences(everywhere, arguments):
    with jax.enable_x64(True):
        params, x, _ = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), arguments)
        smooth = {"w": params["w"] + 0.3, "b": params["b"]}

        def plain(h):  # what follows the product, without the rules that contradict the function
            h = jnp.tanh(h + smooth["b"])
            return jax.lax.fori_loop(0, 3, lambda i, c: c * h + i, h).sum()

        graph = graphs.trace(lambda w, x: plain(w @ x), smooth["w"], x, gradients=True)
        h, step = smooth["w"] @ x, 1e-6
        slopes = [
            (plain(h.at[i].add(step)) - plain(h.at[i].add(-step))) / (2 * step) for i in range(2)
        ]
        np.testing.assert_allclose(node(graph, "dot_general").arrays[0].gradient, slopes, rtol=1e-6)


def test_custom_derivatives_are_respected(everywhere):
    module = everywhere.__globals__
    for function, slope in ((module["sevenfold"], 7.0), (module["reversal"], -1.0)):
        graph = graphs.trace(lambda x, f=function: 3.0 * f(x), 1.5, gradients=True)
        assert node(graph, "x").arrays[0].gradient == 3.0 * slope


def test_what_a_custom_derivative_closes_over_has_none():
    table = jnp.array([1.0, 2.0, 3.0])

    @jax.custom_vjp
    def scale(x):
        return x * table

    scale.defvjp(lambda x: (x * table, None), lambda _, g: (5.0 * g,))
    graph = graphs.trace(lambda x: scale(x).sum(), jnp.ones(3), gradients=True)
    np.testing.assert_array_equal(node(graph, "x").arrays[0].gradient, [5.0, 5.0, 5.0])
    assert node(graph, "constant").arrays[0].gradient is None


def test_constants_that_a_function_closes_over_have_gradients():
    table = jnp.array([1.0, 2.0, 3.0])
    graph = graphs.trace(lambda x: (table * x).sum(), 2.0, gradients=True)
    constant = node(graph, "constant").arrays[0]
    np.testing.assert_array_equal(constant.value, table)
    np.testing.assert_array_equal(constant.gradient, [2.0, 2.0, 2.0])


def test_a_key_may_be_used_after_it_was_traced(getkey):
    key = getkey()

    def draw(key):
        return jax.lax.cond(key is None, jax.random.normal, jax.random.uniform, key)

    first = graphs.trace(draw, key, values=True)
    graphs.trace(draw, key, values=True)
    bits = node(first, "key").arrays[0].value
    np.testing.assert_array_equal(bits, jax.random.key_data(key))
    np.testing.assert_array_equal(node(first, "result").arrays[0].value, draw(key))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * 2.0, r"the result is float32\[2\], expected one float without axes"),
        (lambda x: jnp.int32(1), r"int32\[\], expected one float"),
        (lambda x: {"a": x.sum()}, r"float32\[\]"),
    ],
)
def test_what_has_no_gradient_is_said(function, message):
    with pytest.raises(ValueError, match=message):
        graphs.trace(function, jnp.ones(2), gradients=True)


def test_shapes_have_no_values():
    with pytest.raises(ValueError, match=r"argument x is only a shape, \(2,\), expected an array"):
        graphs.trace(jnp.sin, jax.ShapeDtypeStruct((2,), jnp.float32), values=True)


def test_a_branch_that_depends_on_the_inputs_is_taken_under_differentiation():
    def f(x):
        return jax.lax.cond(x > 0.0, jnp.sin, jnp.cos, x * 2.0)

    graph = graphs.trace(f, 0.3, gradients=True)
    np.testing.assert_allclose(node(graph, "sin").arrays[0].value, np.sin(0.6), rtol=1e-6)
    assert node(graph, "cos").arrays[0].value is None
    gradient = node(graph, "x").arrays[0].gradient
    np.testing.assert_allclose(gradient, 2.0 * np.cos(0.6), rtol=1e-6)
