// Paints the states of a step onto the chart that Streamlit drew: colours of its own nodes, and, above its edges,
// paths, rings and letters of ours. Only what changed since the last paint is written.

import { ENTRY, EVENT, PASS, VALUE } from "./contract.js";
import { setText, svg } from "./dom.js";
import { CAME, CLOSING, SUMS, VISITS } from "./history.js";

const PX_PER_SLOT = 58, PX_PER_ROW = 40, FULL_PX = 42, FAR_PX = 30, FOLLOW_MS = 160;
const FEW_EVENTS = 40; // between two paints: only what they touch is looked at
const FEW_NODES = 70, NUMBERS_PX = 66, DIGIT_PX = 5.4; // numbers stand at the nodes of a small graph, where there is room
const NAME_PX = 6.2, LONGEST_NAME = 14; // a letter of a name; letters
const FLOW_MS = 450, STILL = window.matchMedia("(prefers-reduced-motion: reduce)");
const SCREENS = 18; // to pan without drawing anew: Plotly draws lines to 20 screens away

export class GraphPainter {
  player; side; chartKey; drawing; attached; following; of;
  /** @type {any} Plotly's element */ chart;

  /** `drawing`: nodes [mark, id, x, y, pass] in the chart's order, edges [value, entry, slot, eight coordinates]. */
  constructor(player, side, chartKey) {
    Object.assign(this, { player, side, chartKey, drawing: null, chart: null, attached: false, following: true, of: null });
  }

  setDrawing(drawing) {
    this.drawing = drawing;
    this.nodeOf = new Map(drawing.nodes.map((node, i) => [this.nodeKey(node), i]));
    this.homeOf = new Map();
    for (const [group, entries] of Object.entries(drawing.groups || {})) {
      for (const [first, last] of entries) for (let e = first; e <= last; e++) this.homeOf.set(e, group);
    }
    this.isSmall = drawing.nodes.length <= FEW_NODES && !this.homeOf.size;
    this.edgesOf = new Map();
    drawing.edges.forEach((edge, i) => { if (edge[0] >= 0) this.edgesOf.set(`${edge[1]}:${edge[2]}`, i); });
    this.forget();
  }

  nodeKey([mark, id, , , pass]) {
    return mark === "entry" ? `e${id}` : mark === "value" ? `v${id}` : mark === "hole" ? `h${pass}-${id}` : id;
  }

  get trace() { return this.player.sides[this.side]; }
  /** Whether the player has the trace of this picture: after an edit either of them may be the first to come. */
  get fits() { return this.of === null || this.of === this.trace.id; }

  /** Find the chart (again): Streamlit draws it when it likes, and may draw it anew. True once it can be painted. */
  attach() {
    /** @type {any} */
    const chart = document.querySelector(`.st-key-${CSS.escape(this.chartKey)} .js-plotly-plot`);
    if (!this.drawing || !this.fits || !chart?._fullLayout?._plots?.xy || this.points(chart).length !== this.drawing.nodes.length) return false;
    if (chart !== this.chart) {
      this.chart = chart;
      this.shift = 0;
      chart.on("plotly_afterplot", () => { this.shiftTo(0); this.redo(); });
      chart.addEventListener("wheel", (event) => { if (!event.ctrlKey && !event.metaKey) event.stopImmediatePropagation(); }, true);  // the page scrolls
      chart.addEventListener("touchstart", (event) => { if (event.touches.length < 2) event.stopImmediatePropagation(); }, { capture: true, passive: true });
      for (const start of ["mousedown", "touchstart", "wheel"]) chart.addEventListener(start, () => this.settle(), { capture: true, passive: true });
      chart.on("plotly_relayout", (change) => this.zoomed(change));
      chart.on("plotly_click", (click) => this.clicked(click));
      chart.on("plotly_hover", (over) => this.hovered(over));
      chart.on("plotly_unhover", () => { if (!this.selected) this.player.card.hide(); });
    }
    this.attached = true;
    this.moved = false;
    this.redo();
    return true;
  }

  points(chart = this.chart) {
    const traces = chart.querySelectorAll(".scatterlayer > .trace");
    return traces.length ? traces[traces.length - 1].querySelectorAll(".points > path") : [];
  }

