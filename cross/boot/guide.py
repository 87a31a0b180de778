#!/usr/bin/env python3
"""The installer's guide on a box that boots, step by step: `guide.py ARCH PACKAGE.deb`, after setup.sh. Prints one JSON line: how long each
step took, or where the guide is wrong.

What the guide gives as a block is read from docs/installer.md and typed as it stands, with addresses of this test in place of the guide's.
The cloud, its administrator's laptop and a sensor are on the host. Environment: PROGRAMS, as of test.py.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from box import Box
from cloud import HOST, Cloud
from field import Registers, rtu, serve, tcp
from steps import UNIT, bundle, check, told
from test import Files, image, serial_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/installer.md").read_text()


def block(begins):
    """The guide's block with this in it, without the indent of its list."""
    found = [b for b in re.findall(r"^ *```\w*\n(.*?)^ *```$", GUIDE, re.M | re.S) if begins in b]
    if len(found) != 1:
        raise SystemExit(f"{len(found)} blocks of docs/installer.md have {begins!r}")
    lines = found[0].splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[indent:] for line in lines) + "\n"


def says(words):
    """What the guide says outside of blocks must still stand there."""
    if " ".join(words.split()) not in " ".join(GUIDE.split()):
        raise SystemExit(f"docs/installer.md no longer says {words!r}")
    return words


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


class Steps:
    """Each with its name and its time."""

    def __init__(self):
        self.seconds = {}

    def __call__(self, name, do):
        print(f"-- {name}", file=sys.stderr)
        began = time.monotonic()
        try:
            result = do()
        except SystemExit as wrong:
            raise SystemExit(f"step `{name}`: {wrong}") from None
        self.seconds[name] = round(time.monotonic() - began, 1)
        return result


def good(box, device, limit_s=60):
    box.wait_for(f"twinway --output json twins get {device} | grep -q '\"quality\": *\"good\"'", limit_s)


def at_terminal(box, answers):
    """Types an answer to each question, and gives what was on the screen."""
    seen = b""
    for question, answer in answers:
        before, _ = box.until(re.escape(question.encode()), 240)
        seen += before
        if answer is not None:
            box.console.sendall(answer.encode() + b"\r")
    return seen.decode(errors="replace")


def by_hand(box, own, port):
    """Steps 3 to 6."""
    text = block('name = "oven"').replace('host = "192.168.10.20"', f'host = "{HOST}"\nport = {port}')
    own.put(box, text, "/etc/twinway/gateway.toml")
    box.run(says("twinway-gateway check /etc/twinway/gateway.toml"))
    status, text = box.run("sed 's/range_max/range_maximum/' /etc/twinway/gateway.toml > /tmp/wrong.toml; twinway-gateway check /tmp/wrong.toml", ok=False)
    if status == 0 or "range_max" not in text or "wrong.toml" not in text:
        raise SystemExit(f"a mistake is told so: status {status}: {text}")
    # Another name than before: a new start, as the guide offers.
    box.run(says("systemctl restart twinway-gateway"), limit_s=240)
    good(box, "oven")
    point = json.loads(box.run(says("twinway twins get oven").replace("twinway ", "twinway --output json ", 1)))["points"][0]
    check((point["name"], point["value"]), ("temperature", 72.5), "temperature of the guide's oven")
    box.run(says("twinway reload"))


def laptop(command):
    """A block for the administrator's laptop."""
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"status {done.returncode} of {command}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def enrol(box, cloud):
    """Step 7, with a code."""
    code = cloud.twinway("gateway", "code", "line1-box")["code"]
    line = block("twinway enrol 7Q2KD").replace("7Q2KD-0M3XA-9W4TZ-61VHC-E8RPB", code).replace("https://cloud.example", cloud.at_box())
    box.run(line.strip())
    box.wait_for(f"systemctl show -P StatusText {UNIT} | grep -q 'cloud: connected'", limit_s=30)
    if "line1-box" not in box.run(says("twinway enrol --show")):
        raise SystemExit("enrol --show does not say how it is enrolled")
    cloud.wait_for("plant/coating/line1/oven", "temperature", lambda p: p.get("value") == 72.5)


def secret(box, own, cloud):
    """Step 7, of a cloud that has no TLS."""
    ask = block('"user":"admin"').replace("https://cloud.example", cloud.url).replace('"..."', json.dumps(cloud.password))
    session, make = re.split(r"(?m)^(?=curl -s -H \"Authorization)", re.sub(r"(?m) +#.*$", "", ask))
    token = laptop(session)["token"]
    made = laptop(f"TOKEN={token}\n{make}")
    port = json.loads((cloud.folder / "data/addresses.json").read_text())["ingress"].rsplit(":", 1)[1]
    on_box = block("> /etc/twinway/secrets/uplink").replace("the secret", made["secret"])
    on_box, count = re.subn(r'url = "(mqtts?)://cloud.example:\d+"', rf'url = "\1://{HOST}:{port}"', on_box)
    check(count, 1, "addresses in the guide's [uplink]")
    own.put(box, on_box, "/tmp/secret.sh")
    box.run("bash -e /tmp/secret.sh && rm /tmp/secret.sh", limit_s=240)
    box.wait_for("twinway gateways | grep -q connected", limit_s=60)
    cloud.wait_for("plant/coating/line1/oven", "temperature", lambda p: p.get("value") == 72.5)


