// Where the names of variables stand: below their circles, or else above or beside them, where less lies under them.

const CELL_PX = 3, NAME_HIGH = 11, LETTER_PX = 6, FIGURES_HIGH = 17; // pixels: of the grid that knows what lies where; of a name; of two lines of numbers
const MOST_NAMES = 400, MOST_EDGES = 800; // beyond that each stands below its circle
const ON_NODE = 12, ON_LINE = 1, EACH_LATER = 0.6; // what a name costs in a cell of a node, of another name, or out of the picture; of a line; each later place
const EVERYWHERE = [-Infinity, -Infinity, Infinity, Infinity];
const NEAR_END = 8; // pixels: edges end that near to their variable wherever its name stands

/** Where it begins and at which height, seen from the circle's centre (`r`: its radius; `wide`, `high`: of the name and what
    stands below it); the most usual first. */
const NAME_PLACES = [
  (r, wide) => ({ x: -wide / 2, y: r + 3, anchor: "middle" }),
  (r, wide, high) => ({ x: -wide / 2, y: -r - 3 - high, anchor: "middle" }),
  (r) => ({ x: r * 0.6 + 3, y: r * 0.6 + 1, anchor: "start" }),
  (r, wide) => ({ x: -r * 0.6 - 3 - wide, y: r * 0.6 + 1, anchor: "end" }),
  (r) => ({ x: r * 0.6 + 3, y: -r * 0.6 - 1 - NAME_HIGH, anchor: "start" }),
  (r, wide) => ({ x: -r * 0.6 - 3 - wide, y: -r * 0.6 - 1 - NAME_HIGH, anchor: "end" }),
];

/** `names`: `{ i, x, y, r, text, figures }`, the last the width of numbers below the name, in pixels, or 0 (with numbers it
    stands below its circle: above is another lane); `boxes`: what names may not stand on, `[left, top, right, bottom]`;
    `curves`: the edges, as eight numbers of a cubic; `picture`: its edges, as of a box. Gives for each i
    `{ x, y, anchor }`: where its text is to be written. */
export function placesOfNames(names, boxes, curves, picture = EVERYWHERE) {
  const isMany = names.length > MOST_NAMES || curves.length > MOST_EDGES, grid = isMany ? null : new Grid();
  if (grid) {
    for (const box of boxes) grid.fill(box, ON_NODE);
    for (const curve of curves) grid.draw(curve);
  }
  return new Map(names.map((name) => {
    const places = NAME_PLACES.slice(0, !grid || name.figures ? 1 : NAME_PLACES.length);
    const offered = places.map((place, rank) => nameAt(place, rank, name, grid, picture));
    const best = offered.reduce((least, each) => (each.cost < least.cost ? each : least));
    grid?.fill(best.box, ON_NODE);
    const [left, top, right] = best.box;
    return /** @type {[number, any]} */ ([name.i, { x: { start: left, middle: (left + right) / 2, end: right }[best.anchor], y: top + NAME_HIGH - 2, anchor: best.anchor }]);
  }));
}

function nameAt(place, rank, { x, y, r, text, figures }, grid, picture) {
  const wide = Math.max(text.length * LETTER_PX, figures), high = NAME_HIGH + (figures ? FIGURES_HIGH : 0), at = place(r, wide, high);
  /** @type {[number, number, number, number]} */
  const box = [x + at.x, y + at.y, x + at.x + wide, y + at.y + high];
  return { box, anchor: at.anchor, cost: grid ? rank * EACH_LATER + grid.weight(box) + ON_NODE * cellsOutside(box, picture) : 0 };
}

function cellsOutside([left, top, right, bottom], [first, above, last, below]) {
  const wide = Math.max(0, first - left) + Math.max(0, right - last), high = Math.max(0, above - top) + Math.max(0, bottom - below);
  return (wide * (bottom - top) + high * (right - left)) / CELL_PX ** 2;
}

class Grid {
  cells = new Map();

  add(column, row, weight) {
    const cell = column * 65536 + row;
    this.cells.set(cell, (this.cells.get(cell) ?? 0) + weight);
  }

  fill([left, top, right, bottom], weight) {
    for (let column = Math.floor(left / CELL_PX); column <= right / CELL_PX; column++) {
      for (let row = Math.floor(top / CELL_PX); row <= bottom / CELL_PX; row++) this.add(column, row, weight);
    }
  }

  draw([x0, y0, x1, y1, x2, y2, x3, y3]) {
    const steps = Math.min(400, Math.ceil((Math.hypot(x1 - x0, y1 - y0) + Math.hypot(x2 - x1, y2 - y1) + Math.hypot(x3 - x2, y3 - y2)) / CELL_PX));
    let last = null;
    for (let step = 0; step <= steps; step++) {
      const t = step / steps, u = 1 - t, a = u * u * u, b = 3 * u * u * t, c = 3 * u * t * t, d = t * t * t;
      const x = a * x0 + b * x1 + c * x2 + d * x3, y = a * y0 + b * y1 + c * y2 + d * y3;
      if (Math.hypot(x - x0, y - y0) < NEAR_END) continue;
      const column = Math.floor(x / CELL_PX), row = Math.floor(y / CELL_PX), cell = column * 65536 + row;
      if (cell !== last) this.add(column, row, ON_LINE);
      last = cell;
    }
  }

  weight([left, top, right, bottom]) {
    let sum = 0;
    for (let column = Math.floor(left / CELL_PX); column <= right / CELL_PX; column++) {
      for (let row = Math.floor(top / CELL_PX); row <= bottom / CELL_PX; row++) sum += this.cells.get(column * 65536 + row) ?? 0;
    }
    return sum;
  }
}

/** A name, or the end of it (`…in_proj_weight`): its neighbours begin alike; nothing where no letter would tell it from another. */
export function ending(name, most) { return inLetters(name) <= most ? name : most < 3 ? "" : `…${name.slice(1 - most).replace(/^\./, "")}`; }

/** How many letters of the usual width a text takes: these take half of one. */
function inLetters(text) { return text.length - (text.match(/[.:|ijlft]/g) ?? []).length / 2; }
