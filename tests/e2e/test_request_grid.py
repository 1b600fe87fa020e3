"""Every field of the request tables x {below, above, wrong type, NaN, huge, null, twice, ...} over both APIs.

Refused with 400 / INVALID_ARGUMENT and the field's name, or the documented effect. The fields come from docs/request_fields.md (HTTP)
and the server's descriptors (gRPC), the ranges from docs/parameters.md. By default one value of each category; STET_FULL_GRIDS=1: all.
"""
import http.client
import json
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import grid_grpc
import grid_http
from conftest import BIN, FULL_GRIDS, Daemon
from grid_check import REASONS, Answer, Case, check, grpc_answer, http_answer
from grid_tables import parameter_rules, request_fields

VOCABULARY = 1100  # more ids than any list may hold
METHODS = ("Generate", "Chat")
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


def streamed_text(raw):
    frames = raw.decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""], frames
    choices = [c for f in frames[:-2] for c in json.loads(f.removeprefix("data: "))["choices"]]
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)


class Grid:
    """A daemon with a tiny model, a client of each API, and what a request without any bad field answers."""

    def __init__(self, folder, *flags):
        model = folder / "tiny.gguf"
        subprocess.run([BIN / "make_tiny_gguf", "--vocab", str(VOCABULARY), "--context", "256", "--out", model], check=True)
        self.daemon = Daemon("--prefix-cache", "false", "--set", "drain.announce_ms=0", "--kv-tokens", "4096", *flags, model=str(model))
        self.connection = http.client.HTTPConnection(self.daemon.http.removeprefix("http://"), timeout=30)
        self.channel = grpc.insecure_channel(self.daemon.grpc)
        self.inference = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel)).FindServiceByName("stet.v1.InferenceService")
        self.bases = {**{r: self.http_base(r) for r in PATHS}, **{m: self.grpc_base(m) for m in METHODS}}
        self.answers = {api: self.answer_of(api, base) for api, base in self.bases.items()}
        served = json.loads(self.daemon.get("/v1/models"))["data"][0]
        self.facts = grid_http.Facts(served["id"], VOCABULARY, served["max_model_len"], prompt_tokens={
            **{r: self.answers[r].body["usage"]["prompt_tokens"] for r in PATHS},
            **{m: self.answers[m].body["events"][-1].summary.usage.prompt_tokens for m in METHODS}})
        self.rss = self.rss_bytes()
        self.num_cases, self.refusal_seconds = Counter(), []

    def close(self):
        self.connection.close()
        self.channel.close()
        assert self.daemon.stop() == 0

    def http_base(self, route):
        return ("{" + ",".join(f'"{k}":{v}' for k, v in grid_http.BASE[route].items()) + "}").encode()

    def grpc_base(self, method):
        request = GetMessageClass(self.inference.FindMethodByName(method).input_type)()
        if method == "Chat":
            request.messages.add(role="user").content.add(text="hello there")
        else:
            request.text = "the capital of france is"
        request.sampling.max_tokens, request.sampling.temperature, request.sampling.seed = 4, 0, 7
        return request.SerializeToString()

    def leaves(self, method):
        return list(grid_grpc.leaves(method, self.inference.FindMethodByName(method).input_type))

    def answer_of(self, api, body):
        if api in PATHS:
            self.connection.request("POST", PATHS[api], body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            raw = response.read()
            if response.headers["Content-Type"].startswith("text/event-stream"):
                return Answer(response.status, {"text": streamed_text(raw)})
            return http_answer(response.status, raw)
        response_class = GetMessageClass(self.inference.FindMethodByName(api).output_type)
        call = self.channel.unary_stream(f"/stet.v1.InferenceService/{api}", request_serializer=lambda b: b,
                                         response_deserializer=response_class.FromString)
        return grpc_answer(call(body, timeout=30))

    def same(self, a, b):
        """Equal but for ids, times and where a stream was cut into pieces."""
        return all(a.get(k) == b.get(k) for k in ("choices", "usage", "text"))

    def run(self, api, cases):
        """Runs all, then the request that every case is a change of; returns what was wrong."""
        seen, wrong = set(), []
        for category, case in cases:
            if category in seen and not FULL_GRIDS:
                continue
            seen.add(category)
            self.num_cases[api] += 1
            try:
                if case.same:
                    plain = self.answer_of(api, case.same).body
                    case = replace(case, effect=lambda body, plain=plain: self.same(body, plain))
                start = time.monotonic()
                answer = self.answer_of(api, case.body)
                if case.fields:
                    self.refusal_seconds.append(time.monotonic() - start)
                check(case, answer)
            except (AssertionError, grpc.RpcError, OSError, http.client.HTTPException) as error:
                wrong.append(f"{type(error).__name__}: {error}"[:600])
                self.connection.close()
        if not self.same(self.answer_of(api, self.bases[api]).body, self.answers[api].body):
            wrong.append("afterwards the plain request has another answer")
        return wrong

    def rss_bytes(self):
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    g = Grid(tmp_path_factory.mktemp("grid"))
    yield g
    g.close()


HTTP_FIELDS = list(request_fields())


def test_the_pages_hold_the_tables():
    """A page whose form has changed must not end in a grid without cases."""
    assert len(HTTP_FIELDS) > 100 and {f.use for f in HTTP_FIELDS} == {"applied", "no effect", "refused", "only"}
    assert {f.kind for f in HTTP_FIELDS} == set(grid_http.WRONG_TYPES)
    assert len(parameter_rules()) > 25 and {r.kind for r in parameter_rules().values()} == {"number", "integer", "entries", "bytes"}
    assert len(REASONS) > 15 and REASONS["out_of_range"] == ("INVALID_ARGUMENT", {"invalid_value"})


@pytest.mark.parametrize("field", HTTP_FIELDS, ids=lambda f: f"{f.route}-{f.name}")
def test_http_refuses_by_name_or_has_the_documented_effect(grid, field):
    cases = grid_http.Cases(field, grid.facts).found
    assert len({c.name for _, c in cases}) == len(cases), "each case once"
    wrong = grid.run(field.route, cases)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("route", PATHS)
def test_http_refuses_unknown_names(grid, route):
    cases = [(c.name, c) for r, c in grid_http.other_route_cases() if r == route]
    assert len(cases) > 10
    wrong = grid.run(route, cases)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("method", METHODS)
def test_grpc_refuses_by_name_or_has_the_documented_effect(grid, method):
    leaves = grid.leaves(method)
    names = {leaf.name() for leaf in leaves}
    wrong = [w for leaf in leaves for w in grid.run(method, grid_grpc.Cases(leaf, grid.facts, grid.bases[method]).found)]
    assert not wrong, "\n".join(wrong)
    assert {r for r in parameter_rules() if "[" not in r} <= names, "every row of docs/parameters.md is a field of the request"


@pytest.mark.parametrize("method", METHODS)
def test_grpc_refuses_unknown_numbers_and_bytes_that_are_no_message(grid, method):
    numbers = (13 if method == "Generate" else 17, 19, 21, 999, 19_000, 2**29 - 1)
    unknown = [Case(f"{method} number {n}", grid.bases[method] + grid_grpc.tag(n, 0) + b"\x01", (str(n),), ("unknown_field",)) for n in numbers]
    no_message = (b"\x00", b"\xff", b"\x07", b"\x0a\xff", b"{}", b"\x80" * 11)
    broken = [Case(f"{method} bytes {b!r}", b, ("",), ("malformed",)) for b in no_message]
    wrong = grid.run(method, [(case.name, case) for case in unknown + broken])
    assert not wrong, "\n".join(wrong)


def test_a_negative_seed_is_its_twos_complement_on_both_apis(grid):
    body = grid.bases["completions"].replace(b'"temperature":0,"seed":7', b'"temperature":1.9,"seed":-2')
    seeded = grid.bases["Generate"] + grid_grpc.tag(6, 2) + grid_grpc.block(
        grid_grpc.tag(1, 5) + grid_grpc.float32(1.9) + grid_grpc.tag(8, 0) + grid_grpc.varint(2**64 - 2))
    text = grid.answer_of("completions", body).body["choices"][0]["text"]
    assert text == grid.answer_of("Generate", seeded).body["text"]
    assert text != grid.answers["completions"].body["choices"][0]["text"]


def test_a_server_that_takes_more_than_its_page_says_is_found(tmp_path):
    """The grid's negative control: a raised cap is an acceptance that docs/parameters.md does not know."""
    lenient = Grid(tmp_path, "--set", "limits.max_n=16")
    field = next(f for f in HTTP_FIELDS if (f.route, f.name) == ("completions", "n"))
    leaf = next(leaf for leaf in lenient.leaves("Generate") if leaf.name() == "sampling.n")
    cases = {"completions": grid_http.Cases(field, lenient.facts).found,
             "Generate": grid_grpc.Cases(leaf, lenient.facts, lenient.bases["Generate"]).found}
    for api in cases:
        wrong = lenient.run(api, cases[api])
        assert wrong and all("(above)" in w or "(duplicate)" in w for w in wrong), wrong
    lenient.close()


def test_the_daemon_is_idle_and_no_larger_after_the_grid(grid):
    """Last: what the cases before it left behind."""
    metrics = grid.daemon.metrics()
    held = sum(v for k, v in metrics.items() if k.startswith("stet_kv_blocks{") and ('state="private"' in k or 'state="shared"' in k))
    assert held == 0 and grid.daemon.metric("vllm:num_requests_running") == 0
    assert not [k for k, v in metrics.items() if v and ('status="5xx"' in k or 'reason="internal"' in k or 'reason="non_finite"' in k)]
    assert grid.rss_bytes() - grid.rss < 48 << 20, f"{grid.rss} -> {grid.rss_bytes()}"
    assert grid.daemon.process.poll() is None


def test_the_grid_is_as_large_as_promised(grid, capsys):
    num, refusals = grid.num_cases, sorted(grid.refusal_seconds)
    if len(num) < 4:
        pytest.skip("only a part of the file runs")
    with capsys.disabled():
        print(f"\nrequest grid: {sum(num.values())} cases {dict(num)}; refusals: median {refusals[len(refusals) // 2] * 1e3:.2f} ms, "
              f"p99 {refusals[len(refusals) * 99 // 100] * 1e3:.2f} ms")
    assert sum(num.values()) >= 1500
    assert min(num.values()) >= (1000 if FULL_GRIDS else 300)


REFUSED = Answer(400, {}, "out_of_range", "invalid_value", ("n",), "'n' is 0")
REFUSAL = Case("n=0", b"", ("n",), ("out_of_range",))


@pytest.mark.parametrize("case, answer", [
    (REFUSAL, Answer(200, {"choices": []})),
    (REFUSAL, replace(REFUSED, status=500)),
    (REFUSAL, replace(REFUSED, status=404)),
    (REFUSAL, replace(REFUSED, fields=("name",))),
    (REFUSAL, replace(REFUSED, fields=())),
    (REFUSAL, replace(REFUSED, reason="malformed")),
    (REFUSAL, replace(REFUSED, code="invalid_type")),
    (REFUSAL, replace(REFUSED, message="bad request")),
    (REFUSAL, replace(REFUSED, status=grpc.StatusCode.INTERNAL)),
    (REFUSAL, Answer(grpc.StatusCode.OK, {})),
    (Case("n=1", b""), REFUSED),
    (Case("n=2", b"", effect=lambda body: len(body["choices"]) == 2), Answer(200, {"choices": [{}]})),
])
def test_the_checker_fails_on_a_made_up_answer(case, answer):
    with pytest.raises(AssertionError, match=case.name):
        check(case, answer)


def test_the_checker_takes_what_is_right():
    check(REFUSAL, REFUSED)
    check(REFUSAL, replace(REFUSED, fields=("n[0]",), message="'n[0]' is 0"))
    check(REFUSAL, replace(REFUSED, status=grpc.StatusCode.INVALID_ARGUMENT))
    check(Case("n=1", b"", effect=lambda body: len(body["choices"]) == 1), Answer(200, {"choices": [{}]}))
