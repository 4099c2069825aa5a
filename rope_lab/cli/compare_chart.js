"use strict";
// A line chart as SVG: as wide as its figure, in the colours of the page. Lines differ
// in colour, dashes and markers, so that nothing is told by colour alone.

const COLORS = 6, MOST_MARKERS = 40, HEIGHT = 300;
const MARGIN = { left: 68, right: 14, top: 12, bottom: 42 };
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const MARKERS = [
  "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0", "M-3,-3h6v6h-6z", "M0,-4l4,7h-8z",
  "M0,-4l4,4l-4,4l-4,-4z", "M0,4l4,-7h-8z", "M-3,-3l6,6M3,-3l-6,6",
];

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function stroke(n) {
  return {
    stroke: `var(--s${n % COLORS})`, "stroke-width": 1.8, fill: "none",
    "stroke-dasharray": DASHES[n % DASHES.length],
  };
}

function marker(n, x, y) {
  const color = `var(--s${n % COLORS})`;
  const place = `translate(${x},${y})`;
  return svg("path", { d: MARKERS[n % MARKERS.length], transform: place, fill: color, stroke: color });
}

function swatch(n) {
  const made = svg("svg", { viewBox: "0 0 30 12", "aria-hidden": "true" });
  made.append(svg("path", { d: "M0,6H30", ...stroke(n) }), marker(n, 15, 6));
  return made;
}

// A scale has `at(value)` in pixels and `ticks`, [value, label] pairs.
function scaleOf(values, from, to, log, room) {
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const f = log ? Math.log : (value) => value;
  const at = (value) => from + ((f(value) - f(low)) / (f(high) - f(low))) * (to - from);
  return { at, ticks: log ? powers(low, high, room) : steps(low, high, room) };
}

function powers(low, high, room) {
  const base = high / low > 2 ** 14 ? 10 : 2;
  const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
  const skip = Math.max(1, Math.ceil((last - first + 1) / room));
  const ticks = [];
  for (let k = first; k <= last; k += skip) ticks.push([base ** k, number(base ** k)]);
  return ticks;
}

function steps(low, high, room) {
  const rough = (high - low) / room, ten = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((k) => k * ten).find((step) => step >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / size); k * size <= high; k++) ticks.push([k * size, number(k * size)]);
  return ticks;
}

function number(value) {
  return String(+value.toPrecision(4)).replace("-", "\u2212");
}

// series: {label, n, x, y, low, high}; n chooses the look. axes: {x, y, xlog, ylog,
// vertical, horizontal}: labels, kinds, and the values that are marked.
function chart(figure, series, axes) {
  const place = figure.firstElementChild;
  const points = series.flatMap((one) => one.x.map((x, k) => [x, one.y[k]]))
    .filter(([, y]) => y !== null);
  place.replaceChildren();
  figure.hidden = points.length === 0;
  if (figure.hidden) return;
  const width = Math.max(place.clientWidth, 240);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", height: HEIGHT });
  drawn.setAttribute("aria-label", `${axes.y} against ${axes.x}: ${series.map((one) => one.label).join("; ")}`);
  const xs = [...points.map(([x]) => x), ...(axes.vertical || [])];
  const ys = [...points.map(([, y]) => y), ...(axes.horizontal || [])];
  const x = scaleOf(xs, MARGIN.left, width - MARGIN.right, axes.xlog, width / 70);
  const y = scaleOf(ys, HEIGHT - MARGIN.bottom, MARGIN.top, axes.ylog, 6);
  frame(drawn, x, y, width, axes);
  for (const one of series) curve(drawn, one, x, y);
  place.append(drawn, legend(series));
}

function frame(drawn, x, y, width, axes) {
  const bottom = HEIGHT - MARGIN.bottom, right = width - MARGIN.right;
  const rule = (d, kind) => drawn.append(svg("path", { d, class: kind, "stroke-width": 1 }));
  for (const [value, label] of x.ticks) {
    rule(`M${x.at(value)},${MARGIN.top}V${bottom}`, "grid");
    drawn.append(svg("text", { x: x.at(value), y: bottom + 16, "text-anchor": "middle" }, label));
  }
  for (const [value, label] of y.ticks) {
    rule(`M${MARGIN.left},${y.at(value)}H${right}`, "grid");
    drawn.append(svg("text", { x: MARGIN.left - 6, y: y.at(value) + 4, "text-anchor": "end" }, label));
  }
  for (const value of axes.vertical || []) rule(`M${x.at(value)},${MARGIN.top}V${bottom}`, "mark");
  for (const value of axes.horizontal || []) rule(`M${MARGIN.left},${y.at(value)}H${right}`, "mark");
  const middle = (bottom + MARGIN.top) / 2;
  drawn.append(svg("text", { x: (MARGIN.left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, axes.x));
  drawn.append(svg("text", { transform: `translate(13,${middle}) rotate(-90)`, "text-anchor": "middle" }, axes.y));
}

function curve(drawn, one, x, y) {
  const known = one.x.map((_, k) => k).filter((k) => one.y[k] !== null);
  const path = (values, order) => order.map((k) => `${x.at(one.x[k])},${y.at(values[k])}`).join("L");
  const line = svg("path", { d: `M${path(one.y, known)}`, ...stroke(one.n), class: "curve" });
  line.append(svg("title", {}, one.label));
  drawn.append(line);
  if (known.length > MOST_MARKERS) return;
  for (const k of known) {
    const dot = marker(one.n, x.at(one.x[k]), y.at(one.y[k]));
    const range = one.low && one.low[k] !== null ? ` [${number(one.low[k])}, ${number(one.high[k])}]` : "";
    dot.append(svg("title", {}, `${one.label}, ${number(one.x[k])}: ${number(one.y[k])}${range}`));
    drawn.append(dot);
  }
}

function legend(series) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const one of series) {
    const item = document.createElement("li");
    item.append(swatch(one.n), one.label);
    list.append(item);
  }
  return list;
}
