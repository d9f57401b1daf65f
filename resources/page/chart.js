// Curves over time as SVG: our own few lines, since nothing is loaded from elsewhere.

import { byId, element, say } from "./dom.js";
import { clock, rate, number, text } from "./texts.js";

const SPACE = { left: 48, right: 8, top: 8, bottom: 22 };
const LEAST_SPAN = 60; // seconds
const GAP = 10; // as in the window: so many empty buckets are bridged by the line

const drawn = (name, properties) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(properties)) made.setAttribute(key, value);
  return made;
};

/** Round values from low to high, some four of them. */
function ticks(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

/** All curves of the page, kept by name: pairs of a time and a value, oldest first. */
export class Curves {
  constructor() {
    this.points = {};
    this.resolution = 1;
  }

  /** Takes what the app has sent; points with the time of the last one replace it. */
  take({ reset, resolution, curves }, seconds) {
    if (reset) this.points = {};
    this.resolution = resolution;
    for (const [name, fresh] of Object.entries(curves)) {
      const kept = (this.points[name] ??= []);
      while (kept.length && kept.at(-1)[0] >= fresh[0][0]) kept.pop();
      kept.push(...fresh);
      const since = kept.at(-1)[0] - seconds;
      while (kept[0][0] < since) kept.shift();
    }
  }
}

export class Chart {
  /** lines: `{ name, style, dashed, label }` of each curve; `name` is the app's. */
  constructor(title, lines) {
    this.title = title;
    this.lines = lines;
    this.cross = null;
    this.keys = lines.map((line) =>
      element("span", { className: `key ${line.style}${line.dashed ? " dashed" : ""}` }),
    );
    this.when = element("span", { className: "muted" });
    this.svg = drawn("svg", { role: "img", tabindex: "0" });
    const caption = element("figcaption", {}, element("strong", {}, title), this.when, ...this.keys);
    this.read = element("p", { className: "unseen", "aria-live": "polite" });
    this.figure = element("figure", { className: "card" }, caption, this.svg, this.read);
    this.svg.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.#move(null));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Draws the curves of the last `seconds` before `now`. */
  draw(curves, seconds, now) {
    this.drawing = { curves, seconds, now };
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const shown = this.lines.map((line) =>
      (curves.points[line.name] ?? []).filter(([time]) => time >= now - seconds),
    );
    // what began a moment ago is not squeezed into the margin
    const first = Math.min(now - LEAST_SPAN, ...shown.map((points) => points[0]?.[0] ?? now));
    const from = Math.max(now - seconds, first), span = now - from;
    this.from = from;
    this.now = now;
    const values = shown.flat().map((point) => point[1]).filter((value) => value !== null);
    this.#tell(shown, seconds);
    if (!values.length) {
      const nothing = drawn("text", { x: width / 2, y: height / 2, "text-anchor": "middle" });
      nothing.textContent = text("no_values");
      this.svg.replaceChildren(nothing);
      return;
    }
    const least = Math.min(...values), most = Math.max(...values);
    const margin = (most - least || Math.abs(most) || 1) * 0.06;
    const low = least >= 0 ? Math.max(0, least - margin) : least - margin, high = most + margin;
    this.x = (time) => SPACE.left + ((time - from) / span) * (width - SPACE.left - SPACE.right);
    this.y = (value) => height - SPACE.bottom - ((value - low) / (high - low)) * (height - SPACE.top - SPACE.bottom);
    const parts = [...this.#grid(low, high, width, height)];
    shown.forEach((points, place) => {
      const line = this.lines[place];
      const style = `${line.style}${line.dashed ? " dashed" : ""}`;
      const gap = line.dashed ? Infinity : GAP * curves.resolution;
      parts.push(drawn("path", { class: style, d: this.#path(points, gap) }));
    });
    if (this.cross !== null) {
      const at = this.x(this.cross);
      parts.push(drawn("line", { class: "cross", x1: at, x2: at, y1: SPACE.top, y2: height - SPACE.bottom }));
    }
    this.svg.replaceChildren(...parts);
  }

  *#grid(low, high, width, height) {
    const { found, digits } = ticks(low, high);
    for (const value of found) {
      const at = this.y(value);
      yield drawn("line", { class: "grid", x1: SPACE.left, x2: width - SPACE.right, y1: at, y2: at });
      const label = drawn("text", { x: SPACE.left - 6, y: at + 4, "text-anchor": "end" });
      label.textContent = number(value, digits);
      yield label;
    }
    const count = width < 420 ? 2 : 4;
    for (let place = 0; place <= count; place += 1) {
      const time = this.from + ((this.now - this.from) * place) / count;
      const anchor = place === 0 ? "start" : place === count ? "end" : "middle";
      const label = drawn("text", { x: this.x(time), y: height - 5, "text-anchor": anchor });
      label.textContent = clock(time, { date: this.now - this.from > 86400 });
      yield label;
    }
  }

  #path(points, gap) {
    let path = "", before = null;
    for (const [time, value] of points) {
      if (value === null) { before = null; continue; }
      const joins = before !== null && time - before <= gap;
      const at = `${this.x(time).toFixed(1)} ${this.y(value).toFixed(1)}`;
      path += joins ? `L${at}` : `M${at}h.01`;
      before = time;
    }
    return path;
  }

  /** Values at the cross, or the newest ones, beside the names of the curves. */
  #tell(shown, seconds) {
    const told = this.lines.map((line, place) => {
      const known = shown[place].filter((point) => point[1] !== null);
      let point = known.at(-1);
      if (this.cross !== null && known.length) {
        point = known.reduce((best, each) =>
          Math.abs(each[0] - this.cross) < Math.abs(best[0] - this.cross) ? each : best);
      }
      return `${line.label} ${point ? rate(point[1]) : "–"}`;
    });
    told.forEach((words, place) => say(this.keys[place], words));
    const when = this.cross === null ? "" : clock(this.cross, { seconds: true, date: seconds > 3600 });
    say(this.when, when);
    const hint = text("chart_hint", { title: this.title });
    this.svg.setAttribute("aria-label", [hint, when, ...told].filter(Boolean).join(" "));
  }

  #point(offset) {
    if (!this.now) return;
    const width = this.svg.clientWidth - SPACE.left - SPACE.right;
    const share = Math.min(1, Math.max(0, (offset - SPACE.left) / width));
    this.#move(this.from + share * (this.now - this.from));
  }

  #key(event) {
    if (!this.now) return;
    const span = this.now - this.from;
    const step = { ArrowLeft: -span / 60, ArrowRight: span / 60 }[event.key];
    if (event.key === "Escape") this.#move(null);
    if (step === undefined) return;
    event.preventDefault();
    this.#move(Math.min(this.now, Math.max(this.from, (this.cross ?? this.now) + step)));
    say(this.read, [this.when, ...this.keys].map((each) => each.textContent).join(", "));
  }

  #move(time) {
    this.cross = time;
    if (this.drawing) this.draw(this.drawing.curves, this.drawing.seconds, this.drawing.now);
  }
}

/** The charts of the overview. */
export function charts() {
  const made = [
    new Chart(text("loss_unit"), [
      { name: "swarm_loss", style: "swarm", label: text("swarm") },
      { name: "swarm_held_out_loss", style: "swarm", dashed: true, label: text("swarm_held_out") },
      { name: "loss", style: "own", label: text("own") },
      { name: "held_out_loss", style: "own", dashed: true, label: text("own_held_out") },
    ]),
    new Chart(text("rate"), [
      { name: "swarm_samples_per_second", style: "swarm", label: text("swarm") },
      { name: "samples_per_second", style: "own", label: text("own") },
    ]),
  ];
  byId("charts").append(...made.map((each) => each.figure));
  return made;
}
