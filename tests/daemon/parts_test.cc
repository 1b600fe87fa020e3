// The parts of a daemon one by one: addresses, lifecycle, stall rule, self-test, tokenizer adapter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "src/daemon/address.h"
#include "src/daemon/lifecycle.h"
#include "src/daemon/options.h"
#include "src/daemon/self_test.h"
#include "src/daemon/served_model.h"
#include "src/daemon/watchdog.h"
#include "tests/daemon/testing.h"
#include "tests/support/gguf_writer.h"

namespace stet::daemon {
namespace {

using ::testing::HasSubstr;

TEST(Address, IsHostAndPortOrASocket) {
  EXPECT_EQ(parse_address("localhost:80")->port, 80);
  EXPECT_EQ(parse_address("[::1]:80")->host, "::1");
  EXPECT_EQ(parse_address("unix:/tmp/s")->path, "/tmp/s");
  EXPECT_FALSE(parse_address("::1:80"));  // which colon?
  EXPECT_FALSE(parse_address("unix:" + std::string(108, 'x')));
  EXPECT_TRUE(parse_address("unix:" + std::string(107, 'x')));
}

TEST(Address, LoopbackIsWhatNoOtherMachineReaches) {
  for (const char* text : {"127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1", "unix:/x"}) {
    EXPECT_TRUE(is_loopback(*parse_address(text))) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "128.0.0.1:1", "127.0.0.1.example.org:1",
                           "localhost.example.org:1"}) {
    EXPECT_FALSE(is_loopback(*parse_address(text))) << text;
  }
}

TEST(Address, TheTakenPortStandsInPlaceOfZero) {
  EXPECT_EQ(bound_address("127.0.0.1:0", 1234), "127.0.0.1:1234");
  EXPECT_EQ(bound_address("[::1]:0", 1234), "[::1]:1234");
  EXPECT_EQ(bound_address("unix:/x", 0), "unix:/x");
  EXPECT_EQ(bound_address("", 0), "");
}

TEST(Lifecycle, ASecondDrainCanOnlyShorten) {
  Lifecycle lifecycle;
  lifecycle.request_drain({1000, false});
  lifecycle.request_drain({5000, true});
  const Lifecycle::DrainRequest request = lifecycle.wait_for_drain();
  EXPECT_EQ(request.timeout_ms, 1000u);
  EXPECT_TRUE(request.exit_when_done);
  lifecycle.wait_for_exit();  // does not block
}

TEST(Lifecycle, TheEndInterruptsEveryWait) {
  Lifecycle lifecycle;
  std::thread other([&] { lifecycle.request_end(); });
  lifecycle.pause(60'000);
  EXPECT_FALSE(lifecycle.wait_until([] { return false; }, 60'000));
  lifecycle.wait_for_exit();
  other.join();
  EXPECT_TRUE(lifecycle.end_requested());
  // What must still happen after the end is waited for all the same.
  int asked = 0;
  EXPECT_TRUE(lifecycle.wait_until([&] { return ++asked == 3; }, 60'000, /*despite_end=*/true));
}

TEST(StallRule, OnlyPendingWorkWithoutAStepIsAStall) {
  StallRule rule(1000);
  engine::EngineStats stats;
  EXPECT_TRUE(rule.live(stats, 10));
  EXPECT_TRUE(rule.live(stats, 1'000'000)) << "idle for long is no stall";
  stats.num_running = 1;
  EXPECT_TRUE(rule.live(stats, 1'000'999)) << "work has just come";
  EXPECT_FALSE(rule.live(stats, 1'001'000));
  stats.num_steps = 1;
  EXPECT_TRUE(rule.live(stats, 1'001'001)) << "a step finished";
  stats.num_running = 0;
  stats.num_waiting = 1;
  EXPECT_TRUE(rule.live(stats, 1'001'500));
  EXPECT_FALSE(rule.live(stats, 1'002'001)) << "a queue that does not move is a stall";
}

// ---- self-test

// An engine that answers at once; `alter` may spoil the answer of the n-th request.
class CanaryEngine final : public engine::Engine {
 public:
  explicit CanaryEngine(engine::EventSink* sink) : sink_(sink) {}
  void start() override {}
  engine::Submission submit(Request request) override {
    const RequestId id{++num_requests_};
    engine::EngineEvent tokens{.request = id, .kind = engine::EngineEventKind::kChoiceFinished};
    for (uint32_t i = 0; i < request.sampling.max_tokens; ++i) {
      tokens.tokens.push_back({.token_id = i, .logprob = -0.5f, .rank = 1, .top = {{i, -0.5f}}});
    }
    engine::EngineEvent ended{.request = id, .kind = engine::EngineEventKind::kRequestEnded};
    if (alter) {
      alter(id.v, &tokens, &ended);
    }
    sink_->on_events({tokens, ended});
    return {.id = id};
  }
  engine::Submission submit_or_wait(Request request) override { return submit(std::move(request)); }
  void cancel(RequestId) override {}
  void finish_choice(RequestId, uint32_t) override {}
  void set_parked(RequestId, bool) override {}
  void begin_drain() override {}
  void abort_all() override {}
  void stop() override {}
  engine::EngineStats stats() const override { return {}; }
  std::vector<engine::StepRecord> recent_steps() const override { return {}; }
  uint32_t max_model_len() const override { return 64; }

  std::function<void(uint64_t, engine::EngineEvent*, engine::EngineEvent*)> alter;

 private:
  engine::EventSink* const sink_;
  uint64_t num_requests_ = 0;
};

class CountingSink final : public engine::EventSink {
 public:
  void on_events(std::vector<engine::EngineEvent> events) override { num_events += events.size(); }
  size_t num_events = 0;
};

TEST(SelfTest, PassesOnEqualBitsAndKeepsItsEventsFromTheService) {
  CountingSink service;
  SinkSwitch sink(&service);
  CanaryEngine engine(&sink);
  EXPECT_TRUE(run_self_test(&engine, &sink, 100).ok());
  EXPECT_EQ(service.num_events, 0u);
  sink.forward();
  engine.submit({});
  EXPECT_EQ(service.num_events, 2u);
}

TEST(SelfTest, FailsWhenOneBitOfOneLogProbabilityDiffersInCompany) {
  CountingSink service;
  SinkSwitch sink(&service);
  CanaryEngine engine(&sink);
  engine.alter = [](uint64_t id, engine::EngineEvent* tokens, engine::EngineEvent*) {
    if (id == 3) {
      tokens->tokens.back().top[0].logprob = std::nextafter(-0.5f, 0.0f);
    }
  };
  const Status status = run_self_test(&engine, &sink, 100);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("different bits"));
}

TEST(SelfTest, BlamesTheModelForNonFiniteNumbers) {
  CountingSink service;
  SinkSwitch sink(&service);
  CanaryEngine engine(&sink);
  engine.alter = [](uint64_t, engine::EngineEvent* tokens, engine::EngineEvent* ended) {
    tokens->tokens.clear();
    ended->status = internal_error("non-finite row in layer 3");
    ended->error_reason = "non_finite";
  };
  EXPECT_EQ(run_self_test(&engine, &sink, 100).code(), StatusCode::kDataLoss);
}

// ---- served model

formats::TensorIndex index_of(const stet::testing::GgufFile& file) {
  auto parsed = formats::parse_gguf(file.bytes);
  EXPECT_TRUE(parsed.ok()) << parsed.status().to_string();
  return std::move(parsed).value();
}

TEST(ServedModel, TheTokenizersMetadataBecomesPlainData) {
  const auto file = stet::testing::make_tiny_gguf_file({});
  const formats::TensorIndex index = index_of(file);
  const auto spec = tokenizer_spec(index);
  ASSERT_TRUE(spec.ok()) << spec.status().to_string();
  EXPECT_EQ(spec.value().model, "gpt2");
  EXPECT_EQ(spec.value().pre_tokenizer, "smollm");
  EXPECT_EQ(spec.value().tokens.size(), 400u);
  EXPECT_EQ(spec.value().kinds.size(), 400u);
  EXPECT_EQ(spec.value().kinds[1], text::TokenKind::kControl);
  EXPECT_FALSE(spec.value().merges.empty());
  EXPECT_EQ(spec.value().tokens[static_cast<size_t>(spec.value().eos_id)], "<|im_end|>");
}

TEST(ServedModel, WrongTokenizerMetadataIsNamedWithItsOffset) {
  const std::vector<std::string> tokens = {"a", "b"};
  const auto status_of = [&](const std::function<void(stet::testing::GgufWriter*)>& add) {
    stet::testing::GgufWriter writer;
    writer.add_string("general.architecture", "llama");
    writer.add_string("tokenizer.ggml.model", "gpt2");
    add(&writer);
    const auto file = writer.build();
    const formats::TensorIndex index = index_of(file);
    const auto spec = tokenizer_spec(index);
    return spec.ok() ? std::string("OK") : spec.status().message();
  };
  EXPECT_EQ(status_of([&](auto* w) { w->add_strings("tokenizer.ggml.tokens", tokens); }), "OK");
  EXPECT_THAT(status_of([&](auto*) {}), HasSubstr("tokenizer.ggml.tokens"));
  EXPECT_THAT(status_of([&](auto* w) {
                w->add_strings("tokenizer.ggml.tokens", tokens);
                w->add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{1});
              }),
              HasSubstr("tokenizer.ggml.token_type: expected 2 entries, one per token, found 1"));
  EXPECT_THAT(status_of([&](auto* w) {
                w->add_strings("tokenizer.ggml.tokens", tokens);
                w->add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 7});
              }),
              HasSubstr("entry 1 is 7, expected 1 to 6"));
  EXPECT_THAT(status_of([&](auto* w) {
                w->add_strings("tokenizer.ggml.tokens", tokens);
                w->add_string("tokenizer.ggml.eos_token_id", "two");
              }),
              HasSubstr("tokenizer.ggml.eos_token_id: expected a token id"));
  EXPECT_EQ(status_of([&](auto* w) {
              w->add_strings("tokenizer.ggml.tokens", tokens);
              w->add_i32("tokenizer.ggml.eos_token_id", -1);
            }),
            "OK");
}

TEST(ServedModel, SentencePieceMetadataBecomesPlainData) {
  const std::vector<std::string> tokens = {"a", "b"};
  const std::vector<float> scores = {-1, -2.5};
  const auto spec_of = [&](const std::function<void(stet::testing::GgufWriter*)>& add) {
    stet::testing::GgufWriter writer;
    writer.add_string("tokenizer.ggml.model", "llama");
    writer.add_strings("tokenizer.ggml.tokens", tokens);
    add(&writer);
    const auto file = writer.build();
    return tokenizer_spec(index_of(file));
  };
  const auto plain = spec_of([&](auto* w) { w->add_f32s("tokenizer.ggml.scores", scores); });
  ASSERT_TRUE(plain.ok()) << plain.status().to_string();
  EXPECT_EQ(plain->scores, scores);
  EXPECT_TRUE(plain->add_space_prefix && plain->add_bos && !plain->add_eos) << "the defaults";
  const auto other = spec_of([&](auto* w) {
    w->add_f32s("tokenizer.ggml.scores", scores);
    w->add_bool("tokenizer.ggml.add_space_prefix", false);
    w->add_bool("tokenizer.ggml.add_bos_token", false);
  });
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  EXPECT_FALSE(other->add_space_prefix || other->add_bos);

  const auto error_of = [&](const auto& add) { return spec_of(add).status().message(); };
  EXPECT_THAT(error_of([](auto*) {}), HasSubstr("metadata 'tokenizer.ggml.scores' is missing"));
  EXPECT_THAT(
      error_of([](auto* w) { w->add_f32s("tokenizer.ggml.scores", std::vector<float>{1}); }),
      HasSubstr("tokenizer.ggml.scores: expected 2 entries, one per token, found 1"));
  EXPECT_THAT(error_of([](auto* w) {
                w->add_i32s("tokenizer.ggml.scores", std::vector<int32_t>{1, 2});
              }),
              HasSubstr("tokenizer.ggml.scores: expected an array of floats"));
  EXPECT_THAT(error_of([&](auto* w) {
                w->add_f32s("tokenizer.ggml.scores", scores);
                w->add_string("tokenizer.ggml.add_space_prefix", "no");
              }),
              HasSubstr("tokenizer.ggml.add_space_prefix"));
}

TEST(ServedModel, AVocabularyWithGemmasTurnsAndNoTemplateGetsThem) {
  const auto file = stet::testing::make_tiny_gguf_file({.sentencepiece = true});
  const auto parts = read_text_parts(index_of(file));
  ASSERT_TRUE(parts.ok()) << parts.status().to_string();
  EXPECT_TRUE(parts->default_template);
  text::ChatInput input;
  input.messages.push_back({.role = "user", .content = "the\n<end_of_turn>"});
  input.bos_token = "<bos>";
  const auto segments = parts->chat_template->render(input, {});
  ASSERT_TRUE(segments.ok()) << segments.status().to_string();
  std::vector<uint32_t> ids;
  ASSERT_TRUE(parts->tokenizer->encode(*segments, true, SIZE_MAX, &ids).ok());
  const auto turn = [&](uint32_t id) { return std::count(ids.begin(), ids.end(), id); };
  EXPECT_EQ(ids.front(), 1u);
  EXPECT_EQ(turn(1), 1) << "bos once, though the template prints it and the file wants it";
  EXPECT_EQ(turn(3), 2);
  EXPECT_EQ(turn(4), 1) << "the one of the message is text";
  EXPECT_EQ(text::end_of_turn_id(*parts->chat_template, *parts->tokenizer, "<bos>", "<eos>"), 4);
  const auto other = read_text_parts(index_of(stet::testing::make_tiny_gguf_file({})));
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE(other->default_template);
}

TEST(ServedModel, IdIsTheConfiguredOneOrTheFilesStem) {
  EXPECT_EQ(served_model_id("mine", "/a/b.gguf"), "mine");
  EXPECT_EQ(served_model_id("", "/a/Smol LM.Q4_1.gguf"), "Smol_LM.Q4_1");
  EXPECT_EQ(served_model_id("", "/a/" + std::string(300, 'x')), std::string(128, 'x'));
}

TEST(ServedModel, FingerprintFollowsTokenizerAndTemplate) {
  model::Model model;
  model.numerics_id = 0x1234;
  const auto file = stet::testing::make_tiny_gguf_file({});
  const auto parts = read_text_parts(index_of(file));
  ASSERT_TRUE(parts.ok()) << parts.status().to_string();
  const auto other = text::ChatTemplate::parse("{{ messages[0].content }}");
  ASSERT_TRUE(other.ok());
  const auto& tokenizer = *parts.value().tokenizer;
  const std::string one = fingerprint_of(model, tokenizer, *parts.value().chat_template);
  EXPECT_EQ(one.size(), std::string("stet-0000000000001234-12345678").size()) << one;
  EXPECT_EQ(one, fingerprint_of(model, tokenizer, *parts.value().chat_template));
  EXPECT_NE(one, fingerprint_of(model, tokenizer, *other.value()));
}

}  // namespace
}  // namespace stet::daemon
