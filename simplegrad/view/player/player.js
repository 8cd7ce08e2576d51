// The controls, the keys, and what holds the sides, panels and charts of one player together.

import { writeQuery, writeUrl } from "./address.js";
import { Card } from "./card.js";
import { EVENT, PASS, VALUE } from "./contract.js";
import { html, set, setText, svg } from "./dom.js";
import { SUMS } from "./history.js";
import { Marks } from "./marks.js";
import { Trail } from "./near.js";
import { SearchIndex } from "./search.js";
import { REPORT_MS, answered, shared } from "./shared.js";

const BIG_GAP_MS = 60, ADDRESS_MS = 90;
const trail = (window.simplegradTrail ??= new Trail()); // of the program that is edited: an empty one has no player
const READING_MS = 250, WORD_MS = 190; // a sentence: to look there, and for each of its words; formulas count as one

const ICONS = {
  first: "M4 3v10M13 3L6 8l7 5z", last: "M12 3v10M3 3l7 5-7 5z", back: "M11 3L4 8l7 5z", next: "M5 3l7 5-7 5z",
  overback: "M8 3L2 8l6 5zM14 3L8 8l6 5z", over: "M2 3l6 5-6 5zM8 3l6 5-6 5z",
  outback: "M3 13V5M3 5l-2 3M3 5l2 3M14 3L7 8l7 5z", out: "M13 13V5M13 5l-2 3M13 5l2 3M2 3l7 5-7 5z",
  lastbreak: "M12 3L6 8l6 5zM3 6.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3z", nextbreak: "M4 3l6 5-6 5zM13 6.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3z",
  play: "M4 2l10 6-10 6z", pause: "M4 3h3v10H4zM9 3h3v10H9z",
};
const KEYS = [
  ["→  ←", "one event on, one back"], ["Shift + → ←", "over: to the next entry, the entry before"],
  ["Ctrl + → ←", "out: to the end of the pass, to its beginning"], ["Home  End", "first event, last event"],
  ["Space", "play, pause"], ["b", "set or clear a breakpoint on the current entry"], ["n  p", "next breakpoint, the one before"],
  ["o", "open or close the module that the step is in"],
  ["w", "why? of the gradient in focus, or the one that the event is about"], ["/", "search"], ["↑  ↓", "in a list: the row above, the row below"], ["?", "this help"],
];

function icon(name) {
  const element = svg("svg", { viewBox: "0 0 16 16", width: 15, height: 15, "aria-hidden": "true" });
  svg("path", { d: ICONS[name] }, element);
  return element;
}

export class Player {
  setStateValue; // tells the server; where there is none, nobody
  editor = null; // of the program, where it may be edited beside the graph

