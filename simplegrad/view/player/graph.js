// How the picture looks at a step: states of nodes and edges by their class, letters, numbers, what the current event is
// about. Only what changed since the last paint is written. Chart and sheet are one side's, drawn once.

import { Boxes } from "./boxes.js";
import { Chart } from "./chart.js";
import { BOX, EDGE, ENTRY, EVENT, NODE, PASS, VALUE } from "./contract.js";
import { svg } from "./dom.js";
import { CAME, CLOSING, SUMS, VISITS } from "./history.js";
import { BADGE, Sheet } from "./sheet.js";

const PX_PER_SLOT = 58, PX_PER_ROW = 40, FOLLOW_MS = 160;
const FEW_EVENTS = 40; // between two paints: only what they touch is looked at
const FEW_NODES = 70, NUMBERS_PX = 66, DIGIT_PX = 5.4; // numbers stand at the nodes of a small graph, where there is room
const FLOW_MS = 450, STILL = window.matchMedia("(prefers-reduced-motion: reduce)");

export class GraphPainter {
  player; side; chartKey; drawing; of;
  attached = false; following = true; isMoved = false; selected = null;
  /** @type {Chart | null} */ chart = null;
  /** @type {Sheet | null} */ sheet = null;

  /** `of`: the id of the trace that is drawn; `root`: where the buttons of its modules stand. */
  constructor(player, side, chartKey, drawing, of, root) {
    Object.assign(this, { player, side, chartKey, drawing, of });
    this.nodeOf = new Map(drawing.nodes.map((node, i) => [this.nodeKey(node), i]));
    this.homeOf = new Map();
    for (const [group, entries] of Object.entries(drawing.groups || {})) {
      for (const [first, last] of entries) for (let e = first; e <= last; e++) this.homeOf.set(e, group);
    }
    this.isSmall = drawing.nodes.length <= FEW_NODES && !this.homeOf.size;
    this.edgesOf = new Map();
    drawing.edges.forEach((edge, i) => { if (edge[EDGE.value] >= 0) this.edgesOf.set(`${edge[EDGE.entry]}:${edge[EDGE.slot]}`, i); });
    this.boxes = new Boxes(this, root);
  }

  nodeKey([mark, id, , , pass]) {
    return mark === "entry" ? `e${id}` : mark === "value" ? `v${id}` : mark === "hole" ? `h${pass}-${id}` : id;
  }

  get trace() { return this.player.sides[this.side]; }

  /** Picture and trace of a new run come in either order: none is painted with the other of the run before. */
  get isCurrent() { return this.trace?.id === this.of; }

  /** Find the chart (again): Streamlit draws it when it likes, and may draw it anew. True once it can be painted. */
  attach() {
    const element = document.querySelector(`.st-key-${CSS.escape(this.chartKey)} :is(.js-plotly-plot, .sg-place)`);
    if (!this.isCurrent || !Chart.has(element, this.drawing)) return false;
    if (element !== this.chart?.element) {
      this.leave();
      this.chart = new Chart(element, this.drawing, this);
      this.sheet = new Sheet(element, this.drawing, (value) => this.trace.name(value), (value) => this.figuresWide(value), (key) => this.player.open(this.side, key));
    }
    this.attached = true;
    this.redo();
    return true;
  }

  leave() {
    this.chart?.leave();
    this.sheet?.leave();
    this.attached = false;
  }

  /** Everything anew, of this trace and these letters. */
  redo() {
    if (!this.attached || !this.isCurrent) return;
    this.sheet.placed = null;
    this.drawn();
    this.boxes.draw();
  }

  /** Plotly has drawn: as a whole, where Streamlit told it to. */
  drawn() {
    if (!this.attached || !this.isCurrent) return;
    if (this.isMoved || !this.fit()) this.shown(false);
  }

  /** The chart shows something else: other ranges, another size. */
  shown(isMoving) {
    if (!this.attached || !this.isCurrent || !this.sheet.show(this.chart.view, isMoving)) return;
    this.painted = new Map();
    this.letters = new Map();
    this.numbers = new Map();
    this.paths = new Map();
    this.paintedAt = null;
    this.paint(this.player.k(this.side));
    this.paintBreaks();
  }

