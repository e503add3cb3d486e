import type { Region } from "./index.js";
export { DecodeError } from "./index.js";

export interface Info {
  width: number;
  height: number;
  /** 1..100; 0 where the model has no qualities. */
  quality: number;
  grey: boolean;
  alpha: boolean;
  model: string;
  /** 16 hexadecimal digits. */
  modelId: string;
  /** Of the EXIF data, 1..8. */
  orientation: number;
}

export interface Picture { width: number; height: number; data: Uint8ClampedArray<ArrayBuffer>; }

/** The decoder in the thread that calls it: for node, Deno and workers of one's own. */
export declare class Decoder {
  static create(wasm: Wasm | Promise<Wasm>): Promise<Decoder>;
  constructor(module: WebAssembly.Module);
  readonly kernels: string;
  /** Adds the bytes of a model file (.dcnm); at most 8 are kept. */
  addModel(data: ArrayBuffer | ArrayBufferView): { name: string; id: string };
  hasModel(info: Pick<Info, "model" | "modelId">): boolean;
  /** Reads and checks a file; no pixel is decoded. */
  info(data: ArrayBuffer | ArrayBufferView): Info;
  /** RGBA, not premultiplied. */
  decode(
    data: ArrayBuffer | ArrayBufferView,
    options?: { region?: Region; upright?: boolean; mostPixels?: number },
  ): Picture;
  /** Gives back the memory that a large picture took. */
  trim(): void;
}

export type Wasm = BufferSource | WebAssembly.Module | Response;
