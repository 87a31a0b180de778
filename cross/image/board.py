"""A box that starts from its medium alone, as a board with UEFI does, and is asked over ssh, as its installer does."""

import json
import re
import socket
import subprocess
import threading
import time

from box import Box


class Board(Box):
    """One power-on. `work` is this box's own folder; `known` remembers its host key from the first to later ones."""

    REACHED = ",hostfwd=tcp:127.0.0.1:0-:22"

    def __init__(self, arch, boot, image, work, serial_port, key):
        self.work, self.key = work, key
        self.monitor = str(work / "monitor.sock")
        super().__init__(arch, boot, image, work, serial_port)
        self.control = f"{work}/ssh-{self.qemu.pid}"
        threading.Thread(target=self.drain, daemon=True).start()
        self.port = self.port_of_ssh()

    def starts(self, boot, console):
        firmware = boot / "qemu/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
        return ["-bios", str(firmware), "-qmp", f"unix:{self.monitor},server=on,wait=off"]

    def drain(self):
        """Who does not read the console holds the box up."""
        try:
            while more := self.console.recv(65536):
                self.log.write(more)
                self.log.flush()
                self.seen += more
        except OSError:
            pass

    def until(self, wanted, limit_s):
        limit = time.monotonic() + limit_s
        while not (found := re.search(wanted, self.seen)):
            if time.monotonic() > limit or self.qemu.poll() is not None:
                raise SystemExit(f"not within {limit_s} s on the console: {wanted!r}; it ended with {self.seen[-400:]!r}")
            time.sleep(0.05)
        before, self.seen = self.seen[: found.start()], self.seen[found.end() :]
        return before, found

    def port_of_ssh(self):
        """Which port of this machine leads to it: the emulator chose it."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(self.monitor)
            lines = monitor.makefile("rw")
            lines.readline()
            for order in [{"execute": "qmp_capabilities"},
                          {"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}}]:
                lines.write(json.dumps(order))
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    pass
        return int(re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", answer["return"])[1])

    def ssh(self, command, *options, key=None, limit_s=60, stdin=subprocess.DEVNULL):
        """What a sign-in of its own gives: status, and all that was printed."""
        words = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(key or self.key), "-o", "IdentitiesOnly=yes",
                 "-o", f"UserKnownHostsFile={self.work}/known", "-o", "HostKeyAlias=box", "-o", "StrictHostKeyChecking=accept-new",
                 "-o", "ConnectTimeout=30", *options, "root@127.0.0.1", command]
        try:
            done = subprocess.run(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return 255, f"not within {limit_s} s"
        return done.returncode, done.stdout.replace("\r", "").strip("\n")

    def booted(self, limit_s=600):
        """Waits until its installer can sign in; seconds since power was on."""
        while True:
            status, text = self.ssh("true")
            if status == 0:
                return time.monotonic() - self.began
            if time.monotonic() - self.began > limit_s or self.qemu.poll() is not None or "HOST IDENTIFICATION" in text:
                raise SystemExit(f"nobody can sign in: {text}; the console ended with {self.seen[-600:].decode(errors='replace')}")
            time.sleep(1)

    def run(self, command, limit_s=180, ok=True):
        """Over one connection that stays."""
        status, text = self.ssh(command, "-o", "ControlMaster=auto", "-o", f"ControlPath={self.control}", "-o", "ControlPersist=yes",
                                "-o", "LogLevel=ERROR", limit_s=limit_s)
        if not ok:
            return status, text
        if status != 0:
            raise SystemExit(f"status {status} of `{command}`: {text}")
        return text

    def send(self, path, to):
        """A file of this machine."""
        with open(path, "rb") as file:
            status, text = self.ssh(f"cat > {to}", limit_s=300, stdin=file)
        if status != 0:
            raise SystemExit(f"status {status} of sending {path}: {text}")

    def leave(self):
        subprocess.run(["ssh", "-F", "none", "-o", f"ControlPath={self.control}", "-O", "exit", "box"], capture_output=True)

    def cut(self):
        super().cut()
        self.leave()

    def off(self):
        """Shuts down in good order; seconds."""
        began = time.monotonic()
        self.run("systemctl poweroff", ok=False)
        self.leave()
        while self.qemu.poll() is None:
            if time.monotonic() - began > 180:
                raise SystemExit(f"does not shut down: {self.seen[-600:].decode(errors='replace')}")
            time.sleep(0.2)
        return time.monotonic() - began