def init(box, port):
    """The first five minutes, at the terminal: answers as the table has them, with a mistake. Of the cloud none yet."""
    box.console.sendall(says("sudo twinway init").removeprefix("sudo ").encode() + b"\r")
    seen = at_terminal(box, [
        ("Name of this box, unique among all boxes of its cloud [", "line 1"),
        ("Name of this box", "line1-box"),
        ("[plant/line1-box]: ", "plant/coating/line1"),
        ("Address of the cloud", "none"),
        ("serial ports: all, none, or their paths", "none"),
        ("Modbus TCP devices", f"{HOST}:{port}"),
        ("OPC UA servers", ""),
        ("in a whole network", ""),
        ("Name of the device at", "oven"),
        ("[Y/n]: ", "y"),
        ("A live screen of it (Ctrl-C leaves it)? [Y/n]: ", "n"),
    ])
    box.run("true")
    if "is not a name" not in seen or "good" not in seen:
        raise SystemExit(f"twinway init at the terminal: {seen}")
    box.run("test -s /etc/twinway/gateway.toml.before")


def broker(box, own, port):
    """A user, a listener with TLS, rights; a sensor on the host publishes, and where it may not it is refused."""
    make = block("twinway-gateway broker passwd").replace("< password.txt", "< /tmp/password.txt")
    own.put(box, f"echo wet-paint-17 > /tmp/password.txt\n{make}", "/tmp/broker.sh")
    box.run("bash -e /tmp/broker.sh && rm /tmp/password.txt")
    certificate = own.folder
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=box",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificate / "broker.key", "-out", certificate / "broker.crt"],
                   check=True, capture_output=True)
    for name in ["broker.key", "broker.crt"]:
        own.get(box, name, f"/etc/twinway/{name}")
    box.run("chmod 600 /etc/twinway/broker.key && chown twinway: /etc/twinway/broker.key")
    own.put(box, block("[[broker.listener]]"), "/tmp/broker.toml")
    box.run("cat /tmp/broker.toml >> /etc/twinway/gateway.toml && twinway-gateway check /etc/twinway/gateway.toml && twinway reload")
    words = says("mosquitto_pub -h BOX -p 8883 --cafile ca.crt -u press-sensors -P ... -i press-7 -t sensors/press-7/rms -m 0.42 -q 1 -V 5").split()
    given = {"BOX": "127.0.0.1", "8883": str(port), "ca.crt": str(certificate / "broker.crt"), "...": "wet-paint-17"}
    words = [given.get(word, word) for word in words]
    subprocess.run(words, check=True, timeout=60)
    other = subprocess.run([word.replace("press-7/rms", "press-8/rms") for word in words], capture_output=True, text=True, timeout=60)
    if "uthorized" not in other.stdout + other.stderr:
        raise SystemExit(f"another sensor's topic: {other}")
    if "sensors/press-7/rms" not in box.run(says("twinway mqtt discover")):
        raise SystemExit("twinway mqtt discover does not show what came")
    box.run(says("twinway mqtt clients"))
    adopt = block("twinway mqtt discover --adopt").replace("sensors/fan/vibration --at /rms", "sensors/press-7/rms")
    adopt = re.sub(r" +#.*", " --write /etc/twinway/conf.d/fan.toml", adopt, count=1)
    own.put(box, re.sub(r"(?m) +#.*$", "", adopt), "/tmp/adopt.sh")
    box.run("bash -e /tmp/adopt.sh")
    subprocess.run(words, check=True, timeout=60)
    good(box, "fan")