  /** How many letters the numbers at a node may have; 0: there is no room for any. */
  get room() { return this.isSmall && this.sheet.row >= 50 && this.sheet.slot >= NUMBERS_PX ? Math.floor((this.sheet.slot * 0.92) / DIGIT_PX) : 0; }

  figuresWide(value) { return this.room && brief(this.trace.values[value][VALUE.text], this.room).length * DIGIT_PX; }

  /** A dot at each entry that has a breakpoint. */
  paintBreaks() {
    const { sheet } = this, nodes = this.player.marks.breakpoints.map((text) => this.drawing.nodes[this.nodeOf.get(text.replace("~", ""))]);
    if (!this.attached || !sheet.placed) return;
    sheet.layers.breaks.replaceChildren(...nodes.filter(Boolean).map((node) => svg("circle", { class: "sg-break-dot", cx: sheet.px(node[NODE.x]) - 12, cy: sheet.py(node[NODE.y]) - 12, r: 4.5 })));
  }

  paint(k) {
    if (!this.attached || !this.isCurrent) return;
    if (!this.chart.element.isConnected) { this.attached = false; this.player.lookForCharts(); return; }
    const changed = this.changedSince(this.paintedAt, k);
    for (const i of changed?.nodes ?? this.sheet.shapes.keys()) {
      if (!this.sheet.shapes.has(i)) continue;  // out of sight
      this.paintNode(i, this.look(this.drawing.nodes[i], k));
      if (this.room) this.paintNumbers(i, k);
    }
    for (const key of changed?.edges ?? this.edgesOf.keys()) this.paintEdge(this.edgesOf.get(key), this.trace.edgeState(key, k));
    this.paintedAt = k;
    this.paintCurrent(k);
  }

  /** The nodes and edges that the few events between two steps touch; null where all may have changed. */
  changedSince(from, k) {
    const [first, last] = [Math.min(from, k), Math.max(from, k)];
    if (from === null || last - first > FEW_EVENTS) return null;
    const nodes = new Set(), edges = new Set();
    const node = (key) => this.nodeOf.has(key) && nodes.add(this.nodeOf.get(key));
    const edge = (key) => this.edgesOf.has(key) && edges.add(key);
    for (const event of this.trace.events.slice(first, last)) {
      const kind = event[EVENT.kind], id = event[EVENT.subject], inner = kind === "read" ? event[EVENT.second] : id;
      if (kind === "begun" || CLOSING.has(kind) || kind === "reset") return null;
      if (kind === "leaf" || kind === "read") node(`v${id}`);
      if (SUMS.has(kind)) { node(`v${event[EVENT.third]}`); edge(`${id}:${event[EVENT.second]}`); }
      const entry = kind === "leaf" ? undefined : this.trace.entries[inner];
      if (!entry) continue;
      for (const key of [`e${inner}`, `h${event[EVENT.pass_id]}-${inner}`, this.homeOf.get(inner)]) node(key);
      for (const value of [...entry[4], ...entry[5]]) node(`v${value}`);
      entry[4].forEach((_, slot) => edge(`${inner}:${slot}`));
    }
    return { nodes, edges };
  }

  /** The class that says how a node looks. */
  look([mark, id, , , pass], k) {
    const trace = this.trace;
    if (mark === "entry") return trace.entryKnown(id, k) ? `entry-${trace.entryState(id, k)}` : "future";
    if (mark === "value") return trace.valueKnown(id, k) ? `gradient-${this.gradientState(id, k)}` : "future";
    if (mark === "hole") {
      const at = trace.touching.get(`h${pass}-${id}`)?.[0] ?? Infinity;
      return at < k ? `entry-${trace.events[at][EVENT.kind]}` : "future";
    }
    return this.groupKnown(id, k) ? this.groupLook(id, k) : "future";
  }

