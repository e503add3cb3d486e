// Decodes .dcn files in workers: `await decode(bytes)` gives an ImageData.
import { DecodeError } from "./decoder.js";

export { DecodeError };

const WORKERS = 2;
const MOST_WAITING = 64;

export class Player {
  #settings;
  #most;
  #mostWaiting;
  #workers = []; // {port, job}
  #waiting = [];
  #next = 0;
  #closed = false;

  // `models`: address of the folder of model files; `wasm`: address of decant.wasm; both default to what lies beside
  // this script. `workers`: how many pictures are decoded at once; `mostWaiting`: how many may wait behind them.
  constructor({ models, wasm, workers = WORKERS, mostWaiting = MOST_WAITING } = {}) {
    const here = typeof document === "undefined" ? import.meta.url : document.baseURI;
    const address = (given, own) => (given ? new URL(given, here).href : new URL(own, import.meta.url).href);
    const folder = address(models, "models/");
    this.#settings = { wasm: address(wasm, "decant.wasm"), models: folder.endsWith("/") ? folder : `${folder}/` };
    this.#most = Math.max(1, Math.min(workers, navigator.hardwareConcurrency ?? 1));
    this.#mostWaiting = mostWaiting;
  }

  // An ImageData of a file in memory (ArrayBuffer, typed array, Blob or Response), turned upright as its EXIF data say.
  // `region`: {x, y, width, height} of the stored picture; `signal`: an AbortSignal; `transfer`: the bytes may be taken.
  async decode(data, options = {}) {
    const { pixels } = await this.decodeTimed(data, options);
    return pixels;
  }

  // The same with the milliseconds that decoding took in the worker: {pixels, milliseconds}.
  async decodeTimed(data, { region, upright = true, mostPixels, signal, transfer = false } = {}) {
    signal?.throwIfAborted();
    const given = typeof data?.arrayBuffer === "function" ? new Uint8Array(await data.arrayBuffer()) : viewOf(data);
    const bytes = transfer || typeof data?.arrayBuffer === "function" ? given : given.slice();
    const options = { region, upright, mostPixels };
    const picture = await new Promise((resolve, reject) => this.#enqueue({ bytes, options, signal, resolve, reject }));
    const pixels = new ImageData(picture.data, picture.width, picture.height);
    return { pixels, milliseconds: picture.milliseconds };
  }

  // Ends the workers; pictures that wait are given up.
  close() {
    this.#closed = true;
    for (const job of this.#waiting.splice(0)) job.reject(closed());
    for (const worker of this.#workers.splice(0)) {
      worker.port.terminate();
      worker.job?.reject(closed());
    }
  }

  #enqueue(job) {
    if (this.#closed) return job.reject(closed());
    if (this.#waiting.length >= this.#mostWaiting)
      return job.reject(new DecodeError("queue-full", `${this.#mostWaiting} pictures wait already`));
    job.id = this.#next++;
    job.signal?.addEventListener("abort", () => this.#abort(job), { once: true });
    this.#waiting.push(job);
    this.#turn();
  }

  // What waits is forgotten; what is being decoded ends on its own, and nobody sees it.
  #abort(job) {
    const at = this.#waiting.indexOf(job);
    if (at >= 0) this.#waiting.splice(at, 1);
    job.reject(job.signal.reason);
  }

  #turn() {
    while (this.#waiting.length) {
      const worker = this.#workers.find((one) => !one.job) ?? this.#hired();
      if (!worker) return;
      worker.job = this.#waiting.shift();
      const { id, bytes, options } = worker.job;
      const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
      worker.port.postMessage({ id, bytes, options }, whole ? [bytes.buffer] : []);
    }
  }

  #hired() {
    if (this.#workers.length >= this.#most) return undefined;
    const worker = { port: newPort(), job: undefined };
    worker.port.onmessage = ({ data }) => this.#answered(worker, data);
    worker.port.onerror = (event) => this.#lost(worker, event);
    worker.port.postMessage({ settings: this.#settings });
    this.#workers.push(worker);
    return worker;
  }

  #answered(worker, { picture, code, message }) {
    const job = worker.job;
    worker.job = undefined;
    if (picture) job.resolve(picture);
    else job.reject(new DecodeError(code, message));
    this.#turn();
  }

  #lost(worker, event) {
    event.preventDefault?.();
    this.#workers = this.#workers.filter((one) => one !== worker);
    worker.port.terminate();
    const why = event.message ?? "its script could not be loaded";
    worker.job?.reject(new DecodeError("network", `the player's worker failed: ${why}`));
    this.#turn();
  }
}

const closed = () => new DecodeError("closed", "the player was closed");

function viewOf(data) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new DecodeError("bad-argument", "a file is an ArrayBuffer, a typed array, a Blob or a Response");
}

// A worker; where the page may have none from here (a script of another origin), the same in the page's own thread.
function newPort() {
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "decant" });
  } catch {
    return pagePort();
  }
}

function pagePort() {
  const inside = { postMessage: (data) => queueMicrotask(() => outside.onmessage?.({ data })) };
  const ready = import("./service.js").then(({ serve }) => serve(inside));
  const post = (data) => ready.then(() => inside.onmessage({ data }), (error) => outside.onerror?.(error));
  const outside = { postMessage: post, terminate() {} };
  return outside;
}

let shared;

// The player of this page, made when it is first asked for.
export const player = () => (shared ??= new Player());

// An ImageData of a file, by the page's own player. See Player.decode.
export const decode = (data, options) => player().decode(data, options);
