#!/usr/bin/env python3
"""An image on boxes that boot: `test.py ARCH IMAGE.img PACKAGE.deb`, of which it was made, after `cross/boot/setup.sh ARCH emulator`. Prints one
JSON line of figures, or why it failed.

Two boxes are written from one image, to media larger than it, and start as a board does, by firmware from their media. The first gets a key of
its installer, who alone can sign in; it must be whole (root only read, data grown, nothing open but ssh), read a device after `twinway init`,
take another version and another package, and be the same after a power cut. The second gets its key as Windows writes it, with a name and
an address, is cut from power in its first start, and must have an identity of its own.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "boot"))

from board import Board  # noqa: E402
from field import Registers, serve, tcp  # noqa: E402
from steps import UNIT, by_updater, check, init, runs, told, trust_builder  # noqa: E402

MIB = 1 << 20
# Larger than the image by this.
MORE_MIB = 3000
NETWORK = "[Match]\nType=ether\nKind=!*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"


def partitions(image):
    """Start and size of each partition, in bytes."""
    told = subprocess.run(["/usr/sbin/sfdisk", "--json", image], check=True, capture_output=True, text=True).stdout
    table = json.loads(told)["partitiontable"]
    return [(p["start"] * 512, p["size"] * 512) for p in table["partitions"]]


def flash(image, work):
    """A medium with the image on it."""
    disk = work / "medium"
    subprocess.run(["cp", "--sparse=always", image, disk], check=True)
    with open(disk, "r+b") as file:
        file.truncate(disk.stat().st_size + MORE_MIB * MIB)
    return disk


def put(disk, name, data):
    """As an installer does with a card in a laptop: a file into the folder `twinway` of the first partition."""
    start = partitions(disk)[0][0]
    subprocess.run(["mcopy", "-o", "-i", f"{disk}@@{start}", "-", f"::twinway/{name}"], input=data, check=True)


def key(work, name):
    """A new pair: path of the private one, and the public one."""
    path = work / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path, (work / f"{name}.pub").read_text()


def identity(box):
    keys = box.run("cat /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_ecdsa_key.pub | cut -d' ' -f2")
    return {"machine-id": box.run("cat /etc/machine-id"), "host keys": keys, "name": box.run("hostname")}


def only_by_key(box, stranger):
    """No other key, no password, and nobody at the console."""
    status, text = box.ssh("true", key=stranger)
    if status != 255 or "Permission denied (publickey)" not in text:
        raise SystemExit(f"a stranger's key: status {status}, {text}")
    status, text = box.ssh("true", "-o", "PreferredAuthentications=password,keyboard-interactive", "-o", "PubkeyAuthentication=no")
    if status != 255 or "Permission denied (publickey)" not in text:
        raise SystemExit(f"a password: status {status}, {text}")
    check(box.run("grep -vE '^[^:]+:(\\*|!\\*?|!!):' /etc/shadow || true"), "", "accounts with a password")
    # Where the emulator is slow, the console was given up before it was there.
    box.run("systemctl start serial-getty@ttyAMA0.service")
    box.console.sendall(b"\n")
    box.until(rb"login: ", 60)
    box.console.sendall(b"root\n")
    box.until(rb"Password: ", 60)
    box.console.sendall(b"\n")
    box.until(rb"Login incorrect", 60)


def whole(box, size):
    """The root is only read, data has what the medium has, and nothing is open but ssh."""
    check(box.run("findmnt -no FSTYPE,OPTIONS /").replace(" ", "").split(",")[0], "ext4ro", "root")
    status, text = box.run("touch /usr/x", ok=False)
    if status != 1 or "Read-only file system" not in text:
        raise SystemExit(f"the root can be written: status {status}, {text}")
    disk = box.run("lsblk -no PKNAME $(findmnt -no SOURCE /)")
    check(int(box.run(f"cat /sys/class/block/{disk}/size")) * 512, size, "size of the medium")
    parts = {int(n): int(s) * 512 for n, s in
             (line.split() for line in box.run(f"for p in /sys/class/block/{disk}/{disk}*; do echo $(cat $p/partition $p/size); done").splitlines())}
    rest = size - 16 * MIB - parts[1] - parts[2] - parts[3]
    if not 0 <= rest <= 2 * MIB:
        raise SystemExit(f"data does not reach the end of the medium: {parts}, {rest} bytes left")
    free, total = map(int, box.run("df --output=avail,size -B1 /var | tail -n1").split())
    if total < 0.95 * parts[3] - 64 * MIB:
        raise SystemExit(f"data's file system has {total} bytes of a partition of {parts[3]}")
    # Beyond this machine; the client of DHCP has no socket that listens there.
    listens = box.run("ss -Hltun | awk '{ print $1, $5 }' | grep -vE ' (127\\.|\\[::1\\])' | sort -u")
    check(sorted(set(re.findall(r"(\w+) \S+:(\d+)$", listens, re.M)) - {("udp", "68"), ("udp", "546")}), [("tcp", "22")], "what listens")
    failed = box.run("systemctl --failed --plain --no-legend")
    check(failed, "", "units that failed")
    check(box.run("cat /proc/sys/kernel/sysrq"), "0", "what a keyboard may do")
    check(box.run("systemctl is-enabled ctrl-alt-del.target || true"), "masked", "Ctrl-Alt-Del")
    check(box.run("lsmod | grep -E '^(usb_storage|uas) ' || true"), "", "disks that are plugged in")
    return {"root_mb": round(int(box.run("df --output=used -B1 / | tail -n1")) / 1e6), "data_free_mb": round(free / 1e6)}


def reads(box, port, figures):
    """`twinway init` without questions, and what it configures is read; the name of the device."""
    box.run(f"systemctl is-active -q {UNIT}")
    done = init(box, figures, "plant/line1", f"--modbus 10.0.2.2:{port}")
    if len(done["devices"]) != 1:
        raise SystemExit(f"twinway init found {done}")
    device = done["devices"][0]["name"]
    if not any(value["quality"] == "good" for value in done["values"]):
        raise SystemExit(f"twinway init reads nothing: {done}")
    box.run(f"systemctl is-active -q {UNIT}")
    good(box, device)
    return device


def good(box, device):
    box.wait_for(f"twinway --output json twins get {device} | grep -q '\"quality\": *\"good\"'")


def version(box, device, figures):
    """Another version by the updater's unit, as it comes over the uplink: it lies in data, so a root that is only read is no matter."""
    trust_builder(box)
    by_updater(box, "90.0.0", figures)
    good(box, device)