  /** A group as its entries stand in the current pass: plain before the pass came to it, then as if it were one entry. */
  groupLook(group, k) {
    const states = new Set();
    for (const [first, last] of this.drawing.groups[group]) {
      for (let entry = first; entry <= last; entry++) if (this.homeOf.get(entry) === group) states.add(this.trace.entryState(entry, k));
    }
    if (states.size === 1) return states.has("pending") ? "group" : `entry-${[...states][0]}`;
    return states.has("pending") || states.has("active") ? "entry-active" : states.has("partial") ? "entry-partial" : "entry-propagated";
  }

  /** What a pass made itself was not there for it to go back to: no None of that pass is told of it. */
  gradientState(value, k) {
    const [state] = this.trace.gradient(value, k), pass = this.trace.passAt(k);
    return state === "none" && pass && !this.trace.valueKnown(value, pass.begin) ? "unreached" : state;
  }

  groupKnown(group, k) {
    const spans = this.drawing.groups?.[group];
    return !spans || this.trace.entryKnown(spans[0][0], k);
  }

  paintNode(i, look) {
    if (this.painted.get(i) === look) return;
    this.painted.set(i, look);
    const node = this.drawing.nodes[i], isValue = node[NODE.mark] === "value";
    this.sheet.shapes.get(i).setAttribute("class", `sg-node sg-kind-${node[NODE.kind]} sg-${look}`);
    this.sheet.inks.get(i)?.setAttribute("class", isValue ? `sg-name-text${look === "future" ? " sg-future-ink" : ""}` : `sg-inside sg-${look}-ink`);
    this.paintLetter(i, look);
  }

  paintLetter(i, look) {
    const node = this.drawing.nodes[i], [mark, , x, y] = node, { sheet } = this;
    const letter = mark === "group" || sheet.isFar ? "" : this.player.letters[look] || "";
    let element = this.letters.get(i);
    if (!letter || letter === "·") { element?.remove(); this.letters.delete(i); return; }
    if (!element) {
      element = svg("text", {}, sheet.layers.over);
      this.letters.set(i, element);
    }
    const isBadge = mark === "entry";
    element.setAttribute("x", sheet.px(x) + (isBadge ? BADGE[0] : 0));
    element.setAttribute("y", sheet.py(y) + (isBadge ? BADGE[1] : 3.2));
    element.setAttribute("class", isBadge ? `sg-badge sg-badge-${look}` : `sg-letter sg-${look}-ink`);
    element.textContent = letter;
  }

  /** Below a variable's name its value, and its gradient once it came; cut to what fits. */
  paintNumbers(i, k) {
    const node = this.drawing.nodes[i], [mark, id, x, y] = node, { trace, sheet } = this;
    if (mark !== "value") return;
    const known = trace.valueKnown(id, k), [, gradient] = trace.gradient(id, k);
    const texts = known ? [brief(trace.values[id][VALUE.text], this.room), gradient >= 0 ? `∂ ${brief(trace.values[gradient][VALUE.text], this.room - 2)}` : ""] : ["", ""];
    let pair = this.numbers.get(i);
    if (!pair) {
      const below = (sheet.namesAt.get(i)?.y ?? sheet.py(y) + sheet.half(node)) + 11;
      pair = ["sg-figure", "sg-figure sg-figure-gradient"].map((look, row) => svg("text", { x: sheet.px(x), y: below + 11 * row, class: look }, sheet.layers.over));
      this.numbers.set(i, pair);
    }
    pair.forEach((element, row) => { if (element.textContent !== texts[row]) element.textContent = texts[row]; });
  }

  paintEdge(i, state) {
    const path = this.paths.get(i), edge = this.drawing.edges[i];
    if (!state) { path?.remove(); this.paths.delete(i); return; }
    if (path) { if (path.getAttribute("class") !== `sg-edge sg-${state}`) path.setAttribute("class", `sg-edge sg-${state}`); }
    else if (this.sheet.hasEdge(edge)) this.paths.set(i, svg("path", { class: `sg-edge sg-${state}`, d: this.sheet.curve(edge) }, this.sheet.layers.edges));
  }

