// Checks that hold for every request message, by reflection: no unknown field, no unknown enum
// value, valid UTF-8.
#pragma once

#include "src/server/violations.h"

namespace google::protobuf {
class Message;
}

namespace stet::server {

void check_message(const google::protobuf::Message& message, Violations* violations);

}  // namespace stet::server
