"""Claim: the range estimated from a device's datasheet holds what others measured there, for 95 of 100 networks.

``python benchmarks/quoted_devices.py NCNN``, with a checkout of https://github.com/Tencent/ncnn: its
``benchmark/README.md`` holds latencies of the same networks on many devices, ``benchmark/models`` the networks. ncnn is
another runtime than those of Sartor (on ARM it computes in fp16 by default), so this asks more of a range than its own
runtimes would.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sartor import registry
from sartor.jobs import NetworkCost
from sartor.stages.predict import estimate
from sartor.types import Candidate, Device, Network

SECTIONS = {
    "raspberry-pi-4": "Raspberry Pi 4 Model B Broadcom BCM2711B0, Cortex-A72 (ARMv8) (1.8GHz x 4)",
    "raspberry-pi-5": "Raspberry Pi 5 Broadcom BCM2712, Cortex-A76 (ARMv8) (2.4GHz x 4)",
    "rk3588": "Rockchip RK3588 (Cortex-A76 2.4GHz x 4 + Cortex-A55 1.8GHz x 4)",
    "snapdragon-8-gen-2": "Qualcomm SM8550-AB Snapdragon 8 Gen 2",
    "snapdragon-x-elite": "Qualcomm Snapdragon X Elite (X1E78100)",
    "ryzen-9-5950x": "AMD Ryzen 9 5950X 16-Core of Desktop",
    "core-i7-13700k": "Intel® Core™ i7-13700K of Desktop",
    "jetson-orin-nano": "NVIDIA Jetson Orin Nano",
    "jetson-agx-orin": "NVIDIA Jetson AGX Orin",
}
"""Sheet to the beginning of the section's title."""
OF_ALL = 0.95
SETTING = re.compile(r"(num_threads|powersave|gpu_device) *= *(-?\d+)")
RESULT = re.compile(r"^ *([\w.-]+) +min = +([\d.]+) +max = +([\d.]+) +avg = +([\d.]+)")


@dataclass(frozen=True)
class Published:
    """One published latency. ``on_card``: on the device's graphics, not its cores."""

    device: str
    network: str
    threads: int
    on_card: bool
    average_ms: float


