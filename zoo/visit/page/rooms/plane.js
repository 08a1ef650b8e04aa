// The plane through the codes of three digits: drag a point, the digit morphs; walk between two.
import { array, load } from "../onnx.js";
import { bytes, button, canvas, choice, el, grey, range, soon, still } from "../ui.js";

const GRID = 9;

// The code at (u, v): a + u (b - a) + v (c - a).
export const blend = ([a, b, c], u, v) => a.map((value, i) => value + u * (b[i] - value) + v * (c[i] - value));

export async function mount(stage, { data }) {
  const [encode, decode] = await Promise.all(["vae-encode", "vae-decode"].map(load));
  const images = array([10, 28, 28], Uint8Array.from(data.digits.flatMap((one) => [...bytes(one)])));
  const { mean } = encode({ image: images }), size = mean.shape[1];
  const codes = Array.from({ length: 10 }, (_, n) => mean.data.slice(n * size, (n + 1) * size));
  const corners = [3, 6, 0], place = [0.3, 0.2];

  const map = el("canvas", {
    class: "plane", width: String(28 * GRID), height: String(28 * GRID), tabindex: "0", role: "application",
    "aria-label": "The plane of codes. Arrow keys move the point.",
  });
  const digit = canvas("The digit decoded from the point", 28);
  const where = el("p", { class: "message", "aria-live": "polite" });
  const ends = () => corners.map((n) => codes[n]);
  let mosaic;

  const draw = soon(() => {
    const context = map.getContext("2d"), [u, v] = place, side = map.width;
    context.putImageData(mosaic, 0, 0);
    const x = u * side, y = (1 - v) * side;
    context.lineWidth = 5;
    for (const [style, width] of [["#000", 6], ["#fff", 2.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      context.stroke();
    }
    const code = array([1, size], Float32Array.from(blend(ends(), u, v)));
    grey(digit, decode({ code }).image.data, 28);
    const share = (n) => `${Math.round(100 * n)} %`;
    where.textContent = `${share(1 - u - v)} of the ${corners[0]}, ${share(u)} of the ${corners[1]}, ${share(v)} of the ${corners[2]}`;
  });
  const rebuild = () => {
    const points = [];
    for (let row = 0; row < GRID; row++) {
      for (let column = 0; column < GRID; column++) {
        points.push(...blend(ends(), (column + 0.5) / GRID, 1 - (row + 0.5) / GRID));
      }
    }
    const { image } = decode({ code: array([GRID * GRID, size], Float32Array.from(points)) });
    mosaic = new ImageData(28 * GRID, 28 * GRID);
    image.data.forEach((value, i) => {
      const n = Math.floor(i / 784), y = Math.floor((i % 784) / 28), x = i % 28;
      const at = 4 * ((Math.floor(n / GRID) * 28 + y) * 28 * GRID + (n % GRID) * 28 + x);
      mosaic.data.fill(Math.round(255 * value), at, at + 3);
      mosaic.data[at + 3] = 255;
    });
    draw();
  };
  const go = (u, v) => {
    place[0] = Math.min(Math.max(u, 0), 1);
    place[1] = Math.min(Math.max(v, 0), 1);
    draw();
  };
  const follow = (event) => {
    const box = map.getBoundingClientRect();
    go((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
  };
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    follow(event);
  });
  map.addEventListener("pointermove", (event) => event.buttons && follow(event));
  map.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!move) return;
    event.preventDefault();
    go(place[0] + 0.02 * move[0], place[1] + 0.02 * move[1]);
  });

  const digits = Array.from({ length: 10 }, (_, n) => [n, String(n)]);
  const names = ["Bottom left", "Bottom right", "Top left"];
  const choices = names.map((name, i) => choice(name, digits, corners[i], (value) => {
    corners[i] = Number(value);
    rebuild();
  }));
  const walk = range("Walk from left to right", { min: 0, max: 1, step: 0.01, value: 0.5, format: (v) => `${Math.round(100 * v)} %` },
    (value) => go(value, 0));
  let walking = 0;
  const play = button("Walk", () => {
    if (still()) return walk.set(1), go(1, 0);
    const begun = performance.now(), turn = ++walking;
    const step = (now) => {
      const share = Math.min((now - begun) / 3000, 1);
      walk.set(share);
      go(share, 0);
      if (share < 1 && turn === walking) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
  stage.append(
    el("div", { class: "column" }, map),
    el("div", { class: "column" }, el("figure", { class: "large" }, digit), where,
      el("div", { class: "controls" }, ...choices.map(({ box }) => box)),
      el("div", { class: "controls" }, walk.box, play)),
  );
  rebuild();
}
