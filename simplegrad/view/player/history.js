// A trace as the player knows it: for every entry, variable and edge the short history of its states, per pass.
// A step is looked up in those histories by bisection, so any step costs the same, forwards, backwards or by a jump.

import { ENTRY, EVENT, NOT_FINITE, SUM_KINDS, VALUE, VISITED_KINDS } from "./contract.js";

export const VISITED = new Set(VISITED_KINDS), SUMS = new Set(SUM_KINDS); // what a use of a variable gave it
export const CAME = new Set(["accumulated", "lost"]), VISITS = new Set(["visit", ...VISITED]);
export const CLOSING = new Set(["ended", "broken"]); // of a pass that raised, what did not come is not known to be zero
const OVER = new Set(["begun", ...CLOSING, "visit", "skipped", "pruned", "failed"]);

/** What something was, from which event on. */
export class History {
  constructor() { this.indices = []; this.states = []; }
  add(index, state) { this.indices.push(index); this.states.push(state); }
  /** The last state that came with an event before `k`. */
  before(k) {
    const place = bisect(this.indices, k);
    return place ? this.states[place - 1] : undefined;
  }
}

/** How many numbers of a sorted list are smaller than `k`. */
export function bisect(sorted, k) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < k) low = middle + 1; else high = middle;
  }
  return low;
}

function historyIn(map, key) {
  let found = map.get(key);
  if (!found) map.set(key, (found = new History()));
  return found;
}

/** One side of the player: a trace with all its histories. States are those after `k` events, as `trace.at(k)`. */
export class TraceHistory {
  // of the payload: rows of contract.py
  events; sentences; entries; values; passes; modules; program; printed; sources; bindings; notices;
  stack;

  constructor(payload) {
    Object.assign(this, payload);
    this.order = [];          // entries in the order in which they were recorded
    this.recordedAt = [];
    this.knownOrder = [];     // variables in the order in which they became known
    this.knownAt = [];
    this.entryAt = new Map(); // entry -> event that recorded it
    this.valueAt = new Map(); // variable -> event that made it known
    this.passHistories = [];
    this.running = new History();
    this.lines = new History();
    this.touching = new Map(); // "e3", "v7", "h1-3" -> events
    this.aliases = this.bindings || {};
    this.events.forEach((event, index) => this.add(event, index));
  }

  add(event, index) {
    const kind = event[EVENT.kind], pass = this.stack?.at(-1);
    if (event[EVENT.line]) this.lines.add(index, event[EVENT.line]);
    if (kind === "recorded") {
      this.order.push(event[EVENT.subject]);
      this.recordedAt.push(index);
      this.entryAt.set(event[EVENT.subject], index);
      const entry = this.entries[event[EVENT.subject]], inputs = entry[ENTRY.inputs], outputs = entry[ENTRY.outputs];
      for (const value of [...inputs, ...outputs]) this.known(value, index);
      for (const value of outputs) this.touch(`v${value}`, index);
      this.touch(`e${event[EVENT.subject]}`, index);
    } else if (kind === "leaf" || kind === "read") {
      this.known(event[EVENT.subject], index);
      this.touch(`v${event[EVENT.subject]}`, index);
      if (kind === "read") this.touch(`e${event[EVENT.second]}`, index);
    } else if (kind === "begun") {
      const begun = { id: event[EVENT.subject], begin: index, end: -1, gradients: new Map(), entries: new Map(), edges: new Map() };
      const [loss, seed] = event[EVENT.second];
      this.passHistories.push(begun);
      (this.stack ??= []).push(begun);
      this.running.add(index, begun);
      if (seed >= 0) historyIn(begun.gradients, loss).add(index, seed);
      for (const value of [loss, seed]) this.touch(`v${value}`, index);
    } else if (VISITS.has(kind)) {
      if (pass) historyIn(pass.entries, event[EVENT.subject]).add(index, kind === "visit" ? "active" : kind);
      this.touch(`e${event[EVENT.subject]}`, index);
      if (kind === "skipped" || kind === "pruned") this.touch(`h${event[EVENT.pass_id]}-${event[EVENT.subject]}`, index);
      if (kind === "skipped" || kind === "pruned") this.dryEdges(pass, event, index);
    } else if (SUMS.has(kind)) {
      const [entry, slot, value, , total] = event.slice(EVENT.subject);
      if (pass) historyIn(pass.gradients, value).add(index, total);
      if (pass) historyIn(pass.edges, `${entry}:${slot}`).add(index, kind === "nothing" ? "dry" : "flow");
      this.touch(`v${value}`, index);
      this.touch(`e${entry}`, index);
    } else if (CLOSING.has(kind)) {
      const closed = this.stack?.pop();
      if (closed) Object.assign(closed, { end: index, isBroken: kind === "broken" });
      if (this.stack?.length) this.running.add(index, this.stack.at(-1));
    }
  }