  /** A ring around what the current event is about, and its edge in bold. */
  paintCurrent(k) {
    const { rings } = this.sheet.layers, { drawing, sheet } = this;
    rings.replaceChildren();
    if (!k) return;
    const event = this.trace.events[k - 1];
    for (const key of this.about(event)) {
      const node = drawing.nodes[this.nodeOf.get(key)];
      if (!node) continue;
      svg("path", { d: sheet.ring(node), class: "sg-ring" }, rings);
    }
    if (!SUMS.has(event[EVENT.kind])) return;
    const edge = drawing.edges[this.edgesOf.get(`${event[EVENT.subject]}:${event[EVENT.second]}`)];
    if (!edge) return;
    svg("path", { d: sheet.curve(edge), class: `sg-now sg-now-${event[EVENT.kind]}` }, rings);
    if (CAME.has(event[EVENT.kind]) && !STILL.matches) this.flow(edge);
  }

  /** The gradient moves from the entry to the variable, against the edge's direction. */
  flow(edge) {
    const dot = svg("circle", { r: 5, class: "sg-mover" }, this.sheet.layers.rings);
    const motion = svg("animateMotion", { dur: `${FLOW_MS}ms`, path: this.sheet.curve(edge), keyPoints: "1;0", keyTimes: "0;1", calcMode: "linear", begin: "indefinite", fill: "freeze" }, dot);
    motion.beginElement();
    motion.addEventListener("endEvent", () => dot.remove());
  }

  about(event) {
    const kind = event[EVENT.kind], keys = [];
    if (kind === "recorded") keys.push(`e${event[EVENT.subject]}`, ...this.trace.entries[event[EVENT.subject]][ENTRY.outputs].map((v) => `v${v}`));
    else if (kind === "leaf" || kind === "read") keys.push(`v${event[EVENT.subject]}`);
    else if (kind === "begun") keys.push(`v${event[EVENT.second][0]}`, `v${event[EVENT.second][1]}`);
    else if (kind === "skipped" || kind === "pruned") keys.push(`e${event[EVENT.subject]}`, `h${event[EVENT.pass_id]}-${event[EVENT.subject]}`);
    else if (VISITS.has(kind)) keys.push(`e${event[EVENT.subject]}`);
    else if (SUMS.has(kind)) keys.push(`v${event[EVENT.third]}`);
    else if (kind === "ended") keys.push(...this.trace.passes[event[EVENT.subject]][PASS.wanted].map((v) => `v${v}`));
    const homes = VISITS.has(kind) || kind === "recorded" ? [this.homeOf.get(event[EVENT.subject])] : [];
    return [...keys, ...homes.filter(Boolean)];
  }

  // --- what is seen -------------------------------------------------------------------------------------------

  /** So much of the tape that its nodes can be told apart, the part around the current step, where it does not fit as a
      whole; nothing where a person has chosen what is seen. True where that is another part. */
  fit() {
    const { x, y } = this.drawing, view = this.chart.view, change = {};
    if (![view.x.map((end, i) => end - x[i]), view.y.map((end, i) => end - y[i])].flat().every((off) => Math.abs(off) < 0.01)) return false;
    const asked = this.boxes.byKey.get(this.player.toggled?.[this.side]), place = this.currentPlace();  // `asked`: opened or closed just now
    const slots = x[1] - x[0], fits = Math.max(6, view.width / PX_PER_SLOT), rows = Math.max(4, view.height / PX_PER_ROW);
    if (slots > fits * 1.25) {
      const centre = asked ? Math.min((asked[BOX.x0] + asked[BOX.x1]) / 2, asked[BOX.x0] + fits / 2 - 0.5) : place?.[0] ?? x[0] + fits / 2;
      const begin = Math.min(Math.max(x[0], centre - fits / 2), x[1] - fits);
      change.x = [begin, begin + fits];
    }
    if (y[0] - y[1] > rows * 1.5) {
      const begin = (place && !asked ? this.beginFor("y", place[1], y[1], y[1] + rows) : null) ?? y[1];
      change.y = [begin + rows, begin];
    }
    const needed = Object.keys(change).length > 0;
    if (needed) this.chart.show(change);
    return needed;
  }

