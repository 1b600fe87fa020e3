"""Bad and border values for every field of GenerateRequest and ChatRequest, as wire bytes written by hand.

The fields come from the server's own descriptors (reflection), their ranges from docs/parameters.md. What protobuf itself defines is the
documented effect: of a scalar given twice the last counts, a varint too long for its type is cut to it, packed and unpacked lists are one.
"""
import struct
from dataclasses import dataclass

import numpy as np
from google.protobuf.descriptor import FieldDescriptor as F

from grid_check import Case
from grid_tables import parameter_rules

RULES = parameter_rules()
VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
WIRE = {F.TYPE_BOOL: VARINT, F.TYPE_UINT32: VARINT, F.TYPE_UINT64: VARINT, F.TYPE_ENUM: VARINT, F.TYPE_FLOAT: FIXED32,
        F.TYPE_STRING: BYTES, F.TYPE_MESSAGE: BYTES}
U32, U64 = 2**32 - 1, 2**64 - 1
INF, MAX_FLOAT, MIN_FLOAT = float("inf"), 3.4028234663852886e38, 1.401298464324817e-45
# Known fields that this release refuses whatever they hold.
UNSERVED = {"output.prompt_logprobs", "output.logprob_token_ids", "output.echo_prompt", "constraint", "adapter", "resume", "tools_json",
            "tool_choice_json", "parallel_tool_calls"}


def varint(value):
    value &= U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number, wire):
    return varint(number << 3 | wire)


def block(data):
    return varint(len(data)) + data


def float32(value):
    return struct.pack("<f", value)


PAYLOADS = {VARINT: varint(1), FIXED64: bytes(8), BYTES: block(b"x"), FIXED32: bytes(4)}


@dataclass(frozen=True)
class Leaf:
    """A field at the end of a path of messages: its wire bytes stand inside theirs."""
    method: str
    path: tuple  # the messages around it
    descriptor: object

    def prefix(self):
        # The request under the case has one message already; whatever else repeats begins at 0.
        return "".join(f.name + ("" if f.label != f.LABEL_REPEATED else "[1]" if f.name == "messages" else "[0]") + "." for f in self.path)

    def name(self):
        return self.prefix() + self.descriptor.name

    def inside(self, data):
        for f in reversed(self.path):
            data = tag(f.number, BYTES) + block(data)
        return data

    def descriptor_tag(self):
        return tag(self.descriptor.number, WIRE[self.descriptor.type])

    def wire(self, payload):
        return self.inside(self.descriptor_tag() + payload)


def is_map(field):
    return field.type == F.TYPE_MESSAGE and field.message_type.GetOptions().map_entry


def unserved_part(name):
    return next((u for u in UNSERVED if name == u or name.startswith(u + ".")), None)


def leaves(method, message, path=()):
    for f in message.fields:
        yield Leaf(method, path, f)
        if f.type == F.TYPE_MESSAGE and not is_map(f):
            yield from leaves(method, f.message_type, (*path, f))


