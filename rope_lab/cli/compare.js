"use strict";
// Filters, table, export and charts of the comparison. Everything is drawn anew from
// the numbers in #data and the state of the controls.

const DRAWN = 6; // rows of the table that the charts show
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const pairs = new Map(data.pairs.map(([i, j, length, ...rest]) => [`${i} ${j} ${length}`, rest]));
data.lines.forEach((line, index) => { line.index = index; line.name = nameOf(line); });
let order = { column: "last", ascending: null }; // null: the best first

function nameOf(line) {
  return data.runs.length > 1 ? `${line.label}, ${data.runs[line.run]}` : line.label;
}

// --- what is shown ---------------------------------------------------------------

const checked = (id) => [...by(id).querySelectorAll("input:checked")].map((box) => box.value);
const ofMeasure = () => data.lines.filter((line) => line.measure === by("measure").value);
const reference = () => data.lines[by("reference").value]; // undefined: none
const lengths = () => checked("lengths").map(Number);

function shownLines() {
  const words = by("search").value.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
  const runs = checked("runs");
  const found = ofMeasure().filter((line) =>
    runs.includes(String(line.run)) && lengths().some((length) => line.cells[length]) &&
    (!words.length || words.some((word) => line.label.toLowerCase().includes(word))));
  const key = (line) => valueOf(line, order.column);
  const rising = order.ascending ?? (found.length > 0 && found[0].lower);
  return found.sort((a, b) => compareValues(key(a), key(b)) * (rising || missing(a, b, key) ? 1 : -1));
}

const missing = (a, b, key) => key(a) === null || key(b) === null; // these come last

