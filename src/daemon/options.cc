#include "src/daemon/options.h"

#include "src/daemon/address.h"
#include "stet/daemon/config.h"

namespace stet::daemon {

server::Limits limits_of(const config::v1::Config& config) {
  const auto& from = config.limits();
  server::Limits limits;
  limits.max_n = from.max_n();
  limits.max_logprobs = from.max_logprobs();
  limits.max_stop_strings = from.max_stop_strings();
  limits.max_stop_bytes = from.max_stop_bytes();
  limits.max_logit_bias = from.max_logit_bias();
  limits.max_request_bytes = from.max_request_bytes();
  limits.max_output_tokens = from.max_output_tokens();
  limits.max_request_us = from.max_request_seconds() * 1'000'000;
  limits.max_messages = from.max_messages();
  return limits;
}

server::GrpcOptions grpc_options_of(const config::v1::Config& config) {
  server::GrpcOptions options;
  options.address = config.listen().grpc();
  options.admin_address = admin_address(config.listen());
  options.max_message_bytes = config.limits().max_request_bytes();
  options.max_metadata_bytes = config.limits().max_metadata_bytes();
  options.max_streams_per_connection = config.limits().max_streams_per_connection();
  options.reflection = config.listen().reflection();
  return options;
}

proxy::HttpOptions http_options_of(const config::v1::Config& config) {
  const auto& limits = config.limits();
  proxy::HttpOptions options;
  const std::optional<Address> address = parse_address(config.listen().openai());
  STET_CHECK(address.has_value(), "the configuration was checked");
  options.host = address->host;
  options.port = address->port;
  options.max_body_bytes = limits.max_request_bytes();
  options.max_header_bytes = limits.max_header_bytes();
  options.max_connections = limits.max_connections();
  options.max_connections_per_peer = limits.max_connections_per_peer();
  options.max_json_depth = limits.max_json_depth();
  options.max_messages = limits.max_messages();
  options.header_timeout_us = limits.header_timeout_ms() * 1000;
  options.body_timeout_us = limits.body_timeout_ms() * 1000;
  options.idle_timeout_us = limits.idle_timeout_ms() * 1000;
  options.slow_reader_us = limits.slow_reader_ms() * 1000;
  options.first_byte_wait_us = config.http().first_byte_wait_ms() * 1000;
  options.keep_alive_comment_us = config.http().keep_alive_comment_ms() * 1000;
  options.warn_unknown_fields = config.http().unknown_fields() == config::v1::HttpConfig::WARN;
  options.serve_metrics = config.metrics().public_();
  return options;
}

engine::EngineOptions engine_options_of(const config::v1::Config& config) {
  const auto& from = config.scheduler();
  engine::EngineOptions options;
  options.policy = from.policy();
  options.prefix_cache = config.kv().prefix_cache();
  options.eviction = kv::find_eviction(config.kv().eviction()).value_or(options.eviction);
  options.max_running = from.max_running();
  options.max_queued_requests = from.max_queued_requests();
  options.max_queued_prompt_tokens = from.max_queued_prompt_tokens();
  options.queue_timeout_us = from.queue_timeout_ms() * 1000;
  options.chunk_cap = from.chunk_cap();
  options.ttft_target_us = from.ttft_target_ms() * 1000;
  options.itl_target_us = from.itl_target_ms() * 1000;
  options.short_first_percent = from.short_first_percent();
  return options;
}

obs::LogOptions log_options_of(const config::v1::Config& config) {
  using config::v1::LogConfig;
  obs::LogOptions options;
  switch (config.log().level()) {
    case LogConfig::DEBUG: options.level = obs::LogLevel::kDebug; break;
    case LogConfig::WARN: options.level = obs::LogLevel::kWarn; break;
    case LogConfig::ERROR: options.level = obs::LogLevel::kError; break;
    default: options.level = obs::LogLevel::kInfo; break;
  }
  switch (config.log().format()) {
    case LogConfig::JSON: options.format = obs::LogFormat::kJson; break;
    case LogConfig::TEXT: options.format = obs::LogFormat::kText; break;
    default: options.format = obs::LogFormat::kAuto; break;
  }
  return options;
}

Result<const kernels::KernelTable*> kernel_table_of(const config::v1::Config& config) {
  const std::string& name = config.compute().isa();
  if (name == "auto") {
    return &kernels::best_table();
  }
  const kernels::KernelTable* table = kernels::find_table(name.c_str());
  STET_CHECK(table != nullptr, "the configuration was checked");
  if (!kernels::cpu_supports(*table)) {
    return unavailable("compute.isa = " + name +
                       ": this CPU lacks its instructions; use --isa auto (" +
                       kernels::best_table().name + " here)");
  }
  if (!kernels::self_test(*table)) {
    return unavailable("compute.isa = " + name +
                       ": its self-test fails on this CPU; use --isa auto (" +
                       kernels::best_table().name + " here)");
  }
  return table;
}

executor::KvMode kv_mode_of(const config::v1::Config& config) {
  const std::optional<executor::KvMode> mode = executor::kv_mode_of_name(config.kv().memory());
  STET_CHECK(mode.has_value(), "the configuration was checked");
  return *mode;
}

std::string bound_address(const std::string& configured, int port) {
  const std::optional<Address> address = parse_address(configured);
  if (!address || address->is_unix || port <= 0) {
    return configured;
  }
  return configured.substr(0, configured.rfind(':') + 1) + std::to_string(port);
}

}  // namespace stet::daemon
