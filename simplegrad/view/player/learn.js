// A lesson: the rail, its text, what to look at, the question before a step, and exercises with their replies. What is
// solved, and what was typed, is kept in this browser.

const SOLVED = "simplegrad-solved", TYPED = "simplegrad-answers";

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

/** A text with `code` in it. */
function prose(text) {
  return text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
}

function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(name) || "{}");
  } catch {
    return {};
  }
}

function keep(name, key, value) {
  try {
    localStorage.setItem(name, JSON.stringify({ ...kept(name), [key]: value }));
  } catch {
    // a browser that keeps nothing: the course works all the same
  }
}

class Learn {
  constructor(root) {
    this.root = root;
    this.count = 0;
    this.areas = new Map();
  }

  load(data, send) {
    this.send = send;
    const before = this.data;
    this.data = data;
    for (const [id, reply] of Object.entries(data.replies)) if (reply.solved) keep(SOLVED, id, true);
    if (before?.lesson.number === data.lesson.number) {
      this.drawReplies();
      this.drawRail();
    } else {
      this.draw();
    }
  }

  tell(name, value) {
    this.count += 1;
    // on a narrow screen the graph stands below the text: whoever asks for a step wants to see it
    if (name === "go" && innerWidth <= 900) document.querySelector('[class*="st-key-lesson-"][class*="-tape-frame"]')?.scrollIntoView({ block: "center" });
    this.send(name, { ...value, n: `${Date.now()}-${this.count}` });
  }

  draw() {
    const lesson = this.data.lesson;
    this.areas.clear();
    this.rail = element("nav", { class: "sgl-rail", "aria-label": "lessons" });
    this.body = element("article", { class: "sgl-lesson", "data-testid": "lesson", "data-lesson": lesson.number },
      element("h2", {}, `${lesson.number}. ${lesson.title}`),
      element("p", { class: "sgl-aim" }, ...prose(lesson.aim)),
      ...lesson.text.map((text) => element("p", {}, ...prose(text))),
      this.table(lesson.table),
      this.remarks(lesson.remarks),
      this.prediction(lesson.prediction),
      ...lesson.exercises.map((each) => this.exercise(each)),
      this.onward());
    this.root.replaceChildren(this.rail, this.body);
    this.drawRail();
    this.drawReplies();
    this.body.scrollTop = 0;
  }

  drawRail() {
    const solved = kept(SOLVED);
    const done = (each) => each.exercises.every((id) => solved[id]);
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.number;
    this.rail.replaceChildren(...this.data.rail.map((each) => element("button", {
      type: "button", title: each.title, "data-number": each.number, "data-solved": String(done(each)),
      "aria-label": `Lesson ${each.number}: ${each.title}${done(each) ? ", solved" : ""}`,
      "aria-current": each.number === this.data.lesson.number ? "page" : null,
      onclick: () => this.tell("lesson", { number: each.number }),
    }, String(each.number), done(each) ? element("span", { "aria-hidden": "true" }, "✓") : null)));
    if (focused) this.rail.querySelector(`[data-number="${focused}"]`)?.focus();
    this.body.dataset.solved = String(done(this.data.rail.find((each) => each.number === this.data.lesson.number)));
  }

  table(rows) {
    if (!rows.length) return null;
    const row = (cells, tag) => element("tr", {}, ...cells.map((cell) => element(tag, {}, ...prose(cell))));
    return element("div", { class: "sgl-table" }, element("table", {}, row(rows[0], "th"), ...rows.slice(1).map((each) => row(each, "td"))));
  }

  remarks(list) {
    return element("ol", { class: "sgl-remarks", "aria-label": "steps to look at" }, ...list.map((each) => element("li", {},
      element("button", { type: "button", "data-step": each.step, onclick: () => this.tell("go", { step: each.step, of: "lesson" }) }, `step ${each.step}`),
      " ", ...prose(each.text))));
  }

