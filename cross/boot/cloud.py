"""The cloud of the boot test, on the host: the real program with TLS where boxes come in, asked over its API."""

import collections
import json
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

# The host, as the box sees it.
HOST = "10.0.2.2"


class Cloud:
    """Runs until `stop`. Without `tls` gateways reach it in the clear, and none can enrol."""

    def __init__(self, programs, work, tls=True):
        self.programs = programs
        for name in ["twinway-cloud", "twinway"]:
            if not (programs / name).exists():
                raise SystemExit(f"no {programs / name}: cargo build --release -p twinway-cloud -p twinway, or say where they are in PROGRAMS")
        self.folder = folder = work / ("cloud" if tls else "cloud-without-tls")
        folder.mkdir()
        config = folder / "cloud.toml"
        config.write_text(f'[cloud]\ndata_dir = "{folder}/data"\n[http]\nlisten = "127.0.0.1:0"\nhosts = ["{HOST}"]\n'
                          f'[ingress]\nlisten = "127.0.0.1:0"\n' + (f'names = ["{HOST}"]\n' if tls else ""))
        log = work / f"{folder.name}.log"
        with open(log, "wb") as out:
            self.process = subprocess.Popen([programs / "twinway-cloud", "run", "--config", config], stdout=out, stderr=out)
        addresses = folder / "data/addresses.json"
        password = self.wait(log, lambda: re.search(r"admin password: (\S+)", log.read_text()))
        self.wait(log, addresses.exists)
        self.url = "http://" + json.loads(addresses.read_text())["http"]
        self.token, self.password = None, password[1]
        self.token = self.ask("session", {"user": "admin", "password": self.password})["token"]

    def wait(self, log, found):
        limit = time.monotonic() + 60
        while True:
            result = found()
            if result:
                return result
            if self.process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"the cloud did not start: {log.read_text()}")
            time.sleep(0.05)

    def stop(self):
        self.resume()
        self.process.terminate()
        self.process.wait()

    def pause(self):
        """It answers nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def at_box(self):
        """Its page, as the box reaches it."""
        return f"http://{HOST}:{urllib.parse.urlsplit(self.url).port}"

    def ask(self, path, body=None):
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def twinway(self, *words):
        """The command line, signed in; what it printed."""
        environment = {"TWINWAY_URL": self.url, "TWINWAY_TOKEN": self.token, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        done = subprocess.run([self.programs / "twinway", "--output", "json", *words], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"status {done.returncode} of twinway {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def point(self, twin, name):
        """A point as the cloud has it now; none while the twin is not known."""
        try:
            points = self.ask("twins/" + urllib.parse.quote(twin, safe=""))["points"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return next((p for p in points if p["name"] == name), None)

    def wait_for(self, twin, name, found, limit_s=120):
        """Until a point is as it should be."""
        limit = time.monotonic() + limit_s
        while True:
            point = self.point(twin, name)
            if point and found(point):
                return point
            if time.monotonic() > limit:
                raise SystemExit(f"not within {limit_s} s in the cloud: {twin} {name} is {point}")
            time.sleep(0.2)

    def has_once(self, twin, name, values, limit_s=60):
        """Waits until each of these values stands in the point's history; none may stand there twice."""
        path = f"twins/{urllib.parse.quote(twin, safe='')}/points/{name}/history?from=-1h&max_points=10000"
        limit = time.monotonic() + limit_s
        while True:
            history = self.ask(path)
            if history["resolution"]["kind"] != "raw":
                raise SystemExit(f"more than 10,000 samples of {twin} {name}: {history['resolution']}")
            found = collections.Counter(p["value"] for p in history["points"] if "value" in p)
            lost, doubled = [v for v in values if found[v] == 0], [v for v in values if found[v] > 1]
            if not lost and not doubled:
                return
            if doubled or time.monotonic() > limit:
                raise SystemExit(f"of {len(values)} samples of {twin} {name} the cloud lacks {len(lost)}: {lost[:20]}; has twice: {doubled[:20]}")
            time.sleep(0.5)


class Arrival(threading.Thread):
    """When the first sample taken after a moment is in the cloud: seconds since that moment."""

    def __init__(self, cloud, twin, name):
        super().__init__(daemon=True)
        self.cloud, self.twin, self.name_of_point = cloud, twin, name
        self.after, self.began, self.seconds = time.time() * 1e6, time.monotonic(), None
        self.start()

    def run(self):
        while self.seconds is None:
            point = self.cloud.point(self.twin, self.name_of_point)
            if point and point["source_us"] > self.after:
                self.seconds = time.monotonic() - self.began
            time.sleep(0.1)

    def wait(self, limit_s):
        self.join(limit_s)
        if self.seconds is None:
            raise SystemExit(f"nothing new in the cloud within {limit_s} s")
        return self.seconds