def package(box, device, deb):
    """The package once more: for that, and only so long, the root can be written, and what the firmware starts."""
    box.send(deb, "/tmp/x.deb")
    said = box.run("root-rw dpkg -i /tmp/x.deb && rm /tmp/x.deb", limit_s=400)
    if "root-rw:" in said:
        raise SystemExit(f"the root could not be closed again: {said}")
    check(box.run("root-rw ls /boot/efi/EFI/BOOT"), "BOOTAA64.EFI", "what the firmware starts")
    check(box.run("root-rw false", ok=False), (1, ""), "status of a command that fails")
    if box.run("touch /usr/x", ok=False)[0] != 1 or box.run("mountpoint -q /boot/efi", ok=False)[0] == 0:
        raise SystemExit("the root can still be written")
    box.wait_for(f"systemctl is-active -q {UNIT}")
    good(box, device)


def samples(box, device, until):
    return box.run(f"twinway buffer export --to {until} --device {device} --format jsonl | grep -v '^#' | sort > /tmp/samples; "
                   "wc -l < /tmp/samples; sha256sum < /tmp/samples", limit_s=300).split()[:2]


def power_cut(box, device, start, figures):
    """Cut while it writes: the same box afterwards, and by itself."""
    time.sleep(5)
    until = box.run("date -u -d '-2 second' +%Y-%m-%dT%H:%M:%SZ")
    was, before = identity(box), samples(box, device, until)
    if int(before[0]) < 20:
        raise SystemExit(f"only {before[0]} samples before the power cut")
    box.cut()
    box = start()
    figures["boot_again_s"] = round(box.booted(), 1)
    check(identity(box), was, "identity after a power cut")
    box.wait_for(f"systemctl is-active -q {UNIT}")
    good(box, device)
    check(runs(box), "90.0.0", "what runs after a power cut")
    box.run("twinway buffer verify")
    check(samples(box, device, until), before, "samples of before the power cut")
    check(box.run("findmnt -no OPTIONS /").split(",")[0], "ro", "root after a power cut")
    figures["samples_kept"] = int(before[0])
    return box, was


