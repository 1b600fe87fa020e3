"""Broken model files given to real processes: each loads and answers, or says why in one line and exits with the documented code.

Every integer of the header x {0, 1, 2^31, 2^63, 2^64-1}, every cut at and beside the border of a field or tensor; by default a seeded
sample, with STET_FULL_GRIDS=1 all. tests/formats breaks the parser alone in the same way; here it is the whole daemon, with its time
and memory.
"""
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from conftest import BIN, FULL_GRIDS

SEED = 20261127
NUM_SAMPLE = 100
VALUES = (0, 1, 2**31, 2**63, 2**64 - 1)
MAX_SECONDS, MAX_RSS_BYTES = 5, 256 << 20
INVALID, DOES_NOT_FIT = 65, 71  # operations.md, section 4


@dataclass(frozen=True)
class Outcome:
    code: int  # negative: a signal
    answered: bool
    lines: tuple  # of stderr, log events left out
    seconds: float
    rss_bytes: int


def judge(outcome):
    """Raises AssertionError unless the process did what a broken file may make it do."""
    assert outcome.seconds < MAX_SECONDS and outcome.rss_bytes < MAX_RSS_BYTES, outcome
    assert outcome.code in (0, INVALID, DOES_NOT_FIT), outcome
    if outcome.code == 0:
        assert outcome.answered and not outcome.lines, outcome
    else:
        assert not outcome.answered and len(outcome.lines) == 1 and outcome.lines[0].startswith("stetd: "), outcome
        assert all(32 <= ord(c) < 127 for c in outcome.lines[0]), f"bytes of the file reach the terminal: {outcome}"


def ask(address):
    connection = http.client.HTTPConnection(address, timeout=MAX_SECONDS)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": "hello", "max_tokens": 2}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answered = response.status == 200 and len(json.load(response)["choices"]) == 1
    connection.close()
    return answered


def serve(model):
    """Starts stetd; once it is ready it gets one request and SIGTERM."""
    start = time.monotonic()
    process = subprocess.Popen(
        [BIN / "stetd", "--model", model, "--grpc", f"unix:{model}.sock", "--openai", "127.0.0.1:0", "--threads", "1",
         "--kv-tokens", "2048", "--set", "drain.announce_ms=0", "--set", "log.format=JSON"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace")
    deadline = threading.Timer(2 * MAX_SECONDS, process.kill)
    deadline.start()
    lines, answered = [], False
    for line in process.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            lines.append(line.rstrip("\n"))
            continue
        if event.get("event") == "daemon.ready":
            try:
                answered = ask(event["openai"])
            except (OSError, http.client.HTTPException, ValueError) as error:
                lines.append(f"no answer: {error!r}")
            process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    deadline.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    return Outcome(process.returncode, answered, tuple(lines), time.monotonic() - start, usage.ru_maxrss * 1024)


@dataclass(frozen=True)
class Breakage:
    name: str
    arch: str
    cut: int = -1  # bytes that are left; -1: a field is overwritten
    offset: int = 0
    value: bytes = b""

    def apply(self, whole):
        return whole[:self.cut] if self.cut >= 0 else whole[:self.offset] + self.value + whole[self.offset + len(self.value):]


def breakages(arch, layout, whole):
    """All single breakages of a file whose layout make_tiny_gguf wrote, each result once."""
    cuts = {0: "before everything"}
    for line in layout.splitlines():
        kind, offset, num_bytes, name = line.split("\t")
        offset, num_bytes = int(offset), int(num_bytes)
        found = set() if kind == "field" else {b""}
        for value in VALUES if kind == "field" else ():
            data = value.to_bytes(8, "little")[:num_bytes]
            if data not in found and data != whole[offset:offset + num_bytes]:
                found.add(data)
                yield Breakage(f"{name} = {data.hex()}", arch, offset=offset, value=data)
        for cut in (offset - 1, offset, offset + 1, offset + num_bytes):
            if 0 <= cut < len(whole):
                cuts.setdefault(cut, name)
    for cut, name in cuts.items():
        yield Breakage(f"cut at {cut}, near {name}", arch, cut=cut)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """arch -> (bytes, layout)"""
    folder, files = tmp_path_factory.mktemp("gguf"), {}
    for arch in ("llama", "gemma3"):
        out, layout = folder / f"{arch}.gguf", folder / f"{arch}.layout"
        shape = ["--arch", arch, "--layers", "2", "--untied", "--context", "256"]
        subprocess.run([BIN / "make_tiny_gguf", *shape, "--out", out, "--layout", layout], check=True)
        files[arch] = (out.read_bytes(), layout.read_text())
    return files


def test_the_whole_files_load_and_answer(models, tmp_path):
    for arch, (whole, _) in models.items():
        path = tmp_path / f"{arch}.gguf"
        path.write_bytes(whole)
        outcome = serve(path)
        judge(outcome)
        assert outcome.code == 0, outcome


def test_broken_files_are_refused_in_one_line_or_answer(models, tmp_path, capsys):
    every = [b for arch, (whole, layout) in models.items() for b in breakages(arch, layout, whole)]
    assert len(every) > 1000
    sample = every if FULL_GRIDS else random.Random(SEED).sample(every, NUM_SAMPLE)

    def run(item):
        index, breakage = item
        path = tmp_path / f"{index}.gguf"
        path.write_bytes(breakage.apply(models[breakage.arch][0]))
        outcome = serve(path)
        path.unlink()
        return breakage, outcome

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, enumerate(sample)))
    wrong = []
    for breakage, outcome in results:
        try:
            judge(outcome)
        except AssertionError as error:
            wrong.append(f"{breakage.arch}: {breakage.name}: {error}")
    assert not wrong, "\n".join(wrong)
    refused = sum(o.code != 0 for _, o in results)
    with capsys.disabled():
        print(f"\nbad GGUF: {len(results)} of {len(every)} files, {refused} refused, slowest {max(o.seconds for _, o in results):.2f} s, "
              f"largest {max(o.rss_bytes for _, o in results) >> 20} MiB")
    assert refused > len(results) // 2, "most breakages are seen"


REFUSED = Outcome(INVALID, False, ("stetd: x.gguf: version at offset 4: found 0, expected 2 or 3",), 0.1, 50 << 20)


@pytest.mark.parametrize("wrong", [
    {"code": -signal.SIGSEGV}, {"code": -signal.SIGABRT}, {"code": 1}, {"code": 70}, {"code": 0},
    {"lines": ()}, {"lines": ("stetd: a", "b")},
    {"lines": ("terminate called",)}, {"lines": ("stetd: \x1b[2J",)}, {"answered": True}, {"seconds": 6.0}, {"rss_bytes": 300 << 20},
], ids=str)
def test_the_judge_fails_on_a_made_up_outcome(wrong):
    judge(REFUSED)
    with pytest.raises(AssertionError):
        judge(replace(REFUSED, **wrong))
