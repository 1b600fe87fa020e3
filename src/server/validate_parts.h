// The parts of validation, one per message; private to validate*.cc.
#pragma once

#include <string>

#include "src/server/validate.h"
#include "src/server/violations.h"
#include "stet/v1/inference.pb.h"

namespace stet::server {

struct ValidationContext {
  const Limits& limits;
  const ModelFacts& model;
  Violations* violations;
};

// Adds a violation and returns false if `value` is outside the range that the table gives for
// `rule`. `field` is the path to name; it differs from `rule` for elements of lists.
bool check_range(ValidationContext& context, const char* rule, const std::string& field,
                 double value, const std::string& shown);
bool check_range(ValidationContext& context, const char* rule, float value);
bool check_range(ValidationContext& context, const char* rule, uint32_t value);
// The number of entries of a list, or of bytes of a string.
bool check_size(ValidationContext& context, const char* rule, size_t size);

void validate_sampling(ValidationContext& context, const v1::SamplingParams& in, CallSpec* out);
void validate_stop(ValidationContext& context, const v1::StopParams& in, CallSpec* out);
void validate_output(ValidationContext& context, const v1::OutputOptions& in, CallSpec* out);
void validate_scheduling(ValidationContext& context, const v1::SchedulingHints& in, CallSpec* out);
void validate_messages(ValidationContext& context, const v1::ChatRequest& in, CallSpec* out);

}  // namespace stet::server
