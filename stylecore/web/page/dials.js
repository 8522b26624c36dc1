// The settings: looks, the dials that matter, and the rest, all as `--help` of the commands names them.

import { app, on, tell } from "./app.js";
import { $, el } from "./dom.js";

// Ends of the sliders; they are logarithmic, and the field beside them takes any number.
const SLIDERS = { style_weight: [1, 500], style_scale: [0.25, 4], iterations: [20, 1000] };
const SIZES = ["256", "512", "1024", "2048"];
const GROUPS = { film: "Film", look: "Look", size: "Sizes", run: "Run", steps: "Run" };
const TITLES = { size: "Size", style_scale: "Stroke size", colour: "Colours", iterations: "Steps" };

export const defaultOf = (name) => app.dials.find((dial) => dial.name === name).default;
export const valueOf = (name) => app.draft.given[name] ?? defaultOf(name);

export function setUpDials() {
  drawLooks();
  on("draft", show);
  on("page", draw);
  draw();
}

function draw() {
  $("dials").replaceChildren(...app.dials.filter((dial) => dial.group === "main").map(row));
  const groups = Object.entries(GROUPS).map(([group, title]) => [title, app.dials.filter((dial) => dial.group === group)]);
  $("more-dials").replaceChildren(...groups.filter(([, dials]) => dials.length).map(([title, dials]) =>
    el("section", {}, el("h3", {}, title), ...dials.map(row))));
  $("look").hidden = app.words.kind === "sketch"; // The presets are for pictures of photographs.
  show();
}

function setDial(name, words) {
  if (words === "" || words === defaultOf(name)) delete app.draft.given[name];
  else app.draft.given[name] = words;
  tell("draft");
}

function row(dial) {
  const id = `dial-${dial.name}`;
  const title = TITLES[dial.name] ?? dial.option.slice(2).replaceAll("-", " ").replace(/^./, (c) => c.toUpperCase()).replace(/^Tv/, "TV");
  const help = el("p", { id: `${id}-help`, class: "hint", hidden: true }, el("code", {}, dial.option), `: ${dial.help}.`);
  const asks = el("button", { type: "button", class: "ask", "aria-expanded": "false", "aria-controls": help.id,
    "aria-label": `What is ${title}?`, onclick: () => {
      help.hidden = !help.hidden;
      asks.setAttribute("aria-expanded", String(!help.hidden));
    } }, "?");
  const heading = dial.kind === "choice" && dial.name === "colour"
    ? el("span", { class: "label", id: `${id}-label` }, title)
    : el("label", { class: "label", for: id }, title);
  return el("div", { class: "dial" }, el("div", { class: "line" }, heading, asks), control(dial, id), help);
}

function control(dial, id) {
  if (dial.name === "colour") return chips(dial, id);
  if (dial.kind === "choice") {
    return el("select", { id, onchange: (event) => setDial(dial.name, event.target.value) },
      ...dial.choices.map((choice) => el("option", { value: choice }, choice)));
  }
  const field = el("input", { id, type: "text", autocomplete: "off", spellcheck: "false",
    inputmode: dial.kind === "words" && dial.name !== "size" && dial.name !== "style_weight" ? "text" : "decimal",
    placeholder: dial.default || "the network's own",
    onchange: (event) => setDial(dial.name, event.target.value.trim()) });
  if (dial.name === "size") {
    const buttons = SIZES.map((size) => el("button", { type: "button", class: "chip", "data-size": size,
      onclick: () => setDial("size", size) }, size));
    return el("div", { class: "sizes" }, el("div", { class: "chips", role: "group", "aria-label": "Usual sizes" }, ...buttons), field);
  }
  if (!SLIDERS[dial.name]) return field;
  const [least, most] = SLIDERS[dial.name].map(Math.log);
  const slider = el("input", { type: "range", min: "0", max: "100", step: "1", "aria-label": `${dial.option.slice(2).replaceAll("-", " ")}, slider`,
    oninput: (event) => {
      const value = Math.exp(least + ((most - least) * event.target.value) / 100);
      field.value = dial.kind === "integer" || value >= 10 ? Math.round(value) : value.toFixed(value < 1 ? 2 : 1);
    },
    onchange: () => setDial(dial.name, field.value) });
  slider.dataset.of = dial.name;
  return el("div", { class: "slider" }, slider, field);
}

function chips(dial, id) {
  return el("div", { class: "chips", role: "radiogroup", "aria-labelledby": `${id}-label` },
    ...dial.choices.map((choice) => el("label", { class: "chip" },
      el("input", { type: "radio", name: id, value: choice, class: "unseen", onchange: () => setDial(dial.name, choice) }),
      el("span", {}, choice))));
}

function show() {
  for (const dial of app.dials) {
    const value = valueOf(dial.name);
    const field = $(`dial-${dial.name}`);
    if (field && document.activeElement !== field) field.value = app.draft.given[dial.name] ?? (dial.kind === "choice" || dial.group === "main" ? value : "");
    for (const radio of document.getElementsByName(`dial-${dial.name}`)) radio.checked = radio.value === value;
    const slider = document.querySelector(`[data-of="${dial.name}"]`);
    if (slider) {
      const [least, most] = SLIDERS[dial.name].map(Math.log);
      const number = Number(value);
      if (number > 0) slider.value = String(Math.min(100, Math.max(0, (100 * (Math.log(number) - least)) / (most - least))));
      slider.disabled = !(number > 0);
    }
  }
  for (const chip of document.querySelectorAll("[data-size]")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.size === valueOf("size")));
  }
  for (const radio of document.getElementsByName("look")) radio.checked = radio.value === (app.draft.look ?? "");
  $("look-help").textContent = app.draft.look ? `${app.draft.look}: ${app.looks[app.draft.look].description}` : "the default: brush strokes, and the photograph's shapes";
}

function drawLooks() {
  const looks = [["", "default"], ...Object.keys(app.looks).map((name) => [name, name.replaceAll("-", " ")])];
  $("looks").replaceChildren(...looks.map(([name, title]) => {
    const picture = app.lookPictures.includes(name || "default")
      ? el("img", { src: `page/look-${name || "default"}.webp`, alt: "", width: 96, height: 72, loading: "lazy" })
      : el("span", { class: "blank" });
    return el("label", { class: "look" },
      el("input", { type: "radio", name: "look", value: name, class: "unseen", onchange: () => chooseLook(name) }),
      picture, el("span", {}, title));
  }));
}

// A look sets its dials; those that say how large and how long, and where, stay as they are.
function chooseLook(name) {
  const stays = ["size", "iterations", "network", "device", "dtype", "seed", "optimizer"];
  const kept = Object.fromEntries(stays.filter((each) => each in app.draft.given).map((each) => [each, app.draft.given[each]]));
  app.draft.given = { ...kept, ...(name ? app.looks[name].given : {}) };
  app.draft.look = name || null;
  tell("draft");
}
