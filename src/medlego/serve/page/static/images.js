import { ask, element, find, imageForm, save, say, takesDrops } from "./shared.js";

const list = find("#list");
const answers = new Map(); // article → { name, document }
let number = 0;
let cleared = 0; // how often; what was asked before the last time is not shown
let queue = [];
let total = 0;
let working = false;

const ignored = (file) => file.name.startsWith(".") || file.name.toUpperCase() === "DICOMDIR";

async function take(files) {
  const fresh = [...files].filter((file) => !ignored(file));
  if (!fresh.length) return say("No images there.");
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
  say(`Done: ${total === 1 ? "one image" : `${total} images`} looked at.`);
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
    const found = await ask(`/answers?number=${here}`, form);
    if (since !== cleared) return;
    article = element(found.html);
    answers.set(article, { name: file.name, document: found.document });
    explains(article, file, found.document.generalist);
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
  say(`${file.name}: ${labels || "no answer"}`);
}

function explains(article, file, generalist) {
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
      button.textContent = "Looking…";
      try {
        const words = { label, generalist, task: form.dataset.task };
        const found = await ask("/saliency", imageForm(file, words));
        layer.src = found.layer;
        layer.hidden = controls.hidden = false;
        find(".caption", controls).textContent = found.caption;
        if (slider.value === "0") slider.value = 65;
        show();
        say(`Shown on the image: ${found.caption}`);
      } catch (error) {
        find(".caption", controls).textContent = error.message;
        controls.hidden = false;
        say(error.message);
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
  say("No images left.");
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
  const files = [...answers.values()].map(({ name, document: found }) => ({ file: name, ...found }));
  save("answers.json", files);
});
takesDrops(find("#choose"), take);
