// The player in a file of its own, or in a frame of a notebook: what the file tells is laid out, and mounted as on a
// page of the app. Nothing is asked of any server, and every text is set as text.

import { divergence } from "./compare.js";
import { BOX } from "./contract.js";
import { html } from "./dom.js";
import { mountPart, traceOf } from "./mount.js";
import { births, lookedAt } from "./pytorch.js";
import { shared } from "./shared.js";

const KEY = "player", CHART = { displaylogo: false, scrollZoom: true, displayModeBar: false, doubleClick: "reset", responsive: true };
const FRAME_MS = 300; // the longest wait for a frame: nobody sees a page in the background
const ASK_MS = 300, ASK_TIMES = 20; // a notebook may draw the cell that carries it after this one
const ELSEWHERE = "script[src]";
const THEMES = ["as the system", "light", "dark"];

function bytesOf(id) { return unpackedText(document.getElementById(id).textContent); }

function unpackedText(base64) {
  const text = atob(base64.trim()), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unzipped(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** plotly's script as an element of the page; `text` was part of the file. */
function run(text) {
  const script = document.createElement("script");
  script.nonce = document.currentScript?.nonce || /** @type {HTMLScriptElement} */ (document.querySelector("script[nonce]")).nonce;
  script.textContent = text;
  document.head.append(script);
}

/** Something that a page of the app would mount. */
function part(data, told) {
  const element = html("div", {}, html("div", { class: "sg-root" }));
  mountPart({ parentElement: element, data, setStateValue: told ?? (() => {}) });
  return element;
}

function panel(side, ...parts) { return part({ role: "panel", player: KEY, side, parts }); }

/** The picture of one side. Its groups open as in the app, where the file has a picture for that. */
class Picture {
  side; number; key; opened; more;

  constructor(side, number) {
    Object.assign(this, { side, number, key: `chart-${number}`, opened: "", more: { opened: {}, homes: [], start: "" } });
    this.place = html("div", { class: "sg-place" });
    this.painter = html("div");
    this.element = html("div", { class: "sg-chart" }, html("div", { class: `st-key-${this.key}`, role: "img", "aria-label": side.alt }, this.place), this.painter);
  }

  get shown() { return this.opened ? this.more.opened[this.opened] : this.side; }

  /** The picture itself needs no Plotly. */
  mount() {
    const { figure, drawing } = this.shown;
    this.place.style.height = `${figure.layout.height}px`;
    this.painter.replaceChildren(part({ role: "graph", player: KEY, side: this.number, chart: this.key, of: this.side.id, drawing }));
  }

  /** Plotly zooms and pans it, and tells what the pointer is at. */
  async draw() {
    const { figure } = this.shown;
    await window.Plotly.react(this.place, figure.data, { ...figure.layout, autosize: true }, CHART);
    shared.players.get(KEY)?.painters.get(this.key)?.chart?.join();
  }

  /** A group or a module was clicked. The file has a picture for each module that is open, with those around it, and for
      each that is closed where it is open at first. */
  toggle(key) {
    const now = boxOf(this.shown.drawing, key), isOpenAtFirst = (name) => Boolean(boxOf(this.side.drawing, name)?.[BOX.open]);
    if (!now) this.open(this.opened === key ? "" : key);
    else if (!now[BOX.open]) this.open(isOpenAtFirst(key) ? "" : key);
    else if (isOpenAtFirst(key)) this.open(key);
    else this.open(isOpenAtFirst(now[BOX.outer]) ? "" : now[BOX.outer]);
  }

  async open(group) {
    const wanted = this.more.opened[group] ? group : "";
    if (wanted === this.opened) return;
    this.opened = wanted;
    if (window.Plotly) await this.draw();
    this.mount();
  }

  /** The pictures of opened groups: they are many, and nobody needs them at first. */
  async readMore() {
    if (document.getElementById(`sg-opened-${this.number}`)) this.more = JSON.parse(await unzipped(bytesOf(`sg-opened-${this.number}`)));
  }

  /** A person paused in a collapsed group: it is opened. */
  follow(step) {
    const player = shared.players.get(KEY), at = player.aligned ? player.aligned[step]?.[this.number] : step;
    const group = Object.keys(this.more.opened)[this.more.homes[at] ?? -1];
    if (group !== undefined) this.open(group);
  }
}

function boxOf(drawing, key) { return drawing.boxes.find((box) => box[BOX.key] === key); }

function laidOut(told, pictures) {
  if (told.sides.length === 1) {
    const [side] = told.sides;
    return [
      html("div", { class: "st-key-stage" }, panel(0, "event"),
        html("div", { class: "sg-stage" }, html("div", {}, panel(0, "tabs", "source", "gradients")), html("div", {}, pictures[0].element))),
      html("div", { class: "sg-texts" }, ...["tape", "inspector", "python"].map((name) => panel(side.number ?? 0, name))),
    ];
  }
  const column = (side, i) => html("section", { class: "sg-column" }, html("h2", {}, `${i ? "right" : "left"}: ${side.title}`),
    panel(i, "event"), pictures[i].element, panel(i, "gradients", "tape"), panel(i, "inspector"), panel(i, "source", "python"));
  return [html("div", { class: "sg-columns" }, ...told.sides.map(column))];
}

function table({ title, columns, rows }) {
  return html("section", {}, html("h2", {}, title), html("div", { class: "sg-scroll" }, html("table", { class: "sg-table" },
    html("thead", {}, html("tr", {}, ...columns.map((name) => html("th", {}, name)))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map((cell) => html("td", {}, String(cell)))))))));
}

