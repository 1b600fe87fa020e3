"""GenerateBatch through reflection, and `stet batch`, against single calls of the same daemon."""
import json
import random
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import BIN
from test_lifecycle import blocks_used, until

SERVICE = "stet.v1.InferenceService"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A seeded model of 400 tokens: what is tested here needs no sense, but many requests."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    subprocess.run([BIN / "make_tiny_gguf", "--out", model], check=True)
    return str(model)


class Inference:
    """InferenceService of a daemon; requests are dicts in the JSON mapping of Protobuf."""

    def __init__(self, daemon):
        self.channel = grpc.insecure_channel(daemon.grpc)
        self.service = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel)).FindServiceByName(SERVICE)

    def _rpc(self, kind, method):
        m = self.service.FindMethodByName(method)
        request, response = GetMessageClass(m.input_type), GetMessageClass(m.output_type)
        rpc = getattr(self.channel, kind)(f"/{SERVICE}/{method}", request_serializer=lambda d: json_format.ParseDict(
            d, request()).SerializeToString(), response_deserializer=response.FromString)
        return rpc

    def batch(self, requests):
        return self._rpc("stream_stream", "GenerateBatch")(iter(requests), timeout=300)

    def answers(self, requests):
        """custom_id -> its events; every one has ended exactly once."""
        out = {}
        for response in self.batch(requests):
            events = out.setdefault(response.custom_id, [])
            assert not events or not is_last(events[-1]), response
            events.append(response)
        assert all(is_last(events[-1]) for events in out.values())
        return out

    def single(self, request):
        """The output of a choice in FINAL mode."""
        method, body = next((k, v) for k, v in request.items() if k != "custom_id")
        body = {**body, "output": {**body.get("output", {}), "mode": "OUTPUT_MODE_FINAL"}}
        events = list(self._rpc("unary_stream", method.capitalize())(body, timeout=300))
        return next(e.finished for e in events if e.HasField("finished"))


def is_last(response):
    return response.HasField("error") or response.event.HasField("summary")


def finished(events):
    return next(e.event.finished for e in events if e.event.HasField("finished"))


def mixed_requests(count):
    """Texts and chats of a few shared beginnings, greedy and drawn, with log-probabilities."""
    rng = random.Random(7)
    beginnings = ["Once upon a time in a land of " + word * 30 for word in ("snow ", "sand ", "salt ")]
    requests = []
    for i in range(count):
        body = {"sampling": {"maxTokens": rng.randint(1, 10), "temperature": rng.choice([0, 1]), "seed": str(i)},
                "output": {"logprobs": rng.randint(0, 3)}}
        text = rng.choice(beginnings) + f"there were {i}"
        if rng.random() < 0.3:
            requests.append({"custom_id": f"c{i}", "chat": {**body, "messages": [{"role": "user", "content": [{"text": text}]}]}})
        else:
            requests.append({"custom_id": f"c{i}", "generate": {**body, "text": text}})
    return requests


def test_answers_equal_single_calls_in_any_order_through_a_small_queue(own_daemon, tiny):
    client = Inference(own_daemon("--set", "scheduler.max_queued_requests=5", model=tiny))
    requests = mixed_requests(60)
    singles = {r["custom_id"]: client.single(r) for r in requests}
    for seed in (1, 2):
        random.Random(seed).shuffle(requests)
        answers = client.answers(requests)
        assert {c: finished(events) for c, events in answers.items()} == singles


