// A string that remembers, piece by piece, where it came from. Value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stet::text {

enum class Origin : uint8_t {
  kTemplate,  // the template's own text: special tokens in it mean something
  kData,      // messages, names, arguments: only text
  kFinal,     // data of the last message, to be continued: marks where to cut
};

class OriginText {
 public:
  OriginText() = default;
  OriginText(std::string_view text, Origin origin) { append(text, origin); }

  const std::string& str() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  void append(std::string_view text, Origin origin);
  void append(const OriginText& text) { append(text, 0, text.size()); }
  void append(const OriginText& text, size_t begin, size_t end);  // bytes [begin, end)
  OriginText slice(size_t begin, size_t end) const;
  Origin origin_at(size_t byte) const;

  struct Run {
    size_t end;  // byte after the last one; the run begins where the previous one ends
    Origin origin;
  };
  const std::vector<Run>& runs() const { return runs_; }

 private:
  size_t run_at(size_t byte) const;

  std::string bytes_;
  std::vector<Run> runs_;  // ends ascending, neighbours differ in origin, the last ends at size()
};

}  // namespace stet::text
