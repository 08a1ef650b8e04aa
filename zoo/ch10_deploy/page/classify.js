"use strict";

const at = (id) => document.getElementById(id);
let asked = 0;
let address = null;

function say(text, fault = false) {
  at("message").textContent = text;
  at("message").classList.toggle("fault", fault);
}

async function introduce() {
  const answer = await fetch("v1/model");
  const model = await answer.json();
  const sample = model.data.source === "sample";
  const data = sample ? `zoo's built-in sample in place of ${model.data.name}` : model.data.name;
  at("about").textContent = `${model.model}, trained on ${data}: ${model.classes.join(", ")}`;
  at("key-line").hidden = !model.key_needed;
  at("sketch").hidden = model.image_shape.length !== 2; // grey: digits
  at("examples").hidden = model.image_shape.length !== 3;
  at("photo-line").hidden = !window.matchMedia("(pointer: coarse)").matches;
}

function show(file) {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  const image = at("shown");
  image.onload = () => image.classList.toggle("small", image.naturalWidth < 192);
  image.onerror = () => { image.hidden = true; };
  image.src = address;
  image.hidden = false;
  at("hint").hidden = true;
}

function row({ label, probability }) {
  const line = document.createElement("tr");
  const name = document.createElement("th");
  const bar = document.createElement("td");
  const share = document.createElement("td");
  const length = document.createElement("progress");
  name.scope = "row";
  name.textContent = label;
  length.max = 1;
  length.value = probability;
  length.setAttribute("aria-label", `probability of ${label}`);
  bar.append(length);
  share.className = "share";
  share.textContent = `${(100 * probability).toFixed(1)} %`;
  line.append(name, bar, share);
  return line;
}

async function predict(file, drawn = false) {
  const number = ++asked;
  at("bars").hidden = true;
  if (file.type && !file.type.startsWith("image/")) {
    return say(`${file.name} is not a picture (${file.type}): choose a PNG, JPEG, WebP, GIF or BMP.`, true);
  }
  if (!drawn) show(file);
  say("Looking …");
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value.trim()}`;
  try {
    const answer = await fetch("v1/predict?top_k=100", { method: "POST", headers, body: file });
    const content = await answer.json();
    if (number !== asked) return; // another picture came meanwhile
    if (!answer.ok) return say(content.detail, true);
    at("bars").tBodies[0].replaceChildren(...content.predictions.map(row));
    at("bars").hidden = false;
    say(content.predictions[0].label);
  } catch {
    if (number === asked) say("The server does not answer.", true);
  }
}

const drop = at("drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) predict(event.dataTransfer.files[0]);
  else say("That was no file: save the picture first, or choose one.", true);
});
drop.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); at("file").click(); }
});
for (const id of ["file", "photo"]) {
  at(id).addEventListener("change", () => {
    if (at(id).files.length) predict(at(id).files[0]);
    at(id).value = ""; // so that the same picture can be chosen again
  });
}

for (const button of at("examples").children) {
  const image = button.firstElementChild;
  button.addEventListener("click", async () => {
    const content = await (await fetch(image.src)).blob();
    predict(new File([content], image.alt, { type: content.type }));
  });
}

// Ink on paper; the server makes of it what MNIST's digits are.
const pen = at("canvas").getContext("2d");
function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, 280, 280);
}
function point({ offsetX, offsetY }) {
  const scale = 280 / at("canvas").clientWidth;
  return [scale * offsetX, scale * offsetY];
}
let drawing = false;
at("canvas").addEventListener("pointerdown", (event) => {
  drawing = true;
  at("canvas").setPointerCapture(event.pointerId);
  Object.assign(pen, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "black" });
  pen.beginPath();
  pen.moveTo(...point(event));
  pen.lineTo(...point(event));
  pen.stroke();
});
at("canvas").addEventListener("pointermove", (event) => {
  if (!drawing) return;
  pen.lineTo(...point(event));
  pen.stroke();
});
at("canvas").addEventListener("pointerup", () => {
  drawing = false;
  at("canvas").toBlob((file) => predict(file, true), "image/png");
});
at("canvas").addEventListener("pointercancel", () => { drawing = false; });
at("clear").addEventListener("click", () => { clear(); at("bars").hidden = true; say(""); });
clear();
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault()); // else the browser opens it
}
introduce().catch(() => say("The server does not answer.", true));