  /** What a skipped entry would have passed on stays dry. */
  dryEdges(pass, event, index) {
    const inputs = this.entries[event[EVENT.subject]][ENTRY.inputs];
    if (pass) inputs.forEach((_, slot) => historyIn(pass.edges, `${event[EVENT.subject]}:${slot}`).add(index, "dry"));
  }

  known(value, index) {
    if (this.valueAt.has(value)) return;
    this.valueAt.set(value, index);
    this.knownOrder.push(value);
    this.knownAt.push(index);
  }

  touch(key, index) {
    const found = this.touching.get(key);
    if (!found) this.touching.set(key, [index]);
    else if (found.at(-1) !== index) found.push(index);
  }

  get length() { return this.events.length; }
  passAt(k) { return this.running.before(k); }
  line(k) { return k ? this.events[k - 1][EVENT.line] || this.lines.before(k) || 0 : 0; }
  entryCount(k) { return bisect(this.recordedAt, k); }
  valueCount(k) { return bisect(this.knownAt, k); }
  entryKnown(entry, k) { return (this.entryAt.get(entry) ?? (this.entries[entry][ENTRY.pass_id] < 0 ? -1 : Infinity)) < k; }
  valueKnown(value, k) { return (this.valueAt.get(value) ?? this.seedAt(value)) < k; }

  seedAt(value) {
    const pass = this.passHistories.find((each) => each.gradients.size && this.events[each.begin][EVENT.second][1] === value);
    return pass ? pass.begin : Infinity;
  }

  entryState(entry, k) { return this.passAt(k)?.entries.get(entry)?.before(k) ?? "pending"; }
  edgeState(key, k) { return this.passAt(k)?.edges.get(key)?.before(k); }

  /** [state, the gradient's id or -1] of a variable in the current pass. */
  gradient(value, k) {
    const pass = this.passAt(k);
    const found = pass?.gradients.get(value)?.before(k);
    if (found === undefined) return [pass && !pass.isBroken && pass.end >= 0 && pass.end < k ? "none" : "unreached", -1];
    if (found < 0) return ["none", -1];
    return [this.values[found][VALUE.largest] === NOT_FINITE ? "nonfinite" : this.values[found][VALUE.zero] ? "zero" : "value", found];
  }

  /** The next (or previous) step after `s` for which `wanted` says yes, or the end of the trace on that side. */
  find(s, direction, wanted) {
    for (let i = s + direction; i >= 0 && i < this.length; i += direction) if (wanted(this.events[i], i)) return i;
    return direction > 0 ? this.length - 1 : 0;
  }

  /** Step over: to where the next entry is visited, or recorded by the program itself, or a pass begins or ends. */
  over(s, direction) {
    const stops = (event) => event[EVENT.parent] < 0 || OVER.has(event[EVENT.kind]);
    return this.find(s, direction, stops);
  }

  /** Step out: to the end (or the beginning) of the pass; in the forward part, to where the next pass begins. */
  out(s, direction) {
    const kindHere = this.events[s][EVENT.kind], isEdge = direction > 0 ? CLOSING.has(kindHere) : kindHere === "begun";
    const pass = isEdge ? undefined : this.passHistories[this.events[s][EVENT.pass_id]];
    if (pass) {
      return direction > 0 ? (pass.end < 0 ? this.length - 1 : pass.end) : pass.begin;
    }
    return this.find(s, direction, (event) => (direction > 0 ? event[EVENT.kind] === "begun" : CLOSING.has(event[EVENT.kind])));
  }

  /** What an entry was given and gave, as of the last visit before `k`: [kind, incoming, outgoing]. */
  visit(entry, k) {
    const pass = this.passAt(k);
    const history = pass?.entries.get(entry);
    if (!history) return null;
    const place = bisect(history.indices, k);
    if (!place) return null;
    const event = this.events[history.indices[place - 1]];
    return [event[EVENT.kind], event[EVENT.second], event[EVENT.third] || []];
  }

  name(value) { return value < 0 ? "None" : this.values[value][VALUE.name]; }
}

/** The entry that an event is about, or -1. */
export function entryOf(event) {
  const kind = event[EVENT.kind];
  if (kind === "recorded" || VISITS.has(kind) || SUMS.has(kind)) return event[EVENT.subject];
  return kind === "read" ? event[EVENT.second] : -1;
}
