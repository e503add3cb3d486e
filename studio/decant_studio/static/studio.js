// The page Studio.

import { fileOf, runJob } from "./api.js";
import { $, download, dropZone, element, fixed, loaded, whole, working } from "./parts.js";
import { SplitView } from "./split.js";

const settings = $("settings");
let picture = null;
let busy = false;

function aim() {
  const { low, high, value, step } = $("mode").selectedOptions[0].dataset;
  Object.assign($("value"), { min: low, max: high, step, value });
}

async function compare() {
  if (!picture || busy || !settings.reportValidity()) return;
  busy = true;
  $("again").disabled = true;
  const wanted = new URLSearchParams(new FormData(settings));
  const job = await working("work", (report) => runJob(`/api/compare?${wanted}`, picture, report));
  busy = false;
  $("again").disabled = false;
  if (job) await show(job);
}

async function show(job) {
  const { width, height, codecs, notes, gain } = job.figures;
  const { decant, other } = codecs;
  const tag = (one) => `${one.label} · ${whole(one.bytes)} bytes`;
  const pictures = [
    { key: "original", label: "Original", tag: `Original · ${width} × ${height}` },
    { key: "decant", label: decant.label, tag: tag(decant) },
    { key: "other", label: other.label, tag: tag(other) },
    { key: "decant-error", label: `Error of ${decant.label}`, tag: `${gain} × error of ${decant.label}` },
    { key: "other-error", label: `Error of ${other.label}`, tag: `${gain} × error of ${other.label}` },
  ].map((one) => ({ ...one, source: fileOf(job, `${one.key}.png`) }));
  await Promise.all(pictures.slice(1, 3).map((one) => loaded(Object.assign(new Image(), { src: one.source }))));
  $("result").hidden = false;
  new SplitView($("view"), pictures, { width, height, left: "decant", right: "other" });
  $("figures").tBodies[0].replaceChildren(row(decant), row(other));
  $("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  $("times").textContent =
    `Encoded in ${fixed(decant.encode_ms / 1000, 2)} s, decoded in ${fixed(decant.decode_ms, 0)} ms, on this machine.`;
  $("downloads").replaceChildren(
    download(fileOf(job, "file.dcn"), ".dcn file"), download(fileOf(job, "latents.npy"), "Latents, .npy"),
    download(fileOf(job, "decant.png"), "Decoded, .png"), download(fileOf(job, "other"), `${other.label} file`));
  $("result").scrollIntoView({ block: "nearest" });
}

function row(one) {
  const psnr = one.equal ? "exact" : fixed(one.psnr_db, 2);
  const cells = [whole(one.bytes), fixed(one.bits_per_pixel, 3), psnr, fixed(one.ssim, 4), fixed(one.ssimulacra2, 1),
    one.quality];
  return element("tr", {}, element("th", { scope: "row" }, one.label),
    ...cells.map((cell) => element("td", {}, String(cell))));
}

async function restore([file]) {
  const job = await working("restoring", (report) => runJob("/api/restore", file, report));
  const figure = $("restored");
  figure.hidden = !job;
  if (!job) return;
  const { width, height, model, quality, bytes, bits_per_pixel: rate } = job.figures;
  const [image, caption] = figure.children;
  image.src = fileOf(job, "picture.png");
  caption.replaceChildren(
    `${width} × ${height}, ${model}${quality ? `, quality ${quality}` : ""}, ${whole(bytes)} bytes as .dcn, ` +
    `${fixed(rate, 3)} bits per pixel. `, element("a", { href: image.src, download: true }, "Save as PNG"));
}

$("mode").addEventListener("change", aim);
settings.addEventListener("submit", (event) => {
  event.preventDefault();
  compare();
});
dropZone("picture", ([file]) => {
  picture = file;
  compare();
});
dropZone("file", restore);
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (file) {
    picture = file;
    compare();
  }
});
