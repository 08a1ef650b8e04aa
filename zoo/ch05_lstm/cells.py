"""Recurrent cells: the vanilla RNN, LSTM, GRU, and minGRU, which needs no loop over time.

A cell is three pure functions on a dict of arrays: `init`, `step` (one character) and `unroll`
(a sequence). What the input adds to the gates does not depend on the state, so `unroll` computes
it for all steps at once and only the small recurrent product stays in the loop.

Axes: T steps, B sequences, D inputs, H hidden units, G gates. Sequences are time-major, [T, B, D];
gates lie side by side, so kernels are [D, G H] and [H, G H].
Sources: Elman 1990; Hochreiter & Schmidhuber 1997 with Gers' forget gate; Cho et al. 2014 with the
reset behind the product, as cuDNN has it; Feng et al. 2024 (arXiv:2410.01201) for minGRU.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Params = dict[str, Any]
State = Any
Result = tuple[State, jax.Array]  # the next state, and what the cell gives out


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step; the other cells carry h alone."""

    c: jax.Array  # [B, H], the memory
    h: jax.Array  # [B, H], the output


class Cell(NamedTuple):
    """The functions of one kind of cell; `advance` and `scan` take what `project` gives."""

    init: Callable[..., Params]  # (key, inputs, hidden, glorot=False)
    start: Callable[..., State]  # (params, batch) -> a state of zeros
    advance: Callable[..., Result]  # (params, state, [B, G H]), one step
    scan: Callable[..., Result]  # (params, state, [T, B, G H]), all steps; gives [T, B, H]

    def step(self, params: Params, state: State, x: jax.Array) -> Result:
        """One step: inputs [B, D] to outputs [B, H], and the next state."""
        return self.advance(params, state, project(params, x))

    def unroll(self, params: Params, state: State, xs: jax.Array) -> Result:
        """All steps: inputs [T, B, D] to outputs [T, B, H], and the last state."""
        return self.scan(params, state, project(params, xs))  # one large product for all steps


def project(params: Params, x: jax.Array) -> jax.Array:
    """What inputs [..., D] add to the gates, [..., G H].

    Raises:
      ValueError: the inputs have another width than the kernel.
    """
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    if x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"inputs have shape {x.shape}, expected (..., {kernel.shape[0]}): the cell's inputs"
        )
    return x @ kernel + bias


def hidden_units(params: Params) -> int:
    """The number H of hidden units, read off the parameters."""
    if "hidden" not in params:
        return params["input"]["bias"].shape[0] // 2
    return params["hidden"]["kernel"].shape[0]


def kind(params: Params) -> str:
    """Which of `CELLS` these parameters belong to, read off their shapes."""
    if "hidden" not in params:
        return "mingru"
    hidden, width = params["hidden"]["kernel"].shape
    return {1: "rnn", 3: "gru", 4: "lstm"}[width // hidden]


def of(params: Params) -> Cell:
    """The functions of the cell that these parameters belong to."""
    return CELLS[kind(params)]


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)), through tanh: no overflow, and as fast on a CPU."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _init(gates: int, key: jax.Array, inputs: int, hidden: int, glorot: bool = False) -> Params:
    draw = jax.nn.initializers
    to_input, to_hidden = draw.lecun_normal(), draw.orthogonal()  # as in Flax
    if glorot:  # the book's: variance 2 / (fan in + fan out)
        to_input = to_hidden = draw.glorot_normal()
    input_key, hidden_key = jax.random.split(key)
    # Each gate is drawn apart: the fan-out of one wide kernel would be that of all gates.
    into = [to_input(k, (inputs, hidden)) for k in jax.random.split(input_key, gates)]
    back = [to_hidden(k, (hidden, hidden)) for k in jax.random.split(hidden_key, gates)]
    return {
        "input": {"kernel": jnp.concatenate(into, 1), "bias": jnp.zeros(gates * hidden)},
        "hidden": {"kernel": jnp.concatenate(back, 1)},
    }


def _zeros(params: Params, batch: int) -> jax.Array:
    return jnp.zeros((batch, hidden_units(params)), params["input"]["bias"].dtype)


def _loop(advance: Callable[..., Result]) -> Callable[..., Result]:
    def scan(params: Params, state: State, projected: jax.Array) -> Result:
        return jax.lax.scan(lambda s, x: advance(params, s, x), state, projected)

    return scan