def test_five_hundred_requests_pass_a_queue_of_eight(own_daemon, tiny):
    daemon = own_daemon("--set", "scheduler.max_queued_requests=8", model=tiny)
    requests = [{"custom_id": str(i), "generate": {"tokens": {"ids": [i % 400, i // 400, 9]}, "sampling": {"maxTokens": 1}}} for i in range(500)]
    answers = Inference(daemon).answers(requests)
    assert len(answers) == 500
    assert not [e for events in answers.values() for e in events if e.HasField("error")]
    assert daemon.metric("vllm:admission_rejections_total") == 0


def test_a_wrong_request_leaves_the_others_alone(daemon):
    client = Inference(daemon)
    right = {"text": "Once upon a time", "sampling": {"maxTokens": 4, "temperature": 0}}
    wrong = {**right, "sampling": {"topP": 1.5}}
    answers = client.answers([{"custom_id": "a", "generate": right}, {"custom_id": "wrong", "generate": wrong},
                              {"custom_id": "none"}, {"custom_id": "b", "generate": right}])
    assert finished(answers["a"]) == finished(answers["b"]) == client.single({"generate": right})
    with pytest.raises(grpc.RpcError) as caught:
        client.single({"generate": wrong})
    error = answers["wrong"][0].error
    assert (error.code, error.message) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], caught.value.details())
    bad = error_details_pb2.BadRequest()
    assert any(d.Unpack(bad) for d in status_pb2.Status.FromString(error.details).details)
    assert bad.field_violations[0].field == "sampling.top_p"
    assert "generate and chat" in answers["none"][0].error.message


def test_a_duplicate_ends_the_call_after_the_answers_before_it(daemon):
    body = {"text": "Once", "sampling": {"maxTokens": 2}}
    ended = []
    with pytest.raises(grpc.RpcError) as caught:
        for response in Inference(daemon).batch([{"custom_id": c, "generate": body} for c in ("a", "b", "a", "c")]):
            ended += [response.custom_id] if is_last(response) else []
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "custom_id" in caught.value.details()
    assert sorted(ended) == ["a", "b"]


def test_cancel_gives_every_block_back(own_daemon, tiny):
    daemon = own_daemon("--prefix-cache", "false", "--set", "scheduler.max_queued_requests=4", model=tiny)
    endless = {"text": "Once upon a time", "sampling": {"maxTokens": 1500, "ignoreEos": True}, "output": {"mode": "OUTPUT_MODE_DELTA"}}
    call = Inference(daemon).batch([{"custom_id": str(i), "generate": endless} for i in range(60)])
    assert next(r for r in call if r.event.HasField("delta"))
    assert blocks_used(daemon) > 0
    call.cancel()
    assert until(lambda: blocks_used(daemon) == 0)
    assert until(lambda: daemon.metric("vllm:num_requests_running") + daemon.metric("vllm:num_requests_waiting") == 0)
    assert daemon.stop() == 0


def test_sigterm_finishes_the_accepted_and_refuses_the_rest(own_daemon, tiny):
    daemon = own_daemon("--set", "scheduler.max_queued_requests=4", "--set", "scheduler.max_running=2", model=tiny)
    body = {"text": "Once upon a time", "sampling": {"maxTokens": 400, "ignoreEos": True, "temperature": 0}}
    call = Inference(daemon).batch([{"custom_id": str(i), "generate": body} for i in range(60)])
    texts, codes = [], []
    for n, response in enumerate(call):
        if n == 0:
            daemon.process.terminate()
        if response.event.HasField("finished"):
            texts.append(response.event.finished.output.text)
        elif response.HasField("error"):
            codes.append(response.error.code)
    assert len(texts) + len(codes) == 60
    assert len(texts) >= 1 and len(set(texts)) == 1
    assert codes and set(codes) == {grpc.StatusCode.UNAVAILABLE.value[0]}
    assert daemon.process.wait(30) == 0


def shared_prefix_job(num_prefixes, num_members):
    """Token prompts of num_prefixes x num_members in random order, and how many distinct tokens they have."""
    rng = random.Random(3)
    requests, distinct = [], 0
    for _ in range(num_prefixes):
        prefix = [rng.randrange(400) for _ in range(256)]  # whole blocks
        distinct += len(prefix)
        for member in range(num_members):
            suffix = [member, 77, 78]
            distinct += len(suffix)
            requests.append({"generate": {"tokens": {"ids": prefix + suffix}, "sampling": {"maxTokens": 1}}})
    rng.shuffle(requests)
    return [{"custom_id": str(i), **r} for i, r in enumerate(requests)], distinct


@pytest.mark.parametrize("policy", ["prefix_group", "past_future"])
def test_a_job_in_random_order_computes_every_shared_prefix_once(own_daemon, tiny, policy):
    """The pool holds two of the six prefixes, and one request runs at a time: what is computed follows from the order alone. Arrival order
    (past_future) is the negative control."""
    daemon = own_daemon("--policy", policy, "--kv-tokens", "768", "--set", "scheduler.max_running=1",
                        "--set", "scheduler.max_queued_prompt_tokens=100000", model=tiny)
    client = Inference(daemon)
    requests, distinct = shared_prefix_job(6, 8)
    first = {"text": "x", "sampling": {"ignoreEos": True}, "scheduling": {"priorityClass": 7}}
    blockers = client.batch([{"custom_id": str(i), "generate": first} for i in range(8)])
    next(blockers)
    computed = num_queued = num_ended = 0
    for response in client.batch(requests):
        if response.event.HasField("started"):
            num_queued += 1
            if num_queued == len(requests):
                blockers.cancel()  # all of the job is in the queue: now it begins
        elif response.event.HasField("summary"):
            usage = response.event.summary.usage
            computed += usage.prompt_tokens - usage.cached_prompt_tokens
            num_ended += 1
    assert num_ended == len(requests)
    sent = sum(len(r["generate"]["tokens"]["ids"]) for r in requests)
    print(f"{policy}: {sent} prompt tokens sent, {distinct} distinct, {computed} computed")
    if policy == "prefix_group":
        assert computed == distinct
    else:
        assert computed > 2 * distinct


# ---- stet batch


def post(daemon, url, body):
    request = urllib.request.Request(daemon.http + url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def without_identity(body):
    """What two calls of one request may differ in."""
    body = {k: v for k, v in body.items() if k not in ("id", "created")}
    body.get("usage", {}).pop("prompt_tokens_details", None)
    return body


def test_the_answers_of_stet_batch_are_those_of_post(daemon, tmp_path):
    chat = {"messages": [{"role": "user", "content": "Name the capital of France."}], "temperature": 0, "max_tokens": 12}
    lines = [("/v1/chat/completions", chat), ("/v1/chat/completions", {**chat, "logprobs": True, "top_logprobs": 2, "n": 2, "seed": 5}),
             ("/v1/completions", {"prompt": "Once upon a time", "temperature": 1, "seed": 3, "max_tokens": 9, "stop": [" a"]}),
             ("/v1/completions", {"prompt": "x", "top_p": 2}), ("/v1/completions", {"prompt": "x", "colour": 1}),
             ("/v1/completions", {"prompt": "x", "model": "other"})]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"custom_id": f"r{i}", "method": "POST", "url": url, "body": body}) + "\n"
                              for i, (url, body) in enumerate(lines)))
    result = subprocess.run([str(BIN / "stet"), "--address", daemon.grpc, "batch", str(source), "--out", str(tmp_path / "out.jsonl")],
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stderr  # some were refused
    answers = {a["custom_id"]: a for a in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert len(answers) == len(lines)
    for i, (url, body) in enumerate(lines):
        status, expected = post(daemon, url, body)
        response = answers[f"r{i}"]["response"]
        assert response["status_code"] == status
        assert without_identity(response["body"]) == without_identity(expected)
        assert answers[f"r{i}"]["error"] is None
