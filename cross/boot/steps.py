"""What more than one test does with a box that boots."""

import contextlib
import json
import shutil
import sys
import time

UNIT = "twinway-gateway.service"
INCOMING = "/var/lib/twinway-update/incoming"


def check(found, wanted, what):
    if found != wanted:
        raise SystemExit(f"{what}: {found!r}, expected {wanted!r}")


@contextlib.contextmanager
def told(figures, name, work):
    """Prints the figures at the end, with how long it took under this name; of a failure what there is of them, and where its logs are."""
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(json.dumps({"so_far": figures}), file=sys.stderr)
        print(f"logs: {work}", file=sys.stderr)
        raise
    figures[name] = round(time.monotonic() - began, 1)
    print(json.dumps(figures))
    shutil.rmtree(work)


def init(box, figures, location, *words):
    """`twinway init` without a question; what it says that it did."""
    before = time.monotonic()
    said = box.run(f"twinway --output json init --yes --name line1-box --location {location} --units 1-1 --addresses 0-9 --wait 180s "
                   f"{' '.join(words)} 2>/tmp/init.log || cat /tmp/init.log", limit_s=400)
    figures["init_s"] = round(time.monotonic() - before, 1)
    try:
        return json.loads(said)
    except ValueError:
        raise SystemExit(f"twinway init: {said}") from None


def trust_builder(box):
    """A key of somebody who builds versions, which the box takes."""
    box.run("cd /tmp && twinway-gateway update key builder.key && install -m644 builder.pub /etc/twinway/update-keys/builder.pub")


def bundle(box, version, program="cp /usr/bin/twinway-gateway /tmp/v/usr/bin/"):
    """Signs a version of which a command makes the program; its path."""
    path = f"/tmp/{version}.twup"
    box.run(f"rm -rf /tmp/v && mkdir -p /tmp/v/usr/bin /tmp/v/usr/lib/twinway-gateway && {program} && "
            "chmod 755 /tmp/v/usr/bin/twinway-gateway && "
            f"sed 's/\"version\": *\"[^\"]*\"/\"version\":\"{version}\"/' /usr/lib/twinway-gateway/build.json "
            "> /tmp/v/usr/lib/twinway-gateway/build.json && "
            f"twinway-gateway update sign /tmp/v --key /tmp/builder.key --to {path} && rm -r /tmp/v", limit_s=300)
    return path


def runs(box):
    """The version that runs."""
    return json.loads(box.run("twinway-gateway update status --json"))["runs"]["runs"].split("_")[0]


def by_updater(box, version, figures):
    """Has the updater's own unit install a version, as it comes over the uplink, and waits until it has proven itself."""
    path = bundle(box, version)
    before = time.monotonic()
    box.run(f"mv {path} {INCOMING}/new && mv {INCOMING}/new {INCOMING}/new.twup")
    box.wait_for(f"twinway-gateway update status | grep -q 'proven {version}' || "
                 "journalctl -u twinway-update --no-pager | grep -E 'refused|gave way'", limit_s=400)
    if runs(box) != version:
        raise SystemExit(f"{runs(box)} runs: {box.run('journalctl -u twinway-update --no-pager -n 30')}")
    figures["update_s"] = round(time.monotonic() - before, 1)
    box.run(f"[ ! -e {INCOMING}/new.twup ]")
