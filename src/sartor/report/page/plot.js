// The Pareto picture: every candidate by cost and quality, limits as lines, fate as colour and shape.
const plot = (() => {
  const frame = $("plot-frame"), svg = $("plot"), card = $("plot-card"), spoken = $("plot-spoken");
  const quality = run.metric(run.primary);
  const view = { x: "latency_p95_ms", halving: quality.bounded && quality.direction === "higher" };
  let state = null, points = [], current = null, pinned = false;

  // ---- scales -------------------------------------------------------------------------------------------
  const RESOLUTION = 5e-4;  // the smallest error the axis tells apart
  const errorOf = (value) => Math.log(Math.max(RESOLUTION, 1 - value));

  function logScale(values, from, to) {
    let low = Math.min(...values), high = Math.max(...values);
    if (low === high) { low /= 2; high *= 2; }
    const a = Math.log(low) - Math.log(high / low) * 0.04, b = Math.log(high) + Math.log(high / low) * 0.06;
    const scale = (value) => from + ((Math.log(value) - a) / (b - a)) * (to - from);
    scale.low = Math.exp(a); scale.high = Math.exp(b);
    scale.ticks = logTicks(scale.low, scale.high, Math.abs(to - from) / 64);
    return scale;
  }
  function logTicks(low, high, room) {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
        for (const step of steps) {
          const tick = Number((step * 10 ** e).toPrecision(3));
          if (tick >= low && tick <= high) ticks.push(tick);
        }
      if (ticks.length <= room || steps.length === 1) return ticks;
    }
    return [];
  }
  function linearTicks(low, high, count) {
    const rough = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const ticks = [];
    for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) ticks.push(Number(t.toPrecision(12)));
    return ticks;
  }
  function qualityScale(values, from, to) {
    const transform = view.halving ? (v) => -errorOf(v) : (v) => v;
    const placed = values.map(transform);
    let low = Math.min(...placed), high = Math.max(...placed);
    if (low === high) { low -= 0.5; high += 0.5; }
    const pad = (high - low) * 0.08;
    low -= pad; high += pad;
    const scale = (value) => from + ((transform(value) - low) / (high - low)) * (to - from);
    scale.ticks = view.halving
      ? [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999].filter((t) => transform(t) >= low && transform(t) <= high)
      : linearTicks(low, high, 6);
    return scale;
  }

  // ---- what is drawn ------------------------------------------------------------------------------------
  const usable = (m) => m !== null && Number.isFinite(m.value);
  function gather() {
    return run.candidates.map((candidate) => {
      const x = decide.known(candidate, view.x), y = decide.known(candidate, run.primary), size = decide.known(candidate, "size_mb");
      if (!usable(x) || x.value <= 0) return null;
      const fate = state.decision.fates.get(candidate.id);
      const solid = x.basis === "measured" && usable(y) && y.basis === "measured" && y.trained;
      return { candidate, x, y: usable(y) ? y : null, size: usable(size) ? size.value : 0, code: fate.code, kind: kindOf(fate.code), solid };
    }).filter(Boolean);
  }
  const radius = (size, largest) => 3.6 + 7.5 * Math.sqrt(largest > 0 ? Math.min(1, size / largest) : 0);

  // Shapes are drawn around (0, 0) with about the area of a circle of radius r.
  const SHAPES = {
    chosen: (r) => star(r * 1.5), meets: (r) => circle(r), open: (r) => polygon([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]], r),
    misses: (r) => polygon([[-1.25, -0.95], [1.25, -0.95], [0, 1.3]], r), unpaid: (r) => polygon([[-1, -1], [1, -1], [1, 1], [-1, 1]], r * 0.9),
    stopped: (r) => circle(r * 0.8), refused: (r) => `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}`, reference: (r) => `M${-r} 0H${r}M0 ${-r}V${r}`,
  };
  const circle = (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  const polygon = (corners, r) => "M" + corners.map(([x, y]) => `${(x * r).toFixed(2)} ${(y * r).toFixed(2)}`).join("L") + "z";
  function star(r) {
    const corners = [];
    for (let k = 0; k < 10; k++) {
      const angle = (Math.PI * k) / 5 - Math.PI / 2, reach = k % 2 ? 0.48 : 1;
      corners.push([Math.cos(angle) * reach, Math.sin(angle) * reach]);
    }
    return polygon(corners, r);
  }

  function draw() {
    const width = Math.max(280, frame.clientWidth), narrow = width < 520, height = narrow ? 380 : 460;
    const left = narrow ? 44 : 56, right = width - (narrow ? 10 : 18), top = 16, strip = 34;
    points = gather();
    const metric = run.metric(view.x);
    const drawn = points.filter((p) => p.y), unknown = points.filter((p) => !p.y);
    const bottom = height - 46 - (unknown.length ? strip + 12 : 0);
    const limits = state.limits.filter((l) => l.metric === view.x || l.metric === run.primary);
    const wanted = (name) => limits.filter((l) => l.metric === name && Number.isFinite(l.value)).map((l) => l.value);
    const x = logScale([...points.map((p) => p.x.value), ...wanted(view.x).filter((v) => v > 0), ...(points.length ? [] : [1])], left, right);
    const y = qualityScale([...drawn.map((p) => p.y.value), ...wanted(run.primary), ...(drawn.length ? [] : [0.5])], bottom, top);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    svg.append(hatch());
    axes(x, y, { left, right, top, bottom, height, metric, unknown: unknown.length, strip });
    for (const limit of limits) drawLimit(limit, x, y, { left, right, top, bottom });
    frontLine(drawn, x, y, metric);
    const largest = Math.max(0, ...points.map((p) => p.size));
    const order = ["reference", "refused", "stopped", "misses", "unpaid", "open", "meets", "chosen"];
    points.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.size - a.size);
    const whiskers = element("g", { class: "whiskers" });
    svg.append(whiskers);
    for (const p of points) {
      p.left = x(p.x.value);
      p.top = p.y ? y(p.y.value) : bottom + 12 + strip / 2;
      p.node = element("path", {
        class: `point ${p.kind}${p.solid ? "" : " hollow"}`, d: SHAPES[p.kind](p.kind === "chosen" ? Math.max(7, radius(p.size, largest)) : radius(p.size, largest)),
        transform: `translate(${p.left.toFixed(1)} ${p.top.toFixed(1)})`,
      });
      svg.append(p.node);
    }
    const { chosen, next, closest, nearest } = state.decision;
    const named = points.find((p) => p.candidate.id === (chosen || next || closest || nearest?.candidate.id));
    if (named) nameTag(named, right);
    state.spans = { x, y, whiskers, box: { left, right, top, bottom } };
    if (current) show(points.find((p) => p.candidate === current.candidate) || null, false);
    legend();
  }
  function hatch() {
    const pattern = element("pattern", { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    pattern.append(element("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" }));
    return element("defs", {}, pattern);
  }
  function axes(x, y, box) {
    const g = element("g", { class: "axes", "aria-hidden": "true" });
    for (const tick of y.ticks) {
      const at = y(tick);
      g.append(element("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "grid" }));
      g.append(element("text", { x: box.left - 8, y: at + 4, "text-anchor": "end" }, plain(tick)));
    }
    const floor = box.height - 46;
    for (const tick of x.ticks) {
      const at = x(tick);
      g.append(element("line", { x1: at, x2: at, y1: floor, y2: floor + 5, class: "tick" }));
      g.append(element("text", { x: at, y: floor + 19, "text-anchor": "middle" }, plain(tick)));
    }
    g.append(element("line", { x1: box.left, x2: box.right, y1: floor, y2: floor, class: "axis" }));
    if (box.unknown) {
      g.append(element("line", { x1: box.left, x2: box.right, y1: box.bottom + 12, y2: box.bottom + 12, class: "grid" }));
      [T("not"), T("trained")].forEach((word, line) => g.append(element("text", { x: box.left - 6, y: floor - box.strip / 2 - 1 + 12 * line, "text-anchor": "end", class: "faint" }, word)));
    }
    const title = `${T(box.metric.title)}${unitOf(box.metric) ? "," + unitOf(box.metric).replace(/^(?! )/, " ") : ""}, ${box.metric.direction === "lower" ? T("← better") : T("better →")}`;
    g.append(element("text", { x: box.right, y: box.height - 6, "text-anchor": "end", class: "title" }, title));
    g.append(element("text", { x: box.left + 6, y: box.top + 8, class: "title" }, `↑ ${T(quality.title)}`));
    svg.append(g);
  }
  function drawLimit(limit, x, y, box) {
    const vertical = limit.metric === view.x;
    const at = Math.min(Math.max(vertical ? x(limit.value) : y(limit.value), vertical ? box.left : box.top), vertical ? box.right : box.bottom);
    if (!Number.isFinite(at)) return;
    const max = limit.bound === "max";
    const area = vertical
      ? { x: max ? at : box.left, width: max ? box.right - at : at - box.left, y: box.top, height: box.bottom - box.top }
      : max ? { x: box.left, width: box.right - box.left, y: box.top, height: at - box.top }
        : { x: box.left, width: box.right - box.left, y: at, height: box.bottom - at };
    const edge = { ...area };  // hatched along the limit, as drawings do it; the rest is only tinted
    if (vertical) { edge.width = Math.min(9, area.width); if (!max) edge.x = at - edge.width; }
    else { edge.height = Math.min(9, area.height); if (max) edge.y = at - edge.height; }
    svg.append(element("rect", { ...area, class: "forbidden" }), element("rect", { ...edge, fill: "url(#hatch)" }));
    svg.append(vertical
      ? element("line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "limit" })
      : element("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "limit" }));
    const words = bound(limit);
    const flip = vertical && at > box.right - 70;
    svg.append(vertical
      ? element("text", { x: at + (flip ? -6 : 6), y: box.bottom - 8, class: "limit-name", "text-anchor": flip ? "end" : "start" }, words)
      : element("text", { x: box.right - 6, y: at - 6, class: "limit-name", "text-anchor": "end" }, words));
  }
  function frontLine(drawn, x, y, metric) {
    const measured = drawn.filter((p) => p.solid && !["refused", "reference"].includes(p.kind));
    measured.sort((a, b) => (metric.direction === "lower" ? 1 : -1) * (a.x.value - b.x.value));
    const better = (a, b) => (quality.direction === "higher" ? a > b : a < b);
    const corners = [];
    for (const p of measured) if (!corners.length || better(p.y.value, corners[corners.length - 1].y.value)) corners.push(p);
    if (corners.length < 2) return;
    let path = `M${x(corners[0].x.value)} ${y(corners[0].y.value)}`;
    for (const p of corners.slice(1)) path += `H${x(p.x.value)}V${y(p.y.value)}`;
    svg.append(element("path", { d: path, class: "front" }));
  }
  function nameTag(p, right) {
    // Nothing measured is both cheaper and better than the front, so the name has room towards that corner.
    const name = shown(p.candidate.id), length = name.length * 7.4, end = p.left > 60 + length;
    const at = end ? p.left - 10 : Math.max(4, Math.min(p.left + 10, right - length));
    svg.append(element("text", { x: at, y: Math.max(14, p.top - 13), class: "name-tag", "text-anchor": end ? "end" : "start" }, name));
  }
  function legend() {
    const present = new Map();
    for (const p of points) present.set(p.kind, (present.get(p.kind) || 0) + 1);
    const items = Object.keys(run.kinds).filter((kind) => present.has(kind)).map((kind) => {
      const mark = element("svg", { viewBox: "-9 -9 18 18", width: 16, height: 16, "aria-hidden": "true" });
      mark.append(element("path", { class: `point ${kind}`, d: SHAPES[kind](5.5) }));
      return element("li", {}, mark, `${T(run.kinds[kind])} `, element("b", {}, String(present.get(kind))));
    });
    if (points.some((p) => !p.solid)) {
      const mark = element("svg", { viewBox: "-9 -9 18 18", width: 16, height: 16, "aria-hidden": "true" });
      mark.append(element("path", { class: "point stopped hollow", d: SHAPES.meets(5.5) }));
      items.push(element("li", {}, mark, T("hollow: estimated or not trained")));
    }
    $("legend").replaceChildren(...items);
  }

  // ---- looking at one candidate -------------------------------------------------------------------------
  function show(p, speak = true) {
    for (const other of points) other.node.classList.toggle("current", other === p);
    const layer = state.spans.whiskers;
    layer.replaceChildren();
    current = p;
    card.hidden = !p;
    if (!p) return;
    const { x, y, box } = state.spans;
    const across = (value) => Math.min(box.right, Math.max(box.left, value > 0 ? x(value) : box.left));
    const up = (value) => Math.min(box.bottom, Math.max(box.top, y(value)));
    layer.append(element("line", { x1: across(p.x.low), x2: across(p.x.high), y1: p.top, y2: p.top }));
    if (p.y) layer.append(element("line", { x1: p.left, x2: p.left, y1: up(p.y.low), y2: up(p.y.high) }));
    const parent = points.find((other) => other.candidate.id === p.candidate.parent);
    if (parent) layer.append(element("line", { x1: p.left, y1: p.top, x2: parent.left, y2: parent.top, class: "kin" }));
    card.replaceChildren(...describe(p));
    const width = frame.clientWidth, over = p.left > width / 2;
    card.style.left = over ? "auto" : `${Math.min(p.left + 18, width - 250)}px`;
    card.style.right = over ? `${Math.max(0, Math.min(width - p.left + 18, width - 250))}px` : "auto";
    card.style.top = `${Math.max(0, Math.min(p.top - 30, svg.clientHeight - card.offsetHeight - 4))}px`;
    if (speak) spoken.textContent = card.innerText.replace(/\n+/g, ". ");
  }
  function describe(p) {
    const fate = state.decision.fates.get(p.candidate.id);
    const lines = [element("strong", {}, shown(p.candidate.id)), element("p", { class: `kind ${p.kind}` }, T(run.kinds[p.kind]))];
    const reason = state.changed ? T(run.rules.codes[p.code] || p.code) : reasonOf(p.candidate.id) || p.code;
    lines.push(element("p", {}, reason));
    const table = element("table");
    const limited = new Map(fate.verdicts.map((v) => [v.limit.metric, v]));
    const names = [...new Set([run.primary, view.x, "size_mb", ...limited.keys()])];
    for (const name of names) {
      const m = decide.known(p.candidate, name), metric = run.metric(name), verdict = limited.get(name);
      table.append(element("tr", {}, element("th", { scope: "row" }, T(metric.title)), element("td", {}, m ? quantity(metric, m.value) : T("unknown")),
        element("td", { class: "faint" }, m ? provenance(m) : ""), element("td", { class: verdict ? verdict.outcome : "" }, verdict ? T(verdict.outcome) : "")));
    }
    return [...lines, table];
  }
  const reasonOf = (id) => document.querySelector(`#fates tr[data-id="${CSS.escape(id)}"] .reason`)?.textContent || "";

  function nearestPoint(event) {
    const box = svg.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let found = null, distance = 26 ** 2;
    for (const p of points) {
      const d = (p.left - px) ** 2 + (p.top - py) ** 2;
      if (d <= distance) { found = p; distance = d; }
    }
    return found;
  }
  svg.addEventListener("pointermove", (event) => {
    if (pinned) return;
    const p = nearestPoint(event);
    if (p !== current) show(p, false);
  });
  svg.addEventListener("pointerleave", () => { if (!pinned && document.activeElement !== svg) show(null); });
  svg.addEventListener("pointerdown", (event) => {
    const p = nearestPoint(event);
    pinned = Boolean(p);
    show(p);
    if (p) document.dispatchEvent(new CustomEvent("candidate", { detail: p.candidate.id }));
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { pinned = false; show(null); return; }
    if (event.key === "Enter" && current) document.dispatchEvent(new CustomEvent("candidate", { detail: current.candidate.id }));
    if (!step || !points.length) return;
    event.preventDefault();
    const along = [...points].sort((a, b) => a.left - b.left || a.top - b.top);
    const start = current ? along.indexOf(points.find((p) => p.candidate === current.candidate)) : -1;
    pinned = true;
    show(along[(start + step + along.length) % along.length]);
  });
  svg.addEventListener("blur", () => { pinned = false; show(null); });

  // ---- choices above the picture ------------------------------------------------------------------------
  const chooser = $("x-metric");
  const costs = run.metrics.filter((m) => m.kind === "cost" && run.candidates.some((c) => (decide.known(c, m.name)?.value ?? 0) > 0));
  if (!costs.some((m) => m.name === view.x)) view.x = costs[0]?.name ?? view.x;
  chooser.append(...costs.map((m) => element("option", { value: m.name, ...(m.name === view.x ? { selected: "" } : {}) }, T(m.title))));
  chooser.addEventListener("change", () => { view.x = chooser.value; draw(); });
  const spread = $("y-scale");
  spread.parentElement.hidden = !view.halving;
  spread.checked = view.halving;
  spread.addEventListener("change", () => { view.halving = spread.checked; draw(); });
  let width = 0;
  new ResizeObserver(() => {
    if (state && frame.clientWidth !== width) { width = frame.clientWidth; draw(); }
  }).observe(frame);

  return { draw(next) { state = next; draw(); } };
})();
