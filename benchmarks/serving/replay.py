#!/usr/bin/env python3
"""A trace on the real daemon under several policies, and what stet-sim had predicted beside it.

    replay.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --trace azure_llm_conv_2023_first.csv --rate 1.0 \\
      --out benchmarks/results/scheduler/replay

1. Rehearsal: every row of the trace runs once, many at a time, beyond its length. From its tokens a stop token is chosen that first
   occurs near the length that the trace names, so that later runs end there by themselves and no policy can know when: max_tokens
   stays large. The daemon fits its step-time model meanwhile; its coefficients are the machine that stet-sim simulates.
2. Per policy, a daemon of its own: rows are sent at their times, whatever the server's state.
3. The same rows, policies and pool in stet-sim on the machine of step 1.

Prompts are random token ids and share nothing. Every answer is compared with the rehearsal's: a policy decides when a token comes,
never which. Writes OUT.md, OUT.json (every request), OUT-machine.json. Needs Python >= 3.11 and aiohttp.
"""
import argparse
import asyncio
import csv
import json
import random
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from compare import Server, machine
from serve_bench import Client, percentiles

STET = ("{stetd} --model {model} --grpc 127.0.0.1:0 --openai 127.0.0.1:{port} --kv-tokens {kv} --max-running {running} --policy {policy} "
        "--max-step-tokens {step} --set scheduler.ttft_target_ms={ttft_ms} --set scheduler.queue_timeout_ms=3600000 "
        "--set scheduler.max_queued_requests=100000 --set scheduler.max_queued_prompt_tokens=1000000000 "
        "--set limits.max_connections_per_peer=1000")
BLOCK_TOKENS = 64


@dataclass
class Row:
    at_s: float
    prompt: list
    output: int
    seed: int
    tokens: list = field(default_factory=list)   # of the rehearsal, up to its stop token


class Replayer(Client):
    """Sends rows; keeps token ids and the times of their chunks."""

    def __init__(self, base_url, session):
        super().__init__(argparse.Namespace(base_url=base_url, api="completions", extra={}, tokens_per_word=1.0), session)
        self.optional = []

    def body(self, row, max_tokens):
        b = {"model": "default", "prompt": row.prompt, "max_tokens": max_tokens, "stream": True, "temperature": 1, "seed": row.seed,
             "ignore_eos": True, "return_token_ids": True, "stream_options": {"include_usage": True}}
        return b | ({"stop_token_ids": [row.tokens[-1]]} if row.tokens else {})

    async def read_stream(self, resp, r):
        r.tokens = []
        await super().read_stream(resp, r)

    def event(self, ev, now, r):
        super().event(ev, now, r)
        for choice in ev.get("choices") or []:
            r.tokens += choice.get("token_ids") or []


def load(a):
    with open(a.trace, newline="") as f:
        raw = [r for _, r in zip(range(a.requests), csv.DictReader(f))]
    stretch = len(raw) / a.rate / float(raw[-1]["arrival_s"])
    rng = random.Random(a.seed)
    rows = []
    for i, r in enumerate(raw):
        prompt = [rng.randrange(1000, 40_000) for _ in range(min(int(r["prompt_tokens"]), a.longest_prompt))]
        rows.append(Row(float(r["arrival_s"]) * stretch, prompt, min(int(r["output_tokens"]), a.max_tokens - 1), i))
    return rows


def stop_at(tokens, wanted):
    """How many tokens, as near to `wanted` as there is one that did not occur before."""
    seen, firsts = set(), []
    for i, t in enumerate(tokens):
        if t not in seen:
            seen.add(t)
            firsts.append(i + 1)
    return min(firsts, key=lambda n: abs(n - wanted))


async def rehearse(base_url, rows, a):
    todo, done = iter(rows), 0

    async def user(client):
        nonlocal done
        for row in todo:
            r = await client.request(row, row.output + row.output // 4 + 8)
            if not r.ok:
                sys.exit(f"replay: rehearsal of row {row.seed}: {r.error}")
            row.tokens = r.tokens[:stop_at(r.tokens, row.output)]
            done += 1
            print(f"\rrehearsal: {done} of {len(rows)}", end="", file=sys.stderr, flush=True)

    async with session() as s:
        client = Replayer(base_url, s)
        await asyncio.gather(*(user(client) for _ in range(a.rehearsal)))
    print(file=sys.stderr)


def session():
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3600), connector=aiohttp.TCPConnector(limit=0, force_close=True))


