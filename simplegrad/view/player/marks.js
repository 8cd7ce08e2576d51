// Breakpoints and watches: where stepping stops, how often it came there, and gradients that stay in sight.
// A breakpoint is a short text, as it stands in the URL: e4 an entry is reached, d:b a gradient changes, l3 a program
// line begins, none, zero, nan, large:10, differs; with "~" behind it, it only logs.

import { ENTRY, EVENT, NOT_FINITE, PASS, VALUE } from "./contract.js";
import { html, setText } from "./dom.js";
import { CAME, entryOf } from "./history.js";
import { chip } from "./panels.js";
import { REPORT_MS, shared } from "./shared.js";

const KINDS_OF_BREAKPOINT = [
  ["e", "entry is reached", "4"], ["d:", "gradient changes of", "b"], ["l", "line is reached", "3"], ["none", "a gradient is None", ""],
  ["zero", "a gradient is all zero", ""], ["nan", "NaN or infinite", ""], ["large:", "a gradient larger than", "10"], ["differs", "differs from the reference", ""],
];
const MOST_BREAKPOINTS = 30, LOGGED = 6, LISTED = 50;

export class Marks {
  constructor(player) {
    this.player = player;
    this.breakpoints = [];
    this.watches = [];
    this.build();
  }

  // --- what stops ---------------------------------------------------------------------------------------------

  load(data) {
    const kept = shared.marks?.[data.id];
    this.breakpoints = (kept?.breakpoints ?? data.breakpoints ?? "").split(",").filter((text) => this.valid(text)).slice(0, MOST_BREAKPOINTS);
    this.watches = (kept?.watches ?? data.watches ?? "").split(",").filter(Boolean).slice(0, MOST_BREAKPOINTS);
    this.recount();
  }

  valid(text) { return /^(e\d{1,9}|d:[^,~]{1,60}|l\d{1,6}|none|zero|nan|large:[\d.e+-]{1,20}|differs)~?$/.test(text); }

  recount() {
    this.hits = new Map(this.breakpoints.map((text) => [text, this.hitsOf(text.replace("~", ""))]));
    const stops = this.breakpoints.filter((text) => !text.endsWith("~")).flatMap((text) => this.hits.get(text));
    this.stops = [...new Set(stops)].sort((a, b) => a - b);
  }

  /** The player's steps at which a breakpoint is hit, on any side. */
  hitsOf(text) {
    if (text === "differs") return this.player.data.differs || [];
    const hits = this.player.sides.flatMap((trace, side) => {
      const matches = this.matcher(text, trace), found = [];
      trace.events.forEach((event, i) => { if (matches(event, i)) found.push(this.player.stepOf(side, i)); });
      return found;
    });
    return [...new Set(hits)].sort((a, b) => a - b);
  }

  matcher(text, trace) {
    const came = (event) => CAME.has(event[EVENT.kind]) && event[EVENT.total] >= 0;
    // Of a sum of several contributions a run of PyTorch keeps no number: what came in tells that it is not finite.
    const largest = (value) => (value >= 0 ? trace.values[value][VALUE.largest] ?? -1 : -1);
    const size = (event) => (!came(event) ? -1 : largest(event[EVENT.contribution]) === NOT_FINITE ? NOT_FINITE : largest(event[EVENT.total]));
    const argument = text.includes(":") ? text.slice(text.indexOf(":") + 1) : text.slice(1);
    if (text === "none") return (event) => event[EVENT.kind] === "nothing" || (event[EVENT.kind] === "ended" && event[EVENT.second].includes(-1));
    if (text === "zero") return (event) => came(event) && trace.values[event[EVENT.total]][VALUE.zero] === 1;
    if (text === "nan") return (event) => size(event) === NOT_FINITE || (event[EVENT.kind] === "recorded" && trace.entries[event[EVENT.subject]][ENTRY.outputs].some((v) => trace.values[v][VALUE.largest] === NOT_FINITE));
    if (text.startsWith("large:")) return (event) => size(event) > Number(argument) || size(event) === NOT_FINITE;
    if (text.startsWith("d:")) return (event) => came(event) && trace.values[event[EVENT.third]][VALUE.name] === argument;
    if (text.startsWith("l")) return (event, i) => event[EVENT.line] === Number(argument) && (i === 0 || trace.events[i - 1][EVENT.line] !== Number(argument));
    const reached = new Set(["recorded", "visit", "skipped", "pruned"]);
    return (event) => reached.has(event[EVENT.kind]) && event[EVENT.subject] === Number(argument);
  }

