#!/usr/bin/env python3
"""What an ITL target buys and costs: decode streams while long prompts arrive one after the other, per `scheduler.itl_target_ms`.

    prefill_beside_decode.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --targets 0 200 100

Each round starts one stetd per target, alone; the table holds medians of the rounds. Needs Python >= 3.11 and aiohttp.
"""
import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp
from compare import STET, Server
from serve_bench import Client, make_prompts, percentiles, probe

DECODE = dict(head=0, own=64)
LONG = dict(head=0, own=1500)


async def play(base_url, a, seed):
    args = argparse.Namespace(base_url=base_url, api="completions", model=None, extra={}, tokens_per_word=1.2, seed=seed)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600), connector=aiohttp.TCPConnector(limit=0)) as session:
        async with session.get(f"{base_url}/v1/models") as response:
            args.model = (await response.json())["data"][0]["id"]
        client = Client(args, session)
        await probe(client, args, seed)
        decodes = make_prompts(DECODE, a.streams, f"decode/{seed}", args.tokens_per_word)
        longs = make_prompts(LONG, a.prompts + 1, f"long/{seed}", args.tokens_per_word)
        await client.request(longs.pop(), 4)  # the model of step times sees prefill before anything is measured
        running = [asyncio.create_task(client.request(p, a.out)) for p in decodes]
        await asyncio.sleep(1.0)
        prefills = [await client.request(p, 4) for p in longs]
        results = list(await asyncio.gather(*running))
    everything = results + prefills
    if failed := [r.error for r in everything if not r.ok]:
        sys.exit(f"prefill_beside_decode: {failed[0]}")
    until = max(r.done for r in prefills)
    gaps = [b - t for r in results for t, b in zip(r.chunks, r.chunks[1:]) if b <= until]
    wall = max(r.done for r in everything) - min(r.sent for r in everything)
    itl = percentiles(gaps)
    return {"itl_p50_ms": itl["p50"], "itl_p99_ms": itl["p99"], "itl_max_ms": round(max(gaps) * 1e3, 1),
            "long_ttft_p50_ms": percentiles([r.ttft for r in prefills])["p50"],
            "total_tok_s": round(sum(r.prompt + r.output for r in everything) / wall, 1)}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--stetd", default="build/release/bin/stetd")
    p.add_argument("--model", required=True)
    p.add_argument("--targets", type=int, nargs="+", default=[0, 100], help="scheduler.itl_target_ms")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--streams", type=int, default=4)
    p.add_argument("--prompts", type=int, default=4)
    p.add_argument("--out", type=int, default=400, help="output tokens of a stream")
    p.add_argument("--json", help="every run, to this file")
    a = p.parse_args()
    runs = {t: [] for t in a.targets}
    for seed in range(a.rounds):
        for target in a.targets:
            with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as log:
                server = Server(f"{STET} --set scheduler.itl_target_ms={target}", {"stetd": a.stetd, "model": a.model}, log)
                try:
                    runs[target].append(asyncio.run(play(f"http://127.0.0.1:{server.port}", a, seed)))
                finally:
                    server.stop()
                Path(log.name).unlink()
    keys = list(runs[a.targets[0]][0])
    print("| itl_target_ms | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 1))
    for target, rows in runs.items():
        print(f"| {target} | " + " | ".join(f"{statistics.median(r[k] for r in rows):.1f}" for k in keys) + " |")
    if a.json:
        Path(a.json).write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
