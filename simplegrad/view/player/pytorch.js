// The top of the PyTorch page: verdict, findings, the first value that is not finite, and the sources with marked lines.

const MARKS = {
  made: ["M", "made here: the value that escapes"], read: ["R", "read here, in backward"],
  raised: ["✕", "raised here"], born: ["!", "the first value that is not finite is born here"],
};

function part(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "onclick") element.addEventListener("click", value); else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function box(look, mark, properties, ...children) {
  return part("div", { class: `sg-fact sg-fact-${look}`, ...properties },
    part("span", { class: "sg-fact-mark", "aria-hidden": "true" }, mark), part("div", {}, ...children));
}

function goButton(player, step, text, action) {
  if (step === null) return null;
  const go = () => window.simplegrad?.players.get(player)?.go(step);
  const button = part("button", { type: "button", class: "sg-button", "data-action": action, "data-step": step, onclick: go }, text);
  button.addEventListener("mousedown", (event) => event.preventDefault());
  return button;
}

function verdict({ verdict: { code, text, ok, name } }) {
  const look = ok ? "right" : code === "unchecked" ? "unknown" : "wrong";
  const mark = { right: "✓", wrong: "✕", unknown: "?" }[look];
  const says = code === "unchecked" ? "not checked" : `check says of ${name}: ${code.replaceAll("_", " ")}`;
  return box(look, mark, { "data-testid": "verdict", "data-verdict": code }, part("b", {}, says), part("p", {}, text));
}

function row(label, testid, ...content) {
  return [part("dt", {}, label), part("dd", { "data-testid": testid }, ...content)];
}

function place(label, testid, found) {
  if (!found) return [];
  return row(label, testid, part("span", {}, found[0]), ...(found[1] ? [part("pre", {}, part("code", {}, found[1]))] : []));
}

function finding(told, player) {
  const { code, note, sentence, entry, slot, made, read, reads, dropped, fix, step } = told;
  const facts = part("dl", { class: "sg-about" },
    ...(slot ? row("value", "slot", part("code", {}, slot)) : []), ...place("made at", "made-at", made), ...place(`${reads} at`, "read-at", read),
    ...dropped.flatMap(([name, lost]) => row(`dropped from ${name}`, "dropped", part("code", {}, lost))));
  const repair = fix ? part("details", { class: "sg-fix" }, part("summary", {}, "Write instead"), part("pre", { "data-testid": "fix" }, part("code", {}, fix))) : null;
  return box(note ? "unknown" : "wrong", note ? "i" : "✕", { "data-testid": "finding", "data-code": code },
    part("div", { class: "sg-fact-head" }, part("b", {}, `${slot ? `${slot} of ` : ""}${entry}: ${code.replaceAll("_", " ")}`),
      goButton(player, step, `Its backward: step ${step}`, "go-backward")),
    part("p", {}, sentence), facts, repair);
}

function birth(told, player) {
  const facts = { "data-testid": "nonfinite", "data-kind": told.kind, "data-where": told.where, "data-step": told.step };
  const what = told.kind === "nan" ? "First NaN" : "First infinity";
  return box("wrong", "!", facts,
    part("div", { class: "sg-fact-head" }, part("b", {}, what), goButton(player, told.step, `Go to step ${told.step}`, "go-nonfinite")),
    part("p", {}, told.sentence));
}

function births({ births: found, unknown, player }) {
  if (found.length) return found.map((each) => birth(each, player));
  const text = unknown || "Every number of this run is finite.";
  return [box(unknown ? "unknown" : "right", unknown ? "?" : "✓", { "data-testid": "nonfinite", "data-kind": unknown ? "unknown" : "none" }, part("p", {}, text))];
}

function source({ file, lines }) {
  const items = lines.map(([number, text, marks]) => part("li", { "data-line": number, "data-marks": marks.join(" ") || null },
    part("span", { class: "sg-marks" }, ...marks.map((mark) => part("abbr", { class: `sg-mark sg-mark-${mark}`, title: MARKS[mark][1] }, MARKS[mark][0]))),
    part("code", {}, text || " ")));
  return part("section", {}, part("h4", {}, file), part("ol", { class: "sg-code", "data-testid": "marked-source", "aria-label": `source, ${file}` }, ...items));
}

function key(sources) {
  const used = Object.keys(MARKS).filter((mark) => sources.some(({ lines }) => lines.some(([, , marks]) => marks.includes(mark))));
  return used.length ? part("p", { class: "sg-key" }, ...used.map((mark) => part("span", {}, part("i", { class: `sg-mark sg-mark-${mark}` }, MARKS[mark][0]), MARKS[mark][1]))) : null;
}

function lanes({ lanes: told }) {
  const names = ["forward", "first backward", "double backward", "third backward"];
  const rows = told.map(({ title, order, text }) => part("li", { "data-order": order, class: `sg-order sg-order-${Math.min(order, 3)}` },
    part("b", {}, title), part("em", {}, title === "forward" ? "" : names[order] ?? `backward of order ${order}`), part("span", {}, text)));
  return part("ul", { class: "sg-lanes", "data-testid": "lanes", "aria-label": "lanes of the graph" }, ...rows);
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".sg-pytorch");
  const told = typeof data === "string" ? JSON.parse(data) : data;
  if (told.part === "lanes") return void root.replaceChildren(lanes(told), ...told.notices.map((notice) => part("p", { class: "sg-notice", "data-testid": "notice" }, notice)));
  const left = part("div", { class: "sg-left" }, verdict(told), ...told.findings.map((each) => finding(each, told.player)), ...births(told));
  const listings = part("div", { class: "sg-sources" }, ...told.sources.map(source), key(told.sources));
  root.replaceChildren(part("div", { class: told.sources.length ? "sg-told" : "" }, left, listings));
}
