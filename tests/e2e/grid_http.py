"""Bad and border values for every field of /v1/chat/completions and /v1/completions, as bodies written by hand."""
import json
import re
from dataclasses import dataclass

import numpy as np

from grid_check import Case
from grid_structure import STRUCTURE
from grid_tables import parameter_rules, request_fields

RULES = parameter_rules()
BASE = {
    "completions": {"prompt": '"the capital of france is"', "max_tokens": "4", "temperature": "0", "seed": "7"},
    "chat": {"messages": '[{"role":"user","content":"hello there"}]', "max_tokens": "4", "temperature": "0", "seed": "7"},
}
NEEDS = {"top_logprobs": {"logprobs": "true"}, "stream_options": {"stream": "true"}}
# Where HTTP's range is not that of the gRPC field (notes of docs/parameters.md).
HTTP_RANGES = {"top_k": (-1, None), "seed": (-2**63, 2**63 - 1), "priority": (-2**31, 2**31 - 1)}

WRONG_TYPES = {
    "boolean": ["0", '"true"', "1.0", "[]", "{}", "[true]"],
    "integer": ['"1"', "1.5", "true", "[]", "{}", "[1]", '""'],
    "number": ['"1"', "true", '"NaN"', "[]", "{}", "[1]"],
    "string": ["1", "true", "[]", "{}", '["x"]'],
    "array of integers": ['"x"', "1", "true", "{}", '["1"]', "[1.5]", "[true]", "[null]", "[[1]]", "[-1]", "[4294967296]", "[1e300]"],
    "string or array of strings": ["1", "true", "{}", "[1]", "[null]", '[["x"]]'],
    "object": ["[]", "1", "true", '"x"'],
    "array of messages": ['"x"', "1", "true", "{}", "[1]", "[null]", '["x"]', "[[]]"],
    "string or array of token ids": ["1", "true", "{}", "[true]", "[1.5]", "[{}]", "[null]", "[-1]", "[4294967296]", '[1,"x"]', "[[[1]]]"],
    "any": ['"x"', "1", "true", '{"a":[1]}', "[1]"],
}
HUGE = [2**64, 2**63, 2**64 - 1, -2**63 - 1, 2**32, 2**31, -2**31 - 1, -2**63, 10**30]
NOT_JSON = ["NaN", "Infinity", "-Infinity", "nan", "+1", ".5", "tru", "'x'", "", "undefined", '"\\x"', '"\\ud800"', '"\x01"']
SYNTAX = ["0x10", "01", "1.", "1e", "1 1", "1,", "[1,]", "{,}", "[", '"x', "/**/1", "1}{", "1\x00", "1}\x00"]

MINIMAL = {
    "array of messages": [BASE["chat"]["messages"]],
    "object": ["{}"],
    "string or array of token ids": ['"a"', "[5]", "[5.0]", '["a"]', "[[5]]"],
    "string or array of strings": ['"zq"', "[]", '["zq"]'],
    "array of integers": ["[]", "[9]", "[9.0]"],
    "string": ['""'],
    "boolean": ["true", "false"],
}


@dataclass(frozen=True)
class Facts:
    """What only a running server knows."""
    model: str
    vocabulary: int
    model_len: int
    prompt_tokens: dict  # route -> of BASE


def effect_of(name, value):
    count = {"n": lambda b: len(b["choices"]) == value,
             "max_tokens": lambda b: b["usage"]["completion_tokens"] <= value,
             "max_completion_tokens": lambda b: b["usage"]["completion_tokens"] <= value,
             "min_tokens": lambda b: b["usage"]["completion_tokens"] >= value,
             "truncate_prompt_tokens": lambda b: b["usage"]["prompt_tokens"] <= value}
    return count.get(name)


def float32_step(value, towards):
    return repr(float(np.nextafter(np.float32(value), np.float32(towards))))


