// The first network, trained step by step with a solver of the visitor's choice.
import { cost, probabilities, slope, step } from "../solvers.js";
import { button, choice, color, el, range } from "../ui.js";

const minus = (text) => text.replaceAll("-", "−");

export async function mount(stage, { data }) {
  const { inputs, labels, weights: first, solvers } = data.network;
  let solver = "SGD", kind = "mean-square", rate = 1, weights, state, costs, running = false;
  const cells = labels.map(() => ({ answer: el("td"), bar: el("span", { class: "fill" }) }));
  const table = el("table", { class: "rows" },
    el("caption", {}, "Four rows; the answer is the first number"),
    el("thead", {}, el("tr", {}, ...["input", "label", "output"].map((name, i) => el("th", { scope: "col", ...(i === 2 ? { colSpan: 2 } : {}) }, name)))),
    el("tbody", {}, ...labels.map((label, n) =>
      el("tr", {}, el("td", {}, inputs[n].join(" ")), el("td", {}, String(label)), cells[n].answer,
        el("td", { class: "barred" }, el("span", { class: "track", "aria-hidden": "true" }, cells[n].bar))))));
  const shown = el("dl", { class: "weights" }), plot = el("canvas", { class: "plot", role: "img" });
  const said = el("p", { class: "message", "aria-live": "off" });
  const show = () => {
    probabilities(weights, inputs).forEach((p, n) => {
      cells[n].answer.textContent = p.toFixed(3);
      cells[n].bar.style.width = `${100 * p}%`;
    });
    const slopes = slope(kind, weights, inputs, labels);
    shown.replaceChildren(...weights.flatMap((w, i) => [el("dt", {}, `w${"₁₂₃"[i]}`), el("dd", {}, minus(w.toFixed(4)), el("small", {}, ` slope ${minus(slopes[i].toExponential(1))}`))]));
    said.textContent = `Step ${(costs.length - 1).toLocaleString("en")}, cost ${costs.at(-1).toPrecision(3)}`;
    draw();
  };
  const draw = () => {
    const width = plot.clientWidth || 320, height = 180, ratio = Math.min(devicePixelRatio || 1, 2);
    plot.width = width * ratio;
    plot.height = height * ratio;
    plot.setAttribute("aria-label", `The cost over the steps, now ${costs.at(-1).toPrecision(3)}`);
    const context = plot.getContext("2d");
    context.scale(ratio, ratio);
    const logs = costs.map((c) => Math.log10(Math.max(c, 1e-8))), low = Math.min(-2, Math.floor(Math.min(...logs))), high = Math.max(0, Math.ceil(Math.max(...logs)));
    const x = (n) => 44 + ((width - 54) * n) / Math.max(costs.length - 1, 20), y = (value) => 10 + ((height - 34) * (high - value)) / (high - low);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = context.strokeStyle = color("soft");
    context.globalAlpha = 0.9;
    for (let power = low; power <= high; power++) {
      context.fillText(power === 0 ? "1" : minus(`1e${power}`), 4, y(power) + 4);
      context.globalAlpha = 0.25;
      context.beginPath(), context.moveTo(44, y(power)), context.lineTo(width - 10, y(power)), context.stroke();
      context.globalAlpha = 0.9;
    }
    context.fillText("0", 44, height - 6);
    context.textAlign = "right";
    context.fillText(`${Math.max(costs.length - 1, 20).toLocaleString("en")} steps`, width - 10, height - 6);
    context.strokeStyle = color("accent");
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.beginPath();
    const jump = Math.max(1, Math.floor(costs.length / width));
    for (let n = 0; n < costs.length; n += jump) context.lineTo(x(n), y(logs[n]));
    context.lineTo(x(costs.length - 1), y(logs.at(-1)));
    context.stroke();
  };
  const advance = (count) => {
    for (let n = 0; n < count; n++) {
      weights = step(solver, state, weights, slope(kind, weights, inputs, labels), rate);
      costs.push(cost(kind, weights, inputs, labels));
    }
    if (!weights.every(Number.isFinite)) reset();
    show();
  };
  const reset = () => {
    weights = [...first];
    state = {};
    costs = [cost(kind, weights, inputs, labels)];
    show();
  };
  const run = button("Train", () => {
    running = !running;
    run.textContent = running ? "Pause" : "Train";
    if (running) requestAnimationFrame(turn);
  }, { class: "primary" });
  const turn = () => {
    if (!running || !stage.isConnected) return;
    if (costs.length > 10_000) return run.click();
    advance(Math.max(1, Math.round(costs.length / 60)));
    requestAnimationFrame(turn);
  };
  const names = solvers.map((name) => [name, name]);
  stage.append(
    el("div", { class: "controls full" }, run, button("One step", () => advance(1)), button("Start again", reset),
      choice("Solver", names, solver, (value) => ((solver = value), reset())).box,
      choice("Cost", [["mean-square", "mean square"], ["cross-entropy", "cross-entropy"]], kind, (value) => ((kind = value), reset())).box,
      range("Learning rate", { min: -3, max: 1, step: 0.25, value: 0, format: (v) => (10 ** v).toPrecision(2) }, (value) => (rate = 10 ** value)).box),
    el("div", { class: "column" }, table, shown),
    el("div", { class: "column wide" }, said, plot),
  );
  reset();
  advance(20);
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