rnn_init = functools.partial(_init, 1)


def rnn_advance(params: Params, h: jax.Array, projected: jax.Array) -> Result:
    """One step of the vanilla RNN: h' = tanh(W x + U h + b)."""
    h = jnp.tanh(projected + h @ params["hidden"]["kernel"])
    return h, h


def gru_init(key: jax.Array, inputs: int, hidden: int, glorot: bool = False) -> Params:
    """Parameters of `gru_gates`; the product that is reset has a bias of its own."""
    params = _init(3, key, inputs, hidden, glorot)
    params["hidden"]["bias"] = jnp.zeros(hidden)
    return params


def gru_gates(params: Params, h: jax.Array, projected: jax.Array) -> dict[str, jax.Array]:
    """The gates of the GRU, each [B, H].

    r = s(W_r x + U_r h + b_r), z = s(W_z x + U_z h + b_z), n = tanh(W_n x + b_n + r (U_n h + b)).
    """
    x_rz, x_n = jnp.split(projected, [2 * h.shape[-1]], axis=-1)
    h_rz, h_n = jnp.split(h @ params["hidden"]["kernel"], [2 * h.shape[-1]], axis=-1)
    reset, update = jnp.split(sigmoid(x_rz + h_rz), 2, axis=-1)
    new = jnp.tanh(x_n + reset * (h_n + params["hidden"]["bias"]))
    return {"reset": reset, "update": update, "new": new}


def gru_advance(params: Params, h: jax.Array, projected: jax.Array) -> Result:
    """One step of the GRU: h' = (1 - z) n + z h."""
    gates = gru_gates(params, h, projected)
    h = gates["new"] + gates["update"] * (h - gates["new"])  # one product fewer
    return h, h


def mingru_init(key: jax.Array, inputs: int, hidden: int, glorot: bool = False) -> Params:
    """Parameters of `mingru_gates`: nothing recurrent is learnt."""
    return {"input": _init(2, key, inputs, hidden, glorot)["input"]}


