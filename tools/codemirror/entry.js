// What the player's editor uses of CodeMirror 6.

export { defaultKeymap, history, historyField, historyKeymap, insertNewlineKeepIndent, isolateHistory } from "@codemirror/commands";
export { LRLanguage, indentUnit, syntaxHighlighting } from "@codemirror/language";
export { linter, nextDiagnostic, setDiagnostics } from "@codemirror/lint";
export { EditorState, RangeSet, StateEffect, StateField } from "@codemirror/state";
export { Decoration, EditorView, GutterMarker, WidgetType, gutterLineClass, keymap, lineNumbers } from "@codemirror/view";
export { tagHighlighter, tags } from "@lezer/highlight";
export { parser as python } from "@lezer/python";
