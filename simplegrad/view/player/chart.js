// The chart that Plotly draws (axes, bands, titles, missing pathways, and the nodes as its last trace, for hovering and
// clicks), by Plotly's public API alone: `layout`, `data`, its events, `Plotly.relayout`.

/** @typedef {{ x: number[], y: number[], left: number, top: number, width: number, height: number }} View
    What is seen: the ranges of the axes (y: bottom, top), and the place and size of the plot in pixels. */

export class Chart {
  element; told; ranges;
  ours = 0; // ranges that we have asked for, and that Plotly has not drawn yet
  away = new AbortController();
  heard = /** @type {[string, Function][]} */ ([]);

  /** `told`: who hears `drawn()` by Plotly, `shown(isMoving)`, `moved()` by a person, `hovered`, `unhovered`, `clicked`. */
  constructor(element, drawing, told) {
    Object.assign(this, { element, told, ranges: { x: [...drawing.x], y: [...drawing.y] } });
    const on = (name, action, options) => element.addEventListener(name, action, { ...options, capture: true, signal: this.away.signal });
    on("wheel", (event) => { if (!event.ctrlKey && !event.metaKey) event.stopImmediatePropagation(); });  // the page scrolls
    on("touchstart", (event) => { if (event.touches.length < 2) event.stopImmediatePropagation(); }, { passive: true });
    this.sizes = new ResizeObserver(() => { if (this.measure()) this.told.shown(false); });
    this.sizes.observe(element);
    this.measure();
    if (element.layout) this.read();
    this.join();
  }

  /** Whether an element has this drawing: Streamlit draws it when it likes. A file makes room for it before Plotly is there. */
  static has(element, drawing) {
    return Boolean(element?.layout ? element.on && element.layout.meta === drawing.id : element?.classList.contains("sg-place"));
  }

  /** Hear what Plotly tells, from when it has drawn. */
  join() {
    if (this.heard.length || !this.element.on || !this.element.layout) return;
    this.heard = [
      ["plotly_relayouting", (change) => { this.read(change); this.told.shown(true); }],
      ["plotly_relayout", (change) => this.relaid(change)],
      ["plotly_doubleclick", () => this.told.moved()],  // the whole is asked for
      ["plotly_afterplot", () => { this.read(); this.measure(); this.told.drawn(); }],
      ["plotly_click", (click) => this.told.clicked(this.pointOf(click), click.event)],
      ["plotly_hover", (over) => this.told.hovered(this.pointOf(over), over.event)],
      ["plotly_unhover", () => this.told.unhovered()],
    ];
    for (const [name, action] of this.heard) this.element.on(name, action);
    if (this.isAt(this.element.layout)) return;
    this.show({ x: this.ranges.x, y: this.ranges.y });  // who stepped before Plotly was there has been followed
  }

  isAt(layout) { return ["x", "y"].every((axis) => layout[`${axis}axis`].range.every((end, i) => Math.abs(end - this.ranges[axis][i]) < 1e-6)); }

  /** The ranges as Plotly has them, or as they are while a person drags. */
  read(change = {}) {
    for (const axis of ["x", "y"]) {
      const { range } = this.element.layout[`${axis}axis`], name = `${axis}axis.range`;
      if (!this.ours) this.ranges[axis] = [0, 1].map((i) => change[`${name}[${i}]`] ?? change[name]?.[i] ?? range[i]);
    }
  }

  relaid(change) {
    if (this.ours || !Object.keys(change).some((key) => key.includes("axis"))) return;
    this.read();
    this.told.moved();
    this.told.shown(false);
  }

  /** True where the size is another one than before. Read seldom: the page is laid out for it. */
  measure() {
    const { clientWidth, clientHeight } = this.element, before = this.size;
    this.size = [clientWidth, clientHeight];
    return !before || before[0] !== clientWidth || before[1] !== clientHeight;
  }

  /** @returns {View} */
  get view() {
    const { l, r, t, b } = this.element.layout?.margin ?? MARGIN, [width, height] = this.size;
    return { ...this.ranges, left: l, top: t, width: Math.max(1, width - l - r), height: Math.max(1, height - t - b) };
  }

  /** Other ranges: the picture is there at once, Plotly follows. */
  show(ranges) {
    Object.assign(this.ranges, ranges);
    this.told.shown(false);
    if (!this.heard.length) return;
    this.ours++;
    const change = Object.fromEntries(Object.entries(ranges).map(([axis, range]) => [`${axis}axis.range`, [...range]]));
    Promise.resolve(window.Plotly.relayout(this.element, change)).finally(() => { this.ours--; });
  }

  /** The number of the node that an event of Plotly's is about. */
  pointOf(event) {
    const last = this.element.data.length - 1;
    return event.points?.find((point) => point.curveNumber === last)?.pointNumber;
  }

  leave() {
    this.away.abort();
    this.sizes.disconnect();
    for (const [name, action] of this.heard) this.element.removeListener?.(name, action);  // gone, where Streamlit has let go of the chart
  }
}

const MARGIN = { l: 6, r: 6, t: 6, b: 6 }; // as in figure.py, for as long as Plotly has told none
