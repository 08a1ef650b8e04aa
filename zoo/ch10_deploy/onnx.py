"""A prediction as an ONNX file, which needs neither Python nor JAX to run.

`convert` traces the function with its weights as constants, folds what depends on them alone, and
writes the rest as operators of opset 18 in ONNX's protobuf format, without any further package. The
first axis of inputs and outputs is a batch of any size. An array that float16 holds exactly, as all
weights of published models are, is stored so, with a Cast behind it.

Dictionary `_RULES` has the primitives of JAX that can be written; another one is an `OnnxError`
that names it.
"""

import functools
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np
from jax.extend import core

from zoo.ch01_graphs import equations
from zoo.common import device
from zoo.common.data import DataError
from zoo.common.task import Prediction
from zoo.common.trained import Trained

OPSET, IR_VERSION = 18, 8
_HALVED = 64  # smaller arrays stay float32: a Cast would take more than it saves
_TYPES = {
    **{"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10},
    **{"uint32": 12},
}


class OnnxError(DataError):
    """The prediction has a primitive or a shape that can't be written as ONNX."""


class Value(NamedTuple):
    """A result of a node, an input or a stored array.

    An axis of size 1 may stand for a longer one of the same numbers, as ONNX's operators broadcast;
    `_Writer.whole` makes it as long as JAX's array is.
    """

    name: str
    shape: tuple[Any, ...]
    dtype: np.dtype


Operand = Value | np.ndarray
Rule = Callable[["_Writer", Any, list[Operand]], list[Operand]]


# Protobuf: each field is its number and type, then a varint, 4 bytes, or a length and bytes.


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _type(dtype: Any) -> int:
    """The number of a type in `TensorProto.DataType`."""
    if (name := np.dtype(dtype).name) not in _TYPES:
        raise OnnxError(f"numbers of type {name} can't be written as ONNX: train with float32")
    return _TYPES[name]


def _tensor(name: str, array: np.ndarray) -> bytes:
    """A `TensorProto`."""
    dims = b"".join(_field(1, size) for size in array.shape)
    content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return dims + _field(2, _type(array.dtype)) + _field(8, name) + _field(9, content)


def _value_info(name: str, shape: Sequence[Any], dtype: np.dtype) -> bytes:
    """A `ValueInfoProto`; sizes that are no numbers are given by name."""
    dims = (_field(1, size) if isinstance(size, int) else _field(2, str(size)) for size in shape)
    sizes = b"".join(_field(1, dim) for dim in dims)
    tensor = _field(1, _type(dtype)) + _field(2, sizes)
    return _field(1, name) + _field(2, _field(1, tensor))


def _attribute(name: str, value: Any) -> bytes:
    """An `AttributeProto` of an integer, a text, integers or a graph."""
    head = _field(1, name)
    if isinstance(value, int):
        return head + _field(3, value) + _field(20, 2)
    if isinstance(value, str):
        return head + _field(4, value) + _field(20, 3)
    if isinstance(value, bytes):
        return head + _field(6, value) + _field(20, 5)
    return head + b"".join(_field(8, int(one)) for one in value) + _field(20, 7)


class _Node(NamedTuple):
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    needs: tuple[str, ...] = ()  # what a graph inside takes from around it

    def encoded(self) -> bytes:
        """A `NodeProto`."""
        ends = b"".join(_field(1, name) for name in self.inputs)
        ends += b"".join(_field(2, name) for name in self.outputs)
        named = (_field(5, _attribute(*pair)) for pair in sorted(self.attributes.items()))
        return ends + _field(4, self.operator) + b"".join(named)


def _used(nodes: Sequence[_Node], outputs: Sequence[str]) -> tuple[list[_Node], set[str]]:
    """The nodes that the outputs need, and all names that those read."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if read & set(node.outputs):
            kept.append(node)
            read |= {*node.inputs, *node.needs}
    return kept[::-1], read


class _Writer:
    """Collects nodes; those of a loop's body go to a list of their own, arrays to one place."""

    def __init__(self, names: Mapping[int, str]):
        self.nodes: list[_Node] = []
        self.stored: dict[str, np.ndarray] = {}
        self.batch = ""  # the name of an int64 [1] with the size of the batch
        self._names = names  # of weights by the identity of their arrays
        self._known: dict[Any, str] = {}
        self._count = 0

    def name(self, hint: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{hint.lower()}_{self._count}"

    def store(self, array: np.ndarray) -> str:
        """The name of an array in the file; equal ones are stored once."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._names.get(id(array)) or self.name("array")
            self.stored[self._known[key]] = array
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A stored int64 vector."""
        return self.store(np.array(values, np.int64))

    def read(self, operand: Operand) -> str:
        """The name of an operand."""
        return operand.name if isinstance(operand, Value) else self.store(operand)

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node with one output, whose name it returns."""
        output = self.name(operator)
        self.nodes.append(_Node(operator, tuple(inputs), (output,), attributes))
        return output

    def sizes(self, shape: Sequence[Any]) -> str:
        """An int64 vector with the sizes of a shape, in which the batch may occur."""
        if all(isinstance(size, int) for size in shape):
            return self.ints(*shape)
        parts = []
        for size in shape:
            factor = size if isinstance(size, int) else _factor(size)
            part = self.ints(factor)
            if not isinstance(size, int):
                part = self.batch if factor == 1 else self.add("Mul", [self.batch, part])
            parts.append(part)
        return self.add("Concat", parts, axis=0)

    def reshape(self, operand: Operand, shape: Sequence[Any]) -> Operand:
        """The same numbers in another shape."""
        shape = tuple(shape)
        if operand.shape == shape:
            return operand
        if isinstance(operand, np.ndarray):
            return operand.reshape(shape)
        known = [size if isinstance(size, int) else -1 for size in shape]
        sizes = self.sizes(shape) if known.count(-1) > 1 else self.ints(*known)
        return Value(self.add("Reshape", [operand.name, sizes]), shape, operand.dtype)

    def transpose(self, operand: Operand, order: Sequence[int]) -> Operand:
        """The axes in another order."""
        order = tuple(order)
        if order == tuple(range(len(order))):
            return operand
        if isinstance(operand, np.ndarray):
            return np.ascontiguousarray(operand.transpose(order))
        shape = tuple(operand.shape[axis] for axis in order)
        return Value(self.add("Transpose", [operand.name], perm=order), shape, operand.dtype)

    def whole(self, operand: Operand, shape: Sequence[Any]) -> Operand:
        """The operand in its full shape."""
        shape = tuple(shape)
        if operand.shape == shape:
            return operand
        if isinstance(operand, np.ndarray) and all(isinstance(size, int) for size in shape):
            return np.broadcast_to(operand, shape)
        expanded = self.add("Expand", [self.read(operand), self.sizes(shape)])
        return Value(expanded, shape, operand.dtype)


def _factor(size: Any) -> int:
    """How many times the batch a symbolic size is."""
    found = re.fullmatch(r"(?:(\d+)\*)?batch", str(size))
    if found is None:
        raise OnnxError(f"a size of {size} can't be written as ONNX, expected a multiple of batch")
    return int(found[1] or 1)


def _static(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)


# Rules: (writer, equation, operands) -> results.

_ELEMENTWISE = {
    **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow"},
    **{"max": "Max", "min": "Min", "exp": "Exp", "log": "Log", "tanh": "Tanh", "neg": "Neg"},
    **{"logistic": "Sigmoid", "sqrt": "Sqrt", "abs": "Abs", "erf": "Erf", "sin": "Sin"},
    **{"cos": "Cos", "floor": "Floor", "ceil": "Ceil", "sign": "Sign"},
    **{"gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual", "eq": "Equal"},
    **{"and": "And", "or": "Or", "not": "Not", "xor": "Xor"},
}


def _broadcast(operands: Sequence[Operand]) -> tuple[Any, ...]:
    """The shape of an operator's result; a number goes with any shape."""
    shape: list[Any] = []
    for sizes in zip(*(operand.shape for operand in operands if operand.shape), strict=True):
        longer = [size for size in sizes if not (isinstance(size, int) and size == 1)]
        shape.append(longer[0] if longer else 1)
    return tuple(shape)


def _elementwise(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    name, dtype = equation.primitive.name, np.dtype(equation.outvars[0].aval.dtype)
    operator, bits = _ELEMENTWISE[name], operands[0].dtype != np.dtype(bool)
    if name in ("and", "or", "not", "xor") and bits:
        operator = f"Bitwise{operator}"
    output = writer.add(operator, [writer.read(o) for o in operands])
    return [Value(output, _broadcast(operands), dtype)]


def _composed(make: Callable[[_Writer, list[str], Any], str]) -> Rule:
    """A rule of elementwise operations that are several nodes in ONNX."""

    def rule(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
        output = make(writer, [writer.read(o) for o in operands], equation)
        dtype = np.dtype(equation.outvars[0].aval.dtype)
        return [Value(output, _broadcast(operands), dtype)]

    return rule


def _one(writer: _Writer, equation: Any) -> str:
    return writer.store(np.ones((), equation.outvars[0].aval.dtype))


def _integer_pow(writer: _Writer, names: list[str], equation: Any) -> str:
    power = equation.params["y"]
    product = functools.reduce(
        lambda one, other: writer.add("Mul", [one, other]), [names[0]] * abs(power)
    )
    return product if power > 0 else writer.add("Reciprocal", [product])


_COMPOSED: dict[str, Callable[[_Writer, list[str], Any], str]] = {
    "rsqrt": lambda w, names, e: w.add("Reciprocal", [w.add("Sqrt", names)]),
    "expm1": lambda w, names, e: w.add("Sub", [w.add("Exp", names), _one(w, e)]),
    "log1p": lambda w, names, e: w.add("Log", [w.add("Add", [*names, _one(w, e)])]),
    "square": lambda w, names, e: w.add("Mul", names * 2),
    "ne": lambda w, names, e: w.add("Not", [w.add("Equal", names)]),
    "integer_pow": _integer_pow,
    "shift_right_logical": lambda w, names, e: w.add("BitShift", names, direction="RIGHT"),
    "select_n": lambda w, names, e: w.add("Where", [names[0], names[2], names[1]]),
    "clamp": lambda w, names, e: w.add("Min", [w.add("Max", names[:2]), names[2]]),
    "convert_element_type": lambda w, names, e: w.add(
        "Cast", names, to=_type(e.params["new_dtype"])
    ),
}


def _broadcast_in_dim(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    operand, given = operands[0], equation.params
    shape: list[Any] = [1] * len(given["shape"])
    for axis, size in zip(given["broadcast_dimensions"], operand.shape, strict=True):
        shape[axis] = size
    return [writer.reshape(operand, shape)]


def _reshape(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    whole = writer.whole(operands[0], equation.invars[0].aval.shape)
    return [writer.reshape(whole, equation.outvars[0].aval.shape)]


def _transpose(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    return [writer.transpose(operands[0], equation.params["permutation"])]


def _dot_general(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    shapes = [var.aval.shape for var in equation.invars]
    left, right = (writer.whole(o, s) for o, s in zip(operands, shapes, strict=True))
    output, dtype = equation.outvars[0].aval.shape, left.dtype
    left_free, right_free = (
        [axis for axis in range(len(shape)) if axis not in (*summed, *batch)]
        for shape, summed, batch in zip(
            shapes, (left_sum, right_sum), (left_batch, right_batch), strict=True
        )
    )
    left = writer.transpose(left, [*left_batch, *left_free, *left_sum])
    right = writer.transpose(right, [*right_batch, *right_sum, *right_free])
    batch = [shapes[0][axis] for axis in left_batch]
    inner = math.prod(shapes[0][axis] for axis in left_sum)
    columns = math.prod(shapes[1][axis] for axis in right_free)
    rows = _product([shapes[0][axis] for axis in left_free])
    right = writer.reshape(right, [*batch, inner, columns])
    if len(left_sum) != 1 or batch or not left_free:
        left = writer.reshape(left, [*batch, rows, inner])
        shape = [*batch, rows, columns]
    else:
        shape = [*(shapes[0][axis] for axis in left_free), columns]
    product = writer.add("MatMul", [writer.read(left), writer.read(right)])
    return [writer.reshape(Value(product, tuple(shape), dtype), output)]


def _product(sizes: Sequence[Any]) -> Any:
    return functools.reduce(lambda one, other: one * other, sizes, 1)


def _spread(writer: _Writer, image: Operand, factors: Sequence[int]) -> Operand:
    """Images [B, C, H, W] with zeros between rows and columns, and as many behind the last."""
    batch, channels, *sizes = image.shape
    pairs = [part for size in sizes for part in (size, 1)]
    ends = [part for factor in factors for part in (0, factor - 1)]
    name = writer.read(writer.reshape(image, [batch, channels, *pairs]))
    zero = writer.store(np.zeros((), image.dtype))
    name = writer.add("Pad", [name, writer.ints(*[0] * (2 + len(pairs)), 0, 0, *ends), zero])
    shape = [part for size, factor in zip(sizes, factors, strict=True) for part in (size, factor)]
    padded = Value(name, (batch, channels, *shape), image.dtype)
    wide = [size * factor for size, factor in zip(sizes, factors, strict=True)]
    return writer.reshape(padded, [batch, channels, *wide])


def _conv(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    given, result = equation.params, equation.outvars[0].aval
    left, right, out = given["dimension_numbers"]
    image = writer.transpose(writer.whole(operands[0], equation.invars[0].aval.shape), left)
    kernel = writer.transpose(writer.whole(operands[1], equation.invars[1].aval.shape), right)
    if given["batch_group_count"] != 1:
        raise OnnxError("a convolution in groups of the batch can't be written as ONNX")
    pads = [list(pair) for pair in given["padding"]]
    if any(factor > 1 for factor in given["lhs_dilation"]):
        image = _spread(writer, image, given["lhs_dilation"])
        for pair, factor in zip(pads, given["lhs_dilation"], strict=True):
            pair[1] -= factor - 1
    if min(map(min, pads)) < 0:  # ONNX adds pixels and takes none away
        image = _cut(writer, image, [(max(0, -low), max(0, -high)) for low, high in pads])
        pads = [[max(0, low), max(0, high)] for low, high in pads]
    name = writer.add(
        "Conv",
        [writer.read(image), writer.read(kernel)],
        pads=[low for low, _ in pads] + [high for _, high in pads],
        strides=given["window_strides"],
        dilations=given["rhs_dilation"],
        group=given["feature_group_count"],
    )
    shape = tuple(result.shape[axis] for axis in out)
    return [writer.transpose(Value(name, shape, result.dtype), np.argsort(out).tolist())]


def _cut(writer: _Writer, image: Operand, ends: Sequence[tuple[int, int]]) -> Operand:
    """Images [B, C, H, W] without so many rows and columns at each end."""
    axes = range(2, 2 + len(ends))
    starts, stops = [low for low, _ in ends], [-high or 2**31 for _, high in ends]
    bounds = (writer.ints(*numbers) for numbers in (starts, stops, axes))
    sizes = (size - sum(pair) for size, pair in zip(image.shape[2:], ends, strict=True))
    name = writer.add("Slice", [writer.read(image), *bounds])
    return Value(name, (*image.shape[:2], *sizes), image.dtype)


def _max_pool(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    given, result = equation.params, equation.outvars[0].aval
    window, strides, pads = (
        list(given[name]) for name in ("window_dimensions", "window_strides", "padding")
    )
    axes = [axis for axis, size in enumerate(window) if size > 1]
    spatial = [axis for axis in range(len(window)) if axis in axes][-2:]
    others = [axis for axis in range(len(window)) if axis not in spatial]
    order = [*others, *spatial]
    if axes != spatial or len(order) != 4 or any(map(any, pads)):
        raise OnnxError(f"a maximum over windows {window} can't be written as ONNX")
    image = writer.transpose(writer.whole(operands[0], equation.invars[0].aval.shape), order)
    shape, steps = [window[axis] for axis in spatial], [strides[axis] for axis in spatial]
    name = writer.add("MaxPool", [writer.read(image)], kernel_shape=shape, strides=steps)
    moved = Value(name, tuple(result.shape[axis] for axis in order), result.dtype)
    return [writer.transpose(moved, np.argsort(order).tolist())]


def _reduce(operator: str) -> Rule:
    def rule(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
        operand = writer.whole(operands[0], equation.invars[0].aval.shape)
        axes, result = equation.params["axes"], equation.outvars[0].aval
        name = writer.add(operator, [writer.read(operand), writer.ints(*axes)], keepdims=0)
        return [Value(name, result.shape, result.dtype)]

    return rule


def _argmax(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    operand = writer.whole(operands[0], equation.invars[0].aval.shape)
    (axis,), result = equation.params["axes"], equation.outvars[0].aval
    name = writer.add("ArgMax", [writer.read(operand)], axis=axis, keepdims=0)
    name = writer.add("Cast", [name], to=_type(result.dtype))
    return [Value(name, result.shape, result.dtype)]


def _concatenate(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    axis, result = equation.params["dimension"], equation.outvars[0].aval
    shapes = [var.aval.shape for var in equation.invars]
    parts = [writer.whole(o, s) for o, s in zip(operands, shapes, strict=True)]
    name = writer.add("Concat", [writer.read(part) for part in parts], axis=axis)
    return [Value(name, result.shape, result.dtype)]


def _stack(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    axis, result = equation.params["axis"], equation.outvars[0].aval
    longer = [*result.shape]
    longer[axis] = 1
    shapes = [var.aval.shape for var in equation.invars]
    parts = [
        writer.reshape(writer.whole(o, s), longer) for o, s in zip(operands, shapes, strict=True)
    ]
    name = writer.add("Concat", [writer.read(part) for part in parts], axis=axis)
    return [Value(name, result.shape, result.dtype)]


def _slices(
    writer: _Writer, equation: Any, operand: Operand, starts: Any, stops: Any, steps: Any
) -> list[Operand]:
    operand = writer.whole(operand, equation.invars[0].aval.shape)
    result, sizes = equation.outvars[0].aval, equation.invars[0].aval.shape
    axes = [n for n, size in enumerate(sizes) if (starts[n], stops[n], steps[n]) != (0, size, 1)]
    bounds = [[numbers[n] for n in axes] for numbers in (starts, stops, range(len(sizes)), steps)]
    if not all(isinstance(number, int) for numbers in bounds for number in numbers):
        raise OnnxError("a part of the batch can't be written as ONNX, expected whole batches")
    name = writer.add("Slice", [writer.read(operand), *(writer.ints(*part) for part in bounds)])
    return [Value(name, result.shape, result.dtype)]


def _slice(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    given, rank = equation.params, len(equation.invars[0].aval.shape)
    steps = given["strides"] or (1,) * rank
    stops = given["limit_indices"]
    return _slices(writer, equation, operands[0], given["start_indices"], stops, steps)


def _rev(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    sizes, axes = equation.invars[0].aval.shape, equation.params["dimensions"]
    starts = [-1 if n in axes else 0 for n in range(len(sizes))]
    stops = [-(2**31) if n in axes else size for n, size in enumerate(sizes)]
    steps = [-1 if n in axes else 1 for n in range(len(sizes))]
    return _slices(writer, equation, operands[0], starts, stops, steps)


def _split(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    operand = writer.whole(operands[0], equation.invars[0].aval.shape)
    names = tuple(writer.name("split") for _ in equation.outvars)
    sizes, axis = writer.ints(*equation.params["sizes"]), equation.params["axis"]
    node = _Node("Split", (writer.read(operand), sizes), names, {"axis": axis})
    writer.nodes.append(node)
    return [
        Value(name, var.aval.shape, var.aval.dtype)
        for name, var in zip(names, equation.outvars, strict=True)
    ]


def _pad(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    config, result = equation.params["padding_config"], equation.outvars[0].aval
    if any(inside or low < 0 or high < 0 for low, high, inside in config):
        raise OnnxError("padding between pixels, or less than none, can't be written as ONNX")
    operand = writer.whole(operands[0], equation.invars[0].aval.shape)
    pads = [low for low, _, _ in config] + [high for _, high, _ in config]
    names = [writer.read(operand), writer.ints(*pads), writer.read(operands[1])]
    return [Value(writer.add("Pad", names), result.shape, result.dtype)]


def _gather(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    """Rows along one axis, by numbers that lie within it; or a part at a known place."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape, result = equation.invars[0].aval.shape, equation.outvars[0].aval
    axes = numbers.start_index_map
    if isinstance(operands[1], np.ndarray) and operands[1].ndim == 1:
        starts = [0] * len(shape)
        for axis, at in zip(axes, operands[1].tolist(), strict=True):
            starts[axis] = min(max(at, 0), shape[axis] - sizes[axis])
        stops = [
            size if size == whole else start + size
            for start, size, whole in zip(starts, sizes, shape, strict=True)
        ]
        part = _slices(writer, equation, operands[0], starts, stops, [1] * len(shape))[0]
        known = Value(writer.read(part), tuple(sizes), np.dtype(result.dtype))
        return [writer.reshape(known, result.shape)]
    whole = all(a == b for n, (a, b) in enumerate(zip(sizes, shape, strict=True)) if n not in axes)
    single = len(axes) == 1 and numbers.collapsed_slice_dims == tuple(axes) and whole
    if not single or numbers.operand_batching_dims:
        raise OnnxError("an index along several axes can't be written as ONNX")
    (axis,) = axes
    at = equation.invars[1].aval.shape
    indices = writer.reshape(writer.whole(operands[1], at), at[:-1])
    name = writer.add(
        "Gather", [writer.read(writer.whole(operands[0], shape)), writer.read(indices)], axis=axis
    )
    found = Value(name, (*shape[:axis], *at[:-1], *shape[axis + 1 :]), result.dtype)
    # JAX may put the rows' own axes elsewhere.
    own = [n for n in range(len(found.shape)) if not axis <= n < axis + len(at) - 1]
    order = [0] * len(found.shape)
    for place, n in zip(numbers.offset_dims, own, strict=True):
        order[place] = n
    rest = [n for n in range(len(order)) if n not in numbers.offset_dims]
    for place, n in zip(rest, range(axis, axis + len(at) - 1), strict=True):
        order[place] = n
    return [writer.transpose(found, order)]


def _scan(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    """A Loop; the body of one round alone is written in its place."""
    given, body = equation.params, _closed(equation.params["jaxpr"])
    constants, carried = equations.scanned(given)
    shapes = [var.aval.shape for var in equation.invars]
    fixed = operands[:constants]
    whole = [writer.whole(o, s) for o, s in zip(operands, shapes, strict=True)][constants:]
    state, rows = whole[:carried], whole[carried:]
    if given["length"] == 1:
        first = [writer.reshape(row, row.shape[1:]) for row in rows]
        results = _inline(writer, body, [*fixed, *state, *first])
        inside, outside = body.jaxpr.outvars[carried:], equation.outvars[carried:]
        kept = [
            writer.reshape(writer.whole(result, inner.aval.shape), outer.aval.shape)
            for result, inner, outer in zip(results[carried:], inside, outside, strict=True)
        ]
        return [*results[:carried], *kept]

    before, writer.nodes = writer.nodes, []
    turn, going = writer.name("turn"), writer.name("going")
    inputs = [Value(writer.name("state"), o.shape, o.dtype) for o in state]
    place = turn
    if given["reverse"]:
        place = writer.add("Sub", [writer.store(np.array(given["length"] - 1, np.int64)), turn])
    one = [
        Value(writer.add("Gather", [writer.read(row), place], axis=0), row.shape[1:], row.dtype)
        for row in rows
    ]
    results = [
        writer.whole(result, var.aval.shape)
        for result, var in zip(
            _inline(writer, body, [*fixed, *inputs, *one]), body.jaxpr.outvars, strict=True
        )
    ]
    outputs = [writer.add("Identity", [name]) for name in (going, *map(writer.read, results))]
    nodes, needs = _used(writer.nodes, outputs)
    writer.nodes = before
    graph = b"".join(_field(1, node.encoded()) for node in nodes) + _field(2, "body")
    graph += _field(11, _value_info(turn, (), np.dtype(np.int64)))
    graph += _field(11, _value_info(going, (), np.dtype(bool)))
    graph += b"".join(_field(11, _value_info(*one)) for one in inputs)
    ends = [((), np.dtype(bool)), *((r.shape, r.dtype) for r in results)]
    for name, end in zip(outputs, ends, strict=True):
        graph += _field(12, _value_info(name, *end))
    found = [Value(writer.name("loop"), var.aval.shape, var.aval.dtype) for var in equation.outvars]
    names = (writer.store(np.array(given["length"], np.int64)), "", *map(writer.read, state))
    outs = tuple(value.name for value in found)
    writer.nodes.append(_Node("Loop", names, outs, {"body": graph}, tuple(sorted(needs))))
    if given["reverse"]:  # rows lie as they were read, from the first one on
        bounds = [writer.ints(number) for number in (-1, -(2**31), 0, -1)]
        found[carried:] = [
            value._replace(name=writer.add("Slice", [value.name, *bounds]))
            for value in found[carried:]
        ]
    return list(found)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **{name: _composed(make) for name, make in _COMPOSED.items()},
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "broadcast_in_dim": _broadcast_in_dim,
    "transpose": _transpose,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv,
    "reduce_window_max": _max_pool,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_sum": _reduce("ReduceSum"),
    "argmax": _argmax,
    "concatenate": _concatenate,
    "stack": _stack,
    "slice": _slice,
    "rev": _rev,
    "split": _split,
    "pad": _pad,
    "gather": _gather,
    "scan": _scan,
}
# They give their operands as they are.
_IDENTITIES = ("stop_gradient", "optimization_barrier", "copy", "copy_p")


def _inner(equation: Any) -> Any:
    """The function that an equation calls, as `jit` and custom derivatives do."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params and equation.primitive.name not in ("scan", "while"):
            return _closed(equation.params[name])
    return None


def _closed(function: Any) -> Any:
    """A function inside an equation with its constants; newer JAX has none there."""
    closed = isinstance(function, core.ClosedJaxpr)
    return function if closed else core.ClosedJaxpr(function, ())


def _inline(writer: _Writer, closed: Any, operands: Sequence[Operand]) -> list[Operand]:
    """Writes the equations of a function, and gives its results."""
    jaxpr = closed.jaxpr
    known: dict[Any, Operand] = dict(zip(jaxpr.invars, operands, strict=True))
    known |= {var: np.asarray(a) for var, a in zip(jaxpr.constvars, closed.consts, strict=True)}

    def get(atom: Any) -> Operand:
        literal = isinstance(atom, core.Literal)
        return np.asarray(atom.val, atom.aval.dtype) if literal else known[atom]

    for equation in jaxpr.eqns:
        results = _results(writer, equation, [get(atom) for atom in equation.invars])
        known |= dict(zip(equation.outvars, results, strict=True))
    return [get(atom) for atom in jaxpr.outvars]


def _results(writer: _Writer, equation: Any, operands: list[Operand]) -> list[Operand]:
    name = equation.primitive.name
    if name in _IDENTITIES:
        return operands
    if name == "platform_index":  # the branch for any other platform: the plain operations
        platforms = equation.params["platforms"]
        return [np.array(next(n for n, one in enumerate(platforms) if one is None), np.int32)]
    if name == "cond":
        if not isinstance(operands[0], np.ndarray):
            raise OnnxError("a branch that depends on the input can't be written as ONNX")
        branch = equation.params["branches"][int(operands[0])]
        return _inline(writer, _closed(branch), operands[1:])
    if (inner := _inner(equation)) is not None:
        return _inline(writer, inner, operands)
    if (folded := _fold(equation, operands)) is not None:
        return folded
    if name not in _RULES:
        raise OnnxError(f"JAX's primitive {name} can't be written as ONNX")
    return _RULES[name](writer, equation, operands)


def _fold(equation: Any, operands: list[Operand]) -> list[Operand] | None:
    """The results, if all operands are known; None otherwise."""
    name = equation.primitive.name
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if len(arrays) < len(operands) or name in ("broadcast_in_dim", "scan"):
        return None
    if name in _ELEMENTWISE or name in _COMPOSED:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        arrays = [np.broadcast_to(array, shape) for array in arrays]
    elif not all(_static(var.aval.shape) for var in (*equation.invars, *equation.outvars)):
        return None
    else:
        pairs = zip(arrays, equation.invars, strict=True)
        arrays = [np.broadcast_to(array, var.aval.shape) for array, var in pairs]
    found = equation.primitive.bind(*map(jax.numpy.asarray, arrays), **equation.params)
    return [np.asarray(one) for one in (found if equation.primitive.multiple_results else [found])]


def files(trained: Trained) -> dict[str, bytes]:
    """The ONNX files of all predictions of a trained model, `NAME.onnx`.

    Raises:
      OnnxError: a prediction can't be written as ONNX.
    """
    made = {}
    for name, prediction in trained.predictions.items():
        try:
            made[f"{name}.onnx"] = convert(prediction, trained.weights, name)
        except OnnxError as error:
            raise OnnxError(f"{trained.task.name}, {name}: {error}") from error
    return made


@device.in_float32
def difference(
    content: bytes, prediction: Prediction, weights: Any, inputs: Mapping[str, np.ndarray]
) -> float:
    """The largest difference between onnxruntime's outputs and JAX's, as a share of JAX's largest.

    Outputs that stay below 1 are compared as they are.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = dict(
        zip((o.name for o in session.get_outputs()), session.run(None, dict(inputs)), strict=True)
    )
    expected = jax.device_get(device.jit(prediction.function)(weights, dict(inputs)))
    worst = 0.0
    for name, array in expected.items():
        other, array = (a.astype(np.float64) for a in (found[_output(name, prediction)], array))
        if other.shape != array.shape or not np.array_equal(np.isnan(other), np.isnan(array)):
            return math.inf
        apart, size = np.nan_to_num(abs(other - array)), np.nan_to_num(abs(array))
        worst = max(worst, float(apart.max(initial=0) / max(1.0, size.max(initial=0))))
    return worst


def example(prediction: Prediction, size: int = 4) -> dict[str, np.ndarray]:
    """Random inputs: bytes, small integers, and normal numbers."""
    rng, made = np.random.default_rng(0), {}
    for name, spec in prediction.inputs.items():
        shape = (size, *spec.shape)
        if spec.dtype == np.float32:
            made[name] = rng.normal(size=shape).astype(np.float32)
        else:
            high = 256 if spec.dtype == np.uint8 else 2
            made[name] = rng.integers(0, high, shape).astype(spec.dtype)
    return made


def _output(name: str, prediction: Prediction) -> str:
    """The name of an output in the file; that of a state, which is an input as well, differs."""
    return f"{name}_out" if name in prediction.inputs else name


@device.in_float32
def convert(prediction: Prediction, weights: Any, name: str = "prediction") -> bytes:
    """The ONNX file of a prediction with its weights.

    Args:
      prediction: of a task.
      weights: `params` and, where there are any, `stats`.
      name: of the graph in the file.

    Raises:
      OnnxError: something in it can't be written as ONNX.
    """
    paths, tree = jax.tree.flatten_with_path(weights)
    arrays = [np.asarray(leaf) for _, leaf in paths]
    labels = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    (batch,) = jax.export.symbolic_shape("batch")
    specs = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays])
    given = {
        n: jax.ShapeDtypeStruct((batch, *spec.shape), spec.dtype)
        for n, spec in prediction.inputs.items()
    }
    with jax.disable_jit(False):
        closed, shapes = jax.make_jaxpr(prediction.function, return_shape=True)(specs, given)
    writer = _Writer({id(a): label for a, label in zip(arrays, labels, strict=True)})
    # A dictionary's leaves are in the order of its keys.
    inputs = [Value(n, given[n].shape, np.dtype(given[n].dtype)) for n in sorted(given)]
    writer.batch = writer.add("Shape", [inputs[0].name], start=0, end=1)
    with jax.disable_jit(False):
        results = _inline(writer, closed, [*arrays, *inputs])
    outputs = []
    for (path, shape), result in zip(jax.tree.flatten_with_path(shapes)[0], results, strict=True):
        output = _output(jax.tree_util.keystr(path, simple=True), prediction)
        whole = writer.read(writer.whole(result, shape.shape))
        writer.nodes.append(_Node("Identity", (whole,), (output,), {}))
        outputs.append(Value(output, shape.shape, np.dtype(shape.dtype)))
    return _model(writer, name, inputs, outputs, prediction.about)


def _model(
    writer: _Writer, name: str, inputs: list[Value], outputs: list[Value], about: str
) -> bytes:
    """A `ModelProto`."""
    nodes, read = _used(writer.nodes, [value.name for value in outputs])
    graph, casts = b"", b""
    for stored, array in writer.stored.items():
        if stored not in read:
            continue
        with np.errstate(over="ignore"):
            half = array.astype(np.float16) if array.dtype == np.float32 else array
        if half is not array and array.size > _HALVED and np.array_equal(half, array):
            graph += _field(5, _tensor(f"{stored}/half", half))
            cast = _Node("Cast", (f"{stored}/half",), (stored,), {"to": _type(np.float32)})
            casts += _field(1, cast.encoded())
        else:
            graph += _field(5, _tensor(stored, array))
    graph = casts + b"".join(_field(1, node.encoded()) for node in nodes) + _field(2, name) + graph
    graph += b"".join(_field(11, _value_info(*value)) for value in inputs)
    graph += b"".join(_field(12, _value_info(*value)) for value in outputs)
    opset = _field(8, _field(1, "") + _field(2, OPSET))
    head = _field(1, IR_VERSION) + _field(2, "zoo") + _field(6, about)
    return head + _field(7, graph) + opset
