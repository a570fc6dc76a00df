import { ask, find, say } from "./shared.js";

const panel = find("#proposal");
const POLL_MS = 500;

function show({ html, status }, focus = false) {
  panel.innerHTML = html;
  panel.hidden = !status;
  listen();
  if (focus && status) panel.focus();
}

function listen() {
  for (const button of panel.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => act(`/edit/${button.dataset.do}`));
  }
}

async function act(path, form) {
  try {
    let found = await ask(path, form);
    show(found, true);
    while (found.status === "checking") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      found = await ask("/edit/look");
      show(found);
    }
    if (found.status === "made") return location.reload();
    if (!found.status) find("#main").focus();
    const words = find(".verdict, .warn, .error", panel);
    if (words) say(words.textContent);
  } catch (error) {
    const words = Object.assign(document.createElement("p"), { className: "error" });
    words.textContent = error.message;
    panel.replaceChildren(words);
    panel.hidden = false;
    panel.focus();
    say(error.message);
  }
}

function edit(words) {
  const form = new FormData();
  const by = find("#by").value;
  for (const [key, value] of Object.entries({ by, ...words })) if (value) form.append(key, value);
  return form;
}

if (panel) {
  for (const form of document.querySelectorAll("form.remove")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { task, site } = form.dataset;
      act("/edit/propose", edit({ action: "remove", task, site }));
    });
  }
  find("#add").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    if (!form.get("signature").size) form.delete("signature");
    act("/edit/propose", form);
  });
  find("#undo").addEventListener("click", () => act("/edit/propose", edit({ action: "undo" })));
  if (panel.dataset.status === "checking") act("/edit/look");
  else listen();
}
