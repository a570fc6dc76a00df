import { acceptDrops, announce, element, find, imageForm, post, save } from "./shared.js";
import { listenForView } from "./view.js";

const list = find("#list");
const answers = new Map(); // article → { name, document }
let number = 0;
let cleared = 0; // how often; answers to requests from before the last time are not shown
let queue = [];
let total = 0;
let working = false;

const ignored = (file) => file.name.startsWith(".") || file.name.toUpperCase() === "DICOMDIR";

async function take(files) {
  const fresh = [...files].filter((file) => !ignored(file));
  if (!fresh.length) return announce("No images there.");
  queue.push(...fresh);
  total += fresh.length;
  if (working) return progress();
  working = true;
  find("#work").hidden = false;
  while (queue.length) {
    progress();
    await answer(queue.shift());
  }
  working = false;
  find("#work").hidden = true;
  announce(`Done: ${total === 1 ? "one image" : `${total} images`}.`);
  total = 0;
}

function progress() {
  const done = total - queue.length;
  find("#progress").max = total;
  find("#progress").value = done;
  find("#count").textContent = `${done + 1} of ${total}`.replace(/^\d+/, Math.min(done + 1, total));
}

async function answer(file) {
  number += 1;
  const here = number;
  const since = cleared;
  let article;
  try {
    const form = imageForm(file, { task: find("#task").value });
    const { html, document } = await post(`/answers?number=${here}`, form);
    if (since !== cleared) return;
    article = element(html);
    answers.set(article, { name: file.name, document });
    listenForView(article);
    listenForSaliency(article, file, document.generalist);
  } catch (error) {
    if (since !== cleared) return;
    article = find("#failed").content.firstElementChild.cloneNode(true);
    find("h3", article).id = `image-${here}`;
    article.setAttribute("aria-labelledby", `image-${here}`);
    find(".error", article).textContent = error.message;
    answers.set(article, { name: file.name, document: { problems: error.message.split("\n") } });
  }
  const remove = find(".remove", article);
  find("h3", article).textContent = file.name;
  remove.setAttribute("aria-label", `Remove ${file.name}`);
  remove.addEventListener("click", () => forget(article));
  list.append(article);
  find("#results").hidden = false;
  const labels = [...article.querySelectorAll(".labels")].map((one) => one.textContent).join("; ");
  announce(`${file.name}: ${labels || "no answer"}`);
}

function listenForSaliency(article, file, generalist) {
  const layer = find(".layer", article);
  const controls = find(".strength", article);
  const slider = find("input[type=range]", controls);
  const picture = find(".picture", article);
  const show = () => {
    layer.style.opacity = slider.value / 100;
    slider.setAttribute("aria-valuetext", `${slider.value} percent`);
    picture.classList.toggle("grey", Number(slider.value) > 0);
  };
  slider.addEventListener("input", show);
  for (const form of article.querySelectorAll(".explain")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = find("button", form);
      const label = find("select", form).value;
      button.disabled = true;
      button.textContent = "Computing…";
      try {
        const fields = { label, generalist, task: form.dataset.task };
        const overlay = await post("/saliency", imageForm(file, fields));
        layer.src = overlay.layer;
        layer.hidden = controls.hidden = false;
        find(".caption", controls).textContent = overlay.caption;
        if (slider.value === "0") slider.value = 65;
        show();
        announce(`Shown on the image: ${overlay.caption}`);
      } catch (error) {
        find(".caption", controls).textContent = error.message;
        controls.hidden = false;
        announce(error.message);
      }
      button.disabled = false;
      button.textContent = "Show on the image";
      button.focus();
    });
  }
}

function stop() {
  total -= queue.length;
  queue = [];
}

function forget(article) {
  const next = article.nextElementSibling || article.previousElementSibling;
  answers.delete(article);
  article.remove();
  if (next) find(".remove", next).focus();
  else empty();
}

function empty() {
  answers.clear();
  list.replaceChildren();
  find("#results").hidden = true;
  find("#files").focus();
  announce("No images left.");
}

for (const input of [find("#files"), find("#folder")]) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    take(files);
  });
}
find("#choose").addEventListener("submit", (event) => event.preventDefault());
find("#stop").addEventListener("click", stop);
find("#clear").addEventListener("click", () => {
  cleared += 1;
  stop();
  empty();
});
find("#save").addEventListener("click", () => {
  const files = [...answers.values()].map(({ name, document }) => ({ file: name, ...document }));
  save("answers.json", files);
});
acceptDrops(find("#choose"), take);
