// What if: a slider per limit, and the decision again at every move.
const whatif = (() => {
  const STEPS = 400;
  const recorded = run.limits.map((limit) => ({ ...limit }));
  let limits = recorded.map((limit) => ({ ...limit, on: true }));
  const controls = [];

  // A slider runs over all values that could matter: every interval end of every candidate, and the limit itself.
  function span(limit) {
    const metric = run.metric(limit.metric), values = [limit.value];
    for (const candidate of run.candidates) {
      const m = decide.known(candidate, limit.metric);
      if (m && !candidate.reference) values.push(m.low, m.high);
    }
    const finite = values.filter(Number.isFinite);
    let low = Math.min(...finite), high = Math.max(...finite);
    const logarithmic = low > 0 && high / low > 8 && !metric.bounded;
    if (logarithmic) { low *= 0.9; high *= 1.1; } else { const pad = (high - low || 1) * 0.02; low -= pad; high += pad; }
    if (metric.bounded) { low = Math.max(0, low); high = Math.min(1, high); }
    if (low === high) high = low + 1;
    return {
      to: (value) => Math.round(STEPS * (logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low))),
      from: (place) => tidy(logarithmic ? low * Math.pow(high / low, place / STEPS) : low + ((high - low) * place) / STEPS),
    };
  }
  const tidy = (value) => Number(value.toPrecision(3));
  const active = () => limits.filter((limit) => limit.on).map(({ on, ...limit }) => limit);
  const changed = () => limits.some((limit, i) => !limit.on || limit.value !== recorded[i].value);

  function build() {
    recorded.forEach((limit, i) => {
      const metric = run.metric(limit.metric), scale = span(limit), id = `limit-${i}`;
      const slider = element("input", { type: "range", id, min: 0, max: STEPS, step: 1, "data-key": limit.key });
      const output = element("output", { for: id });
      const toggle = element("input", { type: "checkbox", id: `${id}-on`, "aria-label": T("keep the limit on {title}", { title: T(metric.title) }) });
      slider.addEventListener("input", () => { limits[i].value = scale.from(Number(slider.value)); limits[i].on = true; update(); });
      toggle.addEventListener("change", () => { limits[i].on = toggle.checked; update(); });
      const set = () => {
        slider.value = scale.to(limits[i].value);
        toggle.checked = limits[i].on;
        output.textContent = limits[i].on ? bound(limits[i]) : T("no limit");
        slider.setAttribute("aria-valuetext", `${T(metric.title)} ${output.textContent}`);
        row.classList.toggle("off", !limits[i].on);
        row.classList.toggle("moved", !limits[i].on || limits[i].value !== limit.value);
      };
      const row = element("div", { class: "control" }, element("label", { for: id }, toggleLabel(toggle), capital(T(metric.title))), output, slider,
        element("small", { class: "faint" }, T("asked {bound}", { bound: bound(limit) })));
      controls.push(set);
      $("sliders").append(row);
    });
    $("reset").addEventListener("click", () => { limits = recorded.map((limit) => ({ ...limit, on: true })); update(); });
    for (const button of document.querySelectorAll("button[data-changes]"))
      button.addEventListener("click", () => {
        const changes = JSON.parse(button.dataset.changes);
        limits = recorded.map((limit) => ({ ...limit, on: true, value: changes[limit.key] ?? limit.value }));
        update();
        $("what-if").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      });
  }
  const toggleLabel = (toggle) => element("span", { class: "toggle" }, toggle);

  function update() {
    const decision = decide(run, active());
    controls.forEach((set) => set());
    const moved = changed();
    plot.draw({ limits: active(), decision, changed: moved });
    $("reset").hidden = !moved;
    const [status, sentence, more] = words(decision);
    const answer = $("answer");
    answer.dataset.status = status;
    answer.replaceChildren(element("b", {}, moved ? T("With these limits") : T("With the limits as asked")), element("p", {}, sentence), element("p", { class: "faint" }, more));
    $("command").textContent = moved ? command() : "";
    $("command-line").hidden = !moved;
  }

  function words(decision) {
    if (decision.status === "met") {
      const rivals = [...decision.fates.values()].filter((f) => kindOf(f.code) === "meets").length;
      const also = !rivals ? T("Nothing else would do.") : rivals === 1 ? T("1 other would do, too.") : T("{count} others would do, too.", { count: rivals });
      return ["met", T("{candidate} would be chosen.", { candidate: shown(decision.chosen) }), also];
    }
    if (decision.next)
      return ["inconclusive", T("{candidate} leads, but has not been tested yet.", { candidate: shown(decision.next) }), T("A run with these limits would score it on the test split and settle this.")];
    if (decision.status === "inconclusive") {
      if (!decision.closest) return ["inconclusive", T("Not settled: nothing that may fit has been trained."), T("A run with these limits would train it.")];
      const doubt = decision.fates.get(decision.closest).verdicts.find((v) => v.outcome === "inconclusive" && v.measurement);
      const why = doubt ? T("Its {title}, {interval}, straddles {bound}.", { title: T(run.metric(doubt.limit.metric).title), interval: interval(doubt.measurement), bound: bound(doubt.limit) }) : "";
      return ["inconclusive", T("Not settled: {candidate} comes closest.", { candidate: shown(decision.closest) }), why];
    }
    const near = decision.nearest;
    if (!near) return ["infeasible", T("Nothing meets these limits."), T("No measured candidate shows what would do.")];
    const needs = near.changes.map(({ limit, value }) => `${T(run.metric(limit.metric).title)} ${bound({ ...limit, value })}`).join(T(" and "));
    return ["infeasible", T("Nothing meets these limits."), T("Nearest: {candidate}, at {needs}.", { candidate: shown(near.candidate.id), needs })];
  }
  function command() {
    const parts = limits.map((limit, i) => (!limit.on ? `${limit.key}=none` : limit.value !== recorded[i].value ? `${limit.key}=${limit.value}` : ""));
    return `sartor explain RUN ${parts.filter(Boolean).join(" ")}`;
  }

  build();
  return {
    update,
    // For tests and the curious: the decision with limits by key (null drops one).
    ask(changes) {
      limits = recorded.map((limit) => ({ ...limit, on: changes[limit.key] !== null, value: changes[limit.key] ?? limit.value }));
      update();
      const decision = decide(run, active());
      const fates = Object.fromEntries([...decision.fates].map(([id, f]) => [id, f.code]));
      const near = decision.nearest && { candidate: decision.nearest.candidate.id, changes: Object.fromEntries(decision.nearest.changes.map((c) => [c.limit.key, c.value])) };
      return { status: decision.status, chosen: decision.chosen, next: decision.next, closest: decision.closest, fates, nearest: near };
    },
  };
})();
whatif.update();
window.sartor = { ask: whatif.ask };
