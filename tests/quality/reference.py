"""FP32 arithmetic on the dequantised weights of a llama-architecture GGUF file: the yardstick of quality.py.

Independent of Stet: numpy, PyPI `gguf` for the file, PyPI `tokenizers` for the text. Formulas: RMSNorm, rotary embedding on adjacent
pairs, grouped-query attention with causal softmax, SiLU-gated feed-forward, tied head.
"""
import gguf
import numpy as np
from gguf.quants import dequantize


def load_weights(path):
    reader = gguf.GGUFReader(path)
    fields = {}
    for key, field in reader.fields.items():
        value = field.parts[field.data[0]] if len(field.data) == 1 else None
        if value is not None and field.types[0] != gguf.GGUFValueType.STRING:
            fields[key] = value[0]
    tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(tuple(reversed(t.shape.tolist())))
               for t in reader.tensors}
    return fields, tensors


def load_tokenizer(path):
    """Byte-level BPE of the file's tokens and merges: individual digits, then the GPT-2 pattern."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    reader = gguf.GGUFReader(path)

    def strings(key):
        field = reader.fields[key]
        return [bytes(field.parts[i]).decode() for i in field.data]

    vocab = {token: i for i, token in enumerate(strings("tokenizer.ggml.tokens"))}
    merges = [tuple(m.split(" ", 1)) for m in strings("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, base):
    """x: [positions, heads, head_dim]; pairs (2i, 2i+1)."""
    positions, _, dim = x.shape
    angles = np.arange(positions)[:, None] * base ** (-np.arange(0, dim, 2) / dim)[None, :]
    cos, sin = np.cos(angles)[:, None, :].astype(np.float32), np.sin(angles)[:, None, :].astype(np.float32)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 1::2] * cos + x[..., 0::2] * sin
    return out


def log_probabilities(fields, w, ids):
    """[len(ids), vocab] float32: log p of the next token after each position."""
    arch = "llama"
    layers = int(fields[f"{arch}.block_count"])
    heads, kv_heads = int(fields[f"{arch}.attention.head_count"]), int(fields[f"{arch}.attention.head_count_kv"])
    width = int(fields[f"{arch}.embedding_length"])
    dim = width // heads
    eps, base = float(fields[f"{arch}.attention.layer_norm_rms_epsilon"]), float(fields[f"{arch}.rope.freq_base"])
    n = len(ids)
    x = w["token_embd.weight"][ids]
    mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
    for i in range(layers):
        b = f"blk.{i}."
        h = rms_norm(x, w[b + "attn_norm.weight"], eps)
        q = rope((h @ w[b + "attn_q.weight"].T).reshape(n, heads, dim), base)
        k = rope((h @ w[b + "attn_k.weight"].T).reshape(n, kv_heads, dim), base)
        v = (h @ w[b + "attn_v.weight"].T).reshape(n, kv_heads, dim)
        out = np.empty((n, heads, dim), np.float32)
        for head in range(heads):
            kv = head * kv_heads // heads
            s = q[:, head] @ k[:, kv].T / np.float32(np.sqrt(dim)) + mask
            p = np.exp(s - s.max(axis=-1, keepdims=True))
            out[:, head] = (p / p.sum(axis=-1, keepdims=True)) @ v[:, kv]
        x = x + out.reshape(n, width) @ w[b + "attn_output.weight"].T
        h = rms_norm(x, w[b + "ffn_norm.weight"], eps)
        gate, up = h @ w[b + "ffn_gate.weight"].T, h @ w[b + "ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[b + "ffn_down.weight"].T
    x = rms_norm(x, w["output_norm.weight"], eps)
    logits = x @ w.get("output.weight", w["token_embd.weight"]).T
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
