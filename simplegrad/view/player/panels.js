// The texts beside the picture: source, tape, inspector, gradient table. Each is drawn from the state after k events.

import { ENTRY, EVENT, PASS, SOURCE, VALUE } from "./contract.js";
import { Stop, html, pressable, set, setText } from "./dom.js";
import { SUMS, VISITS, bisect, entryOf } from "./history.js";
import { ending } from "./names.js";

const LONGEST_NAMED = 17; // letters, in the table of gradients
const ROW = 26, ALL_ROWS = 150, SPARE = 8;

/** Rows of one height, in the flow; of a long list only those in sight are in the page. Where it is scrolled to is
    remembered, not read: reading it in the middle of a paint would lay out the page there and then. */
export class RowList {
  box; make; update; rows; count; current; top; height;

  constructor(box, make, update) {
    Object.assign(this, { box, make, update, rows: new Map(), count: 0, current: -1, top: 0, height: 300 });
    this.space = html("div", { class: "sg-rows" });
    box.append(this.space);
    this.stop = new Stop(box);
    box.addEventListener("scroll", () => { if (this.top !== box.scrollTop) { this.top = box.scrollTop; this.draw(); } }, { passive: true });
    this.observer = new ResizeObserver(() => { this.height = box.clientHeight || 300; this.draw(); });
    this.observer.observe(box);
  }

  show(count, current) {
    if (this.count !== count) this.space.style.height = `${count * ROW}px`;
    this.count = count;
    this.current = current;
    const top = current * ROW;
    if (current < 0) this.top = Math.min(this.top, Math.max(0, count * ROW - this.height));
    else if (top < this.top + ROW) this.top = Math.max(0, top - ROW * 2);
    else if (top > this.top + this.height - ROW * 2) this.top = Math.max(0, Math.min(top + ROW * 3, count * ROW) - this.height);
    this.draw();
  }

  /** To the row that is to be seen, after all of the page is written. */
  reveal() {
    if (this.scrolled === this.top) return;
    this.box.scrollTop = this.scrolled = this.top;
  }

  draw() {
    const all = this.count <= ALL_ROWS;
    const first = all ? 0 : Math.max(0, Math.floor(this.top / ROW) - SPARE);
    const last = all ? this.count : Math.min(this.count, Math.ceil((this.top + this.height) / ROW) + SPARE);
    for (const [index, row] of this.rows) {
      if (index >= first && index < last) continue;
      row.remove();
      this.rows.delete(index);
    }
    if (this.first !== first) this.space.style.paddingTop = `${first * ROW}px`;
    this.first = first;
    for (let index = last - 1; index >= first; index--) this.row(index);
    this.stop.keep(this.rows.get(this.current) ?? this.rows.get(first));
  }

  row(index) {
    let row = this.rows.get(index);
    if (!row) {
      row = this.make(index);
      this.space.insertBefore(row, this.rows.get(index + 1) ?? null);
      this.rows.set(index, row);
    }
    this.update(row, index);
  }
}

/** What stands where a gradient is neither a value nor None. */
const NOTHING_YET = -3;
const PENDING = { "-2": "not yet computed", [NOTHING_YET]: "nothing came yet" };

export function chip(kind, state, letter) {
  return html("span", { class: `sg-chip sg-chip-${kind}-${state}`, title: state }, letter);
}

/** `v3  4  [0.36, 0.99]` of a gradient or value, or None. */
function valueCells(trace, id) {
  if (id < 0) return [html("b", { class: "sg-none" }, "None")];
  const value = trace.values[id], text = value[VALUE.text];
  return [html("b", {}, value[VALUE.name]), html("span", { class: "sg-shape" }, value[VALUE.shape]), html("span", { class: "sg-numbers", title: text }, text)];
}

/** Lines of a text with their numbers; one of them is where the run is now. A click or Enter goes there. */
class LineList {
  panel; element; ofFile; lines; now; target;

  constructor(panel, element, { ofFile }) {
    Object.assign(this, { panel, element, ofFile, lines: [], now: null, target: null });
    this.stop = new Stop(element);
  }

  fill(first, texts) {
    this.lines = texts.map((text, i) => this.line(first + i, text));
    this.first = first;
    this.now = null;
    this.element.replaceChildren(...this.lines);
    this.stop.keep(this.lines[0]);
  }

