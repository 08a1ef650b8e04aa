// Draw a digit: the classifier's probabilities, and the autoencoder's 64 numbers and what comes back.
import { array, load } from "../onnx.js";
import { bars, button, bytes, canvas, el, grey, pad } from "../ui.js";

export async function mount(stage, { data }) {
  let models, last = null; // drawing may begin before the models are there
  const shown = bars("Probability of each digit", 10);
  const seen = canvas("What the networks see: the digit centred on 28 by 28 pixels", 28);
  const back = canvas("What the decoder makes of the 64 numbers", 28);
  const code = el("div", { class: "code", role: "img", "aria-label": "The 64 numbers of the code" });
  for (let i = 0; i < 64; i++) code.append(el("i"));
  const message = el("p", { class: "message", "aria-live": "polite" });

  const read = (image) => {
    last = image;
    if (!models) return;
    const [classify, encode, decode] = models;
    if (!image) {
      message.textContent = "Draw a digit in the black square.";
      shown.show(Array.from({ length: 10 }, (_, i) => [i, 0]));
      for (const one of [seen, back]) grey(one, new Float32Array(784), 28);
      for (const cell of code.children) cell.style.background = "";
      return;
    }
    const input = { image: array([1, 28, 28], image) };
    const { probabilities } = classify(input);
    const best = probabilities.data.indexOf(Math.max(...probabilities.data));
    shown.show([...probabilities.data].map((p, i) => [i, p]));
    message.textContent = `The classifier reads ${best}.`;
    grey(seen, Float32Array.from(image, (v) => v / 255), 28);
    const found = encode(input).code;
    const largest = Math.max(...found.data.map(Math.abs), 1e-6);
    found.data.forEach((value, i) => {
      const strength = Math.round((100 * Math.abs(value)) / largest);
      code.children[i].style.background = `color-mix(in srgb, var(${value > 0 ? "--accent" : "--ink"}) ${strength}%, var(--paper))`;
    });
    grey(back, decode({ code: found }).image.data, 28);
  };
  const drawing = pad(read);
  const samples = data.digits.map(bytes);
  let next = 3;
  stage.append(
    el("div", { class: "column" }, drawing.sheet,
      el("div", { class: "controls" },
        button("Clear", drawing.clear),
        button("Show an example", () => drawing.show(samples[next++ % 10])))),
    el("div", { class: "column wide" }, message, shown.box),
    el("div", { class: "column chain" },
      el("figure", {}, seen, el("figcaption", {}, "784 pixels in")),
      el("figure", {}, code, el("figcaption", {}, "64 numbers")),
      el("figure", {}, back, el("figcaption", {}, "784 pixels back"))),
  );
  drawing.show(samples[3]);
  models = await Promise.all(["classify", "encode", "decode"].map(load));
  read(last);
}
