// A text that somebody types and the server hears of, as soon as the typing stops. What is typed stays typed: the server's
// text replaces it only when the server says so, by another `draft`. What is wrong is said at its line.

import { Code } from "./code.js";
import { html } from "./dom.js";

const TYPED_MS = 300, PATIENCE_MS = 300, MOVED_MS = 3000;
/** By the name of a text: what was typed last, of which draft, and whether the server has said that it knows it (if not,
    it is told again where the server was away meanwhile); what can be undone, for when the page is left and opened again,
    or the editor is mounted in another place. */
const keptTexts = (window.simplegradTyped ??= {});
const sessionOf = (draft) => draft.split("-")[0];

export class Typed {
  setStateValue; draft; data; told; hadFocus = false;

  /** `label`: of the text, for those who do not see it; `more`: what else Code is told. */
  constructor(name, data, { label, testid, ...more }) {
    this.kept = keptTexts[name] ??= { draft: null, text: null, isKnown: true, past: { text: null, left: -Infinity } };
    this.kept.newest = this;
    this.place = html("div", { class: "sg-code", "data-testid": "source" });
    this.running = html("span", { class: "sg-running", "data-testid": "running", role: "status" });
    this.message = html("div", { class: "sg-message", "data-testid": "problem", role: "status", id: `sg-problem-${name}` });
    this.code = new Code(this.place, this.typedIn(data.draft) ?? data.text, {
      attributes: { "aria-label": label, "data-testid": testid, "aria-describedby": this.message.id },
      changed: () => this.typed(), ...more,
    });
    this.place.addEventListener("focusin", () => { this.hadFocus = true; });
    this.place.addEventListener("focusout", () => {
      this.hadFocus = !this.place.isConnected;
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
  }

  /** Once its place is on the page. */
  comeBack() {
    const { past } = this.kept;
    if (past.text === this.code.text) this.code.restore(past.kept);
    if (past.hadFocus && performance.now() - past.left < MOVED_MS) this.code.view.focus();
  }

  typedIn(draft) { return this.kept.draft === draft ? this.kept.text : null; }

  load(data) {
    const fresh = this.draft !== data.draft, { kept } = this;
    this.draft = data.draft;
    this.data = data;
    this.wait(false);
    if (data.text === kept.text) kept.isKnown = true;
    if (fresh) {
      const moved = !kept.isKnown && sessionOf(kept.draft) !== sessionOf(data.draft);
      this.code.replace(moved ? kept.text : this.typedIn(data.draft) ?? data.text);
      this.told = data.text;
      if (this.code.text !== data.text) this.tellLater();
    }
    if (this.isTold || !data.error) this.code.diagnose(data.error ?? null); // one of an older text moves with its line
    this.drawMessage();
  }

  // --- what is typed --------------------------------------------------------------------------------------------

  typed() {
    Object.assign(this.kept, { draft: this.draft, text: this.code.text, isKnown: false });
    if (this.kept.newest !== this) this.kept.newest.takeOver(); // this one is about to be taken away
    this.drawMessage();
    this.tellLater();
  }

  takeOver() {
    this.code.replace(this.kept.text);
    this.tellLater();
  }

  /** The connection was lost and is there again: what was told in between reached nobody. */
  again() {
    if (this.kept.isKnown) return;
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

  // --- what is wrong --------------------------------------------------------------------------------------------

  /** Whether the text is the one that the server spoke of. */
  get isTold() { return this.told === this.code.text && this.data.text === this.code.text; }

  drawMessage() {
    const { error, old } = this.data, state = error ? (this.isTold ? "error" : "old") : "fine", said = JSON.stringify([error, old]);
    this.message.dataset.state = this.place.dataset.state = state;
    this.code.view.contentDOM.setAttribute("aria-invalid", String(state === "error"));
    if (this.shown === said) return;
    this.shown = said;
    if (!error) return this.message.replaceChildren();
    const there = html("button", { type: "button", class: "sg-link", title: "go there (F8)", onclick: () => this.code.goToProblem() }, `line ${error.line}, column ${error.column}`);
    this.message.replaceChildren(there, html("span", { class: "sg-unseen" }, `: ${error.message}`), old ? html("small", {}, ` ${old}`) : "");
  }

  leave() {
    clearTimeout(this.timer);
    clearTimeout(this.waiting);
    this.kept.past = { text: this.code.text, kept: this.code.kept(), left: performance.now(), hadFocus: this.hadFocus };
    document.removeEventListener("pointerdown", this.onDown, true);
    window.removeEventListener("simplegrad-again", this.onAgain);
    this.code.leave();
  }
}

/** What Streamlit mounts: an editor of this kind in each of its places. */
export function mountsOf(Editor) {
  const editors = new WeakMap();
  return (component) => {
    const root = component.parentElement.querySelector(".sg-editor-root");
    const editor = editors.get(root) ?? new Editor(root, component.data);
    if (editors.has(root)) editor.load(component.data);
    editors.set(root, editor);
    editor.setStateValue = component.setStateValue;
    return () => {
      editor.leave();
      editors.delete(root);
    };
  };
}
