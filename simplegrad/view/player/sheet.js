// The picture: one SVG over the plot of the chart, in which all nodes, edges, names and boxes are drawn. It is placed by
// the ranges of the axes, holds what is in sight and a screen to each side, and moves as a whole while it is panned.

import { BOX, EDGE, NODE } from "./contract.js";
import { setText, svg } from "./dom.js";
import { ending, placesOfNames } from "./names.js";

const FULL_PX = 42, FAR_PX = 30; // between two nodes: below that they are drawn smaller; without names and letters
const NAME_PX = 6.2, LONGEST_NAME = 14; // a letter of a name; letters
const MOST_ARROWS = 1200; // beyond that they cost more than they tell
const HALF = { entry: 11, aggregate: 15, group: 17, box: 17, hole: 9, leaf: 9, seed: 9, read: 13, value: 5.5 }; // of a node, in pixels
const LANE_TITLE = [84, 15]; // width and height in pixels, at a lane's upper left corner
const CLOSED = [27, 16]; // half the width and height of a closed box
const LONGEST_TITLE = 9, TITLE_PX = 4.7, BOX_PART = 0.46; // letters in a closed box; of a slot, as wide as half a box may be
const ARROW = 8, ARROW_WIDTH = 5.4, STANDOFF = 13;
export const BADGE = [13, -10]; // of an entry's state, from its centre: the middle of its foot
const WORST = { nan: "!", none: "N", zero: "0", huge: "▲", tiny: "▽" }; // of the gradients below, as graph/boxes.py says
const LAYERS = ["frames", "lines", "edges", "shapes", "texts", "titles", "over", "breaks", "rings"]; // from back to front

export class Sheet {
  /** @type {import("./chart.js").View} as it was when all was placed */ placed;
  /** @type {Map<number, SVGElement>} by the number of the node, of what is in sight */ shapes;
  /** @type {Map<number, SVGElement>} */ inks;
  drawing; nameOf; figuresOf; onTitle; layers;
  /** @type {Map<number, {x: number, y: number, anchor: string}>} where names of variables stand */ namesAt = new Map();
  slot = 1; row = 1; zoom = 1; isFar = false; // pixels of a slot and of a row; how large nodes are
  window = [[0, 0], [0, 0]];

  /** `nameOf(value)` tells a variable's name, `figuresOf(value)` how wide the numbers are that will stand below it, or 0; `onTitle(key)`: the title of a frame was clicked. */
  constructor(element, drawing, nameOf, figuresOf, onTitle) {
    Object.assign(this, { drawing, nameOf, figuresOf, onTitle });
    this.svg = svg("svg", { class: "sg-sheet", "aria-hidden": "true" }, element);
    this.moving = svg("g", {}, this.svg);
  }

  leave() { this.svg.remove(); }

  /** Shows this view; true where all was drawn anew, and is to be painted. While a person drags, all that is there is
      moved and stretched as it is, as long as nothing is missing. */
  show(view, isMoving = false) {
    const { slot, row } = scales(view), before = this.placed;
    const fits = before && this.covers(view) && view.width === before.width && view.height === before.height;
    const isSame = fits && Math.abs(slot - this.slot) < 1e-6 && Math.abs(row - this.row) < 1e-6;
    if (!isSame && !(fits && isMoving)) return this.place(view);
    const x = (before.x[0] - view.x[0]) * slot, y = (before.y[1] - view.y[1]) * row;
    this.moving.setAttribute("transform", isSame ? `translate(${x},${y})` : `translate(${x},${y}) scale(${slot / this.slot},${row / this.row})`);
    return false;
  }

  covers({ x, y }) {
    const [[left, right], [bottom, top]] = this.window;
    return x[0] >= left && x[1] <= right && y[1] >= top && y[0] <= bottom;
  }

  px(x) { return (x - this.placed.x[0]) * this.slot; }
  py(y) { return (y - this.placed.y[1]) * this.row; }

