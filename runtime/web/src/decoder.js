// The decoder itself: bytes in, pixels out, in the thread that calls it. Used by worker.js, and alone in programs that
// have a thread to spare (node, Deno, a worker of one's own).

const MOST_PIXELS = 1 << 26;
const MOST_MODELS = 8;
const KEPT_MEMORY = 256 * 2 ** 20;
const STATUSES = [
  "ok", "bad-model", "out-of-memory", "bad-file", "wrong-model", "too-large", "bad-argument", "stopped",
];

// Every error of the player. `code`: one of the statuses above, or "no-model", "network", "unsupported", "queue-full", "closed".
export class DecodeError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "DecodeError";
    this.code = code;
  }
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new DecodeError("bad-argument", "a file is an ArrayBuffer or a typed array of its bytes");
}

// A compiled module from what one has: bytes, a module, or a response of fetch.
async function compiled(wasm) {
  const source = await wasm;
  if (source instanceof WebAssembly.Module) return source;
  if (typeof Response !== "undefined" && source instanceof Response)
    return WebAssembly.compile(await source.arrayBuffer());
  return WebAssembly.compile(source);
}

export class Decoder {
  #module;
  #exports;
  #models = new Map(); // "name id" -> {bytes, address}; the address is 0 until it is opened

  // `wasm`: decant.wasm as bytes, as a WebAssembly.Module, or as a Response (or a promise of one of them).
  static async create(wasm) {
    return new Decoder(await compiled(wasm));
  }

  constructor(module) {
    this.#module = module;
    this.#start();
  }

  // The kernels in use: "wasm" where the module was compiled with SIMD.
  get kernels() {
    return this.#text(this.#exports.player_kernels());
  }

  #start() {
    this.#exports = new WebAssembly.Instance(this.#module, {}).exports;
    this.#exports._initialize();
    for (const model of this.#models.values()) model.address = 0;
  }

  #memory(address, size) {
    return new Uint8Array(this.#exports.memory.buffer, address >>> 0, size);
  }

