#!/usr/bin/env python3
"""The package on a box that boots: `test.py ARCH PACKAGE.deb`, after setup.sh. Prints one JSON line of figures, or why it failed.

Installs the package, lets `twinway init` find a Modbus TCP and a Modbus RTU device, has the gateway read both by a configuration of its own,
enrols it in a cloud on the host over TLS, which shows the twin and commands it; stops it so that the watchdog ends it, has another version
installed by the updater's unit and a bad one give way, goes back, cuts the power while it writes, looks that it is back by itself, that what
was on disk is there and comes to the cloud once, and purges it. Environment: PROGRAMS, the folder of the host's twinway-cloud and twinway
(target/release).
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from box import Box
from cloud import Arrival, Cloud
from field import Registers, rtu, serve, tcp
from steps import UNIT, bundle, by_updater, check, init, runs, told, trust_builder

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
[[device.point]]
name = "setpoint"
type = "u64"
access = "read_write"
write_min = 0
write_max = 1000
modbus = {{ table = "holding", address = 5, period_ms = 100 }}

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
MANY = """
[[device]]
name = "many"
asset = "plant/line1/many"
[device.modbus]
host = "10.0.2.2"
port = {port}
"""
MANY_POINT = """[[device.point]]
name = "p{n}"
type = "u64"
modbus = {{ table = "holding", address = {address}, period_ms = 1000 }}
"""
SERVER = """
[opcua_server]
listen = "127.0.0.1:4840"
anonymous = true
"""
TWIN = "plant/line1/ethernet"


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


class Files:
    """A folder for the box."""

    def __init__(self, folder):
        self.folder = folder
        self.port = files(str(folder))

    def put(self, box, text, path):
        """Puts a text there: the console would take long for a long one."""
        (self.folder / "text").write_text(text)
        self.get(box, "text", path)

    def get(self, box, name, path):
        box.run(f"rm -f {path}; /usr/lib/apt/apt-helper -q download-file http://10.0.2.2:{self.port}/{name} {path}")


def serial_port(box):
    """The one that is no console."""
    ports = box.run("ls /sys/class/tty | grep -E '^ttyS' | while read t; do "
                    "echo $t $(readlink -f /sys/class/tty/$t/device/subsystem); done")
    return next("/dev/" + line.split()[0] for line in ports.splitlines() if line.endswith("/pci"))


def install(box, own, figures, package):
    """As a person does; it runs at once, and reads nothing."""
    own.get(box, package.name, "/tmp/x.deb")
    before = time.monotonic()
    box.run("dpkg -i /tmp/x.deb", limit_s=300)
    figures["install_s"] = round(time.monotonic() - before, 1)
    box.wait_for(f"systemctl is-active -q {UNIT}")
    print(box.run("twinway-gateway version"), file=sys.stderr)
    box.run("sleep 15")
    figures["rss_idle_mb"], figures["anon_idle_mb"] = rss(box)
    box.run("systemd-analyze verify --man=no --recursive-errors=yes /usr/lib/systemd/system/twinway-gateway.service")


def first_minutes(box, figures, port):
    """The first minutes, by arguments: what it finds it configures, and the gateway reads; then all is as it was installed."""
    box.run("cp -a /etc/twinway/gateway.toml /tmp/installed.toml")
    serial = serial_port(box)
    done = init(box, figures, "plant/init", f"--baud 115200 --parity none --modbus 10.0.2.2:{port} --serial {serial}")
    # Both devices, and of each something that is read.
    found = {device["at"].split(",")[0].split(" ")[0]: device["name"] for device in done["devices"]}
    good = {value["device"] for value in done["values"] if value["quality"] == "good"}
    if set(found) != {f"10.0.2.2:{port}", serial} or good != set(found.values()):
        raise SystemExit(f"twinway init found {done}")
    box.run("twinway-gateway check /etc/twinway/gateway.toml")
    box.run("cp -a /tmp/installed.toml /etc/twinway/gateway.toml; rm -f /etc/twinway/gateway.toml.before /etc/twinway/conf.d/*")


def first_data(box, own, figures, port):
    """Two devices, and the unit as it should be."""
    own.put(box, DEVICES.format(port=port, path=serial_port(box)), "/etc/twinway/conf.d/plant.toml")
    box.run("sed -i 's/^id = .*/id = \"line1-box\"/' /etc/twinway/gateway.toml")
    box.run("twinway-gateway check /etc/twinway/gateway.toml")
    before = time.monotonic()
    box.run(f"systemctl restart {UNIT}", limit_s=240)
    figures["ready_s"] = round(time.monotonic() - before, 1)
    figures["cpu_to_ready_s"] = round(int(show(box, "CPUUsageNSec")) / 1e9, 2)
    reads(box)
    check(show(box, "ActiveState"), "active", "state of the unit")
    check(box.run("stat -c %U:%a /var/lib/twinway /etc/twinway/secrets").split(), ["twinway:700", "root:700"], "folders")
    security = box.run(f"systemd-analyze security --no-pager {UNIT} | tail -n1")
    figures["exposure"] = float(security.split(":")[1].split()[0])
    if figures["exposure"] > 1.5:
        raise SystemExit(security)


def enrol(box, cloud, figures, registers):
    """The box becomes one of the cloud's, over TLS; its twin lives there, and does what it is told."""
    code = cloud.twinway("gateway", "code", "line1-box")["code"]
    arrival = Arrival(cloud, TWIN, "count")
    box.run(f"twinway enrol {code} --cloud {cloud.at_box()}")
    figures["enrol_to_cloud_s"] = round(arrival.wait(60), 1)
    box.wait_for(f"systemctl show -P StatusText {UNIT} | grep -qx '2 of 2 devices online; cloud: connected'", limit_s=30)
    check(box.run("stat -c %U:%a /var/lib/twinway/identity").strip(), "twinway:700", "folder of the key")
    for name in ["ethernet/count", "rtu/fixed"]:
        twin, point = name.split("/")
        seen = cloud.wait_for(f"plant/line1/{twin}", point, lambda p: p.get("quality") == "good")
        later = cloud.wait_for(f"plant/line1/{twin}", point, lambda p, seen=seen: p["source_us"] > seen["source_us"] or p["value"] == 703)
        if twin == "ethernet" and later["value"] <= seen["value"]:
            raise SystemExit(f"{name} goes backwards: {seen}, {later}")
    box.run("twinway switch remote --reason 'boot test'")
    cloud.twinway("send", TWIN, "setpoint=421", "--wait", "--reason", "boot test")
    check(registers.values[5], 421, "register of the setpoint, at the device")
    cloud.wait_for(TWIN, "setpoint", lambda p: p.get("value") == 421)


