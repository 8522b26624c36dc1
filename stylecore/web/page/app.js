// The state of the page, and the events by which its parts hear of changes.

import { KINDS } from "./kinds.js";

const emptyDraft = () => ({ content: null, contents: [], styles: [], given: {}, look: null, strokes: [], uses: {} });

export const app = Object.assign(new EventTarget(), {
  pictures: {}, // by identifier
  jobs: {}, // by identifier
  losses: {}, // rows of each job, by its identifier
  kinds: ["picture"], // those that can be made here
  dialsOf: {}, // by kind
  looks: {},
  limits: {},
  watching: false, // whether the page only shows a run of the command line
  page: "paint", // of those in KINDS
  // What is chosen on each page, and the identifier of the job on its stage.
  spaces: Object.fromEntries(Object.keys(KINDS).map((page) => [page, { draft: emptyDraft(), selected: null }])),
});

const current = (name) => ({
  get: () => app.spaces[app.page][name],
  set: (value) => { app.spaces[app.page][name] = value; },
});

Object.defineProperties(app, {
  draft: current("draft"),
  selected: current("selected"),
  dials: { get: () => app.dialsOf[KINDS[app.page].kind] },
  words: { get: () => KINDS[app.page] },
});

const KEPT = "stylecore drafts";

export function tell(what) {
  app.dispatchEvent(new Event(what));
  if (what !== "draft" || app.watching) return;
  localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(Object.entries(app.spaces).map(([page, { draft }]) => [page, draft]))));
}

export function on(what, listener) {
  app.addEventListener(what, listener);
}

// After a reload, go on with the same choice, as far as its pictures still exist.
export function restoreDrafts() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
    for (const page of Object.keys(KINDS)) restore(app.spaces[page].draft, kept[page] ?? {}, KINDS[page].kind);
  } catch {
    localStorage.removeItem(KEPT);
  }
}

function restore(draft, kept, kind) {
  const known = new Set(app.dialsOf[kind].map((dial) => dial.name));
  if (app.pictures[kept.content]) draft.content = kept.content;
  draft.contents = (kept.contents ?? []).filter((id) => app.pictures[id]);
  draft.styles = (kept.styles ?? []).filter((style) => app.pictures[style.id]);
  draft.given = Object.fromEntries(Object.entries(kept.given ?? {}).filter(([name]) => known.has(name)));
  draft.look = app.looks[kept.look] ? kept.look : null;
  if (draft.content) Object.assign(draft, { strokes: kept.strokes ?? [], uses: kept.uses ?? {} });
}

export const isActive = (job) => ["waiting", "painting"].includes(job.state);
export const isFinished = (job) => ["done", "stopped"].includes(job.state);
