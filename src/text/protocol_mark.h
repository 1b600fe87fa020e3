// Tells user-defined tokens that are text from those that are marks of a chat protocol.
#pragma once

#include <string_view>

namespace stet::text {

// SentencePiece finds user-defined tokens in all text, and most of them are text: runs of spaces
// and line breaks, HTML tags, words. But converters also give this kind to names such as
// "<start_of_turn>", "<|user|>" or "<start_of_image>", and a message that could spell those would
// speak for the server. True for a name in brackets (with a letter or digit inside) that is no HTML
// tag of public vocabularies: what cannot be told apart from a mark counts as one, so that it is
// found in template text only.
bool is_protocol_mark(std::string_view name);

}  // namespace stet::text
