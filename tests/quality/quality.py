#!/usr/bin/env python3
"""Quality of an engine against FP32 arithmetic on the same dequantised weights.

  quality.py --score build/release/bin/stet_score --model model.gguf        Stet (what `make quality` runs)
  quality.py --scores file.json --model model.gguf                          another engine's scores, same format

Each text of texts/ gives its first 512 tokens. For every position but the last the engine says the log-probability of the true next
token and its most likely token. Printed: mean |d log p| of the true token, and the share of positions whose most likely token
is FP32's. Scores format: {"engine": text, "texts": {name: {"logprob": [511 floats], "argmax": [511 ids]}}}.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import reference  # noqa: E402

TOKENS = 512
HERE = Path(__file__).parent


def token_ids(model):
    encode = reference.load_tokenizer(model)
    texts = {}
    for path in sorted((HERE / "texts").glob("*.txt")):
        ids = encode(path.read_text())
        if len(ids) < TOKENS:
            sys.exit(f"{path}: {len(ids)} tokens, at least {TOKENS} needed")
        texts[path.stem] = ids[:TOKENS]
    return texts


def run_score(binary, model, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(texts, f)
        f.flush()
        out = subprocess.run([binary, "--model", model, "--tokens", f.name], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout)


def fp32_scores(model, texts):
    arch, fields, weights = reference.load_weights(model)
    result = {}
    for name, ids in texts.items():
        print(f"FP32 reference: {name}", file=sys.stderr)
        lp = reference.log_probabilities(arch, fields, weights, np.array(ids))[:-1]
        result[name] = {"logprob": lp[np.arange(len(ids) - 1), ids[1:]], "argmax": lp.argmax(axis=-1)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--print-tokens", action="store_true", help="print {name: ids} and stop: input for another engine")
    group.add_argument("--score", help="a binary that reads {name: ids} and prints scores")
    group.add_argument("--scores", help="a file of scores")
    parser.add_argument("--max-dlogp", type=float, help="fail above this mean |d log p|")
    parser.add_argument("--min-top1", type=float, help="fail below this share (%%)")
    args = parser.parse_args()

    texts = token_ids(args.model)
    if args.print_tokens:
        json.dump(texts, sys.stdout)
        return 0
    scores = run_score(args.score, args.model, texts) if args.score else json.loads(Path(args.scores).read_text())
    truth = fp32_scores(args.model, texts)
    deltas, same = [], []
    print(f"engine: {scores['engine']}")
    for name in texts:
        d = np.abs(np.array(scores["texts"][name]["logprob"]) - truth[name]["logprob"])
        s = np.array(scores["texts"][name]["argmax"]) == truth[name]["argmax"]
        deltas.append(d)
        same.append(s)
        print(f"  {name:12s} mean |d log p| {d.mean():.4f}   top-1 {100 * s.mean():5.1f} %   FP32 mean log p {truth[name]['logprob'].mean():.3f}")
    dlogp, top1 = float(np.concatenate(deltas).mean()), 100 * float(np.concatenate(same).mean())
    print(f"  {'all':12s} mean |d log p| {dlogp:.4f}   top-1 {top1:5.1f} %")
    failed = (args.max_dlogp is not None and dlogp > args.max_dlogp) or (args.min_top1 is not None and top1 < args.min_top1)
    if failed:
        print(f"quality.py: outside the limits (mean |d log p| <= {args.max_dlogp}, top-1 >= {args.min_top1} %)", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
