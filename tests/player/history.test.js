// What of the player needs no browser: the histories of a trace, and that each kind of event of the contract is known.

import assert from "node:assert/strict";
import test from "node:test";

import { ENTRY, EVENT, EVENTS, NOT_FINITE, SUM_KINDS } from "../../simplegrad/view/player/contract.js";
import { TraceHistory, bisect, entryOf } from "../../simplegrad/view/player/history.js";
import { Trail, near } from "../../simplegrad/view/player/near.js";
import { SearchIndex } from "../../simplegrad/view/player/search.js";

const entry = (statement, inputs, outputs) => {
  const row = [];
  Object.assign(row, { [ENTRY.statement]: statement, [ENTRY.pass_id]: -1, [ENTRY.made_by]: -1, [ENTRY.line]: 1, [ENTRY.inputs]: inputs, [ENTRY.outputs]: outputs, [ENTRY.formulas]: [], [ENTRY.group]: "" });
  return row;
};
const value = (name, largest = 1) => [name, "", "1", largest === 0 ? 1 : 0, 0, largest];
const event = (kind, ...what) => [kind, -1, what.pass_id ?? -1, 1, -1, 0, ...what];

/** y = x * x and its pass, with a gradient of x of this size. */
function squared(largest = 2) {
  return new TraceHistory({
    bindings: {}, entries: [entry("y = x * x", [0, 0], [1])],
    values: [value("x"), value("y"), value("seed"), value("g", largest), value("sum", largest)],
    passes: [["pass of y", "y", [0]]], sources: [], program: [], sentences: [], notices: [],
    events: [
      event("leaf", 0), event("recorded", 0), event("begun", 0, [1, 2]), event("visit", 0, [2]),
      event("propagated", 0, [2], [3, 3]), event("accumulated", 0, 0, 0, 3, 3), event("accumulated", 0, 1, 0, 3, 4), event("ended", 0, [4]),
    ],
  });
}

test("bisect counts what is smaller", () => {
  assert.deepEqual([0, 1, 2, 3, 9].map((k) => bisect([1, 3, 5], k)), [0, 0, 1, 1, 3]);
});

test("a gradient is unreached, then its first contribution, then the sum", () => {
  const trace = squared();
  assert.deepEqual([5, 6, 7].map((k) => trace.gradient(0, k)), [["unreached", -1], ["value", 3], ["value", 4]]);
});

test("zeros and what is not finite are states of their own", () => {
  assert.equal(squared(0).gradient(0, 7)[0], "zero");
  assert.equal(squared(NOT_FINITE).gradient(0, 7)[0], "nonfinite");
});

test("an entry is pending, active, then what it became", () => {
  assert.deepEqual([3, 4, 5].map((k) => squared().entryState(0, k)), ["pending", "active", "propagated"]);
});

test("of a pass that raised, what did not come is not called None", () => {
  const trace = new TraceHistory({ ...squared(), events: [event("leaf", 0), event("recorded", 0), event("begun", 0, [1, 2]), event("broken", 0)] });
  assert.equal(trace.gradient(0, 4)[0], "unreached");
});

test("stepping over goes from visit to visit, out to the end of the pass", () => {
  const trace = squared();
  assert.equal(trace.find(2, 1, (each) => each[EVENT.kind] === "ended"), 7);
});

test("every kind of event of the contract is taken in, and says whether it is about an entry", () => {
  for (const kind of EVENTS) {
    const what = { begun: [0, [1, 2]], ended: [0, [3]], visit: [0, [2]], read: [0, 0] }[kind] ?? (SUM_KINDS.includes(kind) ? [0, 0, 0, 3, 3] : [0, [2], [3, 3]]);
    const trace = squared();
    const before = trace.events.length;
    trace.events.push(event(kind, ...what));
    trace.add(trace.events[before], before);
    assert.ok(entryOf(trace.events[before]) >= -1, kind);
  }
});

test("a search through all labels at once finds what each label says, the likeliest first", () => {
  const names = ["x", "weight", "w.eight", "Parts.weight", "ab\nc", "a[b"];
  const trace = {
    aliases: { x: "input" }, knownOrder: names.map((_, i) => i), values: names.map((name) => value(name)),
    touching: new Map(names.map((_, i) => [`v${i}`, [0]])), order: [0, 1], entries: [entry("x2 = weight * x", [], []), entry("y = sin(x2)", [], [])],
    modules: [["parts.0", 1, 1]],
  };
  const index = new SearchIndex(trace), keys = (wanted) => index.found(wanted).map(([key]) => key);
  assert.deepEqual(keys("weight"), ["v1", "v3", "v2", "e0"]);
  assert.deepEqual(keys("input"), ["v0"]);
  assert.deepEqual(keys("1"), ["e1"]);
  assert.deepEqual(keys("[b"), ["v5"]);
  assert.deepEqual(keys("par"), ["v3", "e1"]);
  assert.deepEqual(keys("sin(x"), ["e1"]);
  assert.deepEqual(keys("nothing"), []);
});

/** The run of `x` and one entry a line, each an event. */
function lines(...statements) {
  return new TraceHistory({
    bindings: {}, entries: statements.map((statement, i) => entry(statement, [i], [i + 1])),
    values: ["x", ...statements.map((statement) => statement[0])].map((name) => value(name)),
    passes: [], sources: [], program: ["x = ones(1)", ...statements], sentences: [], notices: [],
    events: [event("leaf", 0), ...statements.map((_, i) => event("recorded", i))],
  });
}

test("the step after an edit is that of the same event, or of the last one before it that is still there", () => {
  const before = lines("a = x", "b = a", "c = b");
  assert.equal(near(before, 3, lines("z = x", "a = x", "b = a", "c = b")), 4);
  assert.equal(near(before, 3, lines("a = x", "b = a", "d = b")), 2);
  assert.equal(near(before, 3, lines("z = x", "y = x")), 0);
  for (let step = 0; step < 8; step++) assert.equal(near(squared(), step, squared(3)), step);
});

test("undo goes back to the step of each text, unless somebody stepped meanwhile", () => {
  const first = lines("a = x", "b = a", "c = b"), second = lines("d = x", "e = d"), trail = new Trail();
  assert.equal(trail.arrive(first, 3, second, 0), 0);
  assert.equal(trail.arrive(second, 0, first, 0), 3);
  assert.equal(trail.arrive(first, 3, second, 0), 0);
  assert.equal(trail.arrive(second, 2, first, 0), 0);
  trail.leave(first, 2); // an empty program has no player
  assert.equal(trail.arrive(undefined, 0, first, 0), 2);
  assert.equal(trail.arrive(first, 2, second, 0), 0);
});
