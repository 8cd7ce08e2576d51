// What is known of a node at the current step, beside the graph: shown by hovering, kept by a click.

import { BOX, ENTRY, PASS, VALUE } from "./contract.js";
import { html } from "./dom.js";

const GRAVE = { nan: "NaN", none: "None", zero: "all zeros", huge: "huge", tiny: "tiny" };

/** Beside the graph: a node's value, gradient and origin at the current step, and the ways to the events about it. */
export class Card {
  painter; node; kept = false;

  constructor(player) {
    this.player = player;
    this.element = html("div", { class: "sg-card", "data-testid": "card", hidden: true, role: "dialog", "aria-label": "what is known of this node" });
    document.body.append(this.element);
    this.onDown = (event) => { if (this.kept && !this.element.contains(event.target) && !event.target.closest?.(".js-plotly-plot")) this.hide(); };
    document.addEventListener("pointerdown", this.onDown, true);
  }

  show(painter, node, at, kept = false) {
    Object.assign(this, { painter, node, kept });
    this.element.hidden = false;
    this.element.classList.toggle("sg-card-kept", kept);
    this.draw();
    const { offsetWidth: width, offsetHeight: height } = this.element, { clientX: x, clientY: y } = at;
    this.element.style.left = `${Math.max(4, Math.min(window.innerWidth - width - 8, x + 14))}px`;
    this.element.style.top = `${y + 18 + height > window.innerHeight - 8 ? Math.max(4, y - height - 14) : y + 18}px`;
    if (kept) this.element.querySelector("button")?.focus({ preventScroll: true });
  }

  hide() {
    if (this.painter) this.painter.selected = null;
    this.kept = false;
    this.element.hidden = true;
  }

  /** A picture is no longer there, nor are its nodes: a box, say, that a click has opened. */
  hideOf(painter) { if (painter && this.painter === painter) this.hide(); }

  /** Anew with each step while it is open. */
  draw() {
    if (this.element.hidden) return;
    const { painter, node } = this, { trace, side } = painter, k = this.player.k(side), key = painter.nodeKey(node);
    const rows = node[0] === "value" ? this.ofValue(trace, node[1], k) : node[0] === "group" ? this.ofGroup(painter, node[1]) : this.ofEntry(trace, node[1], k);
    const title = node[0] === "value" ? trace.values[node[1]][VALUE.name] : node[0] === "group" ? painter.boxes.byKey.get(node[1])?.[BOX.path] ?? "group" : `entry ${node[1]}`;
    const go = (label, forward) => html("button", { type: "button", class: "sg-button sg-text-button", "data-action": forward ? "card-next" : "card-back", onclick: () => this.player.goToTouching(side, key, forward ? 1 : -1) }, label);
    const asks = node[0] === "value" && this.player.data.asks;
    const extras = asks ? [html("button", { type: "button", class: "sg-button sg-text-button", "data-action": "card-why", onclick: () => this.player.ask(title, side) }, "why?")] : [];
    const actions = this.kept ? [html("div", { class: "sg-card-actions" }, go("event before", false), go("next event", true), ...extras, html("button", { type: "button", class: "sg-x", "aria-label": "close", onclick: () => this.hide() }, "×"))] : [];
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.action;
    this.element.replaceChildren(html("b", {}, title), html("dl", {}, ...rows.flatMap(([name, text]) => [html("dt", {}, name), html("dd", {}, text)])), ...actions);
    if (focused && this.kept) this.element.querySelector(`[data-action=${focused}]`)?.focus({ preventScroll: true });
  }

  ofGroup(painter, key) {
    const box = painter.boxes.byKey.get(key);
    if (!box) return [["", "a group of entries: click to open it"]];
    return [["a module of", `${box[BOX.count]} entries`], ["its gradients", box[BOX.worst] ? `one is ${GRAVE[box[BOX.worst]]}` : "none is None, zero or not finite"], ["", "click to open it"]];
  }

  ofValue(trace, id, k) {
    const [state, gradient] = trace.gradient(id, k), value = trace.values[id];
    const maker = trace.entries.findIndex((entry) => entry[5].includes(id));
    const loss = trace.passAt(k) ? trace.passes[trace.passAt(k).id][PASS.loss] : "L";
    const told = gradient >= 0 ? `${trace.values[gradient][VALUE.name]} = ${trace.values[gradient][VALUE.text]}` : state === "none" ? "None" : "nothing came yet";
    return [["shape", value[VALUE.shape]], ["value", trace.valueKnown(id, k) ? value[VALUE.text] : "not made yet"], [`d${loss}/d${trace.name(id)}`, told],
      ["made by", maker >= 0 ? `entry ${maker}: ${trace.entries[maker][ENTRY.statement]}` : value[VALUE.leaf] ? "nobody: a leaf" : "no entry"]].filter(([, text_]) => text_);
  }

  ofEntry(trace, id, k) {
    const entry = trace.entries[id], visit = trace.visit(id, k), made = entry[ENTRY.made_by];
    const names = (ids) => ids.map((value) => trace.name(value)).join(", ");
    const rows = [["statement", entry[ENTRY.statement]], ["in this pass", trace.entryState(id, k)]];
    if (visit) rows.push(["came", visit[1].map((g) => trace.name(g)).join(", ") || "nothing"], ["gave", visit[2].map((g) => trace.name(g)).join(", ") || "nothing"]);
    rows.push(["reads", names(entry[ENTRY.inputs])], ["makes", names(entry[ENTRY.outputs])]);
    if (made >= 0) rows.push(["recorded by", `entry ${made}, as it propagated`]);
    return rows;
  }

  leave() {
    document.removeEventListener("pointerdown", this.onDown, true);
    this.element.remove();
  }
}
