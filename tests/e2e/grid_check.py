"""What an answer of either API must look like; the same checker judges every case of the grid."""
import json
import re
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2, status_pb2

from grid_tables import error_reasons

REASONS = error_reasons()
MAX_DETAIL_BYTES = 4096


@dataclass(frozen=True)
class Case:
    """`fields` empty: the value is taken. Else it is refused and the first field named is one of these, or lies under one."""
    name: str
    body: bytes
    fields: tuple = ()
    reasons: tuple = ("malformed", "out_of_range")
    codes: tuple = ()  # HTTP codes, where the reason alone does not say
    effect: object = None  # called with the answer when the value is taken
    same: bytes = b""  # taken, and the answer is that of this body


@dataclass
class Answer:
    """Of either API. `status` is an HTTP status or a grpc.StatusCode."""
    status: object
    body: dict = field(default_factory=dict)  # HTTP: the JSON; gRPC: {"text": ..., "events": ...}
    reason: str = ""
    code: str = ""  # HTTP only
    fields: tuple = ()
    message: str = ""


def lies_under(path, name):
    return re.match(re.escape(name) + r"($|[.\[])", path) is not None


def check(case, answer):
    """Raises AssertionError with what was expected and found."""
    found = f"{case.name}: found {answer}"
    if not case.fields:
        assert answer.status in (200, grpc.StatusCode.OK), f"should be taken; {found}"
        if case.effect is not None:
            assert case.effect(answer.body), f"has not the documented effect; {found}"
        return
    http = isinstance(answer.status, int)
    missing = answer.reason == "model" and "model" in case.reasons
    expected = (404 if missing else 400) if http else grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
    assert answer.status == expected, f"should be refused as {expected}; {found}"
    assert answer.reason in case.reasons, f"reason should be one of {case.reasons}; {found}"
    if http:
        assert answer.code in (case.codes or REASONS[answer.reason][1]), f"code does not fit the reason; {found}"
    assert REASONS[answer.reason][0] == ("NOT_FOUND" if missing else "INVALID_ARGUMENT"), found
    if case.fields == ("",):  # bytes that are no request: there is no field to name
        return
    if missing and not http:  # NOT_FOUND has no violations
        assert answer.message.startswith("model:"), found
        return
    assert answer.fields and any(lies_under(answer.fields[0], f) for f in case.fields), f"should name {case.fields}; {found}"
    assert answer.fields[0] in answer.message, f"the message should name the field; {found}"


def http_answer(status, raw):
    body = json.loads(raw)
    if status == 200:
        return Answer(status, body)
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code", "reason"}, error
    assert "\n" not in error["message"], error
    return Answer(status, body, error["reason"], error["code"], (error["param"],) if error["param"] else (), error["message"])


def grpc_answer(call):
    """Reads a call to its end. `details` must be one line, the status details at most 4 KiB and complete."""
    try:
        events = list(call)
    except grpc.RpcError as error:
        raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        assert len(raw) <= MAX_DETAIL_BYTES, f"{len(raw)} bytes of details"
        status, info, bad = status_pb2.Status.FromString(raw), error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        request = error_details_pb2.RequestInfo()
        for detail in status.details:
            detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(request)
        assert status.code == error.code().value[0] and status.message == error.details(), error
        assert info.domain == "stet" and request.request_id and "\n" not in status.message, error
        return Answer(error.code(), {}, info.reason, "", tuple(v.field for v in bad.field_violations), status.message)
    kinds = [e.WhichOneof("event") for e in events]
    assert kinds[0] == "started" and kinds[-1] == "summary", kinds
    return Answer(grpc.StatusCode.OK, {"events": events, "text": "".join(e.delta.text for e in events if e.HasField("delta"))})
