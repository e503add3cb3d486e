// The voter's page: pairs in random order with random sides, answers sent one by one, sessions that can be resumed.
// The same script serves in the studio and in an exported vote.

import { Problem, ask, postJson } from "./api.js";
import { $, element, loaded } from "./parts.js";

const main = $("content");
let study;
let session; // {id, trials: [{pair, left}], answered: [indices], messages: [], distance}
let current;
let shownAt = 0;
let sending = false;

const random = (count) => {
  // Without bias: numbers beyond the largest multiple of count are drawn again.
  const limit = Math.floor(2 ** 32 / count) * count;
  const box = new Uint32Array(1);
  do crypto.getRandomValues(box); while (box[0] >= limit);
  return box[0] % count;
};

function shuffled(list) {
  const mixed = [...list];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
  }
  return mixed;
}

const key = () => `vote-${study.id}`;

function keep() {
  session.distance = $("distance").value;
  try { localStorage.setItem(key(), JSON.stringify(session)); } catch { /* this session cannot be resumed */ }
}

function kept() {
  try { return JSON.parse(localStorage.getItem(key())); } catch { return null; }
}

function conditions() {
  const stated = Number($("distance").value);
  return {
    pixel_ratio: devicePixelRatio, zoom: visualViewport?.scale ?? 1, distance_cm: stated > 0 ? stated : null,
    screen_width: screen.width, screen_height: screen.height, view_width: innerWidth, view_height: innerHeight,
    shown_width: $("original").clientWidth || null,
  };
}

async function send(message) {
  session.messages.push(message);
  if (study.collect) {
    try {
      await postJson(study.collect, message);
    } catch (error) {
      session.messages.pop();
      throw error;
    }
  }
  keep();
}

async function begin() {
  const before = kept();
  if (before && before.answered.length < before.trials.length) {
    session = before;
    if (study.sessions) {
      const known = await ask(study.sessions + session.id).catch(() => null);
      if (known) Object.assign(session, { trials: known.trials, answered: known.answered });
      else session = null; // the vote was emptied since
    }
  }
  if (session) return;
  const pairs = shuffled(study.pairs).slice(0, study.per_session || study.pairs.length);
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  session = {
    id: [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    trials: pairs.map((pair) => ({ pair: pair.id, left: random(2) ? pair.a : pair.b })),
    answered: [], messages: [],
  };
  await send({ kind: "session", study: study.id, session: session.id, conditions: conditions(), trials: session.trials });
}

const address = (id) => `${study.pictures}${id}.png`;

function sides(trial) {
  const pair = study.pairs.find((one) => one.id === trial.pair);
  return { original: pair.original, left: trial.left, right: trial.left === pair.a ? pair.b : pair.a };
}

async function next() {
  const left = session.trials.map((_, index) => index).filter((index) => !session.answered.includes(index));
  $("start").hidden = true;
  $("trial").hidden = !left.length;
  $("end").hidden = left.length > 0;
  if (!left.length) return finish();
  current = left[0];
  const shown = sides(session.trials[current]);
  const images = ["left", "original", "right"].map((name) => {
    const image = $(name);
    image.src = address(shown[name]);
    return image;
  });
  await Promise.all(images.map(loaded));
  const done = session.answered.length;
  $("where").textContent = `Pair ${done + 1} of ${session.trials.length}`;
  $("share").value = done / session.trials.length;
  shownAt = performance.now();
  sending = false;
  main.dataset.ready = String(current);
  if (left.length > 1) Object.values(sides(session.trials[left[1]])).forEach((id) => { new Image().src = address(id); });
  return undefined;
}

async function choose(side) {
  if (sending || $("trial").hidden) return;
  sending = true;
  $("problem").hidden = true;
  const ms = Math.round(performance.now() - shownAt);
  try {
    await send({ kind: "answer", study: study.id, session: session.id, trial: current, side, ms, conditions: conditions() });
    session.answered.push(current);
    keep();
    await next();
  } catch (error) {
    sending = false;
    problem(error);
  }
}

function finish() {
  const after = main.dataset.after;
  if (after) {
    location.href = after;
    return;
  }
  const file = new Blob([JSON.stringify(session.messages)], { type: "application/json" });
  $("after").replaceChildren(element("a", { class: "button", href: URL.createObjectURL(file), download: `answers-${session.id}.json` }, "Save the answers"));
}

function problem(error) {
  $("problem").textContent = error instanceof Problem ? error.message : `The vote stopped: ${error.message}`;
  $("problem").hidden = false;
}

function flip(on) {
  if ($("trial").hidden) return;
  const shown = sides(session.trials[current]);
  $("left").src = address(on ? shown.original : shown.left);
  $("right").src = address(on ? shown.original : shown.right);
  $("flip").setAttribute("aria-pressed", String(on));
}

$("conditions").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("begin").disabled = true;
  try {
    await begin();
    await next();
  } catch (error) {
    $("begin").disabled = false;
    problem(error);
  }
});
$("choose-left").addEventListener("click", () => choose("left"));
$("choose-right").addEventListener("click", () => choose("right"));
$("flip").addEventListener("pointerdown", () => flip(true));
for (const kind of ["pointerup", "pointerleave", "blur"]) $("flip").addEventListener(kind, () => flip(false));
document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft") choose("left");
  else if (event.key === "ArrowRight") choose("right");
  else if (event.key.toLowerCase() === "o") flip(true);
});
document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") flip(false); });

try {
  study = await ask(main.dataset.study);
  const before = kept();
  const left = before ? before.trials.length - before.answered.length : 0;
  $("begin").disabled = !study.pairs.length;
  $("distance").value ||= before?.distance ?? "";
  if (before && left) $("begin").textContent = `Resume: ${left} pairs left`;
  if (!study.pairs.length) throw new Problem("This vote has no pictures yet.");
} catch (error) {
  problem(error);
}