  /** As the address has them. */
  query() {
    const all = { break: this.breakpoints.join(","), watch: this.watches.join(",") };
    return Object.fromEntries(Object.entries(all).filter(([, text]) => text));
  }

  isStop(step) { return this.stops.includes(step); }

  go(direction) {
    const { step } = this.player;
    const to = direction > 0 ? this.stops.find((hit) => hit > step) : this.stops.findLast((hit) => hit < step);
    if (to === undefined) setText(this.player.count, this.stops.length ? `no breakpoint ${direction > 0 ? "after" : "before"} step ${step}` : "no breakpoint is set");
    else this.player.go(to);
  }

  toggle(text) {
    const set = this.breakpoints.find((each) => each.replace("~", "") === text);
    this.breakpoints = set ? this.breakpoints.filter((each) => each !== set) : [...this.breakpoints, text].slice(-MOST_BREAKPOINTS);
    this.changed();
  }

  /** On the entry that the current event is about. */
  toggleHere() {
    const side = this.player.sides.findIndex((_, i) => !this.player.waits(i)), k = this.player.k(side);
    const entry = k ? entryOf(this.player.sides[side].events[k - 1]) : -1;
    if (entry >= 0) this.toggle(`e${entry}`);
    else setText(this.player.count, "this event is about no entry");
  }

