// What the rooms are built from: elements, sliders, bars, pictures, a pad to draw on.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

let numbers = 0;
export const unique = (name) => `${name}-${++numbers}`;

export const button = (label, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, label);

export function range(label, { min, max, step, value, format = (v) => v }, changed) {
  const id = unique("range"), shown = el("output", { for: id }, String(format(value)));
  const input = el("input", { type: "range", id, min: String(min), max: String(max), step: String(step) });
  input.value = value;
  input.addEventListener("input", () => {
    shown.textContent = format(Number(input.value));
    changed(Number(input.value));
  });
  const set = (number) => {
    input.value = number;
    shown.textContent = format(Number(input.value));
  };
  return { box: el("div", { class: "range" }, el("label", { for: id }, label), input, shown), input, set };
}

export function choice(label, options, value, changed) {
  const id = unique("choice"), select = el("select", { id });
  for (const [key, name] of options) select.append(el("option", { value: String(key) }, name));
  select.value = value;
  select.addEventListener("change", () => changed(select.value));
  return { box: el("div", { class: "choice" }, el("label", { for: id }, label), select), select };
}

// Rows of a name, a bar and a share in percent.
export function bars(label, count) {
  const rows = Array.from({ length: count }, () => {
    const name = el("span", { class: "name" }), bar = el("span", { class: "fill" });
    const share = el("span", { class: "share" });
    return { name, bar, share, row: el("li", {}, name, el("span", { class: "track", "aria-hidden": "true" }, bar), share) };
  });
  const box = el("ol", { class: "bars", "aria-label": label }, ...rows.map(({ row }) => row));
  const show = (pairs) => {
    const best = Math.max(...pairs.map(([, value]) => value));
    rows.forEach(({ name, bar, share, row }, i) => {
      row.hidden = i >= pairs.length;
      if (row.hidden) return;
      const [text, value] = pairs[i];
      name.textContent = text;
      bar.style.width = `${100 * value}%`;
      share.textContent = `${(100 * value).toFixed(1)} %`;
      row.classList.toggle("best", value === best && value > 0);
    });
  };
  return { box, show };
}

// Grey levels in [0, 1] as a picture, white on black.
export function grey(canvas, data, width, height = width) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.fill(Math.round(255 * data[i]), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export const canvas = (label, width, height = width, attributes = {}) =>
  el("canvas", { role: "img", "aria-label": label, width: String(width), height: String(height), ...attributes });

// A colour of the style sheet as canvases take it, for the scheme that is shown.
export function color(name) {
  const probe = document.body.appendChild(el("i", { style: `color: var(--${name})`, hidden: true }));
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// The numbers of a generator with a seed, in [0, 1) (mulberry32).
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Calls `work` at most once a frame.
export function soon(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

// The ink of a drawing as MNIST has it: the longer side of its box is 20 pixels, its centre of mass
// in the middle of 28 x 28. Grey levels [side, side] in, bytes [28, 28] out; null without ink.
export function centred(ink, side) {
  let left = side, right = -1, top = side, bottom = -1;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (ink[y * side + x] < 32) continue;
      left = Math.min(left, x), right = Math.max(right, x);
      top = Math.min(top, y), bottom = Math.max(bottom, y);
    }
  }
  if (right < 0) return null;
  const scale = Math.max(right - left + 1, bottom - top + 1) / 20;
  let mass = 0, sumX = 0, sumY = 0;
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const grey = ink[y * side + x];
      mass += grey, sumX += grey * (x + 0.5), sumY += grey * (y + 0.5);
    }
  }
  const middleX = sumX / mass, middleY = sumY / mass, out = new Uint8Array(784), taps = 4;
  for (let y = 0; y < 28; y++) {
    for (let x = 0; x < 28; x++) {
      let sum = 0;
      for (let i = 0; i < taps; i++) {
        for (let j = 0; j < taps; j++) {
          const u = Math.floor(middleX + (x + (j + 0.5) / taps - 14) * scale);
          const v = Math.floor(middleY + (y + (i + 0.5) / taps - 14) * scale);
          if (u >= 0 && u < side && v >= 0 && v < side) sum += ink[v * side + u];
        }
      }
      out[y * 28 + x] = Math.round(sum / taps ** 2);
    }
  }
  return out;
}

const SIDE = 168, PEN = 13, STEP = 6;

// A pad to draw a digit on, by mouse, finger or keys; calls `changed` with bytes [28, 28] or null.
export function pad(changed) {
  const sheet = el("canvas", {
    class: "pad", width: String(SIDE), height: String(SIDE), tabindex: "0", role: "application",
    "aria-label": "Drawing pad. Arrow keys move the pen, the space bar puts it down or lifts it, Delete clears.",
  });
  const context = sheet.getContext("2d", { willReadFrequently: true });
  let last = null, down = false, at = [SIDE / 2, SIDE / 4];
  const read = soon(() => {
    const { data } = context.getImageData(0, 0, SIDE, SIDE), ink = new Uint8Array(SIDE * SIDE);
    for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i];
    changed(centred(ink, SIDE));
  });
  const clear = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    last = null;
    read();
  };
  const line = (from, to) => {
    Object.assign(context, { strokeStyle: "#fff", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    read();
  };
  const place = (event) => {
    const box = sheet.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  };
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, [last[0] + 0.1, last[1]]);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!last) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const now = place(one);
      line(last, now);
      last = now;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) sheet.addEventListener(name, () => (last = null));
  sheet.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) {
      const to = at.map((value, i) => Math.min(Math.max(value + STEP * move[i], PEN), SIDE - PEN));
      if (down) line(at, to);
      at = to;
    } else if (event.key === " ") {
      down = !down;
      if (down) line(at, [at[0] + 0.1, at[1]]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      down = false;
      clear();
    } else return;
    event.preventDefault();
  });
  const show = (image) => {
    const small = new OffscreenCanvas(28, 28);
    const made = new ImageData(28, 28);
    image.forEach((value, i) => made.data.set([value, value, value, 255], 4 * i));
    small.getContext("2d").putImageData(made, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, SIDE, SIDE);
    changed(image);
  };
  clear();
  return { sheet, clear, show };
}
