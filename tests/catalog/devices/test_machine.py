"""What a machine is, from files as Linux writes them."""

import os

import pytest

from sartor.catalog.devices import _machine

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
flags\t\t: fpu sse4_2 avx avx2 fma avx512f avx512_vnni amx_bf16 amx_tile amx_int8 hypervisor

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
RASPBERRY = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


def test_an_intel_processor():
    name, sets = _machine.parse_cpuinfo(XEON)
    assert name == "Intel(R) Xeon(R) Processor @ 2.60GHz"
    assert sets == ("amx_bf16", "amx_int8", "amx_tile", "avx", "avx2", "avx512_vnni", "avx512f", "fma")


def test_an_arm_processor():
    name, sets = _machine.parse_cpuinfo(RASPBERRY)
    assert name == "ARM 0x41/0xd0b"
    assert sets == ("asimddp", "asimdhp", "neon")


@pytest.mark.parametrize("text", ["", "nonsense", "flags\n:::\n", "\0\xff"])
def test_text_that_says_nothing_still_gives_a_name(text, monkeypatch):
    monkeypatch.setattr(_machine.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(_machine.platform, "processor", lambda: "")
    assert _machine.parse_cpuinfo(text) == ("riscv64", ())


def test_without_proc_the_architecture_says_what_it_can(monkeypatch, tmp_path):
    monkeypatch.setattr(_machine, "PROC", tmp_path)
    monkeypatch.setattr(_machine.platform, "system", lambda: "Windows")
    monkeypatch.setattr(_machine.platform, "machine", lambda: "ARM64")
    monkeypatch.setattr(_machine.platform, "processor", lambda: "Snapdragon")
    assert _machine.processor() == ("Snapdragon", ("neon",))


def test_an_apple_processor(monkeypatch, tmp_path):
    values = {"machdep.cpu.brand_string": "Apple M4", "hw.optional.neon": "1", "hw.optional.arm.FEAT_I8MM": "1"}
    monkeypatch.setattr(_machine, "PROC", tmp_path)
    monkeypatch.setattr(_machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(_machine, "_sysctl", lambda key: values.get(key, ""))
    assert _machine.processor() == ("Apple M4", ("i8mm", "neon"))


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A machine of 8 cores and 64 GB whose control group is /box/job; returns a writer of control files."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    monkeypatch.setattr(_machine, "PROC", proc)
    monkeypatch.setattr(_machine, "CGROUP", cgroup)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 64 << 30}))

    def write(membership, **files):
        (proc / "self" / "cgroup").write_text(membership)
        for name, content in files.items():
            path = cgroup / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def test_without_limits_all_is_usable(groups):
    groups("0::/box/job\n", box__job__cpu_dot_max="max 100000\n", box__job__memory_dot_max="max\n")
    assert _machine.usable_cores() == 8
    assert _machine.usable_memory_bytes() == 64 << 30


def test_limits_of_the_unified_hierarchy(groups):
    groups("0::/box/job\n", box__job__cpu_dot_max="350000 100000\n", box__job__memory_dot_max=str(4 << 30))
    assert _machine.usable_cores() == 3
    assert _machine.usable_memory_bytes() == 4 << 30


def test_a_parent_group_limits_its_children(groups):
    groups("0::/box/job\n", box__cpu_dot_max="200000 100000\n", box__job__cpu_dot_max="max 100000\n")
    assert _machine.usable_cores() == 2


def test_limits_of_the_old_hierarchy(groups):
    groups(
        "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
        **{
            "cpu,cpuacct__box__cpu_dot_cfs_quota_us": "150000",
            "cpu,cpuacct__box__cpu_dot_cfs_period_us": "100000",
            "memory__box__memory_dot_limit_in_bytes": str(1 << 30),
        },
    )
    assert _machine.usable_cores() == 1
    assert _machine.usable_memory_bytes() == 1 << 30


def test_no_limit_as_the_old_hierarchy_writes_it(groups):
    groups(
        "4:memory:/box\n3:cpu:/box\n",
        cpu__box__cpu_dot_cfs_quota_us="-1",
        cpu__box__cpu_dot_cfs_period_us="100000",
        memory__box__memory_dot_limit_in_bytes="9223372036854771712",
    )
    assert _machine.usable_cores() == 8
    assert _machine.usable_memory_bytes() == 64 << 30


def test_in_a_container_the_limits_lie_at_the_root(groups):
    groups("0::/not/mounted/here\n", cpu_dot_max="100000 100000\n")
    assert _machine.usable_cores() == 1


def test_less_than_one_core_is_one(groups):
    groups("0::/\n", cpu_dot_max="50000 100000\n")
    assert _machine.usable_cores() == 1


@pytest.mark.parametrize("membership", ["", "garbage\n", "::\n", "a:b\n"])
def test_a_strange_membership_limits_nothing(groups, membership):
    groups(membership)
    assert _machine.usable_cores() == 8


def fake_driver(folder, script):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "wanted"),
    [("echo NVIDIA H200; echo NVIDIA L4", ("NVIDIA H200", "NVIDIA L4")), ("echo broken; exit 9", ()), ("true", ())],
)
def test_accelerators_from_the_driver(tmp_path, monkeypatch, script, wanted):
    fake_driver(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert _machine.accelerators() == wanted


def test_no_driver_no_accelerators(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _machine.accelerators() == ()


def test_this_machine_has_cores_memory_and_a_name():
    name, sets = _machine.processor()
    assert name
    assert isinstance(sets, tuple)
    assert _machine.usable_cores() >= 1
    assert _machine.usable_memory_bytes() > 1 << 28
