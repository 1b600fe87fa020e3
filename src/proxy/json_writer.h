// JSON text written by hand: what a streamed token costs (serving-path.md: 0.07 us against
// nlohmann's 3.4 us per chunk).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stet::proxy {

// The inside of a JSON string. Bytes that are no UTF-8 become U+FFFD, one per maximal subpart (as
// Python's "replace").
void append_json_escaped(std::string* out, std::string_view text);
void append_json_string(std::string* out, std::string_view text);  // with quotes
void append_json_uint(std::string* out, uint64_t value);
void append_json_int(std::string* out, int64_t value);
// The shortest decimal that rounds to the same float32; non-finite -> -9999.0 (api.md sec. 4).
void append_json_float(std::string* out, float value);

// Length of the UTF-8 code point at the start of `text` (1..4), or -k: the first k bytes are one
// broken subpart.
int utf8_length(std::string_view text);

}  // namespace stet::proxy
