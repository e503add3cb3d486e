// Decodes every .dcn file of a folder with the package: node decode_all.mjs PACKAGE FOLDER. Writes NAME.rgba beside
// each; prints one line of JSON per file: {name, width, height} or {name, code, message}.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [root, folder] = process.argv.slice(2).map((path) => resolve(path));
const { Decoder } = await import(pathToFileURL(join(root, "decoder.js")));
const decoder = await Decoder.create(await readFile(join(root, "decant.wasm")));
const models = join(root, "models");
for (const name of await readdir(models)) decoder.addModel(await readFile(join(models, name)));
console.log(JSON.stringify({ kernels: decoder.kernels }));
for (const name of (await readdir(folder)).filter((name) => name.endsWith(".dcn")).sort()) {
  const upright = name.startsWith("turned");
  try {
    const bytes = await readFile(join(folder, name));
    const { width, height, data } = decoder.decode(bytes, { upright });
    await writeFile(join(folder, `${name}.rgba`), data);
    console.log(JSON.stringify({ name, width, height }));
  } catch (error) {
    console.log(JSON.stringify({ name, code: error.code ?? null, message: error.message }));
  }
}
