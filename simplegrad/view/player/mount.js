// Where a page mounts the parts of a player (Streamlit calls the default export for each): the player, panels, graphs,
// and, seen nowhere, the traces, which are large and do not change with what is said about them.

import { readTheme } from "./dom.js";
import { GraphPainter } from "./graph.js";
import { TraceHistory } from "./history.js";
import { Panel } from "./panels.js";
import { Player } from "./player.js";
import { shared, withPlayer } from "./shared.js";

const GZIP = 0x1f;

/** The data of a component; null for a trace, which is packed. */
function decoded(data) {
  if (!data) return {};
  if (data instanceof ArrayBuffer) return decoded(new Uint8Array(data));
  if (data instanceof Uint8Array) return data[0] === GZIP ? null : JSON.parse(new TextDecoder().decode(data));
  return typeof data === "string" ? JSON.parse(data) : data;
}

/** A trace by its id, promised: it may come before those who show it, or after them. */
export function traceOf(id) {
  if (!shared.traces.has(id)) {
    const place = {};
    place.trace = new Promise((resolve) => { place.resolve = resolve; });
    shared.traces.set(id, place);
  }
  return shared.traces.get(id);
}

const mounted = new WeakMap();

async function unpacked(data) {
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function mountTrace(root, data) {
  const held = {};
  unpacked(data).then((payload) => {
    if (held.left) return;
    held.place = Object.assign(traceOf(payload.id), { root });
    held.id = payload.id;
    held.place.resolve(new TraceHistory(payload));
  }).catch((error) => {
    if (held.left) return;
    console.error(error);
    const told = document.createElement("p");
    told.className = "sg-event";
    told.dataset.kind = "failed";
    told.setAttribute("role", "alert");
    told.textContent = `This browser could not open the trace (${error.message}). Reload the page; `
      + "it takes a browser of 2023 or newer.";
    root.replaceChildren(told);
  });
  const leave = () => {
    held.left = true;
    if (held.place?.root === root) shared.traces.delete(held.id);
  };
  return { leave };
}

/** The player appears when its traces are there. */
function mountPlayer(root, data, component) {
  const held = mounted.get(root) ?? {};
  held.wanted = data;
  held.leave = () => {
    held.wanted = null;
    held.player?.leave();
    if (held.player && shared.players.get(data.player) === held.player) shared.players.delete(data.player);
  };
  Promise.all(data.traces.map((id) => traceOf(id).trace)).then((traces) => {
    if (held.wanted === data) showPlayer(held, root, data, traces, component);
  });
  return held;
}

function showPlayer(held, root, data, traces, component) {
  const { player } = held;
  if (!player) {
    shared.players.get(data.player)?.leave();
    held.player = new Player(root, data, traces);
    shared.players.set(data.player, held.player);
    for (const action of shared.waiting.get(data.player) || []) action(held.player);
  } else if (player.id !== data.id || player.nonce !== data.nonce) player.load(data, traces);
  else { player.data = data; player.replaceAddress(); player.drawTimeline(); for (const painter of player.painters.values()) painter.redo(); }
  held.player.setStateValue = component.setStateValue;
}

function mountPanel(root, data) {
  const held = { side: data.side };
  const forget = withPlayer(data.player, (player) => {
    const remount = () => {
      if (!player.sides[data.side]) return;
      held.panel && player.panels.delete(held.panel);
      held.panel = new Panel(root, player, data.side, data.parts, data.tab);
      held.panel.remount = remount;
      player.panels.add(held.panel);
      held.player = player;
      held.panel.draw(player.k(data.side));
      held.panel.reveal();
      player.ready();
    };
    remount();
  });
  return { leave: () => { forget(); held.player?.panels.delete(held.panel); } };
}

function mountGraph(root, data) {
  const held = {};
  const forget = withPlayer(data.player, (player) => {
    held.player = player;
    held.painter = new GraphPainter(player, data.side, data.chart, data.drawing, data.of, root);
    player.painters.get(data.chart)?.leave();
    player.card.hideOf(player.painters.get(data.chart));
    player.painters.set(data.chart, held.painter);
    player.lookForCharts();
  });
  return { leave: () => { forget(); held.player?.card.hideOf(held.painter); held.painter?.leave(); if (held.player?.painters.get(data.chart) === held.painter) held.player?.painters.delete(data.chart); } };
}

export function mountPart(component) {
  const root = component.parentElement.querySelector?.(".sg-root") || component.parentElement;
  const data = decoded(component.data), before = mounted.get(root);
  if (data) readTheme(component.parentElement);
  if (data?.role === "player") mounted.set(root, mountPlayer(root, data, component));
  else {
    before?.leave();
    mounted.set(root, !data ? mountTrace(root, component.data) : data.role === "graph" ? mountGraph(root, data) : mountPanel(root, data));
  }
  return () => { mounted.get(root)?.leave(); mounted.delete(root); };
}

export default mountPart;
