// Decoding with models that are fetched by name: in a worker (serve), or in the page where it may have no worker.
import { Decoder, DecodeError } from "./decoder.js";
import { fetched } from "./network.js";

const CACHE = "decant-models-1";
const MOST_MODEL = 16 * 2 ** 20;

// `wasm` and `models`: the addresses of decant.wasm and of the folder of the model files.
export class Service {
  #decoder;
  #pending = new Map(); // address of a model -> promise
  #models;

  constructor({ wasm, models }) {
    this.#models = models;
    this.#decoder = bytesOf(wasm).then(started);
    this.#decoder.catch(() => {}); // decode reports it
  }

  // {width, height, data, milliseconds}; the time is that of decoding alone.
  async decode(bytes, options) {
    const decoder = await this.#decoder;
    const info = decoder.info(bytes);
    if (!decoder.hasModel(info)) await this.#model(decoder, info);
    const begun = performance.now();
    const picture = decoder.decode(bytes, options);
    const milliseconds = performance.now() - begun;
    decoder.trim();
    return { ...picture, milliseconds };
  }

  #model(decoder, info) {
    // The id is part of the address, so that neither cache gives another version's file.
    const address = new URL(`${encodeURIComponent(info.model)}.dcnm?${info.modelId}`, this.#models).href;
    if (!this.#pending.has(address)) {
      const add = () => this.#added(decoder, info, address);
      // One worker fetches, the others find the model in the cache. Locks are there where the Cache API is.
      const coming = navigator.locks ? navigator.locks.request(`decant ${address}`, add) : add();
      this.#pending.set(address, coming.finally(() => this.#pending.delete(address)));
    }
    return this.#pending.get(address);
  }

  async #added(decoder, info, address) {
    const cache = await openedCache();
    const kept = await cache?.match(address).catch(() => undefined);
    if (kept && tried(decoder, info, new Uint8Array(await kept.arrayBuffer()))) return;
    const bytes = await bytesOf(address, MOST_MODEL);
    const added = decoder.addModel(bytes);
    if (added.name !== info.model || added.id !== info.modelId)
      throw new DecodeError(
        "wrong-model",
        `the file needs model ${info.model} ${info.modelId}; ${address} is ${added.name} ${added.id}`,
      );
    await cache?.put(address, new Response(bytes)).catch(() => {}); // no room is no fault
  }
}

async function started(bytes) {
  try {
    return await Decoder.create(bytes);
  } catch (error) {
    throw new DecodeError("unsupported", `this browser cannot run the decoder: ${error.message}`);
  }
}

// Whether a cached model is the one wanted and whole.
function tried(decoder, info, bytes) {
  try {
    decoder.addModel(bytes);
    return decoder.hasModel(info);
  } catch {
    return false;
  }
}

// The Cache API is there on https and localhost alone, and may be switched off; the decoder's memory is the other cache.
async function openedCache() {
  try {
    return await caches.open(CACHE);
  } catch {
    return undefined;
  }
}

async function bytesOf(address, most = Infinity) {
  const response = await fetched(address);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length > most) throw new DecodeError("bad-model", `${address}: larger than ${most} bytes`);
  return bytes;
}

// Answers the messages of player.js: first {settings}, then {id, bytes, options}.
export function serve(port) {
  let service;
  port.onmessage = async ({ data }) => {
    if (data.settings) {
      service = new Service(data.settings);
      return;
    }
    try {
      const picture = await service.decode(data.bytes, data.options);
      port.postMessage({ id: data.id, picture }, [picture.data.buffer]);
    } catch (error) {
      port.postMessage({ id: data.id, code: error.code ?? "bad-file", message: error.message });
    }
  };
}
