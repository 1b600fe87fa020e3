// Between messages and the bytes of a raw gRPC method. Raw, so that bad bytes are INVALID_ARGUMENT
// like every bad input; gRPC's own answer would be INTERNAL.
#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include "stet/base/check.h"

namespace stet::server {

template <class Message>
grpc::ByteBuffer to_bytes(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  STET_CHECK(grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own).ok(),
             "a response can be serialised");
  return bytes;
}

// False: the bytes are no such message; what was read before the fault stands in `message`.
template <class Message>
[[nodiscard]] bool from_bytes(const grpc::ByteBuffer& bytes, Message* message) {
  grpc::ByteBuffer copy(bytes);  // shares the slices
  return grpc::SerializationTraits<Message>::Deserialize(&copy, message).ok();
}

}  // namespace stet::server