  line(number, text) {
    const { player, side } = this.panel, line = html("li", { value: number, "data-line": number }, html("code", {}, text || " "));
    const go = () => player.goToLine(side, number, this.ofFile);
    line.addEventListener("click", (event) => (!this.ofFile && event.offsetX < 34 && event.target === line ? player.marks.toggle(`l${number}`) : go()));
    return pressable(line, go);
  }

  mark(number) {
    const line = number === null ? undefined : this.lines[number - this.first];
    if (this.now === line) return;
    this.now?.removeAttribute("data-current");
    this.now?.removeAttribute("aria-current");
    this.now = line;
    if (!line) return;
    line.setAttribute("data-current", "true");
    line.setAttribute("aria-current", "step");
    this.stop.keep(line);
    this.target = (number - this.first) * 20;
  }

  reveal() {
    if (this.target === null) return;
    const seen = this.element.scrollTop;
    if (this.target < seen || this.target > seen + (this.element.clientHeight || 200) - 40) this.element.scrollTop = Math.max(0, this.target - 60);
    this.target = null;
  }
}

/** The program; of a run of PyTorch, which has none, the file that the current event stands in. */
class SourcePart {
  constructor(panel) {
    this.panel = panel;
    const { trace } = panel, isProgram = trace.program.length > 0;
    const list = html("ol", { class: "sg-source", "data-testid": "source", "data-side": panel.side, "aria-label": isProgram ? "program" : "source" });
    const isEmpty = !isProgram && !trace.sources.some((source) => source[SOURCE.lines].length);
    this.title = html("h4", {}, isProgram ? "program" : isEmpty ? "source: the trace has no text of it" : "source");
    this.printed = new PrintedPart(panel);
    this.element = html("div", { class: "sg-part sg-part-source", "data-tab": "program" }, this.title, list, this.printed.box);
    this.list = new LineList(panel, list, { ofFile: !isProgram });
    this.file = -1;
    if (isProgram) this.list.fill(1, trace.program);
    else this.showFile(trace.sources.findIndex((source) => source[SOURCE.lines].length));
  }

  showFile(file) {
    if (file < 0 || file === this.file || !this.panel.trace.sources[file][2].length) return;
    const source = this.panel.trace.sources[file];
    this.file = file;
    setText(this.title, source[SOURCE.name]);
    this.list.fill(source[SOURCE.first], source[SOURCE.lines]);
  }

  draw(k) {
    const { trace } = this.panel, event = k ? trace.events[k - 1] : null;
    this.printed.draw(k);
    if (trace.program.length) {
      for (const line of this.list.lines) set(line, "data-break", String(this.panel.player.marks.hits.has(`l${line.dataset.line}`)));
      this.list.mark(trace.line(k) || null);
    } else if (event) {
      this.showFile(event[EVENT.file]);
      this.list.mark(event[EVENT.file] === this.file ? event[EVENT.file_line] : null);
    }
  }

  reveal() {
    this.list.reveal();
    this.printed.reveal();
  }
}

/** What print() said until the next event: a line that is printed is none itself. */
class PrintedPart {
  constructor(panel) {
    this.panel = panel;
    this.box = html("pre", { class: "sg-printed", "data-testid": "printed", "data-side": panel.side, "aria-label": "printed so far", hidden: true });
    this.element = html("div", { class: "sg-part sg-part-printed", "data-tab": "program" }, this.box);
    this.told = 0; // lines that are shown
  }

  draw(k) {
    const { printed } = this.panel.trace, count = printed.filter(([after]) => after <= k).length;
    if (count === this.told) return;
    this.told = count;
    this.box.hidden = count === 0;
    this.box.textContent = printed.slice(0, count).map(([, text]) => text).join("\n");
    this.grown = true;
  }

  reveal() {
    if (this.grown) this.box.scrollTop = this.box.scrollHeight;
    this.grown = false;
  }
}

/** The Python of the hand-written rule that runs now: beside a program only. */
class PythonPart {
  constructor(panel) {
    this.panel = panel;
    const list = html("ol", { class: "sg-source sg-python", "data-testid": "python", "data-side": panel.side, "aria-label": "source of the aggregate" });
    this.title = html("h4", {});
    this.element = html("div", { class: "sg-part sg-part-python", "data-tab": "rule" }, this.title, list);
    this.list = new LineList(panel, list, { ofFile: true });
    this.file = -1;
    this.element.hidden = true;
    if (panel.trace.program.length) this.showFile(panel.trace.sources.findIndex((source) => source[SOURCE.lines].length));
  }

