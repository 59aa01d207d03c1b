"""The decision in the page must be the decision: the same limits, asked of both, in a real browser."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import run_files

from sartor.report.render import render
from sartor.stages.decide import decide
from sartor.types import Decision, Limit, Objective, RunFile

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on PATH: the page is NOT checked"
    ),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1180,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def opened(browser: Any, run: RunFile, folder: Path) -> Any:
    path = folder / "report.html"
    path.write_text(render(run), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.get_log("browser") == []
    return browser


def limits_like(run: RunFile, chance: random.Random) -> dict[str, float | None]:
    """Limits around what was measured: some dropped, some exactly at an interval's end."""
    changes: dict[str, float | None] = {}
    for limit in run.requirement.limits:
        seen = [m for r in run.records for m in r.measurements if m.metric.name == limit.metric]
        if chance.random() < 0.15:
            changes[limit.key] = None
        elif chance.random() < 0.3:
            changes[limit.key] = chance.choice((chance.choice(seen).low, chance.choice(seen).high))
        else:
            changes[limit.key] = round(chance.choice(seen).value * chance.uniform(0.8, 1.15), 6)
    return changes


def decided(run: RunFile, changes: dict[str, float | None]) -> Decision:
    kept: list[Limit] = []
    for limit in run.requirement.limits:
        value = changes.get(limit.key, limit.value)
        kept += [replace(limit, value=value)] if value is not None else []
    return decide(replace(run.requirement, limits=tuple(kept)), run.records, run.metrics)


def expected(decision: Decision) -> dict[str, Any]:
    return {
        "status": decision.status,
        "chosen": decision.chosen,
        "next": decision.next,
    }


def _with_objectives(run: RunFile, *objectives: Objective) -> RunFile:
    requirement = replace(run.requirement, objectives=objectives)
    records, decision = run_files.finished(requirement, run.records)
    return replace(run, requirement=requirement, records=records, decision=decision)


