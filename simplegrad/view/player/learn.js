// A lesson: the rail, its text, what to look at, the question before a step, and exercises with their replies. What is
// solved, and what was typed, is kept in this browser.

import { Code } from "./code.js";
import { ANSWERED } from "./shared.js";

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
    this.exercises = new Map();
    this.onHeld = (event) => { if (event.detail === this.question) this.ask(); };
    this.onLeft = (event) => { if (event.detail.id === this.question) this.askLater(event.detail.player); };
    document.addEventListener("simplegrad-held", this.onHeld);
    document.addEventListener("simplegrad-left", this.onLeft);
  }

  leave() {
    document.removeEventListener("simplegrad-held", this.onHeld);
    document.removeEventListener("simplegrad-left", this.onLeft);
    this.leaveExercises();
  }

  leaveExercises() {
    for (const { code } of this.exercises.values()) code.leave();
    this.exercises.clear();
  }

  get question() { return `lesson-${this.data.lesson.number}`; }

  load(data, send) {
    this.send = send;
    const before = this.data;
    this.data = data;
    for (const [id, reply] of Object.entries(data.replies)) if (reply.solved && !kept(SOLVED)[id]) keep(SOLVED, id, true);
    const { id, text, n } = this.sent ?? {};
    if (n === data.heard && data.replies[id]?.solved) keep(SOLVED, id, text); // a text that is kept is known as solved again
    if (before?.lesson.number === data.lesson.number) {
      this.drawReplies();
      this.drawRail();
      this.drawScenes();
    } else {
      this.draw();
    }
  }

  tell(name, value) {
    this.count += 1;
    const told = { ...value, n: `${Date.now()}-${this.count}` };
    this.send(name, told);
    return told;
  }

  /** To a step of a scene of the lesson, or of the run of an answer. What is on the stage goes there by itself. */
  go(step, scene, of = "lesson") {
    // on a narrow screen the graph stands below the text: whoever asks for a step wants to see it
    if (innerWidth <= 900) document.querySelector('[class*="st-key-lesson-"][class*="-tape-frame"]')?.scrollIntoView({ block: "center" });
    if (of === "lesson" && !this.data.shown && this.data.scene === scene) {
      document.dispatchEvent(new CustomEvent("simplegrad-go", { detail: { player: this.data.player, step } }));
    } else {
      this.tell("go", { step, scene, of });
    }
  }

  draw() {
    const lesson = this.data.lesson, asked = lesson.prediction;
    this.leaveExercises();
    this.rail = element("nav", { class: "sgl-rail", "aria-label": "lessons" });
    this.body = element("article", { class: "sgl-lesson", "data-testid": "lesson", "data-lesson": lesson.number },
      element("h2", {}, `${lesson.number}. ${lesson.title}`),
      element("p", { class: "sgl-aim" }, ...prose(lesson.aim)),
      ...lesson.text.map((text) => element("p", {}, ...prose(text))),
      this.table(lesson.table),
      ...this.scenes(lesson.scenes, asked),
      ...lesson.exercises.map((each) => this.exercise(each)),
      this.onward());
    this.root.replaceChildren(this.rail, this.body);
    this.drawRail();
    this.drawReplies();
    this.drawScenes();
    this.body.scrollTop = 0;
    document.querySelector("[data-testid=stMain]")?.scrollTo({ top: 0 });
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

  /** What to look at, step by step, under the name of each run where there are several. The question stands before the
   * first remark that would answer it, and what comes after it is not shown until it is answered. */
  scenes(list, asked) {
    this.titles = list.length < 2 ? [] : list.map((scene, i) => element("h3", { class: "sgl-scene" },
      element("button", { type: "button", "data-testid": "scene", "data-scene": i, onclick: () => this.go(scene.begin, i) }, scene.label)));
    const [first, ...others] = list.map((scene) => scene.remarks), before = first.filter((each) => !asked || each.step < asked.step);
    this.later = this.remarks(first.slice(before.length), 0);
    this.later.hidden = asked !== null;
    return [this.titles[0], this.remarks(before, 0), this.prediction(asked), this.later,
      ...others.flatMap((remarks, i) => [this.titles[i + 1], this.remarks(remarks, i + 1)])].filter(Boolean);
  }

  /** Which of the runs stands on the stage. */
  drawScenes() {
    this.titles.forEach((title, i) => title.firstChild.setAttribute("aria-pressed", String(!this.data.shown && i === this.data.scene)));
  }

  remarks(list, scene) {
    return element("ol", { class: "sgl-remarks", "aria-label": "steps to look at" }, ...list.map((each) => element("li", {},
      element("button", { type: "button", "data-step": each.step, "data-scene": scene, onclick: () => this.go(each.step, scene) }, `step ${each.step}`),
      " ", ...prose(each.text))));
  }

  /** A question that holds the player before its step, until it is answered or skipped. */
  prediction(asked) {
    if (!asked) return null;
    const question = this.question, said = element("p", { class: "sgl-said", role: "status" });
    const show = (place) => {
      answers.forEach((each, i) => each.setAttribute("aria-pressed", String(i === place)));
      this.asked.dataset.answered = "true";
      this.later.hidden = false;
      const answer = asked.answers[place];
      said.replaceChildren(...(answer ? [element("b", {}, answer.right ? "Yes. " : "No. "), ...prose(answer.reply)] : ["Skipped."]), ` Look at step ${asked.step}.`);
      said.dataset.right = answer ? String(answer.right) : "skipped";
    };
    const choose = (place) => {
      (window.simplegradAnswered ??= {})[question] = place;
      keep(ANSWERED, question, place);
      delete this.asked.dataset.held;
      show(place);
      this.go(asked.step, 0);
    };
    const answers = asked.answers.map((each, i) => element("button", { type: "button", "aria-pressed": "false", onclick: () => choose(i) }, ...prose(each.text)));
    this.asked = element("section", { class: "sgl-asked", "data-testid": "prediction", role: "group", tabindex: -1, "aria-label": `Before step ${asked.step}: ${asked.question.replaceAll("`", "")}` },
      element("h3", {}, `Before step ${asked.step}`), element("p", {}, ...prose(asked.question)),
      element("div", { class: "sgl-answers" }, ...answers, element("button", { type: "button", class: "sgl-skip", "data-testid": "skip", onclick: () => choose(-1) }, "Skip this question")), said);
    const before = window.simplegradAnswered?.[question] ?? kept(ANSWERED)[question];
    if (before !== undefined) show(before);
    return this.asked;
  }

  /** Somebody wanted to step past the question. The focus goes to the question as a whole: on an answer, Space would choose it. */
  ask() {
    this.asked.dataset.held = "true";
    this.asked.scrollIntoView({ block: "nearest" });
    this.asked.querySelector(".sgl-said").textContent = "The figure waits here. Choose an answer, or skip the question.";
    if ([document.body, this.gaveBack].includes(document.activeElement)) this.asked.focus({ preventScroll: true });
  }

  /** Somebody stepped back from the question, unanswered: the focus goes back to the player. */
  askLater(player) {
    delete this.asked.dataset.held;
    this.asked.querySelector(".sgl-said").textContent = "";
    if (!this.asked.contains(document.activeElement)) return;
    this.gaveBack = player;
    player.focus({ preventScroll: true });
  }

  exercise(each) {
    const place = element("div", { class: "sg-code" });
    place.style.setProperty("--sg-code-least", `${Math.min(24, Math.max(4, each.start.split("\n").length + 1)) * 20 + 8}px`);
    const check = () => {
      reply.setAttribute("aria-busy", "true");
      this.sent = this.tell("check", { id: each.id, text: code.text });
    };
    const code = new Code(place, kept(TYPED)[each.id] ?? each.start, {
      attributes: { "aria-label": `your answer to exercise ${each.id}`, "data-testid": "exercise", "data-exercise": each.id },
      changed: () => { keep(TYPED, each.id, code.text); this.drawAge(each.id); }, entered: check,
    });
    const again = () => { code.replace(each.start); keep(TYPED, each.id, each.start); this.drawAge(each.id); code.view.focus(); };
    const reply = element("div", { class: "sgl-reply", "data-testid": "reply", "data-exercise": each.id, role: "status" });
    this.exercises.set(each.id, { code, reply });
    return element("section", { class: "sgl-exercise", "aria-label": `exercise ${each.id}` },
      element("h3", {}, `Exercise ${each.id}. ${each.title}`), element("p", {}, ...prose(each.task)), place,
      element("div", { class: "sgl-row" },
        element("button", { type: "button", class: "sgl-main", "data-testid": "check-answer", "data-exercise": each.id, onclick: check, title: "Ctrl+Enter" }, "Check"),
        element("button", { type: "button", onclick: again }, "Start over"),
      ), reply,
      element("details", { "data-testid": "hint" }, element("summary", {}, "A hint"), element("p", {}, ...prose(each.hint)),
        element("details", { "data-testid": "solution" }, element("summary", {}, "A solution"), element("pre", {}, each.model.trim()))));
  }

  drawReplies() {
    for (const [id, { code, reply }] of this.exercises) {
      const solved = kept(SOLVED)[id], isSolved = solved === code.text;
      const said = this.data.replies[id] ?? (isSolved ? { solved: true, sentence: "", step: null, text: solved } : null);
      reply.removeAttribute("aria-busy");
      if (!said) continue;
      this.exercises.get(id).said = said;
      reply.dataset.solved = String(said.solved);
      reply.replaceChildren(element("p", {}, element("b", {}, said.solved ? "Solved. " : "Not yet. "), ...prose(said.sentence)),
        said.place ? element("p", { class: "sgl-place" }, `line ${said.line}: `, element("code", {}, said.place)) : "",
        said.step !== null ? element("button", { type: "button", "data-testid": "show-step", onclick: () => this.go(said.step, 0, id) }, "Go to the step that shows it") : "");
      this.drawAge(id);
    }
  }

  /** A reply is about the text that was checked: beside another one it says so, and marks no line. */
  drawAge(id) {
    const { code, reply, said } = this.exercises.get(id);
    if (!said) return;
    const isOld = said.text !== code.text;
    if (reply.dataset.old !== String(isOld)) reply.querySelector(".sgl-older")?.remove();
    reply.dataset.old = String(isOld);
    if (isOld && !reply.querySelector(".sgl-older")) reply.prepend(element("p", { class: "sgl-older" }, "About an earlier text: you have changed it since."));
    code.diagnose(isOld || said.solved || !said.line ? null : { line: said.line, message: "" });
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
  return () => {
    lessons.get(root)?.leave();
    lessons.delete(root);
  };
}
