// What every page does: ask the service, say things aloud, save and print.

const told = (name) => document.querySelector(`meta[name="${name}"]`).content;

export const find = (selector, within = document) => within.querySelector(selector);

export async function ask(path, form = new FormData()) {
  let response = await send(path, form);
  if (response.status === 401 || response.status === 403) {
    await signedInAgain();
    response = await send(path, form);
  }
  const found = await response.json();
  if (!response.ok) throw new Error(found.problems.join("\n") || found.title);
  return found;
}

function send(path, form) {
  const headers = { "X-CSRF-Token": told("csrf") };
  return fetch(told("base") + path, { method: "POST", headers, body: form });
}

// Images are lost with this page, so signing in happens in another tab and this one goes on then.
async function signedInAgain() {
  const note = find("#signed-out");
  while (!(await renewed())) {
    note.hidden = false;
    say(note.textContent);
    await new Promise((resolve) => window.addEventListener("focus", resolve, { once: true }));
  }
  note.hidden = true;
}

// The word of the session that this browser has now, if it has one.
async function renewed() {
  const response = await fetch(location.pathname);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const word = find('meta[name="csrf"]', page);
  if (!word) return false;
  find('meta[name="csrf"]').content = word.content;
  find('input[name="csrf"]')?.setAttribute("value", word.content);
  return true;
}

// The content alone: names of files may hold names of patients.
export function imageForm(file, words = {}) {
  const form = new FormData();
  form.append("images", new Blob([file]), "image");
  for (const [key, value] of Object.entries(words)) if (value) form.append(key, value);
  return form;
}

export function say(words) {
  find("#said").textContent = words;
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

// Files of a drop, folders walked; what is not from a disk has no entry.
export async function dropped(transfer) {
  const found = [...transfer.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const files = [];
  for (const one of found.filter(Boolean)) {
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

export function takesDrops(zone, take) {
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

// Paper cannot be clicked: what is folded is opened while printing.
function printsWhole() {
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

printsWhole();
