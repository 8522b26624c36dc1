// The right side of the page: a welcome, the photograph with its regions, or a job.

import { get } from "./api.js";
import { app, isActive, isFinished, on, tell } from "./app.js";
import { $, el, redraw, say, sentence, trouble } from "./dom.js";
import { takeSamples } from "./inputs.js";
import { again, commandDialog, describe, downloads, order } from "./jobs.js";
import { NAMES, plot } from "./plot.js";
import { regionTool } from "./regions.js";
import { viewer } from "./viewer.js";

const SPOKEN_EVERY = 15000; // ms between two announcements of the progress

let view = null; // of the selected job
let shownContent = null; // the photograph whose region tool is shown

export function setUpStage() {
  on("selected", draw);
  on("jobs", draw);
  on("losses", () => view?.updatePlot());
  on("draft", () => {
    if (!app.selected && shownContent !== app.draft.content) draw();
  });
  draw();
}

function draw() {
  const job = app.jobs[app.selected];
  if (job) {
    if (view?.id !== job.id) {
      view = jobView(job);
      $("main").replaceChildren(view.element);
      loadLosses(job.id);
    }
    shownContent = null;
    view.update(job);
    return;
  }
  view = null;
  if (app.draft.content) {
    if (shownContent !== app.draft.content) $("main").replaceChildren(regionTool());
    shownContent = app.draft.content;
  } else {
    shownContent = null;
    $("main").replaceChildren(welcome());
  }
}

function welcome() {
  return el("section", { class: "welcome", "data-role": "content" },
    el("h2", {}, "Paint a photograph in the style of a painting"),
    el("p", {}, "Drop two pictures here: first the photograph, then the painting."),
    el("button", { type: "button", class: "primary", onclick: takeSamples }, "Try it with the sample pictures"),
    el("p", { class: "hint" }, "Everything happens on this machine; no picture leaves it."));
}

async function loadLosses(id) {
  try {
    const { losses } = await get(`api/jobs/${id}`);
    if ((app.losses[id]?.length ?? 0) <= losses.length) app.losses[id] = losses;
    tell("losses");
  } catch (error) {
    trouble(error.message);
  }
}

function jobView(job) {
  const name = app.pictures[job.content].name;
  const look = viewer(name);
  const status = el("p", { class: "status" });
  const progress = el("progress", { max: 1, "aria-label": "Progress" });
  const buttons = el("div", { class: "buttons" });
  const notes = el("div", { class: "notes" });
  const chart = el("div", { class: "chart" });
  const others = el("div", { class: "others" });
  const losses = el("details", { class: "losses" },
    el("summary", {}, "Losses"),
    el("ul", { class: "legend" }, ...NAMES.map((series) => el("li", { class: series }, series))), chart);
  losses.open = true;
  let drawnButtons = "";
  let spoken = 0;
  let state = null;

  function update(current) {
    const [width, height] = current.size.length ? current.size : [app.pictures[current.content].width, app.pictures[current.content].height];
    look.setSize(width, height);
    if (current.size.length) look.showPhotograph(`jobs/${current.id}/before?of=${width}x${height}`);
    else look.showPhotograph(`pictures/${current.content}/view`);
    if (isFinished(current)) look.showPicture(`jobs/${current.id}/png`);
    else if (current.picture) look.showPicture(`jobs/${current.id}/now?n=${current.picture}`);
    const words = describe(current);
    status.textContent = words;
    progress.hidden = isFinished(current) || current.state === "failed";
    if (current.steps && current.step) {
      progress.value = current.step / current.steps;
      progress.setAttribute("aria-valuetext", words);
    } else progress.removeAttribute("value");
    if (current.state !== state || Date.now() - spoken > SPOKEN_EVERY) {
      if (state !== null) say(words);
      [state, spoken] = [current.state, Date.now()];
    }
    notes.replaceChildren(...current.notes.map((note) => el("p", { class: "hint" }, sentence(note))),
      ...(current.message ? [el("p", { class: "trouble" }, sentence(current.message))] : []));
    const needed = `${current.state} ${Boolean(current.step)} ${current.ending}`;
    if (needed !== drawnButtons) {
      drawnButtons = needed;
      redraw(buttons, ...buttonsOf(current));
    }
    const waiting = Object.values(app.jobs).filter((each) => each.id !== current.id && (isActive(each) || each.state === "paused"));
    redraw(others, ...(waiting.length ? [el("h3", {}, "Also in the queue"), el("ul", {}, ...waiting.map((each) => el("li", {},
      el("button", { type: "button", class: "link", onclick: () => { app.selected = each.id; tell("selected"); } },
        `${app.pictures[each.content]?.name ?? "A picture"}, ${each.state}`))))] : []));
  }

  function updatePlot() {
    if (!losses.open) return;
    chart.replaceChildren(plot(app.losses[job.id] ?? []));
  }
  losses.addEventListener("toggle", updatePlot);

  const element = el("section", { class: "job", "aria-label": `The picture of ${name}` },
    ...look.elements, progress, status, buttons, notes, losses, others);
  return { id: job.id, element, update, updatePlot };
}

function buttonsOf(job) {
  const button = (words, what, className = "") =>
    el("button", { type: "button", class: className, onclick: () => order(job, what) }, words);
  const back = el("button", { type: "button", class: "link", onclick: () => { app.selected = null; tell("selected"); } }, "Back to the photograph");
  if (app.watching && isFinished(job)) return downloads(job);
  if (isActive(job)) {
    return [button("Pause", "pause"), job.step ? button("Stop and keep", "stop") : null,
      job.state === "waiting" ? button("Remove", "remove") : null].filter(Boolean);
  }
  if (!isFinished(job)) {
    return [button("Go on", "go-on", "primary"), job.step ? button("Stop and keep", "stop") : null,
      app.watching ? null : button("Remove", "remove")].filter(Boolean);
  }
  return [...downloads(job),
    button("Larger", "larger"),
    el("button", { type: "button", onclick: () => again(job) }, "Again"),
    el("button", { type: "button", onclick: () => commandDialog(job) }, "Copy the command"), back];
}
