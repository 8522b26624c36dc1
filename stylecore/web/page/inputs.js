// What is painted and the paintings: dropped, pasted, chosen, or the program's own.

import { post, upload } from "./api.js";
import { app, on, tell } from "./app.js";
import { $, el, redraw, say, trouble } from "./dom.js";

let uploading = 0;

export function setUpInputs() {
  for (const what of ["draft", "page"]) on(what, draw);
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    const place = event.target.closest?.("[data-role]");
    take([...event.dataTransfer.files], place?.dataset.role);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  draw();
}

export async function take(files, role) {
  trouble("");
  const { page } = app;
  for (const file of files) {
    const as = role ?? roleOf(file);
    const isFilm = as === "content" && app.words.kind === "film";
    const most = isFilm ? app.limits.film_bytes : app.limits.bytes;
    if (file.size > most) {
      trouble(`${file.name} has over ${Math.round(most / 2 ** 20)} MB; save it smaller first.`);
      continue;
    }
    await add(page, as, () => upload(file, file.name || "pasted.png", isFilm ? { kind: "film" } : {}));
  }
}

// Where no place is named: the first picture is what is painted, and so are all of a folder, and every film.
function roleOf(file) {
  if (app.words.several) return "content";
  if (app.words.kind === "film") return file.type.startsWith("image/") && file.type !== "image/gif" ? "style" : "content";
  return app.draft.content ? "style" : "content";
}

export async function takeSamples() {
  trouble("");
  const { page } = app;
  await add(page, "content", () => post("api/samples/photograph"));
  await add(page, "style", () => post("api/samples/painting"));
}

async function add(page, role, request) {
  uploading += 1;
  draw();
  try {
    const picture = await request();
    app.pictures[picture.id] = picture;
    if (picture.note) trouble(picture.note);
    if (page !== app.page) return; // The user has gone to another page meanwhile.
    if (role === "style") addStyle(picture.id);
    else if (app.words.several) addContent(picture.id);
    else chooseContent(picture.id);
    say(`${picture.name} is ready.`);
  } catch (error) {
    trouble(error.message);
  } finally {
    uploading -= 1;
    draw();
  }
}

export function chooseContent(id) {
  if (app.draft.content !== id) Object.assign(app.draft, { strokes: [], uses: {}, regions: undefined });
  app.draft.content = id;
  app.selected = null;
  tell("draft");
  tell("selected");
}

function addContent(id) {
  if (app.draft.contents.includes(id)) return;
  if (app.draft.contents.length >= app.limits.jobs) {
    trouble(`There can be at most ${app.limits.jobs} photographs at a time.`);
    return;
  }
  app.draft.contents.push(id);
  app.selected = null;
  tell("draft");
  tell("selected");
}

function removeContent(id) {
  app.draft.contents = app.draft.contents.filter((each) => each !== id);
  tell("draft");
}

function addStyle(id) {
  if (app.draft.styles.some((style) => style.id === id)) return;
  if (app.draft.styles.length >= app.limits.styles) {
    trouble(`There can be at most ${app.limits.styles} ${app.words.style}s.`);
    return;
  }
  app.draft.styles.push({ id, share: 50 });
  tell("draft");
}

function removeStyle(index) {
  app.draft.styles.splice(index, 1);
  Object.assign(app.draft, { uses: {}, regions: undefined });
  tell("draft");
}

function draw() {
  const { content, contents, styles } = app.draft;
  $("head-content").textContent = app.words.content;
  $("head-styles").textContent = app.words.styles;
  if (app.words.several) {
    redraw($("content"), el("ul", { class: "styles" }, ...contents.map(photographCard)),
      dropZone("content", contents.length ? "Add more photographs" : "Drop, paste or choose photographs", contents.length > 0));
  } else redraw($("content"), content ? contentCard() : dropZone("content", `Drop, paste or choose a ${app.words.one}`));
  const cards = styles.map(styleCard);
  const words = cards.length ? `Add another ${app.words.style}` : `Drop, paste or choose a ${app.words.style}`;
  redraw($("styles"), el("ul", { class: "styles" }, ...cards), dropZone("style", words, cards.length > 0));
}

function thumbnail(picture) {
  return el("img", { src: `pictures/${picture.id}/small`, alt: "", class: "thumb" });
}

function contentCard() {
  const picture = app.pictures[app.draft.content];
  return el("div", { class: "card", "data-role": "content" },
    thumbnail(picture),
    el("div", { class: "about" },
      el("b", { title: picture.name }, picture.name),
      el("span", { class: "hint" }, `${picture.width} × ${picture.height} pixels`)),
    chooser("content", "Replace", "button small"));
}

function photographCard(id) {
  const picture = app.pictures[id];
  return el("li", { class: "card" },
    thumbnail(picture),
    el("div", { class: "about" }, el("b", { title: picture.name }, picture.name)),
    el("button", { type: "button", class: "small", "aria-label": `Remove ${picture.name}`, onclick: () => removeContent(id) }, "Remove"));
}

function styleCard(style, index) {
  const picture = app.pictures[style.id];
  const id = `share-${index}`;
  const several = app.draft.styles.length > 1 && app.words.kind !== "sketch";
  const total = app.draft.styles.reduce((sum, each) => sum + each.share, 0) || 1;
  const output = el("output", { for: id }, `${Math.round((100 * style.share) / total)} %`);
  const slider = el("input", { id, type: "range", min: "1", max: "100", value: String(style.share), oninput: (event) => {
    style.share = Number(event.target.value);
    showShares();
  }, onchange: () => tell("draft") });
  return el("li", { class: "card" },
    thumbnail(picture),
    el("div", { class: "about" },
      el("b", { title: picture.name }, picture.name),
      several
        ? el("span", { class: "share" }, el("label", { for: id, class: "unseen" }, `Share of ${picture.name}`), slider, output)
        : el("span", { class: "hint" }, `${picture.width} × ${picture.height} pixels`)),
    el("button", { type: "button", class: "small", "aria-label": `Remove ${picture.name}`, onclick: () => removeStyle(index) }, "Remove"));
}

function showShares() {
  const total = app.draft.styles.reduce((sum, each) => sum + each.share, 0);
  document.querySelectorAll(".share output").forEach((output, i) => {
    output.value = `${Math.round((100 * app.draft.styles[i].share) / total)} %`;
  });
}

function dropZone(role, words, isSmall = false) {
  const busy = uploading > 0;
  return el("div", { class: `drop${isSmall ? " slim" : ""}`, "data-role": role },
    chooser(role, busy ? "Reading the file…" : words, "zone", busy));
}

function chooser(role, words, className, disabled = false) {
  const input = el("input", { type: "file", accept: role === "content" ? app.words.accept : "image/*", class: "unseen", disabled,
    multiple: role === "style" || Boolean(app.words.several),
    onchange: (event) => take([...event.target.files], role) });
  return el("label", { class: className }, input, el("span", {}, words));
}