  showFile(file) {
    if (file < 0 || file === this.file || !this.panel.trace.sources[file][2].length) return;
    const source = this.panel.trace.sources[file];
    this.file = file;
    this.element.hidden = false;
    setText(this.title, source[SOURCE.name]);
    this.list.fill(source[SOURCE.first], source[SOURCE.lines]);
  }

  draw(k) {
    const { trace } = this.panel, event = k ? trace.events[k - 1] : null;
    if (!trace.program.length) return;
    if (event) this.showFile(event[EVENT.file]);
    this.list.mark(event && event[EVENT.file] === this.file ? event[EVENT.file_line] : null);
  }

  reveal() { this.list.reveal(); }
}

class TapePart {
  constructor(panel) {
    this.panel = panel;
    this.box = html("div", { class: "sg-list sg-tape", "data-testid": "tape", "data-side": panel.side, role: "list", "aria-label": "tape" });
    this.title = html("h4", {}, "tape");
    this.element = html("div", { class: "sg-part sg-part-tape", "data-tab": "tape" }, this.title, this.box);
    this.list = new RowList(this.box, (index) => this.make(index), (row, index) => this.update(row, index));
  }

  make(index) {
    const trace = this.panel.trace, id = trace.order[index], [statement, pass] = trace.entries[id];
    const row = html("div", { class: "sg-row", role: "listitem", "data-entry": id, "data-pass": pass, title: statement },
      html("span", { class: "sg-chip" }), html("span", { class: "sg-number", title: "set or clear a breakpoint" }, String(id)), html("code", {}, statement));
    row.children[1].addEventListener("click", (event) => { event.stopPropagation(); this.panel.player.marks.toggle(`e${id}`); });
    const go = () => this.panel.player.goToTouching(this.panel.side, `e${id}`);
    row.addEventListener("click", go);
    return pressable(row, go);
  }

  update(row, index) {
    const trace = this.panel.trace, id = trace.order[index], state = trace.entryState(id, this.k);
    if (row.dataset.state !== state) {
      row.dataset.state = state;
      row.firstChild.className = `sg-chip sg-chip-entry-${state}`;
      row.firstChild.textContent = this.panel.player.letters[`entry-${state}`];
      row.firstChild.title = state;
    }
    set(row, "data-current", String(index === this.list.current));
    set(row, "data-break", String(this.panel.player.marks.hits.has(`e${id}`) || this.panel.player.marks.hits.has(`e${id}~`)));
  }

  draw(k) {
    this.k = k;
    const trace = this.panel.trace, event = k ? trace.events[k - 1] : null;
    const entry = event ? entryOf(event) : -1;
    const count = trace.entryCount(k);
    const current = entry < 0 ? -1 : this.place(entry, count);
    setText(this.title, count ? `tape, ${count} ${count === 1 ? "entry" : "entries"}` : "tape, empty so far");
    this.list.show(count, current);
  }

  reveal() { this.list.reveal(); }

  place(entry, count) {
    const at = bisect(this.panel.trace.recordedAt, this.panel.trace.entryAt.get(entry) ?? Infinity);
    return at < count ? at : -1;
  }
}

class GradientsPart {
  constructor(panel) {
    this.panel = panel;
    this.title = html("h4", {}, "gradients");
    this.box = html("div", { class: "sg-list sg-gradients", "data-testid": "gradients", "data-side": panel.side, role: "list" });
    this.element = html("div", { class: "sg-part sg-part-gradients", "data-tab": "gradients" }, this.title, this.box);
    this.list = new RowList(this.box, (index) => this.make(index), (row, index) => this.update(row, index));
  }

  make(index) {
    const trace = this.panel.trace, id = trace.knownOrder[index], name = trace.values[id][VALUE.name];
    const alias = trace.aliases[name] ? ` (${trace.aliases[name]})` : "";
    const row = html("div", { class: "sg-row", role: "listitem", "data-name": name },
      html("span", { class: "sg-chip" }), html("b", { class: "sg-name", title: name + alias }, ending(name, LONGEST_NAMED), html("i", {}, alias)),
      html("span", { class: "sg-gradient" }), html("span", { class: "sg-shape" }), html("span", { class: "sg-numbers" }));
    const go = () => this.panel.player.goToTouching(this.panel.side, `v${id}`);
    row.addEventListener("click", go);
    return pressable(row, go);
  }

