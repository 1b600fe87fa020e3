"""AdminService.GetStats and WatchStats, and GET /debug/scheduler, through reflection: no generated code."""
import json
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Admin:
    """AdminService of a daemon."""

    def __init__(self, daemon):
        self.channel = grpc.insecure_channel(daemon.admin)
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def message(self, name, **fields):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName("stet.v1." + name))(**fields)

    def call(self, kind, method, request, response):
        rpc = getattr(self.channel, kind)("/stet.v1.AdminService/" + method, request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=type(self.message(response)).FromString)
        return rpc(request, timeout=30)

    def stats(self):
        return self.call("unary_unary", "GetStats", self.message("GetStatsRequest"), "Stats")

    def watch(self, interval_ms):
        return self.call("unary_stream", "WatchStats", self.message("WatchStatsRequest", interval_ms=interval_ms), "Stats")


def complete(daemon, **more):
    body = {"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": True, "temperature": 0, **more}
    request = urllib.request.Request(daemon.http + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def admin(daemon):
    return Admin(daemon)


def test_stats_count_what_was_done(daemon, admin):
    before = admin.stats()
    complete(daemon)
    after = admin.stats()
    assert after.generated_tokens == before.generated_tokens + 8
    assert after.requests_ended == before.requests_ended + 1
    assert after.engine_steps >= before.engine_steps + 8
    assert after.running == 0 and after.kv_blocks_total > 0 and after.kv_block_tokens >= 64
    step = after.last_step
    assert step.decodes == 1 and step.tokens == 1 and step.actual_us > 0 and step.predicted_us > 0
    assert after.requests_with_targets == 0


def test_watch_sends_at_once_and_again(daemon, admin):
    stream = admin.watch(100)
    first, second = next(stream), next(stream)
    assert second.unix_ms - first.unix_ms >= 90
    complete(daemon)
    for stats in stream:
        if stats.generated_tokens > second.generated_tokens:
            break
    stream.cancel()


def test_a_bad_interval_names_its_field(admin):
    for interval in (1, 99, 60001):
        with pytest.raises(grpc.RpcError) as caught:
            next(admin.watch(interval))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        bad = error_details_pb2.BadRequest()
        assert any(d.Unpack(bad) for d in status_pb2.Status.FromString(details).details)
        assert bad.field_violations[0].field == "interval_ms"


def test_the_scheduler_page_holds_the_last_steps(daemon):
    for _ in range(3):
        complete(daemon)
    page = json.loads(daemon.get("/debug/scheduler"))
    assert page["state"] == "ready" and page["running"] == 0
    steps = page["steps"]
    assert 0 < len(steps) <= 256
    numbers = [s["step"] for s in steps]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)
    for s in steps:
        assert s["tokens"] == s["decodes"] + s["prefill_tokens"] <= s["token_budget"]
        assert set(s["waiting"]) == {"memory", "running_limit", "step_budget", "sibling"}


def test_without_public_metrics_there_is_no_page(own_daemon):
    d = own_daemon("--set", "metrics.public=false")
    with pytest.raises(urllib.error.HTTPError) as caught:
        d.get("/debug/scheduler")
    assert caught.value.code == 404


def test_targets_of_the_server_are_counted(own_daemon):
    d = own_daemon("--set", "scheduler.ttft_target_ms=60000", "--set", "scheduler.itl_target_ms=1")
    complete(d)
    stats = Admin(d).stats()
    # One millisecond is never met; the self-test's requests have the same targets.
    assert stats.requests_with_targets >= 1 and stats.requests_met_targets == 0
    assert stats.last_step.itl_limit_us == 800
    assert d.metric("stet_step_budget_floor_total") > 0
