"""What an equation costs: floating-point operations and bytes.

Products and convolutions are counted by formula, a multiplication and an addition each as one.
Reductions count their inputs, moving data counts nothing, and everything else, a sine as much as a
sum, counts one per number that it gives. Bytes are all operands read and all results written, as if
nothing was fused; a compiler fuses much, so they are a ceiling.
"""

import math

from jax.extend import core

REDUCTIONS = {
    *("argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum", "reduce_prod", "reduce_and"),
    *("reduce_or", "reduce_xor", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"),
}
MOVES = {
    *("bitcast_convert_type", "broadcast_in_dim", "concatenate", "convert_element_type", "copy"),
    *("copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather"),
    *(
        "iota",
        "optimization_barrier",
        "platform_index",
        "pad",
        "random_clone",
        "random_unwrap",
        "random_wrap",
    ),
    *("reshape", "rev", "scatter", "sharding_constraint", "slice", "split", "squeeze"),
    *("stop_gradient", "transpose"),
}


def flops(equation: core.JaxprEqn) -> int:
    """Operations of one execution of an equation without functions inside.

    A convolution counts its padding, and the zeros between dilated rows, as if they were numbers.
    """
    name, params = equation.primitive.name, equation.params
    given = sum(_size(atom) for atom in equation.outvars)
    if name == "dot_general":
        ((contracted, _), _) = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * given * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        filters = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2 * given * math.prod(kernel) // filters
    if name.startswith("reduce_window"):
        return given * math.prod(params["window_dimensions"])
    if name in REDUCTIONS:
        return sum(_size(atom) for atom in equation.invars)
    return 0 if name in MOVES else given


def repeats(equation: core.JaxprEqn) -> int:
    """How often the function inside of an equation runs; 1 for calls, and for while loops."""
    name = equation.primitive.name
    if name == "scan":
        return equation.params["length"]
    if name.startswith("scatter"):
        return _size(equation.invars[2])  # once for each number that is scattered
    if name == "reduce":
        return _size(equation.invars[0])
    if name == "reduce_window":
        return _size(equation.outvars[0]) * math.prod(equation.params["window_dimensions"])
    return 1


def moved_bytes(equation: core.JaxprEqn) -> int:
    """Bytes of all operands and results."""
    return sum(
        _size(atom) * getattr(atom.aval.dtype, "itemsize", 0)
        for atom in (*equation.invars, *equation.outvars)
        if hasattr(atom.aval, "dtype")
    )


def _size(atom: core.Var | core.Literal) -> int:
    return math.prod(getattr(atom.aval, "shape", ()))
