import { acceptDrops, announce, element, find, imageForm, post, save } from "./shared.js";
import { listenForView } from "./view.js";

let last = null;
let file = null;
let latest = 0; // of several requests under way only the last one's answer is shown

async function compare() {
  if (!file) return;
  const mine = ++latest;
  const { name } = file;
  const waiting = find("#waiting");
  const failed = find("#failed");
  waiting.hidden = false;
  failed.hidden = true;
  announce("Comparing.");
  try {
    const other = encodeURIComponent(find("#other").value);
    const comparison = await post(`/comparison?other=${other}`, imageForm(file));
    if (mine !== latest) return;
    last = { file: name, ...comparison.document };
    const card = element(comparison.html);
    listenForView(card);
    find("#list").replaceChildren(card);
    find("#which").textContent = name;
    find("#results").hidden = false;
    find("#which").focus();
    announce("The comparison is ready.");
  } catch (error) {
    if (mine !== latest) return;
    failed.textContent = error.message;
    failed.hidden = false;
    announce(error.message);
  }
  waiting.hidden = true;
}

function take([first]) {
  file = first ?? file;
  compare();
}

find("#files")?.addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  take(files);
});
find("#other")?.addEventListener("change", compare);
find("#choose")?.addEventListener("submit", (event) => event.preventDefault());
find("#save")?.addEventListener("click", () => save("comparison.json", last));
if (find("#choose")) acceptDrops(find("#choose"), take);