  update(row, index) {
    const trace = this.panel.trace, id = trace.knownOrder[index], [state, gradient] = trace.gradient(id, this.k);
    set(row, "data-current", String(index === this.list.current));
    const told = `${state}:${gradient}`;
    if (row.sgTold === told) return;
    row.sgTold = told;
    row.dataset.state = state;
    const [mark, , name, shape, numbers] = row.children;
    mark.className = `sg-chip sg-chip-gradient-${state}`;
    mark.textContent = this.panel.player.letters[`gradient-${state}`];
    mark.title = state;
    setText(name, gradient >= 0 ? trace.values[gradient][VALUE.name] : state === "none" ? "None" : "");
    setText(shape, gradient >= 0 ? trace.values[gradient][VALUE.shape] : "");
    setText(numbers, gradient >= 0 ? trace.values[gradient][VALUE.text] : state === "unreached" ? "nothing came yet" : "");
    numbers.title = numbers.textContent;
  }

  draw(k) {
    this.k = k;
    const trace = this.panel.trace, pass = trace.passAt(k), event = k ? trace.events[k - 1] : null;
    const count = trace.valueCount(k);
    const value = event && (SUMS.has(event[EVENT.kind])) ? event[EVENT.third] : -1;
    const current = value < 0 ? -1 : bisect(trace.knownAt, trace.valueAt.get(value) ?? Infinity);
    const ended = pass && pass.end >= 0 && pass.end < k ? (pass.isBroken ? ", broken off" : ", ended") : "";
    setText(this.title, pass ? `gradients d${trace.passes[pass.id][PASS.loss]}/d…${ended}` : "gradients: no pass has begun");
    this.list.show(count, current < count ? current : -1);
  }

  reveal() { this.list.reveal(); }
}

/** What the current event's entry was given, what it computes and gives; what is added to what. */
class InspectorPart {
  constructor(panel) {
    this.panel = panel;
    this.element = html("div", { class: "sg-part sg-part-inspector", "data-tab": "arithmetic", "data-testid": "inspector", "data-side": panel.side });
  }

  draw(k) {
    const trace = this.panel.trace, event = k ? trace.events[k - 1] : null;
    const body = event ? this.body(trace, event, k) : [html("p", { class: "sg-empty" }, "Nothing has happened yet.")];
    this.element.replaceChildren(...body);
  }

  body(trace, event, k) {
    const kind = event[EVENT.kind];
    if (kind === "recorded") return this.recorded(trace, event[EVENT.subject], k);
    if (VISITS.has(kind)) return this.visit(trace, event[EVENT.subject], k, -1);
    if (SUMS.has(kind)) return [...this.sum(trace, event, k), ...this.visit(trace, event[EVENT.subject], k, event[EVENT.second])];
    if (kind === "read") return this.recorded(trace, event[EVENT.second], k, "is about to be recorded");
    if (kind === "leaf") return [html("h4", {}, "a leaf"), this.table([[trace.values[event[EVENT.subject]][VALUE.name], "", event[EVENT.subject]]])];
    if (kind === "begun") return [html("h4", {}, trace.passes[event[EVENT.subject]][PASS.title]), this.table([[`d${trace.name(event[EVENT.second][0])}/d${trace.name(event[EVENT.second][0])}`, "seed", event[EVENT.second][1]]])];
    if (kind === "ended") return this.ended(trace, event);
    return [html("h4", {}, { failed: "the run stopped here", broken: "the pass stopped here" }[kind] ?? kind), html("p", {}, trace.sentences[k - 1])];
  }

  heading(trace, id, k, more = "") {
    const state = trace.entryState(id, k), made = trace.entries[id][ENTRY.made_by];
    const by = made >= 0 ? `, recorded by entry ${made}` : "";
    return html("h4", {}, chip("entry", state, this.panel.player.letters[`entry-${state}`]), ` entry ${id} `, html("code", {}, trace.entries[id][ENTRY.statement]), html("small", {}, ` ${more || state}${by}`));
  }

  recorded(trace, id, k, more = "recorded") {
    const inputs = trace.entries[id][ENTRY.inputs], outputs = trace.entries[id][ENTRY.outputs];
    const rows = [...inputs.map((v) => ["reads", "", v]), ...outputs.map((v) => ["makes", "", v])];
    return [this.heading(trace, id, k, more), this.table(rows)];
  }

