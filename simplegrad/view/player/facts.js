// What a page says at its top, of what `check` found and of what was recorded: verdict, clauses, evidence, findings.

import { html, svg } from "./dom.js";
import { shared } from "./shared.js";

export const MARKS = {
  made: ["M", "made here, in forward"], read: ["R", "read here, in backward"],
  raised: ["✕", "raised here"], wrong: ["✕", "what is computed here is wrong"], born: ["!", "the first value that is not finite is born here"],
};
const STATES = { holds: "✓", broken: "✕", "not tried": "–" };
const LOOKS = { right: "✓", wrong: "✕", unknown: "?", note: "i", differs: "≠", same: "=", born: "!", busy: "…" };

/** A box with its mark at the left; the mark says by a sign what the box says by its colour. */
export function fact(look, sign, properties, ...children) {
  return html("div", { class: `sg-fact sg-fact-${look}`, ...properties },
    html("span", { class: "sg-fact-mark", "aria-hidden": "true" }, LOOKS[sign]), html("div", {}, ...children));
}

/** A button that goes to a step of the page's player; null for none. */
export function goTo(player, step, text, action) {
  if (step === null || step === undefined) return null;
  const button = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": action, "data-step": step, onclick: () => shared.players.get(player)?.go(step) }, text);
  button.addEventListener("mousedown", (event) => event.preventDefault());
  return button;
}

export function verdict({ code, text, ok, name }) {
  if (code === "checking") return fact("unknown", "busy", { "data-testid": "verdict", "data-verdict": code, role: "status" }, html("b", {}, "check is at work"), html("p", {}, text));
  const look = ok ? "right" : code === "unchecked" || code === "unverified" ? "unknown" : "wrong";
  const says = code === "unchecked" ? "not checked" : `check${name ? ` of ${name}` : ""}: ${code.replaceAll("_", " ")}`;
  return fact(look, look, { "data-testid": "verdict", "data-verdict": code }, html("b", {}, says), html("p", {}, text));
}

/** What autograd may do to a backward, a row each: holds, broken, or not tried and why. */
export function clauseTable(clauses, untried = []) {
  if (!clauses?.length) return null;
  const rows = clauses.map(({ number, name, state, why }) => html("tr", { "data-clause": number, "data-state": state },
    html("td", {}, String(number)), html("td", {}, name), html("td", { class: "sg-clause-state" }, html("span", { "aria-hidden": "true" }, STATES[state]), ` ${state}`), html("td", {}, why)));
  const count = (state) => clauses.filter((clause) => clause.state === state).length;
  const broken = clauses.filter((clause) => clause.state === "broken").map(({ number, name }) => `${number}: ${name}`).join("; ");
  const said = `${clauses.length} clauses: ${count("holds")} hold, ${count("broken")} broken${broken ? ` (${broken})` : ""}, ${count("not tried")} not tried`;
  return html("details", { class: "sg-clauses", "data-testid": "clauses" }, html("summary", {}, said),
    html("table", { class: "sg-table" }, html("thead", {}, html("tr", {}, ...["", "clause", "", ""].map((title) => html("th", {}, title)))), html("tbody", {}, ...rows)),
    untried.length ? html("p", { "data-testid": "untried" }, `not tried at all: ${untried.join("; ")}`) : null);
}

/** Remainders of Taylor expansions, log-log: a right gradient of order 1 leaves what falls with the square of the step. */
export function taylor(evidence) {
  const shown = (evidence ?? []).filter(({ remainders }) => remainders.some((each) => each > 0));
  if (!shown.length) return null;
  return html("details", { class: "sg-taylor", "data-testid": "taylor" }, html("summary", {}, "remainder of a Taylor expansion, by step size"),
    html("div", { class: "sg-plots" }, ...shown.map(taylorPlot)));
}

