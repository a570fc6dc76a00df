// Zoom and grey levels of the picture on a card. Nothing is asked of the service.
import { find } from "./shared.js";

const STEP = 0.1; // of the picture's side, with an arrow key
const TIMES = 1.25; // nearer, with a key or a turn of the wheel
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export function listenForView(card) {
  const stack = find(".stack", card);
  const picture = find(".picture", stack);
  const filter = find("filter", card); // of grey pictures alone
  const [zoom, level, width] = [".zoom", ".level", ".width"].map((name) => find(name, card));
  const inputs = [zoom, level, width].filter(Boolean);
  let moved = [0, 0]; // in sides of the picture
  let drag = null;

  function show() {
    const times = zoom.value / 100;
    const most = (times - 1) / 2;
    moved = moved.map((one) => Math.max(-most, Math.min(most, one)));
    const [x, y] = moved.map((one) => `${100 * one}%`);
    find(".moved", stack).style.transform = `translate(${x}, ${y}) scale(${times})`;
    stack.classList.toggle("zoomed", times > 1);
    zoom.setAttribute("aria-valuetext", `${zoom.value} percent`);
    let words = times > 1 ? `; shown at ${zoom.value} %` : "";
    if (filter) {
      const changed = inputs.slice(1).some((input) => input.value !== input.defaultValue);
      const slope = 256 / width.value;
      for (const each of filter.firstElementChild.children) {
        each.setAttribute("slope", slope);
        each.setAttribute("intercept", 0.5 - (slope * level.value) / 256);
      }
      picture.style.filter = changed ? `url(#${filter.id})` : "";
      if (changed) words += `; shown with window level ${level.value}, width ${width.value} of 256 greys`;
    }
    find(".seen", card).textContent = words;
  }

  function zoomBy(times) {
    zoom.value *= times;
    show();
  }

  function reset() {
    for (const input of inputs) input.value = input.defaultValue;
    moved = [0, 0];
    show();
  }

  for (const input of inputs) input.addEventListener("input", show);
  find(".reset", card).addEventListener("click", reset);
  stack.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoomBy(TIMES);
    else if (event.key === "-") zoomBy(1 / TIMES);
    else if (event.key in ARROWS && zoom.value > 100) {
      moved = moved.map((one, axis) => one + STEP * ARROWS[event.key][axis]);
      show();
    } else return;
    event.preventDefault();
  });
  stack.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // without it the wheel scrolls the page
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? TIMES : 1 / TIMES);
  });
  stack.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { at: [event.clientX, event.clientY], moved, greys: [width?.value, level?.value] };
    stack.setPointerCapture(event.pointerId);
  });
  stack.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.at[0], event.clientY - drag.at[1]].map(
      (pixels) => pixels / stack.clientWidth,
    );
    if (!event.shiftKey) moved = [drag.moved[0] + x, drag.moved[1] + y];
    else if (filter) {
      width.value = Number(drag.greys[0]) + 256 * x;
      level.value = Number(drag.greys[1]) + 256 * y;
    }
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stack.addEventListener(end, () => (drag = null));
  }
}
