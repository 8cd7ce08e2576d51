// The Ranks page: what is wrong with a run of several processes, and ranks by passes; each cell leads to its trace.

import { html, readTheme } from "./dom.js";
import { fact } from "./facts.js";

function short(value) {
  if (value === null) return "?";
  return value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 1e5) ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

function report({ what, said, ok, rank, parameter, sentence, place }, open) {
  const who = rank === null ? "" : `rank ${rank}: `;
  const go = rank === null ? null : html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "open-rank", onclick: () => open(rank, null) }, `Open the trace of rank ${rank}`);
  return fact(ok ? "right" : "wrong", ok ? "right" : "wrong", { "data-testid": "rank-report", "data-what": what, "data-rank": rank, "data-parameter": parameter },
    html("div", { class: "sg-fact-head" }, html("b", {}, who + said), go), html("p", {}, sentence),
    place ? html("p", {}, place[0]) : null, place?.[1] ? html("pre", {}, html("code", {}, place[1])) : null);
}

/** One pass of one rank: the norm of what its gradients hold after it, its loss, how many collectives it joined. */
function cell(row, told, index, open) {
  const bad = row.bad === index;
  if (told === null) return html("td", { class: bad ? "sg-rank-bad" : "sg-rank-none", "data-bad": bad || null }, bad ? html("b", {}, "✕ ") : null, "no backward");
  const [gradient, loss, kind, collectives, event, line] = told;
  const words = [loss === null ? "" : `loss ${short(loss)}`, `${collectives} ${collectives === 1 ? "collective" : "collectives"}`, line ? `line ${line}` : ""].filter(Boolean);
  const button = html("button", { type: "button", class: "sg-rank-cell", "data-rank": row.rank, "data-step": event, title: `open the trace of rank ${row.rank} at pass ${index + 1}`, onclick: () => open(row.rank, event) },
    html("b", {}, bad ? "✕ " : "", kind ? (kind === "nan" ? "NaN" : "infinite") : `‖grad‖ ${short(gradient)}`), html("small", {}, ...words.flatMap((word, i) => [i ? html("i", { class: "sg-rank-dot" }, " · ") : null, html("span", {}, word)])));
  return html("td", { class: bad ? "sg-rank-bad" : "", "data-bad": bad || null }, button);
}

function passes({ rows }, open) {
  const count = Math.max(0, ...rows.map(({ cells }) => cells.length));
  const head = html("tr", {}, html("th", { scope: "col" }, "rank"), ...Array.from({ length: count }, (_, i) => html("th", { scope: "col" }, `pass ${i + 1}`)), html("th", { scope: "col" }, "collectives"), html("th", { scope: "col" }, "ended"));
  const line = (row) => html("tr", { "data-rank": row.rank },
    html("th", { scope: "row" }, html("button", { type: "button", class: "sg-link", "aria-label": `open the trace of rank ${row.rank}`, title: row.name, onclick: () => open(row.rank, null) }, `rank ${row.rank}`)),
    ...row.cells.map((each, i) => cell(row, each, i, open)), html("td", {}, String(row.collectives)), html("td", { class: row.error ? "sg-rank-error" : "" }, row.error || "well"));
  return html("div", { class: "sg-scroll", tabindex: 0, role: "region", "aria-label": "ranks by passes" },
    html("table", { class: "sg-table sg-rank-table", "data-testid": "rank-table" }, html("thead", {}, head), html("tbody", {}, ...rows.map(line))));
}

function differences({ differences: found, ranks }) {
  if (!found.length) return null;
  const head = html("tr", {}, html("th", {}, ""), ...ranks.map((rank) => html("th", {}, `rank ${rank}`)));
  return html("details", { class: "sg-parameters", "data-testid": "rank-differences" }, html("summary", {}, `What the ranks differ in: ${found.length}`),
    html("p", {}, "Much of this is meant: other data, other seeds, statistics of batch norm."),
    html("div", { class: "sg-scroll", tabindex: 0, role: "region", "aria-label": "what the ranks differ in" }, html("table", { class: "sg-table" }, html("thead", {}, head),
      html("tbody", {}, ...found.map((row) => html("tr", {}, ...row.map((text) => html("td", {}, text))))))));
}

function mountRanks({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".sg-ranks");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  readTheme(parentElement);
  const open = (rank, step) => setStateValue("opened", { rank, step: step ?? 0, at: Date.now() });
  root.replaceChildren(...[report(told, open), passes(told, open), differences(told)].filter(Boolean));
}

export default mountRanks;
