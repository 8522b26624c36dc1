// The page: starts its parts, listens to the server, and submits jobs.

import { get, post } from "./api.js";
import { app, isActive, isFinished, on, restoreDrafts, tell } from "./app.js";
import { setUpDials } from "./dials.js";
import { $, bytes, duration, el, sentence, trouble } from "./dom.js";
import { setUpHistory } from "./history.js";
import { setUpInputs } from "./inputs.js";
import { forget, order } from "./jobs.js";
import { KINDS, pageOf } from "./kinds.js";
import { regionCount, uploadRegions } from "./regions.js";
import { setUpStage } from "./stage.js";

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
  Object.assign(app, { pictures: start.pictures, jobs: start.jobs, kinds: start.kinds, dialsOf: start.dials, looks: start.looks, lookPictures: start.look_pictures, limits: start.limits, watching: start.watching });
  document.body.classList.toggle("watching", app.watching);
  if (!app.watching) restoreDrafts();
  const candidates = Object.values(app.jobs).filter((job) => app.watching || (isActive(job) && !job.group));
  for (const job of candidates.sort((a, b) => b.created - a.created)) app.spaces[pageOf(job)].selected = job.id;
  setUpPages();
  setUpInputs();
  setUpDials();
  setUpStage();
  setUpHistory();
  $("form").addEventListener("submit", (event) => { event.preventDefault(); paint(); });
  $("change").addEventListener("click", change);
  for (const what of ["draft", "jobs", "selected", "page"]) on(what, showActions);
  for (const what of ["draft", "page"]) on(what, predictSoon);
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
    if (!job) forget(id);
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
  const { content, contents, styles, given, look } = app.draft;
  const shares = styles.length > 1 ? styles.map((style) => style.share) : [];
  const first = app.words.several ? contents[0] : content;
  return { kind: app.words.kind, content: first, styles: styles.map((style) => style.id), shares, regions, given, look };
}

const hasContent = () => Boolean(app.words.several ? app.draft.contents.length : app.draft.content);

async function paint() {
  trouble("");
  $("paint").disabled = true;
  try {
    if (app.words.several) {
      const { jobs } = await post("api/folders", { ...wanted([]), contents: app.draft.contents });
      for (const job of jobs) app.jobs[job.id] = job;
      app.selected = null;
    } else {
      const regions = app.draft.regions ?? (app.words.kind === "picture" ? await uploadRegions() : []);
      const job = await post("api/jobs", wanted(regions));
      app.jobs[job.id] = job;
      app.selected = job.id;
    }
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
  const isOpen = job && job.kind === "picture" && !job.group && (isActive(job) || job.state === "paused");
  $("paint").disabled = !(hasContent() && app.draft.styles.length);
  const verb = app.words.kind === "sketch" ? "Colour" : "Paint";
  $("paint").textContent = isOpen ? "Paint another" : app.words.several ? "Paint all" : verb;
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
  if (!hasContent() || !app.draft.styles.length) {
    const { one, style } = app.words;
    line.textContent = hasContent() ? `Now choose a ${style}.` : `Choose a ${one} and a ${style}.`;
    return;
  }
  try {
    const count = app.page === "paint" ? regionCount() : 0;
    const regions = Array.from({ length: count }, () => ({ mask: "rest", styles: [0] }));
    const answer = await post("api/predict", wanted(regions));
    if (number === asked) line.textContent = described(answer);
  } catch (error) {
    if (number !== asked) return;
    line.textContent = error.message;
    line.classList.add("bad");
  }
}

function described({ size, bytes: memory, seconds, download, frames }) {
  const count = app.words.several ? app.draft.contents.length : 1;
  const many = frames ? `${frames} frames of ` : count > 1 ? `${count} pictures, the first of ` : "";
  const picture = `${many}${size[0]} × ${size[1]} pixels`;
  if (download) return `${picture}. The network is downloaded first, once: ${download} MB.`;
  if (!memory) return `${picture}.`;
  // What is new in a frame takes more steps, and is known only later.
  const time = seconds ? `${frames ? "at least" : "about"} ${duration(seconds * count)} and ` : "";
  return `${picture}: ${time}${bytes(memory)} of memory.`;
}

function setUpPages() {
  const pages = Object.keys(KINDS).filter((page) => app.kinds.includes(KINDS[page].kind));
  const titles = { ...Object.fromEntries(pages.map((page) => [page, KINDS[page].title])), history: "History" };
  const show = () => {
    const page = titles[location.hash.slice(1)] ? location.hash.slice(1) : "paint";
    if (page !== "history") app.page = page;
    $("page-studio").hidden = page === "history";
    $("page-history").hidden = page !== "history";
    $("tabs").replaceChildren(...Object.entries(titles).map(([each, title]) =>
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
