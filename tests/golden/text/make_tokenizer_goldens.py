#!/usr/bin/env python3
"""Records what PyPI `tokenizers` makes of the texts of token_texts.py.

Run: python3 tests/golden/text/make_tokenizer_goldens.py MODEL.gguf      (pip install tokenizers gguf numpy)

tokenizer_tiny.json     a small byte-level vocabulary trained here (so its tests need no model), ids for every pre-tokenizer
tokenizer_smollm2.json  ids with the vocabulary and merges of the GGUF file
"""
import json
import sys
from pathlib import Path

import tokenizers
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import token_texts

HERE = Path(__file__).resolve().parent
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|im|>"]


# From the tokenizer.json files of Llama 3 and Qwen 2.
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {"llama-bpe": LLAMA3, "qwen2": LLAMA3.replace("{1,3}", "")}
NAMES = ("smollm", "gpt2", "llama-bpe", "qwen2")


def pre_tokenizer(name):
    if name in PATTERNS:
        return pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(PATTERNS[name]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "gpt2":
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])


def build(tokens, merges, pre):
    vocab = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges], ignore_merges=pre == "llama-bpe"))
    made.pre_tokenizer = pre_tokenizer(pre)
    made.decoder = decoders.ByteLevel()
    return made


def byte_alphabet():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printable]
    spelling = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [spelling[b] for b in range(256)]


def train_tiny():
    """The 256 bytes, the special names and merges learned from the texts themselves."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer("gpt2")
    trainer = trainers.BpeTrainer(vocab_size=900, min_frequency=2, initial_alphabet=byte_alphabet(), show_progress=False)
    made.train_from_iterator(token_texts.ENGLISH * 5 + token_texts.CODE * 2 + token_texts.texts(), trainer)
    learned = json.loads(made.to_str())["model"]
    by_id = sorted(learned["vocab"], key=learned["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in learned["merges"]]
    return SPECIALS + by_id, merges


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace('},{"text"', '},\n{"text"') + "\n")
    print(name, (HERE / name).stat().st_size, "bytes")


def made_by():
    return f"make_tokenizer_goldens.py, tokenizers {tokenizers.__version__}"


def tiny_goldens():
    tokens, merges = train_tiny()
    every = {pre: build(tokens, merges, pre) for pre in NAMES}
    cases = [
        {"text": text, **{pre: made.encode(text, add_special_tokens=False).ids for pre, made in every.items()}}
        for text in token_texts.texts()
    ]
    template = []  # special names are recognised: what template text gives
    for made in every.values():
        made.add_special_tokens([AddedToken(s, special=True) for s in SPECIALS])
    for text in token_texts.SPECIAL_LOOKING + ["a<|im_start|>user\nHi  5<|im_end|>\n", "<|im|><|im_sep|><|im_s|>", "<|im_end|><|im_end|> <|im_end|>"]:
        template.append({"text": text, **{pre: made.encode(text, add_special_tokens=False).ids for pre, made in every.items()}})
    write(
        "tokenizer_tiny.json",
        {"made_by": made_by(), "num_special": len(SPECIALS), "tokens": tokens, "merges": merges, "cases": cases, "template_cases": template},
    )


def strings(field):
    return [bytes(field.parts[i]).decode() for i in field.data]


def model_goldens(path):
    reader = GGUFReader(path)
    tokens, merges = (strings(reader.fields[f"tokenizer.ggml.{name}"]) for name in ("tokens", "merges"))
    made = build(tokens, merges, "smollm")
    known = set(tokens)
    spelling = byte_alphabet()
    cases = []
    for text in token_texts.texts():
        # Characters with a byte that has no token are dropped by `tokenizers`; here they become U+FFFD.
        seen = "".join(c if all(spelling[b] in known for b in c.encode()) else "\ufffd" for c in text)
        cases.append({"text": text, "ids": made.encode(seen, add_special_tokens=False).ids})
    write("tokenizer_smollm2.json", {"made_by": made_by(), "model": Path(path).name, "cases": cases})


if __name__ == "__main__":
    tiny_goldens()
    if len(sys.argv) > 1:
        model_goldens(sys.argv[1])
