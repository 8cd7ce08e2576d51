// The top of the Compare page: the verdict, the first divergence with a button that goes there, the missing pathway.

import { html } from "./dom.js";
import { clauseTable, fact, goTo, taylor, verdict } from "./facts.js";

/** What is told at first is short, so that the graphs are in sight; the rest is unfolded. */
function more(...parts) {
  const rest = parts.filter(Boolean);
  return rest.length ? html("details", { class: "sg-more" }, html("summary", {}, "more"), ...rest) : null;
}

export function divergence({ divergence: found, same, judged = true, names, ghosts, player }) {
  if (!found) return fact(judged ? "right" : "unknown", judged ? "same" : "unknown", { "data-testid": "first-divergence", "data-kind": "none" }, html("p", {}, same));
  const cells = [["left", names[0], found.left], ["right", names[1], found.right]].map(([side, name, has]) =>
    html("div", { class: "sg-has", "data-side": side }, html("small", {}, `${side}: ${name}`), html("code", {}, has)));
  const facts = { "data-testid": "first-divergence", "data-kind": found.kind, "data-pass": found.title, "data-variable": found.variable, "data-step": found.step };
  return fact("wrong", "differs", facts,
    html("div", { class: "sg-fact-head" }, html("b", {}, `First divergence: ${found.title}`), goTo(player, found.step, `Go to step ${found.step}`, "go")),
    html("p", { class: "sg-brief" }, found.sentence), more(html("div", { class: "sg-both" }, ...cells),
      ...ghosts.map((text) => html("p", { class: "sg-ghost", "data-testid": "ghost" }, html("i", { class: "sg-ghost-line", "aria-hidden": "true" }), text))));
}

function verdictInBrief(said) {
  const box = verdict(said), rest = more(clauseTable(said.clauses, said.untried), taylor(said.evidence));
  box.querySelector("p").classList.add("sg-brief");
  if (rest) box.lastElementChild.append(rest);
  return box;
}

function mountCompared({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-facts");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  const wasOpen = root.querySelector(".sg-more")?.open ?? false;
  root.replaceChildren(told.part === "verdict" ? verdictInBrief(told.verdict) : divergence(told));
  const rest = root.querySelector(".sg-more");
  if (rest) rest.open = wasOpen;
}

export default mountCompared;
