import { announce, find, post } from "./shared.js";

const panel = find("#proposal");
const POLL_MS = 500;

function show({ html, status }, focus = false) {
  panel.innerHTML = html;
  panel.hidden = !status;
  listen();
  if (focus && status) panel.focus();
}

function listen() {
  for (const button of panel.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => act(`/edit/${button.dataset.action}`));
  }
}

async function act(path, form) {
  try {
    let proposal = await post(path, form);
    show(proposal, true);
    while (proposal.status === "evaluating") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      proposal = await post("/edit/status");
      show(proposal);
    }
    if (proposal.status === "applied") return location.reload();
    if (!proposal.status) find("#main").focus();
    const words = find(".verdict, .warn, .error", panel);
    if (words) announce(words.textContent);
  } catch (error) {
    const words = Object.assign(document.createElement("p"), { className: "error" });
    words.textContent = error.message;
    panel.replaceChildren(words);
    panel.hidden = false;
    panel.focus();
    announce(error.message);
  }
}

function editForm(fields) {
  const form = new FormData();
  const by = find("#by").value;
  for (const [key, value] of Object.entries({ by, ...fields })) if (value) form.append(key, value);
  return form;
}

if (panel) {
  for (const form of document.querySelectorAll("form.remove")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { task, site } = form.dataset;
      act("/edit/preview", editForm({ action: "remove", task, site }));
    });
  }
  find("#add").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    if (!form.get("signature").size) form.delete("signature");
    act("/edit/preview", form);
  });
  find("#undo").addEventListener("click", () => act("/edit/preview", editForm({ action: "undo" })));
  if (panel.dataset.status === "evaluating") act("/edit/status");
  else listen();
}
