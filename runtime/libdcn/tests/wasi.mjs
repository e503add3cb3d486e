// Runs a WebAssembly program of WASI in node: node wasi.mjs PROGRAM ARGUMENTS..., with its standard input and output.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...parameters] = process.argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [program, ...parameters],
  env: process.env,
  preopens: { "/": "/" },
  returnOnExit: true,
});
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exit(wasi.start(instance));