function code([title, caption, text]) {
  return html("section", {}, html("h2", {}, title), html("p", { class: "sg-notice" }, caption), html("pre", { class: "sg-code-alone" }, text));
}

/** What stands over the picture: what was found, with buttons that go there. */
function findings(told) {
  const { facts } = told;
  if (!facts) return [];
  if ("divergence" in facts) return [divergence({ ...facts, player: KEY })];
  if (facts.verdict) return [lookedAt({ ...facts, player: KEY })];
  return births({ ...facts, player: KEY });
}

function stepOfFragment() {
  const said = new URLSearchParams(window.location.hash.slice(1)).get("step");
  return /^\d+$/.test(said ?? "") ? Number(said) : NaN;
}

/** Of a fragment with a step that the run does not have. */
function tellOfFragment(place) {
  const said = new URLSearchParams(window.location.hash.slice(1)).get("step"), last = (shared.players.get(KEY)?.steps ?? Infinity) - 1;
  const there = `this run has steps 0 to ${last}`;
  if (said === null || stepOfFragment() <= last) place.textContent = "";
  else if (Number.isNaN(stepOfFragment())) place.textContent = `The address says step=${said.slice(0, 20)}, which is not a step: ${there}.`;
  else place.textContent = `The address says step=${said.slice(0, 20)}, but ${there}; the last one is shown.`;
}

