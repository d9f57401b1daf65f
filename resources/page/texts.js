// The texts of the page's language, and figures in words. Texts of others are never markup: all of
// the page sets them by textContent.

export const language = document.documentElement.lang;

const texts = await (await fetch(`/page/${language}.json`)).json();

/** The text of a key; each `{name}` in it is replaced by a value. */
export function text(key, values = {}) {
  const found = Object.hasOwn(texts, key) ? texts[key] : key;
  return found.replace(/\{(\w+)\}/g, (_all, name) => values[name] ?? "");
}

/** The text of a key that may be unknown here, such as a newer machine's state; else `other`. */
export const textOr = (key, other) => (Object.hasOwn(texts, key) ? texts[key] : other);

const NONE = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A number with so many digits after the point. */
export function number(value, digits = 0) {
  if (!isNumber(value)) return NONE;
  return value.toLocaleString(language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A number of three digits or so, such as 124 M. */
export function short(value) {
  if (!isNumber(value)) return NONE;
  return value.toLocaleString(language, { notation: "compact", maximumSignificantDigits: 3 });
}

export const rate = (value) => number(value, value < 10 ? 2 : value < 100 ? 1 : 0);

export const percent = (value) =>
  isNumber(value) ? value.toLocaleString(language, { style: "percent" }) : NONE;

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; value >= 1000 && place < units.length - 1; place += 1) value /= 1000;
  return `${number(value, place && value < 100 ? 1 : 0)} ${units[place]}`;
}

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });

/** How long ago a time was. Both are in seconds since the epoch, by the app's clock. */
export function ago(time, now) {
  if (!isNumber(time) || time <= 0) return NONE;
  const seconds = now - time;
  if (seconds < 5) return text("just_now");
  if (seconds < 90) return relative.format(-Math.round(seconds), "second");
  if (seconds < 5400) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 129600) return relative.format(-Math.round(seconds / 3600), "hour");
  return relative.format(-Math.round(seconds / 86400), "day");
}

export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const [unit, size] =
    seconds < 120 ? ["second", 1] : seconds < 7200 ? ["minute", 60] : ["hour", 3600];
  return (seconds / size).toLocaleString(language, {
    style: "unit", unit, unitDisplay: "short", maximumFractionDigits: seconds < 7200 ? 0 : 1,
  });
}

/** A time of day, with the date where a day or more is shown. */
export function clock(time, { seconds = false, date = false } = {}) {
  const shape = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (seconds) shape.second = "2-digit";
  if (date) Object.assign(shape, { month: "short", day: "numeric" });
  return new Date(time * 1000).toLocaleString(language, shape);
}
