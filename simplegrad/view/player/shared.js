// What the mounted parts of a page share: the players by their key, the steps they are at, the traces.

// Longer than between two steps of somebody who steps twice a second: 20 of them would send 40 reports a second.
export const REPORT_MS = 600;
export const shared = (window.simplegrad ??= { players: new Map(), waiting: new Map(), steps: new Map(), traces: new Map() });

/** Something that belongs to a player, now or as soon as that one is mounted, and again where it is mounted anew. */
export function withPlayer(key, action) {
  const player = shared.players.get(key);
  if (player) action(player);
  const list = shared.waiting.get(key) || new Set();
  list.add(action);
  shared.waiting.set(key, list);
  return () => list.delete(action);
}

export const ANSWERED = "simplegrad-answered"; // by the id of a question: the place of the answer that was chosen, -1 where it was skipped

/** What was answered in this browser; where it keeps nothing, on this page. learn.js writes it. */
export function answered(id) {
  if (window.simplegradAnswered?.[id] !== undefined) return true;
  try { return id in JSON.parse(window.localStorage.getItem(ANSWERED) || "{}"); } catch { return false; }
}