function taylorPlot({ order, input, steps, remainders, rate }) {
  const width = 190, height = 120, left = 8, bottom = 104, wanted = order + 1;
  const points = steps.map((step, i) => [Math.log10(step), Math.log10(remainders[i])]).filter(([, y]) => Number.isFinite(y));
  const [x0, x1] = extent(points.map(([x]) => x)), [y0, y1] = extent(points.map(([, y]) => y));
  const x = (value) => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - 10), y = (value) => bottom - ((value - y0) / (y1 - y0 || 1)) * (bottom - 12);
  const look = !Number.isFinite(rate) ? "unknown" : rate > wanted - 0.5 ? "right" : "wrong";
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `the remainder by the size of the step, order ${order}, ${input}: ${told(rate, wanted)}` });
  svg("path", { d: `M${left},4V${bottom}H${width - 4}`, class: "sg-axis" }, picture);
  svg("polyline", { points: points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "), class: `sg-curve sg-curve-${look}` }, picture);
  for (const [a, b] of points) svg("circle", { cx: x(a), cy: y(b), r: 2.6, class: `sg-dot-${look}` }, picture);
  svg("text", { x: left + 2, y: height - 4, class: "sg-tick" }, picture).textContent = `1e${Math.round(x0)}`;
  svg("text", { x: width - 6, y: height - 4, class: "sg-tick", "text-anchor": "end" }, picture).textContent = `step 1e${Math.round(x1)}`;
  return html("figure", { "data-order": order, "data-input": input, "data-rate": rate }, picture, html("figcaption", {}, `order ${order}, ${input}: ${told(rate, wanted)}`));
}

function extent(values) { return [Math.min(...values), Math.max(...values)]; }
function told(rate, wanted) { return Number.isFinite(rate) ? `rate ${rate.toFixed(1)}, ${wanted} is right` : "no rate can be read off"; }

function row(label, testid, ...content) {
  return [html("dt", {}, label), html("dd", { "data-testid": testid }, ...content)];
}

function place(label, testid, found) {
  if (!found) return [];
  return row(label, testid, html("span", {}, found[0]), ...(found[1] ? [html("pre", {}, html("code", {}, found[1]))] : []));
}

export function finding(said, player) {
  const { code, kind, sentence, explanation, entry, slot, made, read, reads, dropped, fix, step } = said;
  const facts = html("dl", { class: "sg-about" },
    ...(slot ? row("value", "slot", html("code", {}, slot)) : []), ...place("made at", "made-at", made), ...place(`${reads} at`, "read-at", read),
    ...dropped.flatMap(([name, lost]) => row(`dropped from ${name}`, "dropped", html("code", {}, lost))));
  const repair = fix ? html("details", { class: "sg-fix" }, html("summary", {}, "Write instead"), html("pre", { "data-testid": "fix" }, html("code", {}, fix))) : null;
  const title = [slot && entry ? `${slot} of ${entry}` : slot || entry, code.replaceAll("_", " ")].filter(Boolean).join(": ");
  return fact(kind === "fault" ? "wrong" : "unknown", { fault: "wrong", note: "note" }[kind] ?? "unknown", { "data-testid": "finding", "data-code": code },
    html("div", { class: "sg-fact-head" }, html("b", {}, title), goTo(player, step, `Its backward: step ${step}`, "go-backward")),
    html("p", {}, sentence), explanation ? html("p", { "data-testid": "explanation" }, explanation) : null, facts, repair);
}

export function source({ file, lines }) {
  const items = lines.map(([number, text, marks]) => html("li", { "data-line": number, "data-marks": marks.join(" ") || null },
    html("span", { class: "sg-line-marks" }, ...marks.map((mark) => html("abbr", { class: `sg-mark sg-mark-${mark}`, title: MARKS[mark][1] }, MARKS[mark][0]))),
    html("code", {}, text || " ")));
  return html("section", {}, html("h4", {}, file), html("ol", { class: "sg-code", "data-testid": "marked-source", "aria-label": `source, ${file}`, tabindex: 0 }, ...items));
}

export function markKey(sources) {
  const used = Object.keys(MARKS).filter((mark) => sources.some(({ lines }) => lines.some(([, , marks]) => marks.includes(mark))));
  return used.length ? html("p", { class: "sg-key" }, ...used.map((mark) => html("span", {}, html("i", { class: `sg-mark sg-mark-${mark}` }, MARKS[mark][0]), MARKS[mark][1]))) : null;
}