  /** The next paint writes everything. */
  forget() {
    this.painted = [];
    this.paintedAt = null;
    this.letters = new Map();
    this.numbers = new Map();
    this.paths = new Map();
    this.layer = null;
  }

  layers() {
    if (this.layer?.isConnected) return;
    this.forget();
    const plot = this.chart._fullLayout._plots.xy.plot.node(), traces = plot.querySelector(".scatterlayer");
    plot.querySelectorAll(".sg-under, .sg-over").forEach((old) => old.remove());
    this.under = svg("g", { class: "sg-under" });
    traces.insertBefore(this.under, traces.lastElementChild);
    this.layer = svg("g", { class: "sg-over" }, plot);
    this.rings = svg("g", {}, this.layer);
    this.nodes = [...this.points()];
    this.texts = this.textsByNode();
    const layout = this.chart._fullLayout;
    const origin = layout.xaxis.d2p(0) + this.shift, slot = layout.xaxis.d2p(1) - layout.xaxis.d2p(0);
    this.px = (x) => origin + slot * x;  // within the layer, which pans as a whole
    this.py = (y) => layout.yaxis.d2p(y);
    this.width = layout._size.w;
    const row = layout.yaxis.d2p(1) - layout.yaxis.d2p(0);
    this.room = this.isSmall && row >= 50 && slot >= NUMBERS_PX ? Math.floor(slot * 0.92 / DIGIT_PX) : 0;
    this.fitNames(slot);
    this.placed = this.places();
    this.cull();
  }

  /** The end of each name, as far as the names beside it in its row leave room: `…in_proj_weight`. */
  fitNames(slot) {
    const rows = new Map();
    this.drawing.nodes.forEach(([mark, , x, y], i) => {
      if (mark !== "value") return;
      const row = rows.get(y) ?? [];
      row.push([x, i]);
      rows.set(y, row);
    });
    for (const row of rows.values()) {
      row.sort((a, b) => a[0] - b[0]);
      row.forEach(([x, i], place) => {
        const gap = Math.min(x - (row[place - 1]?.[0] ?? -Infinity), (row[place + 1]?.[0] ?? Infinity) - x) * Math.abs(slot);
        const text = this.texts[i]?.querySelector?.("text") ?? this.texts[i];
        if (text) setText(text, ending(this.trace.name(this.drawing.nodes[i][1]), Math.floor(gap / NAME_PX)));
      });
    }
  }

  /** What is out of sight is not painted: Plotly moves every marker and text by a transform of its own, and the
      browser walks through all of those in every frame. `everything`: before a person drags it into sight. */
  cull(everything = false) {
    const margin = this.width / 4, low = this.shift - margin, high = this.shift + this.width + margin;
    for (const [element, x, i] of this.placed) {
      const display = !everything && (x < low || x > high) ? "none" : "";
      if (element.style.display === display) continue;
      element.style.display = display;
      if (i >= 0 && this.painted[i]) this.paintLetter(i, this.painted[i]);
    }
  }

  /** [element, where it is, its node or -1] of Plotly's markers and texts. */
  places() {
    const text = (element) => (element.querySelector("text") ?? element).x?.baseVal[0]?.value;
    const x = (element) => (element.tagName === "path" ? element.transform.baseVal[0]?.matrix.e : text(element)) ?? NaN;  // NaN: stays
    const node = new Map(this.nodes.map((element, i) => [element, i]));
    const drawn = this.chart.querySelectorAll(".scatterlayer .points > path, .scatterlayer .textpoint");
    return [...drawn].map((element) => [element, x(element), node.get(element) ?? -1]);
  }

  /** Plotly makes a text only for nodes that have one: all but holes, in their order. */
  textsByNode() {
    const made = this.chart.querySelectorAll(".scatterlayer > .trace:last-child .textpoint"), texts = [];
    let next = 0;
    this.drawing.nodes.forEach(([mark], i) => { if (mark !== "hole") texts[i] = made[next++]; });
    return texts;
  }

  redo() {
    if (!this.attached || !this.fits) return;
    this.layer?.remove();
    this.under?.remove();
    this.layer = null;
    if (!this.moved && this.isWhole() && this.fit()) return;
    this.detail();
    this.paint(this.player.k(this.side));
  }