class Cases:
    """All cases of one field, as (category, Case)."""

    def __init__(self, leaf, facts, base):
        self.leaf, self.facts, self.base, self.found = leaf, facts, base, []
        self.wire_cases()
        name = leaf.name()
        if unserved_part(name) is not None:
            self.unserved()
        elif name in RULES:
            self.ranges(RULES[name])
        else:
            self.without_range()

    def add(self, category, shown, data, fields=(), reasons=("out_of_range", "malformed"), **more):
        title = f"{self.leaf.method} {self.leaf.name()} {shown} ({category})"
        self.found.append((category, Case(title, self.base + data, tuple(fields), reasons, **more)))

    def refuse(self, category, shown, payload, reasons=("out_of_range",), fields=None):
        self.add(category, shown, self.leaf.wire(payload), fields or (self.leaf.name(),), reasons)

    def take(self, category, shown, *payloads, value=None, **more):
        """`value`: what Started.effective_sampling must show of a sampling parameter."""
        name = self.leaf.descriptor.name
        if value is not None and self.leaf.name() == "sampling." + name:
            more["effect"] = lambda body: getattr(body["events"][0].started.effective_sampling, name) == value
        self.add(category, shown, b"".join(self.leaf.wire(p) for p in payloads), **more)

    def wire_cases(self):
        f, leaf = self.leaf.descriptor, self.leaf
        right = {WIRE[f.type]} | ({BYTES} if f.label == f.LABEL_REPEATED and WIRE[f.type] == VARINT else set())
        numbered = (leaf.prefix() + str(f.number),)
        for wire, payload in PAYLOADS.items():
            if wire not in right:
                self.add("wrong type", f"wire type {wire}", leaf.inside(tag(f.number, wire) + payload), numbered, ("unknown_field",))
        self.add("wrong type", "as a group", leaf.inside(tag(f.number, GROUP) + tag(f.number, END_GROUP)), numbered, ("unknown_field",))
        broken = {"an open group": GROUP, "an end without its group": END_GROUP, "wire type 6": 6, "cut after its tag": WIRE[f.type]}
        for shown, wire in broken.items():
            self.add("cut", shown, leaf.inside(tag(f.number, wire)), ("",), ("malformed",))
        if WIRE[f.type] == VARINT:
            self.add("huge", "a varint of 11 bytes", leaf.wire(b"\xff" * 10 + b"\x01"), ("",), ("malformed",))
        if WIRE[f.type] == BYTES:
            for size in (2, 2**31 - 1, 2**31, 2**63, U64):
                self.add("huge", f"{size} bytes promised", leaf.wire(varint(size) + b"x"), ("",), ("malformed",))
        if f.type == F.TYPE_STRING:
            for data in (b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
                self.add("UTF-8", repr(data), leaf.wire(block(data)), ("",), ("malformed",))
        if f.type == F.TYPE_MESSAGE and not is_map(f):
            inner = Leaf(leaf.method, (*leaf.path, f), f)
            for number in (19, 999, 2**29 - 1):
                data = inner.inside(tag(number, VARINT) + varint(1))
                self.add("unknown", f"number {number}", data, (inner.prefix() + str(number),), ("unknown_field",))
            if unserved_part(leaf.name()) is None and not leaf.name().startswith(("messages", "tokens")):
                self.take("null", "an empty message", block(b""), same=self.base)
        if f.type == F.TYPE_ENUM:
            for value in (len(f.enum_type.values), 99, -1, 2**31, 2**31 - 1):
                self.refuse("huge", value, varint(value))
            for value in f.enum_type.values:
                self.take("inside", value.name, varint(value.number))

    def unserved(self):
        f, name = self.leaf.descriptor, self.leaf.name()
        value = {F.TYPE_STRING: block(b"x"), F.TYPE_MESSAGE: block(b"")}.get(f.type, varint(1))
        self.refuse("unserved", "a value", value, ("unsupported",), (unserved_part(name),))

    def high_of(self, rule):
        facts = self.facts
        room = facts.model_len - (1 if self.leaf.name() == "truncate_prompt_tokens" else facts.prompt_tokens[self.leaf.method])
        return {"vocabulary": facts.vocabulary, "vocabulary - 1": facts.vocabulary - 1, "model length - prompt": room, "max_tokens": 4}.get(
            rule.high) or int(rule.high)

    def ranges(self, rule):
        getattr(self, rule.kind)(rule, self.high_of(rule))

    def number(self, rule, high, write=float32):
        low, name = rule.low, self.leaf.name()
        outside = {"below": [low - 1, -MIN_FLOAT if low == 0 else low * 1.0001] + ([0.0, -0.0] if rule.open_low else []),
                   "above": [high + 1, high * 1.0001], "NaN": [float("nan")], "huge": [INF, -INF, MAX_FLOAT, -MAX_FLOAT]}
        for category, values in outside.items():
            for value in values:
                self.refuse(category, value, write(value), fields=(name,))
        self.refuse("NaN", "signalling", write(float("nan"))[:-4] + b"\x01\x00\xa0\xff", fields=(name,))
        for value in [MIN_FLOAT if rule.open_low else low, high, MIN_FLOAT, 1e-30, 0.001, 1.0] + ([] if rule.open_low else [0.0, -0.0]):
            self.take("inside", value, write(value), value=float(np.float32(value)) if write is float32 else None)
        if write is float32:
            self.take("duplicate", "above, then 1", float32(high + 1), float32(1.0), value=1.0)
            self.refuse("duplicate", "1, then above", float32(1.0) + self.leaf.descriptor_tag() + float32(high + 1))

    def integer(self, rule, high):
        low = int(rule.low)
        reasons = ("out_of_range", "context_length")
        for value in [low - 1] if low > 0 else []:
            self.refuse("below", value, varint(value), reasons)
        for category, value in (("below", -1), ("above", high + 1), ("huge", 2**31), ("huge", U32), ("huge", U64)):
            self.refuse(category, value, varint(value), reasons)
        for value in (low, high):
            self.take("inside", value, varint(value), value=value)
        small = max(low, 1)
        self.take("huge", f"2^32 + {small}, cut to {small}", varint(2**32 + small), value=small)
        self.take("duplicate", "above, then inside", varint(high + 1), varint(small), value=small)
        self.refuse("duplicate", "inside, then above", varint(small) + self.leaf.descriptor_tag() + varint(high + 1), reasons)

    def bytes(self, rule, high):
        for category, size in (("above", high + 1), ("huge", 100_000)):
            self.refuse(category, f"{size} bytes", block(b"x" * size))
        self.take("inside", f"{high} bytes", block(b"x" * high))
        self.take("duplicate", "too long, then empty", block(b"x" * (high + 1)), block(b""))

    def entries(self, rule, high):
        name, facts = self.leaf.name(), self.facts
        if is_map(self.leaf.descriptor):
            entry = lambda key, value=0.0: block(tag(1, VARINT) + varint(key) + tag(2, FIXED32) + float32(value))
            self.refuse("above", f"{high + 1} entries", self.many(entry(i) for i in range(high + 1)))
            self.take("inside", f"{high} entries", *(entry(i) for i in range(high)))
            for key in (facts.vocabulary, U32, -1):
                self.refuse("above", f"key {key}", entry(key))
            self.take("duplicate", "a key twice: the last counts", entry(5, 1000.0), entry(5, 1.0), value={5: 1.0})
            self.take("null", "an entry without key and value: 0, 0", block(b""))
            self.number(RULES[name + "[].value"], self.high_of(RULES[name + "[].value"]), lambda v: entry(5, v))
            return
        element = RULES[name + "[]"]
        if element.kind == "bytes":
            self.refuse("below", "an empty string", block(b""), fields=(name + "[0]",))
            self.refuse("above", "a string too long", block(b"x" * (int(element.high) + 1)), fields=(name + "[0]",))
            self.refuse("above", f"{high + 1} entries", self.many(block(b"z%dq" % i) for i in range(high + 1)))
            self.take("inside", f"{high} entries", *(block(b"z%dq" % i) for i in range(high)))
            return
        for key in (facts.vocabulary, U32, -1, U64):
            self.refuse("above", f"id {key}", varint(key), fields=(name + "[0]",))
        self.refuse("above", f"{high + 1} entries", self.many(varint(i) for i in range(high + 1)))
        self.refuse("duplicate", "an id twice", self.many([varint(5), varint(5)]))
        self.take("inside", f"{high} entries", *(varint(i) for i in range(high)))
        packed = lambda data: self.leaf.inside(tag(self.leaf.descriptor.number, BYTES) + block(data))
        self.add("inside", "packed", packed(b"".join(varint(i) for i in range(high))))
        self.add("cut", "packed, cut", packed(b"\x80"), ("",), ("malformed",))

    def without_range(self):
        """Text, switches, 64 bits and hints: what is right is taken, whatever its size."""
        f, name = self.leaf.descriptor, self.leaf.name()
        special = {
            "model": [("no such", block(b"no-such-model"), ("model",))],
            "tokens": [("none", block(b""), ("out_of_range",))],
            "tokens.ids": [(f"id {i}", varint(i), ("out_of_range",)) for i in (self.facts.vocabulary, U32, -1)],
            "text": [("empty", block(b""), ("out_of_range",)), ("too long", block(b"x " * 3000), ("context_length",))],
            "messages": [("too many", self.many([block(b"\x0a\x04user")] * 1024), ("out_of_range",)),
                         ("an empty one", block(b""), ("out_of_range", "malformed"))],
            "template_kwargs_json": [
                ("no JSON", block(b"x"), ("malformed",)),
                ("a list", block(b"[]"), ("malformed",)),
                ("a name twice", block(b'{"a":1,"a":1}'), ("malformed", "unsupported")),
                ("a name that the template does not use", block(b'{"no_such":1}'), ("unsupported",)),
                ("deep", block(b'{"a":' * 5000 + b"1" + b"}" * 5000), ("malformed", "unsupported")),
                ("huge", block(b"x" * 70_000), ("out_of_range",))],
        }
        for shown, payload, reasons in special.get(name, []):
            fields = (name, name.split(".")[0]) if name.startswith("tokens") else (name,)
            self.refuse("structure", shown, payload, reasons, fields)
        if name.startswith("messages[1]"):
            payload = block(b"x" if f.type == F.TYPE_STRING else b"")  # a message of this alone
            self.refuse("structure", "alone", payload, ("malformed", "out_of_range"), ("messages[1]",))
        elif f.type == F.TYPE_BOOL:
            for value in (0, 1, 2, U64):
                self.take("inside", value, varint(value), value=value != 0)
            self.take("duplicate", "true, then false", varint(1), varint(0), value=False)
        elif f.type in (F.TYPE_UINT32, F.TYPE_UINT64) and name != "tokens.ids":
            for value in (0, 1, U32, 2**63, U64):
                self.take("huge", value, varint(value), value=value, same=self.base if name.startswith("scheduling.") else b"")
            self.take("duplicate", "1, then 2", varint(1), varint(2), value=2)
        elif name == "tokens.ids":
            self.take("inside", "the last id", varint(self.facts.vocabulary - 1))
        elif f.type == F.TYPE_STRING and name not in ("model", "template_kwargs_json", "text"):
            self.take("inside", "'x'", block(b"x"))
        elif name == "text":
            self.take("duplicate", "empty, then as before", block(b""), block(b"the capital of france is"), same=self.base)

    def many(self, payloads):
        """The bytes after the first tag of a repeated field."""
        return self.leaf.descriptor_tag().join(payloads)
