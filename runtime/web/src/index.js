export { DecodeError, Player, decode, player } from "./player.js";
export { bitmapFile, upgrade } from "./images.js";
