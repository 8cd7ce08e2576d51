// A small editor for programs: line numbers, the line of an error marked, and statements inserted at the caret.
// What is typed stays typed: the server's text replaces it only when the server says so, by another `draft`.

const TYPED_MS = 300;
const drafts = (window.simplegradDrafts ??= new Map());
// What was typed and is not yet part of what the server shows: it is told again where the server was away meanwhile.
const untold = (window.simplegradUntold ??= { draft: null, text: null });
const sessionOf = (draft) => draft.split("-")[0];

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

class Editor {
  setStateValue;
  replacing = false;

  constructor(root, data) {
    this.area = element("textarea", { class: "sg-text", spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": "program", "data-testid": "editor", wrap: "off" });
    this.gutter = element("div", { class: "sg-gutter", "aria-hidden": "true" });
    this.back = element("pre", { class: "sg-back", "aria-hidden": "true" });
    this.message = element("div", { class: "sg-message", "data-testid": "problem", role: "status" });
    this.palette = element("div", { class: "sg-palette", "data-testid": "palette" });
    this.box = element("div", { class: "sg-editor" }, this.gutter, element("div", { class: "sg-page" }, this.back, this.area));
    root.replaceChildren(this.box, this.message, this.palette);
    this.area.addEventListener("input", () => this.typed());
    this.area.addEventListener("blur", () => this.leaving || this.tell());
    // a report that comes after the click on another page's link would bring this page back; the draft is kept here
    this.onDown = (event) => {
      this.leaving = Boolean(event.target.closest?.("a[href]"));
      if (this.leaving) clearTimeout(this.timer);
    };
    document.addEventListener("pointerdown", this.onDown, true);
    this.onAgain = () => this.again();
    window.addEventListener("simplegrad-again", this.onAgain);
    this.area.addEventListener("scroll", () => this.scrolled());
    this.load(data);
  }

  load(data) {
    const fresh = this.draft !== data.draft;
    this.draft = data.draft;
    this.data = data;
    if (data.text === untold.text) untold.draft = null;
    if (fresh) {
      const moved = untold.draft && sessionOf(untold.draft) !== sessionOf(data.draft);
      this.replace(moved ? untold.text : drafts.get(data.draft) ?? data.text);
      this.told = data.text;
      if (this.area.value !== data.text) this.tellLater();
    }
    this.drawPalette();
    this.draw();
  }

  /** Another text, so that the browser's undo brings the one before back: an example replaces what somebody wrote. */
  replace(text) {
    const { area } = this, focused = document.activeElement;
    if (!area.value || !area.isConnected || area.value === text) { area.value = text; return; }
    this.replacing = true;
    area.focus({ preventScroll: true });
    area.select();
    if (!document.execCommand("insertText", false, text)) area.value = text;
    area.setSelectionRange(0, 0);
    this.replacing = false;
    if (focused instanceof HTMLElement && focused !== area) focused.focus({ preventScroll: true });
  }

  typed() {
    if (this.replacing) return;
    drafts.clear();
    drafts.set(this.draft, this.area.value);
    Object.assign(untold, { draft: this.draft, text: this.area.value });
    this.draw();
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
    if (this.told === this.area.value || !this.setStateValue) return;
    this.told = this.area.value;
    this.setStateValue("text", { draft: this.draft, text: this.told });
  }

  /** A statement on a line of its own, behind the line of the caret; the caret goes behind it. */
  insert(statement) {
    const text = this.area.value, caret = this.area.selectionEnd;
    const end = text.indexOf("\n", caret) < 0 ? text.length : text.indexOf("\n", caret);
    const start = text.lastIndexOf("\n", end - 1) + 1;
    const before = text.slice(start, end).trim() ? "\n" : "";
    this.area.focus();
    this.area.setSelectionRange(end, end);
    // insertText keeps the browser's undo; where it is not to be had, the text is replaced
    if (!document.execCommand("insertText", false, before + statement)) this.area.setRangeText(before + statement, end, end, "end");
    this.typed();
  }

  // --- drawing ------------------------------------------------------------------------------------------------

  draw() {
    const lines = this.area.value.split("\n"), error = this.data.error;
    const valid = error && this.told === this.area.value;
    this.area.style.height = `${Math.max(8, lines.length + 1) * 20 + 12}px`;
    this.gutter.replaceChildren(...lines.map((_, i) => element("div", { class: valid && error.line === i + 1 ? "sg-wrong" : "", "data-line": i + 1 }, String(i + 1))));
    this.back.replaceChildren(...lines.flatMap((line, i) => this.marked(line, valid && error.line === i + 1 ? error : null)));
    this.area.setAttribute("aria-invalid", String(Boolean(valid)));
    this.box.dataset.error = valid ? error.line : "";
    if (!error) this.message.replaceChildren();
    else this.message.replaceChildren(element("b", {}, `line ${error.line}, column ${error.column}: `), error.message, element("pre", {}, error.excerpt));
    this.message.dataset.state = error ? (valid ? "error" : "old") : "fine";
    this.scrolled();
  }

  marked(line, error) {
    if (!error) return [line + "\n"];
    const at = Math.min(error.column - 1, line.length), length = /^[\w.]+/.exec(line.slice(at))?.[0].length || 1;
    return [element("span", { class: "sg-wrong-line" }, line.slice(0, at), element("mark", {}, line.slice(at, at + length) || " "), line.slice(at + length)), "\n"];
  }

  scrolled() {
    this.back.style.transform = `translateX(${-this.area.scrollLeft}px)`;
  }

  drawPalette() {
    const text = JSON.stringify(this.data.groups);
    if (text === this.shownPalette) return;
    this.shownPalette = text;
    const open = new Set([...this.palette.querySelectorAll("details[open]")].map((each) => each.dataset.group));
    this.palette.replaceChildren(...this.data.groups.map(([title, items], number) => {
      const buttons = items.map(([label, statement, sentence]) => {
        const made = element("button", { type: "button", class: "sg-item", title: `${statement}\n${sentence}`, "data-insert": label, onclick: () => this.insert(statement) }, label);
        made.addEventListener("mousedown", (event) => event.preventDefault());
        return made;
      });
      const isOpen = this.shownOnce ? open.has(title) : number === 0 || title === "Gradients" || title === "Aggregates";
      return element("details", { "data-group": title, open: isOpen }, element("summary", {}, title), element("div", { class: "sg-items" }, ...buttons));
    }));
    this.shownOnce = true;
  }
}

const editors = new WeakMap();

export default function (component) {
  const root = component.parentElement.querySelector(".sg-editor-root");
  let editor = editors.get(root);
  if (editor) editor.load(component.data);
  else editors.set(root, (editor = new Editor(root, component.data)));
  editor.setStateValue = component.setStateValue;
  return () => {
    clearTimeout(editor.timer);
    document.removeEventListener("pointerdown", editor.onDown, true);
    window.removeEventListener("simplegrad-again", editor.onAgain);
    editors.delete(root);
  };
}
