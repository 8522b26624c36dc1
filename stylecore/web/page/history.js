// What was made on this machine, as cards.

import { app, isFinished, on } from "./app.js";
import { $, el, redraw } from "./dom.js";
import { again, commandDialog, describe, downloads, open, order } from "./jobs.js";

const PAUSE = 1000; // ms between two drawings

let timer = 0;

export function setUpHistory() {
  on("jobs", () => {
    timer ||= setTimeout(draw, PAUSE);
  });
  on("page", draw);
  draw();
}

function draw() {
  clearTimeout(timer);
  timer = 0;
  if ($("page-history").hidden) return;
  const jobs = Object.values(app.jobs).sort((a, b) => b.created - a.created);
  redraw($("cards"), ...(jobs.length ? jobs.map(card) : [el("li", { class: "hint" }, "Nothing has been painted yet.")]));
}

export function card(job) {
  const name = app.pictures[job.content].name;
  const styles = job.styles.map((id) => app.pictures[id].name).join(", ");
  const what = job.kind === "film" ? "film" : "picture";
  const image = isFinished(job) ? `jobs/${job.id}/small` : job.picture ? `jobs/${job.id}/now?n=${job.picture}` : `pictures/${job.content}/small`;
  const settings = Object.entries(job.given).filter(([each]) => each !== "optimizer").map(([each, value]) => `${each.replaceAll("_", " ")} ${value}`);
  return el("li", { class: "made" },
    el("button", { type: "button", class: "open", onclick: () => open(job), "aria-label": `Show the ${what} of ${name}` }, el("img", { src: image, alt: "", loading: "lazy" })),
    el("div", { class: "about" },
      el("b", { title: name }, name),
      el("span", { class: "hint" }, `${job.kind === "sketch" ? "coloured from" : "in the style of"} ${styles}`),
      el("span", { class: "hint" }, [job.look, ...settings].filter(Boolean).join(", ") || "default settings"),
      el("span", { class: "hint" }, describe(job)),
      el("div", { class: "buttons" },
        ...(isFinished(job) ? downloads(job) : []),
        isFinished(job) && job.kind === "picture" ? el("button", { type: "button", class: "small", onclick: () => order(job, "larger") }, "Larger") : null,
        el("button", { type: "button", class: "small", onclick: () => again(job) }, "Again"),
        el("button", { type: "button", class: "small", onclick: () => commandDialog(job) }, "Copy the command"),
        el("button", { type: "button", class: "small", "aria-label": `Remove the ${what} of ${name}`, onclick: () => order(job, "remove"), disabled: job.state === "painting" }, "Remove"))));
}