function compareValues(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function valueOf(line, column) {
  if (column === "label") return line.label;
  if (column === "last") return lengths().map((n) => line.cells[n]).filter(Boolean).pop()?.[0] ?? null;
  const [kind, length] = column.split(" ");
  return (kind === "value" ? line.cells[length]?.[0] : difference(line, length)?.[0]) ?? null;
}

// [mean, low, high, shared, all] of line minus the reference; undefined: not paired.
function difference(line, length) {
  const other = reference();
  if (!other || other === line) return undefined;
  const found = pairs.get(`${line.index} ${other.index} ${length}`);
  if (found) return found;
  const turned = pairs.get(`${other.index} ${line.index} ${length}`);
  if (!turned) return undefined;
  const negative = (value) => (value === null ? null : -value);
  return [negative(turned[0]), negative(turned[2]), negative(turned[1]), turned[3], turned[4]];
}

function whyNot(line, length) {
  const other = reference();
  if (!line.cells[length] || !other.cells[length]) return "measured at other lengths";
  return line.unpaired || other.unpaired || "measured on other text, with no window, document or sample in common";
}

// --- the table ---------------------------------------------------------------------

// Each column: its key and its heading. On the page the run stands below the encoding.
function columns() {
  const found = [{ key: "label", head: "encoding" }];
  if (data.runs.length > 1) found.push({ key: "run", head: "run" });
  for (const length of lengths()) {
    found.push({ key: `value ${length}`, head: `${length} tokens`, length });
  }
  for (const length of reference() ? lengths() : []) {
    found.push({ key: `difference ${length}`, head: `${length}: minus ${reference().label}`, length, paired: true });
  }
  return found;
}

const fixed = (value, line) => value.toFixed(line.digits).replace("-", "\u2212");
const signed = (value, line) => (value > 0 ? "+" : "") + fixed(value, line);

function cellOf(line, column) {
  if (column.key === "label") return { text: line.label };
  if (column.key === "run") return { text: data.runs[line.run] };
  const found = column.paired ? difference(line, column.length) : line.cells[column.length];
  if (!found) return { text: column.paired && line !== reference() && line.cells[column.length] ? "not paired" : "\u2013" };
  const [value, low, high, shared, all] = found;
  const bounded = low !== undefined && low !== null;
  const text = column.paired ? signed(value, line) : fixed(value, line);
  const bracket = bounded ? `[${fixed(low, line)}, ${fixed(high, line)}]` : "";
  const part = shared < all ? `${shared} of ${all} shared` : "";
  let tone = "";
  if (column.paired && bounded && (low > 0 || high < 0)) tone = high < 0 === line.lower ? "good" : "bad";
  return { text, bracket, part, tone };
}

function node(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function heading(column) {
  const cell = node("th");
  cell.scope = "col";
  const button = node("button", column.head);
  button.type = "button";
  button.addEventListener("click", () => {
    order = { column: column.key, ascending: order.column === column.key ? !order.ascending : true };
    draw();
    by("table").querySelector(`[data-key="${CSS.escape(column.key)}"] button`)?.focus();
  });
  cell.dataset.key = column.key;
  if (order.column === column.key) cell.ariaSort = order.ascending ? "ascending" : "descending";
  cell.append(button);
  return cell;
}

function drawTable(lines, shown) {
  const head = node("tr");
  head.append(...shown.filter(({ key }) => key !== "run").map(heading));
  by("table").tHead.replaceChildren(head);
  by("table").tBodies[0].replaceChildren(...lines.map((line, place) => {
    const row = node("tr", "", line === reference() ? "mark" : "");
    for (const column of shown.filter(({ key }) => key !== "run")) {
      const { text, bracket, part, tone } = cellOf(line, column);
      const cell = node(column.key === "label" ? "th" : "td", text, tone);
      if (column.key === "label") cell.scope = "row";
      if (column.key === "label" && place < DRAWN) cell.prepend(swatch(place));
      if (column.key === "label" && data.runs.length > 1) cell.append(node("span", data.runs[line.run], "run"));
      if (bracket) cell.append(node("small", bracket));
      if (part) cell.append(node("small", part));
      row.append(cell);
    }
    return row;
  }));
}

function drawNotes(lines) {
  const all = ofMeasure(), first = all[0];
  const drawn = Math.min(DRAWN, lines.length);
  by("status").textContent = !first ? "Nothing was measured." :
    `${lines.length} of ${all.length} rows shown; the charts draw the first ${drawn}. ` +
    `Values: ${first.unit}; brackets: ${first.brackets}; ${first.lower ? "lower" : "higher"} is better.`;
  const reasons = unique(lines.filter((line) => reference() && line !== reference()).flatMap((line) =>
    lengths().filter((n) => line.cells[n] && !difference(line, n))
      .map((n) => `Not paired with ${reference().name}: ${line.name}: ${whyNot(line, n)}.`)));
  by("pairing").textContent = reasons.join(" ");
}

// --- CSV and LaTeX of the table as shown ----------------------------------------------

function csv(lines, shown) {
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const numeric = (column) => column.length !== undefined;
  const head = shown.flatMap((c) => (numeric(c) ? [c.head, `${c.head}, low`, `${c.head}, high`] : [c.head]));
  const rows = lines.map((line) => shown.flatMap((column) => {
    if (!numeric(column)) return [cellOf(line, column).text];
    const found = column.paired ? difference(line, column.length) : line.cells[column.length];
    return [0, 1, 2].map((k) => String(found?.[k] ?? ""));
  }));
  return [head, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
}

function latex(lines, shown) {
  const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const escaped = (text) => text.replace(/[\\~^]|[&%$#_{}]/g, (c) => special[c] ?? `\\${c}`)
    .replaceAll("\u2212", "$-$").replaceAll("\u2013", "--");
  const cell = (line, column) => {
    const { text, bracket } = cellOf(line, column);
    return escaped(bracket ? `${text} ${bracket}` : text);
  };
  const row = (cells) => `${cells.join(" & ")} \\\\`;
  const align = shown.map((column) => (column.length === undefined ? "l" : "r")).join("");
  return [
    "% needs the package booktabs", `\\begin{tabular}{${align}}`, "\\toprule",
    row(shown.map((column) => escaped(column.head))), "\\midrule",
    ...lines.map((line) => row(shown.map((column) => cell(line, column)))),
    "\\bottomrule", "\\end{tabular}", "",
  ].join("\n");
}

function drawExport(lines, shown) {
  for (const [id, text] of [["csv", csv(lines, shown)], ["latex", latex(lines, shown)]]) {
    by(id).value = text;
    by(`save-${id}`).href = `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;
  }
}

// --- charts --------------------------------------------------------------------------

function drawCharts(lines) {
  const first = lines.slice(0, DRAWN).map((line, n) => ({ line, n, label: line.name }));
  const trained = unique(first.map(({ line }) => line.trained));
  const unit = lines[0]?.unit ?? "";
  const column = (line, k) => lengths().map((length) => line.cells[length]?.[k] ?? null);
  chart(by("by-length"), first.map((one) => ({ ...one, x: lengths(), y: column(one.line, 0),
    low: column(one.line, 1), high: column(one.line, 2) })),
    { x: "length, tokens", y: unit, xlog: true, vertical: trained });
  const at = by("at").value;
  const curves = first.filter(({ line }) => line.curves[at]);
  chart(by("by-position"), curves.map((one) => ({ ...one, ...one.line.curves[at] })),
    { x: "position, tokens", y: unit, xlog: true, vertical: trained.filter((n) => n <= at) });
  const waves = new Map();
  for (const line of lines.filter((one) => one.encoding !== null)) {
    const y = data.encodings[line.encoding].wavelengths;
    const key = y.join();
    if (!waves.has(key)) waves.set(key, { names: new Set(), x: y.map((_, plane) => plane), y });
    waves.get(key).names.add(line.label);
  }
  chart(by("wavelengths"), [...waves.values()].slice(0, DRAWN).map((one, n) => ({ ...one, n, label: few(one.names) })),
    { x: "plane (pair of head dimensions)", y: "wavelength, tokens", ylog: true, horizontal: trained });
  const runs = checked("runs");
  const training = data.training.filter((one) => runs.includes(String(one.run)));
  by("training-part").hidden = !training.length;
  chart(by("training"), training.slice(0, 2 * DRAWN).map((one, n) => ({ ...one.curve, label: one.label, n })),
    { x: "step", y: "nats per token" });
}

function few(names) {
  const [first, ...others] = names;
  return others.length ? `${first} and ${others.length} more` : first;
}

function drawMatrices(lines) {
  const used = new Set(lines.map((line) => String(line.encoding)));
  for (const figure of document.querySelectorAll(".matrix")) {
    figure.hidden = !figure.dataset.encodings.split(" ").some((number) => used.has(number));
  }
}

// --- controls ------------------------------------------------------------------------

function draw() {
  const lines = shownLines(), shown = columns();
  drawTable(lines, shown);
  drawNotes(lines);
  drawExport(lines, shown);
  drawCharts(lines);
  drawMatrices(lines);
}

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
}

function boxes(place, options) {
  place.replaceChildren(...options.map(([value, text]) => {
    const label = node("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value, checked: true });
    label.append(box, text);
    return label;
  }));
}

// A measure has its own lines and lengths.
function choose() {
  const lines = ofMeasure();
  const known = unique(lines.flatMap((line) => Object.keys(line.cells).map(Number))).sort((a, b) => a - b);
  boxes(by("lengths"), known.map((length) => [length, String(length)]));
  fill(by("reference"), [["", "none: values alone"], ...lines.map((line) => [line.index, line.name])]);
  if (lines.length) by("reference").value = lines[0].index;
  const curved = known.filter((length) => lines.some((line) => line.curves[length]));
  fill(by("at"), curved.map((length) => [length, `${length} tokens`]));
  by("at").value = curved.at(-1) ?? "";
  order = { column: "last", ascending: null };
  draw();
}

fill(by("measure"), unique(data.lines.map((line) => line.measure)).map((name) => [name, name]));
boxes(by("runs"), data.runs.map((name, index) => [index, name]));
by("measure").addEventListener("change", choose);
for (const id of ["reference", "at", "runs", "lengths"]) by(id).addEventListener("change", draw);
by("search").addEventListener("input", draw);
by("filters").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("resize", () => drawCharts(shownLines()));
choose();
