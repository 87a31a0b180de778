"""A box in an emulator: QEMU with a root file system on NVMe, driven over its console."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

PROMPT = b"root@box1:~# "


PROGRAMS = {"arm64": "qemu-system-aarch64", "armhf": "qemu-system-aarch64", "amd64": "qemu-system-x86_64"}


def emulator(arch, boot):
    """The machine's own, or the one that setup.sh unpacked with its libraries: what to run, and its environment."""
    own = shutil.which(PROGRAMS[arch])
    if own:
        return [own], {}
    base = boot / "qemu/usr"
    libraries = base / "lib/x86_64-linux-gnu"
    command = [str(base / "bin" / PROGRAMS[arch])]
    for path in [base / "share/qemu", base / "share/seabios", base / "lib/ipxe/qemu"]:
        command += ["-L", str(path)]
    below = {p.parent for p in libraries.glob("*/lib*.so*")}
    more = ":".join(str(p) for p in [libraries, boot / "qemu/lib/x86_64-linux-gnu", *sorted(below)])
    return command, {"LD_LIBRARY_PATH": more}


def machine(arch):
    """The machine, its processor, and where its console is."""
    if arch != "amd64":
        return ["-M", "virt,gic-version=2", "-cpu", "cortex-a53", "-accel", "tcg,thread=multi"], "ttyAMA0"
    # Not KVM: where this runs in a machine that is virtual itself, it may be there and not work.
    return ["-M", "q35", "-accel", "tcg,thread=multi"], "ttyS0"


class Box:
    """One power-on. Ends with `cut` (as when the plug is pulled) or `off`."""

    # What of the box is reached from this machine.
    REACHED = ""

    def __init__(self, arch, boot, image, work, serial_port):
        self.began = time.monotonic()
        self.path = str(work / "console.sock")
        pathlib.Path(self.path).unlink(missing_ok=True)
        command, environment = emulator(arch, boot)
        kind, console = machine(arch)
        command += [*kind, "-smp", "2", "-m", "512"]
        command += self.starts(boot, console)
        command += ["-drive", f"if=none,id=hd,file={image},format=raw,cache=writethrough", "-device", "nvme,drive=hd,serial=box1"]
        command += ["-netdev", f"user,id=n{self.REACHED}", "-device", "virtio-net-pci,netdev=n,romfile="]
        command += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        command += ["-chardev", f"socket,id=con,path={self.path},server=on,wait=off", "-serial", "chardev:con"]
        command += ["-chardev", f"socket,id=rtu,host=127.0.0.1,port={serial_port},reconnect=1", "-device", "pci-serial,chardev=rtu"]
        command += ["-display", "none", "-monitor", "none", "-no-reboot"]
        log = open(work / "qemu.log", "ab")
        self.qemu = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.log = open(work / "console.log", "ab")
        self.seen = b""
        self.console = self.connect()
        self.count = 0

    def starts(self, boot, console):
        """By which system it starts: a kernel that is handed to it."""
        initrd = ["-initrd", str(boot / "initrd")] if (boot / "initrd").exists() else []
        return ["-kernel", str(boot / "vmlinuz"), "-append", f"root=/dev/nvme0n1 rw console={console} quiet", *initrd]

    def connect(self):
        limit = time.monotonic() + 30
        while True:
            console = socket.socket(socket.AF_UNIX)
            try:
                console.connect(self.path)
                return console
            except OSError:
                console.close()
                if self.qemu.poll() is not None or time.monotonic() > limit:
                    raise SystemExit(f"the emulator did not start: {self.qemu.poll()}, see qemu.log")
                time.sleep(0.05)

    def until(self, wanted, limit_s):
        """Reads the console until the pattern is there; gives what came before it and the match."""
        limit = time.monotonic() + limit_s
        while True:
            found = re.search(wanted, self.seen)
            if found:
                before, self.seen = self.seen[: found.start()], self.seen[found.end() :]
                return before, found
            self.console.settimeout(max(0.01, limit - time.monotonic()))
            try:
                more = self.console.recv(65536)
            except TimeoutError:
                more = b""
            if not more:
                raise SystemExit(f"not within {limit_s} s on the console: {wanted!r}; it ended with {self.seen[-400:]!r}")
            self.log.write(more)
            self.log.flush()
            self.seen += more

    def booted(self, limit_s=300):
        """Waits for the prompt; seconds since power was on."""
        self.until(re.escape(PROMPT), limit_s)
        self.run("stty -echo cols 2000; dmesg -n 1; export PS1=; export PAGER=cat SYSTEMD_COLORS=0")
        return time.monotonic() - self.began

    def run(self, command, limit_s=180, ok=True):
        """Runs a command; gives what it printed. Its failure ends the test, unless `ok` is false: then (status, text)."""
        self.count += 1
        mark = f"rc{self.count}"
        self.console.sendall(f"{command}\necho {mark}''=$?\n".encode())
        before, found = self.until(mark.encode() + rb"=(\d+)\r?\n", limit_s)
        status, text = int(found[1]), before.decode(errors="replace").replace("\r", "").strip("\n")
        if not ok:
            return status, text
        if status != 0:
            raise SystemExit(f"status {status} of `{command}`: {text}")
        return text

    def wait_for(self, command, limit_s=120):
        """Until a command succeeds; what it printed then, and how long that took."""
        began = time.monotonic()
        while True:
            status, text = self.run(command, ok=False)
            if status == 0:
                return text, time.monotonic() - began
            if time.monotonic() - began > limit_s:
                raise SystemExit(f"not within {limit_s} s: `{command}`: {text}")
            time.sleep(0.2)

    def cut(self):
        """Power is gone."""
        self.qemu.kill()
        self.qemu.wait()
        self.console.close()

    def off(self):
        """Shuts down in good order; seconds."""
        began = time.monotonic()
        self.console.sendall(b"systemctl poweroff\n")
        while self.qemu.poll() is None:
            if time.monotonic() - began > 120:
                raise SystemExit("does not shut down")
            self.console.settimeout(1)
            try:
                # Who does not read holds the guest up.
                self.log.write(self.console.recv(65536))
            except (TimeoutError, OSError):
                pass
        return time.monotonic() - began