class Cases:
    """All cases of one field, as (category, Case)."""

    def __init__(self, field, facts):
        self.field, self.facts, self.found = field, facts, []
        members = {**BASE[field.route], **NEEDS.get(field.name, {})}
        members.pop(field.name, None)
        self.rest = "".join(f',"{k}":{v}' for k, v in members.items())
        self.plain = f"{{{self.rest[1:]}}}".encode()
        self.every_field()
        if field.use == "applied":
            self.by_kind()

    def add(self, category, value, fields=(), reasons=("malformed",), raw=None, **more):
        name = self.field.name
        raw = raw or f'{{"{name}":{value}{self.rest}}}'
        shown = value if len(value) < 50 else f"{value[:40]}...({len(value)})"
        body = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
        self.found.append((category, Case(f"{self.field.route} {name}={shown} ({category})", body, tuple(fields), tuple(reasons), **more)))

    def refuse(self, category, value, reasons=("malformed",), fields=None, **more):
        self.add(category, value, fields or (self.field.name,), reasons, **more)

    def take(self, category, value, **more):
        self.add(category, value, **more)

    def every_field(self):
        name, use, only = self.field.name, self.field.use, self.field.only
        required = name in ("messages", "prompt")
        for value in ("null", "1"):
            self.refuse("duplicate", value, raw=f'{{"{name}":{value},"{name}":{value}{self.rest}}}')
        for value in NOT_JSON:
            self.refuse("NaN" if value.lower().endswith("nan") else "not JSON", value)
        for value in ("1e400", "-1e999", "1" + "0" * 400):
            self.refuse("overflow", value, ("out_of_range",))
        for value in ("[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40):
            self.refuse("deep", value, ("out_of_range",))
        for value in SYNTAX:
            self.add("syntax", value, ("",))
        self.add("UTF-8", '"\\xff"', (name,), raw=f'{{"{name}":"'.encode() + b"\xff" + f'"{self.rest}}}'.encode())
        if required:
            self.refuse("null", "null", codes=("missing_required_parameter",))
        else:
            self.take("null", "null", same=self.plain)
        if use == "no effect":
            for value in WRONG_TYPES["any"] + ["1e300", "18446744073709551616"]:
                self.take("ignored", value, same=self.plain)
        elif use == "refused":
            for value in WRONG_TYPES["any"]:
                self.refuse("refused", value, ("unsupported",))
        elif use == "only":
            self.take("only", only, same=self.plain)
            for value in WRONG_TYPES[self.field.kind]:
                if value != only:
                    self.refuse("wrong type", value, ("malformed", "unsupported"))
            others = {"boolean": ["true"], "integer": ["0", "2", "-1", "4294967296"]}
            for value in others.get(self.field.kind, ['["x"]', '"auto"', '{"type":"x"}']):
                self.refuse("other value", value, ("unsupported", "malformed", "out_of_range"))
        self.structure()

    def structure(self):
        for value, named, reason in STRUCTURE.get(self.field.name, []):
            self.refuse("structure", value, (reason,), (named,))

    def by_kind(self):
        kind, name = self.field.kind, self.field.name
        for value in WRONG_TYPES[kind]:
            # A number in a list of ids has the right type, only no such value.
            is_number = re.search(r"\[-1|4294967296|1e300", value)
            reason, code = ("out_of_range", "invalid_value") if is_number else ("malformed", "invalid_type")
            self.refuse("wrong type", value, (reason,), codes=(code,))
        rule = RULES.get(self.field.proto)
        if kind == "integer":
            self.integers(rule)
        elif kind == "number":
            self.numbers(rule, lambda v: v, (name,))
        else:
            for value in MINIMAL.get(kind, []):
                if name not in ("request_id", "messages") or value != '""':
                    self.take("inside", value)
            if rule is not None and rule.kind in ("bytes", "entries"):
                self.sizes(rule)
        if name == "model":
            self.take("inside", json.dumps(self.facts.model), same=self.plain)

    def high_of(self, rule):
        facts = self.facts
        room = facts.model_len - (1 if self.field.name == "truncate_prompt_tokens" else facts.prompt_tokens[self.field.route])
        return {"vocabulary": facts.vocabulary, "vocabulary - 1": facts.vocabulary - 1, "model length - prompt": room, "max_tokens": 4}.get(
            rule.high) or int(rule.high)

    def integers(self, rule):
        name = self.field.name
        low, high = HTTP_RANGES.get(name, (None, None))
        low = int(rule.low) if low is None else low
        high = self.high_of(rule) if high is None else high
        refusals = ("out_of_range", "context_length")
        for value in (low - 1, -2**31) if low > -2**31 else (low - 1,):
            self.refuse("below", str(value), refusals)
        self.refuse("above", str(high + 1), refusals)
        for value in HUGE:
            if not low <= value <= high:
                self.refuse("huge", str(value), refusals)
        for value in ("1e300", "-1e300", "9007199254740994.0"):
            self.refuse("huge", value, refusals)
        for value in (low, high):
            self.take("inside", str(value), effect=effect_of(name, value))
        small = max(low, 1)
        for value in (f"{small}.0", f"{small}e0", f"{small}0e-1"):
            self.take("inside", value, effect=effect_of(name, small))

    def numbers(self, rule, write, fields):
        low, high = rule.low, float(self.high_of(rule))
        reasons = ("out_of_range",)
        for value in [str(low - 1), float32_step(low, -np.inf)] + (["0", "-0.0"] if rule.open_low else []):
            self.refuse("below", write(value), reasons, fields)
        for value in (str(high + 1), float32_step(high, np.inf)):
            self.refuse("above", write(value), reasons, fields)
        for value in ("1e39", "-1e39", "3.4028234e38", "18446744073709551616", "1e308"):
            self.refuse("huge", write(value), reasons, fields)
        inside = [float32_step(0, 1) if rule.open_low else str(low), str(high), float32_step(high, 0), "1e-30", "0.001", "1"]
        for value in inside + ([] if rule.open_low else ["0", "-0.0", "1e-45", "1e-320"]):
            self.take("inside", write(value))

    def sizes(self, rule):
        """Strings, lists and maps: how many, how long, and what may stand in them."""
        name, proto, facts = self.field.name, self.field.proto, self.facts
        reasons, high = ("out_of_range",), self.high_of(rule)
        if rule.kind == "bytes":
            self.refuse("above", json.dumps("x" * (high + 1)), reasons)
            self.refuse("huge", json.dumps("x" * 100_000), reasons)
            if name != "request_id":
                self.refuse("above", '"' + "é" * (high // 2 + 1) + '"', reasons)
                self.take("inside", '"' + "é" * (high // 2) + '"')
            self.take("inside", json.dumps("x" * high))
            return
        element = RULES.get(proto + "[]")
        if RULES.get(proto + "[].key") is not None:
            self.refuse("above", "{" + ",".join(f'"{i}":0' for i in range(high + 1)) + "}", reasons)
            self.take("inside", "{" + ",".join(f'"{i}":0' for i in range(high)) + "}")
            for value in (facts.vocabulary, 2**32 - 1):
                self.refuse("above", f'{{"{value}":1}}', reasons)
            self.take("inside", f'{{"0":1,"{facts.vocabulary - 1}":1}}')
            self.numbers(RULES[proto + "[].value"], lambda v: f'{{"5":{v}}}', (name,))
        elif element.kind == "bytes":
            longest = int(element.high)
            self.refuse("below", '[""]', reasons, (f"{name}[0]",))
            self.refuse("below", '""', reasons)
            self.refuse("above", json.dumps([f"z{i}q" for i in range(high + 1)]), reasons)
            self.refuse("above", json.dumps(["a", "x" * (longest + 1)]), reasons, (f"{name}[1]",))
            self.refuse("huge", json.dumps("x" * 100_000), reasons)
            self.take("inside", json.dumps(["x" * longest] + [f"z{i}q" for i in range(high - 1)]))
        else:
            self.refuse("above", f"[5,{facts.vocabulary}]", reasons, (f"{name}[1]",))
            self.refuse("above", json.dumps(list(range(high + 1))), reasons)
            self.refuse("huge", f"[{2**32 - 1}]", reasons, (f"{name}[0]",))
            self.refuse("huge", f"[{2**64}]", reasons, (f"{name}[0]",))
            self.refuse("twice", "[5,6,5]", reasons)
            self.take("inside", json.dumps(list(range(high))))
            self.take("inside", f"[0,{facts.vocabulary - 1}]")


def other_route_cases():
    """A field of the other route, and names that nobody knows, are unknown here."""
    names = {r: {f.name for f in request_fields() if f.route == r} for r in BASE}
    for route, other in (("chat", "completions"), ("completions", "chat")):
        rest = "".join(f',"{k}":{v}' for k, v in BASE[route].items())
        for name in sorted(names[other] - names[route]) + ["temprature", "Temperature", "sampling", "guided"]:
            for value in ("1", "null"):
                body = f'{{"{name}":{value}{rest}}}'.encode()
                yield route, Case(f"{route} {name!r}={value} (unknown)", body, (name,), ("unknown_field",))
