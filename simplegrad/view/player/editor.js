// The program beside the graph: where it is written, the line that runs now, the line of an error, and statements to put
// in. What is typed stays typed: the server's text replaces it only when the server says so, by another `draft`.

import { Code } from "./code.js";
import { html } from "./dom.js";
import { withPlayer } from "./shared.js";

const TYPED_MS = 300, PATIENCE_MS = 300;
const drafts = (window.simplegradDrafts ??= new Map());
// What was typed and is not yet part of what the server shows: it is told again where the server was away meanwhile.
const untold = (window.simplegradUntold ??= { draft: null, text: null });
// What can be undone, for when the page is left and opened again, or the editor is mounted in another place.
const past = (window.simplegradPast ??= { text: null, kept: null, left: -Infinity });
const MOVED_MS = 3000;
const OPEN_AT_FIRST = new Set(["Inputs", "Gradients", "Aggregates"]);
const sessionOf = (draft) => draft.split("-")[0];

class ProgramEditor {
  setStateValue; player; line = null; hadFocus = false;

  constructor(root, data) {
    const place = html("div", { class: "sg-code", "data-testid": "source" });
    const here = html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "here", title: "the next event of the line with the caret (Ctrl + Enter)", onclick: () => this.goTo(this.code.lineOfCaret) }, "go to this line");
    here.addEventListener("mousedown", (event) => event.preventDefault());
    this.running = html("span", { class: "sg-running", "data-testid": "running", role: "status" });
    this.message = html("div", { class: "sg-message", "data-testid": "problem", role: "status", id: "sg-problem" });
    this.groups = html("div", { class: "sg-groups" });
    this.palette = html("details", { class: "sg-palette", "data-testid": "palette", open: data.unfolded }, html("summary", {}, "Insert a statement"), this.groups);
    root.replaceChildren(html("div", { class: "sg-part sg-program", "data-tab": "program" }, html("div", { class: "sg-title" }, html("h4", {}, "program"), this.running, here), place, this.message, this.palette));
    const text = drafts.get(data.draft) ?? data.text;
    this.code = new Code(place, text, {
      attributes: { "aria-label": "program", "data-testid": "editor", "aria-describedby": "sg-problem" },
      changed: () => this.typed(), entered: (line) => this.goTo(line), numbered: (line) => this.player?.marks.toggle(`l${line}`),
    });
    if (past.text === text) this.code.restore(past.kept);
    if (past.hadFocus && performance.now() - past.left < MOVED_MS) this.code.view.focus();
    place.addEventListener("focusin", () => { this.hadFocus = true; });
    place.addEventListener("focusout", () => {
      this.hadFocus = !place.isConnected;
      if (!this.leaving) this.tell();
    });
    // a report that comes after the click on another page's link would bring this page back; the draft is kept here
    this.onDown = (event) => {
      this.leaving = Boolean(event.target.closest?.("a[href]"));
      if (this.leaving) clearTimeout(this.timer);
    };
    document.addEventListener("pointerdown", this.onDown, true);
    this.onAgain = () => this.again();
    window.addEventListener("simplegrad-again", this.onAgain);
    this.load(data);
    this.panel = { side: 0, draw: (k) => this.at(k), reveal: () => this.reveal(), remount: () => this.at(this.player.k(0)) };
    this.forget = withPlayer(data.player, (player) => this.join(player));
  }

  load(data) {
    const fresh = this.draft !== data.draft;
    this.draft = data.draft;
    this.data = data;
    this.wait(false);
    if (data.text === untold.text) untold.draft = null;
    if (fresh) {
      const moved = untold.draft && sessionOf(untold.draft) !== sessionOf(data.draft);
      this.code.replace(moved ? untold.text : drafts.get(data.draft) ?? data.text);
      this.told = data.text;
      if (this.code.text !== data.text) this.tellLater();
    }
    this.drawPalette();
    this.draw();
  }

  // --- what is typed --------------------------------------------------------------------------------------------

  typed() {
    drafts.clear();
    drafts.set(this.draft, this.code.text);
    Object.assign(untold, { draft: this.draft, text: this.code.text });
    this.drawn = null;
    this.drawMessage();
    this.tellLater();
  }

  /** The connection was lost and is there again: what was told in between reached nobody. */
  again() {
    if (!untold.draft) return;
    this.told = null;
    this.tellLater();
  }

  tellLater() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), TYPED_MS);
  }

  tell() {
    clearTimeout(this.timer);
    if (this.told === this.code.text || !this.setStateValue) return;
    this.told = this.code.text;
    this.wait(true);
    this.setStateValue("text", { draft: this.draft, text: this.told });
  }

  /** What takes longer than a moment says so. */
  wait(isOn) {
    clearTimeout(this.waiting);
    this.running.textContent = "";
    if (isOn) this.waiting = setTimeout(() => { this.running.textContent = "the program runs …"; }, PATIENCE_MS);
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

  // --- drawing --------------------------------------------------------------------------------------------------

  /** Whether the text is the one that the server spoke of. */
  get isTold() { return this.told === this.code.text && this.data.text === this.code.text; }

  /** The text, where the player's run is not of it; else null. */
  get unsaid() { return this.isTold && this.isOf(this.player.sides[0]) ? null : this.code.text; }

  draw() {
    const error = this.isTold ? this.data.error : null;
    const breaks = [...(this.player?.marks.hits.keys() ?? [])].filter((mark) => /^l\d+$/.test(mark)).map((mark) => Number(mark.slice(1)));
    const marks = { current: this.line, error: error && { line: error.line, column: error.column }, breaks };
    if (JSON.stringify(marks) !== this.drawn) this.code.mark(marks);
    this.drawn = JSON.stringify(marks);
    this.drawMessage();
  }

  drawMessage() {
    const { error, old } = this.data, state = error ? (this.isTold ? "error" : "old") : "fine", told = JSON.stringify([error, old]);
    this.message.dataset.state = state;
    this.code.view.contentDOM.setAttribute("aria-invalid", String(state === "error"));
    if (this.shown === told) return;
    this.shown = told;
    if (!error) return this.message.replaceChildren();
    this.message.replaceChildren(html("b", {}, `line ${error.line}, column ${error.column}: `), error.message, old ? html("small", {}, "The graph shows the program as it ran last.") : "");
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
    clearTimeout(this.timer);
    clearTimeout(this.waiting);
    Object.assign(past, { text: this.code.text, kept: this.code.kept(), left: performance.now(), hadFocus: this.hadFocus });
    document.removeEventListener("pointerdown", this.onDown, true);
    window.removeEventListener("simplegrad-again", this.onAgain);
    this.forget();
    this.player?.panels.delete(this.panel);
    this.code.leave();
  }
}

const editors = new WeakMap();

export default function mountEditor(component) {
  const root = component.parentElement.querySelector(".sg-editor-root");
  const editor = editors.get(root) ?? new ProgramEditor(root, component.data);
  if (editors.has(root)) editor.load(component.data);
  editors.set(root, editor);
  editor.setStateValue = component.setStateValue;
  return () => {
    editor.leave();
    editors.delete(root);
  };
}
