import { player, upgrade } from "../index.js";

const $ = (id) => document.getElementById(id);
const RUNS = [
  ["dcn", "decant nano"],
  ["avif", "AVIF"],
  ["jpg", "JPEG"],
];

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function bytesAt(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: HTTP status ${response.status}`);
  return response.arrayBuffer();
}

function shown(pictures) {
  for (const { name, title, width, height } of pictures) {
    const figure = document.createElement("figure");
    const image = Object.assign(document.createElement("img"), { width, height, alt: title });
    image.dataset.decant = `${name}.dcn`;
    image.dataset.decantFallback = `${name}.jpg`;
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    figure.append(image, caption);
    $("pictures").append(figure);
  }
}

// [milliseconds, until the page has the pixels]
async function once(kind, bytes) {
  const begun = performance.now();
  if (kind === "dcn") {
    const { milliseconds } = await player().decodeTimed(bytes);
    return [milliseconds, performance.now() - begun];
  }
  const bitmap = await createImageBitmap(new Blob([bytes], { type: kind === "jpg" ? "image/jpeg" : "image/avif" }));
  const end = performance.now();
  bitmap.close();
  return [end - begun, end - begun];
}

async function measured({ name, title, width, height }, rounds) {
  const files = await Promise.all(RUNS.map(([kind]) => bytesAt(`${name}.${kind}`)));
  const times = RUNS.map(() => []);
  for (let round = -1; round < rounds; round++) // the first warms up
    for (const [i, [kind]] of RUNS.entries()) {
      const time = await once(kind, files[i]).catch(() => undefined); // a browser without AVIF
      if (round >= 0 && time) times[i].push(time);
    }
  return RUNS.map(([kind, label], i) => {
    const [decode, page] = [0, 1].map((part) => median(times[i].map((time) => time[part])));
    const said = decode === undefined ? "cannot be decoded here" : decode.toFixed(1);
    const whole = kind === "dcn" && decode !== undefined ? `${said} (${page.toFixed(1)})` : said;
    return [title, `${width} x ${height}`, label, kilobytes(files[i].byteLength), whole];
  });
}

function addRow(body, cells) {
  const row = body.insertRow();
  for (const cell of cells) row.insertCell().textContent = cell;
}

async function bench(pictures) {
  const rounds = Math.max(1, Math.min(99, Number($("rounds").value) || 1));
  const body = $("bench").tBodies[0];
  body.replaceChildren();
  $("start").disabled = true;
  try {
    for (const [i, picture] of pictures.entries()) {
      $("status").textContent = `Picture ${i + 1} of ${pictures.length}`;
      for (const cells of await measured(picture, rounds))
        addRow(body, cells);
    }
    $("status").textContent = "Done";
  } catch (error) {
    $("status").textContent = `Failed: ${error.message}`;
  }
  $("start").disabled = false;
}

async function own(file) {
  try {
    const pixels = await player().decode(file);
    Object.assign($("canvas"), { width: pixels.width, height: pixels.height });
    $("canvas").getContext("2d").putImageData(pixels, 0, 0);
    $("own-status").textContent = `${file.name}: ${pixels.width} x ${pixels.height}, ${kilobytes(file.size)}`;
  } catch (error) {
    $("own-status").textContent = `${file.name}: ${error.message}`;
  }
}

const { pictures, wasm, model } = await (await fetch("pictures.json")).json();
$("setup").textContent += ` Sent once: ${kilobytes(wasm)} of WebAssembly (gzip) and ${kilobytes(model)} of model.`;
shown(pictures);
upgrade();
$("start").onclick = () => bench(pictures);
$("own").onchange = ({ target }) => target.files[0] && own(target.files[0]);
document.body.dataset.ready = "yes";
