"""The power state of a machine: supply, governor, clocks, temperature and energy.

The values come from sysfs and procfs of Linux. On other systems, in virtual machines and without permission
they are None.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYS = Path("/sys")
PROC = Path("/proc")
_PACKAGES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "acpitz")  # most telling first
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def state(system: Path = SYS, proc: Path = PROC) -> dict[str, Any]:
    """What a record says of power: mains or battery, governor, preference, boost, clocks now, and which
    counters of energy can be read.
    """
    cpu = system / "devices/system/cpu"
    no_turbo = _text(cpu / "intel_pstate/no_turbo")
    boost = _text(cpu / "cpufreq/boost")
    return {
        "supply": _supply(system),
        "governor": _text(cpu / "cpu0/cpufreq/scaling_governor"),
        "preference": _text(cpu / "cpu0/cpufreq/energy_performance_preference"),
        "platform_profile": _text(system / "firmware/acpi/platform_profile"),
        "boost": {"0": True, "1": False}.get(no_turbo or "", {"1": True, "0": False}.get(boost or "")),
        "smt": {"1": True, "0": False}.get(_text(cpu / "smt/active") or ""),
        "clock_mhz": clock_mhz(system, proc),
        "temperature_c": temperature_c(system),
        "energy_counters": [meter.name for meter in _domains(system)],
    }


def clock_mhz(system: Path = SYS, proc: Path = PROC) -> float | None:
    """The mean clock of the cores now; in a virtual machine usually a constant."""
    found = [
        int(text) / 1000
        for path in sorted(system.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        if (text := _text(path)) and text.isdigit()
    ]
    if not found:
        for line in (_text(proc / "cpuinfo") or "").splitlines():
            if line.startswith("cpu MHz"):
                found.append(float(line.split(":")[1]))
    return round(sum(found) / len(found), 1) if found else None


def temperature_c(system: Path = SYS) -> float | None:
    """Of the processor, in degrees Celsius: its thermal zone, or its sensor chip."""
    zones = {
        kind: value
        for zone in sorted(system.glob("class/thermal/thermal_zone*"))
        if (kind := _text(zone / "type")) and (value := _text(zone / "temp"))
    }
    for kind in _PACKAGES:
        if kind in zones:
            return int(zones[kind]) / 1000
    for chip in sorted(system.glob("class/hwmon/hwmon*")):
        if _text(chip / "name") in _CHIPS and (value := _text(chip / "temp1_input")):
            return int(value) / 1000
    return None


@dataclass
class _Domain:
    """A RAPL package: a counter of microjoules that begins again after ``wrap``."""

    name: str
    path: Path
    wrap: int
    last: int
    total: int = 0

    def read(self) -> int:
        """Microjoules since the meter began."""
        now = int(_text(self.path) or self.last)
        self.total += now - self.last if now >= self.last else now + self.wrap - self.last
        self.last = now
        return self.total


@dataclass
class Energy:
    """Joules of all processor packages from now on (RAPL, through the powercap files of Linux). Read it at
    least once in half a minute: the counters wrap.
    """

    system: Path = SYS
    started: float = field(default_factory=time.monotonic)
    domains: list[_Domain] = field(init=False)

    def __post_init__(self) -> None:
        self.domains = list(_domains(self.system))

    def joules(self) -> float | None:
        """Since the meter was made; None where no counter can be read."""
        return sum(domain.read() for domain in self.domains) / 1e6 if self.domains else None


def _domains(system: Path) -> Iterator[_Domain]:
    for folder in sorted(system.glob("class/powercap/*-rapl:[0-9]")):
        now, wrap = _text(folder / "energy_uj"), _text(folder / "max_energy_range_uj")
        if now and wrap:
            yield _Domain(_text(folder / "name") or folder.name, folder / "energy_uj", int(wrap), int(now))


def _supply(system: Path) -> str | None:
    """``mains``, or ``battery, 63 %``; None where the system has no power supply to tell of."""
    told = {}
    for folder in sorted(system.glob("class/power_supply/*")):
        if (kind := _text(folder / "type")) and kind not in told:
            told[kind] = folder
    if "Mains" in told and _text(told["Mains"] / "online") == "1":
        return "mains"
    if "Battery" in told:
        discharging = _text(told["Battery"] / "status") == "Discharging"
        level = _text(told["Battery"] / "capacity")
        return f"battery, {level} %" if discharging else "mains"
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
