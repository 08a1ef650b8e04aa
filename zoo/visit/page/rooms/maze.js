// The planner thinks, round by round; beside it a table learns the same maze by walking.
import { best, beside, depthFirst, distances, greedy, learner, plan, way } from "../maze.js";
import { button, choice, color, el, random, range, still } from "../ui.js";

const CELL = 44, EDGE = 6;
const SIZES = { "5x5": [5, 5, 26], "5x8": [5, 8, 51], "8x8": [8, 8, 81] };

export async function mount(stage, { data }) {
  const seeds = random(7);
  let rows, columns, rounds, exits, goal, steps, thoughts, round, table;
  const left = el("canvas", { class: "maze", tabindex: "0", role: "application" });
  const right = el("canvas", { class: "maze", role: "img", "aria-label": "The maze as the learning table values it" });
  const said = el("p", { class: "message", "aria-live": "polite" }), learnt = el("p", { class: "message" });
  let cursor = 0;

  const paint = (sheet, q, walker) => {
    const ratio = Math.min(devicePixelRatio || 1, 2), width = columns * CELL + 2 * EDGE, height = rows * CELL + 2 * EDGE;
    sheet.width = width * ratio;
    sheet.height = height * ratio;
    const context = sheet.getContext("2d");
    context.scale(ratio, ratio);
    context.translate(EDGE, EDGE);
    const values = best(q, exits), finite = [...values].filter(Number.isFinite);
    const low = Math.min(...finite), high = Math.max(...finite);
    const path = new Set(way(q, exits, goal, columns));
    const [paper, ink, accent] = ["paper", "ink", "accent"].map(color);
    for (let cell = 0; cell < exits.length; cell++) {
      const x = (cell % columns) * CELL, y = Math.floor(cell / columns) * CELL;
      context.fillStyle = paper;
      context.fillRect(x, y, CELL, CELL);
      context.globalAlpha = high > low && Number.isFinite(values[cell]) ? (0.55 * (values[cell] - low)) / (high - low) : 0;
      context.fillStyle = accent;
      context.fillRect(x, y, CELL, CELL);
      context.globalAlpha = 1;
      if (cell === goal) {
        context.fillStyle = ink;
        context.beginPath();
        context.arc(x + CELL / 2, y + CELL / 2, 8, 0, 7);
        context.fill();
        continue;
      }
      const action = greedy(q, exits, cell);
      if (action < 0) continue;
      context.save();
      context.translate(x + CELL / 2, y + CELL / 2);
      context.rotate([0, Math.PI / 2, -Math.PI / 2, Math.PI][action]);
      context.globalAlpha = path.has(cell) ? 1 : 0.35;
      context.strokeStyle = ink;
      context.lineWidth = path.has(cell) ? 2.5 : 1.5;
      context.beginPath();
      context.moveTo(-9, 0), context.lineTo(9, 0), context.moveTo(3, -6), context.lineTo(9, 0), context.lineTo(3, 6);
      context.stroke();
      context.restore();
    }
    context.strokeStyle = ink;
    context.lineWidth = 2.5;
    context.lineCap = "round";
    context.beginPath();
    for (let cell = 0; cell < exits.length; cell++) {
      const x = (cell % columns) * CELL, y = Math.floor(cell / columns) * CELL;
      if (!(exits[cell] & 1)) context.moveTo(x + CELL, y), context.lineTo(x + CELL, y + CELL);
      if (!(exits[cell] & 2)) context.moveTo(x, y + CELL), context.lineTo(x + CELL, y + CELL);
      if (x === 0) context.moveTo(x, y), context.lineTo(x, y + CELL);
      if (y === 0) context.moveTo(x, y), context.lineTo(x + CELL, y);
    }
    context.stroke();
    const mark = (cell, style) => {
      context.strokeStyle = style;
      context.lineWidth = 3;
      context.strokeRect((cell % columns) * CELL + 5, Math.floor(cell / columns) * CELL + 5, CELL - 10, CELL - 10);
    };
    if (walker !== undefined) mark(walker, accent);
    if (sheet === left && document.activeElement === left) mark(cursor, accent);
  };
  const drawPlan = () => {
    paint(left, thoughts[round - 1]);
    const arrived = way(thoughts[round - 1], exits, goal, columns), shortest = steps[0];
    const knows = exits.reduce((sum, _, cell) => {
      const reached = way(thoughts[round - 1], exits, goal, columns, cell);
      return sum + (reached.at(-1) === goal && reached.length - 1 === steps[cell]);
    }, 0);
    const solved = arrived.at(-1) === goal ? `its way from the corner has ${arrived.length - 1} steps, the shortest ${shortest}` : "no way from the corner yet";
    said.textContent = `Round ${round} of ${rounds}: ${knows} of ${exits.length} cells know the shortest way; ${solved}.`;
    left.setAttribute("aria-label", `A maze of ${rows} by ${columns} cells. Arrow keys move, with shift they open or close a wall. ${said.textContent}`);
  };
  const drawTable = () => {
    paint(right, table.q, table.cell);
    const arrived = way(table.q, exits, goal, columns);
    const solved = arrived.at(-1) === goal ? `its way has ${arrived.length - 1} steps` : "no way from the corner yet";
    learnt.textContent = `After ${table.moves.toLocaleString("en")} moves and ${table.episodes} arrivals: ${solved}.`;
  };
  const think = () => {
    steps = distances(exits, goal, columns);
    thoughts = [...plan(data.planner, exits, goal, rows, columns, rounds)];
    table = learner(exits, goal, columns, random(11));
    drawPlan();
    drawTable();
  };
  const roll = () => {
    exits = depthFirst(seeds, rows, columns);
    goal = exits.length - 1;
    cursor = 0;
    round = 1;
    slider.set(1);
    think();
  };
  const resize = (name) => {
    [rows, columns, rounds] = SIZES[name];
    slider.input.max = rounds;
    roll();
  };
  // A wall is opened or closed from both sides; no cell is walled in.
  const toggle = (cell, action) => {
    const y = Math.floor(cell / columns), x = cell % columns;
    if ([x === columns - 1, y === rows - 1, y === 0, x === 0][action]) return;
    const other = beside(cell, action, columns), here = exits[cell] ^ (1 << action), there = exits[other] ^ (1 << (3 - action));
    if (!here || !there) return void (said.textContent = "A cell needs one way out.");
    exits[cell] = here;
    exits[other] = there;
    if (distances(exits, goal, columns)[0] === Infinity) {
      exits[cell] ^= 1 << action;
      exits[other] ^= 1 << (3 - action);
      said.textContent = "That wall would shut the only way to the goal.";
      return;
    }
    think();
  };
  left.addEventListener("click", (event) => {
    const box = left.getBoundingClientRect(), scale = (columns * CELL + 2 * EDGE) / box.width;
    const x = ((event.clientX - box.left) * scale - EDGE) / CELL, y = ((event.clientY - box.top) * scale - EDGE) / CELL;
    const column = Math.min(Math.max(Math.floor(x), 0), columns - 1), row = Math.min(Math.max(Math.floor(y), 0), rows - 1);
    const [u, v] = [x - column, y - row], gaps = [1 - u, 1 - v, v, u], nearest = gaps.indexOf(Math.min(...gaps));
    if (gaps[nearest] < 0.3) toggle(row * columns + column, nearest);
  });
  left.addEventListener("keydown", (event) => {
    const action = { ArrowRight: 0, ArrowDown: 1, ArrowUp: 2, ArrowLeft: 3 }[event.key];
    if (action === undefined) return;
    event.preventDefault();
    const y = Math.floor(cursor / columns), x = cursor % columns;
    if (event.shiftKey) toggle(cursor, action);
    else if (![x === columns - 1, y === rows - 1, y === 0, x === 0][action]) cursor = beside(cursor, action, columns);
    drawPlan();
  });
  left.addEventListener("focus", drawPlan);
  left.addEventListener("blur", drawPlan);

  const slider = range("Rounds of thought", { min: 1, max: 26, step: 1, value: 1 }, (value) => {
    round = value;
    drawPlan();
  });
  let running = false;
  const run = button("Race", () => {
    running = !running;
    run.textContent = running ? "Pause" : "Race";
    if (running) requestAnimationFrame(turn);
  }, { class: "primary" });
  let last = 0;
  const turn = (now) => {
    if (!running || !stage.isConnected) return;
    if (now - last > (still() ? 500 : 120)) {
      last = now;
      if (round < rounds) {
        slider.set(++round);
        drawPlan();
      }
      for (let n = 0; n < (still() ? 200 : 12); n++) table.step();
      drawTable();
    }
    requestAnimationFrame(turn);
  };
  stage.append(
    el("div", { class: "controls full" }, run, button("New maze", roll),
      choice("Cells", Object.keys(SIZES).map((name) => [name, name.replace("x", " × ")]), "5x5", resize).box, slider.box),
    el("figure", { class: "column" }, el("figcaption", {}, "The planner: 256 weights, trained on other mazes"), left, said),
    el("figure", { class: "column" }, el("figcaption", {}, "A table that learns this maze from nothing"), right, learnt),
  );
  resize("5x5");
  round = 8;
  slider.set(8);
  drawPlan();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (drawPlan(), drawTable()));
}
