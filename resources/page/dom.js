// Small helpers for elements. Nothing here takes markup.

export const byId = (id) => document.getElementById(id);

/** A new element. Its children are elements or plain texts. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Sets a text, only if it is another: what a reader has selected, and what is announced, stays. */
export function say(target, words) {
  if (target.textContent !== words) target.textContent = words;
}

/** Shows an element with a text, or hides it if there is none. */
export function tell(target, words) {
  say(target, words);
  target.hidden = !words;
}

/** Fills a `dl` with pairs of a name and a value. */
export function facts(list, pairs) {
  const fresh = list.children.length !== pairs.length;
  if (fresh) list.replaceChildren(...pairs.map(() => element("div", {}, element("dt"), element("dd"))));
  pairs.forEach(([name, value], place) => {
    const [term, told] = list.children[place].children;
    say(term, name);
    say(told, String(value));
  });
}
