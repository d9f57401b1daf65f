// A table of which the app sends some rows at a time, sorted and filtered there.

import { read } from "./calls.js";
import { element, say } from "./dom.js";
import { number, text } from "./texts.js";

const ROWS = 50;
const TYPING = 250; // milliseconds until a filter is asked for

/** Fills the body of a table, and reuses its rows: what a reader has selected stays. */
export function fill(body, rows, columns, styleOf = () => "") {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, place) => {
    const line = body.rows[place] ?? body.appendChild(
      element("tr", {}, ...columns.map((each) => element("td", { className: each.style ?? "" }))));
    line.className = styleOf(row);
    columns.forEach((column, index) => {
      const words = String(column.show(row));
      say(line.cells[index], words);
      line.cells[index].title = words.length > 30 ? words : "";
    });
  });
}

/** A table that is all there at once. */
export function plainTable(section, columns, caption) {
  const head = element("tr", {}, ...columns.map((each) =>
    element("th", { scope: "col", className: each.style ?? "" }, each.label)));
  const body = element("tbody");
  const table = element("table", {}, element("thead", {}, head), body);
  section.append(element("div", { className: "scrolls", tabindex: "0", role: "region", "aria-label": caption }, table));
  return body;
}

export class PagedTable {
  /** columns: `{ name, label, style, show(row, answer) }`; a name makes a column sortable. */
  constructor(section, path, columns, { caption, sort, descending = false, styleOf, onAnswer }) {
    Object.assign(this, { path, columns, sort, descending, styleOf, onAnswer });
    this.offset = 0;
    this.asked = 0;
    this.filter = element("input", { type: "search", maxLength: 100, id: `filter-${section.id}` });
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.#go(0), TYPING);
    });
    this.heads = columns.map((column) => this.#head(column));
    this.body = element("tbody");
    this.shown = element("span", { className: "muted", role: "status" });
    this.back = element("button", { type: "button" }, text("previous"));
    this.on = element("button", { type: "button" }, text("next"));
    this.back.addEventListener("click", () => this.#go(this.offset - ROWS));
    this.on.addEventListener("click", () => this.#go(this.offset + ROWS));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    section.append(
      element("p", { className: "filters" },
        element("label", { htmlFor: this.filter.id }, text("filter")), this.filter,
        this.back, this.on, this.shown),
      element("div", { className: "scrolls", tabindex: "0", role: "region", "aria-label": caption }, table),
    );
  }

  #head(column) {
    const head = element("th", { scope: "col", className: column.style ?? "" });
    if (!column.name) {
      head.append(column.label);
      return head;
    }
    const button = element("button", { type: "button", title: text("sort_by", { column: column.label }) }, column.label);
    button.addEventListener("click", () => {
      this.descending = this.sort === column.name && !this.descending;
      this.sort = column.name;
      this.#go(0);
    });
    head.append(button);
    return head;
  }

  #go(offset) {
    this.offset = Math.max(0, offset);
    this.refresh();
  }

  /** Asks for the rows that are to be seen. An answer that comes after a later one is dropped. */
  async refresh() {
    const asked = (this.asked += 1);
    const answer = await read(this.path, {
      sort: this.sort, descending: this.descending, text: this.filter.value,
      offset: this.offset, limit: ROWS,
    });
    if (asked !== this.asked) return;
    if (this.offset && this.offset >= answer.matching) {
      this.#go(Math.floor(Math.max(0, answer.matching - 1) / ROWS) * ROWS);
      return;
    }
    this.columns.forEach((column, place) => {
      const way = this.descending ? "descending" : "ascending";
      this.heads[place].setAttribute("aria-sort", column.name === this.sort ? way : "none");
    });
    const columns = this.columns.map((each) => ({ ...each, show: (row) => each.show(row, answer) }));
    fill(this.body, answer.rows, columns, this.styleOf);
    const last = this.offset + answer.rows.length;
    say(this.shown, answer.matching
      ? text("rows_shown", { first: number(this.offset + 1), last: number(last), matching: number(answer.matching) })
      : text("rows_none"));
    this.back.disabled = this.offset === 0;
    this.on.disabled = last >= answer.matching;
    this.onAnswer?.(answer);
  }
}