  prediction(asked) {
    if (!asked) return null;
    const said = element("p", { class: "sgl-said", role: "status" });
    const answers = asked.answers.map((each) => element("button", { type: "button", "data-right": String(each.right), onclick: (event) => {
      for (const other of answers) other.setAttribute("aria-pressed", String(other === event.currentTarget));
      said.replaceChildren(element("b", {}, each.right ? "Yes. " : "No. "), ...prose(each.reply), " The step shows it.");
      said.dataset.right = String(each.right);
      this.tell("go", { step: asked.step, of: "lesson" });
    } }, ...prose(each.text)));
    return element("section", { class: "sgl-asked", "data-testid": "prediction", "aria-label": "before the step" },
      element("h3", {}, "Before you step on"), element("p", {}, ...prose(asked.question)), element("div", { class: "sgl-answers" }, ...answers), said);
  }

  exercise(each) {
    const area = element("textarea", {
      "data-testid": "exercise", "data-exercise": each.id, "aria-label": `your answer to exercise ${each.id}`, spellcheck: "false",
      autocapitalize: "off", autocomplete: "off", wrap: "off", rows: Math.min(24, Math.max(4, each.start.split("\n").length + 1)),
    });
    area.value = kept(TYPED)[each.id] ?? each.start;
    area.addEventListener("input", () => keep(TYPED, each.id, area.value));
    const check = () => {
      reply.setAttribute("aria-busy", "true");
      this.tell("check", { id: each.id, text: area.value });
    };
    area.addEventListener("keydown", (event) => {
      event.stopPropagation(); // the player's keys are not meant
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        check();
      } else if (event.key === "Enter" && !event.shiftKey) {
        const indent = /^[ ]*/.exec(area.value.slice(area.value.lastIndexOf("\n", area.selectionStart - 1) + 1))[0];
        event.preventDefault();
        document.execCommand("insertText", false, `\n${indent}`) || area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, "end");
      }
    });
    const reply = element("div", { class: "sgl-reply", "data-testid": "reply", "data-exercise": each.id, role: "status" });
    this.areas.set(each.id, { area, reply });
    return element("section", { class: "sgl-exercise", "aria-label": `exercise ${each.id}` },
      element("h3", {}, `Exercise ${each.id}. ${each.title}`), element("p", {}, ...prose(each.task)), area,
      element("div", { class: "sgl-row" },
        element("button", { type: "button", class: "sgl-main", "data-testid": "check-answer", "data-exercise": each.id, onclick: check, title: "Ctrl+Enter" }, "Check"),
        element("button", { type: "button", onclick: () => { area.value = each.start; keep(TYPED, each.id, each.start); area.focus(); } }, "Begin anew"),
      ), reply,
      element("details", { "data-testid": "hint" }, element("summary", {}, "A hint"), element("p", {}, ...prose(each.hint)),
        element("details", { "data-testid": "solution" }, element("summary", {}, "A solution"), element("pre", {}, each.model.trim()))));
  }

  drawReplies() {
    for (const [id, { reply }] of this.areas) {
      const said = this.data.replies[id];
      reply.removeAttribute("aria-busy");
      if (!said) continue;
      reply.dataset.solved = String(said.solved);
      reply.replaceChildren(element("p", {}, element("b", {}, said.solved ? "Solved. " : "Not yet. "), ...prose(said.sentence)),
        said.place ? element("p", { class: "sgl-place" }, `line ${said.line}: `, element("code", {}, said.place)) : "",
        said.step !== null ? element("button", { type: "button", "data-testid": "show-step", onclick: () => this.tell("go", { step: said.step, of: id }) }, "Show the step that shows it") : "");
    }
  }

  onward() {
    const next = this.data.rail.find((each) => each.number === this.data.lesson.number + 1);
    return next ? element("p", {}, element("button", { type: "button", class: "sgl-next", "data-testid": "next-lesson", onclick: () => this.tell("lesson", { number: next.number }) }, `Lesson ${next.number}: ${next.title}`)) : null;
  }
}

const lessons = new WeakMap();

export default function (component) {
  const root = component.parentElement.querySelector(".sg-learn-root");
  if (!lessons.has(root)) lessons.set(root, new Learn(root));
  lessons.get(root).load(component.data, component.setStateValue);
  return () => lessons.delete(root);
}
