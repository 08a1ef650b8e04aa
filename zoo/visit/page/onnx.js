// A small runtime for the ONNX files that `zoo.ch10_deploy.onnx` writes: plain typed arrays, no
// WebAssembly. An array is { shape, data }; booleans are bytes, 64-bit integers are 32-bit ones.

const FLOAT = 1, UINT8 = 2, INT8 = 3, INT32 = 6, INT64 = 7, BOOL = 9, HALF = 10, UINT32 = 12;
const ARRAYS = {
  [FLOAT]: Float32Array, [UINT8]: Uint8Array, [INT8]: Int8Array, [INT32]: Int32Array,
  [INT64]: Int32Array, [BOOL]: Uint8Array, [UINT32]: Uint32Array,
};

export const array = (shape, data) => ({ shape, data });
const count = (shape) => shape.reduce((product, size) => product * size, 1);

// Protobuf: yields [field, value] of a message; a value is a number or bytes.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let low = 0, scale = 1;
    for (;;) {
      const byte = bytes[at++];
      low += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    // Negative numbers have ten bytes, as 64-bit two's complement.
    return low >= 2 ** 63 ? low - 2 ** 64 : low;
  };
  while (at < bytes.length) {
    const key = varint(), type = key & 7;
    if (type === 0) yield [key >>> 3, varint()];
    else if (type === 2) {
      const size = varint();
      yield [key >>> 3, bytes.subarray(at, at + size)];
      at += size;
    } else if (type === 5) {
      yield [key >>> 3, new DataView(bytes.buffer, bytes.byteOffset + at, 4).getFloat32(0, true)];
      at += 4;
    } else throw new Error(`a field of type ${type} in the ONNX file`);
  }
}

const decoder = new TextDecoder();
const text = (bytes) => decoder.decode(bytes);

function signed(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.length / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)));
}

// The value of every float16, by its bits.
let table;
function values() {
  if (table) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    let size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    if (exponent === 31) size = fraction ? NaN : Infinity;
    table[bits] = bits >> 15 ? -size : size;
  }
  return table;
}

function halves(bytes) {
  const from = new Uint16Array(bytes.slice().buffer), to = new Float32Array(from.length), known = values();
  for (let i = 0; i < from.length; i++) to[i] = known[from[i]];
  return to;
}

function tensor(bytes) {
  const shape = [];
  let type, name, raw;
  for (const [field, value] of fields(bytes)) {
    if (field === 1) shape.push(value);
    else if (field === 2) type = value;
    else if (field === 8) name = text(value);
    else if (field === 9) raw = value;
  }
  let data;
  if (type === INT64) data = signed(raw);
  else if (type === HALF) data = halves(raw);
  else data = new ARRAYS[type](raw.slice().buffer);
  return [name, array(shape, data)];
}

function attribute(bytes) {
  let name, value;
  const ints = [];
  for (const [field, found] of fields(bytes)) {
    if (field === 1) name = text(found);
    else if (field === 3) value = found;
    else if (field === 4) value = text(found);
    else if (field === 6) value = graph(found);
    else if (field === 8) ints.push(found);
  }
  return [name, value ?? ints];
}

function node(bytes) {
  const made = { inputs: [], outputs: [], operator: "", attributes: {} };
  for (const [field, value] of fields(bytes)) {
    if (field === 1) made.inputs.push(text(value));
    else if (field === 2) made.outputs.push(text(value));
    else if (field === 4) made.operator = text(value);
    else if (field === 5) {
      const [name, found] = attribute(value);
      made.attributes[name] = found;
    }
  }
  return made;
}

const named = (bytes) => {
  for (const [field, value] of fields(bytes)) if (field === 1) return text(value);
};

function graph(bytes) {
  const made = { nodes: [], inputs: [], outputs: [], stored: new Map() };
  for (const [field, value] of fields(bytes)) {
    if (field === 1) made.nodes.push(node(value));
    else if (field === 5) made.stored.set(...tensor(value));
    else if (field === 11) made.inputs.push(named(value));
    else if (field === 12) made.outputs.push(named(value));
  }
  return made;
}

function strides(shape) {
  const made = new Array(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    made[i] = step;
    step *= shape[i];
  }
  return made;
}

// For each place of `shape`, the place in an array whose axes have these steps.
function places(shape, steps, start = 0) {
  const size = count(shape), found = new Int32Array(size), rank = shape.length;
  const counter = new Array(rank).fill(0);
  let at = start;
  for (let i = 0; i < size; i++) {
    found[i] = at;
    for (let axis = rank - 1; axis >= 0; axis--) {
      at += steps[axis];
      if (++counter[axis] < shape[axis]) break;
      at -= steps[axis] * shape[axis];
      counter[axis] = 0;
    }
  }
  return found;
}

