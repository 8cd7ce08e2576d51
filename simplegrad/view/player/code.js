// A text of code that one edits: CodeMirror with what all our editors want. Tab leaves it, as it leaves any field, and
// so does Escape; Ctrl + ] indents. Undo is the editor's own: it brings back what another text took the place of.

import { CodeMirror } from "./codemirror.js";

const CM = CodeMirror, { tags } = CM;
const LANGUAGE = CM.LRLanguage.define({ parser: CM.python });
const LOOKS = CM.syntaxHighlighting(CM.tagHighlighter([
  { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword], class: "sg-word" },
  { tag: [tags.number, tags.bool, tags.null], class: "sg-literal" },
  { tag: [tags.string, tags.special(tags.string)], class: "sg-string" },
  { tag: tags.comment, class: "sg-comment" },
  { tag: [tags.function(tags.variableName), tags.function(tags.definition(tags.variableName)), tags.function(tags.propertyName)], class: "sg-called" },
]));

// --- lines that are marked: { current, error: { line, column }, breaks } by their numbers, from 1 ------------------------

class LineClass extends CM.GutterMarker {
  elementClass;
  constructor(name) { super(); this.elementClass = name; }
}

const setMarks = CM.StateEffect.define();
const WRONG = new LineClass("sg-wrong"), BREAK = new LineClass("sg-breaking");
const lineMarks = CM.StateField.define({
  create: () => ({ lines: CM.Decoration.none, numbers: CM.RangeSet.empty }),
  update(marks, change) {
    for (const effect of change.effects) if (effect.is(setMarks)) return placed(change.state.doc, effect.value);
    return change.docChanged ? { lines: marks.lines.map(change.changes), numbers: marks.numbers.map(change.changes) } : marks;
  },
  provide: (field) => [CM.EditorView.decorations.from(field, (marks) => marks.lines), CM.gutterLineClass.from(field, (marks) => marks.numbers)],
});

function placed(doc, { current = null, error = null, breaks = [] }) {
  const lines = [], numbers = [], there = (number) => number !== null && number >= 1 && number <= doc.lines;
  const mark = (number, attributes) => lines.push(CM.Decoration.line({ attributes }).range(doc.line(number).from));
  if (there(current)) mark(current, { "data-current": "true", "aria-current": "step" });
  for (const number of breaks.filter(there)) {
    mark(number, { "data-break": "true" });
    numbers.push(BREAK.range(doc.line(number).from));
  }
  if (error && there(error.line)) {
    const line = doc.line(error.line), from = Math.min(line.from + error.column - 1, line.to);
    const length = /^[\w.]+/.exec(doc.sliceString(from, line.to))?.[0].length || 1, to = Math.min(from + length, line.to);
    mark(error.line, { class: "sg-wrong-line", "data-wrong": "true" });
    if (to > from) lines.push(CM.Decoration.mark({ class: "sg-wrong-word" }).range(from, to));
    numbers.push(WRONG.range(line.from));
  }
  return { lines: CM.Decoration.set(lines, true), numbers: CM.RangeSet.of(numbers, true) };
}

// --- the editor ---------------------------------------------------------------------------------------------------------

export class Code {
  /** `attributes` of the text: its name for those who do not see it, what tests find it by. `changed()`: after each change
      that somebody made; `entered(line)`: Ctrl + Enter; `numbered(line)`: a click on a line's number. */
  constructor(place, text, { attributes, changed, entered = (line) => {}, numbered = (line) => {} }) {
    this.changed = changed;
    const run = (action) => () => { action(); return true; };
    const keys = [
      { key: "Mod-Enter", run: run(() => entered(this.lineOfCaret)) },
      { key: "Escape", run: run(() => this.view.contentDOM.blur()) },
      { key: "Enter", run: CM.insertNewlineKeepIndent },
    ];
    this.extensions = [
      CM.lineNumbers({ domEventHandlers: { click: (view, line) => { numbered(view.state.doc.lineAt(line.from).number); return true; } } }),
      CM.history(), lineMarks, LANGUAGE, LOOKS, CM.indentUnit.of("    "), CM.EditorState.tabSize.of(4),
      CM.keymap.of([...keys, ...CM.defaultKeymap, ...CM.historyKeymap]),
      CM.EditorView.contentAttributes.of({ "aria-multiline": "true", ...attributes }),
      CM.EditorView.updateListener.of((update) => { if (update.docChanged && !this.replacing) this.changed(); }),
    ];
    this.view = new CM.EditorView({ parent: place, state: CM.EditorState.create({ doc: text, extensions: this.extensions }) });
    // who selects while giving it the focus, as a script that fills it, is heard before CodeMirror puts its own selection back
    this.view.contentDOM.addEventListener("focus", () => setTimeout(() => document.dispatchEvent(new Event("selectionchange"))));
    this.view.contentDOM.addEventListener("keydown", (event) => event.stopPropagation()); // the player's keys are not meant
  }

  get text() { return this.view.state.doc.toString(); }
  get doc() { return this.view.state.doc; }
  get hasFocus() { return this.view.hasFocus; }
  get lineOfCaret() { return this.doc.lineAt(this.view.state.selection.main.head).number; }

  /** Another text in its place; undo brings back the one before. Nobody is told of it. */
  replace(text) {
    if (text === this.text) return;
    this.replacing = true;
    this.view.dispatch({ changes: { from: 0, to: this.doc.length, insert: text }, selection: { anchor: 0 }, annotations: CM.isolateHistory.of("full") });
    this.replacing = false;
  }

  /** A statement on lines of its own, behind the line of the caret; the caret goes behind it. */
  insert(statement) {
    const line = this.doc.lineAt(this.view.state.selection.main.to), insert = (line.text.trim() ? "\n" : "") + statement;
    this.view.dispatch({ changes: { from: line.to, insert }, selection: { anchor: line.to + insert.length }, annotations: CM.isolateHistory.of("full"), scrollIntoView: true });
    this.view.focus();
  }

  mark(marks) { this.view.dispatch({ effects: setMarks.of(marks) }); }

  /** So that a line is seen, by scrolling the editor alone. */
  reveal(number) {
    if (number < 1 || number > this.doc.lines) return;
    const box = this.view.scrollDOM, { top, bottom } = this.view.lineBlockAt(this.doc.line(number).from);
    if (top < box.scrollTop || bottom + 8 > box.scrollTop + box.clientHeight) box.scrollTop = Math.max(0, top - box.clientHeight / 3);
  }

  /** All that can be undone, for an editor that takes the place of this one. */
  kept() { return this.view.state.toJSON({ history: CM.historyField }); }

  restore(kept) {
    this.view.setState(CM.EditorState.fromJSON(kept, { extensions: this.extensions }, { history: CM.historyField }));
  }

  leave() { this.view.destroy(); }
}
