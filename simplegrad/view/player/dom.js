// How elements of a page are made and changed: everything else writes no markup.

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.appendChild(element);
  return element;
}

export function html(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A row of a list: what a click on it does is done by Enter too, for those who have no mouse. */
export function pressable(row, action) {
  row.tabIndex = -1;
  row.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== row) return;
    event.preventDefault();
    action(event);
  });
  return row;
}

/** Tab comes to one row of a list, and ↑ and ↓ lead to the others: nobody walks through all of a tape to what is behind it. */
export class Stop {
  box; row = null;

  constructor(box) {
    this.box = box;
    box.addEventListener("focusin", (event) => this.move(event.target.closest("[tabindex]")));
    box.addEventListener("keydown", (event) => {
      const beside = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
      if (!beside || event.target !== this.row || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.row[beside]?.focus();
    });
  }

  /** The row that the run is at, unless somebody is in the list. */
  keep(row) { if (!this.row?.isConnected || !this.box.contains(document.activeElement)) this.move(row); }

  move(row) {
    if (!row || row === this.row || row === this.box) return;
    if (this.row) this.row.tabIndex = -1;
    row.tabIndex = 0;
    this.row = row;
  }
}

/** Light or dark, from the background that Streamlit tells the component. */
export function readTheme(element) {
  const colour = getComputedStyle(element).getPropertyValue("--st-background-color").trim() || getComputedStyle(document.body).backgroundColor;
  const probe = html("span", { style: `color:${colour};display:none` });
  document.body.append(probe);
  const [r, g, b] = (getComputedStyle(probe).color.match(/[\d.]+/g) || [255, 255, 255]).map(Number);
  probe.remove();
  document.documentElement.dataset.sgTheme = 0.3 * r + 0.59 * g + 0.11 * b < 128 ? "dark" : "light";
}