  constructor(root, data, traces) {
    this.root = root;
    this.panels = new Set();
    this.painters = new Map();
    this.marks = new Marks(this);
    this.card = new Card(this);
    this.build(data.asks);
    this.load(data, traces);
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey, true);
    // a report that comes after the click on another page's link would bring this page back
    this.onDown = (event) => { if (event.target.closest?.("a[href]")) { clearTimeout(this.report); clearTimeout(this.marks.timer); } };
    document.addEventListener("pointerdown", this.onDown, true);
    this.onGo = (event) => { if (event.detail.player === this.data.player) { this.stop(); this.go(event.detail.step); } };
    document.addEventListener("simplegrad-go", this.onGo); // of a text beside it
  }

  // --- what is shown ------------------------------------------------------------------------------------------

  /** New traces, or a new place to go to. The person's own step stays where the server did not ask for another; after an
      edit it stays near, and who plays goes on playing. */
  load(data, traces) {
    const plays = Boolean(this.timer), before = this.sides?.[0], left = this.step;
    this.stop();
    this.data = data;
    this.letters = data.letters;
    const same = this.id === data.id;
    this.sides = same ? this.sides : traces;
    this.aligned = data.aligned;
    this.steps = this.aligned ? this.aligned.length : this.sides[0].length;
    this.id = data.id;
    const known = shared.steps.get(data.id);
    const isKnown = known && known.nonce === data.nonce;
    const start = isKnown ? known.step : data.edited ? trail.arrive(before, left, traces[0], data.start) : data.start;
    if (!data.edited) trail.forget();
    this.nonce = data.nonce;
    this.step = Math.max(0, Math.min(this.most, start));
    this.reported = data.start;
    if (this.step !== data.start) this.keepStep();
    this.slider.max = Math.max(0, this.steps - 1);
    this.root.querySelector(".sg-player").dataset.steps = this.steps;
    this.marks.load(data);
    this.drawTimeline();
    this.drawLegend();
    this.drawLink();
    if (!same) for (const panel of [...this.panels]) panel.remount?.();
    this.paintNow();
    this.replaceAddress();
    this.lookForCharts();
    if (data.edited && plays && this.step < this.most) this.play();
  }

  k(side) { return this.steps ? (this.aligned ? this.aligned[this.step][side] + 1 : this.step + 1) : 0; }

  waits(side) {
    return Boolean(this.aligned && this.step > 0 && this.aligned[this.step][side] === this.aligned[this.step - 1][side]);
  }

  /** The last step that may be shown: the one before a question, as long as it is not answered. */
  get most() {
    const { hold } = this.data;
    return hold && !answered(hold.id) ? Math.min(hold.step, this.steps) - 1 : this.steps - 1;
  }

  get isHeld() { return this.step === this.most && this.most < this.steps - 1; }

  go(step) {
    const to = Math.max(0, Math.min(this.most, step));
    if (step > this.most && this.most < this.steps - 1) this.held();
    if (to === this.step) return;
    const waited = this.isHeld;
    this.step = to;
    if (waited && !this.isHeld) document.dispatchEvent(new CustomEvent("simplegrad-left", { detail: { id: this.data.hold.id, player: this.player } }));
    this.player.dataset.step = to;
    this.keepStep();
    this.frame ??= requestAnimationFrame(() => this.paintNow());
    this.addressTimer ??= setTimeout(() => this.writeAddress(), ADDRESS_MS);
  }

  /** For whoever mounts this run again, and for the server. */
  keepStep() {
    shared.steps.set(this.id, { nonce: this.nonce, step: this.step });
    this.reportLater();
  }

  /** Nobody passes the question: whoever asks it is told that somebody wanted to. */
  held() {
    this.stop();
    this.slider.value = this.step;
    document.dispatchEvent(new CustomEvent("simplegrad-held", { detail: this.data.hold.id }));
  }

  /** The step in the address, without an entry in the browser's history: Back leads to what was chosen before. */
  writeAddress() {
    clearTimeout(this.addressTimer);
    this.addressTimer = null;
    const { address, query } = this.data;
    if (!this.player.isConnected) return;
    if (address === "query") return writeQuery({ ...query, step: this.step, ...this.marks.query() });
    if (address !== "fragment") return;
    const url = new URL(window.location.href);
    url.hash = `step=${this.step}`;
    writeUrl(url);
  }

  /** What was edited. */
  replaceAddress() { if (this.data.writes) this.writeAddress(); }

  paintNow() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.player.dataset.step = this.step;
    if (this.slider.valueAsNumber !== this.step) this.slider.value = this.step;
    setText(this.count, `step ${this.step} of ${Math.max(0, this.steps - 1)}`);
    setText(this.heldNote, this.isHeld ? "answer the question to go on" : "");
    this.player.dataset.held = this.isHeld;
    set(this.slider, "aria-valuetext", this.steps ? `step ${this.step} of ${this.steps - 1}: ${this.sentenceAt(this.step)}` : "");
    this.drawCursor();
    this.marks.draw();
    for (const panel of this.panels) panel.draw(this.k(panel.side));
    for (const painter of this.painters.values()) {
      painter.paint(this.k(painter.side));
      painter.follow();
    }
    for (const panel of this.panels) panel.reveal();
    this.card.draw();
  }

  lookForCharts() {
    clearInterval(this.looking);
    const since = performance.now();
    const look = () => {
      const missing = [...this.painters.values()].filter((painter) => !painter.attached && !painter.attach());
      if (missing.length) {
        if (performance.now() - since > 10000) this.player.dataset.ready = "true";  // the texts work without a picture
        return;
      }
      clearInterval(this.looking);
      this.ready();
    };
    this.looking = setInterval(look, BIG_GAP_MS);
    look();
  }

  ready() {
    const expected = this.data.charts || 0;
    if (this.painters.size < expected || this.panels.size < (this.data.panels || 0)) return;
    if ([...this.painters.values()].some((painter) => !painter.attached)) return;
    this.player.dataset.ready = "true";
  }

  // --- moving -------------------------------------------------------------------------------------------------

  /** Move by a rule of the first side (or of the one that has something at this step). */
  by(rule, direction) {
    const side = this.sides.findIndex((_, i) => !this.waits(i));
    const from = this.aligned ? Math.max(0, this.aligned[this.step][side]) : this.step;
    const to = this.sides[side][rule](from, direction);
    this.go(this.stepOf(side, to));
  }

  /** The player's step that shows this event of a side. */
  stepOf(side, event) {
    if (!this.aligned) return event;
    let low = 0, high = this.steps - 1; // rows only grow
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.aligned[middle][side] < event) low = middle + 1; else high = middle;
    }
    return low;
  }

  move(what) {
    if (what !== "play") this.stop();
    const actions = {
      first: () => this.go(0), last: () => this.go(this.steps - 1),
      back: () => this.go(this.step - 1), next: () => this.go(this.step + 1),
      over: () => this.by("over", 1), overback: () => this.by("over", -1),
      out: () => this.by("out", 1), outback: () => this.by("out", -1),
      play: () => (this.timer ? this.stop() : this.play()),
      nextbreak: () => this.marks.go(1), lastbreak: () => this.marks.go(-1),
    };
    actions[what]();
  }

  /** At the pace of somebody who reads each sentence, times the speed chosen. */
  play() {
    if (this.step >= this.steps - 1) this.go(0);
    const wait = () => { this.timer = setTimeout(tick, this.readingTime() / Number(this.speed.value)); };
    const tick = () => {
      if (this.step >= this.steps - 1) return this.stop();
      const before = this.step;
      this.go(before + 1);
      if (this.step === before) return; // held
      if (this.marks.isStop(this.step)) this.stop();
      else wait();
    };
    wait();
    this.drawPlay();
  }

  readingTime() {
    const words = this.sentenceAt(this.step).replace(/\[[^\]]*\]/g, "x").split(/\s+/).length;
    return READING_MS + WORD_MS * words;
  }

  stop() {
    clearTimeout(this.timer);
    const played = this.timer;
    this.timer = null;
    if (!played) return;
    this.reportLater();
    this.drawPlay();
  }

  key(event) {
    if (event.defaultPrevented || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && event.target.closest?.(".sg-popup")) return this.hidePopups();
    if (isTyping(event.target)) return;
    if (document.querySelector('[role="dialog"][aria-modal="true"], [data-baseweb="modal"]')) return;
    const arrow = { ArrowRight: "", ArrowLeft: "back" }[event.key];
    let what = null;
    if (arrow !== undefined) what = (event.ctrlKey ? "out" : event.shiftKey ? "over" : arrow ? "" : "next") + arrow;
    else if (event.ctrlKey) return;
    else if (event.key === "Home") what = "first";
    else if (event.key === "End") what = "last";
    else if (event.key === " " && !event.target.closest?.("button, a, summary, [role=button], [role=tab]")) what = "play";
    else if (event.key === "Escape") { this.hidePopups(); return; }
    else if (!this.letterKeys) return;
    else if (event.key === "n") what = "nextbreak";
    else if (event.key === "p") what = "lastbreak";
    else if (event.key === "o") { for (const painter of this.painters.values()) painter.boxes.toggleHere(); return; }
    else if (event.key === "b") { event.preventDefault(); return this.marks.toggleHere(); }
    else if (event.key === "w" && this.data.asks) { event.preventDefault(); return this.askHere(); }
    else if (event.key === "/") { event.preventDefault(); return this.find.focus(); }
    else if (event.key === "?") return this.toggle(this.help, event);
    if (!what) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(what);
  }

  /** The next (or the last) of the events that touch a node, from the current one; from the end on to the other. */
  goToTouching(side, key, direction = 1) {
    const events = this.sides[side].touching.get(key);
    if (!events?.length) return;
    const now = this.k(side) - 1;
    const found = direction > 0 ? events.find((event) => event > now) ?? events[0] : events.findLast((event) => event < now) ?? events.at(-1);
    this.stop();
    this.go(this.stepOf(side, found));
  }

  goToLine(side, line, ofFile) {
    const trace = this.sides[side], now = this.k(side) - 1, at = ofFile ? EVENT.file_line : EVENT.line;
    const matches = (event) => event[at] === line;
    let to = trace.events.findIndex((event, i) => i > now && matches(event));
    if (to < 0) to = trace.events.findIndex(matches);
    if (to >= 0) this.go(this.stepOf(side, to));
  }

  /** Entries, variables and modules that a text may mean, the likeliest first: [key, what is shown]. */
  matches(text) {
    const gradient = /^d[^/\s]+\/d(.+)$/.exec(text.trim()), wanted = (gradient ? gradient[1] : text).trim().toLowerCase();
    if (!wanted) return [];
    const trace = this.sides[0];
    trace.index ??= new SearchIndex(trace);
    return trace.index.found(wanted);
  }

  search() {
    this.results = this.matches(this.find.value);
    this.chosen = 0;
    this.found.replaceChildren(...this.results.map(([key, text], i) => {
      const row = html("li", { role: "option", id: `sg-found-${i}`, "data-key": key, "aria-selected": "false" }, text);
      row.addEventListener("mousedown", (event) => { event.preventDefault(); this.choose(i); });
      return row;
    }));
    if (this.find.value.trim() && !this.results.length) this.found.append(html("li", { class: "sg-empty" }, "nothing is called that"));
    this.found.hidden = !this.find.value.trim();
    this.find.setAttribute("aria-expanded", String(!this.found.hidden));
    this.mark(0);
  }

  mark(place) {
    this.chosen = Math.max(0, Math.min(this.results.length - 1, place));
    [...this.found.children].forEach((row, i) => set(row, "aria-selected", String(i === this.chosen)));
    if (this.results.length) this.find.setAttribute("aria-activedescendant", `sg-found-${this.chosen}`);
    this.found.children[this.chosen]?.scrollIntoView({ block: "nearest" });
  }

  /** To the next event that touches what was found; once more, to the one after that. */
  choose(place) {
    this.mark(place);
    const found = this.results[this.chosen];
    if (found) this.goToTouching(0, found[0]);
  }

  searchKey(event) {
    if (event.key === "Escape") { this.find.value = ""; this.search(); this.find.blur(); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.mark(this.chosen + (event.key === "ArrowDown" ? 1 : -1));
    else if (event.key === "Enter") this.choose(this.chosen);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  open(side, group) {
    this.toggled = { [side]: group };
    this.send("opened", { id: this.id, side, group, at: Date.now() });
  }

  reportLater() {
    clearTimeout(this.report);
    this.report = setTimeout(() => {
      if (this.timer || this.reported === this.step) return;
      this.reported = this.step;
      this.send("step", { id: this.id, nonce: this.nonce, step: this.step });
    }, REPORT_MS);
  }

  /** Why the gradient of a variable is what it is: the server reads it from the trace. */
  ask(name, side = 0) { this.send("why", { id: this.id, side, name, at: Date.now() }); }

  /** Of the row that has the focus, or of the variable that the current event is about. */
  askHere() {
    /** @type {HTMLElement | null} */
    const row = document.activeElement?.closest("[data-name]") ?? null;
    const side = Number(row?.closest("[data-side]")?.getAttribute("data-side") ?? 0);
    const event = this.eventAt(this.step), isSum = SUMS.has(event?.[EVENT.kind]);
    const name = row?.dataset.name ?? (isSum ? this.sides[0].values[event[EVENT.third]][VALUE.name] : null);
    if (name) this.ask(name, side);
    else setText(this.count, "why? is asked of a gradient: choose a row of the table");
  }

  send(name, value) { this.setStateValue?.(name, value); }

  // --- controls -----------------------------------------------------------------------------------------------

  build(asks) {
    const button = (name, label) => {
      const made = html("button", { type: "button", class: "sg-button", title: label, "aria-label": label, "data-action": name, onclick: () => this.move(name) }, icon(name));
      made.addEventListener("mousedown", (event) => event.preventDefault());
      return made;
    };
    this.playButton = button("play", "play or pause (Space)");
    this.speed = html("select", { class: "sg-speed", "aria-label": "speed", title: "speed: at 1× there is time to read each sentence" },
      ...[0.5, 1, 2, 4, 8, 20].map((n) => html("option", { value: n, selected: n === 1 }, `${n}×`)));
    this.count = html("span", { class: "sg-count", "data-testid": "count" });
    this.heldNote = html("span", { class: "sg-count sg-held", "data-testid": "held" });
    this.place = html("span", { class: "sg-at", "data-testid": "place" });
    this.results = [];
    this.find = html("input", { class: "sg-find", type: "search", placeholder: "go to v5, or 4  ( / )", "aria-label": "go to entry or name", role: "combobox", "aria-expanded": "false", "aria-controls": "sg-found", autocomplete: "off" });
    this.found = html("ul", { class: "sg-found", id: "sg-found", role: "listbox", "aria-label": "found", "data-testid": "found", hidden: true });
    this.find.addEventListener("input", () => this.search());
    this.find.addEventListener("keydown", (event) => this.searchKey(event));
    this.find.addEventListener("focus", () => this.search());
    this.find.addEventListener("blur", () => { this.found.hidden = true; });
    this.letterKeys = readSetting("letter-keys") !== "off";
    const letters = html("input", { type: "checkbox", "data-testid": "letter-keys" });
    letters.checked = this.letterKeys;
    letters.addEventListener("change", () => { this.letterKeys = letters.checked; keepSetting("letter-keys", letters.checked ? "on" : "off"); });
    this.linkButton = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "link", title: "copy a link to this step", onclick: () => this.copyLink() }, "copy link");
    this.followBox = html("button", { type: "button", class: "sg-button sg-text-button", "aria-pressed": "true", title: "keep the current entry in the picture", "data-action": "follow", onclick: () => this.setFollowing(!this.following) }, "follow");
    this.help = html("div", { class: "sg-popup", "data-testid": "help", hidden: true, role: "region", "aria-label": "keys", tabindex: 0 }, html("h4", {}, "keys"),
      html("dl", {}, ...KEYS.filter(([key]) => asks || key !== "w").flatMap(([key, what]) => [html("dt", {}, key), html("dd", {}, what)])),
      html("p", {}, "A click on a row of the tape or on a variable goes to the next event that touches it; a click on a node shows what is known of it. Keys do nothing while you type in a field."),
      html("label", { class: "sg-setting" }, letters, ` single letters are keys (b n o p ${asks ? "w " : ""}/ ?)`));
    this.legend = html("div", { class: "sg-popup sg-legend", "data-testid": "legend", hidden: true, role: "region", "aria-label": "legend", tabindex: 0 });
    const legendButton = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "legend", "aria-expanded": "false", onclick: (event) => this.toggle(this.legend, event) }, "legend");
    const marksButton = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "marks", title: "breakpoints and watched gradients", "aria-expanded": "false", onclick: (event) => this.toggle(this.marks.popup, event) }, "breakpoints");
    const helpButton = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "help", title: "keys (?)", "aria-label": "help: keys", "aria-expanded": "false", onclick: (event) => this.toggle(this.help, event) }, "?");
    this.openers = new Map([[this.legend, legendButton], [this.marks.popup, marksButton], [this.help, helpButton]]);
    for (const each of [this.followBox, marksButton, legendButton, helpButton, this.linkButton]) each.addEventListener("mousedown", (event) => event.preventDefault());
    this.slider = html("input", { type: "range", class: "sg-slider", min: 0, value: 0, "aria-label": "step" });
    this.slider.addEventListener("input", () => { this.stop(); this.go(this.slider.valueAsNumber); });
    this.strip = html("canvas", { class: "sg-strip", "data-testid": "timeline", title: "click to go to an event", "aria-hidden": "true" });
    this.cursor = html("div", { class: "sg-cursor" });
    this.sections = html("div", { class: "sg-sections" });
    this.stripBox = html("div", { class: "sg-timeline" }, this.sections, this.strip, this.cursor);
    this.strip.addEventListener("pointerdown", (event) => this.scrub(event));
    const moreButton = html("button", { type: "button", class: "sg-button", "data-action": "more", "aria-label": "more controls", "aria-expanded": "false", onclick: () => moreButton.setAttribute("aria-expanded", String(this.player.classList.toggle("sg-more"))) }, "⋯");
    this.player = html("div", { class: "sg-player", "data-testid": "player", "data-ready": "false", role: "group", tabindex: -1, "aria-label": "stepping" },
      html("div", { class: "sg-bar" },
        html("div", { class: "sg-group" }, button("first", "first event (Home)"), folds(button("outback", "out, back: to the beginning of the pass (Ctrl + ←)")), folds(button("overback", "over, back: the entry before (Shift + ←)")), button("back", "one event back (←)")),
        html("div", { class: "sg-group" }, this.playButton, folds(this.speed)),
        html("div", { class: "sg-group" }, button("next", "one event on (→)"), folds(button("over", "over: the next entry (Shift + →)")), folds(button("out", "out: to the end of the pass (Ctrl + →)")), button("last", "last event (End)")),
        html("div", { class: "sg-group sg-breaking sg-folds" }, button("lastbreak", "the breakpoint before (p)"), button("nextbreak", "next breakpoint (n)")),
        this.place, this.count, this.heldNote, moreButton, html("div", { class: "sg-group sg-right sg-folds" }, html("div", { class: "sg-finder" }, this.find, this.found), this.followBox, this.linkButton, marksButton, legendButton, helpButton)),
      this.stripBox, this.slider, this.marks.watchLine, this.help, this.legend, this.marks.popup);
    this.root.replaceChildren(this.player);
    this.following = true;
    this.width = 0;  // of the timeline: remembered, as reading it would lay out the page
    this.sizes = new ResizeObserver(() => {
      document.documentElement.style.setProperty("--sg-bar-height", `${this.player.offsetHeight + 16}px`);
      this.width = this.stripBox.clientWidth; this.drawTimeline(); this.drawCursor(); });
    this.sizes.observe(this.stripBox);
  }

  toggle(popup, event) {
    event?.preventDefault?.();
    const hidden = !popup.hidden;
    this.hidePopups();
    popup.hidden = hidden;
    this.openers.get(popup)?.setAttribute("aria-expanded", String(!hidden));
    if (!hidden) popup.focus({ preventScroll: true });
  }

  /** The focus goes back to the button that opened what is closed, if it was in there. */
  hidePopups() {
    this.card.hide();
    shared.closeAnswer?.();
    for (const [popup, button] of this.openers) {
      if (!popup.hidden && popup.contains(document.activeElement)) button.focus({ preventScroll: true });
      popup.hidden = true;
      button.setAttribute("aria-expanded", "false");
    }
  }

  /** There is one where it leads somebody else here: not from a file on this machine, nor from a notebook's frame. */
  drawLink() {
    const { address } = this.data, isServed = window.location.protocol.startsWith("http");
    this.linkButton.hidden = !address || !isServed;
    this.linkButton.title = address === "page" ? "copy a link to this page" : "copy a link to this step";
  }

  copyLink() {
    this.writeAddress();
    const said = (text) => { setText(this.linkButton, text); setTimeout(() => setText(this.linkButton, "copy link"), 1500); };
    this.link().then((link) => navigator.clipboard?.writeText(link)).then(() => said("copied"), () => said("not allowed"));
  }

  /** The address of what is seen: a text that was typed and has not run yet is part of it. */
  async link() {
    const url = new URL(window.location.href), text = this.editor?.unsaid ?? null;
    if (text !== null) url.searchParams.set("program", await packed(text));
    return url.href;
  }

  /** What is told at a step, of the side that something happens on. */
  sentenceAt(step) {
    const [side, index] = this.happensAt(step);
    return this.sides[side].sentences[index] ?? "";
  }

  setFollowing(on) {
    for (const painter of this.painters.values()) {
      painter.following = on;
      if (on) painter.refit();
    }
    this.drawFollowing();
  }

  drawFollowing() {
    this.following = [...this.painters.values()].every((painter) => painter.following);
    this.followBox.setAttribute("aria-pressed", String(this.following));
  }

  drawPlay() {
    const plays = Boolean(this.timer);
    this.playButton.replaceChildren(icon(plays ? "pause" : "play"));
    this.playButton.setAttribute("aria-pressed", String(plays));
  }

  drawLegend() {
    const row = (look, letter, name, meaning) => html("div", { class: "sg-legend-row" }, html("span", { class: look }, letter), html("b", {}, name), html("span", {}, meaning));
    const { entries, gradients, events, graph } = this.data.legend;
    this.legend.replaceChildren(
      html("div", {}, html("h4", {}, "an entry, in the current pass"), ...entries.map(([name, letter, meaning]) => row(`sg-chip sg-chip-entry-${name}`, letter, name, meaning))),
      html("div", {}, html("h4", {}, "the gradient of a variable"), ...gradients.map(([name, letter, meaning]) => row(`sg-chip sg-chip-gradient-${name}`, letter, name, meaning))),
      html("div", {}, html("h4", {}, "in the graph"), ...graph.map(([name, label, meaning]) => row(`sg-sign sg-sign-${name}`, "", label, meaning))),
      html("div", {}, html("h4", {}, "in the timeline"), ...events.map(([name, , meaning]) => row(`sg-swatch sg-swatch-${name}`, "", name, meaning))));
  }

  // --- timeline -----------------------------------------------------------------------------------------------

  /** [side, event] of the first side that has one at this step. */
  happensAt(step) {
    if (!this.aligned) return [0, step];
    const side = Math.max(0, this.aligned[step].findIndex((index, i) => step === 0 || index !== this.aligned[step - 1][i]));
    return [side, Math.max(0, this.aligned[step][side])];
  }

  eventAt(step) {
    const [side, index] = this.happensAt(step);
    return this.sides[side].events[index];
  }

  drawTimeline() {
    const { width } = this, height = 26, ratio = window.devicePixelRatio || 1;
    if (!width || !this.sides) return;
    this.strip.width = width * ratio;
    this.strip.height = height * ratio;
    const paint = this.strip.getContext("2d"), style = getComputedStyle(document.documentElement);
    // a hair's difference, so that of equally tall kinds in one column always the same is seen
    const colours = {}, heights = Object.fromEntries(this.data.legend.events.map(([name, tall], i) => [name, tall + i / 1000]));
    paint.scale(ratio, ratio);
    const each = width / this.steps, gap = each > 5 ? 1 : 0;
    for (let step = 0, column = -1, tallest = 0; step < this.steps; step++) {
      const kind = this.eventAt(step)[EVENT.kind], tall = (heights[kind] ?? 0.5) * height;
      const x = each < 1 ? Math.floor(step * each) : step * each;
      if (each < 1 && x === column && tall <= tallest) continue;  // of many events in one column the tallest is seen
      column = x;
      tallest = tall;
      paint.fillStyle = colours[kind] ??= style.getPropertyValue(`--sg-event-${kind}`).trim() || "#888";
      paint.fillRect(x, height - tall, Math.max(each - gap, 1), tall);
    }
    paint.fillStyle = style.getPropertyValue("--sg-ring").trim() || "#D55E00";
    for (const step of this.marks.stops) paint.fillRect((step + 0.5) * each - 2, 0, 4, 5);
    this.drawSections(each);
  }

  drawSections(each) {
    const parts = [];
    for (let step = 0; step < this.steps; step++) {
      const pass = this.eventAt(step)[EVENT.pass_id] >= 0 || this.eventAt(step)[EVENT.kind] === "begun" ? Math.max(this.eventAt(step)[EVENT.pass_id], 0) : -1;
      if (!parts.length || parts.at(-1).pass !== pass) parts.push({ pass, first: step, last: step });
      parts.at(-1).last = step;
    }
    this.parts = parts;
    this.sections.replaceChildren(...parts.slice(0, 200).map(({ pass, first, last }) => {
      const title = pass < 0 ? "forward" : this.sides[0].passes[pass]?.[PASS.title] ?? "pass";
      const part = html("button", { type: "button", class: `sg-section sg-section-${pass < 0 ? "forward" : "pass"}`, title: `${title}: steps ${first} to ${last}`, "aria-label": `${title}: steps ${first} to ${last}` }, (last - first + 1) * each > 46 ? title : "");
      part.style.left = `${first * each}px`;
      part.style.width = `${(last - first + 1) * each}px`;
      part.addEventListener("mousedown", (event) => event.preventDefault());
      part.addEventListener("click", () => this.go(first));
      return part;
    }));
  }

  drawCursor() {
    const each = this.width / Math.max(1, this.steps);
    this.cursor.style.transform = `translateX(${this.step * each}px)`;
    this.cursor.style.width = `${Math.max(3, each)}px`;
    const part = this.parts?.find(({ first, last }) => this.step >= first && this.step <= last);
    if (part) setText(this.place, part.pass < 0 ? "forward" : this.sides[0].passes[part.pass]?.[PASS.title] ?? "pass");
  }

  scrub(down) {
    const to = (event) => {
      const box = this.strip.getBoundingClientRect();
      this.go(Math.floor(((event.clientX - box.left) / box.width) * this.steps));
    };
    this.stop();
    to(down);
    this.strip.setPointerCapture(down.pointerId);
    this.strip.onpointermove = to;
    this.strip.onpointerup = () => { this.strip.onpointermove = null; };
  }

  leave() {
    document.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("pointerdown", this.onDown, true);
    document.removeEventListener("simplegrad-go", this.onGo);
    clearInterval(this.looking);
    clearTimeout(this.report);
    clearTimeout(this.timer);
    clearTimeout(this.addressTimer);
    this.sizes.disconnect();
    this.card.leave();
    if (this.editor && this.steps) trail.leave(this.sides[0], this.step);
  }
}

/** A text as packing.py packs it. */
async function packed(text) {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const coded = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return coded.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Out of sight on a small screen until more is asked for. */
function folds(element) {
  element.classList.add("sg-folds");
  return element;
}

/** What this browser was told once; a browser may forbid to keep it. */
function readSetting(name) {
  try { return window.localStorage.getItem(`simplegrad:${name}`); } catch { return null; }
}

function keepSetting(name, value) {
  try { window.localStorage.setItem(`simplegrad:${name}`, value); } catch { /* kept until the page is left */ }
}

/** Whether keys belong to what has the focus: text fields, selections, editors. */
function isTyping(target) {
  if (!target?.closest) return false;
  const field = target.closest("input, textarea, select, [contenteditable=''], [contenteditable=true], [role=combobox], [role=listbox], [role=textbox], [role=slider]");
  return Boolean(field) && !field.classList.contains("sg-slider");
}
