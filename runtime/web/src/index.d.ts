/** Codes of errors: what is wrong with a file, its model, the options, or how it is fetched. */
export type ErrorCode =
  | "bad-model" | "out-of-memory" | "bad-file" | "wrong-model" | "too-large" | "bad-argument" | "stopped"
  | "no-model" | "network" | "unsupported" | "queue-full" | "closed";

/** Every error of the player but those of an AbortSignal. */
export declare class DecodeError extends Error {
  constructor(code: ErrorCode, message: string);
  readonly code: ErrorCode;
}

/** Pixels of the stored picture. */
export interface Region { x: number; y: number; width: number; height: number; }

export interface DecodeOptions {
  /** Only this part, which is not turned. */
  region?: Region;
  /** Turn the picture as its EXIF data say (default true). */
  upright?: boolean;
  /** Pictures with more pixels are refused (default 2^26). */
  mostPixels?: number;
  signal?: AbortSignal;
  /** The bytes may be moved to the worker: they are gone afterwards (default false). */
  transfer?: boolean;
}

export interface PlayerOptions {
  /** Address of the folder of model files (default: models/ beside the scripts). */
  models?: string;
  /** Address of decant.wasm (default: beside the scripts). */
  wasm?: string;
  /** Pictures decoded at once (default 2, at most the processor's threads). */
  workers?: number;
  /** Pictures that may wait behind them (default 64). */
  mostWaiting?: number;
}

/** A file: its bytes, a Blob, or a response of fetch. */
export type Source = ArrayBuffer | ArrayBufferView | Blob | Response;

/** Decodes files in workers of its own. */
export declare class Player {
  constructor(options?: PlayerOptions);
  /** RGBA, not premultiplied. Rejects with a DecodeError, or with the reason of the signal. */
  decode(data: Source, options?: DecodeOptions): Promise<ImageData>;
  /** The same with the time that decoding took in the worker. */
  decodeTimed(data: Source, options?: DecodeOptions): Promise<{ pixels: ImageData; milliseconds: number }>;
  /** Ends the workers; pictures that wait are given up. */
  close(): void;
}

/** The page's own player, made when it is first asked for. */
export declare function player(): Player;

/** Decodes with the page's own player. */
export declare function decode(data: Source, options?: DecodeOptions): Promise<ImageData>;

export interface UpgradeOptions {
  player?: Player;
  /** Files fetched and decoded at a time (default 3). */
  atOnce?: number;
  /** How far outside of the view images are loaded, as a CSS length (default 400px). */
  margin?: string;
}

/** Shows the <img data-decant> within `root`, now and later. Gives a function that stops it. */
export declare function upgrade(root?: Document | Element, options?: UpgradeOptions): () => void;

/** A BMP file of the pixels, for <img> and downloads. */
export declare function bitmapFile(pixels: { width: number; height: number; data: Uint8ClampedArray }): Blob;
