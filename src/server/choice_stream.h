// One choice between the engine and its receiver: detokenises, finds stop strings, and gathers what
// is not sent yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "src/server/validate.h"
#include "stet/engine/engine.h"
#include "stet/text/detokenizer.h"
#include "stet/v1/inference.pb.h"

namespace stet::server {

// Owned by the text thread.
class ChoiceStream {
 public:
  // `tokenizer` and `spec` outlive the stream.
  ChoiceStream(const text::Tokenizer* tokenizer, const OutputSpec* spec, uint32_t index);

  // Takes the tokens of a kTokens or kChoiceFinished event. True if a stop string was completed by
  // one of them: that token is the choice's last, the rest of the event does not exist, and the
  // engine has to be told.
  bool take(const engine::EngineEvent& event);

  // What may be sent now: the Delta (`all`: also fewer tokens than stream_interval), then, once,
  // Finished.
  bool next_delta(bool all, v1::Delta* out);
  bool next_finished(v1::Finished* out);
  bool has_something_due() const;

  bool finished() const { return finish_.has_value(); }
  uint32_t completion_tokens() const { return completion_tokens_; }
  size_t pending_bytes() const { return pending_bytes_; }  // about, of what waits to be sent
  uint64_t merged() const { return merged_; }  // events that joined a Delta that was due already

 private:
  struct Finish {
    v1::FinishReason reason = v1::FINISH_REASON_STOP;
    std::string stop_string;     // matched, if not empty
    int64_t stop_token_id = -1;  // matched, if >= 0
  };

  void add_token(const engine::EngineToken& token);
  bool add_text(uint32_t token_id);  // true on a stop string
  void finish(Finish how);
  bool delta_due() const;

  const text::Tokenizer* tokenizer_;
  const OutputSpec* spec_;
  const uint32_t index_;
  text::Detokenizer detokenizer_;
  text::StopMatcher matcher_;
  std::string scratch_;
  v1::Delta pending_;  // tokens and text not sent yet; the whole choice in FINAL mode
  size_t pending_bytes_ = 0;
  uint32_t completion_tokens_ = 0;
  uint64_t merged_ = 0;
  std::optional<Finish> finish_;
  bool finished_sent_ = false;
};

}  // namespace stet::server
