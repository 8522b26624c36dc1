// Regions: painted with a brush on the photograph, each with the painting that it takes.
//
// Strokes are kept as points, so that undo removes the last one, and they are drawn again at any size. A stroke belongs
// to a region (0 is the eraser); where strokes overlap, the last one counts.

import { upload } from "./api.js";
import { app, on, tell } from "./app.js";
import { el, redraw, say } from "./dom.js";

export const KEEP = "keep"; // The photograph stays as it is.
const ALL = "all";
const MASK_SIDE = 1024;
const MOST = 6;
const STEP = 0.02; // of the width, for an arrow key

const brush = { region: 1, size: 0.08, x: 0.5, y: 0.35 };

const count = () => Math.max(1, ...app.draft.strokes.map((stroke) => stroke.region));
const painted = () => [...new Set(app.draft.strokes.map((stroke) => stroke.region))].filter((region) => region > 0).sort();

export function useOf(region) {
  const use = app.draft.uses[region];
  const styles = app.draft.styles.length;
  if (use !== undefined && (use === KEEP || use === ALL || use < styles)) return use;
  if (styles > 1) return region === "rest" ? 0 : Number(region) % styles;
  return region === "rest" ? KEEP : 0;
}

// How many regions a job has, for the prediction.
export function regionCount() {
  return painted().length ? [...painted(), "rest"].filter((region) => useOf(region) !== KEEP).length : 0;
}

function indices(use) {
  return use === ALL ? app.draft.styles.map((_, i) => i) : [use];
}

// The regions as the server takes them; their masks are uploaded first.
export async function uploadRegions() {
  const regions = painted();
  if (!regions.length) return [];
  const taking = regions.filter((region) => useOf(region) !== KEEP);
  const rest = useOf("rest");
  if (!taking.length && rest === KEEP) throw new Error("Every part of the photograph is kept; choose a painting for one.");
  const result = [];
  for (const region of taking) {
    const mask = await uploadMask((stroke) => stroke.region === region, false);
    if (mask) result.push({ mask, styles: indices(useOf(region)) });
  }
  if (rest !== KEEP) {
    const keepsSome = taking.length < regions.length;
    const mask = keepsSome ? await uploadMask((stroke) => stroke.region === 0, true) : "rest";
    if (mask) result.push({ mask, styles: indices(rest) });
  }
  return result;
}

