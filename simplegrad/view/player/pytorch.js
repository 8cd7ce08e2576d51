// The top of the PyTorch page: verdict, clauses, findings, the first value that is not finite, and the marked sources.

import { html, svg } from "./dom.js";
import { shared } from "./shared.js";
import { clauseTable, fact, finding, goTo, markKey, source, taylor, verdict } from "./facts.js";

function birth(told, player) {
  const facts = { "data-testid": "nonfinite", "data-kind": told.kind, "data-where": told.where, "data-step": told.step };
  return fact("wrong", "born", facts,
    html("div", { class: "sg-fact-head" }, html("b", {}, told.kind === "nan" ? "First NaN" : "First infinity"), goTo(player, told.step, `Go to step ${told.step}`, "go-nonfinite")),
    html("p", {}, told.sentence));
}

export function births({ births: found, unknown, player }) {
  if (found.length) return found.map((each) => birth(each, player));
  const text = unknown || "Every number of this run is finite.";
  return [fact(unknown ? "unknown" : "right", unknown ? "unknown" : "right", { "data-testid": "nonfinite", "data-kind": unknown ? "unknown" : "none" }, html("p", {}, text))];
}

function lanes({ lanes: told }) {
  const names = ["forward", "first backward", "double backward", "third backward"];
  const rows = told.map(({ title, order, text }) => html("li", { "data-order": order, class: `sg-order sg-order-${Math.min(order, 3)}` },
    html("b", {}, title), html("em", {}, title === "forward" ? "" : names[order] ?? `backward of order ${order}`), html("span", {}, text)));
  return html("ul", { class: "sg-lanes", "data-testid": "lanes", "aria-label": "lanes of the graph" }, ...rows);
}

/** What is worth knowing about a recorded step without being asked. */
function diagnosed({ name, state, cause, sentence, place }, player, asks) {
  const ask = asks ? html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "ask", onclick: () => shared.players.get(player)?.ask(name) }, "why?") : null;
  return fact("wrong", "wrong", { "data-testid": "diagnosis", "data-name": name, "data-state": state, "data-cause": cause },
    html("div", { class: "sg-fact-head" }, html("b", {}, `${name}: ${state}${cause ? `, ${cause}` : ""}`), ask), html("p", {}, sentence),
    place ? html("p", {}, place[0]) : null, place?.[1] ? html("pre", {}, html("code", {}, place[1])) : null);
}

// [heading, its place in a row, the place that it is sorted by, class]: shapes by the number of their elements
const COLUMNS = [["parameter", 0, 0, ""], ["shape", 2, 7, "sg-wide"], ["norm", 3, 3, "sg-wide"], ["norm of the gradient", 4, 4, "sg-wide"], ["zeros", 6, 6, "sg-wide"], ["gradient", 5, 5, ""]], MOST_PARAMETERS = 500, MOST_DIAGNOSES = 3;

const number = (value) => (value === null ? "" : value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 1e4) ? value.toFixed(4) : value.toExponential(2));
const share = (value) => (value === null ? "" : value > 0 && value < 0.001 ? "< 0.1 %" : `${+(100 * value).toFixed(1)} %`);

function histogram([title, [low, high, counts, lost]]) {
  const most = Math.max(...counts), width = 260 / counts.length, all = counts.reduce((a, b) => a + b, 0);
  const text = `${title}: ${all} from ${number(low)} to ${number(high)}${lost ? `, ${lost} not finite` : ""}`;
  const drawn = svg("svg", { viewBox: "0 0 260 64", role: "img", "aria-label": text, preserveAspectRatio: "none" });
  counts.forEach((count, i) => svg("rect", { x: i * width, y: 64 - 62 * count / most, width: Math.max(width - 1, 1), height: 62 * count / most }, drawn));
  return html("figure", {}, drawn, html("figcaption", {}, text));
}

/** Below the row, on demand; gone by a second click. */
function showHistograms(button, drawn) {
  const row = button.closest("tr"), isShown = row.nextElementSibling?.className === "sg-drawn";
  button.setAttribute("aria-expanded", String(!isShown));
  if (isShown) return row.nextElementSibling.remove();
  row.after(html("tr", { class: "sg-drawn" }, html("td", { colspan: 7 }, html("div", { class: "sg-histograms", "data-testid": "histograms" }, ...drawn.map(histogram)))));
}

