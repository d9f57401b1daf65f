// The overview: the state in words and figures, the buttons, the charts.

import { change } from "./calls.js";
import { charts, Curves } from "./chart.js";
import { byId, facts, say, tell } from "./dom.js";
import { bytes, clock, number, percent, rate, short, text } from "./texts.js";

const API = "/api/v1/hivemind", DATA = "/api/v1/page";

const BUTTONS = {
  start: { path: `${API}/start`, label: "start" },
  train: { path: `${DATA}/training/train`, label: "train" },
  rest: { path: `${DATA}/training/rest`, label: "stop_training", danger: true },
  pause: { path: `${DATA}/training/pause`, label: "pause" },
  resume: { path: `${DATA}/training/resume`, label: "resume" },
  leave: { path: `${API}/stop`, label: "leave" },
};
const PLACES = ["primary", "secondary", "tertiary"];

/** What the buttons do in a state, the primary one first. */
function offered(state) {
  if (!state.steered) return [];
  if (state.phase === "disconnected") return ["start"];
  if (state.phase === "joining" || state.phase === "stopping") return [null, null, "leave"];
  if (!state.trains_or_will) return [state.swarm ? "train" : null, null, "leave"];
  const runs = state.phase === "training" || state.phase === "averaging";
  return ["rest", state.paused_by_user ? "resume" : runs ? "pause" : null, "leave"];
}

function headline(state) {
  if (state.phase === "watching" && state.completed) return text("completed");
  return text(`phase_${state.phase}`);
}

function why(state) {
  const found = [];
  if (state.restart_at) found.push(text("restarts_at", { time: clock(state.restart_at, { seconds: true }) }));
  if (state.reconnect_at) found.push(text("reconnects_at", { time: clock(state.reconnect_at, { seconds: true }) }));
  if (!state.admitted) found.push(text("not_admitted"));
  if (state.paused_by_user) found.push(text("paused_by_user"));
  if (state.phase === "paused" || state.phase === "waiting") found.push(...state.reasons);
  return [...found, ...(state.training?.warnings ?? [])].join(" ");
}

function what({ swarm, training, phase }) {
  if (!swarm) return text(phase === "disconnected" ? "no_swarm" : "in_network");
  const parameters = training?.parameters ? `${short(training.parameters)} ${text("parameters")}` : "";
  return [swarm.title || swarm.run_id, swarm.model_type, parameters, training?.device].filter(Boolean).join(" · ");
}

function round(last) {
  if (!last) return "–";
  if (last.failure) return text("round_failed", { reason: last.failure });
  return text("round_went", { peers: number(last.peers), seconds: number(last.seconds, 1) });
}

export class Overview {
  constructor() {
    this.seconds = 600;
    this.state = null;
    this.operator = false;
    this.curves = new Curves();
    this.charts = charts();
    this.offered = [];
    PLACES.forEach((id, place) => byId(id).addEventListener("click", () => this.#press(place)));
    new ResizeObserver(() => this.draw()).observe(byId("charts"));
  }

  /** Calls `changed` when another span of time is chosen. */
  onSpan(changed) {
    const buttons = [...byId("spans").children];
    for (const button of buttons) {
      button.addEventListener("click", () => {
        buttons.forEach((each) => each.setAttribute("aria-pressed", each === button));
        this.seconds = Number(button.dataset.seconds);
        this.curves.points = {};
        changed();
      });
    }
  }

  takeCurves(told) {
    this.curves.take(told, this.seconds);
    this.draw();
  }

  draw() {
    if (byId("overview").hidden) return;
    for (const each of this.charts) each.draw(this.curves, this.seconds, Date.now() / 1000 + this.ahead());
  }

  /** Seconds by which the app's clock is ahead of the browser's. */
  ahead() {
    return this.clockAhead ?? 0;
  }

  show(state) {
    this.state = state;
    this.clockAhead = state.time - Date.now() / 1000;
    say(byId("machine"), state.name);
    say(byId("version"), `CoTrain Contributor ${state.version}`);
    document.title = `${headline(state)} – ${state.name || text("product")}`;
    say(byId("headline"), headline(state));
    say(byId("what"), what(state));
    say(byId("why"), why(state));
    const { problem } = state;
    tell(byId("problem"), problem ? [problem.field, problem.message, problem.remedy].filter(Boolean).join(" ") : "");
    this.#epoch(state);
    this.#facts(state);
    this.#buttons();
  }

  setRole(role) {
    this.operator = role === "operator";
    this.#buttons();
  }

  #epoch({ swarm, run }) {
    byId("epoch").hidden = !swarm || !run;
    if (!swarm || !run) return;
    const share = Math.min(1, run.samples / swarm.target_batch_size);
    byId("epoch-bar").value = share;
    say(byId("epoch-name"), `${text("epoch_number", { epoch: number(run.epoch) })}: ${text("samples_of", {
      samples: number(run.samples), target: number(swarm.target_batch_size) })}`);
    say(byId("epoch-left"), run.eta === null ? "" : text("seconds_left", { seconds: number(run.eta) }));
  }

  #facts(state) {
    const { training: own, run } = state;
    facts(byId("server-facts"), [
      [text("status"), text(`status_${state.status}`)],
      [text("peer_id"), state.peer_id || "–"],
      [text("connected_peers"), number(state.connected_peers)],
      [text("dht_size"), number(state.dht_size)],
      [text("dht_nodes"), number(state.dht_nodes)],
      [text("address"), state.addresses[0] ?? "–"],
    ]);
    byId("own").hidden = byId("api").hidden = !state.steered;  // a door trains nothing
    facts(byId("own-facts"), own ? [
      [text("device"), own.device],
      [text("loss"), number(own.loss, 3)],
      [text("held_out"), number(state.held_out_loss, 3)],
      [text("rate"), rate(own.samples_per_second ?? NaN)],
      [text("tokens_rate"), short(own.tokens_per_second)],
      [text("step"), number(own.step)],
      [text("computing"), percent(own.computing)],
      [text("sent"), bytes(own.bytes_sent)],
      [text("received"), bytes(own.bytes_received)],
      [text("last_round"), round(own.last_round)],
    ] : [[text("device"), state.device], [text("held_out"), number(state.held_out_loss, 3)]]);
    facts(byId("swarm-facts"), [
      [text("trainers"), number(run?.trainers)],
      [text("epoch"), number(run?.epoch)],
      [text("loss"), number(run?.loss, 3)],
      [text("held_out"), number(run?.held_out_loss, 3)],
      [text("rate"), run ? rate(run.samples_per_second ?? NaN) : "–"],
      [text("data"), state.swarm?.dataset || "–"],
    ]);
  }

  #buttons() {
    if (!this.state) return;
    const names = offered(this.state);
    this.offered = names;
    PLACES.forEach((id, place) => {
      const button = byId(id), does = BUTTONS[names[place]];
      button.hidden = !does;
      if (!does) return;
      say(button, text(does.label));
      button.classList.toggle("danger", Boolean(does.danger));
      button.disabled = !this.operator || this.asking === names[place];
    });
    byId("needs-operator").hidden = this.operator || !this.state.steered;
  }

  async #press(place) {
    const name = this.offered[place];
    this.asking = name;
    this.#buttons();
    tell(byId("failed"), "");
    try {
      await change(BUTTONS[name].path);
    } catch (error) {
      tell(byId("failed"), error.message);
    } finally {
      this.asking = null;
      this.#buttons();
    }
  }
}
