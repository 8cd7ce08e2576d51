// The program beside the graph: where it is written, the line that runs now, and statements to put in.

import { html } from "./dom.js";
import { withPlayer } from "./shared.js";
import { Typed, mountsOf } from "./typed.js";

const OPEN_AT_FIRST = new Set(["Inputs", "Gradients", "Aggregates"]);

class ProgramEditor extends Typed {
  player; line = null;

  constructor(root, data) {
    super("program", data, {
      label: "program", testid: "editor",
      entered: (line) => this.goTo(line), numbered: (line) => this.player?.marks.toggle(`l${line}`),
    });
    const here = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "here", title: "the next event of the line with the caret (Ctrl + Enter)", onclick: () => this.goTo(this.code.lineOfCaret) }, "go to this line");
    here.addEventListener("mousedown", (event) => event.preventDefault());
    this.groups = html("div", { class: "sg-groups" });
    this.palette = html("details", { class: "sg-palette", "data-testid": "palette", open: data.unfolded }, html("summary", {}, "Insert a statement"), this.groups);
    root.replaceChildren(html("div", { class: "sg-part sg-program", "data-tab": "program" }, html("div", { class: "sg-title" }, html("h4", {}, "program"), this.running, here), this.place, this.message, this.palette));
    this.comeBack();
    this.load(data);
    this.panel = { side: 0, draw: (k) => this.at(k), reveal: () => this.reveal(), remount: () => this.at(this.player.k(0)) };
    this.forget = withPlayer(data.player, (player) => this.join(player));
  }

  load(data) {
    super.load(data);
    this.drawPalette();
    this.draw();
  }

  typed() {
    this.drawn = null;
    super.typed();
  }

  // --- where the run is -----------------------------------------------------------------------------------------

  join(player) {
    this.player = player;
    player.editor = this;
    player.panels.add(this.panel);
    this.at(player.k(0));
    player.ready();
  }

  goTo(line) { this.player?.goToLine(0, line, false); }

  /** After k events. Lines of a text that is being written are not those of the run. */
  at(k) {
    const trace = this.player.sides[0];
    this.line = this.isOf(trace) ? trace.line(k) || null : null;
    this.draw();
  }

  isOf(trace) {
    if (this.compared?.trace !== trace || this.compared.doc !== this.code.doc) {
      this.compared = { trace, doc: this.code.doc, same: trace.program.join("\n").trimEnd() === this.code.text.trimEnd() };
    }
    return this.compared.same;
  }

  reveal() {
    if (this.line === this.revealed || this.code.hasFocus) return;
    this.revealed = this.line;
    if (this.line) this.code.reveal(this.line);
  }

  /** The text, where the player's run is not of it; else null. */
  get unsaid() { return this.isTold && this.isOf(this.player.sides[0]) ? null : this.code.text; }

  // --- drawing --------------------------------------------------------------------------------------------------

  draw() {
    const breaks = [...(this.player?.marks.hits.keys() ?? [])].filter((mark) => /^l\d+$/.test(mark)).map((mark) => Number(mark.slice(1)));
    const marks = { current: this.line, breaks };
    if (JSON.stringify(marks) !== this.drawn) this.code.mark(marks);
    this.drawn = JSON.stringify(marks);
    this.drawMessage();
  }

  drawPalette() {
    const text = JSON.stringify(this.data.groups);
    if (text === this.shownPalette) return;
    const before = this.shownPalette && new Set([...this.groups.querySelectorAll("details[open]")].map((each) => each.dataset.group));
    this.shownPalette = text;
    this.groups.replaceChildren(...this.data.groups.map(([title, items]) => html("details", { "data-group": title, open: (before || OPEN_AT_FIRST).has(title) },
      html("summary", {}, title), html("div", { class: "sg-items" }, ...items.map((item) => this.item(item))))));
  }

  item([label, statement, sentence]) {
    const made = html("button", { type: "button", class: "sg-item", title: `${statement}\n${sentence}`, "data-insert": label, onclick: () => this.code.insert(statement) }, label);
    made.addEventListener("mousedown", (event) => event.preventDefault());
    return made;
  }

  leave() {
    super.leave();
    this.forget();
    this.player?.panels.delete(this.panel);
  }
}

export default mountsOf(ProgramEditor);