async def play(base_url, rows, a):
    async with session() as s:
        client, start, tasks = Replayer(base_url, s), time.perf_counter(), []
        for i, row in enumerate(rows):
            await asyncio.sleep(max(0.0, start + row.at_s - time.perf_counter()))
            tasks.append(asyncio.create_task(client.request(row, a.max_tokens)))
            print(f"\r  sent {i + 1} of {len(rows)}, open {sum(not t.done() for t in tasks)} ", end="", file=sys.stderr, flush=True)
        results = list(await asyncio.gather(*tasks))
        print(file=sys.stderr)
    if failed := [r.error for r in results if not r.ok]:
        sys.exit(f"replay: {failed[0]}")
    return results


def metrics(port):
    """Name without labels -> sum over its label sets; of stet_step_model_us, coefficient -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as r:
        lines = [l.rsplit(" ", 1) for l in r.read().decode().splitlines() if l and not l.startswith("#")]
    model = {k.split('coefficient="')[1].split('"')[0]: float(v) for k, v in lines if k.startswith("stet_step_model_us")}
    sums = {}
    for k, v in lines:
        sums[k.split("{")[0]] = sums.get(k.split("{")[0], 0.0) + float(v)
    return sums, model


def figures(rows, results, a, preemptions):
    met = sum(r.ttft <= a.ttft and max(r.gaps or [0.0]) <= a.gap for r in results)
    span = max(r.done for r in results) - min(r.sent for r in results)
    ttft, itl = percentiles((r.ttft for r in results), 1), percentiles(g for r in results for g in r.gaps)
    return {"goodput": met / span, "in_sla": met / len(rows), "preemptions": preemptions, "ttft_p50_s": ttft["p50"], "ttft_p99_s": ttft["p99"],
            "itl_p50_ms": itl["p50"], "itl_p99_ms": itl["p99"], "max_itl_p99_s": percentiles((max(r.gaps or [0.0]) for r in results), 1)["p99"],
            "makespan_s": span, "equal_answers": sum(r.tokens == row.tokens for r, row in zip(results, rows)) / len(rows)}


def simulate(policy, late, rows, a, machine_file):
    with tempfile.TemporaryDirectory() as folder:
        trace, report = Path(folder) / "trace.csv", Path(folder) / "report.json"
        trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{r.at_s:.6f},{len(r.prompt)},{len(r.tokens)}\n" for r in rows))
        subprocess.run([a.stet_sim, "run", str(trace), "--model", str(machine_file), "--policy", policy, "--max-tokens", str(a.max_tokens),
                        "--ttft", str(a.ttft), "--gap", str(a.gap), "--prefix-cache", "--eviction", "future", "--json", str(report),
                        *(["--late-last"] if late else [])], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run = json.loads(report.read_text())["runs"][0]
    return {"goodput": run["goodput_per_s"], "in_sla": run["in_sla_share"], "preemptions": run["num_preemptions"], "ttft_p50_s": run["ttft_p50_s"],
            "ttft_p99_s": run["ttft_p99_s"], "itl_p50_ms": 1e3 * run["itl_p50_s"], "itl_p99_ms": 1e3 * run["itl_p99_s"],
            "max_itl_p99_s": run["max_itl_p99_s"], "makespan_s": run["makespan_s"]}


COLUMNS = (("goodput", "goodput req/s", 3), ("in_sla", "in SLA", 3), ("preemptions", "preemptions", 0), ("ttft_p50_s", "TTFT p50 s", 2),
           ("ttft_p99_s", "TTFT p99 s", 2), ("itl_p50_ms", "ITL p50 ms", 1), ("itl_p99_ms", "ITL p99 ms", 1),
           ("max_itl_p99_s", "max ITL p99 s", 2), ("makespan_s", "makespan s", 1))


def markdown(report):
    lines = ["# A trace on the real daemon, and the simulator's prediction", "", report["machine"] + "; " + report["started"] + ". Made by:", "",
             "```", report["command"], "```", "", report["what"], "",
             "| policy | | " + " | ".join(label for _, label, _ in COLUMNS) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for name, run in report["policies"].items():
        cells = lambda side: " | ".join(f"{run[side][key]:.{digits}f}" for key, _, digits in COLUMNS)
        error = " | ".join(f"{100 * (run['simulated'][k] - run['measured'][k]) / run['measured'][k]:+.0f} %" if k != "preemptions" and run["measured"][k]
                           else "" for k, _, _ in COLUMNS)
        lines += [f"| {name} | measured | {cells('measured')} |", f"| | simulated | {cells('simulated')} |", f"| | error | {error} |"]
    equal = min(run["measured"]["equal_answers"] for run in report["policies"].values())
    lines += ["", f"Answers equal to the rehearsal's, token by token: {100 * equal:.1f} % under every policy."]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], epilog=__doc__.split("\n", 1)[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--trace", required=True, help="CSV: arrival_s,prompt_tokens,output_tokens")
    p.add_argument("--stetd", default="build/release/bin/stetd")
    p.add_argument("--stet-sim", default="build/release/bin/stet-sim")
    p.add_argument("--policy", nargs="+", default=["fcfs_conservative", "aggressive", "past_future", "past_future+late"],
                   help="+late: with the SLA's TTFT as the server's target")
    p.add_argument("--requests", type=int, default=150, help="rows from the trace's beginning")
    p.add_argument("--rate", type=float, required=True, help="arrival times are stretched to so many requests per second")
    p.add_argument("--kv-tokens", type=int, default=16_384)
    p.add_argument("--max-tokens", type=int, default=1024, help="of every request; the trace records none")
    p.add_argument("--longest-prompt", type=int, default=4096, help="longer ones are cut")
    p.add_argument("--max-step-tokens", type=int, default=512)
    p.add_argument("--ttft", type=float, default=5.0, help="SLA: seconds to the first token")
    p.add_argument("--gap", type=float, default=1.0, help="SLA: seconds between two tokens, ever")
    p.add_argument("--rehearsal", type=int, default=32, help="requests at a time in the rehearsal")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", required=True, help="path without suffix")
    a = p.parse_args()
    rows, started = load(a), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    running = min(a.kv_tokens // BLOCK_TOKENS, a.max_step_tokens)
    names = {"stetd": a.stetd, "model": a.model, "running": running, "step": a.max_step_tokens}
    with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as log:
        server = Server(STET, names | {"policy": "past_future", "kv": 65_536, "ttft_ms": 0}, log)
        try:
            asyncio.run(rehearse(f"http://127.0.0.1:{server.port}", rows, a))
            _, model = metrics(server.port)
        finally:
            server.stop()
        machine_file = Path(f"{a.out}-machine.json")
        machine_file.write_text(json.dumps({
            "name": "measured", "source": f"{machine()}: the daemon's step-time model after the rehearsal of {Path(a.trace).name}, {started}",
            "pool_tokens": a.kv_tokens, "block_tokens": BLOCK_TOKENS, "max_step_tokens": a.max_step_tokens,
            "step_time": {f"{k}_us": model[k] for k in "awcrq"}}, indent=2) + "\n")
        policies = {}
        for name in a.policy:
            policy, late = name.removesuffix("+late"), name.endswith("+late")
            print(name, file=sys.stderr)
            server = Server(STET, names | {"policy": policy, "kv": a.kv_tokens, "ttft_ms": int(1e3 * a.ttft) if late else 0}, log)
            try:
                results = asyncio.run(play(f"http://127.0.0.1:{server.port}", rows, a))
                sums, fitted = metrics(server.port)
            finally:
                server.stop()
            policies[name] = {"measured": figures(rows, results, a, sums["vllm:num_preemptions_total"]),
                              "simulated": simulate(policy, late, rows, a, machine_file), "step_model_us": fitted,
                              "requests": [{"at_s": row.at_s, "prompt": len(row.prompt), "output": len(r.tokens), "ttft_s": round(r.ttft, 4),
                                            "longest_gap_s": round(max(r.gaps or [0.0]), 4)} for r, row in zip(results, rows)]}
    Path(log.name).unlink()
    mean = lambda values: sum(values) / len(rows)
    report = {"started": started, "machine": machine(), "command": shlex.join(["replay.py", *(Path(v).name if Path(v).is_file() else v for v in sys.argv[1:])]),
              "what": f"{len(rows)} requests of {Path(a.trace).name} at {a.rate:g}/s: prompts {mean([len(r.prompt) for r in rows]):.0f} tokens in the mean, "
                      f"outputs {mean([len(r.tokens) for r in rows]):.0f}; max_tokens {a.max_tokens}; {a.kv_tokens} tokens of KV; "
                      f"SLA: first token within {a.ttft:g} s, gaps of {a.gap:g} s at most. One run per policy.",
              "policies": policies}
    Path(f"{a.out}.json").write_text(json.dumps(report, indent=1) + "\n")
    Path(f"{a.out}.md").write_text(markdown(report))
    print(markdown(report))
    return 0 if all(run["measured"]["equal_answers"] == 1.0 for run in policies.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
