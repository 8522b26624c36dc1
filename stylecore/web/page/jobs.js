// What can be done with a job, and how it is described: on the stage and in the history.

import { get, post } from "./api.js";
import { app, tell } from "./app.js";
import { $, duration, el, say, trouble } from "./dom.js";
import { pageOf } from "./kinds.js";

const PICTURE = [["png", "PNG"], ["jpg", "JPEG"], ["tif", "16-bit TIFF"]];
const FORMATS = { picture: PICTURE, sketch: [...PICTURE, ["stages", "Stages"]], film: [["mp4", "MP4"]] };

export function describe(job) {
  const { state, step, steps, scales } = job;
  const unit = job.kind === "film" ? "frame" : "step";
  if (state === "waiting") return job.place > 1 ? `Waiting, number ${job.place} in the queue.` : "Waiting for its turn.";
  if (state === "painting" && !step) return "Getting ready…";
  if (state === "painting") {
    let at = step;
    const scale = scales.find(([, count]) => { at -= count; return at <= 0; }) ?? scales.at(-1);
    const left = job.left ? `, about ${duration(job.left)} left` : "";
    const ending = job.ending ? ", stopping" : "";
    return `${unit === "frame" ? "Frame" : "Step"} ${step} of ${steps} at ${scale[0][1]} × ${scale[0][0]} pixels${left}${ending}.`;
  }
  const size = job.size.length ? `${job.size[0]} × ${job.size[1]} pixels, ` : "";
  if (state === "done") return `Done: ${size}${step} ${unit}s in ${duration(job.seconds)}.`;
  if (state === "stopped") return `Stopped and kept: ${size}after ${step} of ${steps} steps.`;
  if (state === "paused") return steps ? `Paused after ${unit} ${step} of ${steps}.` : "Paused.";
  return `This ${job.kind} could not be painted.`;
}

// Show a job on the page of its kind.
export function open(job) {
  app.spaces[pageOf(job)].selected = job.id;
  location.hash = pageOf(job);
  tell("selected");
}

export async function order(job, what, body) {
  trouble("");
  try {
    const answer = await post(`api/jobs/${job.id}/${what}`, body);
    if (what === "remove") delete app.jobs[job.id];
    else app.jobs[answer.id] = answer;
    if (what === "remove") forget(job.id);
    tell("jobs");
    if (what === "larger") open(answer);
    else tell("selected");
  } catch (error) {
    trouble(error.message);
  }
}

// A job that is gone is on no stage.
export function forget(id) {
  for (const space of Object.values(app.spaces)) if (space.selected === id) space.selected = null;
}

export function downloads(job) {
  return FORMATS[job.kind].map(([suffix, words]) =>
    el("a", { class: "button", href: `jobs/${job.id}/${suffix}`, download: "", "aria-label": `Download as ${words}` }, words));
}

// Choose the pictures and settings of a job again.
export function again(job) {
  const { optimizer, ...given } = job.given;
  if (optimizer && optimizer !== app.dialsOf[job.kind].find((dial) => dial.name === "optimizer").default) given.optimizer = optimizer;
  const shares = job.styles.map((_, i) => job.shares[i] ?? 50);
  const page = pageOf(job);
  const contents = job.group ? Object.values(app.jobs).filter((each) => each.group === job.group).map((each) => each.content) : [];
  Object.assign(app.spaces[page].draft, {
    content: job.group ? null : job.content,
    contents,
    styles: job.styles.map((id, i) => ({ id, share: shares[i] })),
    given,
    look: job.look,
    strokes: [],
    uses: {},
    regions: job.regions.length ? job.regions : undefined,
  });
  app.spaces[page].selected = null;
  location.hash = page;
  tell("draft");
  tell("selected");
}

export async function commandDialog(job) {
  let commands;
  try {
    ({ commands } = await get(`api/jobs/${job.id}`));
  } catch (error) {
    trouble(error.message);
    return;
  }
  const block = (title, text) => el("section", {},
    el("div", { class: "line" }, el("h3", {}, title),
      el("button", { type: "button", class: "small", onclick: () => copy(text, title) }, "Copy")),
    el("pre", { tabindex: "0", "aria-label": title }, el("code", {}, text)));
  const files = Object.entries(commands.files).map(([name, path]) => el("li", {}, el("a", { href: path, download: name }, name)));
  $("dialog").replaceChildren(
    el("h2", { id: "dialog-title" }, `The same ${job.kind === "film" ? "film" : "picture"} without this page`),
    block("Command line", commands.shell),
    commands.python ? block("Python", commands.python) : "",
    el("p", { class: "hint" }, "Run it in a folder with these files: your own, or as the page keeps them."),
    el("ul", { class: "files" }, ...files),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, "Close")));
  $("dialog").showModal();
}

async function copy(text, title) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${title} copied.`);
  } catch {
    say("The browser does not allow copying; select the text.");
  }
}