  /** Everything anew. */
  place(view) {
    this.placed = view;
    Object.assign(this, scales(view));
    const wide = view.x[1] - view.x[0], high = view.y[0] - view.y[1];
    this.window = [[view.x[0] - wide, view.x[1] + wide], [view.y[0] + high, view.y[1] - high]];
    const px = Math.min(this.slot, this.row * 1.3);
    this.zoom = px >= FULL_PX ? 1 : Math.max(0.12, px / FULL_PX);
    this.isFar = px < FAR_PX;
    for (const [name, value] of Object.entries({ left: view.left, top: view.top, width: view.width, height: view.height })) this.svg.style[name] = `${value}px`;
    this.moving.remove();  // drawn apart from the page, and put there as a whole
    this.moving = svg("g", { class: this.isFar ? "sg-far" : "" });
    this.layers = Object.fromEntries(LAYERS.map((name) => [name, svg("g", {}, this.moving)]));
    this.drawFrames();
    this.drawLines();
    this.drawNodes();
    this.svg.append(this.moving);
    return true;
  }

  isInside(low, high, top, bottom) {
    const [[left, right], [under, over]] = this.window;
    return high >= left && low <= right && bottom >= over && top <= under;
  }

  // --- edges --------------------------------------------------------------------------------------------------

  /** Whether any part of an edge may be in sight. */
  hasEdge(edge) {
    const { x0, x3, y0, y3 } = EDGE;
    return this.isInside(Math.min(edge[x0], edge[x3]), Math.max(edge[x0], edge[x3]), Math.min(edge[y0], edge[y3]) - 1, Math.max(edge[y0], edge[y3]) + 1);
  }

  points(edge) { return edge.slice(EDGE.x0, EDGE.y3 + 1).map((v, i) => Math.round((i % 2 ? this.py(v) : this.px(v)) * 10) / 10); }

  curve(edge) {
    const [x0, y0, x1, y1, x2, y2, x3, y3] = this.points(edge);
    return y0 === y1 && y1 === y2 && y2 === y3 ? `M${x0},${y0}H${x3}` : `M${x0},${y0}C${x1},${y1} ${x2},${y2} ${x3},${y3}`;
  }

