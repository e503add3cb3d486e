// The page of a ranking: its chart.

import { ask } from "./api.js";
import { intervalChart } from "./chart.js";
import { $, element } from "./parts.js";

const figure = $("chart");
if (figure) {
  const ranking = await ask(figure.dataset.ranking);
  const rows = ranking.rows.map((row) => (
    { label: row.codec, value: row.strength, low: row.strength_low, high: row.strength_high }));
  const said = rows.map((row) => `${row.label} ${row.value.toFixed(2)}`).join(", ");
  figure.replaceChildren(
    intervalChart({ rows, across: "strength (Bradley and Terry), 95 % intervals", centre: 0, label: `Strengths: ${said}` }),
    element("figcaption", {}, "Strength of each codec; further right was chosen more often."));
}
