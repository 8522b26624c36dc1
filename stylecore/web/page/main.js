// The page: starts its parts, listens to the server, and submits jobs.

import { get, post } from "./api.js";
import { app, isActive, isFinished, on, restoreDraft, tell } from "./app.js";
import { setUpDials } from "./dials.js";
import { $, bytes, duration, el, sentence, trouble } from "./dom.js";
import { setUpHistory } from "./history.js";
import { setUpInputs } from "./inputs.js";
import { order } from "./jobs.js";
import { regionCount, uploadRegions } from "./regions.js";
import { setUpStage } from "./stage.js";

const PAGES = { paint: "Paint", history: "History" };
const RETRY = 2000; // ms
const POLL = 10000; // ms, of a tab that is hidden

let stream = null;
let asked = 0; // number of the latest prediction

async function begin() {
  history.replaceState(null, "", location.pathname + location.hash); // The token is in the cookie now.
  let start;
  try {
    start = await get("api/start");
  } catch (error) {
    trouble(error.message);
    setTimeout(begin, RETRY);
    return;
  }
  trouble("");
  Object.assign(app, { pictures: start.pictures, jobs: start.jobs, dials: start.dials, looks: start.looks, lookPictures: start.look_pictures, limits: start.limits, watching: start.watching });
  document.body.classList.toggle("watching", app.watching);
  if (!app.watching) restoreDraft();
  const candidates = Object.values(app.jobs).filter((job) => app.watching || isActive(job));
  app.selected = candidates.sort((a, b) => a.created - b.created)[0]?.id ?? null;
  setUpPages();
  setUpInputs();
  setUpDials();
  setUpStage();
  setUpHistory();
  $("form").addEventListener("submit", (event) => { event.preventDefault(); paint(); });
  $("change").addEventListener("click", change);
  for (const what of ["draft", "jobs", "selected"]) on(what, showActions);
  on("draft", predictSoon);
  on("jobs", showTitle);
  showActions();
  predictSoon();
  listen();
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
}

// A browser opens few connections to one server at a time, so only tabs that are visible keep a stream.
function listen() {
  if (stream) return;
  stream = new EventSource("api/events");
  stream.onopen = () => trouble("");
  stream.onmessage = (event) => receive(JSON.parse(event.data));
  stream.onerror = () => {
    if (app.watching && Object.values(app.jobs).every(isFinished)) return stream.close(); // The run has ended.
    trouble("The server does not answer; trying again. If it has ended, start `stylecore serve` again: nothing is lost.");
    if (stream?.readyState !== EventSource.CLOSED) return;
    stream = null;
    setTimeout(listen, RETRY);
  };
}

function rest() {
  stream?.close();
  stream = null;
  const poll = setInterval(async () => {
    if (!document.hidden) return clearInterval(poll);
    const { jobs } = await get("api/start").catch(() => ({}));
    if (jobs) Object.assign(app, { jobs });
    showTitle();
  }, POLL);
}

async function receive(message) {
  const unknown = Object.values(message.jobs).some((job) => job && [job.content, ...job.styles].some((id) => !app.pictures[id]));
  if (unknown) app.pictures = { ...app.pictures, ...(await get("api/start")).pictures }; // Another tab has added some.
  for (const [id, job] of Object.entries(message.jobs)) {
    if (job) app.jobs[id] = job;
    else delete app.jobs[id];
    if (!job && app.selected === id) app.selected = null;
  }
  $("notice").textContent = message.notice ? sentence(message.notice) : "";
  if (message.losses) {
    const { job, from, rows } = message.losses;
    app.losses[job] = [...(app.losses[job] ?? []).slice(0, from), ...rows];
    if (rows.length) tell("losses");
  }
  if (Object.keys(message.jobs).length) tell("jobs");
}

function wanted(regions) {
  const { content, styles, given, look } = app.draft;
  const shares = styles.length > 1 ? styles.map((style) => style.share) : [];
  return { content, styles: styles.map((style) => style.id), shares, regions, given, look };
}

async function paint() {
  trouble("");
  $("paint").disabled = true;
  try {
    const regions = app.draft.regions ?? (await uploadRegions());
    const job = await post("api/jobs", wanted(regions));
    app.jobs[job.id] = job;
    app.selected = job.id;
    tell("jobs");
    tell("selected");
    if (matchMedia("(max-width: 60rem)").matches) $("main").scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    trouble(error.message);
  } finally {
    showActions();
  }
}

function change() {
  order(app.jobs[app.selected], "change", { given: app.draft.given, look: app.draft.look });
}

// The settings of a job include the optimizer even where it is the default.
function differs(job) {
  const words = (given) => JSON.stringify(Object.entries(given).filter(([name]) => name !== "optimizer").sort());
  return words(job.given) !== words(app.draft.given);
}

function showActions() {
  const job = app.jobs[app.selected];
  const isOpen = job && (isActive(job) || job.state === "paused");
  const isReady = Boolean(app.draft.content && app.draft.styles.length);
  $("paint").disabled = !isReady;
  $("paint").textContent = isOpen ? "Paint another" : "Paint";
  $("change").hidden = !(isOpen && differs(job));
  $("paint").classList.toggle("primary", $("change").hidden);
  $("change").classList.toggle("primary", !$("change").hidden);
}

let timer = 0;
function predictSoon() {
  clearTimeout(timer);
  timer = setTimeout(predict, 400);
}

async function predict() {
  const number = (asked += 1);
  const line = $("prediction");
  line.classList.remove("bad");
  if (!app.draft.content || !app.draft.styles.length) {
    line.textContent = app.draft.content ? "Now choose a painting." : "Choose a photograph and a painting.";
    return;
  }
  try {
    const regions = Array.from({ length: regionCount() }, () => ({ mask: "rest", styles: [0] }));
    const answer = await post("api/predict", wanted(regions));
    if (number === asked) line.textContent = described(answer);
  } catch (error) {
    if (number !== asked) return;
    line.textContent = error.message;
    line.classList.add("bad");
  }
}

function described({ size, bytes: memory, seconds, download }) {
  const picture = `${size[0]} × ${size[1]} pixels`;
  if (download) return `${picture}. The network is downloaded first, once: ${download} MB.`;
  const time = seconds ? `about ${duration(seconds)} and ` : "";
  return `${picture}: ${time}${bytes(memory)} of memory.`;
}

function setUpPages() {
  const show = () => {
    const page = PAGES[location.hash.slice(1)] ? location.hash.slice(1) : "paint";
    for (const each of Object.keys(PAGES)) $(`page-${each}`).hidden = each !== page;
    $("tabs").replaceChildren(...Object.entries(PAGES).map(([each, title]) =>
      el("a", { href: `#${each}`, "aria-current": each === page ? "page" : false }, title)));
    tell("page");
  };
  addEventListener("hashchange", show);
  show();
}

function showTitle() {
  const job = Object.values(app.jobs).find((each) => each.state === "painting");
  const selected = app.jobs[app.selected];
  if (job?.steps) document.title = `${Math.round((100 * job.step) / job.steps)} % · stylecore`;
  else document.title = selected?.state === "done" ? "Done · stylecore" : "stylecore";
}

begin();