  changed() {
    (shared.marks ??= {})[this.player.id] = { breakpoints: this.breakpoints.join(","), watches: this.watches.join(",") };
    this.recount();
    this.draw();
    this.player.writeAddress();
    this.player.drawTimeline();
    for (const panel of this.player.panels) panel.draw(this.player.k(panel.side));
    for (const painter of this.player.painters.values()) painter.paintBreaks();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.player.send("marks", { id: this.player.id, ...shared.marks[this.player.id] }), REPORT_MS);
  }

  // --- what is seen -------------------------------------------------------------------------------------------

  build() {
    this.kind = html("select", { class: "sg-speed", "aria-label": "kind of breakpoint" }, ...KINDS_OF_BREAKPOINT.map(([code, label]) => html("option", { value: code }, label)));
    this.argument = html("input", { class: "sg-find sg-argument", "aria-label": "of what", placeholder: "4" });
    this.kind.addEventListener("change", () => this.drawForm());
    this.argument.addEventListener("keydown", (event) => event.key === "Enter" && this.add());
    this.watched = html("input", { class: "sg-find", "aria-label": "watch a gradient", placeholder: "watch: a, b" });
    this.watched.addEventListener("keydown", (event) => event.key === "Enter" && this.watch());
    const button = (label, action, name) => html("button", { type: "button", class: "sg-button sg-text-button", "data-action": name, onclick: action }, label);
    this.listed = new Set();  // breakpoints whose hits are shown
    this.list = html("div", { class: "sg-breaks", "data-testid": "breakpoints" });
    this.log = html("ol", { class: "sg-log", "data-testid": "log" });
    this.form = html("div", { class: "sg-form" }, "stop when ", this.kind, this.argument, button("add", () => this.add(), "add-breakpoint"));
    this.popup = html("div", { class: "sg-popup sg-marks", "data-testid": "marks", hidden: true, role: "region", "aria-label": "breakpoints and watches", tabindex: 0 },
      html("h4", {}, "breakpoints"), this.form, this.list,
      html("p", {}, "Also: b on the current entry, a click on the number of a tape row or of a source line, Shift + click on a node. n and p go to the next and the one before."),
      this.log, html("h4", {}, "watched gradients"), html("div", { class: "sg-form" }, this.watched, button("add", () => this.watch(), "add-watch")));
    this.watchLine = html("div", { class: "sg-watches", "data-testid": "watches", hidden: true });
  }

  drawForm() {
    const [, , example] = KINDS_OF_BREAKPOINT.find(([code]) => code === this.kind.value);
    this.argument.hidden = !example;
    this.argument.placeholder = example;
  }

  add() {
    const [code, , example] = KINDS_OF_BREAKPOINT.find(([each]) => each === this.kind.value);
    const text = example ? code + this.argument.value.trim() : code;
    this.argument.setAttribute("aria-invalid", String(!this.valid(text)));
    if (this.valid(text) && !this.breakpoints.includes(text)) this.toggle(text);
  }

  watch() {
    const names = this.watched.value.split(/[\s,]+/).filter((name) => this.player.sides.some((trace) => trace.values.some((value) => value[0] === name)));
    this.watches = [...new Set([...this.watches, ...names])];
    this.watched.value = "";
    this.changed();
  }

  draw() {
    const { step } = this.player;
    this.drawWatches();
    if (!this.breakpoints.length && !this.list.firstChild) return;
    const held = this.list.querySelector(":focus")?.getAttribute("data-listed");  // a button that is drawn anew
    this.list.replaceChildren(...this.breakpoints.flatMap((text) => [this.row(text, step), this.listed.has(text) ? this.hitList(text, step) : ""]));
    if (held) this.list.querySelector(`[data-listed="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
    const logging = this.breakpoints.filter((text) => text.endsWith("~"));
    const logged = logging.flatMap((text) => this.hits.get(text).filter((hit) => hit <= step)).sort((a, b) => a - b).slice(-LOGGED);
    this.log.replaceChildren(...logged.map((hit) => this.hitRow(hit)));
  }

  hitRow(hit, step = null) {
    return html("li", { "aria-current": hit === step ? "step" : null }, html("button", { type: "button", class: "sg-link", "data-listed": `${hit}`, onclick: () => this.player.go(hit) }, `step ${hit}`), ` ${this.player.sentenceAt(hit)}`);
  }

  /** All hits of a breakpoint; of very many those around the step. */
  hitList(text, step) {
    const hits = this.hits.get(text), next = hits.findIndex((hit) => hit >= step), here = next < 0 ? hits.length : next;
    const from = Math.max(0, Math.min(here - LISTED / 2, hits.length - LISTED)), shown = hits.slice(from, from + LISTED);
    const said = hits.length ? `${shown.length} of ${hits.length}, around this step` : "No step of this run meets it.";
    const more = hits.length > shown.length || !hits.length ? html("li", {}, said) : null;
    return html("ol", { class: "sg-log sg-hits", "data-testid": "hits", "aria-label": `hits of ${text}` }, ...shown.map((hit) => this.hitRow(hit, step)), more);
  }

  listHits(text) {
    if (!this.listed.delete(text)) this.listed.add(text);
    this.draw();
  }

  row(text, step) {
    const hits = this.hits.get(text), passed = hits.filter((hit) => hit <= step).length, logs = text.endsWith("~");
    const kind = kindOf(text), argument = text.replace("~", "").slice(kind[0].length);
    const flip = () => { this.breakpoints = this.breakpoints.map((each) => (each === text ? (logs ? text.slice(0, -1) : `${text}~`) : each)); this.changed(); };
    return html("div", { class: "sg-break", "data-breakpoint": text, "data-hits": hits.length }, html("span", { class: "sg-dot" }), html("span", {}, `${kind[1]} ${argument}`),
      html("button", { type: "button", class: "sg-link sg-count", "data-listed": text, title: "list the hits", "aria-expanded": String(this.listed.has(text)), onclick: () => this.listHits(text) }, `hit ${passed} of ${hits.length}`),
      html("button", { type: "button", class: "sg-button sg-text-button", "aria-pressed": String(logs), onclick: flip }, "log only"),
      html("button", { type: "button", class: "sg-button sg-text-button", "aria-label": `remove ${text}`, onclick: () => this.toggle(text.replace("~", "")) }, "remove"));
  }

  drawWatches() {
    this.watchLine.hidden = !this.watches.length;
    if (!this.watches.length) return;
    this.watchLine.replaceChildren(...this.watches.flatMap((name) => this.player.sides.map((trace, side) => this.watchChip(name, trace, side))).filter(Boolean));
  }

  watchChip(name, trace, side) {
    const value = trace.values.findIndex((each) => each[0] === name), k = this.player.k(side);
    if (value < 0) return null;
    const [state, gradient] = trace.gradient(value, k), letter = this.player.letters[`gradient-${state}`];
    const loss = trace.passAt(k) ? trace.passes[trace.passAt(k).id][PASS.loss] : "L";
    const text = gradient >= 0 ? `${trace.values[gradient][VALUE.name]} ${trace.values[gradient][VALUE.text]}` : state === "none" ? "None" : "nothing yet";
    const remove = html("button", { type: "button", class: "sg-x", "aria-label": `stop watching ${name}`, onclick: () => { this.watches = this.watches.filter((each) => each !== name); this.changed(); } }, "×");
    return html("span", { class: "sg-watch", "data-name": name, "data-side": side, "data-state": state }, chip("gradient", state, letter), html("b", {}, `d${loss}/d${name}`), html("span", { class: "sg-numbers" }, text), remove);
  }
}

/** The row of KINDS_OF_BREAKPOINT that a text is written by: of "l" and "large:" the longer one. */
export function kindOf(text) {
  return KINDS_OF_BREAKPOINT.filter(([code]) => text.startsWith(code)).sort((a, b) => b[0].length - a[0].length)[0];
}
