"""PyPI `sentencepiece` as the reference for vocabularies of GGUF files with tokenizer.ggml.model = "llama"."""
import re

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # the same numbers in GGUF and in ModelProto


def model_of(tokens, scores, kinds, add_space_prefix):
    """A SentencePieceProcessor over the tables of a file. Text is encoded as it is: no normalisation, no spaces removed."""
    proto = pb.ModelProto()
    proto.trainer_spec.model_type = pb.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = add_space_prefix
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    has_unknown = UNKNOWN in kinds
    for token, score, kind in zip(tokens, scores, kinds):
        # llama.cpp's converter spells the spaces of user-defined tokens as spaces; and Gemma's <unk> as a control token, of which sentencepiece needs one.
        unknown = not has_unknown and token == "<unk>"
        proto.pieces.add(piece=token.replace(" ", "\u2581") if kind == USER_DEFINED else token, score=score, type=UNKNOWN if unknown else kind)
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


class Reference:
    """What stet should make of a text. `marks`: user-defined tokens that stet takes for marks of a chat protocol (src/text/protocol_mark.h)."""

    def __init__(self, tokens, scores, kinds, add_space_prefix, marks):
        assert all(kinds[tokens.index(mark)] == USER_DEFINED for mark in marks)
        marked = [CONTROL if token in marks else kind for token, kind in zip(tokens, kinds)]
        self.model = model_of(tokens, scores, marked, add_space_prefix)
        self.names = {token: i for i, (token, kind) in enumerate(zip(tokens, marked)) if kind in (CONTROL, UNKNOWN) and token}
        by_length = sorted(self.names, key=len, reverse=True)  # an alternation takes the first that fits: the longest
        self.name = re.compile("(" + "|".join(map(re.escape, by_length)) + ")")

    def data(self, text):
        return self.model.encode(text)

    def template(self, text):
        """Names of special tokens are found; what lies between two of them is a text of its own."""
        ids = []
        for part in self.name.split(text):
            ids += [self.names[part]] if part in self.names else self.model.encode(part)
        return ids
