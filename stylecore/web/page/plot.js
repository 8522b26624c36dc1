// The losses as a plot, on a logarithmic scale, as an SVG of our own.

import { svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 220, 44, 24, 18];
const SERIES = [["loss", 4], ["style", 6], ["content", 5], ["smoothing", 7]];
const DECADES = 4; // Terms further below the highest loss are left out.
const POINTS = 400;

export function plot(rows) {
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img" });
  if (rows.length < 2) {
    root.setAttribute("aria-label", "The losses; there are none yet.");
    return root;
  }
  const highest = Math.max(...rows.map((row) => row[4]));
  const lowest = Math.max(highest * 10 ** -DECADES, Math.min(...rows.map((row) => Math.min(...SERIES.map(([, i]) => row[i] || highest)))));
  const [top, bottom] = [Math.log10(highest) + 0.05, Math.log10(lowest) - 0.05];
  const x = (i) => LEFT + ((WIDTH - LEFT - 8) * i) / (rows.length - 1);
  const y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * (top - Math.log10(value))) / (top - bottom);
  for (let decade = Math.ceil(bottom); decade <= top; decade += 1) {
    const height = y(10 ** decade);
    root.append(svg("line", { x1: LEFT, x2: WIDTH - 8, y1: height, y2: height, class: "grid" }),
      svg("text", { x: LEFT - 6, y: height + 4, "text-anchor": "end" }, String(decade > -4 && decade < 5 ? 10 ** decade : `1e${decade}`)));
  }
  rows.forEach((row, i) => {
    const before = rows[i - 1];
    if (before && row[0] === before[0] && row[2] === before[2]) return;
    const isLate = i > 0.85 * rows.length;
    root.append(svg("line", { x1: x(i), x2: x(i), y1: TOP, y2: HEIGHT - BOTTOM, class: "scale" }),
      svg("text", { x: isLate ? x(i) - 4 : x(i) + 4, y: TOP - 5, "text-anchor": isLate ? "end" : "start" }, before && row[0] !== before[0] ? "changed" : `${row[2]} × ${row[3]}`));
  });
  const stride = Math.max(1, Math.floor(rows.length / POINTS));
  for (const [name, column] of [...SERIES].reverse()) {
    let path = "";
    let pen = "M";
    rows.forEach((row, i) => {
      if (i % stride && i !== rows.length - 1) return;
      if (row[column] < 10 ** bottom) pen = "M";
      else {
        path += `${pen}${x(i).toFixed(1)} ${y(row[column]).toFixed(1)}`;
        pen = "L";
      }
    });
    if (path) root.append(svg("path", { d: path, class: `curve ${name}` }));
  }
  root.append(svg("text", { x: LEFT, y: HEIGHT - 6 }, "1"), svg("text", { x: WIDTH - 8, y: HEIGHT - 6, "text-anchor": "end" }, `step ${rows.length}`));
  const last = rows.at(-1);
  root.setAttribute("aria-label", `The loss after ${rows.length} steps is ${last[4].toPrecision(3)}, of which style ${last[6].toPrecision(3)} and content ${last[5].toPrecision(3)}.`);
  return root;
}

export const NAMES = SERIES.map(([name]) => name);
