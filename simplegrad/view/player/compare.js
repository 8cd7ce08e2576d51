// The top of the Compare page: the verdict, the first divergence with a button that goes there, the missing pathway.

function part(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "onclick") element.addEventListener("click", value); else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function verdict({ verdict: { code, text, ok } }) {
  const look = ok ? "right" : code === "unchecked" ? "unknown" : "wrong";
  const mark = { right: "✓", wrong: "✕", unknown: "?" }[look];
  return part("div", { class: `sg-fact sg-fact-${look}`, "data-testid": "verdict", "data-verdict": code },
    part("span", { class: "sg-fact-mark", "aria-hidden": "true" }, mark),
    part("div", {}, part("b", {}, `check says: ${code.replaceAll("_", " ")}`), part("p", {}, text)));
}

function divergence({ divergence: found, same, names, ghosts, player }) {
  if (!found) {
    return part("div", { class: "sg-fact sg-fact-right", "data-testid": "first-divergence", "data-kind": "none" },
      part("span", { class: "sg-fact-mark", "aria-hidden": "true" }, "="), part("div", {}, part("p", {}, same)));
  }
  const go = () => window.simplegrad?.players.get(player)?.go(found.step);
  const button = part("button", { type: "button", class: "sg-button", "data-action": "go", onclick: go }, `Go to step ${found.step}`);
  button.addEventListener("mousedown", (event) => event.preventDefault());
  const cells = [["left", names[0], found.left], ["right", names[1], found.right]].map(([side, name, has]) =>
    part("div", { class: "sg-has", "data-side": side }, part("small", {}, `${side}: ${name}`), part("code", {}, has)));
  const facts = { class: "sg-fact sg-fact-wrong", "data-testid": "first-divergence", "data-kind": found.kind, "data-pass": found.title, "data-variable": found.variable, "data-step": found.step };
  return part("div", facts,
    part("span", { class: "sg-fact-mark", "aria-hidden": "true" }, "≠"),
    part("div", {},
      part("div", { class: "sg-fact-head" }, part("b", {}, `First divergence: ${found.title}`), button),
      part("p", {}, found.sentence), part("div", { class: "sg-both" }, ...cells),
      ...ghosts.map((text) => part("p", { class: "sg-ghost", "data-testid": "ghost" }, part("i", { class: "sg-ghost-line", "aria-hidden": "true" }), text))));
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-facts");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  root.replaceChildren(told.part === "verdict" ? verdict(told) : divergence(told));
}
