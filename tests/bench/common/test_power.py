"""Power, clocks, temperature and energy from files as Linux lays them out; and this machine's own."""

import pytest
from decant_bench.common import power


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def laptop(tmp_path):
    system, proc = tmp_path / "sys", tmp_path / "proc"
    for core, khz in enumerate((3_400_000, 1_600_000)):
        write(
            system / f"devices/system/cpu/cpu{core}/cpufreq",
            scaling_cur_freq=khz,
            scaling_governor="powersave",
            energy_performance_preference="balance_power",
        )
    write(system / "devices/system/cpu/intel_pstate", no_turbo=0)
    write(system / "devices/system/cpu/smt", active=1)
    write(system / "class/power_supply/AC", type="Mains", online=0)
    write(system / "class/power_supply/BAT0", type="Battery", status="Discharging", capacity=63)
    write(system / "class/thermal/thermal_zone0", type="acpitz", temp=27800)
    write(system / "class/thermal/thermal_zone1", type="x86_pkg_temp", temp=71000)
    write(
        system / "class/powercap/intel-rapl:0",
        name="package-0",
        energy_uj=999_000_000,
        max_energy_range_uj=1_000_000_000,
    )
    write(system / "class/powercap/intel-rapl:0:0", name="core", energy_uj=5, max_energy_range_uj=10)
    return system, proc


def test_a_laptop_on_battery(laptop):
    found = power.state(*laptop)
    assert found == {
        "supply": "battery, 63 %",
        "governor": "powersave",
        "preference": "balance_power",
        "platform_profile": None,
        "boost": True,
        "smt": True,
        "clock_mhz": 2500.0,
        "temperature_c": 71.0,
        "energy_counters": ["package-0"],
    }


def test_mains_and_boost_switched_off(laptop):
    system, proc = laptop
    write(system / "class/power_supply/AC", online=1)
    write(system / "devices/system/cpu/intel_pstate", no_turbo=1)
    found = power.state(system, proc)
    assert (found["supply"], found["boost"]) == ("mains", False)


def test_energy_is_counted_through_a_wrap_and_packages_only(laptop):
    system, _ = laptop
    meter = power.Energy(system)
    assert meter.joules() == 0
    write(system / "class/powercap/intel-rapl:0", energy_uj=999_500_000)
    assert meter.joules() == pytest.approx(0.5)
    write(system / "class/powercap/intel-rapl:0", energy_uj=1_000_000)
    assert meter.joules() == pytest.approx(2.0)


def test_an_amd_chip_tells_its_temperature(tmp_path):
    write(tmp_path / "class/hwmon/hwmon0", name="nvme", temp1_input=40000)
    write(tmp_path / "class/hwmon/hwmon1", name="k10temp", temp1_input=55250)
    assert power.temperature_c(tmp_path) == 55.25


def test_clocks_of_cpuinfo_where_there_is_no_cpufreq(tmp_path):
    write(tmp_path / "proc", cpuinfo="cpu MHz\t\t: 2000.0\n\ncpu MHz\t\t: 3000.0")
    assert power.clock_mhz(tmp_path / "sys", tmp_path / "proc") == 2500.0


def test_a_system_that_tells_nothing(tmp_path):
    found = power.state(tmp_path, tmp_path)
    assert found.pop("energy_counters") == []
    assert set(found.values()) == {None}
    assert power.Energy(tmp_path).joules() is None


def test_this_machine_can_be_described():
    assert set(power.state()) >= {"supply", "clock_mhz", "energy_counters"}