function take(x, shape, steps, start = 0) {
  const from = places(shape, steps, start), data = new x.data.constructor(from.length);
  for (let i = 0; i < from.length; i++) data[i] = x.data[from[i]];
  return array(shape, data);
}

function common(...shapes) {
  const rank = Math.max(...shapes.map((shape) => shape.length)), made = [];
  for (let axis = 0; axis < rank; axis++) {
    const sizes = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    made.push(sizes.find((size) => size !== 1) ?? 1);
  }
  return made;
}

const same = (one, other) => one.length === other.length && one.every((size, i) => size === other[i]);

function expand(x, shape) {
  if (same(x.shape, shape)) return x;
  const own = strides(x.shape), behind = shape.length - x.shape.length;
  return take(x, shape, shape.map((_, axis) => {
    const mine = axis - behind;
    return mine < 0 || x.shape[mine] === 1 ? 0 : own[mine];
  }));
}

const unary = (f) => ([x]) => {
  const data = new Float32Array(x.data.length);
  for (let i = 0; i < data.length; i++) data[i] = f(x.data[i]);
  return array(x.shape, data);
};

const binary = (f, Kind) => ([a, b]) => {
  const shape = common(a.shape, b.shape), size = count(shape);
  const data = new (Kind ?? a.data.constructor)(size);
  // Most often the second has the last axes of the first: a bias, or a number.
  const inner = b.data.length, tail = shape.slice(shape.length - b.shape.length);
  if (a.data.length === size && (inner === 1 || same(tail, b.shape))) {
    for (let i = 0, j = 0; i < size; i++) {
      data[i] = f(a.data[i], b.data[j]);
      if (++j === inner) j = 0;
    }
  } else {
    const left = expand(a, shape).data, right = expand(b, shape).data;
    for (let i = 0; i < size; i++) data[i] = f(left[i], right[i]);
  }
  return array(shape, data);
};

const truth = (f) => binary((a, b) => (f(a, b) ? 1 : 0), Uint8Array);

export function matmul([a, b]) {
  const inner = a.shape.at(-1), columns = b.shape.at(-1), rows = a.shape.at(-2);
  const outer = common(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const left = expand(a, [...outer, rows, inner]).data;
  const right = b.shape.length > 2 ? expand(b, [...outer, inner, columns]).data : b.data;
  const step = b.shape.length > 2 ? inner * columns : 0, batches = count(outer);
  const data = new Float32Array(batches * rows * columns);
  for (let batch = 0; batch < batches; batch++) {
    for (let row = 0; row < rows; row++) {
      const to = (batch * rows + row) * columns, from = (batch * rows + row) * inner;
      for (let k = 0; k < inner; k++) {
        const factor = left[from + k];
        if (factor === 0) continue; // ReLU makes many zeros, and paper is white
        const line = batch * step + k * columns;
        for (let column = 0; column < columns; column++) data[to + column] += factor * right[line + column];
      }
    }
  }
  return array([...outer, rows, columns], data);
}

function conv([x, kernel], { pads, strides: steps, dilations, group }) {
  if (group !== 1) throw new Error("convolutions in groups are not written");
  const [batch, channels, height, width] = x.shape, [filters, , rows, columns] = kernel.shape;
  const size = (length, taps, axis) =>
    Math.floor((length + pads[axis] + pads[axis + 2] - dilations[axis] * (taps - 1) - 1) / steps[axis]) + 1;
  const high = size(height, rows, 0), wide = size(width, columns, 1), area = high * wide;
  const patches = new Float32Array(channels * rows * columns * area), data = new Float32Array(batch * filters * area);
  for (let b = 0; b < batch; b++) {
    let at = 0; // each row of `patches` is one tap at all places
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          for (let y = 0; y < high; y++) {
            const up = y * steps[0] + i * dilations[0] - pads[0];
            const line = ((b * channels + c) * height + up) * width;
            for (let z = 0; z < wide; z++) {
              const over = z * steps[1] + j * dilations[1] - pads[1];
              const inside = up >= 0 && up < height && over >= 0 && over < width;
              patches[at++] = inside ? x.data[line + over] : 0;
            }
          }
        }
      }
    }
    const taps = channels * rows * columns;
    for (let f = 0; f < filters; f++) {
      const to = (b * filters + f) * area;
      for (let t = 0; t < taps; t++) {
        const factor = kernel.data[f * taps + t], from = t * area;
        for (let n = 0; n < area; n++) data[to + n] += factor * patches[from + n];
      }
    }
  }
  return array([batch, filters, high, wide], data);
}

