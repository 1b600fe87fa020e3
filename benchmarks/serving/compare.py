#!/usr/bin/env python3
"""Stet beside a peer server in one sitting: the same model file, the same prompts, medians of several rounds.

    compare.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --out benchmarks/results/serving/floor \\
      --peer 'llama.cpp=llama-server -m {model} -t 2 -np 32 -c 40960 -fa on --no-kv-unified -cram 0 --host 127.0.0.1 --port {port}'

Each round starts one server after the other, alone on the machine, waits for GET /health, runs the workloads of serve_bench.py
with the round's seed and stops it; so a slow minute of the machine falls on both. `busy` repeats the decode workload while a
loop of equal priority is pinned to the last core. Writes OUT.json (every run), OUT.md (medians, ratios) and OUT.svg.
Needs Python >= 3.11 and aiohttp.
"""
import argparse
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
STET = "{stetd} --model {model} --grpc 127.0.0.1:0 --openai 127.0.0.1:{port}"
# What a workload is judged by: its rate, as peers' figures are quoted.
RATE = {"single": "output_tok_s", "decode": "output_tok_s", "busy": "output_tok_s"}


def rate_of(workload, run):
    return run[RATE.get(workload, "total_tok_s")]


def unit_of(workload):
    return "output tok/s" if workload in RATE else "total tok/s"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server process; `ready_s` is the time from its start to the first 200 of GET /health."""

    def __init__(self, command, names, log):
        self.port = free_port()
        argv = shlex.split(command.format(port=self.port, **names))
        start = time.monotonic()
        self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() - start > 300:
                self.stop()
                sys.exit(f"compare: not ready (exit {self.process.poll()}): {shlex.join(argv)}; see {log.name}")
            time.sleep(0.005)
        self.ready_s = round(time.monotonic() - start, 3)

    def healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as r:
                return r.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class BusyLoop:
    """One process that computes for ever on one core, at the priority of everybody else."""

    def __enter__(self):
        core = max(os.sched_getaffinity(0))
        self.process = subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def bench(server, workload, seed):
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        done = subprocess.run(
            [sys.executable, str(HERE / "serve_bench.py"), "--base-url", f"http://127.0.0.1:{server.port}",
             "--seed", seed, "--json", report.name, workload], capture_output=True, text=True)
        if not Path(report.name).stat().st_size:
            sys.exit(f"compare: {workload}: {done.stderr.strip()}")
        run = json.load(open(report.name))["runs"][0]
    run.pop("texts", None)
    return run


def measure(server, workloads, seed):
    runs = {}
    for workload in workloads:
        if workload == "busy":
            with BusyLoop():
                runs[workload] = bench(server, "decode", f"{seed}-busy")
        else:
            runs[workload] = bench(server, workload, seed)
        run = runs[workload]
        print(f"    {workload:8} {rate_of(workload, run):10,.1f} {unit_of(workload)}, {run['failures']} failures", flush=True)
    return runs


def machine():
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    return f"{len(os.sched_getaffinity(0))} cores of {cpu}, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB"


def medians(rounds, name, workloads):
    """Per workload: the median rate and its range, the median latencies, failures in all."""
    rows = {}
    for w in workloads:
        runs = [r[name]["runs"][w] for r in rounds]
        rates = [rate_of(w, run) for run in runs]
        middle = lambda key, p: statistics.median(run[key][p] or 0 for run in runs)
        rows[w] = {"rate": round(statistics.median(rates), 1), "min": min(rates), "max": max(rates), "unit": unit_of(w),
                   "ttft_p50_ms": round(middle("ttft_ms", "p50"), 1), "itl_p50_ms": round(middle("itl_ms", "p50"), 2),
                   "failures": sum(run["failures"] for run in runs)}
    return rows


def markdown(report):
    names, workloads = report["servers"], report["workloads"]
    lines = ["# Stet beside its peers", "", f"{report['machine']}; {report['started']}; {report['rounds']} rounds, medians (range). Made by:", "",
             "```", report["command"], "```", "",
             "| " + " | ".join(["workload", "unit", *names, *(f"stet / {n}" for n in names[1:])]) + " |",
             "|---|---|" + "---|" * (2 * len(names) - 1)]
    for w in workloads:
        rows = [report["medians"][n][w] for n in names]
        cells = [f"{r['rate']:,.0f} ({r['min']:,.0f}-{r['max']:,.0f}){', %d FAILED' % r['failures'] if r['failures'] else ''}" for r in rows]
        ratios = [f"{rows[0]['rate'] / r['rate']:.2f}" if r["rate"] else "-" for r in rows[1:]]
        lines.append(f"| {w} | {rows[0]['unit']} | " + " | ".join(cells + ratios) + " |")
    for key, label in (("ttft_p50_ms", "TTFT p50"), ("itl_p50_ms", "ITL p50")):
        for w in workloads:
            cells = [f"{report['medians'][n][w][key]:,.1f}" for n in names]
            lines.append(f"| {w}, {label} | ms | " + " | ".join(cells + [""] * (len(names) - 1)) + " |")
    ready = [f"{report['ready_s'][n]:.2f}" for n in names]
    lines.append("| ready (warm file cache) | s | " + " | ".join(ready + [""] * (len(names) - 1)) + " |")
    if "busy" in workloads and "decode" in workloads:
        kept = [f"{report['medians'][n]['busy']['rate'] / report['medians'][n]['decode']['rate']:.2f}" for n in names]
        lines.append("| decode kept with one core busy | share | " + " | ".join(kept + [""] * (len(names) - 1)) + " |")
    return "\n".join(lines) + "\n"


def svg(report):
    """Bars of the median rate, one group a workload, scaled to the best of the group."""
    names, workloads = report["servers"], report["workloads"]
    colours = ["#2b6cb0", "#a0aec0", "#dd6b20", "#38a169"]
    bar, gap, left, wide = 18, 16, 90, 420
    height = 40 + len(workloads) * (len(names) * bar + gap)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 170}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="100%" height="100%" fill="white"/><text x="{left}" y="18">median rate (tokens/s), more is better</text>']
    y = 32
    for w in workloads:
        best = max(report["medians"][n][w]["rate"] for n in names) or 1
        out.append(f'<text x="8" y="{y + len(names) * bar / 2 + 4}">{w}</text>')
        for i, n in enumerate(names):
            row = report["medians"][n][w]
            length = max(1, wide * row["rate"] / best)
            out.append(f'<rect x="{left}" y="{y}" width="{length:.0f}" height="{bar - 3}" fill="{colours[i % len(colours)]}"/>'
                       f'<text x="{left + length + 5:.0f}" y="{y + 12}">{n}: {row["rate"]:,.0f} {row["unit"].split()[0]}</text>')
            y += bar
        y += gap
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], epilog=__doc__.split("\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="GGUF file that every server loads")
    p.add_argument("--stetd", default="build/release/bin/stetd")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="{model} and {port} are filled in; may repeat")
    p.add_argument("--workloads", nargs="+", default=["single", "decode", "batch", "prefill", "busy"])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--out", required=True, help="path without suffix")
    a = p.parse_args()
    commands = {"stet": STET} | dict(peer.split("=", 1) for peer in a.peer)
    rounds, started = [], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    log = open(f"{tempfile.gettempdir()}/compare-servers.log", "w")
    for i in range(a.rounds):
        rounds.append({})
        for name, command in commands.items():
            print(f"round {i + 1} of {a.rounds}: {name}", flush=True)
            server = Server(command, {"model": a.model, "stetd": a.stetd}, log)
            try:
                rounds[-1][name] = {"ready_s": server.ready_s, "runs": measure(server, a.workloads, f"{started}/{i}")}
            finally:
                server.stop()
    names = list(commands)
    report = {"started": started, "machine": machine(), "command": shlex.join(["compare.py", *sys.argv[1:]]), "servers": names,
              "workloads": a.workloads, "rounds": a.rounds,
              "ready_s": {n: statistics.median(r[n]["ready_s"] for r in rounds) for n in names},
              "medians": {n: medians(rounds, n, a.workloads) for n in names}, "runs": rounds}
    Path(f"{a.out}.json").write_text(json.dumps(report, indent=1) + "\n")
    Path(f"{a.out}.md").write_text(markdown(report))
    Path(f"{a.out}.svg").write_text(svg(report))
    print(markdown(report))
    return 1 if any(row["failures"] for rows in report["medians"].values() for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