  /** As at first, where the whole is seen, and back to the current step. */
  refit() {
    this.isMoved = false;
    this.drawn();
    this.follow();
  }

  currentPlace() {
    const k = this.player.k(this.side);
    if (!k) return null;
    const event = this.trace.events[k - 1], sum = SUMS.has(event[EVENT.kind]);
    if (event[EVENT.kind] === "begun") return this.placeOf(`v${event[EVENT.second][1]}`) ?? this.placeOf(`v${event[EVENT.second][0]}`);  // its lane begins
    const giver = sum ? [`e${event[EVENT.subject]}`, this.homeOf.get(event[EVENT.subject])] : [];  // the sum may be far away: no jumping there
    for (const key of [...giver, ...this.about(event)]) {
      const place = this.placeOf(key);
      if (place) return place;
    }
    return null;
  }

  placeOf(key) {
    const i = this.nodeOf.get(key);
    return i === undefined ? null : this.drawing.nodes[i].slice(NODE.x, NODE.y + 1);
  }

  /** Where the picture begins so that all of the lane around a place is in it; null where it is, or does not fit. */
  laneBegin(at, low, high) {
    const [top, bottom] = this.drawing.lanes.find(([first, last]) => at >= first && at <= last) ?? [at, at], span = high - low;
    if (bottom - top > span || (top >= low - 0.01 && bottom <= high + 0.01)) return null;
    return Math.max(bottom - span, Math.min(low, top));
  }

  /** Where an axis begins so that a place is well in sight, and with it its lane; null where it begins so already. */
  beginFor(axis, at, low, high) {
    const span = high - low, margin = Math.min(0.7, span / 8), lane = axis === "y" ? this.laneBegin(at, low, high) : null;
    if (lane !== null || (at >= low + margin && at <= high - margin)) return lane;
    const [end, start] = [...this.drawing[axis]].sort((p, q) => q - p);
    return Math.max(start, Math.min(at - span / 2, end - span));
  }

  /** After a pause: move the picture so that the current node is in it, unless the person has moved it themselves. */
  follow() {
    clearTimeout(this.followingTimer);
    this.followingTimer = setTimeout(() => {
      this.boxes.draw();
      const place = this.following && this.attached && this.chart.element.isConnected && this.currentPlace();
      if (!place) return;
      const change = {};
      for (const [axis, at] of [["x", place[0]], ["y", place[1]]]) {
        const [a, b] = this.chart.ranges[axis], span = Math.abs(b - a);
        const begin = this.beginFor(axis, at, Math.min(a, b), Math.max(a, b));
        if (begin === null) continue;
        change[axis] = a < b ? [begin, begin + span] : [begin + span, begin];
      }
      if (Object.keys(change).length) this.chart.show(change);
    }, FOLLOW_MS);
  }

  // --- what a person does -------------------------------------------------------------------------------------

  /** By dragging or zooming: from now on it stays where the person put it. */
  moved() {
    this.following = false;
    this.isMoved = true;
    this.player.drawFollowing();
  }

  /** What is known of a node, in a card beside it; a click keeps the card. Time stands still. */
  hovered(i, event) {
    const node = this.drawing.nodes[i];
    if (node && !this.selected) this.player.card.show(this, node, event);
  }

  unhovered() { if (!this.selected) this.player.card.hide(); }

  clicked(i, event) {
    const node = this.drawing.nodes[i];
    if (!node) return;
    if (node[NODE.mark] === "group") return this.player.open(this.side, node[NODE.id]);
    if (event?.shiftKey && node[NODE.mark] === "entry") return this.player.marks.toggle(`e${node[NODE.id]}`);
    this.selected = node;
    this.player.card.show(this, node, event, true);
  }
}

/** The numbers of a value to three digits, as many as fit into so many letters. */
function brief(text, letters) {
  const short = text.replace(/; norm.*\]$/, "]").replace(/-?\d+\.?\d*(e[+-]?\d+)?/g, (number) => String(Number(Number(number).toPrecision(3)))).replaceAll(", ", " ");
  return short.length <= letters ? short : `${short.slice(0, Math.max(1, letters - 1))}…`;
}