function maxPool([x], { kernel_shape: window, strides: steps }) {
  const [batch, channels, height, width] = x.shape;
  const high = Math.floor((height - window[0]) / steps[0]) + 1, wide = Math.floor((width - window[1]) / steps[1]) + 1;
  const data = new Float32Array(batch * channels * high * wide);
  let at = 0;
  for (let map = 0; map < batch * channels; map++) {
    for (let y = 0; y < high; y++) {
      for (let z = 0; z < wide; z++) {
        let largest = -Infinity;
        for (let i = 0; i < window[0]; i++) {
          const line = (map * height + y * steps[0] + i) * width + z * steps[1];
          for (let j = 0; j < window[1]; j++) largest = Math.max(largest, x.data[line + j]);
        }
        data[at++] = largest;
      }
    }
  }
  return array([batch, channels, high, wide], data);
}

const reduce = (start, f) => ([x, axes]) => {
  const gone = new Set(axes.data), kept = x.shape.map((_, axis) => axis).filter((axis) => !gone.has(axis));
  const shape = kept.map((axis) => x.shape[axis]), own = strides(shape), steps = x.shape.map(() => 0);
  kept.forEach((axis, i) => (steps[axis] = own[i]));
  const to = places(x.shape, steps), data = new Float32Array(count(shape)).fill(start);
  for (let i = 0; i < to.length; i++) data[to[i]] = f(data[to[i]], x.data[i]);
  return array(shape, data);
};

function concat(parts, { axis }) {
  const at = axis < 0 ? axis + parts[0].shape.length : axis, shape = [...parts[0].shape];
  shape[at] = parts.reduce((sum, part) => sum + part.shape[at], 0);
  const data = new parts[0].data.constructor(count(shape)), outer = count(shape.slice(0, at));
  let to = 0;
  for (let row = 0; row < outer; row++) {
    for (const part of parts) {
      const size = part.data.length / outer;
      data.set(part.data.subarray(row * size, (row + 1) * size), to);
      to += size;
    }
  }
  return array(shape, data);
}

function slice([x, starts, ends, axes, jumps]) {
  const shape = [...x.shape], steps = strides(x.shape);
  let start = 0;
  axes.data.forEach((axis, i) => {
    const size = x.shape[axis], jump = jumps ? jumps.data[i] : 1;
    const bound = (n, low, high) => Math.min(Math.max(n < 0 ? n + size : n, low), high);
    const first = jump > 0 ? bound(starts.data[i], 0, size) : bound(starts.data[i], 0, size - 1);
    const last = jump > 0 ? bound(ends.data[i], 0, size) : bound(ends.data[i], -1, size - 1);
    shape[axis] = Math.max(0, Math.ceil((last - first) / jump));
    start += first * steps[axis];
    steps[axis] *= jump;
  });
  return take(x, shape, steps, start);
}

function split([x, sizes], { axis }) {
  let at = 0;
  return [...sizes.data].map((size) => {
    const shape = [...x.shape], steps = strides(x.shape);
    shape[axis] = size;
    const part = take(x, shape, steps, at * steps[axis]);
    at += size;
    return part;
  });
}

function pad([x, pads, value]) {
  const rank = x.shape.length, shape = x.shape.map((size, i) => size + pads.data[i] + pads.data[rank + i]);
  const own = strides(shape), start = own.reduce((sum, step, i) => sum + step * pads.data[i], 0);
  const data = new x.data.constructor(count(shape)).fill(value.data[0]), to = places(x.shape, own, start);
  for (let i = 0; i < to.length; i++) data[to[i]] = x.data[i];
  return array(shape, data);
}

function gather([x, at], { axis }) {
  const inner = count(x.shape.slice(axis + 1)), size = x.shape[axis], outer = count(x.shape.slice(0, axis));
  const shape = [...x.shape.slice(0, axis), ...at.shape, ...x.shape.slice(axis + 1)];
  const data = new x.data.constructor(count(shape));
  let to = 0;
  for (let row = 0; row < outer; row++) {
    for (const number of at.data) {
      const from = (row * size + (number < 0 ? number + size : number)) * inner;
      data.set(x.data.subarray(from, from + inner), to);
      to += inner;
    }
  }
  return array(shape, data);
}

function reshape([x, sizes]) {
  const shape = [...sizes.data], known = shape.filter((size) => size >= 0);
  return array(shape.map((size) => (size < 0 ? x.data.length / count(known) : size)), x.data);
}

function transpose([x], { perm }) {
  const steps = strides(x.shape);
  return take(x, perm.map((axis) => x.shape[axis]), perm.map((axis) => steps[axis]));
}

function where([condition, a, b]) {
  const shape = common(condition.shape, a.shape, b.shape);
  const [which, yes, no] = [condition, a, b].map((x) => expand(x, shape).data);
  const data = new yes.constructor(which.length);
  for (let i = 0; i < data.length; i++) data[i] = which[i] ? yes[i] : no[i];
  return array(shape, data);
}

