// Opens a room when it comes near the window: its code and its models are fetched then.
import { el } from "./ui.js";

const json = async (name) => (await fetch(name)).json();
const shared = Promise.all([json("data.json"), json("cited.json")]);
const title = (name) => name.split(".").slice(1).join(" · ");

async function open(room) {
  const [data, cited] = await shared, stage = room.querySelector(".stage"), waiting = stage.querySelector(".waiting");
  const label = room.querySelector(".label");
  for (const name of label.dataset.cites.split(" ")) {
    const { name: place, link } = cited[name], card = data.cards[name];
    label.append(el("p", {}, "Code: ", el("a", { href: link }, el("code", {}, title(place)))));
    if (card) label.append(describe(card));
  }
  try {
    const { mount } = await import(`./rooms/${room.id}.js`);
    await mount(stage, { data });
    waiting.remove();
    room.dataset.open = "true";
  } catch (error) {
    waiting.textContent = `This room could not be opened: ${error.message}`;
    throw error;
  }
}

function describe(card) {
  const rows = {
    "trained on": card.data, by: card.command, parameters: card.parameters.toLocaleString("en"),
    seed: card.seed, on: card.machine, licence: card.licence,
  };
  for (const [name, value] of Object.entries(card.metrics)) rows[name.replaceAll("_", " ")] = value.toPrecision(4);
  const list = el("dl", {}, ...Object.entries(rows).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
  return el("details", {}, el("summary", {}, `The model’s card: ${card.parameters.toLocaleString("en")} parameters`), list);
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    open(target);
  }
}, { rootMargin: "400px" });
for (const room of document.querySelectorAll(".room")) near.observe(room);
