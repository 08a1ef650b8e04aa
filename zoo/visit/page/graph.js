// Functions of numbers as lists of operations (`zoo.visit.functions`): values, then derivatives.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
// Of each operation its value, and its derivatives by the operands.
const OPERATIONS = {
  add: [([a, b]) => a + b, () => [1, 1]],
  sub: [([a, b]) => a - b, () => [1, -1]],
  mul: [([a, b]) => a * b, ([a, b]) => [b, a]],
  div: [([a, b]) => a / b, ([a, b]) => [1 / b, -a / (b * b)]],
  neg: [([a]) => -a, () => [-1]],
  exp: [([a]) => Math.exp(a), (_, y) => [y]],
  log: [([a]) => Math.log(a), ([a]) => [1 / a]],
  tanh: [([a]) => Math.tanh(a), (_, y) => [1 - y * y]],
  logistic: [([a]) => sigmoid(a), (_, y) => [y * (1 - y)]],
  sin: [([a]) => Math.sin(a), ([a]) => [Math.cos(a)]],
  cos: [([a]) => Math.cos(a), ([a]) => [-Math.sin(a)]],
  square: [([a]) => a * a, ([a]) => [2 * a]],
  integer_pow: [([a], power) => a ** power, ([a], _, power) => [power * a ** (power - 1)]],
};

// The values of inputs and nodes, and the derivatives of the last one by each of them.
export function compute({ nodes }, inputs) {
  const values = [...inputs], get = (operand) => (Array.isArray(operand) ? operand[0] : values[operand]);
  for (const { name, operands, power } of nodes) values.push(OPERATIONS[name][0](operands.map(get), power));
  const slopes = new Array(values.length).fill(0);
  slopes[values.length - 1] = 1;
  for (let n = nodes.length - 1; n >= 0; n--) {
    const { name, operands, power } = nodes[n], at = inputs.length + n;
    const local = OPERATIONS[name][1](operands.map(get), values[at], power);
    operands.forEach((operand, i) => {
      if (!Array.isArray(operand)) slopes[operand] += slopes[at] * local[i];
    });
  }
  return { values, slopes };
}
