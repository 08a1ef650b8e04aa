// A picture among ten classes, and what the first convolution sees in it.
import { array, load } from "../onnx.js";
import { bars, button, canvas, el, unique } from "../ui.js";

const SIZE = 32;

// The middle square of a picture as bytes [32, 32, 3].
export function square(source, width, height) {
  const side = Math.min(width, height), sheet = new OffscreenCanvas(SIZE, SIZE);
  // Halved again and again, since browsers take only the nearest pixels of large pictures.
  let from = new OffscreenCanvas(side, side), size = side;
  from.getContext("2d").drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, side, side);
  while (size > 2 * SIZE) {
    const half = Math.ceil(size / 2), smaller = new OffscreenCanvas(half, half);
    smaller.getContext("2d").drawImage(from, 0, 0, size, size, 0, 0, half, half);
    [from, size] = [smaller, half];
  }
  const context = sheet.getContext("2d");
  context.drawImage(from, 0, 0, size, size, 0, 0, SIZE, SIZE);
  const { data } = context.getImageData(0, 0, SIZE, SIZE), out = new Uint8Array(SIZE * SIZE * 3);
  for (let i = 0; i < SIZE * SIZE; i++) out.set(data.subarray(4 * i, 4 * i + 3), 3 * i);
  return out;
}

// Three drawings to begin with, as CIFAR-10's photographs may not be passed on.
const DRAWN = {
  "a ship": (c) => {
    const sky = c.createLinearGradient(0, 0, 0, 130);
    sky.addColorStop(0, "#8fb8dd"), sky.addColorStop(1, "#d7e6f0");
    c.fillStyle = sky, c.fillRect(0, 0, 256, 150);
    c.fillStyle = "#2f5d80", c.fillRect(0, 150, 256, 106);
    c.fillStyle = "#27323d", c.beginPath(), c.moveTo(24, 132), c.lineTo(236, 132), c.lineTo(212, 176), c.lineTo(48, 176), c.fill();
    c.fillStyle = "#8c2f23", c.fillRect(44, 166, 172, 10);
    c.fillStyle = "#f2f2ee", c.fillRect(90, 96, 96, 36), c.fillRect(112, 76, 54, 22);
    c.fillStyle = "#c8452f", c.fillRect(128, 48, 20, 30);
    c.fillStyle = "#4a7698", c.fillRect(0, 186, 256, 6), c.fillRect(0, 210, 256, 5);
  },
  "an airplane": (c) => {
    const sky = c.createLinearGradient(0, 0, 0, 256);
    sky.addColorStop(0, "#6fa4dc"), sky.addColorStop(1, "#cfe3f5");
    c.fillStyle = sky, c.fillRect(0, 0, 256, 256);
    c.fillStyle = "#eef1f4", c.beginPath(), c.ellipse(128, 132, 104, 17, -0.12, 0, 7), c.fill();
    c.fillStyle = "#b9c2cc", c.beginPath(), c.moveTo(118, 134), c.lineTo(160, 128), c.lineTo(96, 206), c.lineTo(74, 206), c.fill();
    c.beginPath(), c.moveTo(122, 120), c.lineTo(152, 116), c.lineTo(122, 72), c.lineTo(106, 74), c.fill();
    c.fillStyle = "#3c5f9c", c.beginPath(), c.moveTo(30, 140), c.lineTo(58, 134), c.lineTo(34, 88), c.lineTo(18, 90), c.fill();
  },
  "a truck": (c) => {
    c.fillStyle = "#b9c9d6", c.fillRect(0, 0, 256, 160);
    c.fillStyle = "#77736c", c.fillRect(0, 160, 256, 96);
    c.fillStyle = "#e9e6df", c.fillRect(20, 62, 150, 116);
    c.fillStyle = "#b8321f", c.fillRect(172, 92, 62, 86);
    c.fillStyle = "#2b3a48", c.fillRect(186, 102, 40, 30);
    c.fillStyle = "#1d1d1d";
    for (const x of [58, 110, 204]) c.beginPath(), c.arc(x, 184, 21, 0, 7), c.fill();
    c.fillStyle = "#cfcfcf";
    for (const x of [58, 110, 204]) c.beginPath(), c.arc(x, 184, 8, 0, 7), c.fill();
  },
};

