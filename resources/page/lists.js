// The sections that list something: peers, machines, contributions, log. Each is asked for anew
// every few seconds, while it is to be seen.

import { read } from "./calls.js";
import { byId, facts, say } from "./dom.js";
import { fill, PagedTable, plainTable } from "./table.js";
import { ago, clock, duration, number, percent, rate, short, text, textOr } from "./texts.js";

const DATA = "/api/v1/page";

function peers() {
  return new PagedTable(byId("peers"), `${DATA}/peers`, [
    { name: "peer_id", label: text("peer_id"), show: (row) => row.peer_id },
    { name: "connected", label: text("connected"), show: (row) => text(row.connected ? "yes" : "no") },
    { name: "last_seen", label: text("last_seen"), show: (row, answer) => ago(row.last_seen, answer.time) },
    {
      name: "latency", label: text("latency"), style: "number",
      show: (row) => (row.latency === null ? "–" : `${number(row.latency * 1000)} ms`),
    },
    {
      name: "address", label: text("address"), style: "wide",
      show: (row) => (row.relayed ? `${row.address} (${text("relayed")})` : row.address),
    },
  ], { caption: text("peers"), sort: "last_seen", descending: true });
}

const stateOf = (row) => {
  const concerns = row.concerns.map((each) => textOr(`concern_${each}`, each));
  return [textOr(`phase_${row.state}`, row.state), ...concerns].join(", ");
};

function machines() {
  return new PagedTable(byId("machines"), `${DATA}/machines`, [
    { name: "alias", label: text("name"), show: (row) => (row.here ? `${row.alias} (${text("here")})` : row.alias) },
    { name: "state", label: text("state"), show: (row) => (row.last_error ? `${stateOf(row)}: ${row.last_error}` : stateOf(row)) },
    { name: "samples_per_second", label: text("rate_short"), style: "number", show: (row) => rate(row.samples_per_second ?? NaN) },
    { name: "loss", label: text("loss"), style: "number", show: (row) => number(row.loss ?? NaN, 3) },
    { name: "epoch", label: text("epoch"), style: "number wide", show: (row) => number(row.epoch) },
    { name: "device", label: text("device"), style: "wide", show: (row) => row.device },
    { name: "lab", label: text("lab"), style: "wide", show: (row) => row.lab },
    { name: "gpu_use", label: text("gpu"), style: "number wide", show: (row) => percent(row.gpu_use) },
    {
      name: "temperature", label: text("temperature"), style: "number wide",
      show: (row) => (row.temperature === null ? "–" : `${number(row.temperature)} °C`),
    },
    { name: "last_seen", label: text("last_seen"), show: (row, answer) => ago(row.last_seen, answer.time) },
  ], {
    caption: text("machines"), sort: "alias",
    styleOf: (row) =>
      [row.here ? "here" : "", row.concerns.includes("failing") ? "bad" : row.concerns.length ? "warn" : ""].join(" "),
    onAnswer: ({ sums }) => facts(byId("machine-sums"), [
      [text("machines"), number(sums.machines)],
      [text("training_count"), number(sums.training)],
      [text("rate_short"), rate(sums.samples_per_second)],
      [text("need_a_look"), number(sums.need_a_look)],
    ]),
  });
}

function contributions() {
  const columns = [
    { label: text("ended"), show: (row) => clock(row.ended_at, { date: true }) },
    { label: text("swarm"), show: (row) => row.run_id },
    { label: text("compute_time"), style: "number", show: (row) => duration(row.compute_time) },
    { label: text("samples"), style: "number wide", show: (row) => number(row.samples) },
    { label: text("score"), style: "number", show: (row) => number(row.score) },
    {
      label: text("state"),
      show: (row) => [textOr(`outbox_${row.state}`, row.state), row.remark].filter(Boolean).join(": "),
    },
  ];
  const body = plainTable(byId("contributions"), columns, text("contributions"));
  return {
    async refresh() {
      const { sums, reporting, rows } = await read(`${DATA}/contributions`);
      facts(byId("contribution-sums"), [
        [text("contributions"), number(sums.contributions)],
        [text("compute_time"), duration(sums.compute_time)],
        [text("samples"), short(sums.samples)],
        [text("score"), number(sums.score)],
        [text("outbox_confirmed"), number(sums.states.confirmed ?? 0)],
      ]);
      say(byId("reporting"), text(`reporting_${reporting.status}`, reporting));
      fill(body, rows, columns);
    },
  };
}

const LEVELS = [[40, "level_error_one"], [30, "level_warning_one"]];

function log(isOperator) {
  const columns = [
    { label: text("time"), show: (row) => clock(row.time, { seconds: true }) },
    {
      label: text("level"),
      show: (row) => text((LEVELS.find(([least]) => row.level >= least) ?? [0, "level_info_one"])[1]),
    },
    { label: text("source"), style: "wide", show: (row) => textOr(`source_${row.source}`, row.source) },
    { label: text("message"), style: "text", show: (row) => row.text },
  ];
  const body = plainTable(byId("log"), columns, text("log"));
  const box = body.closest(".scrolls"), level = byId("log-level"), words = byId("log-text");
  const list = {
    async refresh() {
      const operator = isOperator();
      byId("log-needs-operator").hidden = operator;
      byId("log-filters").hidden = box.hidden = !operator;
      if (!operator) return;
      const { rows } = await read(`${DATA}/log`, { level: level.value, text: words.value });
      fill(body, rows, columns, (row) => (row.level >= 40 ? "bad" : row.level >= 30 ? "warn" : ""));
    },
  };
  level.addEventListener("change", () => list.refresh());
  words.addEventListener("input", () => list.refresh());
  return list;
}

/** The lists by the id of their section. */
export const lists = (isOperator) => ({
  peers: peers(), machines: machines(), contributions: contributions(), log: log(isOperator),
});
