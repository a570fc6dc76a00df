// What every page does: send requests, announce to screen readers, save and print.

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;

export const find = (selector, within = document) => within.querySelector(selector);

export async function post(path, form = new FormData()) {
  let response = await send(path, form);
  if (response.status === 401 || response.status === 403) {
    await signInAgain();
    response = await send(path, form);
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problems.join("\n") || answer.title);
  return answer;
}

function send(path, form) {
  const headers = { "X-CSRF-Token": meta("csrf") };
  return fetch(meta("base") + path, { method: "POST", headers, body: form });
}

// Images would be lost with this page, so people sign in in another tab and this one continues.
async function signInAgain() {
  const note = find("#signed-out");
  while (!(await renewed())) {
    note.hidden = false;
    announce(note.textContent);
    await new Promise((resolve) => window.addEventListener("focus", resolve, { once: true }));
  }
  note.hidden = true;
}

// Takes over the token of the session that this browser has now, if it has one.
async function renewed() {
  const response = await fetch(location.pathname);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const csrf = find('meta[name="csrf"]', page)?.content;
  if (!csrf) return false;
  find('meta[name="csrf"]').content = csrf;
  find('input[name="csrf"]')?.setAttribute("value", csrf);
  return true;
}

// The content alone: file names may hold names of patients.
export function imageForm(file, fields = {}) {
  const form = new FormData();
  form.append("images", new Blob([file]), "image");
  for (const [key, value] of Object.entries(fields)) if (value) form.append(key, value);
  return form;
}

export function announce(words) {
  find("#announcement").textContent = words;
}

export function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

export function save(name, value) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// The files of a drop, with those in folders; what is not from a disk has no entry.
export async function dropped(transfer) {
  const items = [...transfer.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const files = [];
  for (const one of items.filter(Boolean)) {
    if (one instanceof File) files.push(one);
    else await walk(one, files);
  }
  return files;
}

async function walk(entry, files) {
  if (entry.isFile) {
    files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const inner of some) await walk(inner, files);
  }
}

export function acceptDrops(zone, take) {
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
}

// Folded parts are opened while printing.
function printEverything() {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
  find("#print")?.addEventListener("click", () => window.print());
}

printEverything();
