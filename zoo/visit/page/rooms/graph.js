// The graph of a function: values flow down, derivatives flow back up.
import { compute } from "../graph.js";
import { choice, el, range } from "../ui.js";

const SIGNS = { add: "+", sub: "−", mul: "×", div: "÷", neg: "−", logistic: "σ", square: "square" };
const WIDE = 116, HIGH = 62, GAP_X = 18, GAP_Y = 38;
const svg = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const short = (value) => (Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(Number(value.toPrecision(4)))).replace("-", "−");

export async function mount(stage, { data }) {
  const picture = el("div", { class: "graph" }), sliders = el("div", { class: "controls full" });
  let chosen, inputs, labels;

  const show = () => {
    const { values, slopes } = compute(chosen, inputs);
    labels.forEach(({ value, slope }, n) => {
      value.textContent = short(values[n]);
      slope.textContent = `∂ ${short(slopes[n])}`;
    });
  };
  const build = (index) => {
    chosen = data.functions[index];
    inputs = chosen.inputs.map(([, start]) => start);
    const count = inputs.length, total = count + chosen.nodes.length, depth = new Array(total).fill(0);
    chosen.nodes.forEach(({ operands }, n) => {
      depth[count + n] = 1 + Math.max(0, ...operands.filter((o) => !Array.isArray(o)).map((o) => depth[o]));
    });
    // An input stands just above its first reader.
    for (let n = 0; n < count; n++) {
      const readers = chosen.nodes.flatMap(({ operands }, m) => (operands.includes(n) ? [depth[count + m]] : []));
      depth[n] = Math.min(...readers) - 1;
    }
    const rows = [];
    depth.forEach((row, n) => (rows[row] ??= []).push(n));
    const widest = Math.max(...rows.map((row) => row.length)), place = [];
    rows.forEach((row, y) => row.forEach((n, x) => {
      const left = ((widest - row.length) * (WIDE + GAP_X)) / 2;
      place[n] = [left + x * (WIDE + GAP_X), y * (HIGH + GAP_Y)];
    }));
    const width = widest * (WIDE + GAP_X) - GAP_X, height = rows.length * (HIGH + GAP_Y) - GAP_Y;
    const drawing = svg("svg", { viewBox: `-2 -2 ${width + 4} ${height + 4}`, width: width + 4, role: "img", "aria-label": `The graph of ${chosen.title}` });
    chosen.nodes.forEach(({ operands }, n) => {
      const [x, y] = place[count + n], joined = operands.filter((o) => !Array.isArray(o));
      joined.forEach((operand, i) => {
        const [u, v] = place[operand], to = x + (WIDE * (i + 1)) / (joined.length + 1), from = u + WIDE / 2;
        const bend = Math.max(18, (y - v - HIGH) / 2);
        drawing.append(svg("path", { class: "edge", d: `M${from} ${v + HIGH}C${from} ${v + HIGH + bend} ${to} ${y - bend} ${to} ${y}` }));
      });
    });
    labels = place.map(([x, y], n) => {
      const node = chosen.nodes[n - count];
      const constants = node?.operands.filter(Array.isArray).map(([v]) => short(v)) ?? [];
      let name = node ? (SIGNS[node.name] ?? node.name) : chosen.inputs[n][0];
      if (node?.name === "integer_pow") name = `power ${node.power}`;
      if (constants.length) name = Array.isArray(node.operands[0]) ? `${constants[0]} ${name}` : `${name} ${constants[0]}`;
      const value = svg("text", { class: "value", x: x + WIDE / 2, y: y + 37 }), slope = svg("text", { class: "slope", x: x + WIDE / 2, y: y + 54 });
      drawing.append(
        svg("rect", { class: node ? "node" : "node input", x, y, width: WIDE, height: HIGH, rx: 8 }),
        svg("text", { class: "name", x: x + WIDE / 2, y: y + 19 }, name), value, slope);
      return { value, slope };
    });
    picture.replaceChildren(drawing);
    sliders.replaceChildren(menu.box, ...chosen.inputs.map(([name, start, low, high], n) =>
      range(name, { min: low, max: high, step: 0.05, value: start, format: (v) => v.toFixed(2).replace("-", "−") }, (value) => {
        inputs[n] = value;
        show();
      }).box));
    show();
  };
  const menu = choice("Function", data.functions.map(({ title }, n) => [n, title]), 2, (value) => build(Number(value)));
  stage.append(sliders, picture);
  build(2);
}
