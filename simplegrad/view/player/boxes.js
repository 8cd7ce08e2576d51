// The modules of a run: the box of each opens and closes by a click on it, or on the title of its frame, by the key o for
// the one that the current step is in, or all at once.

import { BOX } from "./contract.js";
import { html, setText } from "./dom.js";

export const ALL_OPEN = "*", ALL_CLOSED = "-"; // as graph/boxes.py has them

export class Boxes {
  /** `painter`: of the picture that they are drawn in; `root`: where their buttons stand. */
  constructor(painter, root) {
    this.painter = painter;
    this.byKey = new Map((painter.drawing.boxes ?? []).map((box) => [box[BOX.key], box]));
    const { player, side } = painter;
    const button = (text, name, title, action) => html("button", { type: "button", class: "sg-button sg-text-button", "data-action": name, title, onclick: action }, text);
    this.hereButton = button("", "box-here", "the module at this step (o)", () => this.toggleHere());
    if (this.byKey.size) root.replaceChildren(html("div", { class: "sg-boxes", role: "group", "aria-label": "modules", "data-testid": "boxes" }, this.hereButton,
      button("open all", "boxes-open", "every module in full", () => player.open(side, ALL_OPEN)), button("close all", "boxes-close", "a box for each of the outermost modules", () => player.open(side, ALL_CLOSED))));
    else root.replaceChildren();
  }

  /** The innermost box, open or closed, that the current step happens in. */
  get here() {
    const [x, y] = this.painter.currentPlace() ?? [NaN, NaN];
    const around = [...this.byKey.values()].filter((box) => x >= box[BOX.x0] && x <= box[BOX.x1] && y >= box[BOX.y0] && y <= box[BOX.y1]);
    return around.sort((a, b) => a[BOX.x1] - a[BOX.x0] - (b[BOX.x1] - b[BOX.x0]))[0] ?? null;
  }

  draw() {
    const { here } = this;
    setText(this.hereButton, here ? `${here[BOX.open] ? "close" : "open"} ${here[BOX.path]}` : "no module here");
    this.hereButton.disabled = !here;
  }

  toggleHere() {
    const { here } = this;
    if (here) this.painter.player.open(this.painter.side, here[BOX.key]);
  }
}
