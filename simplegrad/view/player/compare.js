// The top of the Compare page: the verdict, the first divergence with a button that goes there, the missing pathway.

import { html } from "./dom.js";
import { clauseTable, fact, goTo, taylor, verdict } from "./facts.js";

export function divergence({ divergence: found, same, judged = true, names, ghosts, player }) {
  if (!found) return fact(judged ? "right" : "unknown", judged ? "same" : "unknown", { "data-testid": "first-divergence", "data-kind": "none" }, html("p", {}, same));
  const cells = [["left", names[0], found.left], ["right", names[1], found.right]].map(([side, name, has]) =>
    html("div", { class: "sg-has", "data-side": side }, html("small", {}, `${side}: ${name}`), html("code", {}, has)));
  const facts = { "data-testid": "first-divergence", "data-kind": found.kind, "data-pass": found.title, "data-variable": found.variable, "data-step": found.step };
  return fact("wrong", "differs", facts,
    html("div", { class: "sg-fact-head" }, html("b", {}, `First divergence: ${found.title}`), goTo(player, found.step, `Go to step ${found.step}`, "go")),
    html("p", {}, found.sentence), html("div", { class: "sg-both" }, ...cells),
    ...ghosts.map((text) => html("p", { class: "sg-ghost", "data-testid": "ghost" }, html("i", { class: "sg-ghost-line", "aria-hidden": "true" }), text)));
}

function mountCompared({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-facts");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  const parts = told.part === "verdict" ? [verdict(told.verdict), clauseTable(told.verdict.clauses, told.verdict.untried), taylor(told.verdict.evidence)] : [divergence(told)];
  root.replaceChildren(...parts.filter(Boolean));
}

export default mountCompared;
