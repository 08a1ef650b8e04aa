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

function call({ requestBody: { content }, security }) {
  const picture = "image/*" in content;
  const example = content["application/json"].example;
  const body = picture ? "@cat.png" : example ? `'${JSON.stringify(example)}'` : "@inputs.json";
  const key = security?.length ? '-H "Authorization: Bearer $KEY" ' : "";
  return `curl ${key}--data-binary ${body} \\\n` +
    `     -H "Content-Type: ${picture ? "image/png" : "application/json"}" ` +
    new URL("v1/predict", window.location);
}

async function draw() {
  const schema = await (await fetch("openapi.json")).json();
  document.getElementById("curl").textContent = call(schema.paths["/v1/predict"].post);
  for (const [path, methods] of Object.entries(schema.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      document.getElementById("list").append(...operation(path, method, about));
    }
  }
}

draw();
