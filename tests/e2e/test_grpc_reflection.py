"""A grpcio client made only from server reflection: no generated code."""
import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


@pytest.fixture(scope="module")
def reflected(daemon):
    channel = grpc.insecure_channel(daemon.grpc)
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("stet.v1.InferenceService")

    def call(method, request, timeout=60):
        m = service.FindMethodByName(method)
        request_class, response_class = GetMessageClass(m.input_type), GetMessageClass(m.output_type)
        stub = channel.unary_stream(
            f"/stet.v1.InferenceService/{method}",
            request_serializer=request_class.SerializeToString, response_deserializer=response_class.FromString)
        return stub(json_format.ParseDict(request, request_class()), timeout=timeout)

    yield call
    channel.close()


def events_of(stream):
    return [(e.WhichOneof("event"), e) for e in stream]


def test_generate_streams_in_order(reflected):
    events = events_of(reflected("Generate", {"text": "Once upon a time", "sampling": {"maxTokens": 12, "temperature": 0}}))
    kinds = [k for k, _ in events]
    assert kinds[0] == "started" and kinds[-1] == "summary" and kinds.count("finished") == 1
    deltas = [e.delta for k, e in events if k == "delta"]
    assert [d.seq for d in deltas] == list(range(len(deltas)))
    ids = [i for d in deltas for i in d.token_ids]
    finished = next(e.finished for k, e in events if k == "finished")
    assert len(ids) == finished.completion_tokens == events[-1][1].summary.usage.completion_tokens


def test_chat_says_paris_and_final_mode_equals_deltas(reflected):
    request = {"messages": [{"role": "user", "content": [{"text": "Name the capital of France."}]}],
               "sampling": {"maxTokens": 24, "temperature": 0}}
    streamed = events_of(reflected("Chat", request))
    text = "".join(e.delta.text for k, e in streamed if k == "delta")
    assert "Paris" in text
    final = events_of(reflected("Chat", {**request, "output": {"mode": "OUTPUT_MODE_FINAL"}}))
    assert [k for k, _ in final] == ["started", "finished", "summary"]
    assert final[1][1].finished.output.text == text


def test_out_of_range_names_the_field(reflected):
    with pytest.raises(grpc.RpcError) as caught:
        list(reflected("Generate", {"text": "x", "sampling": {"topP": 1.5}}))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "sampling.top_p" in caught.value.details()


def test_health_says_serving(daemon):
    with grpc.insecure_channel(daemon.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "stet.v1.InferenceService", "stet.live"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