def many_points(box, own, figures, port):
    """Memory with 1,000 points once a second, then with the OPC UA server on as well; taken away again."""
    path = "/etc/twinway/conf.d/many.toml"
    points = "".join(MANY_POINT.format(n=n, address=10 + n) for n in range(1000))
    own.put(box, MANY.format(port=port) + points, path)
    box.run(f"systemctl restart {UNIT}", limit_s=240)
    good = "twinway --output json twins get many | grep -o '\"quality\": *\"good\"' | wc -l"
    box.wait_for(f'[ "$({good})" = 1000 ]')
    box.run("sleep 15")
    figures["rss_1000pts_mb"], figures["anon_1000pts_mb"] = rss(box)
    own.put(box, SERVER, "/etc/twinway/conf.d/server.toml")
    # A first start makes a key, which takes an emulated box long.
    box.run(f"systemctl restart {UNIT}", limit_s=240)
    box.wait_for("ss -Htln | grep -q :4840", limit_s=300)
    box.wait_for(f'[ "$({good})" = 1000 ]')
    box.run("sleep 15")
    figures["rss_1000pts_opcua_mb"], figures["anon_1000pts_opcua_mb"] = rss(box)
    box.run(f"rm {path} /etc/twinway/conf.d/server.toml")
    box.run(f"systemctl restart {UNIT}", limit_s=240)
    reads(box)


def watchdog(box):
    """A reload over the service manager; then the loops stand still, and the watchdog ends the gateway."""
    box.run(f"systemctl reload {UNIT}")
    box.wait_for(f"systemctl is-active -q {UNIT}")
    before = int(show(box, "NRestarts"))
    box.run(f"kill -STOP {show(box, 'MainPID')}")
    box.wait_for(f"[ $(systemctl show -P NRestarts {UNIT}) = {before + 1} ]", limit_s=90)
    box.wait_for(f"systemctl is-active -q {UNIT}")
    check(box.run(f"journalctl -u {UNIT} --no-pager | grep -c 'Watchdog timeout'").strip(), "1", "ends by the watchdog")
    reads(box)


def versions(box, figures):
    """Another version by the updater's own unit; a bad one by hand, which gives way; and back to the package's."""
    trust_builder(box)
    by_updater(box, "90.0.0", figures)
    reads(box)

    bad = bundle(box, "91.0.0", "printf '#!/bin/sh\\nexit 1\\n' > /tmp/v/usr/bin/twinway-gateway")
    before = time.monotonic()
    status, text = box.run(f"twinway-gateway update install {bad}", limit_s=400, ok=False)
    figures["gives_way_s"] = round(time.monotonic() - before, 1)
    if status != 1 or "three starts of it failed" not in text:
        raise SystemExit(f"a version that cannot start: status {status}: {text}")
    box.wait_for(f"systemctl is-active -q {UNIT}")
    check(runs(box), "90.0.0", "what runs after a bad version gave way")
    reads(box)

    box.run("twinway-gateway update rollback --reason 'boot test'")
    box.wait_for("twinway-gateway update status --json | grep -q '\"runs\":\"packaged\"'")
    reads(box)