  #text(address) {
    const bytes = this.#memory(address, 1024);
    return String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
  }

  #check(status) {
    if (status) throw new DecodeError(STATUSES[status] ?? "bad-file", this.#text(this.#exports.player_message()));
  }

  #allocate(size) {
    const address = size < 2 ** 32 ? this.#exports.player_allocate(size) : 0;
    if (!address) throw new DecodeError("out-of-memory", `${Math.ceil(size / 2 ** 20)} MiB cannot be allocated`);
    return address >>> 0;
  }

  // Runs `work`. A trap of the module, which no file should cause, ends in an error and a new instance.
  #guarded(work) {
    try {
      return work();
    } catch (error) {
      if (error instanceof DecodeError) throw error;
      this.#start();
      throw new DecodeError("bad-file", `the decoder stopped: ${error.message}`);
    }
  }

  #with(bytes, work) {
    const address = this.#allocate(bytes.length);
    try {
      this.#memory(address, bytes.length).set(bytes);
      return work(address);
    } finally {
      this.#exports.player_release(address);
    }
  }

  #open(bytes) {
    const address = this.#with(bytes, (at) => this.#exports.player_open(at, bytes.length));
    if (!address) throw new DecodeError("bad-model", this.#text(this.#exports.player_message()));
    return address >>> 0;
  }

  // Adds the model file `data` (.dcnm), which stays until the decoder goes; at most 8 are kept, the newest.
  addModel(data) {
    const bytes = bytesOf(data).slice();
    return this.#guarded(() => {
      const address = this.#open(bytes);
      const name = this.#text(this.#exports.player_model_name(address));
      const id = hex(this.#memory(this.#exports.player_model_id(address), 8));
      const key = `${name} ${id}`;
      this.#forget(key);
      if (this.#models.size >= MOST_MODELS) this.#forget(this.#models.keys().next().value);
      this.#models.set(key, { bytes, address });
      return { name, id };
    });
  }

  #forget(key) {
    const model = this.#models.get(key);
    if (model?.address) this.#exports.player_close(model.address);
    this.#models.delete(key);
  }

  // Whether decode would find the model of a file; takes what `info` gives.
  hasModel({ model, modelId }) {
    return this.#models.has(`${model} ${modelId}`);
  }

  // What a file says of itself: {width, height, quality, grey, alpha, model, modelId, orientation}. No pixel is decoded.
  info(data) {
    const bytes = bytesOf(data);
    return this.#guarded(() => this.#with(bytes, (at) => this.#read(at, bytes.length)));
  }

  #read(address, size) {
    const of = this.#exports;
    this.#check(of.player_read(address, size));
    const flags = of.player_flags();
    return {
      width: of.player_width(),
      height: of.player_height(),
      quality: of.player_quality(),
      grey: Boolean(flags & 1),
      alpha: Boolean(flags & 2),
      model: this.#text(of.player_name()),
      modelId: hex(this.#memory(of.player_id(), 8)),
      orientation: orientationOf(this.#memory(of.player_exif(), of.player_exif_size())),
    };
  }

  // Decodes a file whose model was added: {width, height, data}, data RGBA in a Uint8ClampedArray, not premultiplied.
  // `region` {x, y, width, height}: only that part. `upright`: turned as EXIF says (not with a region).
  decode(data, { region, upright = false, mostPixels = MOST_PIXELS } = {}) {
    const bytes = bytesOf(data);
    return this.#guarded(() => this.#with(bytes, (at) => this.#decoded(at, bytes.length, region, upright, mostPixels)));
  }

  #decoded(address, size, region, upright, mostPixels) {
    const info = this.#read(address, size);
    const { width, height } = region ?? info;
    if (!region && width * height > mostPixels)
      throw new DecodeError("too-large", `the picture has ${width} x ${height} pixels; the limit is ${mostPixels}`);
    if (region) checkRegion(region, info);
    const model = this.#models.get(`${info.model} ${info.modelId}`);
    if (!model) throw new DecodeError("no-model", `the model ${info.model} ${info.modelId} was not added`);
    model.address ||= this.#open(model.bytes);
    const at = this.#allocate(width * height * 4);
    try {
      const { x, y } = region ?? { x: 0, y: 0 };
      this.#check(this.#exports.player_decode(model.address, x, y, width, height, at));
      const pixels = new Uint8ClampedArray(this.#memory(at, width * height * 4));
      const picture = { width, height, data: pixels };
      return upright && !region ? turned(picture, info.orientation) : picture;
    } finally {
      this.#exports.player_release(at);
    }
  }

  // Gives back the memory that a large picture took: WebAssembly's never shrinks, so the instance is replaced.
  trim() {
    if (this.#exports.memory.buffer.byteLength > KEPT_MEMORY) this.#start();
  }
}

function checkRegion(region, info) {
  const whole = [region.x, region.y, region.width, region.height].every((n) => Number.isInteger(n) && n >= 0);
  const inside = region.x + region.width <= info.width && region.y + region.height <= info.height;
  if (!whole || !inside || !region.width || !region.height)
    throw new DecodeError("bad-argument", `the region is not inside of ${info.width} x ${info.height} pixels`);
}

// The orientation 1..8 of EXIF data; 1 where it has none or is damaged.
export function orientationOf(exif) {
  const start = exif[0] === 0x45 && exif[1] === 0x78 ? 6 : 0; // "Exif\0\0"
  if (exif.length < start + 14) return 1;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.length - start);
  const little = view.getUint16(0) === 0x4949;
  if (!little && view.getUint16(0) !== 0x4d4d) return 1;
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return 1;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= view.byteLength; i++, at += 12) {
    if (view.getUint16(at, little) !== 0x0112) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

// A picture turned upright.
export function turned({ width, height, data }, orientation) {
  if (orientation < 2 || orientation > 8) return { width, height, data };
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  const swapped = orientation >= 5;
  const [w, h] = swapped ? [height, width] : [width, height];
  // Orientations as flips of the stored picture, after its axes were swapped from 5 on.
  const right = [2, 3, 7, 6].includes(orientation);
  const down = [3, 4, 7, 8].includes(orientation);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const [a, b] = [right ? w - 1 - x : x, down ? h - 1 - y : y];
      to[y * w + x] = swapped ? from[a * width + b] : from[b * width + a];
    }
  return { width: w, height: h, data: new Uint8ClampedArray(to.buffer) };
}
