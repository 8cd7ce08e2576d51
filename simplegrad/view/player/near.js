// Where somebody is in a run whose program was edited, when the new run comes; and where the texts before were left, for
// undo. The server does not know: the browser is often further than it was told.

import { ENTRY, EVENT, PASS, VALUE } from "./contract.js";
import { CLOSING, SUMS, entryOf } from "./history.js";

const MOST_LEFT = 30; // texts

/** The step of `after` that says what `step` of `before` says; else what the last step before that says, or 0. */
export function near(before, step, after) {
  const places = new Map();
  after.events.forEach((event, index) => {
    const key = said(after, event);
    places.has(key) ? places.get(key).push(index) : places.set(key, [index]);
  });
  for (let index = step; index >= 0; index--) {
    const found = places.get(said(before, before.events[index]));
    if (found) return found.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best));
  }
  return 0;
}

/** What an event is about, by names: they outlive an edit of other lines. */
function said(trace, event) {
  const kind = event[EVENT.kind], entry = entryOf(event), isOfPass = kind === "begun" || CLOSING.has(kind);
  const value = kind === "leaf" || kind === "read" ? event[EVENT.subject] : SUMS.has(kind) ? event[EVENT.third] : -1;
  return JSON.stringify([kind, event[EVENT.pass_id], trace.entries[entry]?.[ENTRY.statement], trace.values[value]?.[VALUE.name],
    isOfPass ? trace.passes[event[EVENT.subject]]?.[PASS.title] : null]);
}

/** The steps at which texts were left, as long as nobody steps: undo goes back to them, however large the edit was. */
export class Trail {
  steps = new Map(); // by the text
  arrived = -1; // the step at which the text that is shown began
  last = null; // what was left last: [trace, step]

  leave(trace, step) {
    if (step !== this.arrived) this.steps.clear();
    this.arrived = step;
    this.last = [trace, step];
    const text = textOf(trace);
    this.steps.delete(text);
    this.steps.set(text, step);
    if (this.steps.size > MOST_LEFT) this.steps.delete(this.steps.keys().next().value);
  }

  /** Where a run begins: where its text was left; else near `step` of the run before; of no run before, at `start`. */
  arrive(before, step, after, start) {
    if (before) this.leave(before, step);
    this.arrived = this.steps.get(textOf(after)) ?? (this.last ? near(...this.last, after) : start);
    return this.arrived;
  }

  forget() {
    this.steps.clear();
    this.last = null;
  }
}

const textOf = (trace) => trace.program.join("\n").trimEnd();
