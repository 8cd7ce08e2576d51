// The top of the PyTorch page: verdict, clauses, findings, the first value that is not finite, and the marked sources.

import { html } from "./dom.js";
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

/** Verdict and findings beside the marked sources. `births` is missing where no run was looked at. */
export function lookedAt(told) {
  const found = told.births ? births(told) : [];
  const left = html("div", { class: "sg-left" }, verdict(told.verdict), clauseTable(told.verdict.clauses), ...told.findings.map((each) => finding(each, told.player)), ...found);
  const right = html("div", { class: "sg-sources" }, ...told.sources.map(source), markKey(told.sources), taylor(told.verdict.evidence));
  return html("div", { class: "sg-told" }, left, right);
}

function mountTorch({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-pytorch");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  if (told.part === "lanes") return void root.replaceChildren(lanes(told), ...told.notices.map((notice) => html("p", { class: "sg-notice", "data-testid": "notice" }, notice)));
  root.replaceChildren(lookedAt(told));
}

export default mountTorch;
