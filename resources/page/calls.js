// Calls to the app. The cookie of the sign-in goes along by itself, to this origin alone.

export class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(reply) {
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new CallError(reply.status, String(body.detail ?? reply.statusText));
  return body;
}

export async function read(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  return answer(await fetch(`${path}?${query}`, { cache: "no-store" }));
}

export async function change(path, body = undefined) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" } };
  if (body !== undefined) request.body = JSON.stringify(body);
  return answer(await fetch(path, request));
}
