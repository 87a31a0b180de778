#!/usr/bin/env python3
"""The package on a box that boots: `test.py ARCH PACKAGE.deb`, after setup.sh. Prints one JSON line of figures, or why it failed.

Installs the package, has the gateway read a Modbus TCP and a Modbus RTU device, stops it so that the watchdog ends it, cuts the
power while it writes, looks that it is back by itself and what was on disk is there, and purges it.
"""

import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from box import Box
from field import Registers, rtu, serve, tcp

DEVICES = """
[[device]]
name = "ethernet"
asset = "plant/line1/ethernet"
[device.modbus]
host = "10.0.2.2"
port = {port}
[[device.point]]
name = "count"
type = "u64"
modbus = {{ table = "holding", address = 9, period_ms = 100 }}
[[device.point]]
name = "fixed"
type = "u64"
modbus = {{ table = "holding", address = 3, period_ms = 100 }}

[[line]]
name = "serial"
transport = "rtu"
path = "{path}"
baud = 115200
[[device]]
name = "rtu"
asset = "plant/line1/rtu"
[device.modbus]
line = "serial"
unit = 7
[[device.point]]
name = "fixed"
type = "u64"
modbus = {{ table = "holding", address = 3, period_ms = 200 }}
"""
UNIT = "twinway-gateway.service"


