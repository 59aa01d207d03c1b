// The recorded run, unpacked, and how numbers and elements are written. No network, no storage.
const run = (() => {
  const packed = JSON.parse(document.getElementById("run").textContent);
  const basis = { m: "measured", e: "estimated", q: "quoted" };
  const candidates = packed.candidates.map((row) => ({
    id: row.id,
    family: row.family,
    parent: row.parent || "",
    artifact: row.artifact === undefined ? null : packed.artifacts[row.artifact],
    refusal: row.refusal || "",
    reference: Boolean(row.reference),
    baseline: Boolean(row.baseline),
    short: Boolean(row.short),
    stores_less: Boolean(row.stores_less),
    stopped: row.stopped || "",
    measurements: row.m.map((m) => ({
      metric: packed.metrics[m[0]], value: m[1], low: m[2], high: m[3], n: m[4], basis: basis[m[5]], confidence: m[6],
      artifact: packed.artifacts[m[7]] || "", device: packed.devices[m[8]] || "", split: m[9],
      trained: Boolean(m[10]), noisy: Boolean(m[11]), conditions: packed.conditions[m[12]] || {},
      replicates: m[13] || [],
    })),
  }));
  const metrics = new Map(packed.metrics.map((metric) => [metric.name, metric]));
  return {
    ...packed,
    candidates,
    byId: new Map(candidates.map((c) => [c.id, c])),
    metric: (name) => metrics.get(name) || { name, unit: "", direction: "lower", kind: "cost", title: name, bounded: false },
  };
})();

// A sentence in the reader's language; what differs from time to time is filled in.
const T = (text, values = {}) => (run.strings[text] || text).replace(/\{([a-z_]+)\}/g, (whole, name) => values[name] ?? whole);

const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "defs", "pattern"]);

// Figures are written as the words beside them are: see report/figures.py.
function decimals(metric, value) {
  const score = metric.kind === "quality" && !metric.unit;
  if (metric.bounded) return 3;
  if (value === 0 || !Number.isFinite(value)) return score ? 3 : value ? 0 : 2;
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  return score ? Math.min(3, Math.max(0, 3 - exponent)) : Math.min(12, Math.max(0, 2 - exponent));
}
const grouped = (value, places) =>
  value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
const number = (metric, value, places = decimals(metric, value)) => grouped(value, places);
const unitOf = (metric) => run.units[metric.name] || "";
const quantity = (metric, value) => number(metric, value) + unitOf(metric);
const plain = (value) => (Math.abs(value) >= 1e-4 ? grouped(value, 6).replace(/\.?0+$/, "") : String(value));
const bound = (limit) => `${limit.bound === "min" ? "≥" : "≤"} ${plain(limit.value)}${unitOf(run.metric(limit.metric))}`;
function interval(m) {
  if (m.low === m.value && m.high === m.value) return "";
  const places = decimals(m.metric, m.value);
  return `${number(m.metric, m.low, places)} … ${number(m.metric, m.high, places)}`;
}
function provenance(m) {
  const parts = [interval(m)];
  if (m.n > 1) parts.push(`n=${m.n.toLocaleString("en-US")}`);
  if (m.split) parts.push(T(m.split));
  if (m.basis !== "measured") parts.push(T(m.basis));
  else if (!m.trained) parts.push(T("untrained weights"));
  if (m.noisy) parts.push(T("noisy machine"));
  return parts.filter(Boolean).join(T(", "));
}
const shown = (id) => id.split("/").join(" · ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const kindOf = (code) => run.kindOf[code] || "refused";
