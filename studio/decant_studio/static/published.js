// The page Published systems.

import { fileOf, runJob } from "./api.js";
import { lineChart } from "./chart.js";
import { $, download, dropZone, element, fixed, whole, working } from "./parts.js";

const notes = (id, list) => $(id).replaceChildren(...list.map((note) => element("li", {}, note)));
const decibels = (value) => (value === null ? "exact" : `${fixed(value, 2)} dB`);

function wanted() {
  return new URLSearchParams({ system: $("system").value, denoise: $("denoise").checked ? "1" : "0" });
}

function chosen() {
  const box = $("denoise");
  box.disabled = $("system").selectedOptions[0].dataset.denoises !== "1";
  if (box.disabled) box.checked = false;
}

async function compress([file]) {
  const job = await working("compressing", (report) => runJob(`/api/compress?${wanted()}`, file, report));
  if (!job) return;
  const { numbers, bytes, psnr_db: psnr, ssim, latents } = job.figures;
  $("compressed").hidden = false;
  for (const [id, name] of [["before", "original.png"], ["after", "decoded.png"]]) {
    $(id).src = fileOf(job, name);
    $(id).classList.toggle("small", job.figures.width < 128);
  }
  $("after-caption").textContent =
    `Given back from ${numbers} numbers, ${whole(bytes)} bytes: PSNR ${decibels(psnr)}, SSIM ${fixed(ssim, 4)}`;
  notes("vector-notes", job.figures.notes);
  $("numbers").textContent = latents.join("  ") + (latents.length < numbers ? " …" : "");
  $("vector-downloads").replaceChildren(download(fileOf(job, "latents.npy"), "Vector, .npy"),
    download(fileOf(job, "file.dcn"), ".dcn file"), download(fileOf(job, "decoded.png"), "Decoded, .png"));
}

async function decompress([file]) {
  const job = await working("decompressing", (report) => runJob(`/api/decompress?${wanted()}`, file, report));
  const figure = $("decompressed");
  figure.hidden = !job;
  if (!job) return;
  const [image, caption] = figure.children;
  image.src = fileOf(job, "picture.png");
  image.classList.toggle("small", job.figures.width < 128);
  caption.replaceChildren(`From ${job.figures.numbers} numbers. `,
    element("a", { href: image.src, download: true }, "Save as PNG"));
}

let picture = null;

async function kmeans() {
  if (!picture || !$("colours").reportValidity()) return;
  $("recolour").disabled = true;
  const job = await working("clustering", (report) => runJob(`/api/kmeans?k=${$("k").value}`, picture, report));
  $("recolour").disabled = false;
  if (!job) return;
  const { colours, palette, bytes, bits_per_pixel: rate, psnr_db: psnr, uploaded_bytes: given, elbow } = job.figures;
  $("quantized").hidden = false;
  $("kmeans-before").src = fileOf(job, "original.png");
  $("kmeans-after").src = fileOf(job, "kmeans.png");
  $("kmeans-caption").textContent =
    `${colours} colours, ${whole(bytes)} bytes as PNG (given: ${whole(given)}), ${fixed(rate, 2)} bits per pixel, ` +
    `PSNR ${decibels(psnr)}`;
  const shades = palette.map((rgb) => {
    const shade = element("span");
    shade.style.background = `rgb(${rgb.join(" ")})`;
    return shade;
  });
  $("palette").replaceChildren(...shades);
  $("palette").setAttribute("aria-label", `The palette of ${colours} colours, from dark to light`);
  notes("kmeans-notes", job.figures.notes);
  $("kmeans-downloads").replaceChildren(download(fileOf(job, "kmeans.png"), "Result, .png"));
  const points = elbow.k.map((k, index) => [k, elbow.inertia[index]]);
  const chart = lineChart({ points, across: "colours, k", up: "mean squared distance", marked: elbow.bend,
    label: `Inertia against k; it bends at k = ${elbow.bend}` });
  $("elbow").replaceChildren(chart, element("figcaption", {}, `Elbow: the mean squared distance of a pixel to its colour bends at k = ${elbow.bend}.`));
}

if ($("vector")) {
  $("system").addEventListener("change", chosen);
  chosen();
  dropZone("compress", compress);
  dropZone("decompress", decompress);
}
$("colours").addEventListener("submit", (event) => {
  event.preventDefault();
  kmeans();
});
dropZone("kmeans", ([file]) => {
  picture = file;
  kmeans();
});
