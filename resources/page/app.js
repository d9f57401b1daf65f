// Puts the page together: who looks, which section is open, and the stream of changes.

import { change, read } from "./calls.js";
import { byId, tell } from "./dom.js";
import { lists } from "./lists.js";
import { Overview } from "./overview.js";
import { text, textOr } from "./texts.js";

const LISTS = ["peers", "machines", "contributions", "log"];
const SECTIONS = ["overview", ...LISTS, "sign-in"];
const REFRESH = 5000, AGAIN = 5000; // milliseconds

let me = { role: "anybody", may_read: false, lists: [] };
let stream = null, again = null, refreshing = null;

const overview = new Overview();
const listed = lists(() => me.role === "operator");

// --- sections

function open() {
  const wanted = location.hash.slice(1);
  const known = ["sign-in", ...me.lists].includes(wanted) ? wanted : "overview";
  const section = me.may_read ? known : "sign-in";
  for (const each of SECTIONS) byId(each).hidden = each !== section;
  for (const link of byId("nav").children) {
    const name = link.hash.slice(1);
    link.hidden = LISTS.includes(name) && !me.lists.includes(name);
    if (name === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  clearInterval(refreshing);
  const list = listed[section];
  if (list && !document.hidden) {
    refresh(list);
    refreshing = setInterval(refresh, REFRESH, list);
  }
  if (section === "overview") overview.draw();
  if (section === "sign-in") byId("token").focus();
}

async function refresh(list) {
  try {
    await list.refresh();
  } catch (error) {
    if (error.status === 401) await lookWhoWeAre();
    else if (error.status && error.status !== 404) tell(byId("failed"), error.message);
  }
}

// --- who we are

async function lookWhoWeAre() {
  try {
    me = await read("/page/me");
  } catch {
    tell(byId("lost"), text("lost"));
    setTimeout(lookWhoWeAre, AGAIN);
    return;
  }
  byId("nav").hidden = !me.may_read;
  byId("sign-out").hidden = me.role === "anybody";
  byId("to-sign-in").hidden = me.role === "operator" || !me.may_read;
  tell(byId("role"), me.role === "anybody" ? "" : text(`role_${me.role}`));
  overview.setRole(me.role);
  open();
  listen();
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token");
  tell(byId("sign-in-failed"), "");
  try {
    await change("/page/sign-in", { token: token.value });
  } catch (error) {
    tell(byId("sign-in-failed"), textOr(`sign_in_${error.status}`, error.message));
    token.select();
    return;
  }
  token.value = "";
  location.hash = "#overview";
  await lookWhoWeAre();
  byId("main").focus();
});

byId("sign-out").addEventListener("click", async () => {
  await change("/page/sign-out").catch((error) => tell(byId("failed"), error.message));
  await lookWhoWeAre();
});

// --- the stream; none while nobody looks: a browser has six connections to a host, and the app
// sixteen streams

function listen() {
  stream?.close();
  clearTimeout(again);
  if (!me.may_read || document.hidden) return;
  const opened = new EventSource(`/api/v1/page/events?seconds=${overview.seconds}`);
  stream = opened;
  opened.addEventListener("state", (event) => {
    tell(byId("lost"), "");
    overview.show(JSON.parse(event.data));
  });
  opened.addEventListener("curves", (event) => overview.takeCurves(JSON.parse(event.data)));
  opened.addEventListener("error", () => {
    if (stream !== opened) return;
    tell(byId("lost"), text("lost"));
    if (opened.readyState === EventSource.CLOSED) again = setTimeout(lookWhoWeAre, AGAIN);
  });
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
overview.onSpan(listen);
addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => {
  listen();
  open();
});
setInterval(() => { if (!document.hidden) overview.draw(); }, 2000);
await lookWhoWeAre();