  visit(trace, id, k, slot) {
    const entry = trace.entries[id], inputs = entry[ENTRY.inputs], outputs = entry[ENTRY.outputs], formulas = entry[ENTRY.formulas];
    const [kind, incoming, outgoing] = trace.visit(id, k) || ["pending", [], []];
    const loss = trace.passAt(k) ? trace.passes[trace.passAt(k).id][PASS.loss] : "L";
    const first = incoming.find((g) => g >= 0) ?? -1;
    const rows = outputs.map((v, i) => [`d${loss}/d${trace.name(v)}`, kind === "pruned" ? "not looked at" : "", incoming[i] ?? -1, kind === "pruned"]);
    const gives = kind === "skipped" || kind === "pruned" ? [] : inputs.map((v, i) => {
      const formula = (formulas[i] || "").replaceAll("{g}", trace.name(first));
      return [`d${loss}/d${trace.name(v)}`, formula ? `= ${formula}` : "", outgoing[i] ?? -2, false, i === slot];
    });
    return [this.heading(trace, id, k), this.label("incoming"), this.table(rows), gives.length ? this.label("outgoing") : null, gives.length ? this.table(gives) : null].filter(Boolean);
  }

  sum(trace, event, k) {
    const [entry, , value, contribution, total] = event.slice(EVENT.subject);
    const pass = trace.passAt(k), before = pass?.gradients.get(value)?.before(k - 1) ?? NOTHING_YET;
    const name = `d${trace.passes[pass.id][PASS.loss]}/d${trace.name(value)}`;
    return [html("h4", {}, `what is added to ${name}`), this.table([["before", "", before], [`entry ${entry} gives`, "+", contribution], ["after", "=", total]])];
  }

  ended(trace, event) {
    const pass = trace.passes[event[EVENT.subject]], title = pass[PASS.title], loss = pass[PASS.loss], wanted = pass[PASS.wanted];
    return [html("h4", {}, `${title}: results`), this.table(wanted.map((v, i) => [`d${loss}/d${trace.name(v)}`, "=", event[EVENT.second][i]]))];
  }

  label(text) { return html("div", { class: "sg-label" }, text); }

  table(rows) {
    const body = rows.map(([what, how, id, blank, now]) => html("div", { class: `sg-line${now ? " sg-line-now" : ""}` },
      html("span", { class: "sg-what" }, what), html("span", { class: "sg-how" }, how),
      ...(blank || id in PENDING ? [html("span", { class: "sg-pending" }, PENDING[id] ?? "")] : valueCells(this.panel.trace, id))));
    return html("div", { class: "sg-lines" }, ...body);
  }
}

class EventPart {
  constructor(panel) {
    this.panel = panel;
    this.text = html("p", { class: "sg-event", "data-testid": "event", "data-side": panel.side, "aria-live": "polite" });
    this.element = html("div", { class: "sg-part sg-part-event" }, this.text);
  }

  draw(k) {
    const trace = this.panel.trace;
    const waits = this.panel.player.waits(this.panel.side);
    const sentence = k ? trace.sentences[k - 1] : "Nothing has happened on this side yet.";
    setText(this.text, waits ? `Waits: nothing here matches the other side's step. ${sentence}` : sentence);
    set(this.text, "data-kind", k ? trace.events[k - 1][EVENT.kind] : "");
    set(this.text, "data-waits", String(waits));
  }
}

/** On a narrow screen, one of the texts at a time. */
class TabsPart {
  constructor(panel) {
    const tab = (name) => html("button", { type: "button", role: "tab", class: "sg-button sg-text-button", "data-shows": name, onclick: () => this.show(name) }, name);
    this.element = html("div", { class: "sg-tabs", role: "tablist", "aria-label": "texts" }, ...["gradients", "program", "tape", "arithmetic", "rule"].map(tab));
    this.show(document.documentElement.dataset.sgTab ?? panel.tab);
  }

  show(name) {
    document.documentElement.dataset.sgTab = name;
    for (const tab of this.element.children) tab.setAttribute("aria-selected", String(tab.dataset.shows === name));
  }

  draw() {}
}

const PARTS = { tabs: TabsPart, source: SourcePart, printed: PrintedPart, python: PythonPart, tape: TapePart, gradients: GradientsPart, inspector: InspectorPart, event: EventPart };

/** A mounted place for parts of one side. */
export class Panel {
  root; player; side; tab;

  constructor(root, player, side, parts, tab = "gradients") {
    Object.assign(this, { root, player, side, tab });
    this.parts = parts.map((name) => new PARTS[name](this));
    root.replaceChildren(...this.parts.map((part) => part.element));
  }

  get trace() { return this.player.sides[this.side]; }
  draw(k) { for (const part of this.parts) part.draw(k); }
  /** What needs the page's layout comes after everything is written. */
  reveal() { for (const part of this.parts) part.reveal?.(); }
}
