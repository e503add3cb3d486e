// The page Reports: devices and latency of this machine.

import { runJob } from "./api.js";
import { $, element, fixed, whole, working } from "./parts.js";

function table(headers, rows, label, words = 1) {
  const kind = (index) => (index < words ? { class: "word" } : {});
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, element("table", {},
    element("thead", {}, element("tr", {}, ...headers.map((text, i) => element("th", { scope: "col", ...kind(i) }, text)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((text, i) => element("td", kind(i), text)))))));
}

function showDevices({ devices, missing, streams }) {
  const rows = devices.map((one) => [one.runtime, one.kind, one.name]);
  const said = [`Codec streams are decoded ${streams}.`];
  if (missing.length) said.push(`Not installed: ${missing.join(", ")}.`);
  $("machine").replaceChildren(table(["Runtime", "Device", "Name"], rows, "Devices", 3), element("p", { class: "hint" }, said.join(" ")));
}

function showLatency({ rows, side, threads, rounds }) {
  const cells = rows.map((one) => [one.codec, one.runs, whole(one.bytes), fixed(one.median_ms, 2), fixed(one.least_ms, 2)]);
  $("machine").replaceChildren(
    table(["Codec", "Runs on", "Bytes", "Median, ms", "Least, ms"], cells, "Decode latency", 2),
    element("p", { class: "hint" }, `One picture of ${side} × ${side} pixels, decoded at least ${rounds} times; decant with ${threads} ` +
      `thread${threads > 1 ? "s" : ""}. The other codecs have at least the bytes of the first row.`));
}

for (const [id, show] of [["devices", showDevices], ["latency", showLatency]]) {
  $(id).addEventListener("click", async (event) => {
    const buttons = [$("devices"), $("latency")];
    for (const button of buttons) button.disabled = true;
    const job = await working("measuring", (report) => runJob(`/api/${id}`, new Uint8Array([0]), report));
    for (const button of buttons) button.disabled = false;
    event.target.focus();
    if (job) show(job.figures);
  });
}