class Boxes:
    """What runs, so that it ends with the test."""

    def __init__(self, arch, boot, image, work):
        self.arch, self.boot, self.image, self.work, self.running = arch, boot, image, work, []

    def new(self, name, files, private):
        """A flashed medium; what powers it on."""
        folder = self.work / name
        folder.mkdir()
        disk = flash(self.image, folder)
        for file, data in files.items():
            put(disk, file, data)

        def start():
            box = Board(self.arch, self.boot, disk, folder, 9, private)
            self.running.append(box)
            return box

        return disk, start

    def stop(self):
        for box in self.running:
            if box.qemu.poll() is None:
                box.cut()


def first(boxes, deb, private, public, figures):
    disk, start = boxes.new("1", {"authorized_keys": public.encode()}, private)
    box = start()
    figures["first_boot_s"] = round(box.booted(), 1)
    only_by_key(box, key(boxes.work, "stranger")[0])
    figures.update(whole(box, disk.stat().st_size))
    port = serve(tcp(Registers(100)))
    device = reads(box, port, figures)
    version(box, device, figures)
    package(box, device, deb)
    box, was = power_cut(box, device, start, figures)
    figures["off_s"] = round(box.off(), 1)
    return was


def second(boxes, private, public, of_first):
    """Its files as Windows writes them; cut from power as soon as it makes its identity."""
    windows = public.replace("\n", "\r\n").encode("utf-16")
    disk, start = boxes.new("2", {"authorized_keys.txt": windows, "hostname.txt": b"oven-box\r\n", "10-plant.network": NETWORK.encode()}, private)
    box = start()
    box.until(rb"first partition|login: ", 600)
    box.cut()
    box = start()
    box.booted()
    is_ = identity(box)
    check(is_["name"], "oven-box", "name that the installer gave")
    for what in ["machine-id", "host keys", "name"]:
        if not is_[what] or is_[what] == of_first[what]:
            raise SystemExit(f"two boxes of one image have {what} in common: {is_[what]!r}")
    check(len(is_["machine-id"]), 32, "length of the machine-id")
    check(box.run("networkctl --json=short status 2>/dev/null | grep -c '10-plant.network' || true"), "1", "the installer's network")
    check(box.run("systemctl --failed --plain --no-legend"), "", "units that failed")
    box.cut()


def main():
    arch, image, deb = sys.argv[1], *map(pathlib.Path, sys.argv[2:4])
    boot = pathlib.Path(__file__).resolve().parents[2] / "target/cross/boot" / arch
    work = pathlib.Path(tempfile.mkdtemp(prefix="twinway-image-"))
    figures = {"arch": arch, "image_mb": round(image.stat().st_size / 1e6), "image_used_mb": round(os.stat(image).st_blocks * 512 / 1e6)}
    boxes = Boxes(arch, boot, image, work)
    # Ended from outside it leaves nothing running either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with told(figures, "image_test_s", work):
        try:
            private, public = key(work, "installer")
            second(boxes, private, public, first(boxes, deb, private, public, figures))
        finally:
            boxes.stop()


main()
