"""FP32 arithmetic on the dequantised weights of a GGUF file (architectures llama and gemma3): the yardstick of quality.py.

Independent of Stet: numpy, PyPI `gguf` for the file, PyPI `tokenizers` and `sentencepiece` for the text. Formulas: RMSNorm, rotary
embedding (llama: on adjacent pairs), grouped-query attention with causal softmax, gated feed-forward, tied head; Gemma 3 adds norms of
every q and k head and behind both branches, a scaled embedding, and sliding windows with a rope base of their own.
"""
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize


def load_weights(path):
    """(architecture, {key: number}, {name: float32 array})."""
    reader = gguf.GGUFReader(path)
    fields = {}
    for key, field in reader.fields.items():
        value = field.parts[field.data[0]] if len(field.data) == 1 else None
        if value is not None and field.types[0] != gguf.GGUFValueType.STRING:
            fields[key] = value[0]
    tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(tuple(reversed(t.shape.tolist())))
               for t in reader.tensors}
    return strings(reader, "general.architecture")[0], fields, tensors


def strings(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def numbers(reader, key):
    field = reader.fields[key]
    return [field.parts[i][0] for i in field.data]


def load_tokenizer(path):
    """A function from text to ids, without special tokens but for the bos that the file asks for."""
    reader = gguf.GGUFReader(path)
    kind = strings(reader, "tokenizer.ggml.model")[0]
    if kind == "gpt2":
        encode = byte_level_bpe(reader)
    elif kind == "llama":
        encode = sentence_piece(reader)
    else:
        raise SystemExit(f"no reference for tokenizer.ggml.model '{kind}'")
    add_bos = "tokenizer.ggml.add_bos_token" in reader.fields and bool(numbers(reader, "tokenizer.ggml.add_bos_token")[0])
    bos = [int(numbers(reader, "tokenizer.ggml.bos_token_id")[0])] if add_bos else []
    return lambda text: bos + encode(text)


def byte_level_bpe(reader):
    """Byte-level BPE of the file's tokens and merges: individual digits, then the GPT-2 pattern."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {token: i for i, token in enumerate(strings(reader, "tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ", 1)) for m in strings(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return lambda text: tokenizer.encode(text).ids


def sentence_piece(reader):
    """SentencePiece BPE with the file's pieces, scores and types: the reference of the tokenizer goldens."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "golden" / "text"))
    from sentencepiece_reference import model_of

    prefix = "tokenizer.ggml.add_space_prefix"
    return model_of(strings(reader, "tokenizer.ggml.tokens"), [float(x) for x in numbers(reader, "tokenizer.ggml.scores")],
                    [int(x) for x in numbers(reader, "tokenizer.ggml.token_type")],
                    prefix not in reader.fields or bool(numbers(reader, prefix)[0])).encode


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, base, halves=False):
    """x: [positions, heads, head_dim]; pairs (2i, 2i+1), or (i, i + head_dim / 2) with halves."""
    positions, _, dim = x.shape
    angles = np.arange(positions)[:, None] * base ** (-np.arange(0, dim, 2) / dim)[None, :]
    cos, sin = np.cos(angles)[:, None, :].astype(np.float32), np.sin(angles)[:, None, :].astype(np.float32)
    first, second = (slice(0, dim // 2), slice(dim // 2, dim)) if halves else (slice(0, dim, 2), slice(1, dim, 2))
    out = np.empty_like(x)
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)))


class Shape:
    """What the keys of a file say, and what its architecture implies."""

    def __init__(self, arch, fields):
        def key(name, default=None):
            value = fields.get(f"{arch}.{name}", default)
            if value is None:
                raise SystemExit(f"{arch}.{name} is missing")
            return value

        if arch not in ("llama", "gemma3"):
            raise SystemExit(f"no FP32 reference for architecture {arch}")
        self.gemma = arch == "gemma3"
        self.layers = int(key("block_count"))
        self.heads, self.kv_heads = int(key("attention.head_count")), int(key("attention.head_count_kv"))
        self.width = int(key("embedding_length"))
        self.dim = int(key("attention.key_length", self.width // self.heads))
        self.eps = float(key("attention.layer_norm_rms_epsilon"))
        self.base = float(key("rope.freq_base"))
        self.window = int(key("attention.sliding_window")) if self.gemma else 0

    def slides(self, layer):
        """Gemma 3: five layers with a window and rope base 10,000, then one that sees all."""
        return self.gemma and layer % 6 != 5


def attend(q, k, v, window):
    """q: [n, heads, dim]; k, v: [n, kv_heads, dim]; causal, the newest `window` positions only unless 0."""
    n, heads, dim = q.shape
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    seen = (distance >= 0) & ((distance < window) if window else True)
    mask = np.where(seen, np.float32(0), np.float32(-np.inf))
    out = np.empty((n, heads, dim), np.float32)
    for head in range(heads):
        kv = head * k.shape[1] // heads
        s = q[:, head] @ k[:, kv].T / np.float32(np.sqrt(dim)) + mask
        p = np.exp(s - s.max(axis=-1, keepdims=True))
        out[:, head] = (p / p.sum(axis=-1, keepdims=True)) @ v[:, kv]
    return out.reshape(n, heads * dim)


def log_probabilities(arch, fields, w, ids):
    """[len(ids), vocab] float32: log p of the next token after each position."""
    m = Shape(arch, fields)
    n = len(ids)
    x = w["token_embd.weight"][ids]
    if m.gemma:
        x = x * np.float32(np.sqrt(m.width))
    for i in range(m.layers):
        b = f"blk.{i}."

        def post(y, name):
            return rms_norm(y, w[b + name], m.eps) if m.gemma else y

        h = rms_norm(x, w[b + "attn_norm.weight"], m.eps)
        q = (h @ w[b + "attn_q.weight"].T).reshape(n, m.heads, m.dim)
        k = (h @ w[b + "attn_k.weight"].T).reshape(n, m.kv_heads, m.dim)
        v = (h @ w[b + "attn_v.weight"].T).reshape(n, m.kv_heads, m.dim)
        q, k = post(q, "attn_q_norm.weight"), post(k, "attn_k_norm.weight")
        base = 10000.0 if m.slides(i) else m.base
        out = attend(rope(q, base, m.gemma), rope(k, base, m.gemma), v, m.window if m.slides(i) else 0)
        x = x + post(out @ w[b + "attn_output.weight"].T, "post_attention_norm.weight")
        h = rms_norm(x, w[b + "ffn_norm.weight"], m.eps)
        gate, up = h @ w[b + "ffn_gate.weight"].T, h @ w[b + "ffn_up.weight"].T
        gated = (gelu_tanh if m.gemma else silu)(gate) * up
        x = x + post(gated @ w[b + "ffn_down.weight"].T, "post_ffw_norm.weight")
    x = rms_norm(x, w["output_norm.weight"], m.eps)
    logits = x @ w.get("output.weight", w["token_embd.weight"]).T
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