function cast([x], { to }) {
  if (ARRAYS[to] === x.data.constructor && to !== BOOL) return x;
  return array(x.shape, to === BOOL ? Uint8Array.from(x.data, (v) => (v ? 1 : 0)) : ARRAYS[to].from(x.data));
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const OPERATORS = {
  Add: binary((a, b) => a + b), Sub: binary((a, b) => a - b), Mul: binary((a, b) => a * b),
  Div: binary((a, b) => a / b), Pow: binary(Math.pow), Max: binary(Math.max), Min: binary(Math.min),
  Exp: unary(Math.exp), Log: unary(Math.log), Tanh: unary(Math.tanh), Sigmoid: unary(sigmoid),
  Sqrt: unary(Math.sqrt), Reciprocal: unary((x) => 1 / x), Neg: unary((x) => -x), Abs: unary(Math.abs),
  Greater: truth((a, b) => a > b), Less: truth((a, b) => a < b), Equal: truth((a, b) => a === b),
  GreaterOrEqual: truth((a, b) => a >= b), LessOrEqual: truth((a, b) => a <= b),
  And: truth((a, b) => a && b), Or: truth((a, b) => a || b),
  Not: ([x]) => array(x.shape, Uint8Array.from(x.data, (v) => (v ? 0 : 1))),
  BitwiseAnd: binary((a, b) => a & b), BitShift: binary((a, b) => a >>> b),
  MatMul: matmul, Conv: conv, MaxPool: maxPool, Where: where, Cast: cast, Reshape: reshape,
  Transpose: transpose, Concat: concat, Slice: slice, Split: split, Pad: pad, Gather: gather,
  ReduceMax: reduce(-Infinity, Math.max), ReduceSum: reduce(0, (a, b) => a + b),
  Expand: ([x, shape]) => expand(x, common(x.shape, [...shape.data])),
  Identity: ([x]) => x,
  Shape: ([x], { start, end }) => {
    const part = x.shape.slice(start ?? 0, end);
    return array([part.length], Int32Array.from(part));
  },
};

function loop({ attributes: { body }, inputs }, known) {
  const rounds = known.get(inputs[0]).data[0], kept = [];
  let state = inputs.slice(2).map((name) => known.get(name));
  for (let turn = 0; turn < rounds; turn++) {
    const inside = new Map(known);
    const given = [array([], Int32Array.of(turn)), array([], Uint8Array.of(1)), ...state];
    body.inputs.forEach((name, i) => inside.set(name, given[i]));
    const results = evaluate(body, inside).slice(1);
    state = results.slice(0, state.length);
    results.slice(state.length).forEach((row, i) => (kept[i] ??= []).push(row));
  }
  const stacked = kept.map((rows) => {
    const parts = rows.map((row) => array([1, ...row.shape], row.data));
    return concat(parts, { axis: 0 });
  });
  return [...state, ...stacked];
}

function evaluate({ nodes, outputs }, known) {
  for (const one of nodes) {
    if (known.has(one.outputs[0])) continue;
    let found;
    if (one.operator === "Loop") found = loop(one, known);
    else {
      const operator = OPERATORS[one.operator];
      if (!operator) throw new Error(`the operator ${one.operator} is not known here`);
      found = operator(one.inputs.map((name) => known.get(name)), one.attributes);
    }
    (Array.isArray(found) ? found : [found]).forEach((value, i) => known.set(one.outputs[i], value));
  }
  return outputs.map((name) => known.get(name));
}

// A model from the bytes of an ONNX file: inputs by name to outputs by name.
export function model(bytes) {
  let main;
  for (const [field, value] of fields(bytes)) if (field === 7) main = graph(value);
  // What depends on stored arrays alone, as weights read from float16, is computed once.
  const known = new Map(main.stored);
  for (const one of main.nodes) {
    if (one.operator === "Cast" && known.has(one.inputs[0])) {
      known.set(one.outputs[0], cast([known.get(one.inputs[0])], one.attributes));
    }
  }
  return (inputs) => {
    const found = evaluate(main, new Map([...known, ...Object.entries(inputs)]));
    return Object.fromEntries(main.outputs.map((name, i) => [name, found[i]]));
  };
}

const loaded = new Map();

// The model in models/NAME.onnx, read once.
export function load(name) {
  if (!loaded.has(name)) {
    const file = fetch(`models/${name}.onnx`).then(async (response) => {
      if (!response.ok) throw new Error(`models/${name}.onnx: ${response.status}`);
      return model(new Uint8Array(await response.arrayBuffer()));
    });
    loaded.set(name, file);
    file.catch(() => loaded.delete(name));
  }
  return loaded.get(name);
}