def power_cut(box, cloud, figures, start):
    """Power is cut while it writes, after the cloud was away: `start` powers on again. What was on disk is there, and comes once."""
    cloud_waits = box.run("date -u +%Y-%m-%dT%H:%M:%SZ").strip()
    cloud.pause()
    box.run("sleep 5")
    until = box.run("date -u -d '-1 second' +%Y-%m-%dT%H:%M:%SZ").strip()
    export = f"twinway buffer export --to {until} --device ethernet --point count --format jsonl | grep -v '^#' | sort"
    before = box.run(f"{export} | tee /tmp/before | sha256sum")
    values = [int(v) for v in box.run("sed 's/.*\"value\": *\\([0-9]*\\).*/\\1/' /tmp/before").split()]
    waiting = int(box.run(f"twinway buffer export --from {cloud_waits} --to {until} --device ethernet --point count --format jsonl | grep -vc '^#'"))
    if waiting < 20:
        raise SystemExit(f"only {waiting} samples that the cloud lacks before the power cut")
    box.cut()
    cloud.resume()
    # So that no clock is mistaken by what lies between.
    time.sleep(2)
    arrival = Arrival(cloud, TWIN, "count")
    box = start()
    figures["boot_again_s"] = round(box.booted(), 1)
    _, waited = box.wait_for(f"systemctl is-active -q {UNIT}")
    figures["power_to_active_s"] = round(figures["boot_again_s"] + waited, 1)
    figures["boot_to_cloud_s"] = round(arrival.wait(120), 1)
    reads(box)
    box.run("twinway buffer verify")
    check(box.run(f"{export} | sha256sum"), before, "samples of before the power cut")
    cloud.has_once(TWIN, "count", values)
    figures["samples_kept"], figures["samples_unsent_at_cut"] = len(values), waiting
    return box


def purge(box):
    """Taken away: configuration and data stay; purged: nothing does."""
    box.run("dpkg -r twinway-gateway", limit_s=120)
    box.run("test -s /etc/twinway/gateway.toml && test -d /var/lib/twinway/buffer")
    box.run("dpkg -P twinway-gateway")
    left = box.run("find / -xdev \\( -path /proc -o -path /sys -o -path /tmp -o -path /var/log/journal -o -path /var/log/dpkg.log "
                   "-o -path /var/lib/dpkg/info \\) -prune -o -name '*twinway*' -print")
    check(left.strip(), "", "left after purge")
    check(box.run("getent passwd twinway; getent group twinway; true").strip(), "", "users after purge")


def rss(box):
    """Resident memory of the gateway and its own part of it (the rest are pages of its file), MB."""
    found = box.run(f"grep -E '^(VmRSS|RssAnon)' /proc/{show(box, 'MainPID')}/status")
    kb = dict(line.split()[:2] for line in found.splitlines())
    return round(int(kb["VmRSS:"]) / 1024, 1), round(int(kb["RssAnon:"]) / 1024, 1)


def main():
    arch, package = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    root = pathlib.Path(__file__).resolve().parents[2]
    boot = root / "target/cross/boot" / arch
    work = pathlib.Path(tempfile.mkdtemp(prefix="twinway-boot-"))
    figures = {"arch": arch, "deb_mb": round(package.stat().st_size / 1e6, 2)}
    box = cloud = None
    # Ended from outside it leaves nothing running either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with told(figures, "boot_test_s", work):
        try:
            folder = work / "files"
            folder.mkdir()
            shutil.copy(package, folder)
            own = Files(folder)
            cloud = Cloud(pathlib.Path(os.environ.get("PROGRAMS", root / "target/release")).resolve(), work)
            disk = image(boot, work)
            registers = Registers(100)
            port, serial = serve(tcp(registers)), serve(rtu(Registers(700)))

            def start():
                nonlocal box
                box = Box(arch, boot, disk, work, serial)
                return box

            figures["boot_s"] = round(start().booted(), 1)
            box.wait_for("ip route | grep -q default")
            install(box, own, figures, package)
            first_minutes(box, figures, port)
            first_data(box, own, figures, port)
            enrol(box, cloud, figures, registers)
            many_points(box, own, figures, serve(tcp(Registers(0, more=1000))))
            watchdog(box)
            versions(box, figures)
            box = power_cut(box, cloud, figures, start)
            purge(box)
            figures["off_s"] = round(box.off(), 1)
        finally:
            if box and box.qemu.poll() is None:
                box.qemu.kill()
            if cloud:
                cloud.stop()


if __name__ == "__main__":
    main()
