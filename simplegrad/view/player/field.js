// A text of the language on a page, with its name over it: the editor of Step without a player.

import { writeQuery } from "./address.js";
import { html } from "./dom.js";
import { Typed, mountsOf } from "./typed.js";

class Field extends Typed {
  constructor(root, data) {
    super(data.name, data, { label: data.label, testid: "editor" });
    this.place.style.setProperty("--sg-code-least", `${data.least * 20 + 8}px`);
    root.replaceChildren(html("div", { class: "sg-field" }, html("div", { class: "sg-title" }, html("h4", {}, data.label), this.running), this.place, this.message));
    this.comeBack();
    this.load(data);
  }

  load(data) {
    super.load(data);
    if (data.writes) writeQuery(data.query);
  }
}

export default mountsOf(Field);
