// Shows <img data-decant> elements: those near the view are fetched, decoded and given to the element.
import { fetched } from "./network.js";
import { player as shared } from "./player.js";

const AT_ONCE = 3;
const MARGIN = "400px";
const SELECTOR = "img[data-decant]";

// Upgrades the images within `root`, now and later. Each has its file's address in `data-decant`, or in `src` where
// that is empty. Gives a function that stops it.
//
// `data-decant-state` of an element becomes "waiting", "loading", then "done" or "failed". A failed one gets the address
// in `data-decant-fallback`, if any, and an event "decant-error" whose detail is the error; others get the browser's
// own "load". At most `atOnce` files are in memory at a time; elements that leave the view while they wait are dropped.
export function upgrade(root = document, { player = shared(), atOnce = AT_ONCE, margin = MARGIN } = {}) {
  const waiting = new Set();
  let running = 0;

  function turn() {
    while (running < atOnce && waiting.size) {
      const [image] = waiting;
      waiting.delete(image);
      running++;
      show(image, player).finally(() => {
        running--;
        turn();
      });
    }
  }

  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        if (target.dataset.decantState !== "waiting") near.unobserve(target);
        else if (isIntersecting) waiting.add(target);
        else waiting.delete(target);
      turn();
    },
    { rootMargin: margin },
  );

  function add(image) {
    if (image.dataset.decantState) return;
    image.dataset.decantState = "waiting";
    near.observe(image);
  }

  const added = new MutationObserver((records) => {
    for (const record of records)
      for (const node of record.addedNodes)
        if (node.nodeType === Node.ELEMENT_NODE) {
          if (node.matches(SELECTOR)) add(node);
          node.querySelectorAll(SELECTOR).forEach(add);
        }
  });
  root.querySelectorAll(SELECTOR).forEach(add);
  added.observe(root, { childList: true, subtree: true });
  return () => {
    added.disconnect();
    near.disconnect();
    waiting.clear();
  };
}

async function show(image, player) {
  image.dataset.decantState = "loading";
  try {
    const address = image.dataset.decant || image.getAttribute("src");
    const pixels = await player.decode(await fetched(new URL(address, image.baseURI)));
    const picture = URL.createObjectURL(bitmapFile(pixels));
    try {
      image.src = picture;
      await image.decode();
    } finally {
      URL.revokeObjectURL(picture);
    }
    image.dataset.decantState = "done";
  } catch (error) {
    image.dataset.decantState = "failed";
    if (image.dataset.decantFallback) image.src = image.dataset.decantFallback;
    image.dispatchEvent(new CustomEvent("decant-error", { detail: error, bubbles: true }));
  }
}

// A BMP file of pixels as they are (version 4, bit fields): every browser reads it, and nothing is compressed.
export function bitmapFile({ width, height, data }) {
  const header = new DataView(new ArrayBuffer(122));
  const put = (at, value) => header.setUint32(at, value, true);
  header.setUint16(0, 0x424d);
  put(2, 122 + data.length);
  put(10, 122);
  put(14, 108);
  put(18, width);
  header.setInt32(22, -height, true); // rows from the top
  header.setUint16(26, 1, true);
  header.setUint16(28, 32, true);
  put(30, 3);
  put(34, data.length);
  [0xff, 0xff00, 0xff0000, 0xff000000].forEach((mask, i) => put(54 + 4 * i, mask));
  put(70, 0x73524742); // sRGB
  return new Blob([header, data], { type: "image/bmp" });
}