def files(folder):
    """Serves a folder to the box; gives the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def image(boot, work):
    """A disk of the root file system."""
    path = work / "box.img"
    with open(path, "wb") as file:
        file.truncate(2 << 30)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-d", str(boot / "system"), str(path)], check=True)
    return path


def show(box, key):
    return box.run(f"systemctl show -P {key} {UNIT}").strip()


def check(found, wanted, what):
    if found != wanted:
        raise SystemExit(f"{what}: {found!r}, expected {wanted!r}")


def values(box):
    """Value and quality of each point."""
    found = {}
    for device in ["ethernet", "rtu"]:
        status, text = box.run(f"twinway --output json twins get {device}", ok=False)
        if status != 0:
            return None
        for point in json.loads(text)["points"]:
            found[f"{device}/{point['name']}"] = (point.get("value"), point.get("quality"))
    return found


def reads(box, limit_s=60):
    """Waits until all points are good with what the devices have."""
    limit = time.monotonic() + limit_s
    while True:
        found = values(box)
        if found and all("good" in str(quality).lower() for _, quality in found.values()):
            if "103" in str(found["ethernet/fixed"][0]) and "703" in str(found["rtu/fixed"][0]):
                return found
        if time.monotonic() > limit:
            raise SystemExit(f"not all read within {limit_s} s: {found}; {box.run('journalctl -u twinway-gateway --no-pager -n 30')}")
        time.sleep(0.3)


def main():
    arch, package = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    boot = pathlib.Path(__file__).resolve().parents[2] / "target/cross/boot" / arch
    work = pathlib.Path(tempfile.mkdtemp(prefix="twinway-boot-"))
    began = time.monotonic()
    figures = {"arch": arch, "deb_mb": round(package.stat().st_size / 1e6, 2)}
    box = None
    try:
        disk = image(boot, work)
        port, serial = serve(tcp(Registers(100))), serve(rtu(Registers(700)))
        box = Box(arch, boot, disk, work, serial)
        figures["boot_s"] = round(box.booted(), 1)

        box.wait_for("ip route | grep -q default")
        box.run(f"/usr/lib/apt/apt-helper download-file http://10.0.2.2:{files(str(package.parent))}/{package.name} /tmp/x.deb")
        before = time.monotonic()
        box.run("dpkg -i /tmp/x.deb", limit_s=300)
        figures["install_s"] = round(time.monotonic() - before, 1)
        # As installed it reads nothing, and runs.
        box.wait_for(f"systemctl is-active -q {UNIT}")
        print(box.run("twinway-gateway version"), file=sys.stderr)
        figures["rss_idle_mb"] = rss(box)

        ports = box.run("ls /sys/class/tty | grep -E '^ttyS' | while read t; do grep -q 0x0 /sys/class/tty/$t/iomem_base 2>/dev/null; "
                        "echo $t $(cat /sys/class/tty/$t/type) $(readlink -f /sys/class/tty/$t/device/subsystem); done")
        path = next("/dev/" + line.split()[0] for line in ports.splitlines() if line.endswith("/pci"))
        text = DEVICES.format(port=port, path=path)
        box.run(f"cat > /etc/twinway/conf.d/plant.toml <<'END'\n{text}\nEND")
        box.run("twinway-gateway check /etc/twinway/gateway.toml")
        before = time.monotonic()
        box.run(f"systemctl restart {UNIT}", limit_s=240)
        figures["ready_s"] = round(time.monotonic() - before, 1)
        reads(box)
        figures["cpu_to_ready_s"] = round(int(show(box, "CPUUsageNSec")) / 1e9, 2)
        check(show(box, "ActiveState"), "active", "state of the unit")
        check(show(box, "StatusText"), "2 of 2 devices online; cloud: none", "its status")
        check(box.run("stat -c %U:%a /var/lib/twinway /etc/twinway/secrets").split(), ["twinway:700", "root:700"], "folders")
        figures["rss_mb"] = rss(box)
        security = box.run(f"systemd-analyze security --no-pager {UNIT} | tail -n1")
        figures["exposure"] = float(security.split(":")[1].split()[0])
        if figures["exposure"] > 1.5:
            raise SystemExit(security)

        # A reload over the service manager; then the loops stand still, and the watchdog ends the gateway.
        box.run(f"systemctl reload {UNIT}")
        box.wait_for(f"systemctl is-active -q {UNIT}")
        pid = show(box, "MainPID")
        box.run(f"kill -STOP {pid}")
        box.wait_for(f"[ $(systemctl show -P NRestarts {UNIT}) = 1 ]", limit_s=90)
        box.wait_for(f"systemctl is-active -q {UNIT}")
        check(box.run(f"journalctl -u {UNIT} --no-pager | grep -c 'Watchdog timeout'").strip(), "1", "ends by the watchdog")
        reads(box)

        # Power is cut while it writes.
        box.run("sleep 2")
        until = box.run("date -u -d '-1 second' +%Y-%m-%dT%H:%M:%SZ").strip()
        export = f"twinway buffer export --to {until} --device ethernet --format jsonl | grep -v '^#' | sort"
        lines = int(box.run(f"{export} | tee /tmp/before | wc -l"))
        digest = box.run("sha256sum < /tmp/before")
        if lines < 20:
            raise SystemExit(f"only {lines} samples before the power cut")
        box.cut()
        box = Box(arch, boot, disk, work, serial)
        figures["boot_again_s"] = round(box.booted(), 1)
        _, waited = box.wait_for(f"systemctl is-active -q {UNIT}")
        figures["power_to_active_s"] = round(figures["boot_again_s"] + waited, 1)
        reads(box)
        box.run("twinway buffer verify")
        check(box.run(f"{export} | sha256sum"), digest, "samples of before the power cut")
        figures["samples_kept"] = lines

        # Taken away: configuration and data stay; purged: nothing does.
        box.run("dpkg -r twinway-gateway", limit_s=120)
        box.run("test -s /etc/twinway/gateway.toml && test -d /var/lib/twinway/buffer")
        box.run("dpkg -P twinway-gateway")
        left = box.run("find / -xdev \\( -path /proc -o -path /sys -o -path /tmp -o -path /var/log/journal -o -path /var/log/dpkg.log "
                       "-o -path /var/lib/dpkg/info \\) -prune -o -name '*twinway*' -print")
        check(left.strip(), "", "left after purge")
        check(box.run("getent passwd twinway; getent group twinway; true").strip(), "", "users after purge")
        figures["off_s"] = round(box.off(), 1)
        figures["boot_test_s"] = round(time.monotonic() - began, 1)
        print(json.dumps(figures))
    except BaseException:
        if box:
            box.qemu.kill()
        print(f"logs: {work}", file=sys.stderr)
        raise
    shutil.rmtree(work)


def rss(box):
    """Resident memory of the gateway, MB."""
    pid = show(box, "MainPID")
    return round(int(box.run(f"grep VmRSS /proc/{pid}/status").split()[1]) / 1024, 1)


main()
