#!/usr/bin/env python3
"""Records what PyPI `sentencepiece` makes of the texts of token_texts.py and of some that are hard for its kind.

Run: python3 tests/golden/text/make_sentencepiece_goldens.py [GEMMA.gguf]      (pip install sentencepiece protobuf; gguf numpy for a file)

sentencepiece_tiny.json   a small vocabulary trained here (so its tests need no model), ids with and without the space in front
sentencepiece_gemma.json  ids with the vocabulary of the GGUF file
"""
import io
import json
import sys
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

import token_texts
from sentencepiece_reference import CONTROL, NORMAL, UNUSED, USER_DEFINED, Reference

HERE = Path(__file__).resolve().parent
TURNS = ["<start_of_turn>", "<end_of_turn>"]
MARKS = ["[multimodal]", "<start_of_image>", "<end_of_image>"]
TAGS = ["<table>", "<td>", "</td>", "</table>", "<b>", "</b>"]
SPACES = ["\u2581" * n for n in range(2, 9)] + ["\n" * n for n in range(1, 6)] + ["\t", "\t\t", "\t\t\t"]
WORDS = ["fox", "\U0001f600"]

HARD = [
    "\u2581", "\u2581\u2581", "a\u2581b", " \u2581 ", "\u2581Hello", "\u2581\n\u2581", "x\u2581\u2581\u2581y", "\u2580\u2582", "\u2581" * 40,
    " " * 7 + "x", " " * 31, " " * 32, " " * 33, " " * 64, "x" + " " * 65 + "y", "\n" * 31, "\n" * 32, "\n" * 70, "\t" * 31, "\t" * 32, "a \n b", "a  \n\n  b\n \n", "\t \t  \t",
    "<table><tr><td>1</td></tr></table>", "<b>bold</b> <i>it</i>", "< b>", "<b", "b>", "<<b>>", "</b></b>", "<B>", "<br>", "<td>\n\n</td>", "a<b>c", "<h1>T</h1>", "<s>x</s>",
    "<0x41>", "<0x0A>", "<0xFF><0xC3>", "<unk>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unused0>",
    "<start_of_turn>user\nHi<end_of_turn>\n", "<start_of_turn>", "<end_of_turn", "[multimodal]", "<start_of_image>", "<end_of_image>", "x<start_of_image>y [multimodal]",
    "foxfox fox foxes", "fo xfox", "\U0001f600\U0001f600x", "a\U0001f600b",
    "don't can't", ">>> \u2581</x> \">\u2581</", "}\n\n\n\n}", "    if (a > b) {\n        return a;\n    }\n", "a . b , c ; d", "1 234 567.89", "e \u0301 x", "\u3000\u3000x", "\u00a0 \u00a0",
    "\U00010ffff", "\U000e0041", "\u0000", "a\u0000\u0000b", "\ufeff \ufeff", "\u0378\u0379", "\ud7ff\ue000",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 20, "x" * 3000, "xy" * 1500, "\u4e2d" * 999, "\u4e2d\u6587" * 500, "ha" * 700 + " " + "ah" * 700, "a " * 800, " a" * 800, "\u2581a" * 300,
]
TEMPLATE = [
    "<start_of_turn>user\nHello  world<end_of_turn>\n<start_of_turn>model\n", "<bos><start_of_turn>user\n", "a<end_of_turn>b", "<end_of_turn><end_of_turn> <end_of_turn>",
    "<start_of_<end_of_turn>turn>", "[multimodal]x", "see <start_of_image><end_of_image> here", "<b><end_of_turn></b>", "<unk>", "<s>hi</s>", "  <end_of_turn>  ", "\n\n<end_of_turn>\n\n",
]


def texts():
    return list(dict.fromkeys(token_texts.texts() + HARD))


def train_tiny():
    """Tokens, scores and kinds as a converter writes them. Every ninth merge is marked unused, so that it is made and taken apart."""
    long = set(token_texts.LONG)  # their repetitions would fill the vocabulary
    sentences = [s for s in token_texts.ENGLISH * 5 + token_texts.CODE * 2 + token_texts.texts() if s.strip() and s not in long]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=out, model_type="bpe", vocab_size=1500, byte_fallback=True, character_coverage=0.98,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True,
        user_defined_symbols=MARKS + SPACES + TAGS + WORDS, control_symbols=TURNS, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", bos_piece="<bos>",
        eos_piece="<eos>", max_sentence_length=1 << 20, num_threads=1, minloglevel=2,
    )
    proto = pb.ModelProto.FromString(out.getvalue())
    tokens, scores, kinds = [p.piece for p in proto.pieces], [p.score for p in proto.pieces], [p.type for p in proto.pieces]
    merges = [i for i, kind in enumerate(kinds) if kind == NORMAL and len(tokens[i]) > 1]
    for i in merges[4::9]:
        kinds[i] = UNUSED
    # A piece across a space, as Gemma has some between brackets, and two with equal scores.
    for piece, score in ((">\u2581<", -5.5), (">\u2581", -6.5), ("jw", -7.5), ("wj", -7.5)):
        assert piece not in tokens
        tokens, scores, kinds = tokens + [piece], scores + [score], kinds + [NORMAL]
    tokens = [t.replace("\u2581", " ") if kind == USER_DEFINED else t for t, kind in zip(tokens, kinds)]
    return tokens, scores, kinds


def write(name, value):
    value = {"made_by": f"make_sentencepiece_goldens.py, sentencepiece {sentencepiece.__version__}", **value}
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace('},{"text"', '},\n{"text"') + "\n")
    print(name, (HERE / name).stat().st_size, "bytes")


def tiny_goldens():
    tokens, scores, kinds = train_tiny()
    prefixed, plain = (Reference(tokens, scores, kinds, prefix, MARKS) for prefix in (True, False))
    cases = [{"text": text, "plain": plain.data(text), "prefixed": prefixed.data(text)} for text in texts() + ["jwjwj wjw", "a> <b"]]
    template = [{"text": text, "plain": plain.template(text), "prefixed": prefixed.template(text)} for text in TEMPLATE]
    write("sentencepiece_tiny.json", {"tokens": tokens, "scores": scores, "kinds": kinds, "marks": MARKS, "cases": cases, "template_cases": template})


def read_gguf(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    table = {name: fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")}
    tokens = [bytes(table["tokens"].parts[i]).decode() for i in table["tokens"].data]
    scores, kinds = ([table[name].parts[i][0].item() for i in table[name].data] for name in ("scores", "token_type"))
    prefix = fields.get("tokenizer.ggml.add_space_prefix")
    return tokens, scores, kinds, prefix is None or bool(prefix.parts[prefix.data[0]][0])


def model_goldens(path):
    reference = Reference(*read_gguf(path), MARKS)
    cases = [{"text": text, "ids": reference.data(text)} for text in texts()]
    template = [{"text": text, "ids": reference.template(text)} for text in TEMPLATE]
    write("sentencepiece_gemma.json", {"model": Path(path).name, "marks": MARKS, "cases": cases, "template_cases": template})


if __name__ == "__main__":
    tiny_goldens()
    if len(sys.argv) > 1:
        model_goldens(sys.argv[1])
