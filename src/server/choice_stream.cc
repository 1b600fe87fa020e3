#include "src/server/choice_stream.h"

#include <utility>

#include "stet/base/check.h"

namespace stet::server {
namespace {

// Wire bytes of a log-probability entry beside its token's bytes, rounded up.
constexpr size_t kLogprobBytes = 24;
constexpr size_t kTokenIdBytes = 4;

}  // namespace

ChoiceStream::ChoiceStream(const text::Tokenizer* tokenizer, const OutputSpec* spec, uint32_t index)
    : tokenizer_(tokenizer),
      spec_(spec),
      index_(index),
      detokenizer_(tokenizer, spec->skip_special_tokens),
      matcher_(spec->stop_strings, spec->include_stop_in_output) {}

void ChoiceStream::add_token(const engine::EngineToken& token) {
  if (pending_.token_ids_size() == 0) {
    pending_.set_position(completion_tokens_);
  }
  pending_.add_token_ids(token.token_id);
  pending_bytes_ += kTokenIdBytes;
  ++completion_tokens_;
  if (!spec_->want_logprobs) {
    return;
  }
  v1::TokenLogprob* entry = pending_.add_logprobs();
  entry->set_token_id(token.token_id);
  entry->set_logprob(token.logprob);
  entry->set_rank(token.rank);
  entry->set_token_bytes(std::string(tokenizer_->token_bytes(token.token_id)));
  for (const TopLogprob& top : token.top) {
    v1::TopLogprob* alternative = entry->add_top();
    alternative->set_token_id(top.token_id);
    alternative->set_logprob(top.logprob);
    alternative->set_token_bytes(std::string(tokenizer_->token_bytes(top.token_id)));
    pending_bytes_ += kLogprobBytes + alternative->token_bytes().size();
  }
  pending_bytes_ += kLogprobBytes + entry->token_bytes().size();
}

bool ChoiceStream::add_text(uint32_t token_id) {
  scratch_.clear();
  detokenizer_.append(token_id, &scratch_);
  const size_t before = pending_.text().size();
  const auto match = matcher_.feed(scratch_, pending_.mutable_text());
  pending_bytes_ += pending_.text().size() - before;
  if (!match) {
    return false;
  }
  Finish how;
  how.stop_string = std::string(match->stop);
  finish(std::move(how));
  return true;
}

void ChoiceStream::finish(Finish how) {
  if (how.stop_string.empty()) {
    // What was withheld is text after all, and bytes that never became a code point are U+FFFD.
    scratch_.clear();
    detokenizer_.finish(&scratch_);
    if (const auto match = matcher_.feed(scratch_, pending_.mutable_text())) {
      how = Finish{v1::FINISH_REASON_STOP, std::string(match->stop), -1};
    } else {
      matcher_.finish(pending_.mutable_text());
    }
  }
  finish_ = std::move(how);
}

bool ChoiceStream::take(const engine::EngineEvent& event) {
  if (finish_) {
    return false;  // computed before the engine heard of the stop string
  }
  STET_CHECK(event.tokens.empty() || event.first_output_pos == completion_tokens_,
             "the engine gives a choice's tokens in order, each once");
  if (delta_due()) {
    ++merged_;
  }
  const bool last_event = event.kind == engine::EngineEventKind::kChoiceFinished;
  const bool stop_token = last_event && event.stop_token_id >= 0;
  for (size_t i = 0; i < event.tokens.size(); ++i) {
    const engine::EngineToken& token = event.tokens[i];
    add_token(token);
    const bool withheld =
        stop_token && i + 1 == event.tokens.size() && !spec_->include_stop_in_output;
    if (!withheld && add_text(token.token_id)) {
      return true;
    }
  }
  if (last_event) {
    Finish how;
    how.reason = event.reason == stet::FinishReason::kLength ? v1::FINISH_REASON_LENGTH
                                                             : v1::FINISH_REASON_STOP;
    how.stop_token_id = event.stop_token_id;
    finish(std::move(how));
  }
  return false;
}

bool ChoiceStream::delta_due() const {
  if (spec_->final_mode) {
    return false;
  }
  const auto tokens = static_cast<uint32_t>(pending_.token_ids_size());
  return tokens >= spec_->stream_interval || (finish_ && (tokens > 0 || !pending_.text().empty()));
}

bool ChoiceStream::has_something_due() const {
  return delta_due() || (finish_ && !finished_sent_);
}

bool ChoiceStream::next_delta(bool all, v1::Delta* out) {
  const bool waiting = all && !spec_->final_mode && pending_.token_ids_size() > 0;
  if (!delta_due() && !waiting) {
    return false;
  }
  if (pending_.token_ids_size() == 0) {
    pending_.set_position(completion_tokens_);  // released text without a token of its own
  }
  pending_.set_index(index_);
  out->Clear();
  out->Swap(&pending_);
  pending_bytes_ = 0;
  return true;
}

bool ChoiceStream::next_finished(v1::Finished* out) {
  if (!finish_ || finished_sent_) {
    return false;
  }
  finished_sent_ = true;
  out->Clear();
  out->set_index(index_);
  out->set_reason(finish_->reason);
  if (!finish_->stop_string.empty()) {
    out->set_stop_string(finish_->stop_string);
  } else if (finish_->stop_token_id >= 0) {
    out->set_stop_token_id(static_cast<uint32_t>(finish_->stop_token_id));
  }
  out->set_completion_tokens(completion_tokens_);
  if (spec_->final_mode) {
    v1::Output* output = out->mutable_output();
    output->set_text(std::move(*pending_.mutable_text()));
    output->mutable_token_ids()->Swap(pending_.mutable_token_ids());
    output->mutable_logprobs()->Swap(pending_.mutable_logprobs());
    pending_.Clear();
    pending_bytes_ = 0;
  }
  return true;
}

}  // namespace stet::server
