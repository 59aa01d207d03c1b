// Tables that can be sorted and filtered, and the evidence of one candidate at a time.
(() => {
  function sortable(table) {
    table.querySelectorAll("thead th[data-sort]").forEach((head) => {
      const button = element("button", { type: "button" }, ...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const column = [...head.parentElement.children].indexOf(head);
        const numeric = head.dataset.sort === "number";
        const value = (row) => {
          const cell = row.cells[column];
          return numeric ? Number(cell.dataset.value ?? "NaN") : cell.textContent.trim();
        };
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => {
          const x = value(a), y = value(b);
          if (numeric) return (Number.isNaN(x) - Number.isNaN(y)) || (up ? x - y : y - x);  // unknown last
          return up ? x.localeCompare(y) : y.localeCompare(x);
        });
        body.append(...rows);
      });
    });
  }
  document.querySelectorAll("table.sortable").forEach(sortable);

  const fates = $("fates"), codes = $("code-filter"), words = $("word-filter");
  if (fates && codes) {
    const apply = () => {
      let left = 0;
      for (const row of fates.tBodies[0].rows) {
        const fits = (!codes.value || row.querySelector(".code").textContent === codes.value) && row.textContent.toLowerCase().includes(words.value.trim().toLowerCase());
        row.hidden = !fits;
        left += fits;
      }
      $("fates-count").textContent = T("{count} shown", { count: left });
    };
    codes.addEventListener("change", apply);
    words.addEventListener("input", apply);
    apply();
  }

  // ---- evidence -----------------------------------------------------------------------------------------
  const chooser = $("evidence-of"), body = $("evidence").tBodies[0];
  chooser.append(...[...run.candidates].sort((a, b) => (a.id < b.id ? -1 : 1)).map((c) => element("option", { value: c.id }, shown(c.id))));
  const short = (hash) => hash.slice(0, 8);
  function fill(id) {
    const candidate = run.byId.get(id);
    if (!candidate) return;
    chooser.value = id;
    const rows = candidate.measurements.map((m) => {
      const cell = (text, attributes = {}) => element("td", attributes, text);
      const conditions = Object.entries(m.conditions);
      const more = conditions.length
        ? element("td", {}, element("details", {}, element("summary", {}, conditions.slice(0, 2).map(([k, v]) => `${k} ${written(v)}`).join(", ") || T("conditions")),
          element("dl", {}, ...conditions.flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, written(v))]))))
        : cell("");
      return element("tr", { class: m.basis }, element("th", { scope: "row" }, capital(T(m.metric.title))),
        cell(quantity(m.metric, m.value), { class: "number" }), cell(interval(m), { class: "number" }), cell(m.n ? m.n.toLocaleString("en-US") : "", { class: "number" }),
        cell([T(m.basis), m.trained || m.basis !== "measured" ? "" : T("untrained"), m.noisy ? T("noisy") : ""].filter(Boolean).join(T(", "))), cell(T(m.split)), cell(short(m.artifact), { class: "hash", title: m.artifact }), more);
    });
    body.replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", { colspan: 8 }, T("Nothing was measured or estimated.")))]));
  }
  const written = (value) => {
    if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  };
  chooser.addEventListener("change", () => fill(chooser.value));
  document.addEventListener("candidate", (event) => fill(event.detail));
  fates?.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (link) fill(link.closest("tr").dataset.id);
  });
  fill(chooser.dataset.first || run.candidates[0]?.id);

  // ---- the run's steps, made when somebody looks -------------------------------------------------------
  const log = $("steps");
  log?.closest("details").addEventListener("toggle", () => {
    if (log.tBodies[0].rows.length) return;
    log.tBodies[0].append(...run.steps.map(([action, subject, started, seconds, reused, outcome]) =>
      element("tr", {}, element("td", { class: "number" }, grouped(started, 1)), element("td", {}, T(`to ${action}`).replace(/^to /, "")), element("td", {}, shown(subject)),
        element("td", { class: "number" }, reused ? T("reused") : grouped(seconds, 2)), element("td", {}, T(outcome)))));
  });
})();
