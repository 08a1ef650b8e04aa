// Chapter 2's first network, its costs, and the solvers that race on it.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

export const probabilities = (weights, inputs) =>
  inputs.map((row) => sigmoid(row.reduce((sum, x, i) => sum + x * weights[i], 0)));

export function cost(kind, weights, inputs, labels) {
  const p = probabilities(weights, inputs);
  const one = { "mean-square": (y, q) => (y - q) ** 2, "cross-entropy": (y, q) => -Math.log(Math.max(y ? q : 1 - q, 1e-300)) }[kind];
  return labels.reduce((sum, y, n) => sum + one(y, p[n]), 0) / labels.length;
}

export function slope(kind, weights, inputs, labels) {
  const p = probabilities(weights, inputs), found = weights.map(() => 0);
  labels.forEach((y, n) => {
    const factor = kind === "mean-square" ? 2 * (p[n] - y) * p[n] * (1 - p[n]) : p[n] - y;
    inputs[n].forEach((x, i) => (found[i] += (factor * x) / labels.length));
  });
  return found;
}

const momentum = (nesterov) => (state, slopes) => {
  state.trace = slopes.map((g, i) => g + 0.9 * (state.trace?.[i] ?? 0));
  return nesterov ? slopes.map((g, i) => g + 0.9 * state.trace[i]) : state.trace;
};

const rmsprop = (decay) => (state, slopes) => {
  state.square = slopes.map((g, i) => decay * (state.square?.[i] ?? 0) + (1 - decay) * g * g);
  return slopes.map((g, i) => g / Math.sqrt(state.square[i] + 1e-8));
};

const adam = (doubled) => (state, slopes) => {
  state.count = (state.count ?? 0) + 1;
  state.mean = slopes.map((g, i) => 0.9 * (state.mean?.[i] ?? 0) + 0.1 * g);
  state.square = slopes.map((g, i) => 0.999 * (state.square?.[i] ?? 0) + 0.001 * g * g);
  return slopes.map((_, i) => {
    const mean = state.mean[i] / (1 - 0.9 ** state.count), square = state.square[i] / (1 - 0.999 ** state.count);
    return mean / (Math.sqrt(square) + 1e-8) + (doubled ? mean : 0);
  });
};

// (state, slopes) -> directions; a step subtracts the rate times the direction.
export const SOLVERS = {
  SGD: (state, slopes) => slopes,
  momentum: momentum(false),
  Nesterov: momentum(true),
  RMSProp: rmsprop(0.9),
  Adam: adam(false),
  "Gorgonia's RMSProp": rmsprop(0.999),
  "doubled Adam": adam(true),
};

export function step(solver, state, weights, slopes, rate) {
  const direction = SOLVERS[solver](state, slopes);
  return weights.map((w, i) => w - rate * direction[i]);
}