def main() -> None:
    """Compare, print a table per device, write the pairs on request, and end with the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("ncnn", type=Path, nargs="?", help="a checkout of Tencent/ncnn")
    parser.add_argument("--csv", type=Path, help="write every pair here")
    parser.add_argument("--smoke", action="store_true", help="on a made-up network and latency: nothing is a result")
    asked = parser.parse_args()
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    if asked.smoke:
        asked.ncnn = made_up(Path(tempfile.mkdtemp()))
    elif asked.ncnn is None or not (asked.ncnn / "benchmark" / "README.md").is_file():
        parser.error("give the folder of a checkout: git clone https://github.com/Tencent/ncnn")
    costs = {file.stem: cost_of(file) for file in sorted((asked.ncnn / "benchmark" / "models").glob("*.param"))}
    rows = []
    for one in published((asked.ncnn / "benchmark" / "README.md").read_text(encoding="utf-8")):
        device: Device = registry.get("devices", "quoted").profile(one.device)
        cost = costs.get(one.network)
        if cost is None or one.on_card != (device.kind != "cpu"):
            continue
        precision = "int8" if one.network.endswith("_int8") else "fp32"
        compressor = "int8-static" if precision == "int8" else "none"
        network = Network(one.network, "", {}, (224, 224), 1)
        guess = estimate(cost, Candidate(network, compressor, "ncnn", precision, one.threads), device)[0]
        rows.append((one, guess.low, guess.value, guess.high))
    held = report(rows)
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["device", "network", "threads", "published_ms", "low_ms", "estimate_ms", "high_ms"])
            table.writerows(
                [one.device, one.network, one.threads, one.average_ms, *(f"{value:.4g}" for value in guess)]
                for one, *guess in rows
            )
    print("HOLDS" if held >= OF_ALL else "FAILS")
    sys.exit(0 if held >= OF_ALL else 1)


def report(rows: list[tuple[Published, float, float, float]]) -> float:
    """A line per device; the share of all pairs that lie in their range."""
    print(
        f"{'device':22}{'pairs':>6}{'within':>8}{'below':>7}{'above':>7}   published / estimate: least, median, largest"
    )
    inside = 0
    for name in SECTIONS:
        mine = [row for row in rows if row[0].device == name]
        if not mine:
            continue
        ratios = sorted(one.average_ms / value for one, _, value, _ in mine)
        below = sum(one.average_ms < low for one, low, _, _ in mine)
        above = sum(one.average_ms > high for one, _, _, high in mine)
        inside += len(mine) - below - above
        middle = statistics.median(ratios)
        print(
            f"{name:22}{len(mine):6}{len(mine) - below - above:8}{below:7}{above:7}   "
            f"{ratios[0]:.2f}, {middle:.2f}, {ratios[-1]:.2f}"
        )
    share = inside / max(len(rows), 1)
    print(f"{inside} of {len(rows)} within ({share:.1%})")
    return share


def published(readme: str) -> list[Published]:
    """The latencies of the sections, one per device, network, threads and side: the last that is given."""
    found = {}
    for section in re.split(r"^### ", readme, flags=re.MULTILINE)[1:]:
        title = section.split("\n", 1)[0]
        device = next((name for name, begins in SECTIONS.items() if title.startswith(begins)), None)
        setting: dict[str, int] = {}
        for line in section.splitlines() if device else ():
            if match := SETTING.match(line.strip()):
                setting[match[1]] = int(match[2])
            elif (match := RESULT.match(line)) and setting.get("powersave", 0) != 1 and "num_threads" in setting:
                on_card = setting.get("gpu_device", -1) >= 0
                key = (device, match[1], setting["num_threads"], on_card)
                found[key] = Published(device or "", match[1], setting["num_threads"], on_card, float(match[4]))
    return list(found.values())


def made_up(folder: Path) -> Path:
    """A checkout with one network of one convolution, and one latency of it."""
    models = folder / "benchmark" / "models"
    models.mkdir(parents=True)
    (models / "one.param").write_text(
        "7767517\n2 2\nInput data 0 1 data -23330=4,3,224,224,3 0=224 1=224 2=3\n"
        "Convolution c 1 1 data out -23330=4,3,112,112,32 0=32 1=3 3=2 4=1 5=1 6=864 9=1\n"
    )
    lines = ["num_threads = 4", "powersave = 0", "gpu_device = -1", "one  min =    1.00  max =    1.20  avg =    1.10"]
    (folder / "benchmark" / "README.md").write_text("\n".join([f"### {SECTIONS['raspberry-pi-5']}", *lines]))
    return folder


def cost_of(file: Path) -> NetworkCost | None:
    """Static cost of a network file, whose lines name layers, their parameters and what they write; None without."""
    operations = parameters = written = layers = 0
    for line in file.read_text(encoding="utf-8").splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        values = dict(pair.split("=", 1) for pair in rest[int(inputs) + int(outputs) :])
        shape = [int(number) for number in values.get("-23330", "0").split(",")][1:]
        elements = 1
        for size in shape[1:4]:
            elements *= max(size, 1)
        if kind in ("Split", "Input"):
            continue
        written += elements * 4 if shape else 0
        if kind == "MultiHeadAttention" or (kind.startswith("Convolution") and len(shape) < 4):
            return None
        if kind.startswith("Convolution"):
            weights = int(values["6"])
            parameters, layers = parameters + weights, layers + 1
            operations += 2 * weights * (shape[1] * shape[2])
        elif kind == "InnerProduct":
            parameters, layers = parameters + int(values["2"]), layers + 1
            operations += 2 * int(values["2"])
    return NetworkCost(file.stem, operations, parameters, written, layers)


if __name__ == "__main__":
    main()
