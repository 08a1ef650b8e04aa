"use strict";

const at = (id) => document.getElementById(id);
let model = null;

function element(kind, text, properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  if (text) made.textContent = text;
  return made;
}

function say(text, fault = false) {
  at("message").textContent = text;
  at("message").classList.toggle("fault", fault);
}

const chosen = () => model.predictions[at("choice").value];
const sizes = ({ shape }) => shape.slice(1); // of one example, without the batch

function zeros([size, ...rest], value) {
  return size === undefined ? value : Array.from({ length: size }, () => zeros(rest, value));
}

// A picture is uploaded as it is; other inputs are JSON, typed or read from a file.
function field(name, about) {
  const label = element("label", `${name}: ${about.dtype} [${sizes(about).join(", ")}]`);
  label.htmlFor = `input-${name}`;
  const file = element("input", "", { type: "file", id: `file-${name}` });
  if (chosen().takes_picture) {
    return [element("p", "A picture file:"), Object.assign(file, { accept: "image/*", id: `input-${name}` })];
  }
  const start = JSON.stringify(zeros(sizes(about), about.dtype === "bool" ? false : 0));
  const text = element("textarea", "", { id: `input-${name}`, rows: 4, value: start });
  text.spellcheck = false;
  file.setAttribute("aria-label", `${name} from a JSON file`);
  file.addEventListener("change", async () => { text.value = await file.files[0].text(); });
  return [label, text, file];
}

function choose() {
  const fields = Object.entries(chosen().inputs).flatMap(([name, about]) => field(name, about));
  at("inputs").replaceChildren(element("p", chosen().about), ...fields);
  at("outputs").replaceChildren();
  say("");
}

async function introduce() {
  model = await (await fetch("v1/model")).json();
  const sample = model.data.source === "sample";
  const data = sample ? `zoo's built-in sample in place of ${model.data.name}` : model.data.name;
  at("about").textContent = `${model.model}: ${model.about}; data: ${data}`;
  const numbered = model.classes.map((name, n) => `${n} ${JSON.stringify(name)}`);
  at("classes").querySelector("p").textContent = numbered.join(", ");
  at("classes").hidden = !numbered.length;
  at("key-line").hidden = !model.key_needed;
  at("choice").replaceChildren(...Object.keys(model.predictions).map((name) => element("option", name)));
  choose();
}

// Grey or colour values in [0, 1], as large pixels.
function picture(rows) {
  const [height, width] = [rows.length, rows[0].length];
  const canvas = element("canvas", "", { width, height, className: "picture" });
  const image = new ImageData(width, height);
  rows.flat().forEach((value, n) => {
    const colours = Array.isArray(value) ? value : [value, value, value];
    image.data.set([...colours.map((colour) => 255 * colour), 255], 4 * n);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function show(content) {
  const found = content.outputs ?? { predictions: content.predictions };
  const parts = Object.entries(found).flatMap(([name, value]) => {
    const drawn = name === chosen().picture ? [picture(value)] : [];
    return [element("h2", name), ...drawn, element("pre", JSON.stringify(value), { tabIndex: 0 })];
  });
  at("outputs").replaceChildren(...parts);
}

function request() {
  const names = Object.keys(chosen().inputs);
  if (chosen().takes_picture) {
    const file = at(`input-${names[0]}`).files[0];
    if (!file) throw new Error("Choose a picture first.");
    return [file, file.type || "application/octet-stream"];
  }
  const values = names.map((name) => {
    try {
      return [name, JSON.parse(at(`input-${name}`).value)];
    } catch {
      throw new Error(`${name} is not valid JSON.`);
    }
  });
  return [JSON.stringify({ inputs: Object.fromEntries(values) }), "application/json"];
}

async function predict(event) {
  event.preventDefault();
  at("outputs").replaceChildren();
  try {
    const [body, type] = request();
    const headers = { "Content-Type": type };
    if (at("key").value) headers.Authorization = `Bearer ${at("key").value.trim()}`;
    say("Computing …");
    const answer = await fetch(`v1/predict/${at("choice").value}`, { method: "POST", headers, body });
    const content = await answer.json();
    if (!answer.ok) return say(content.detail, true);
    show(content);
    say("");
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer." : error.message, true);
  }
}

at("choice").addEventListener("change", choose);
at("form").addEventListener("submit", predict);
introduce().catch(() => say("The server does not answer.", true));
