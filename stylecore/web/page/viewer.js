// The picture as it grows: a slider between photograph and painting, and zoom to 1:1.

import { el } from "./dom.js";

// Without `compares`, as for a film, there is only the painting.
export function viewer(name, compares = true) {
  const before = el("img", { alt: `The photograph ${name}`, class: "before", draggable: "false" });
  const after = el("img", { alt: `The painting of ${name}`, class: "after", draggable: "false" });
  const line = el("div", { class: "divider" });
  const tags = [el("span", { class: "tag left" }, "photograph"), el("span", { class: "tag right" }, "painting")];
  const sheet = el("div", { class: "sheet" }, before, after, line, ...tags);
  const frame = el("div", { class: "frame", tabindex: "0", role: "group", "aria-label": "The picture" }, sheet);
  const slider = el("input", { type: "range", min: "0", max: "100", value: "0", step: "1", "aria-label": "Compare with the photograph", oninput: show });
  const zoom = el("button", { type: "button", class: "small", "aria-pressed": "false", onclick: () => {
    zoomed = !zoomed;
    zoom.setAttribute("aria-pressed", String(zoomed));
    show();
  } }, "1 : 1");
  const controls = el("div", { class: "compare" }, el("label", { hidden: !compares }, "Compare ", slider), zoom);
  let zoomed = false;
  let size = [4, 3];
  let shown = "";

  function show() {
    sheet.style.setProperty("--ratio", String(size[0] / size[1]));
    sheet.style.width = zoomed ? `${size[0] / devicePixelRatio}px` : "";
    frame.classList.toggle("zoomed", zoomed);
    after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    line.style.left = `${slider.value}%`;
    for (const each of [line, ...tags]) each.hidden = slider.value === "0" || slider.value === "100";
    slider.setAttribute("aria-valuetext", `${slider.value} % photograph`);
  }

  // Dragging moves the slider; at 1:1 it moves the picture.
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || before.hidden) return;
    const from = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop };
    const move = (moved) => {
      if (zoomed) {
        frame.scrollTo(from.left - moved.clientX + from.x, from.top - moved.clientY + from.y);
        return;
      }
      const box = sheet.getBoundingClientRect();
      slider.value = String(Math.round((100 * (moved.clientX - box.left)) / box.width));
      show();
    };
    frame.setPointerCapture(event.pointerId);
    frame.addEventListener("pointermove", move);
    frame.addEventListener("lostpointercapture", () => frame.removeEventListener("pointermove", move), { once: true });
  });

  // The new picture replaces the old one when it has been decoded, so that nothing flickers.
  async function showPicture(address) {
    if (address === shown) return;
    shown = address;
    const loader = new Image();
    loader.src = address;
    try {
      await loader.decode();
    } catch {
      if (shown === address) shown = "";
      return;
    }
    if (shown === address) after.src = address;
  }

  show();
  before.hidden = true;
  return {
    elements: [frame, controls],
    showPicture,
    showPhotograph(address) {
      if (!compares) return;
      if (before.getAttribute("src") === address) return;
      before.src = address;
      before.hidden = false;
    },
    setSize(width, height) {
      size = [width, height];
      show();
    },
  };
}
