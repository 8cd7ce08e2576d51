// Looking for something in a trace by its name: the same as graph/search.py. All labels are one text, a line each.

import { ENTRY, MODULE, VALUE } from "./contract.js";
import { bisect } from "./history.js";

const MOST_FOUND = 12;

/** How far a text is from what is looked for: 0 the same, 1 begins with it, 2 has it, 3 has its letters in their order. */
export function likeness(text, wanted) {
  const here = text.toLowerCase();
  if (!here) return Infinity;
  if (here === wanted) return 0;
  if (here.startsWith(wanted)) return 1;
  if (here.includes(wanted)) return 2;
  let place = -1;
  for (const letter of wanted) if ((place = here.indexOf(letter, place + 1)) < 0) return Infinity;
  return 3;
}

/** Labels of one kind: rows of [name, key, what is shown]. */
class Labels {
  constructor(rows) {
    const lines = rows.map(([name]) => name.toLowerCase().replaceAll("\n", " "));
    this.rows = rows;
    this.text = ["", ...lines, ""].join("\n");
    let at = 1;
    this.starts = lines.map((line) => { const start = at; at += line.length + 1; return start; });
  }

  /** The first rows whose likeness is this rank or a better one. */
  alike(rank, wanted, most) {
    const part = [`\n${wanted}\n`, `\n${wanted}`, wanted][rank], found = [];
    const letters = rank === 3 && new RegExp(`^${[...wanted].map((letter) => { const it = letter.replace(/[\\^$.*+?()[\]{}|\-/]/g, "\\$&"); return `[^\\n${it}]*${it}`; }).join("")}`, "gm");
    const next = (from) => (rank < 3 ? this.text.indexOf(part, from) : letters.exec(this.text)?.index ?? -1);
    for (let at = next(0); at >= 0 && found.length < most; ) {
      if (rank < 2) at += 1;
      found.push(this.rows[bisect(this.starts, at + 1) - 1]);
      at = next(this.text.indexOf("\n", at));
    }
    return found;
  }
}

/** What can be looked for in a trace, made once for it: names are nearer by one than statements. */
export class SearchIndex {
  constructor(trace) {
    const names = [], statements = [], modules = [];
    for (const value of trace.knownOrder) {
      const name = trace.values[value][VALUE.name], alias = trace.aliases[name] ?? "", key = `v${value}`;
      if (trace.touching.has(key)) for (const each of alias ? [name, alias] : [name]) names.push([each, key, alias ? `${name} (${alias})` : name]);
    }
    for (const entry of trace.order) statements.push([trace.entries[entry][ENTRY.statement], `e${entry}`, `${entry}: ${trace.entries[entry][ENTRY.statement]}`]);
    for (const module of trace.modules) {
      const name = module[MODULE.name], first = module[MODULE.first], count = module[MODULE.count];
      modules.push([name, `e${first}`, `${name}: ${count === 1 ? `entry ${first}` : `${count} entries from ${first} on`}`]);
    }
    this.numbers = new Map(trace.order.map((entry, i) => [String(entry), statements[i]]));
    this.shelves = /** @type {[Labels, number][]} */ ([[new Labels(names), 0], [new Labels(statements), 1], [new Labels(modules), 0]]);
  }

  /** [key, what is shown], the likeliest first. */
  found(wanted) {
    const rows = new Map(), put = ([, key, text]) => { if (!rows.has(key + text)) rows.set(key + text, [key, text]); };
    if (this.numbers.has(wanted)) put(this.numbers.get(wanted));
    for (let rank = 0; rank < 5 && rows.size < MOST_FOUND; rank += 1)
      for (const [labels, farther] of this.shelves)
        if (rank >= farther && rank - farther < 4) labels.alike(rank - farther, wanted, 3 * MOST_FOUND).forEach(put);
    return [...rows.values()].slice(0, MOST_FOUND);
  }
}