def everyday(box, oven, port):
    """A wrong configuration changes nothing; tables; the bench; the switch; the buffer; what somebody who helps gets."""
    box.run("cp /etc/twinway/gateway.toml /tmp/before.toml; sed -i 's/^unit = \"Cel\"/unti = \"Cel\"/' /etc/twinway/gateway.toml")
    status, text = box.run("twinway reload", ok=False)
    if status == 0 or "unti" not in text or "unit" not in text:
        raise SystemExit(f"a reload with a mistake: status {status}: {text}")
    box.run("cp /tmp/before.toml /etc/twinway/gateway.toml")
    box.run("twinway reload && " + says("twinway reload --show"))
    box.run(says("twinway points export /etc/twinway/gateway.toml --to points.xlsx").replace("points.xlsx", "/tmp/points.xlsx"))
    apply = says("twinway points import points.xlsx --config /etc/twinway/gateway.toml").replace("points.xlsx", "/tmp/points.xlsx")
    box.run(apply)
    box.run("twinway-gateway check /etc/twinway/gateway.toml")
    at = f"{HOST}:{port}"
    status, text = box.run(f"twinway modbus scan {at} --units 1-2 --addresses 0-9", ok=False)
    # The gateway has the connection for itself, as the guide says.
    if status == 0:
        raise SystemExit(f"scan of a device that the gateway has: {text}")
    box.run(says("twinway modbus read oven temperature"))
    box.run(says("twinway modbus write oven setpoint=80"))
    check(oven.values[2], 80, "register of the setpoint, at the device")
    box.run(says("twinway modbus status"))
    box.run("systemctl stop twinway-gateway")
    for line in block("twinway modbus scan 192.168.10.20").splitlines()[:3]:
        line = re.sub(r" +#.*", "", line).replace("192.168.10.20", at).replace("--units 1-32", "--units 1-2").replace("0-199", "0-9")
        print(line, file=sys.stderr)
        box.run(line)
    serial = serial_port(box)
    box.run(f"twinway modbus scan {serial} --units 1-8 --baud 115200 --parity none", limit_s=240)
    box.run("systemctl start twinway-gateway", limit_s=240)
    good(box, "oven")
    box.run(re.sub(r"\s+", " ", block("twinway switch remote")).strip())
    for line in block("twinway buffer export --from").splitlines():
        line = re.sub(r" +#.*", "", line).replace("> oven.jsonl", "> /tmp/oven.jsonl")
        print(line, file=sys.stderr)
        box.run(line)
    box.run("test -s /tmp/oven.jsonl")
    box.run("cd /tmp && " + says("sudo twinway diag").removeprefix("sudo ") + " && tar tzf twinway-diag-*.tar.gz > /dev/null")


def update(box):
    """Once, where versions are made and on the box; then a bundle, its status, and back."""
    made = block("twinway-gateway update key").splitlines()[0]
    box.run("cd /tmp && " + re.sub(r" +#.*", "", made))
    box.run("cd /tmp && " + block("install -m644 update.pub").strip())
    # The bundle is one of the box's own program, in place of `make update`; who builds it has the key where the box has it here.
    box.run("ln -s update.key /tmp/builder.key")
    box.run(f"mv {bundle(box, '0.2.0')} /tmp/twinway-gateway_0.2.0_arm64.twup")
    install, status, back = block("twinway-gateway update rollback").splitlines()
    box.run("cd /tmp && " + re.sub(r" +#.*", "", install), limit_s=500)
    if "0.2.0" not in box.run(re.sub(r" +#.*", "", status)):
        raise SystemExit("update status does not tell the version")
    box.run(re.sub(r" +#.*", "", back).replace("...", "guide"), limit_s=240)
    good(box, "oven")


def main():
    arch, package = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    boot = ROOT / "target/cross/boot" / arch
    work = pathlib.Path(tempfile.mkdtemp(prefix="twinway-guide-"))
    programs = pathlib.Path(os.environ.get("PROGRAMS", ROOT / "target/release")).resolve()
    step, box, clouds = Steps(), None, []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with told(step.seconds, "guide_s", work):
        try:
            (work / "files").mkdir()
            shutil.copy(package, work / "files")
            own = Files(work / "files")
            disk = image(boot, work)
            # 72.5 in two registers with the lower first, and the setpoint.
            oven = Registers(100)
            oven.values[:3] = [0x0000, 0x4291, 60]
            field, serial, sensor = serve(tcp(oven)), serve(rtu(Registers(700))), free_port()
            Box.REACHED = f",hostfwd=tcp:127.0.0.1:{sensor}-:8883"
            clouds.append(Cloud(programs, work))
            clouds.append(Cloud(programs, work, tls=False))
            box = Box(arch, boot, disk, work, serial)
            step("boot", box.booted)
            box.wait_for("ip route | grep -q default")
            own.get(box, package.name, f"/root/{package.name}")
            step("1: dpkg -i", lambda: box.run(says("dpkg -i twinway-gateway_*.deb"), limit_s=300))
            step("2: twinway init, at the terminal", lambda: init(box, field))
            step("3 to 6: by hand, check, status, reload", lambda: by_hand(box, own, field))
            step("7: with a code", lambda: enrol(box, clouds[0]))
            step("broker for sensors", lambda: broker(box, own, sensor))
            step("reload, tables, bench, switch, buffer, diag", lambda: everyday(box, oven, field))
            step("updates", lambda: update(box))
            box.run("rm -rf /var/lib/twinway/identity")
            step("7: with a secret", lambda: secret(box, own, clouds[1]))
            box.off()
        finally:
            if box and box.qemu.poll() is None:
                box.qemu.kill()
            for cloud in clouds:
                cloud.stop()


if __name__ == "__main__":
    main()
