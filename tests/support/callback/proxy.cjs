// What a backend's proxy does with us, with the library that it does it with.
// Argument: JSON with url, authorization and task. Prints what it got as JSON.
const axios = require("axios");

const given = JSON.parse(process.argv[2]);
const client = axios.create({
  baseURL: `${given.url.replace(/\/$/, "")}/api/v1/hivemind`,
  headers: { Authorization: given.authorization },
  proxy: false,
});

async function refusal(request) {
  try {
    await request;
  } catch (error) {
    return { status: error.response.status, message: error.response.data.detail };
  }
  throw new Error("it was not refused");
}

async function ended(id) {
  for (;;) {
    const task = (await client.get(`/training/${id}`)).data.data;
    if (task.status === "completed" || task.status === "failed") return task;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function main() {
  const started = (await client.post("/start")).data.data;
  const status = (await client.get("/status")).data.data;
  if (status.peer_id.slice(0, 16) !== started.peer_id.slice(0, 16)) throw new Error("another peer");
  const id = (await client.post("/train", given.task)).data.task_id;
  const seen = [];
  for (const peer of (await client.get("/peers")).data.data) {
    const date = new Date(peer.last_seen);
    if (Number.isNaN(date.getTime())) throw new Error(`no date: ${peer.last_seen}`);
    seen.push(date.toISOString());
  }
  const task = await ended(id);
  for (const time of [task.created_at, task.started_at, task.completed_at]) {
    if (Number.isNaN(new Date(time).getTime())) throw new Error(`no date: ${time}`);
  }
  const wrong = await refusal(client.post("/train", { ...given.task, model_config: {} }));
  const unknown = await refusal(client.get("/training/nothing"));
  console.log(JSON.stringify({ started, task, seen, wrong, unknown }));
}

main().catch((error) => {
  console.error(error.response ? JSON.stringify(error.response.data) : error);
  process.exit(1);
});
