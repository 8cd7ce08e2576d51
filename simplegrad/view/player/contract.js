// Made by `python -m simplegrad.view.contract`; contract.py says what each field is.
export const EVENT = Object.freeze({ kind: 0, parent: 1, pass_id: 2, line: 3, file: 4, file_line: 5, subject: 6, second: 7, third: 8, contribution: 9, total: 10 });
export const ENTRY = Object.freeze({ statement: 0, pass_id: 1, made_by: 2, line: 3, inputs: 4, outputs: 5, formulas: 6, group: 7 });
export const VALUE = Object.freeze({ name: 0, shape: 1, text: 2, zero: 3, leaf: 4, largest: 5 });
export const PASS = Object.freeze({ title: 0, loss: 1, wanted: 2 });
export const SOURCE = Object.freeze({ name: 0, first: 1, lines: 2 });
export const MODULE = Object.freeze({ name: 0, first: 1, count: 2 });
export const NODE = Object.freeze({ mark: 0, id: 1, x: 2, y: 3, pass_id: 4, kind: 5, text: 6 });
export const EDGE = Object.freeze({ value: 0, entry: 1, slot: 2, x0: 3, y0: 4, x1: 5, y1: 6, x2: 7, y2: 8, x3: 9, y3: 10, near: 11 });
export const BOX = Object.freeze({ key: 0, path: 1, title: 2, count: 3, worst: 4, open: 5, outer: 6, x0: 7, y0: 8, x1: 9, y1: 10 });
export const EVENTS = Object.freeze(["leaf", "recorded", "read", "begun", "visit", "propagated", "partial", "skipped", "pruned", "accumulated", "lost", "nothing", "ended", "broken", "reset", "failed"]);
export const VISITED_KINDS = Object.freeze(["propagated", "partial", "skipped", "pruned"]);
export const SUM_KINDS = Object.freeze(["accumulated", "lost", "nothing"]);
export const NOWHERE = -1, UNKNOWN = -1, NOT_FINITE = -2;
