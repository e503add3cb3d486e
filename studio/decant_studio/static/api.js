// Requests to the studio: uploads with the page's token, jobs with their progress, errors as sentences.

const token = document.querySelector('meta[name="studio-token"]')?.content ?? "";
const POLL_MS = 250;

export class Problem extends Error {}

export async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Problem("The studio does not answer. Is “decant serve” still running?");
  }
  const kind = response.headers.get("Content-Type") ?? "";
  const answer = kind.startsWith("application/json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Problem(answer.error || `The studio answered ${response.status}.`);
  return answer;
}

export function post(address, body) {
  const headers = { "X-Studio-Token": token, "Content-Type": "application/octet-stream" };
  return ask(address, { method: "POST", headers, body });
}

export function postJson(address, value) {
  return post(address, new TextEncoder().encode(JSON.stringify(value)));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Begins a job and waits for its end; `report(stage, progress)` is called on the way.
export async function runJob(address, body, report) {
  let job = await post(address, body);
  while (job.state === "waiting" || job.state === "running") {
    report?.(job.stage, job.progress);
    await pause(POLL_MS);
    job = await ask(`/api/jobs/${job.id}`);
  }
  return job;
}

export const fileOf = (job, name) => `/api/jobs/${job.id}/${encodeURIComponent(name)}`;
