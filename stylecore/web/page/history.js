// What was made on this machine: again, larger, downloads, and the command that makes the same picture.

import { get } from "./api.js";
import { app, isFinished, on, tell } from "./app.js";
import { $, el, say, trouble } from "./dom.js";
import { describe, order } from "./stage.js";

const FORMATS = [["png", "PNG"], ["jpg", "JPEG"], ["tif", "16-bit TIFF"]];

export function setUpHistory() {
  on("jobs", draw);
  on("page", draw);
  draw();
}

export function downloads(job) {
  return FORMATS.map(([suffix, words]) =>
    el("a", { class: "button", href: `jobs/${job.id}/${suffix}`, download: "", "aria-label": `Download as ${words}` }, words));
}

function draw() {
  if ($("page-history").hidden) return;
  const jobs = Object.values(app.jobs).sort((a, b) => b.created - a.created);
  $("cards").replaceChildren(...(jobs.length ? jobs.map(card) : [el("li", { class: "hint" }, "Nothing has been painted yet.")]));
}

function card(job) {
  const name = app.pictures[job.content].name;
  const styles = job.styles.map((id) => app.pictures[id].name).join(", ");
  const open = () => {
    app.selected = job.id;
    location.hash = "paint";
    tell("selected");
  };
  const image = isFinished(job) ? `jobs/${job.id}/small` : job.picture ? `jobs/${job.id}/now?n=${job.picture}` : `pictures/${job.content}/small`;
  const settings = Object.entries(job.given).filter(([each]) => each !== "optimizer").map(([each, value]) => `${each.replaceAll("_", " ")} ${value}`);
  return el("li", { class: "made" },
    el("button", { type: "button", class: "open", onclick: open, "aria-label": `Show the picture of ${name}` }, el("img", { src: image, alt: "", loading: "lazy" })),
    el("div", { class: "about" },
      el("b", { title: name }, name),
      el("span", { class: "hint" }, `in the style of ${styles}`),
      el("span", { class: "hint" }, [job.look, ...settings].filter(Boolean).join(", ") || "default settings"),
      el("span", { class: "hint" }, describe(job)),
      el("div", { class: "buttons" },
        ...(isFinished(job) ? downloads(job) : []),
        isFinished(job) ? el("button", { type: "button", class: "small", onclick: () => { location.hash = "paint"; order(job, "larger"); } }, "Larger") : null,
        el("button", { type: "button", class: "small", onclick: () => again(job) }, "Again"),
        el("button", { type: "button", class: "small", onclick: () => commandDialog(job) }, "Copy the command"),
        el("button", { type: "button", class: "small", "aria-label": `Remove the picture of ${name}`, onclick: () => order(job, "remove"), disabled: job.state === "painting" }, "Remove"))));
}

// Choose the pictures and settings of a job again.
export function again(job) {
  const { optimizer, ...given } = job.given;
  if (optimizer && optimizer !== app.dials.find((dial) => dial.name === "optimizer").default) given.optimizer = optimizer;
  const shares = job.styles.map((_, i) => job.shares[i] ?? 50);
  Object.assign(app.draft, {
    content: job.content,
    styles: job.styles.map((id, i) => ({ id, share: shares[i] })),
    given,
    look: job.look,
    strokes: [],
    uses: {},
    regions: job.regions.length ? job.regions : undefined,
  });
  app.selected = null;
  location.hash = "paint";
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
    el("h2", { id: "dialog-title" }, "The same picture without this page"),
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
