"""A real stetd as a process on free ports. STET_BIN: folder of the binaries; STET_TEST_MODEL: the default model; STET_FULL_GRIDS=1: all
cases of the grids of bad input, not a sample."""
import json
import os
import queue
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("STET_BIN", ROOT / "build" / "release" / "bin"))
MODEL = os.environ.get("STET_TEST_MODEL", str(ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"))

FULL_GRIDS = os.environ.pop("STET_FULL_GRIDS", "") == "1"  # out of the environment: stetd refuses STET_ names that it does not know


class Daemon:
    """Starts on construction and waits for the event daemon.ready; knows its addresses."""

    def __init__(self, *flags, model=None, env=None):
        command = [str(BIN / "stetd"), "--model", model or MODEL, "--grpc", "127.0.0.1:0", "--openai", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})})
        self.events = []
        self.lines = []
        self._queue = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.wait_event("daemon.ready", timeout=60)
        self.grpc, self.http, self.admin = ready["grpc"], "http://" + ready["openai"], ready["admin_grpc"]

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self.events.append(event)
            self._queue.put(event)
        self._queue.put(None)

    def wait_event(self, name, timeout=30):
        while True:
            event = self._queue.get(timeout=timeout)
            if event is None:
                raise RuntimeError(f"stetd ended before '{name}':\n" + "\n".join(self.lines[-20:]))
            if event.get("event") == name:
                return event

    def get(self, path):
        with urllib.request.urlopen(self.http + path, timeout=30) as response:
            return response.read().decode()

    def metrics(self):
        """Name with labels -> value."""
        values = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name):
        """Sum over the labels of a metric."""
        return sum(v for k, v in self.metrics().items() if k.split("{")[0] == name)

    def stop(self, timeout=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def daemon():
    d = Daemon("--set", "drain.announce_ms=0")
    yield d
    assert d.stop() == 0


@pytest.fixture
def own_daemon():
    """A factory for tests that stop or overload their daemon."""
    started = []

    def start(*flags, **kwargs):
        started.append(Daemon("--set", "drain.announce_ms=0", *flags, **kwargs))
        return started[-1]

    yield start
    for d in started:
        if d.process.poll() is None:
            d.process.kill()
            d.process.wait()
