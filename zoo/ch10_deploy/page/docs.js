"use strict";

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function operation(path, method, about) {
  const title = element("h2");
  title.append(element("code", method.toUpperCase(), "method"), " ", element("code", path));
  const parts = [title, element("p", about.summary)];
  const list = element("ul");
  for (const one of about.parameters ?? []) {
    list.append(element("li", `?${one.name}=${one.schema.type}: ${one.description ?? ""}`));
  }
  for (const kind of Object.keys(about.requestBody?.content ?? {})) {
    list.append(element("li", `body: ${kind}`));
  }
  for (const [status, answer] of Object.entries(about.responses)) {
    list.append(element("li", `${status}: ${answer.description}`));
    const example = answer.content?.["application/json"]?.example;
    if (example) list.append(element("pre", JSON.stringify(example, null, 2)));
  }
  return [...parts, list];
}

async function draw() {
  const schema = await (await fetch("/openapi.json")).json();
  const here = window.location.origin;
  document.getElementById("curl").textContent =
    `curl -H "Authorization: Bearer $KEY" --data-binary @cat.png \\\n` +
    `     -H "Content-Type: image/png" ${here}/v1/predict`;
  for (const [path, methods] of Object.entries(schema.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      document.getElementById("list").append(...operation(path, method, about));
    }
  }
}

draw();
