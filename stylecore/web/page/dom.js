// Building elements; text is always set as text, never as HTML.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const CONTROLS = "a, button, input, select, [tabindex]";

// Replaces the content of an element; the control at the same place keeps the focus.
export function redraw(parent, ...children) {
  const former = [...parent.querySelectorAll(CONTROLS)];
  const index = former.indexOf(document.activeElement);
  parent.replaceChildren(...children);
  if (index < 0) return;
  const controls = [...parent.querySelectorAll(CONTROLS)];
  const { id } = former[index];
  (controls.find((each) => id && each.id === id) ?? controls[Math.min(index, controls.length - 1)])?.focus({ preventScroll: true });
}

export const $ = (id) => document.getElementById(id);

export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

export function duration(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}

export function bytes(count) {
  return count < 1e9 ? `${Math.round(count / 1e6)} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

// Read by screen readers; not too often.
export function say(text) {
  $("said").textContent = text;
}

export function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}
