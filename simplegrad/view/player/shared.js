// What the mounted parts of a page share: the players by their key, the steps they are at, the traces.

// Longer than between two steps of somebody who steps twice a second: 20 of them would send 40 reports a second.
export const REPORT_MS = 600;
export const shared = (window.simplegrad ??= { players: new Map(), waiting: new Map(), steps: new Map(), traces: new Map() });
