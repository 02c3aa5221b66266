"""The doctor on the machine: clock, memory, kernel, power, and the services of systemd."""

from collections.abc import Iterator

from phloem.edge.device.finding import Finding, Level
from phloem.edge.device.layout import CONFIG_FOLDER, UNITS, Role
from phloem.edge.device.patient import Patient
from phloem.shared.clock import Clock
from phloem.shared.clock_quality import SYNCHRONISED, system_says
from phloem.shared.limits import CLOCK_EARLIEST_NS
from phloem.shared.server.vitals import size_of

CLOCK, MEMORY, KERNEL, UNITS_AREA, PERMISSIONS = "clock", "memory", "kernel", "units", "permissions"
AVAILABLE_LEAST = 48 << 20
KERNEL_LEAST = (5, 4)
OTHERS_MAY = 0o007


def clock(patient: Patient, now: Clock) -> Iterator[Finding]:
    """Whether the time is right, and stays so without a network."""
    if now.wall_ns() < CLOCK_EARLIEST_NS:
        yield Finding(
            CLOCK,
            Level.BAD,
            "the clock is years behind: certificates and JWTs are not valid yet",
            "give it a network with NTP once (timedatectl set-ntp true), or a battery-backed clock",
        )
    elif patient.at(str(SYNCHRONISED)).exists() or (patient.live and system_says().synchronised):
        yield Finding(CLOCK, Level.OK, "synchronised")
    else:
        yield Finding(
            CLOCK,
            Level.WARN,
            "nobody says that the clock is right; phloem marks its times as unsynchronised and goes on",
            "timedatectl set-ntp true, or install chrony",
        )
    if not list(patient.at("sys/class/rtc").glob("rtc*")):
        yield Finding(
            CLOCK,
            Level.WARN,
            "no battery-backed clock: after a power cut without a network the time is a guess",
            "add one (a DS3231 costs little), or leave it: readings keep their order in any case",
        )


def memory(patient: Patient) -> Iterator[Finding]:
    """What is left, and whether somebody was killed for want of it."""
    found = patient.fields("proc/meminfo")
    if not found:
        yield Finding(MEMORY, Level.UNKNOWN, "/proc/meminfo cannot be read")
        return
    whole, left = (int(found.get(name, "0 kB").split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    told = f"{size_of(left)} of {size_of(whole)} available"
    if left < AVAILABLE_LEAST:
        yield Finding(MEMORY, Level.WARN, told, "see what takes it: ps aux --sort=-rss | head")
    else:
        yield Finding(MEMORY, Level.OK, told)
    for unit in ("phloem-edge", "phloem-bridge", "phloem-hub"):
        killed = int(
            patient.fields(f"sys/fs/cgroup/system.slice/{unit}.service/memory.events").get("oom_kill", 0)
        )
        if killed:
            yield Finding(
                MEMORY,
                Level.BAD,
                f"{unit} was killed {killed} times because it had reached MemoryMax=",
                f"systemctl edit {unit}, [Service], MemoryMax=512M; and see /connz for who does not read",
            )
    for line in patient.read("proc/swaps").splitlines()[1:]:
        device = line.split()[0]
        if "mmcblk" in device or not device.startswith("/dev/zram"):
            yield Finding(
                MEMORY,
                Level.WARN,
                f"swap on {device} wears the card out",
                "turn it off (Raspberry Pi OS: sudo systemctl disable --now dphys-swapfile), or use zram",
            )


def kernel(patient: Patient) -> Iterator[Finding]:
    """Version, limits for services, and power."""
    release = patient.read("proc/sys/kernel/osrelease")
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers and numbers < KERNEL_LEAST:
        yield Finding(
            KERNEL, Level.WARN, f"Linux {release} is old", "5.4 or newer is what phloem is tested with"
        )
    elif release:
        yield Finding(KERNEL, Level.OK, f"Linux {release}")
    controllers = patient.read("sys/fs/cgroup/cgroup.controllers")
    if controllers and "memory" not in controllers.split():
        yield Finding(
            KERNEL,
            Level.WARN,
            "MemoryMax= of the units has no effect: the kernel does not count memory for services",
            "Raspberry Pi: add  cgroup_enable=memory  to the line in /boot/firmware/cmdline.txt and reboot",
        )
    for folder in sorted(patient.at("sys/class/hwmon").glob("hwmon*")):
        base = f"sys/class/hwmon/{folder.name}"
        if patient.read(f"{base}/name") == "rpi_volt" and patient.number(f"{base}/in0_lcrit_alarm"):
            yield Finding(
                KERNEL,
                Level.BAD,
                "the supply voltage was too low: cards lose data and USB devices vanish",
                "use the board's own power supply and a short, thick cable; feed USB devices by a powered hub",
            )


def permissions(patient: Patient) -> Iterator[Finding]:
    """Who may read secrets."""
    folder = patient.at(CONFIG_FOLDER)
    well = True
    for path in [*sorted(folder.glob("*")), *sorted(patient.at("etc/credstore").glob("*"))]:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if path.is_file() and mode & OTHERS_MAY:
            well = False
            yield Finding(
                PERMISSIONS,
                Level.WARN,
                f"everybody on this machine may read {path}",
                f"sudo chmod o= {path}",
            )
    if folder.is_dir() and well:
        yield Finding(PERMISSIONS, Level.OK, f"{folder} is not open to everybody")


def units(patient: Patient) -> Iterator[Finding]:
    """What systemd says of the services."""
    wanted = UNITS[Role.HUB if patient.is_hub else Role.EDGE]
    for unit in wanted:
        told = patient.run(
            "systemctl", "show", unit, "-p", "LoadState,ActiveState,UnitFileState,NRestarts,StatusText"
        )
        if not told:
            yield Finding(UNITS_AREA, Level.UNKNOWN, f"{unit}: systemd cannot be asked here")
            return
        shown = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        yield _unit(unit, shown)


def _unit(unit: str, shown: dict[str, str]) -> Finding:
    state, restarts = shown.get("ActiveState", ""), int(shown.get("NRestarts") or 0)
    if shown.get("LoadState") == "not-found":
        return Finding(UNITS_AREA, Level.BAD, f"{unit} is not installed", "sudo phloem install")
    if state != "active":
        return Finding(
            UNITS_AREA,
            Level.BAD,
            f"{unit} is {state or 'unknown'}",
            f"see why: journalctl -u {unit} -n 30; then sudo systemctl restart {unit}",
        )
    if shown.get("UnitFileState") not in ("enabled", "static", None):
        return Finding(
            UNITS_AREA, Level.WARN, f"{unit} runs, but not after a reboot", f"sudo systemctl enable {unit}"
        )
    status = f": {shown['StatusText']}" if shown.get("StatusText") else ""
    if restarts > 3:
        return Finding(
            UNITS_AREA,
            Level.WARN,
            f"{unit} was restarted {restarts} times{status}",
            f"see why: journalctl -u {unit} -p warning",
        )
    return Finding(UNITS_AREA, Level.OK, f"{unit} runs{status}")
