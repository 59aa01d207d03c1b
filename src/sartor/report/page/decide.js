// The decision again, in the page: the same rules as sartor.stages.decide, reading the same recorded measurements.
// tests/report/test_whatif.py holds the two together. Everything here is a pure function of `run` and `limits`.
const decide = (() => {
  const FINAL = 0, VALIDATION = 1, UNTRAINED = 2, ESTIMATED = 3;
  const INFINITY = Number.POSITIVE_INFINITY;

  // ---- judge: one limit against what is known of one candidate ------------------------------------------
  function rank(candidate, m) {
    if (m.basis !== "measured") return ESTIMATED;
    const sameFile = candidate.artifact !== null && m.artifact === candidate.artifact;
    if (m.metric.kind === "quality") {
      if (!sameFile) return UNTRAINED;
      return m.split === "test" ? FINAL : VALIDATION;
    }
    return sameFile && m.trained ? FINAL : UNTRAINED;
  }

  function best(candidate, name, allowed) {
    let found = null, foundRank = INFINITY;
    for (const m of candidate.measurements) {
      if (m.metric.name !== name || !allowed(m)) continue;
      const r = rank(candidate, m);
      if (r <= foundRank) { found = m; foundRank = r; }  // among equals the latest counts
    }
    return found;
  }
  const known = (candidate, name) => best(candidate, name, () => true);
  const selecting = (candidate, name) => best(candidate, name, (m) => m.split !== "test");

  const holds = (limit, value) => (limit.bound === "min" ? value >= limit.value : value <= limit.value);

  // What is not compressed has lost nothing against itself, once it was judged at all.
  function nothingLost(candidate, name) {
    if (candidate.parent || !name.endsWith("_drop")) return null;
    const own = known(candidate, name.slice(0, -"_drop".length));
    return own === null ? null : { ...own, metric: { ...own.metric, name }, value: 0, low: 0, high: 0 };
  }

  function judge(candidate, limit) {
    const m = known(candidate, limit.metric) || nothingLost(candidate, limit.metric);
    if (m === null) return { limit, outcome: "inconclusive", final: false, measurement: null };
    const good = holds(limit, m.low), bad = holds(limit, m.high);
    let outcome = good && bad ? "met" : good || bad ? "inconclusive" : "missed";
    if (m.basis !== "measured" && outcome === "met") outcome = "inconclusive";
    return { limit, outcome, final: rank(candidate, m) === FINAL, measurement: m };
  }

  // ---- fates: where a candidate stands before the choice ------------------------------------------------
  const clear = (m) => m !== null && m.basis === "measured" && !m.noisy;

  function unpaid(run, candidate, limits) {
    const parent = run.byId.get(candidate.parent);
    if (!parent) return "";
    const ratio = known(candidate, "latency_vs_parent");
    if (candidate.stores_less) {  // pays by its size: how fast it is, the choice weighs
      const ours = known(candidate, "size_mb"), theirs = known(parent, "size_mb");
      if (clear(ours) && clear(theirs) && ours.value > theirs.value * (1 - run.rules.noiseFloor)) return "NOT_SMALLER";
    } else if (clear(ratio)) {
      if (ratio.low > 1 + run.rules.noiseFloor) return "SLOWER_THAN_PARENT";
    } else {
      const ours = known(candidate, "latency_p50_ms"), theirs = known(parent, "latency_p50_ms");
      if (clear(ours) && clear(theirs) && ours.low > theirs.high * (1 + run.rules.noiseFloor)) return "SLOWER_THAN_PARENT";
    }
    const name = run.primary + "_drop";
    const drop = known(candidate, name);
    const limited = limits.some((limit) => limit.metric === name);
    return drop !== null && !limited && drop.low > run.rules.maxDrop ? "ACCURACY_DROP" : "";
  }

  function missCode(run, metric) {
    return metric.endsWith("_drop") ? "ACCURACY_DROP" : run.rules.missCodes[metric] || "BELOW_FLOOR";
  }

  function stand(run, candidate, limits) {
    const verdicts = limits.map((limit) => judge(candidate, limit));
    const doubts = verdicts.filter((v) => v.outcome !== "met").length;
    const standing = (code, more = {}) => ({ candidate, verdicts, doubts, code, ready: false, promising: false, ...more });
    if (candidate.refusal) return standing(candidate.refusal);
    if (candidate.reference) return standing("REFERENCE");
    const missed = verdicts.filter((v) => v.outcome === "missed");
    if (missed.length) return standing(missCode(run, (missed.find((v) => v.final) || missed[0]).limit.metric));
    const code = unpaid(run, candidate, limits);
    if (code) return standing(code);
    if (known(candidate, run.primary) === null || candidate.artifact === null) return standing(candidate.stopped || "NOT_TRIED");
    const tested = hasTest(candidate);
    if (tested && verdicts.every((v) => v.outcome === "met" && v.final)) return standing("", { ready: true });
    if (tested && verdicts.some((v) => v.outcome === "inconclusive" && v.final)) return standing("INCONCLUSIVE");
    if (candidate.stopped) return standing(candidate.stopped);
    return standing("", { promising: true });
  }
  const hasTest = (candidate) => candidate.measurements.some((m) => m.split === "test");

  // ---- choose: objectives order what is feasible --------------------------------------------------------
  function loss(metric, value) {
    if (metric.direction === "lower") return value;
    return metric.bounded ? 1 - value : 1 / Math.max(value, 1e-12);
  }
  const compare = (left, right) => (left < right ? -1 : left > right ? 1 : 0);
  function compareLists(left, right) {
    for (let i = 0; i < left.length; i++) {
      const c = compare(left[i], right[i]);
      if (c) return c;
    }
    return 0;
  }
  const sorted = (items, key) => items.map((item) => [key(item), item]).sort((a, b) => compareLists(a[0], b[0])).map((p) => p[1]);
  function ties(run, candidate) {
    return run.rules.tieBreakers.map((name) => {
      const m = selecting(candidate, name);
      return m === null ? INFINITY : m.value;
    });
  }
  function cheapestFirst(run, candidates) {
    let left = sorted(candidates, (c) => [...ties(run, c), c.id]);
    const ordered = [];
    while (left.length) {
      const fastest = selecting(left[0], run.rules.tieBreakers[0]);
      const reach = fastest === null ? INFINITY : Math.max(fastest.high, fastest.value * run.rules.equallyFast);
      const count = left.filter((c) => ties(run, c)[0] <= reach).length;
      ordered.push(...sorted(left.slice(0, count), (c) => [ties(run, c)[1], ...ties(run, c), c.id]));
      left = left.slice(count);
    }
    return ordered;
  }
  function levelWithBest(run, candidates, name) {
    const values = new Map(candidates.map((c) => [c, selecting(c, name)]));
    const present = [...values.values()].filter((m) => m !== null);
    if (!present.length) return [...candidates];
    let top = present[0];
    for (const m of present) if (loss(m.metric, m.value) < loss(top.metric, top.value)) top = m;
    const reach = loss(top.metric, top.value) + (top.high - top.low) / (2 * run.z[top.confidence]);
    const luck = Math.max(1, run.rules.expectedMaximum[present.length]);
    return candidates.filter((c) => {
      const m = values.get(c);
      return m !== null && loss(m.metric, m.value) <= reach && !isWorseInPairs(run, m, top, luck);
    });
  }
  function isWorseInPairs(run, m, top, luck) {
    const count = m.replicates.length;
    if (!count || m.split !== top.split || m.n !== top.n || count !== top.replicates.length) return false;
    const differences = m.replicates.map((value, i) => loss(m.metric, value) - loss(top.metric, top.replicates[i]));
    const mean = differences.reduce((sum, d) => sum + d, 0) / count;
    const squares = differences.reduce((sum, d) => sum + (d - mean) ** 2, 0);
    const error = count < 2 ? INFINITY : Math.sqrt(((count - 1) / count) * squares);
    return loss(m.metric, m.value) - loss(top.metric, top.value) > luck * error + run.rules.rounding;
  }
  function weighted(run, candidate) {
    let total = 0;
    for (const wish of run.objectives) {
      const m = selecting(candidate, wish.metric);
      if (m === null) return INFINITY;
      total += wish.weight * Math.log(Math.max(run.rules.resolution, loss(m.metric, m.value)));
    }
    return total;
  }
  function order(run, candidates) {
    if (run.objectives.length !== 1) return sorted(candidates, (c) => [weighted(run, c), ...ties(run, c), c.id]);
    let left = [...candidates];
    const ordered = [];
    while (left.length) {
      let group = levelWithBest(run, left, run.objectives[0].metric);
      if (!group.length) group = left;
      ordered.push(...cheapestFirst(run, group));
      const taken = new Set(group);
      left = left.filter((c) => !taken.has(c));
    }
    return ordered;
  }

  // ---- certificate: the nearest measured candidate ------------------------------------------------------
  function wouldDo(limit, m) {
    const bound = limit.bound === "min" ? m.low : m.high;
    if (Math.abs(bound) < 1e-12) return bound;
    const scale = Math.pow(10, Math.floor(Math.log10(Math.abs(bound))) - 2);
    const steps = bound / scale;
    const rounded = limit.bound === "min" ? Math.floor(steps + 1e-9) : Math.ceil(steps - 1e-9);
    return Number((rounded * scale).toPrecision(12));
  }
  function nearest(run, limits) {
    const needs = [];
    for (const candidate of run.candidates) {
      if (candidate.refusal || candidate.reference || candidate.artifact === null) continue;
      const changes = [];
      let size = 0, complete = true;
      for (const limit of limits) {
        const m = known(candidate, limit.metric);
        if (m === null || m.basis !== "measured") { complete = false; break; }
        if (judge(candidate, limit).outcome === "met") continue;
        const value = wouldDo(limit, m), metric = run.metric(limit.metric);
        changes.push({ limit, value });
        size += Math.abs(Math.log(Math.max(1e-6, loss(metric, value))) - Math.log(Math.max(1e-6, loss(metric, limit.value))));
      }
      if (complete && changes.length) needs.push({ candidate, changes, size });
    }
    return sorted(needs, (need) => [need.changes.length, need.size, need.candidate.id])[0] || null;
  }

  // ---- the decision -------------------------------------------------------------------------------------
  function decideAgain(run, limits) {
    const standings = sorted(run.candidates, (c) => [c.id]).map((c) => stand(run, c, limits));
    const ready = order(run, standings.filter((s) => s.ready).map((s) => s.candidate));
    const promising = promisingOnes(run, standings);
    const seen = run.candidates.filter(hasTest);
    const parents = new Set(seen.map((candidate) => candidate.parent));
    const tested = seen.filter((candidate) => !parents.has(candidate.id)).length;
    const chosen = ready[0] || null;
    let next = "";
    if (!chosen && promising.length) {
      const first = promising[0];
      next = hasTest(first) || tested < run.rules.mostFinalists ? first.id : "";
    }
    const fates = new Map(standings.map((s) => [s.candidate.id, { ...s, code: fate(s, chosen) }]));
    const status = chosen ? "met" : isInfeasible(run, standings, promising, limits) ? "infeasible" : "inconclusive";
    const open = standings.filter((s) => s.code === "INCONCLUSIVE").map((s) => s.candidate);
    const closest = status === "inconclusive" ? order(run, open.length ? open : promising)[0] : undefined;
    return { status, chosen: chosen ? chosen.id : "", next, fates, closest: closest ? closest.id : "", nearest: chosen ? null : nearest(run, limits) };
  }
  function promisingOnes(run, standings) {
    const groups = new Map();
    for (const s of standings.filter((item) => item.promising)) {
      const doubts = s.doubts - s.verdicts.filter((v) => v.outcome !== "met" && v.measurement === null).length;
      groups.set(doubts, [...(groups.get(doubts) || []), s.candidate]);
    }
    return [...groups.keys()].sort((a, b) => a - b).flatMap((doubts) => order(run, groups.get(doubts)));
  }
  function fate(standing, chosen) {
    if (chosen && standing.candidate === chosen) return "CHOSEN";
    if (standing.ready && chosen) return "WORSE_OBJECTIVE";
    if (standing.promising) return chosen ? "NOT_FINALIST" : "INCONCLUSIVE";
    return standing.code;
  }
  function isInfeasible(run, standings, promising, limits) {
    if (promising.length || standings.some((s) => s.code === "INCONCLUSIVE")) return false;
    const able = standings.filter((s) => s.code !== "REFERENCE");
    if (limits.some((limit) => beyondAll(run, able, limit))) return true;
    const others = able.filter((s) => !s.candidate.baseline);
    const real = others.length ? others : able;
    const left = (s) => run.rules.untried.includes(s.code); // by the budget: it says nothing about the limits
    const untried = able.filter(left);
    const scored = real.filter((s) => !left(s) && s.candidate.artifact !== null);
    const judged = scored.filter((s) => !s.candidate.short);
    if (!judged.length) return standings.length > 0 && !untried.length && !scored.length;
    const families = new Set(judged.map((s) => s.candidate.family));
    if (untried.every((s) => families.has(s.candidate.family))) return true;
    const asked = limits.filter((limit) => run.metric(limit.metric).kind === "quality");
    return asked.some((limit) => judged.every((s) => farMissed(run, s, limit)));
  }
  function beyondAll(run, able, limit) {
    if (run.metric(limit.metric).kind !== "cost") return false;
    const measured = (v) => v.limit === limit && v.measurement !== null && v.measurement.basis === "measured";
    const seen = able.filter((s) => s.verdicts.some(measured));
    const kinds = new Set(seen.map((s) => Boolean(s.candidate.baseline)));
    return kinds.size === 2 && seen.every((s) => farMissed(run, s, limit));
  }
  function farMissed(run, standing, limit) {
    const verdict = standing.verdicts.find((v) => v.limit === limit && v.outcome === "missed");
    if (!verdict || verdict.measurement === null) return false;
    const m = verdict.measurement, metric = run.metric(limit.metric);
    return loss(metric, limit.bound === "min" ? m.high : m.low) >= run.rules.far * loss(metric, limit.value);
  }

  return Object.assign(decideAgain, { known, selecting, judge, loss });
})();
