// The state of the page, and the events by which its parts hear of changes.

export const app = Object.assign(new EventTarget(), {
  pictures: {}, // by identifier
  jobs: {}, // by identifier
  losses: {}, // rows of each job, by its identifier
  dials: [],
  looks: {},
  limits: {},
  watching: false, // whether the page only shows a run of the command line
  selected: null, // identifier of the job on the stage
  draft: { content: null, styles: [], given: {}, look: null, strokes: [], uses: {} },
});

const KEPT = "stylecore draft";

export function tell(what) {
  app.dispatchEvent(new Event(what));
  if (what === "draft" && !app.watching) localStorage.setItem(KEPT, JSON.stringify(app.draft));
}

export function on(what, listener) {
  app.addEventListener(what, listener);
}

// After a reload, go on with the same choice, as far as its pictures still exist.
export function restoreDraft() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
    const known = new Set(app.dials.map((dial) => dial.name));
    if (app.pictures[kept.content]) app.draft.content = kept.content;
    app.draft.styles = (kept.styles ?? []).filter((style) => app.pictures[style.id]);
    app.draft.given = Object.fromEntries(Object.entries(kept.given ?? {}).filter(([name]) => known.has(name)));
    app.draft.look = app.looks[kept.look] ? kept.look : null;
    if (app.draft.content) Object.assign(app.draft, { strokes: kept.strokes ?? [], uses: kept.uses ?? {} });
  } catch {
    localStorage.removeItem(KEPT);
  }
}

export const isActive = (job) => ["waiting", "painting"].includes(job.state);
export const isFinished = (job) => ["done", "stopped"].includes(job.state);