function showTheme(wanted) {
  const dark = wanted === "dark" || (wanted !== "light" && window.matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = document.documentElement.dataset.sgTheme = dark ? "dark" : "light";
}

function themes() {
  let wanted = THEMES[0];
  const select = html("select", { class: "sg-speed", "aria-label": "theme" }, ...THEMES.map((name) => html("option", { value: name }, name)));
  select.addEventListener("change", () => { wanted = select.value; showTheme(wanted); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTheme(wanted));
  showTheme(wanted);
  return select;
}

function hear(pictures) {
  return (name, value) => {
    if (name === "step") for (const picture of pictures) picture.follow(value.step);
    if (name === "opened") pictures[value.side]?.toggle(value.group);
  };
}

/** In a frame of a notebook: plotly's script as another cell of it carries it; null where none does. */
function plotlyOfNotebook() {
  if (window.parent === window || window.Plotly) return Promise.resolve(null);
  return new Promise((resolve) => {
    let asked = 0;
    const ask = () => (asked++ < ASK_TIMES ? window.parent.postMessage("simplegrad: plotly?", "*") : done(null));
    const timer = setInterval(ask, ASK_MS);
    const done = (text) => { clearInterval(timer); window.removeEventListener("message", hear); resolve(text); };
    const hear = (event) => { if (typeof event.data?.simplegrad === "string") done(event.data.simplegrad); };
    window.addEventListener("message", hear);
    ask();
  });
}

/** The page and the script that it names from elsewhere, which has come by then, or will not come. */
function loaded() {
  return new Promise((done) => { if (document.readyState === "complete") done(null); else window.addEventListener("load", () => done(null)); });
}

async function plotlyScript() {
  if (document.querySelector(ELSEWHERE)) return loaded();
  if (document.getElementById("sg-plotly")) return unzipped(bytesOf("sg-plotly"));
  const carried = await plotlyOfNotebook();
  return carried && unzipped(unpackedText(carried));
}

/** Once a frame was painted. */
function painted() {
  return new Promise((shown) => { requestAnimationFrame(() => setTimeout(shown)); setTimeout(shown, FRAME_MS); });
}

function wherePlotlyIs() {
  const named = /** @type {HTMLScriptElement | null} */ (document.querySelector(ELSEWHERE));
  if (named) return `It did not come from ${named.src}.`;
  return window.parent === window ? "This file was written without it." : "It is in the notebook's first cell that shows something, or says %load_ext simplegrad: run that cell.";
}

/** The pictures can be stepped through; now plotly's script, which takes longest to read, gives them its gestures. */
async function gestures(plotly, pictures) {
  const script = await plotly;
  if (script) run(script);
  if (window.Plotly) await Promise.all(pictures.map((picture) => picture.draw()));
  else for (const picture of pictures) picture.element.after(html("p", { class: "sg-notice" }, `Zooming, and the details of a node, need plotly's script. ${wherePlotlyIs()}`));
  await painted();
  performance.mark("simplegrad: chart");
}

async function show() {
  const plotly = plotlyScript();  // unpacked while the rest is read
  plotly.catch(() => {});  // told below, where it is awaited
  const told = JSON.parse(await unzipped(bytesOf("sg-told")));
  const pictures = told.sides.map((side, i) => new Picture(side, i));
  const wrongStep = html("p", { class: "sg-notice", role: "status", "data-testid": "wrong-step" });
  document.body.prepend(html("header", { class: "sg-head" }, html("h1", {}, told.title), themes()),
    html("main", {}, wrongStep, ...findings(told), ...(told.sides.length ? laidOut(told, pictures) : []), ...told.tables.map(table), ...told.codes.map(code),
      ...told.notices.map((notice) => html("p", { class: "sg-notice" }, notice))));
  if (!told.sides.length) return;
  const footer = html("footer", { class: "st-key-player-controls", "aria-label": "stepping" });
  document.body.append(footer);
  const start = stepOfFragment();
  const data = Number.isInteger(start) ? { ...told.player, start } : told.player;
  footer.append(...told.sides.map((_, i) => html("div", { hidden: true }, part(bytesOf(`sg-trace-${i}`)))), part(data, hear(pictures)));
  for (const picture of pictures) picture.mount();
  window.addEventListener("hashchange", () => {
    const step = stepOfFragment();
    tellOfFragment(wrongStep);
    if (Number.isInteger(step)) shared.players.get(KEY)?.go(step);
  });
  await Promise.all(told.sides.map((_, i) => traceOf(told.player.traces[i]).trace));
  await painted();
  tellOfFragment(wrongStep);
  performance.mark("simplegrad: picture");
  await gestures(plotly, pictures);
  for (const picture of pictures) await picture.readMore();
  if (shared.players.get(KEY)?.step === data.start) for (const picture of pictures) picture.open(picture.more.start);
}

show().catch((error) => {
  console.error(error);
  document.body.append(html("p", { role: "alert" }, `This browser could not open the file (${error.message}). It takes a browser of 2023 or newer.`));
});