export async function mount(stage, { data }) {
  const picture = await load("picture");
  const small = canvas("The picture as the network sees it, 32 by 32 pixels", SIZE), shown = bars("Probability of each class", 10);
  const maps = canvas("The 32 maps behind the first convolution", 8 * 16 - 1, 4 * 16 - 1);
  const message = el("p", { class: "message", role: "status" });
  const look = (image) => {
    const made = new ImageData(SIZE, SIZE);
    for (let i = 0; i < SIZE * SIZE; i++) made.data.set([...image.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    small.getContext("2d").putImageData(made, 0, 0);
    const found = picture({ image: array([1, SIZE, SIZE, 3], image) });
    const pairs = [...found.probabilities.data].map((p, n) => [data.classes[n], p]).sort((a, b) => b[1] - a[1]);
    shown.show(pairs);
    message.textContent = `Most likely: ${pairs[0][0]}.`;
    drawMaps(maps, found.maps);
  };
  const take = async (file) => {
    try {
      const bitmap = await createImageBitmap(file);
      look(square(bitmap, bitmap.width, bitmap.height));
    } catch {
      message.textContent = `${file.name || "That"} can’t be read as a picture: choose a PNG, JPEG, WebP or GIF.`;
    }
  };
  const id = unique("file"), file = el("input", { type: "file", id, accept: "image/*", class: "hidden" });
  file.addEventListener("change", () => file.files[0] && take(file.files[0]));
  const drop = el("div", { class: "drop" }, small,
    el("p", {}, el("label", { for: id, class: "link" }, "Choose a picture"), " or drop one here. It stays in this page."), file);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  const draw = (paint) => {
    const sheet = new OffscreenCanvas(256, 256);
    paint(sheet.getContext("2d"));
    look(square(sheet, 256, 256));
  };
  const controls = el("div", { class: "controls" },
    ...Object.entries(DRAWN).map(([name, paint]) => button(name, () => draw(paint))));
  if (navigator.mediaDevices?.getUserMedia) controls.append(button("Camera", () => photograph(take, message)));
  stage.append(
    el("div", { class: "column" }, drop, controls),
    el("div", { class: "column wide" }, message, shown.box),
    el("figure", { class: "column maps" }, maps, el("figcaption", {}, "32 filters of 5 × 5 pixels, learnt: edges and colours")),
  );
  draw(DRAWN["a ship"]);
}

function drawMaps(sheet, { shape: [, height, width, count], data }) {
  const made = new ImageData(sheet.width, sheet.height);
  for (let n = 0; n < count; n++) {
    let most = 1e-6;
    for (let i = n; i < data.length; i += count) most = Math.max(most, data[i]);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = 4 * ((Math.floor(n / 8) * 16 + y) * sheet.width + (n % 8) * 16 + x);
        const value = Math.round((255 * data[(y * width + x) * count + n]) / most);
        made.data.set([value, value, value, 255], at);
      }
    }
  }
  sheet.getContext("2d").putImageData(made, 0, 0);
}

async function photograph(take, message) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    message.textContent = "There is no camera, or the browser does not lend it.";
    return;
  }
  const video = el("video", { autoplay: true, muted: true, playsInline: true });
  video.srcObject = stream;
  const dialog = el("dialog", { "aria-label": "Camera" }, video,
    el("div", { class: "controls" },
      button("Take it", async () => {
        const sheet = new OffscreenCanvas(video.videoWidth, video.videoHeight);
        sheet.getContext("2d").drawImage(video, 0, 0);
        take(await sheet.convertToBlob());
        dialog.close();
      }),
      button("Close", () => dialog.close())));
  dialog.addEventListener("close", () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