  /** The edges as they are before any gradient came: a path for those within a lane, one for the others, one for the arrowheads. */
  drawLines() {
    const inSight = this.drawing.edges.filter((edge) => this.hasEdge(edge));
    const stubs = this.drawing.stubs.filter(([x0, y0, x1, y1]) => this.isInside(Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)));
    const near = [...inSight.filter((edge) => edge[EDGE.near]).map((edge) => this.curve(edge)), ...stubs.map(([x0, y0, x1, y1]) => `M${this.px(x0)},${this.py(y0)}L${this.px(x1)},${this.py(y1)}`)];
    const far = inSight.filter((edge) => !edge[EDGE.near]).map((edge) => this.curve(edge));
    svg("path", { class: "sg-line-far", d: far.join("") }, this.layers.lines);
    svg("path", { class: "sg-line-near", d: near.join("") }, this.layers.lines);
    if (inSight.length <= MOST_ARROWS) svg("path", { class: "sg-arrows", d: inSight.map((edge) => this.arrow(edge)).join("") }, this.layers.lines);
    for (const [x, y, name] of this.isFar ? [] : this.drawing.labels) {
      if (this.isInside(x, x, y, y)) svg("text", { class: "sg-afar", x: this.px(x), y: this.py(y) - 3 }, this.layers.texts).textContent = name;
    }
  }

  /** At the entry that reads: sideways within a lane, up or down between lanes. */
  arrow(edge) {
    const x = this.px(edge[EDGE.x3]), y = this.py(edge[EDGE.y3]), gap = STANDOFF * this.zoom, size = ARROW * this.zoom, broad = ARROW_WIDTH * this.zoom;
    const way = edge[EDGE.near] ? Math.sign(edge[EDGE.x3] - edge[EDGE.x2]) : Math.sign(edge[EDGE.y3] - edge[EDGE.y2]);
    return edge[EDGE.near] ? `M${x - way * gap},${y}l${-way * size},${-broad / 2}v${broad}Z` : `M${x},${y - way * gap}l${-broad / 2},${-way * size}h${broad}Z`;
  }

  // --- nodes --------------------------------------------------------------------------------------------------

  drawNodes() {
    this.shapes = new Map();
    this.inks = new Map();
    const longest = Math.min(LONGEST_TITLE, Math.floor((2 * this.box()[0] - 4) / TITLE_PX));
    const names = this.isFar ? new Map() : this.names(), counts = new Map(this.drawing.boxes.map((box) => [box[BOX.key], box[BOX.count]]));
    this.drawing.nodes.forEach((node, i) => {
      const [mark, , x, y] = node;
      if (!this.isInside(x, x, y, y)) return;
      this.shapes.set(i, svg("path", { d: this.outline(node) }, this.layers.shapes));
      if (this.isFar) return;
      const text = names.get(i) ?? ending(node[NODE.text], longest), at = this.namesAt.get(i);
      if (!text) return;
      const isBox = node[NODE.kind] === "box";
      const ink = svg("text", at ? { x: at.x, y: at.y } : { x: this.px(x), y: this.py(y) + (isBox ? -1 : 4) }, this.layers.texts);
      if (at) ink.style.textAnchor = at.anchor;
      ink.append(text);
      if (isBox) svg("tspan", { x: this.px(x), dy: 11 }, ink).textContent = counts.get(node[NODE.id]);
      if (isBox || (mark !== "value" && text.length > 3)) ink.style.fontSize = "9px";
      this.inks.set(i, ink);
    });
  }

  /** The names of the variables in sight, each with the place where it lies on the fewest lines, on no node and on no lane's title. */
  names() {
    const rooms = this.roomForNames(), found = new Map(), boxes = [], named = [];
    for (const [top] of this.drawing.lanes) boxes.push([0, this.py(top), LANE_TITLE[0], this.py(top) + LANE_TITLE[1]]);
    this.drawing.nodes.forEach((node, i) => {
      const [mark, , x, y] = node;
      if (!this.isInside(x, x, y, y)) return;
      const px = this.px(x), py = this.py(y), [wide, high] = mark === "group" ? this.box() : [this.half(node), this.half(node)];
      boxes.push([px - wide, py - high, px + wide, py + high]);
      if (mark === "entry") boxes.push([px + BADGE[0] - 5, py + BADGE[1] - 9, px + BADGE[0] + 5, py + BADGE[1]]);
      if (mark !== "value") return;
      const text = ending(this.nameOf(node[NODE.id]), Math.min(rooms.get(i), LONGEST_NAME));
      found.set(i, text);
      if (text) named.push({ i, x: px, y: py, r: this.half(node), text, figures: this.figuresOf(node[NODE.id]) });
    });
    const { x, y } = this.drawing, curves = this.drawing.edges.filter((edge) => this.hasEdge(edge)).map((edge) => this.points(edge));
    this.namesAt = placesOfNames(named, boxes, curves, [this.px(x[0]), this.py(y[1]), this.px(x[1]), this.py(y[0])]);
    return found;
  }

  half(node) { return (HALF[node[NODE.kind]] ?? HALF.value) * this.zoom; }

  outline(node) {
    const [, , x, y] = node, px = this.px(x), py = this.py(y), r = this.half(node), high = r * 0.866;
    switch (node[NODE.kind]) {
      case "entry": case "hole": return `M${px - r},${py - r}h${2 * r}v${2 * r}h${-2 * r}Z`;
      case "aggregate": return `M${px - r / 2},${py - high}h${r}l${r / 2},${high}l${-r / 2},${high}h${-r}l${-r / 2},${-high}Z`;
      case "read": return `M${px},${py - r}l${r},${r}l${-r},${r}l${-r},${-r}Z`;
      case "group": case "box": return rounded(px, py, ...this.box());
      default: return circle(px, py, r);
    }
  }

  /** Half the width and height of a closed box: those beside each other stand apart. */
  box() { return [Math.min(CLOSED[0], this.slot * BOX_PART), CLOSED[1] * this.zoom]; }

  /** Around a node. */
  ring(node) {
    const [mark, , x, y] = node, px = this.px(x), py = this.py(y), r = mark === "value" ? 11 : 19;
    return mark === "group" ? rounded(px, py, ...this.box().map((half) => half + 5)) : circle(px, py, r);
  }

  /** How many letters a name may have: as far as the names beside it in its row leave room. */
  roomForNames() {
    const rows = new Map(), rooms = new Map();
    this.drawing.nodes.forEach(([mark, , x, y], i) => {
      if (mark !== "value") return;
      const row = rows.get(y) ?? [];
      row.push([x, i]);
      rows.set(y, row);
    });
    for (const row of rows.values()) {
      row.sort((a, b) => a[0] - b[0]);
      row.forEach(([x, i], place) => {
        const gap = Math.min(x - (row[place - 1]?.[0] ?? -Infinity), (row[place + 1]?.[0] ?? Infinity) - x);
        rooms.set(i, Math.floor((gap * this.slot) / NAME_PX));
      });
    }
    return rooms;
  }

  // --- boxes --------------------------------------------------------------------------------------------------

  /** Open ones as frames with a title, outer ones first; closed ones are nodes. */
  drawFrames() {
    for (const box of this.drawing.boxes) {
      const { x0, y0, x1, y1 } = BOX;
      if (!this.isInside(box[x0], box[x1], box[y0], box[y1])) continue;
      const left = this.px(box[x0]), top = this.py(box[y0]), width = this.px(box[x1]) - left, height = this.py(box[y1]) - top;
      if (box[BOX.open]) this.drawFrame(box, left, top, width, height);
      else if (box[BOX.worst]) this.drawWorst(box, left + this.box()[0] - 4, top - this.box()[1] + 4);
    }
  }

  drawFrame(box, left, top, width, height) {
    svg("rect", { class: "sg-frame", x: left, y: top, width, height, rx: 6 }, this.layers.frames);
    if (this.isFar) return;
    const seen = Math.max(left, 0), most = Math.floor((left + width - seen - 8) / NAME_PX);  // of one that began before, at the edge of what is seen
    const title = svg("text", { class: "sg-frame-title", x: seen + 5, y: top + 11 }, this.layers.titles);
    setText(title, ending(`${box[BOX.title]} ▾`, most));
    svg("title", {}, title).textContent = `close ${box[BOX.path]}`;
    title.addEventListener("click", () => this.onTitle(box[BOX.key]));
    if (box[BOX.worst]) this.drawWorst(box, left + width - 9, top + 12);
  }

  drawWorst(box, x, y) {
    if (!this.isFar) svg("text", { class: `sg-worst sg-worst-${box[BOX.worst]}`, x, y }, this.layers.titles).textContent = WORST[box[BOX.worst]];
  }
}

function scales({ x, y, width, height }) { return { slot: width / (x[1] - x[0]), row: height / (y[0] - y[1]) }; }

function circle(x, y, r) { return `M${x - r},${y}a${r},${r} 0 1 1 ${2 * r},0a${r},${r} 0 1 1 ${-2 * r},0Z`; }

function rounded(x, y, a, b, r = Math.min(6, b / 2)) {
  return `M${x - a + r},${y - b}h${2 * (a - r)}q${r},0 ${r},${r}v${2 * (b - r)}q0,${r} ${-r},${r}h${-2 * (a - r)}q${-r},0 ${-r},${-r}v${-2 * (b - r)}q0,${-r} ${r},${-r}Z`;
}
