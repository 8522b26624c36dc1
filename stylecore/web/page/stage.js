// The right side of the page: a welcome, what is to be painted (a photograph with its regions), a folder, or a job.

import { get } from "./api.js";
import { app, isActive, isFinished, on, tell } from "./app.js";
import { $, el, redraw, say, sentence, trouble } from "./dom.js";
import { takeSamples } from "./inputs.js";
import { card } from "./history.js";
import { again, commandDialog, describe, downloads, open, order } from "./jobs.js";
import { NAMES, plot } from "./plot.js";
import { regionTool } from "./regions.js";
import { viewer } from "./viewer.js";

const SPOKEN_EVERY = 15000; // ms between two announcements of the progress

const PAUSE = 1000; // ms between two drawings of a folder

let view = null; // of the selected job
let timer = 0;
let shownContent = null; // what is shown that is to be painted

export function setUpStage() {
  on("selected", draw);
  on("page", () => {
    shownContent = null;
    draw();
  });
  on("jobs", () => {
    if (app.words.several && !app.selected) timer ||= setTimeout(draw, PAUSE);
    else draw();
  });
  on("losses", () => view?.updatePlot());
  on("draft", () => {
    if (!app.selected && (app.words.several || shownContent !== app.draft.content)) draw();
  });
  draw();
}

function draw() {
  clearTimeout(timer);
  timer = 0;
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
  if (app.words.several) {
    redraw($("main"), folder() ?? welcome());
  } else if (app.draft.content) {
    if (shownContent !== app.draft.content) $("main").replaceChildren(app.words.kind === "picture" ? regionTool() : preview());
    shownContent = app.draft.content;
  } else {
    shownContent = null;
    $("main").replaceChildren(welcome());
  }
}

function welcome() {
  const [title, words] = app.words.welcome;
  return el("section", { class: "welcome", "data-role": "content" },
    el("h2", {}, title),
    el("p", {}, words),
    app.words.samples ? el("button", { type: "button", class: "primary", onclick: takeSamples }, "Try it with the sample pictures") : null,
    el("p", { class: "hint" }, "Everything happens on this machine; no picture leaves it."));
}

// The drawing, or the first frame of the film.
function preview() {
  const { id, name, width, height } = app.pictures[app.draft.content];
  const look = viewer(name, false);
  look.setSize(width, height);
  look.showPicture(`pictures/${id}/view`);
  return el("section", { class: "job", "aria-label": name }, ...look.elements);
}

// The jobs of the latest folder, with one download for all; nothing before there is one.
function folder() {
  const all = Object.values(app.jobs).filter((job) => job.group).sort((a, b) => b.created - a.created);
  const jobs = all.filter((job) => job.group === all[0].group).reverse();
  if (!jobs.length) return null;
  const done = jobs.filter(isFinished).length;
  return el("section", { class: "folder", "aria-label": "The folder" },
    el("h2", {}, `${done} of ${jobs.length} photographs are painted`),
    el("progress", { max: jobs.length, value: done, "aria-label": "Progress" }),
    done ? el("a", { class: "button primary", href: `folders/${jobs[0].group}/zip`, download: "" }, "Download all as a ZIP file") : null,
    el("ul", { class: "cards" }, ...jobs.map(card)));
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
  const isFilm = job.kind === "film";
  const look = viewer(name, !isFilm);
  const film = el("video", { controls: true, loop: true, hidden: true, preload: "metadata", "aria-label": `The painted film of ${name}` });
  const status = el("p", { class: "status" });
  const progress = el("progress", { max: 1, "aria-label": "Progress" });
  const buttons = el("div", { class: "buttons" });
  const notes = el("div", { class: "notes" });
  const chart = el("div", { class: "chart" });
  const others = el("div", { class: "others" });
  const losses = el("details", { class: "losses" },
    el("summary", {}, "Losses"),
    el("ul", { class: "legend" }, ...NAMES.map((series) => el("li", { class: series }, series))), chart);
  losses.open = !isFilm;
  losses.hidden = isFilm;
  let drawnButtons = "";
  let spoken = 0;
  let state = null;

  function update(current) {
    const [width, height] = current.size.length ? current.size : [app.pictures[current.content].width, app.pictures[current.content].height];
    look.setSize(width, height);
    if (current.size.length) look.showPhotograph(`jobs/${current.id}/before?of=${width}x${height}`);
    else look.showPhotograph(`pictures/${current.content}/view`);
    if (isFinished(current) && isFilm) showFilm(current);
    else if (isFinished(current)) look.showPicture(`jobs/${current.id}/png`);
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
      el("button", { type: "button", class: "link", onclick: () => open(each) },
        `${app.pictures[each.content]?.name ?? "A picture"}, ${each.state}`))))] : []));
  }

  function showFilm(current) {
    if (!film.hidden) return;
    film.poster = `jobs/${current.id}/now`;
    film.src = `jobs/${current.id}/film`;
    film.hidden = false;
    for (const each of look.elements) each.hidden = true;
  }

  function updatePlot() {
    if (!losses.open) return;
    chart.replaceChildren(plot(app.losses[job.id] ?? []));
  }
  losses.addEventListener("toggle", updatePlot);

  const element = el("section", { class: "job", "aria-label": `The ${isFilm ? "film" : "picture"} of ${name}` },
    ...look.elements, film, progress, status, buttons, notes, losses, others);
  return { id: job.id, element, update, updatePlot };
}

function buttonsOf(job) {
  const button = (words, what, className = "") =>
    el("button", { type: "button", class: className, onclick: () => order(job, what) }, words);
  const back = el("button", { type: "button", class: "link", onclick: () => { app.selected = null; tell("selected"); } },
    job.group ? "Back to the folder" : `Back to the ${app.words.one}`);
  const canStop = job.step && job.kind !== "film";
  if (app.watching && isFinished(job)) return downloads(job);
  if (isActive(job)) {
    return [button("Pause", "pause"), canStop ? button("Stop and keep", "stop") : null,
      job.state === "waiting" ? button("Remove", "remove") : null].filter(Boolean);
  }
  if (!isFinished(job)) {
    return [button("Go on", "go-on", "primary"), canStop ? button("Stop and keep", "stop") : null,
      app.watching ? null : button("Remove", "remove")].filter(Boolean);
  }
  return [...downloads(job),
    ...(job.kind === "picture" ? [button("Larger", "larger")] : []),
    el("button", { type: "button", onclick: () => again(job) }, "Again"),
    el("button", { type: "button", onclick: () => commandDialog(job) }, "Copy the command"), back];
}