  paint(k) {
    if (!this.attached || !this.fits) return;
    if (!this.chart.isConnected) { this.attached = false; this.player.lookForCharts(); return; }
    this.layers();
    const { nodes } = this.drawing, changed = this.changedSince(this.paintedAt, k);
    for (const i of changed?.nodes ?? nodes.keys()) {
      this.paintNode(i, this.look(nodes[i], k));
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
    if (mark === "value") return trace.valueKnown(id, k) ? `gradient-${trace.gradient(id, k)[0]}` : "future";
    if (mark === "hole") {
      const at = trace.touching.get(`h${pass}-${id}`)?.[0] ?? Infinity;
      return at < k ? `entry-${trace.events[at][EVENT.kind]}` : "future";
    }
    return this.groupKnown(id, k) ? "group" : "future";
  }

  groupKnown(group, k) {
    const spans = this.drawing.groups?.[group];
    return !spans || this.trace.entryKnown(spans[0][0], k);
  }

  paintNode(i, look) {
    if (this.painted[i] === look) return;
    this.painted[i] = look;
    this.nodes[i]?.setAttribute("class", `point sg-node sg-kind-${this.drawing.nodes[i][5]} sg-${look}`);
    const inside = this.drawing.nodes[i][0] !== "value";
    this.texts[i]?.setAttribute("class", inside ? `textpoint sg-${look}-ink` : `textpoint sg-name-text${look === "future" ? " sg-future-ink" : ""}`);
    this.paintLetter(i, look);
  }

  paintLetter(i, look) {
    const [mark, , x, y] = this.drawing.nodes[i];
    const letter = this.nodes[i]?.style.display === "none" ? "" : this.player.letters[look] || "";
    let element = this.letters.get(i);
    if (!letter || letter === "·" || mark === "group") { element?.remove(); this.letters.delete(i); return; }
    if (!element) {
      element = svg("text", { "text-anchor": "middle" }, this.layer);
      this.letters.set(i, element);
    }
    const badge = mark === "entry";
    element.setAttribute("x", this.px(x) + (badge ? 13 : 0));
    element.setAttribute("y", this.py(y) + (badge ? -10 : 3.2));
    element.setAttribute("class", badge ? `sg-badge sg-badge-${look}` : `sg-letter sg-${look}-ink`);
    element.textContent = letter;
  }

  /** Below a variable's name its value, and its gradient once it came; cut to what fits. */
  paintNumbers(i, k) {
    const [mark, id, x, y, , kind] = this.drawing.nodes[i], { trace } = this;
    if (mark !== "value") return;
    const known = trace.valueKnown(id, k), [, gradient] = trace.gradient(id, k);
    const texts = known ? [brief(trace.values[id][VALUE.text], this.room), gradient >= 0 ? `∂ ${brief(trace.values[gradient][VALUE.text], this.room - 2)}` : ""] : ["", ""];
    let pair = this.numbers.get(i);
    if (!pair) {
      const below = kind === "value" ? 26 : 32, at = { "text-anchor": "middle", x: this.px(x) };
      pair = [svg("text", { ...at, y: this.py(y) + below, class: "sg-figure" }, this.layer), svg("text", { ...at, y: this.py(y) + below + 11, class: "sg-figure sg-figure-gradient" }, this.layer)];
      this.numbers.set(i, pair);
    }
    pair.forEach((element, row) => { if (element.textContent !== texts[row]) element.textContent = texts[row]; });
  }

  paintEdge(i, state) {
    const path = this.paths.get(i);
    if (!state) { if (path) { path.remove(); this.paths.delete(i); } return; }
    if (!path) this.paths.set(i, svg("path", { class: `sg-edge sg-${state}`, d: this.curve(i) }, this.under));
    else if (path.getAttribute("class") !== `sg-edge sg-${state}`) path.setAttribute("class", `sg-edge sg-${state}`);
  }

  curve(i) {
    const p = this.drawing.edges[i].slice(3);
    const [x0, y0, x1, y1, x2, y2, x3, y3] = p.map((v, j) => (j % 2 ? this.py(v) : this.px(v)).toFixed(1));
    return `M${x0},${y0}C${x1},${y1} ${x2},${y2} ${x3},${y3}`;
  }

  /** A ring around what the current event is about, and its edge in bold. */
  paintCurrent(k) {
    this.rings.replaceChildren();
    if (!k) return;
    const event = this.trace.events[k - 1];
    for (const key of this.about(event)) {
      const i = this.nodeOf.get(key);
      if (i === undefined) continue;
      const [mark, , x, y] = this.drawing.nodes[i];
      const r = mark === "value" ? 11 : mark === "group" ? 24 : 19;
      svg("circle", { cx: this.px(x), cy: this.py(y), r, class: "sg-ring" }, this.rings);
    }
    if (!SUMS.has(event[EVENT.kind])) return;
    const edge = this.edgesOf.get(`${event[EVENT.subject]}:${event[EVENT.second]}`);
    if (edge === undefined) return;
    svg("path", { d: this.curve(edge), class: `sg-now sg-now-${event[EVENT.kind]}` }, this.rings);
    if (CAME.has(event[EVENT.kind]) && !STILL.matches) this.flow(edge);
  }

  /** The gradient moves from the entry to the variable, against the edge's direction. */
  flow(edge) {
    const dot = svg("circle", { r: 5, class: "sg-mover" }, this.rings);
    const motion = svg("animateMotion", { dur: `${FLOW_MS}ms`, path: this.curve(edge), keyPoints: "1;0", keyTimes: "0;1", calcMode: "linear", begin: "indefinite", fill: "freeze" }, dot);
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

  range(axis) { return this.chart._fullLayout[`${axis}axis`].range; }

  /** Whether the whole tape is shown, as the chart comes from the server. */
  isWhole() {
    return ["x", "y"].every((axis) => this.range(axis).every((end, i) => Math.abs(end - this.drawing[axis][i]) < 0.01));
  }

  /** So much of the tape that its nodes can be told apart: all of it, or the part around the current step. */
  fit() {
    const [first, last] = this.drawing.x, slots = last - first, size = this.chart._fullLayout._size;
    const fits = Math.max(6, size.w / PX_PER_SLOT), change = {};
    const [bottom, top] = this.drawing.y, rows = Math.max(4, size.h / PX_PER_ROW);
    if (slots > fits * 1.25) {
      const centre = this.currentPlace()?.[0] ?? first + fits / 2;
      const begin = Math.min(Math.max(first, centre - fits / 2), last - fits);
      change["xaxis.range"] = [begin, begin + fits];
    }
    if (bottom - top > rows * 1.3) change["yaxis.range"] = [top + rows, top];
    const needed = Object.keys(change).length > 0;
    if (needed) this.relayout(change);
    return needed;
  }

  currentPlace() {
    const k = this.player.k(this.side);
    if (!k) return null;
    const event = this.trace.events[k - 1], sum = SUMS.has(event[EVENT.kind]);
    const giver = sum ? [`e${event[EVENT.subject]}`, this.homeOf.get(event[EVENT.subject])] : [];  // the sum may be far away: no jumping there
    for (const key of [...giver, ...this.about(event)]) {
      const i = this.nodeOf.get(key);
      if (i !== undefined) return this.drawing.nodes[i].slice(2, 4);
    }
    return null;
  }

  /** After a pause: move the picture so that the current node is in it, unless the person has moved it themselves. */
  follow() {
    clearTimeout(this.following_timer);
    this.following_timer = setTimeout(() => {
      const drawn = this.attached && this.chart.isConnected && this.chart._fullLayout;  // Streamlit may be drawing it anew
      const place = this.following && drawn && this.currentPlace();
      if (!place) return;
      const change = {};
      for (const [axis, at] of [["x", place[0]], ["y", place[1]]]) {
        const [a, b] = this.range(axis), low = Math.min(a, b), high = Math.max(a, b), margin = Math.min(0.7, (high - low) / 8);
        if (at >= low + margin && at <= high - margin) continue;
        const [end, start] = [...this.drawing[axis]].sort((p, q) => q - p);
        const span = high - low, begin = Math.max(start, Math.min(at - span / 2, end - span));
        change[`${axis}axis.range`] = a < b ? [begin, begin + span] : [begin + span, begin];
      }
      if (Object.keys(change).length && !this.pan(change)) this.relayout(change);
    }, FOLLOW_MS);
  }

  /** Sideways, by moving the layer that everything is drawn in: a relayout draws all nodes anew, 100 ms for 300 of
      them. Plotly is told the new range, so that hovering and clicks hit. False where only a relayout will do. */
  pan(change) {
    const layout = this.chart._fullLayout, range = change["xaxis.range"];
    if (!range || change["yaxis.range"] || !layout._plots.xy.clipRect) return false;
    const shift = this.shift + layout.xaxis.d2p(range[0]) - layout.xaxis.d2p(layout.xaxis.range[0]);
    if (Math.abs(shift) > SCREENS * layout._size.w) return false;
    layout.xaxis.range = [...range];
    this.chart.layout.xaxis.range = [...range];
    layout.xaxis.setScale();
    this.shiftTo(shift);
    this.cull();
    return true;
  }

  shiftTo(shift) {
    const { plot, clipRect, xaxis, yaxis } = this.chart._fullLayout._plots.xy;
    if (!shift && !this.shift) return;
    this.shift = shift;
    plot.attr("transform", `translate(${xaxis._offset - shift},${yaxis._offset})`);
    clipRect.attr("transform", `translate(${shift},0)`);
  }

  /** Before a person drags or zooms: all drawn anew where it was panned to. */
  settle() {
    if (this.layer?.isConnected) this.cull(true);
    if (this.shift) this.relayout({ "xaxis.range": [...this.range("x")] });
  }

  relayout(change) {
    this.ours = true;
    Promise.resolve(window.Plotly?.relayout(this.chart, change)).finally(() => { this.ours = false; });
  }

  zoomed(change) {
    if (this.ours || !Object.keys(change).some((key) => key.includes("axis"))) return;
    this.following = false;
    this.moved = true;
    this.player.drawFollowing();
  }

  /** Where nodes stand closer than they are wide they are drawn smaller; then names and letters are left out. */
  detail() {
    const [a, b] = this.range("x"), [c, d] = this.range("y"), size = this.chart._fullLayout._size;
    const px = Math.min(size.w / Math.abs(b - a), (size.h / Math.abs(d - c)) * 1.3);
    this.chart.classList.toggle("sg-far", px < FAR_PX);
    if (px >= FULL_PX) return;
    const scale = Math.max(0.12, px / FULL_PX).toFixed(2);
    for (const path of this.points()) {
      const place = /translate\([^)]*\)/.exec(path.getAttribute("transform") || "");
      if (place) path.setAttribute("transform", `${place[0]} scale(${scale})`);
    }
  }

  nodeAt(event) {
    const point = event.points?.find((each) => each.curveNumber === this.chart.data.length - 1);
    return point && this.drawing.nodes[point.pointNumber];
  }

  /** What is known of a node, in a card beside it; a click keeps the card. Time stands still. */
  hovered(over) {
    const node = this.nodeAt(over);
    if (node && !this.selected) this.player.card.show(this, node, over.event);
  }

  clicked(click) {
    const node = this.nodeAt(click);
    if (!node) return;
    if (node[0] === "group") return this.player.open(this.side, node[1]);
    if (click.event?.shiftKey && node[0] === "entry") return this.player.marks.toggle(`e${node[1]}`);
    this.selected = node;
    this.player.card.show(this, node, click.event, true);
  }
}

/** A name, or the end of it; nothing where no letter would tell it from another. */
function ending(name, room) {
  const most = Math.min(room, LONGEST_NAME);
  return name.length <= most ? name : most < 3 ? "" : `…${name.slice(1 - most)}`;
}

/** The numbers of a value to three digits, as many as fit into so many letters. */
function brief(text, letters) {
  const short = text.replace(/; norm.*\]$/, "]").replace(/-?\d+\.?\d*(e[+-]?\d+)?/g, (number) => String(Number(Number(number).toPrecision(3)))).replaceAll(", ", " ");
  return short.length <= letters ? short : `${short.slice(0, Math.max(1, letters - 1))}…`;
}
