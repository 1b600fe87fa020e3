// Heads of HTTP/1.1 answers and chunk framing as text.
#pragma once

#include <string>
#include <string_view>

namespace stet::proxy {

std::string_view status_text(int status);  // "Not Found"
std::string http_date();                   // of now: "Sun, 06 Nov 1994 08:49:37 GMT"
void append_header(std::string* out, std::string_view name, std::string_view value);
void append_chunk(std::string* out,
                  std::string_view bytes);  // bytes not empty: an empty chunk would end the body
// Percent-decodes; false on a broken escape, a NUL or a control character.
bool decode_path(std::string_view target, std::string* path);

}  // namespace stet::proxy
