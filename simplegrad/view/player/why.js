// The answer to "why?": one sentence, the line, and the steps that led there, each a button that goes to it.

import { html } from "./dom.js";
import { goTo } from "./facts.js";
import { shared } from "./shared.js";

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-why-root");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  if (!told.answer || root.dataset.closed === String(told.at)) return void root.replaceChildren();
  const { name, state, cause, sentence, place, chain } = told.answer;
  const close = () => { root.dataset.closed = String(told.at); root.replaceChildren(); };
  const steps = chain.map(([text, step]) => html("li", {}, text, " ", goTo(told.player, step, `step ${step}`, "why-step")));
  const box = html("section", { class: "sg-popup sg-why", "data-testid": "why", "data-state": state, "data-cause": cause, role: "region", "aria-label": `why is the gradient of ${name} so`, tabindex: -1 },
    html("button", { type: "button", class: "sg-x sg-close", "aria-label": "close", onclick: close }, "×"),
    html("h4", {}, `why? ${name}`, state ? html("small", {}, ` ${state}${cause && cause !== "none" ? `, ${cause}` : ""}`) : null), html("p", { "data-testid": "why-sentence" }, sentence),
    place ? html("p", {}, place[0]) : null, place?.[1] ? html("pre", {}, html("code", {}, place[1])) : null,
    steps.length ? html("ol", { class: "sg-chain" }, ...steps) : null);
  box.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  root.replaceChildren(box);
  shared.closeAnswer = close;
}
