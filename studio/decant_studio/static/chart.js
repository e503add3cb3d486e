// Small charts as SVG, in the page's own colours.

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function steps(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) ticks.push(at);
  return ticks;
}

const said = (value) => (Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(+value.toPrecision(3)));

// points: [[x, y]]; a point whose x is `marked` stands out.
export function lineChart({ points, across, up, label, marked }) {
  const [width, height, left, right, top, bottom] = [560, 280, 66, 14, 12, 44];
  const xs = points.map(([x]) => x);
  const [x0, x1, y1] = [Math.min(...xs), Math.max(...xs), Math.max(...points.map(([, y]) => y)) * 1.05 || 1];
  const x = (value) => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - right);
  const y = (value) => height - bottom - (value / y1) * (height - top - bottom);
  const chart = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "plot" });
  for (const tick of steps(0, y1, 4)) {
    chart.append(shape("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" }),
      shape("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, said(tick)));
  }
  for (const value of xs) chart.append(shape("text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, said(value)));
  chart.append(
    shape("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, across),
    shape("text", { x: 14, y: (height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(height - bottom) / 2})` }, up),
    shape("polyline", { points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" "), class: "line" }));
  for (const [a, b] of points) {
    const mark = a === marked;
    chart.append(shape("circle", { cx: x(a), cy: y(b), r: mark ? 6 : 3, class: mark ? "marked" : "point" },
      shape("title", {}, `${said(a)}: ${said(b)}`)));
  }
  return chart;
}

// rows: [{label, value, low, high}], values with their intervals, the largest first.
export function intervalChart({ rows, label, across, centre }) {
  const [width, line, left, right, bottom] = [560, 34, 130, 20, 40];
  const height = rows.length * line + bottom + 8;
  const low = Math.min(...rows.map((row) => row.low), centre ?? Infinity);
  const high = Math.max(...rows.map((row) => row.high), centre ?? -Infinity);
  const x = (value) => left + ((value - low) / (high - low || 1)) * (width - left - right);
  const chart = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "plot" });
  for (const tick of steps(low, high, 5)) {
    chart.append(shape("line", { x1: x(tick), x2: x(tick), y1: 4, y2: height - bottom, class: "grid" }),
      shape("text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle" }, said(tick)));
  }
  chart.append(shape("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, across));
  rows.forEach((row, index) => {
    const y = 4 + line * (index + 0.5);
    chart.append(shape("text", { x: left - 12, y: y + 4, "text-anchor": "end", class: "name" }, row.label),
      shape("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y, class: "interval" }),
      shape("circle", { cx: x(row.value), cy: y, r: 6, class: "marked" },
        shape("title", {}, `${said(row.value)} (${said(row.low)} to ${said(row.high)})`)));
  });
  return chart;
}
