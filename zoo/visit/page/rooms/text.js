// The LSTM goes on with a text; what it expects next stands beside the cursor.
import { array, load } from "../onnx.js";
import { bars, button, choice, el, random, range } from "../ui.js";

const MARKS = 3, SHOWN = 8, LENGTH = 240;

// As `generate.filter_logits`: cut to the k likeliest, then divided by the temperature.
export function filtered(logits, temperature, k) {
  const most = Math.max(...logits), shifted = Array.from(logits, (value) => value - most);
  const last = k > 0 && k < shifted.length ? [...shifted].sort((a, b) => b - a)[k - 1] : -Infinity;
  return shifted.map((value) => (value < last ? -Infinity : value / temperature));
}

export function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

export function draw(probabilities, chance) {
  let sum = 0;
  for (let n = 0; n < probabilities.length; n++) {
    sum += probabilities[n];
    if (chance < sum) return n;
  }
  return probabilities.indexOf(Math.max(...probabilities));
}

const visible = (character) => ({ "\n": "⏎ line end", " ": "␣ space" })[character] ?? character;

export async function mount(stage, { data }) {
  const next = await load("next"), characters = data.characters, units = 512;
  const number = new Map(characters.map((character, n) => [character, n]).slice(MARKS));
  const known = new Map(); // text read so far to what came out behind it
  const start = { state: array([1, units], new Float32Array(units)) };

  const step = (before, character) => {
    const found = next({ character: array([1], Int32Array.of(number.get(character))), state: before.state });
    const logits = found.logits.data.slice();
    logits.fill(-Infinity, 0, MARKS); // the marks of a text's ends are never written
    return { logits, state: found.state_out };
  };
  // The answer behind a text; what was read before is not read again.
  const read = (text) => {
    const letters = `\n${text}`;
    let end = letters.length;
    while (end > 0 && !known.has(letters.slice(0, end))) end--;
    let answer = end ? known.get(letters.slice(0, end)) : start;
    for (; end < letters.length; end++) {
      answer = step(answer, letters[end]);
      known.set(letters.slice(0, end + 1), answer);
    }
    if (known.size > 4000) known.clear();
    return answer;
  };

  const area = el("textarea", { rows: "9", spellcheck: "false", "aria-label": "Text for the network to go on with" });
  area.value = "ROMEO:\nWhat light ";
  const shown = bars("The most likely next characters", SHOWN), message = el("p", { class: "message", role: "status" });
  let temperature = 0.7, k = 0, writing = false;
  const look = () => {
    const text = area.value.slice(0, area.selectionStart).slice(-600);
    const strange = [...text].find((character) => !number.has(character));
    if (strange) {
      message.textContent = `The network has never seen “${strange}”.`;
      return null;
    }
    const { logits } = read(text), chances = softmax(filtered(logits, temperature, k));
    const order = chances.map((p, n) => [visible(characters[n]), p]).sort((a, b) => b[1] - a[1]);
    shown.show(order.slice(0, SHOWN));
    message.textContent = writing ? "Writing…" : "Next character at the cursor:";
    return chances;
  };
  const rates = random(2026);
  const write = async () => {
    if (writing) return void (writing = false);
    writing = true;
    go.textContent = "Stop";
    area.selectionStart = area.selectionEnd = area.value.length;
    for (let n = 0; n < LENGTH && writing; n++) {
      const chances = look();
      if (!chances) break;
      area.value += characters[draw(chances, rates())];
      area.scrollTop = area.scrollHeight;
      if (n % 4 === 3) await new Promise(requestAnimationFrame);
    }
    writing = false;
    go.textContent = "Go on writing";
    look();
  };
  const go = button("Go on writing", write, { class: "primary" });
  for (const event of ["input", "click", "keyup"]) area.addEventListener(event, () => writing || look());
  const heat = range("Temperature", { min: 0.1, max: 1.5, step: 0.05, value: temperature, format: (v) => v.toFixed(2) }, (value) => {
    temperature = value;
    look();
  });
  const best = choice("Draw from", [[0, "all characters"], [1, "the likeliest alone"], [3, "the best 3"], [10, "the best 10"]], 0, (value) => {
    k = Number(value);
    look();
  });
  stage.append(
    el("div", { class: "column wide" }, area, el("div", { class: "controls" }, go, heat.box, best.box)),
    el("div", { class: "column" }, message, shown.box),
  );
  area.selectionStart = area.selectionEnd = area.value.length;
  look();
}