def mingru_gates(projected: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(1 - z, z n) with z = s(W_z x), n = W_n x; so h' = (1 - z) h + z n is linear in h."""
    z, new = jnp.split(projected, 2, axis=-1)
    z = sigmoid(z)
    return 1.0 - z, z * new


def mingru_advance(params: Params, h: jax.Array, projected: jax.Array) -> Result:
    """One step of minGRU."""
    keep, add = mingru_gates(projected)
    h = keep * h + add
    return h, h


def mingru_scan(params: Params, h: jax.Array, projected: jax.Array) -> Result:
    """All steps of minGRU as a parallel scan: log T rounds in place of T steps."""

    def compose(first, second):  # h -> k2 (k1 h + a1) + a2, linear again, so any order will do
        (keep1, add1), (keep2, add2) = first, second
        return keep1 * keep2, keep2 * add1 + add2

    keep, add = jax.lax.associative_scan(compose, mingru_gates(projected))
    hs = keep * h + add
    return hs[-1], hs


def lstm_init(
    key: jax.Array,
    inputs: int,
    hidden: int,
    glorot: bool = False,
    forget_bias: float = 0.0,
    chrono: int = 0,
) -> Params:
    """Parameters of `lstm_gates`.

    A `forget_bias` of 1 lets the memory last from the start (Gers et al. 2000). `chrono` is the
    longest delay in steps that is to be remembered, 0 for none: forget biases are then log of
    uniform numbers in [1, chrono - 1], input biases their negatives, so that a unit forgets after
    about as many steps (Tallec & Ollivier 2018, arXiv:1804.11188).

    Raises:
      ValueError: `chrono` is 1 or 2, or below 0.
    """
    kernel_key, bias_key = jax.random.split(key)
    params = _init(4, kernel_key, inputs, hidden, glorot)
    zeros = jnp.zeros(hidden)
    forget, into = zeros + forget_bias, zeros
    if chrono:
        if chrono < 3:
            raise ValueError(f"chrono is {chrono}, expected a delay of at least 3 steps, or 0")
        forget = jnp.log(jax.random.uniform(bias_key, (hidden,), minval=1.0, maxval=chrono - 1.0))
        into = -forget
    params["input"]["bias"] = jnp.concatenate([into, forget, zeros, zeros])
    return params


def _scale_and_shift(width: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """What makes tanh the nonlinearity of each gate: s(x) = tanh(x / 2) / 2 + 1 / 2; [4 H] each."""
    scale, shift = jnp.array([[0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 0.0, 0.5]], dtype)
    return jnp.repeat(scale, width // 4), jnp.repeat(shift, width // 4)


def _lstm_step(kernel: jax.Array, state: LSTMState, projected: jax.Array):
    z = projected + state.h @ kernel
    # All gates at once: cut in four first, the same work takes a CPU five times as long.
    scale, shift = _scale_and_shift(z.shape[-1], z.dtype)
    gates = scale * jnp.tanh(scale * z) + shift
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = f * state.c + i * g
    return LSTMState(c, o * jnp.tanh(c)), gates


def lstm_gates(params: Params, state: LSTMState, projected: jax.Array) -> dict[str, jax.Array]:
    """The gates of the LSTM: i = s(.), f = s(.), g = tanh(.), o = s(.) of W x + U h + b, [B, H]."""
    _, gates = _lstm_step(params["hidden"]["kernel"], state, projected)
    return dict(zip(("input", "forget", "cell", "output"), jnp.split(gates, 4, -1), strict=True))


def lstm_advance(params: Params, state: LSTMState, projected: jax.Array) -> Result:
    """One step of the LSTM: c' = f c + i g, h' = o tanh(c')."""
    state, _ = _lstm_step(params["hidden"]["kernel"], state, projected)
    return state, state.h


def lstm_scan(params: Params, state: LSTMState, projected: jax.Array) -> Result:
    """All steps of the LSTM, with a gradient of its own."""
    return _lstm(params["hidden"]["kernel"], state, projected)


@jax.custom_vjp
def _lstm(kernel, state, projected):
    return _lstm_forward(kernel, state, projected)[0]


def _lstm_forward(kernel, start, projected):
    def step(state, x):
        state, gates = _lstm_step(kernel, state, x)
        return state, (*state, gates)

    last, (cs, hs, gates) = jax.lax.scan(step, start, projected)
    return (last, hs), (kernel, start, cs, hs, gates)


def _lstm_backward(residuals, gradients):
    kernel, start, cs, hs, gates = residuals
    d_last, d_hs = gradients
    before = jnp.concatenate([start.c[None], cs[:-1]])
    transposed = kernel.T  # once, not at every step
    scale, shift = _scale_and_shift(kernel.shape[-1], gates.dtype)

    def step(d_state, now):
        d_y, c, c_before, gates = now
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        d_h, tanh_c = d_state.h + d_y, jnp.tanh(c)
        d_c = d_state.c + d_h * o * (1.0 - tanh_c**2)
        slopes = scale**2 - (gates - shift) ** 2  # 1 - g^2 of tanh, i (1 - i) of the others
        d_gates = jnp.concatenate([d_c * g, d_c * c_before, d_c * i, d_h * tanh_c], -1) * slopes
        return LSTMState(d_c * f, d_gates @ transposed), d_gates

    d_start, d_projected = jax.lax.scan(step, d_last, (d_hs, cs, before, gates), reverse=True)
    # The kernel's gradient is one product over all steps, behind the loop; as matrices, because
    # XLA's product over two axes at once is slower on a CPU.
    before = jnp.concatenate([start.h[None], hs[:-1]])
    flat = d_projected.reshape(-1, d_projected.shape[-1])
    d_kernel = before.reshape(-1, before.shape[-1]).T @ flat
    return d_kernel, d_start, d_projected


_lstm.defvjp(_lstm_forward, _lstm_backward)


def _lstm_start(params: Params, batch: int) -> LSTMState:
    return LSTMState(_zeros(params, batch), _zeros(params, batch))


CELLS = {
    "rnn": Cell(rnn_init, _zeros, rnn_advance, _loop(rnn_advance)),
    "lstm": Cell(lstm_init, _lstm_start, lstm_advance, lstm_scan),
    "gru": Cell(gru_init, _zeros, gru_advance, _loop(gru_advance)),
    "mingru": Cell(mingru_init, _zeros, mingru_advance, mingru_scan),
}