RUNS = {
    "met": run_files.run_file,
    "infeasible": run_files.infeasible,
    "inconclusive": run_files.inconclusive,
    "fastest": lambda: _with_objectives(run_files.run_file(), Objective("latency_p95_ms", 1.0)),
    "weighted": lambda: _with_objectives(
        run_files.run_file(),
        Objective("accuracy", 3.0),
        Objective("latency_p95_ms", 1.0),
        Objective("throughput_per_s", 0.5),
    ),
    "short": lambda: run_files.ended_early(short=True),
    "ended early": lambda: run_files.ended_early(short=False),
    "in pairs": lambda: run_files.run_file(found=run_files.in_pairs(run_files.records())),
    "drop": lambda: run_files.run_file(("accuracy_drop", "max", 0.03), ("throughput_per_s", "min", 900.0)),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_page_decides_as_decide_does(browser, tmp_path, name):
    run = RUNS[name]()
    opened(browser, run, tmp_path)
    chance = random.Random(name)
    statuses = set()
    asked: list[dict[str, float | None]] = [{}, *(limits_like(run, chance) for _ in range(30))]
    for changes in asked:
        wanted = decided(run, changes)
        answer = browser.execute_script("return window.sartor.ask(arguments[0])", changes)
        nearest, closest = answer.pop("nearest"), answer.pop("closest")
        if wanted.status == "inconclusive":
            early = ("the budget ended", "none that was trained meets", "what may fit had hardly seen")
            assert wanted.sentence.startswith(closest or early), changes
        fates, codes = answer.pop("fates"), {fate.candidate: fate.code for fate in wanted.fates}
        differing = {name: (code, codes[name]) for name, code in fates.items() if code != codes[name]}
        assert not differing, f"{changes}: (page, decide)"
        assert fates.keys() == codes.keys()
        assert answer == expected(wanted), changes
        if wanted.certificate and wanted.certificate.relaxations:
            first = wanted.certificate.relaxations[0]
            assert nearest == {"candidate": first.candidate, "changes": dict(first.changes)}, changes
        statuses.add(wanted.status)
    assert len(statuses) > 1, "the limits asked for were too much alike to tell anything"
    assert browser.get_log("browser") == []


def test_the_page_opens_with_the_recorded_decision(browser, tmp_path):
    run = run_files.run_file()
    opened(browser, run, tmp_path)
    answer = browser.find_element("id", "answer")
    assert run.decision.chosen.replace("/", " · ") in answer.text
    assert not browser.find_element("id", "reset").is_displayed()
    assert len(browser.find_elements("css selector", "#plot .point")) == len(run.records)


def test_a_slider_moves_the_line_and_the_answer_and_reset_brings_them_back(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    run = run_files.run_file()
    opened(browser, run, tmp_path)

    def look() -> tuple[str, str]:
        line = browser.find_element("css selector", "#plot line.limit[y2]")
        return line.get_attribute("x1"), browser.find_element("id", "answer").text

    before = look()
    slider = browser.find_element("css selector", 'input[data-key="limits.latency_p95_ms.max"]')
    slider.send_keys(Keys.HOME)
    after = look()
    assert before != after
    assert "With these limits" in after[1]
    assert "limits.latency_p95_ms.max=" in browser.find_element("id", "command").text
    browser.find_element("id", "reset").click()
    assert look() == before


def test_the_picture_can_be_walked_with_the_keyboard(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    opened(browser, run_files.run_file(), tmp_path)
    plot = browser.find_element("id", "plot")
    seen = set()
    for _ in range(4):
        plot.send_keys(Keys.ARROW_RIGHT)
        seen.add(browser.find_element("id", "plot-spoken").get_attribute("textContent"))
    assert len(seen) == 4
    assert browser.find_element("id", "plot-card").is_displayed()
    plot.send_keys(Keys.ENTER)
    name = browser.find_element("css selector", "#plot-card strong").text
    assert browser.find_element("css selector", "#evidence-of option:checked").text == name
    plot.send_keys(Keys.ESCAPE)
    assert not browser.find_element("id", "plot-card").is_displayed()


def test_the_table_filters_and_sorts(browser, tmp_path):
    run = run_files.run_file()
    opened(browser, run, tmp_path)
    rows = "#fates tbody tr:not([hidden])"
    browser.execute_script(
        "const f = document.getElementById('code-filter'); f.value = 'TOO_SLOW'; f.dispatchEvent(new Event('change'))"
    )
    slow = [fate for fate in run.decision.fates if fate.code == "TOO_SLOW"]
    assert len(browser.find_elements("css selector", rows)) == len(slow)
    browser.execute_script(
        "const f = document.getElementById('code-filter'); f.value = ''; f.dispatchEvent(new Event('change'))"
    )
    browser.find_element("css selector", "#fates thead th:nth-child(3) button").click()
    values = [
        float(cell.get_attribute("data-value") or "inf")
        for cell in browser.find_elements("css selector", "#fates tbody td:nth-child(3)")
    ]
    assert values == sorted(values)


def test_a_relaxation_can_be_tried(browser, tmp_path):
    run = run_files.infeasible()
    opened(browser, run, tmp_path)
    browser.find_element("css selector", "button[data-changes]").click()
    assert "With these limits" in browser.find_element("id", "answer").text
    assert browser.find_element("id", "answer").get_attribute("data-status") != "infeasible"


def test_a_narrow_page_does_not_scroll_sideways(browser, tmp_path):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for make in (run_files.run_file, run_files.infeasible):
            opened(browser, make(), tmp_path)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("labels", [(), ("one",), tuple(f"类别-{k}" for k in range(150))])
def test_odd_runs_raise_no_error(browser, tmp_path, labels):
    run = run_files.run_file(found=run_files.records()[:1] if len(labels) == 1 else None, labels=labels)
    if not labels:
        run = replace(
            run, records=(), decision=decide(run.requirement, (), run.metrics), insights={}, curves={}, steps=()
        )
    opened(browser, run, tmp_path)
