import { ask, element, find, imageForm, save, say, takesDrops } from "./shared.js";

let last = null;
let file = null;
let latest = 0; // of several questions under way only the last one's answer is shown

async function compare() {
  if (!file) return;
  const mine = ++latest;
  const { name } = file;
  const waiting = find("#waiting");
  const failed = find("#failed");
  waiting.hidden = false;
  failed.hidden = true;
  say("Both are asked.");
  try {
    const other = encodeURIComponent(find("#other").value);
    const found = await ask(`/comparison?other=${other}`, imageForm(file));
    if (mine !== latest) return;
    last = { file: name, ...found.document };
    find("#list").replaceChildren(element(found.html));
    find("#which").textContent = name;
    find("#results").hidden = false;
    find("#which").focus();
    say("Comparison shown.");
  } catch (error) {
    if (mine !== latest) return;
    failed.textContent = error.message;
    failed.hidden = false;
    say(error.message);
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
if (find("#choose")) takesDrops(find("#choose"), take);