async function uploadMask(belongs, background) {
  const { width, height } = app.pictures[app.draft.content];
  const scale = Math.min(1, MASK_SIDE / Math.max(width, height));
  const canvas = el("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = background ? "#fff" : "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const stroke of app.draft.strokes) trace(context, stroke, canvas.width, belongs(stroke) ? "#fff" : "#000");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  if (!data.some((value, i) => i % 4 === 0 && value > 0)) return null;
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return (await upload(blob, "region.png", { "mask-of": app.draft.content })).id;
}

// Coordinates are relative to the width.
function trace(context, stroke, width, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = stroke.size * width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  stroke.points.forEach(([x, y], i) => (i ? context.lineTo(x * width, y * width) : context.moveTo(x * width, y * width)));
  if (stroke.points.length === 1) context.lineTo(stroke.points[0][0] * width + 0.01, stroke.points[0][1] * width);
  context.stroke();
}

export function regionTool() {
  const picture = app.pictures[app.draft.content];
  const ratio = picture.height / picture.width;
  const width = 1000;
  const canvas = el("canvas", { width, height: Math.round(width * ratio), tabindex: "0", role: "application",
    "aria-label": "Brush on the photograph. Arrow keys move it, space paints, plus and minus change its size, control Z undoes the last stroke." });
  const context = canvas.getContext("2d");
  let stroke = null;
  let pointer = null;

  function colour(region) {
    return getComputedStyle(canvas).getPropertyValue(`--region-${region}`);
  }

  function draw() {
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const each of stroke ? [...app.draft.strokes, stroke] : app.draft.strokes) {
      context.globalCompositeOperation = "destination-out";
      trace(context, each, width, "#000");
      context.globalCompositeOperation = "source-over";
      if (each.region) trace(context, each, width, colour(each.region));
    }
    const at = pointer ?? (document.activeElement === canvas ? [brush.x, brush.y] : null);
    if (!at) return;
    context.lineWidth = 3;
    for (const [shade, radius] of [["#000", 2], ["#fff", -1]]) {
      context.strokeStyle = shade;
      context.beginPath();
      context.arc(at[0] * width, at[1] * width, Math.max(2, (brush.size * width) / 2 + radius), 0, 7);
      context.stroke();
    }
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.width];
  }

  function finish() {
    if (!stroke) return;
    const finished = stroke;
    stroke = null;
    add(finished);
  }

  function add(finished) {
    delete app.draft.regions;
    app.draft.strokes.push(finished);
    tell("draft");
  }

  function undo() {
    app.draft.strokes.pop();
    tell("draft");
    say("The last stroke is undone.");
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    stroke = { region: brush.region, size: brush.size, points: [place(event).map(rounded)] };
    draw();
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    pointer = place(event);
    if (stroke) stroke.points.push(pointer.map(rounded));
    draw();
  });
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("pointerleave", () => { pointer = null; draw(); });
  for (const type of ["focus", "blur"]) canvas.addEventListener(type, draw);
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) {
      brush.x = Math.min(1, Math.max(0, brush.x + STEP * moves[event.key][0]));
      brush.y = Math.min(ratio, Math.max(0, brush.y + STEP * moves[event.key][1]));
      pointer = null;
    } else if (event.key === " ") {
      add({ region: brush.region, size: brush.size, points: [[brush.x, brush.y].map(rounded)] });
    } else if (event.key === "+" || event.key === "-") {
      setSize(brush.size * (event.key === "+" ? 1.25 : 0.8));
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      undo();
    } else return;
    event.preventDefault();
    draw();
  });

  const slider = el("input", { type: "range", min: "1", max: "40", id: "brush-size", oninput: (event) => {
    brush.size = event.target.value / 100;
    draw();
  } });
  function setSize(size) {
    brush.size = Math.min(0.4, Math.max(0.01, size));
    slider.value = String(Math.round(brush.size * 100));
  }
  setSize(brush.size);

  const tools = el("div", { class: "tools" });
  const uses = el("div", { class: "uses" });

  function choose(region) {
    brush.region = region;
    update();
  }

  function update() {
    const regions = Array.from({ length: Math.min(MOST, count() + (painted().includes(count()) ? 1 : 0)) }, (_, i) => i + 1);
    const chip = (region, words) => el("button", { type: "button", class: "chip", "aria-pressed": String(brush.region === region), onclick: () => choose(region) },
      region ? el("span", { class: `dot region-${region}` }) : null, words);
    redraw(tools,
      el("div", { class: "chips", role: "group", "aria-label": "What the brush paints" },
        ...regions.map((region) => chip(region, `Region ${region}`)), chip(0, "Eraser")),
      el("label", { class: "brush", for: "brush-size" }, "Brush size ", slider),
      el("button", { type: "button", class: "small", disabled: !app.draft.strokes.length, onclick: undo }, "Undo"),
      el("button", { type: "button", class: "small", disabled: !app.draft.strokes.length && !app.draft.regions, onclick: () => {
        Object.assign(app.draft, { strokes: [], uses: {}, regions: undefined });
        brush.region = 1;
        tell("draft");
      } }, "Clear"));
    redraw(uses, ...(painted().length ? [...painted(), "rest"].map(useRow) : []),
      ...(app.draft.regions ? [el("p", { class: "hint" }, "The regions of the earlier picture are used again; brush to replace them.")] : []));
    draw();
  }

  function useRow(region) {
    const id = `use-${region}`;
    const options = [
      ...app.draft.styles.map((style, i) => [String(i), app.pictures[style.id].name]),
      ...(app.draft.styles.length > 1 ? [[ALL, "all paintings together"]] : []),
      [KEEP, "nothing: the photograph stays as it is"],
    ];
    const select = el("select", { id, onchange: (event) => {
      app.draft.uses[region] = [ALL, KEEP].includes(event.target.value) ? event.target.value : Number(event.target.value);
      tell("draft");
    } }, ...options.map(([value, words]) => el("option", { value }, words)));
    select.value = String(useOf(region));
    return el("div", { class: "use" },
      el("label", { for: id }, region === "rest" ? null : el("span", { class: `dot region-${region}` }),
        region === "rest" ? "Everywhere else takes" : `Region ${region} takes`), select);
  }

  on("draft", () => canvas.isConnected && update());
  requestAnimationFrame(update);
  const sheet = el("div", { class: "sheet" },
    el("img", { src: `pictures/${picture.id}/view`, alt: picture.name, width: picture.width, height: picture.height }), canvas);
  sheet.style.setProperty("--ratio", String(picture.width / picture.height));
  return el("section", { class: "brushing", "aria-label": "Regions" },
    el("div", { class: "frame" }, sheet),
    el("p", { class: "hint" }, "Brush over a part of the photograph to give it a painting of its own, or to keep it as it is. Without regions, the whole photograph is painted."),
    tools, uses);
}

const rounded = (value) => Math.round(value * 1e4) / 1e4;
