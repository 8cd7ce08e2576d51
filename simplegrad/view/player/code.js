// A text of code that one edits: CodeMirror with what all our editors want. Tab leaves it, as it leaves any field, and
// so does Escape; Ctrl + ] indents. Undo is the editor's own: it brings back what another text took the place of. What is
// wrong stands at its line, and F8 goes there.

import { CodeMirror } from "./codemirror.js";

const CM = CodeMirror, { tags } = CM;
const LANGUAGE = CM.LRLanguage.define({ parser: CM.python });
const HIGHLIGHTING = CM.syntaxHighlighting(CM.tagHighlighter([
  { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword], class: "sg-word" },
  { tag: [tags.number, tags.bool, tags.null], class: "sg-literal" },
  { tag: [tags.string, tags.special(tags.string)], class: "sg-string" },
  { tag: tags.comment, class: "sg-comment" },
  { tag: [tags.function(tags.variableName), tags.function(tags.definition(tags.variableName)), tags.function(tags.propertyName)], class: "sg-called" },
]));

// --- lines that are marked: { current, breaks } by their numbers, from 1 -------------------------------------------------

class LineClass extends CM.GutterMarker {
  elementClass;
  constructor(name) { super(); this.elementClass = name; }
}

const setMarks = CM.StateEffect.define();
const WRONG = new LineClass("sg-wrong"), BREAK = new LineClass("sg-breaking");
const lineMarks = marksOf(setMarks, placed);

/** Decorations of lines and of their numbers, as `place` makes them of what an effect says; they move with the text. */
function marksOf(effectOf, place) {
  return CM.StateField.define({
    create: () => ({ lines: CM.Decoration.none, numbers: CM.RangeSet.empty }),
    update(marks, change) {
      for (const effect of change.effects) if (effect.is(effectOf)) return place(change.state.doc, effect.value);
      return change.docChanged ? { lines: marks.lines.map(change.changes), numbers: marks.numbers.map(change.changes) } : marks;
    },
    provide: (field) => [CM.EditorView.decorations.from(field, (marks) => marks.lines), CM.gutterLineClass.from(field, (marks) => marks.numbers)],
  });
}

const isThere = (doc, number) => number !== null && number >= 1 && number <= doc.lines;
const ofLine = (doc, number, attributes) => CM.Decoration.line({ attributes }).range(doc.line(number).from);

function placed(doc, { current = null, breaks = [] }) {
  const lines = [], numbers = [];
  if (isThere(doc, current)) lines.push(ofLine(doc, current, { "data-current": "true", "aria-current": "step" }));
  for (const number of breaks.filter((each) => isThere(doc, each))) {
    lines.push(ofLine(doc, number, { "data-break": "true" }));
    numbers.push(BREAK.range(doc.line(number).from));
  }
  return { lines: CM.Decoration.set(lines, true), numbers: CM.RangeSet.of(numbers, true) };
}

// --- what is wrong: { line, column, message }, both from 1, the column in characters as Python counts them ----------------

const setProblem = CM.StateEffect.define();
const problemMarks = marksOf(setProblem, placedProblem);
const WORD = /^[\p{L}\p{N}_.]+/u;

class Message extends CM.WidgetType {
  constructor(text) { super(); this.text = text; }
  eq(other) { return other.text === this.text; }
  ignoreEvent() { return true; }
  toDOM() {
    const made = document.createElement("div");
    Object.assign(made, { className: "sg-told", textContent: this.text });
    made.setAttribute("role", "note");
    return made;
  }
}

function placedProblem(doc, problem) {
  if (!problem || !isThere(doc, problem.line)) return { lines: CM.Decoration.none, numbers: CM.RangeSet.empty };
  const line = doc.line(problem.line), lines = [ofLine(doc, problem.line, { class: "sg-wrong-line", "data-wrong": "true" })];
  if (problem.message) lines.push(CM.Decoration.widget({ widget: new Message(problem.message), block: true, side: 1 }).range(line.to));
  return { lines: CM.Decoration.set(lines, true), numbers: CM.RangeSet.of([WRONG.range(line.from)]) };
}

/** For CodeMirror, which underlines it: the word at the place, or the whole line where no column is said. */
function diagnosticOf(doc, { line: number, column = null, message }) {
  const line = doc.line(number), lead = /^\s*/.exec(line.text)[0].length;
  const from = column === null ? line.from + lead : Math.min(line.from + [...line.text].slice(0, column - 1).join("").length, line.to);
  const length = WORD.exec(doc.sliceString(from, line.to))?.[0].length || 1;
  return { from, to: column === null ? line.to : Math.min(from + length, line.to), severity: "error", message };
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
      { key: "F8", run: CM.nextDiagnostic },
    ];
    this.extensions = [
      CM.lineNumbers({ domEventHandlers: { click: (view, line) => { numbered(view.state.doc.lineAt(line.from).number); return true; } } }),
      CM.history(), lineMarks, problemMarks, CM.linter(null, { tooltipFilter: () => [] }), LANGUAGE, HIGHLIGHTING, CM.indentUnit.of("    "), CM.EditorState.tabSize.of(4),
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

  /** What is wrong with the text, at its line; null: nothing. Without a message the place alone is marked. */
  diagnose(problem) {
    const there = problem && isThere(this.doc, problem.line) ? [diagnosticOf(this.doc, problem)] : [];
    this.view.dispatch(CM.setDiagnostics(this.view.state, there), { effects: setProblem.of(problem) });
  }

  /** The caret to what is wrong. */
  goToProblem() {
    this.view.focus();
    CM.nextDiagnostic(this.view);
  }

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
