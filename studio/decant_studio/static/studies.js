// The pages that list, make and fill votes.

import { Problem, post, postJson, runJob } from "./api.js";
import { $, dropZone, working } from "./parts.js";

function say(id, error) {
  $(id).textContent = error.message;
  $(id).hidden = false;
}

$("new")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const codecs = [...document.querySelectorAll('input[name="codec"]:checked')].map((box) => box.value);
  const wanted = { title: $("title").value, codecs, bits_per_pixel: Number($("bpp").value), per_session: Number($("most").value) };
  try {
    const made = await postJson("/api/vote/studies", wanted);
    location.href = `/vote/${made.id}`;
  } catch (error) {
    say("new-problem", error);
  }
});

const study = $("study")?.dataset.study;

async function add(files) {
  let failed = "";
  await working("adding", async (report) => {
    for (const [index, file] of files.entries()) {
      const told = files.length > 1 ? `picture ${index + 1} of ${files.length}: ` : "";
      try {
        await runJob(`/api/vote/${study}/pictures`, file,
          (stage, share) => report(told + stage, (index + share) / files.length));
      } catch (error) {
        failed += `${file.name}: ${error.message} `;
      }
    }
    if (failed) throw new Problem(failed.trim());
  });
  await count();
}

async function count() {
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  $("counts").textContent = page.getElementById("counts").textContent;
  $("go").hidden = page.getElementById("go").hidden;
}

async function take([file]) {
  const done = await working("importing", () => post(`/api/vote/${study}/import`, file));
  if (done) $("imported").textContent = `${done.stored} messages were taken, ${done.refused} were not of this vote.`;
  await count();
}

if (study) {
  dropZone("pictures", add);
  dropZone("import", take);
  $("delete").addEventListener("click", async () => {
    if (!confirm("Delete this vote, its pictures and all answers?")) return;
    await postJson(`/api/vote/${study}/delete`, {});
    location.href = "/vote";
  });
}