/** The parameters of a run: sorted by a click on a heading, filtered by what is typed. */
function parameterTable({ parameters, player, asks }) {
  if (!parameters?.length) return null;
  let by = -1, up = true;
  const filter = html("input", { class: "sg-find", type: "search", placeholder: "filter", "aria-label": "filter parameters" });
  const body = html("tbody", {}), heads = COLUMNS.map(([title, , column, narrow]) => html("th", { scope: "col", class: narrow, "aria-sort": "none" }, html("button", { type: "button", class: "sg-link", onclick: () => sort(column) }, title)));
  const why = (path) => html("button", { type: "button", class: "sg-link", "aria-label": `why ${path}`, onclick: () => shared.players.get(player)?.ask(path) }, "why?");
  const draws = (path, drawn) => html("button", { type: "button", class: "sg-link", "aria-label": `histogram of ${path}`, "aria-expanded": "false", onclick: (event) => showHistograms(event.currentTarget, drawn) }, "histogram");
  const row = ([path, kind, shape, norm, gradient, state, zeros, , drawn]) => html("tr", { "data-name": path, "data-state": state }, html("td", {}, html("code", {}, path), kind === "parameter" ? "" : ` (${kind})`),
    ...[shape, number(norm), number(gradient), share(zeros)].map((text) => html("td", { class: "sg-wide" }, text)), html("td", {}, state), html("td", { class: "sg-acts" }, drawn.length ? draws(path, drawn) : null, " ", asks ? why(path) : null));
  const draw = () => {
    const wanted = filter.value.trim().toLowerCase(), shown = parameters.filter((each) => each[0].toLowerCase().includes(wanted) || each[1] === wanted || each[5] === wanted);
    if (by >= 0) shown.sort((a, b) => (a[by] === b[by] ? 0 : (a[by] ?? -Infinity) < (b[by] ?? -Infinity) ? -1 : 1) * (up ? 1 : -1));
    const none = html("tr", {}, html("td", { colspan: 7, class: "sg-empty" }, `No parameter has “${filter.value.trim()}” in its name, nor a gradient of that state.`));
    body.replaceChildren(...(shown.length ? shown.slice(0, MOST_PARAMETERS).map(row) : [none]));
  };
  const sort = (column) => {
    up = by === column ? !up : true;
    by = column;
    heads.forEach((head, i) => head.setAttribute("aria-sort", COLUMNS[i][2] === by ? (up ? "ascending" : "descending") : "none"));
    draw();
  };
  filter.addEventListener("input", draw);
  draw();
  return html("details", { class: "sg-parameters", "data-testid": "parameters", open: true }, html("summary", {}, `${parameters.length} parameters`), filter,
    html("div", { class: "sg-scroll" }, html("table", { class: "sg-table" }, html("thead", {}, html("tr", {}, ...heads, html("td", {}))), body)));
}

/** The gravest few, and the others folded: the graph below is to stay in sight. */
function diagnoses({ diagnosis = [], player, asks }) {
  const rows = diagnosis.map((each) => diagnosed(each, player, asks)), more = rows.slice(MOST_DIAGNOSES);
  if (!more.length) return rows;
  return [...rows.slice(0, MOST_DIAGNOSES), html("details", { class: "sg-parameters", "data-testid": "more-diagnoses" }, html("summary", {}, `${more.length} more ${more.length === 1 ? "finding" : "findings"}`), ...more)];
}

/** Verdict and findings. `births` is missing where no run was looked at. */
function findingsOf(told) {
  const found = told.births ? births(told) : [];
  const said = verdict(told.verdict), isKnown = told.verdict.code !== "unchecked";  // that nothing was checked is said last
  return html("div", { class: "sg-left" }, isKnown ? said : null, ...diagnoses(told), ...told.findings.map((each) => finding(each, told.player)), ...found,
    isKnown || told.part === "findings" ? null : said, clauseTable(told.verdict.clauses, told.verdict.untried));
}

const sourcesOf = (told) => html("div", { class: "sg-sources" }, parameterTable(told), told.part === "sources" && told.verdict.code === "unchecked" ? verdict(told.verdict) : null, ...told.sources.map(source), markKey(told.sources), taylor(told.verdict.evidence));

/** Findings beside the marked sources. */
export function lookedAt(told) {
  return html("div", { class: "sg-told" }, findingsOf(told), sourcesOf(told));
}

const torchShown = new WeakMap();  // what is shown

function mountTorch({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-pytorch");
  const text = typeof data === "string" ? data : JSON.stringify(data);
  if (torchShown.get(root) === text && root.hasChildNodes()) return;  // only the theme is another: what was typed, sorted and opened stays
  torchShown.set(root, text);
  const told = JSON.parse(text);
  if (told.part === "lanes") return void root.replaceChildren(lanes(told), ...told.notices.map((notice) => html("p", { class: "sg-notice", "data-testid": "notice" }, notice)));
  root.replaceChildren(({ findings: findingsOf, sources: sourcesOf })[told.part]?.(told) ?? lookedAt(told));
}

export default mountTorch;
