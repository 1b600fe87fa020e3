// Messages made of a call's state: Started, Summary, Model, and the log line of an ended call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "src/server/call_state.h"
#include "stet/v1/inference.pb.h"
#include "stet/v1/model.pb.h"

namespace stet::server {

void fill_started(const CallState& call, const std::vector<uint32_t>& prompt_ids, v1::Started* out);
void fill_summary(const CallState& call, uint64_t now_us, v1::Summary* out);
void fill_sampling(const SamplingParams& sampling, bool ignore_eos, uint32_t n,
                   v1::SamplingParams* out);
v1::Model model_message(const ServedModel& model, const Limits& limits, int64_t created_unix_s);

std::string reason_of(const google::rpc::Status& status);  // ErrorInfo.reason, or "internal"
// One line per ended call, without content; successes above 100 per second are left out.
void log_call(const CallState& call, const google::rpc::Status& status, uint64_t now_us);

}  // namespace stet::server
