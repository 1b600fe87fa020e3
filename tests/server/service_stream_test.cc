// What a receiver sees of a call that goes well: order, text, stop strings, log-probabilities,
// merging.
#include <gtest/gtest.h>

#include <random>

#include "tests/server/fakes.h"

namespace stet::server {
namespace {

std::vector<std::string> kinds(Recorder& recorder) {
  std::vector<std::string> out;
  for (const auto& event : recorder.events) {
    switch (event.event_case()) {
      case v1::GenerateResponse::kStarted: out.emplace_back("started"); break;
      case v1::GenerateResponse::kDelta: out.emplace_back("delta"); break;
      case v1::GenerateResponse::kFinished: out.emplace_back("finished"); break;
      case v1::GenerateResponse::kSummary: out.emplace_back("summary"); break;
      default: out.emplace_back("?");
    }
  }
  return out;
}

// As FakeEngine::reply, one step at a time: each Delta has arrived before the next token is
// sampled. (Steps that wait together in the text stage's queue become one Delta.)
void reply_in_steps(World& world, Recorder& events, const Request& request, std::string_view text,
                    size_t interval = 1) {
  const std::vector<uint32_t> ids = bytes_of(text);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    world.engine.tokens(request.id, 0, {ids[i]});
    world.engine.flush();
    ASSERT_TRUE(events.wait_events(1 + (i + 1) / interval));
  }
  world.engine.last(request.id, 0, {ids.back()}, FinishReason::kLength);
  world.engine.ended(request.id);
  world.engine.flush();
}

TEST(Stream, EventsComeInTheOrderOfTheContract) {
  World world;
  auto [events, call] = world.generate(text_request("hi"));
  reply_in_steps(world, *events, world.engine.wait_request(), "abc");
  EXPECT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(kinds(*events), (std::vector<std::string>{"started", "delta", "delta", "delta",
                                                      "finished", "summary"}));
  EXPECT_EQ(events->text(), "abc");
  const auto deltas = events->deltas();
  for (size_t i = 0; i < deltas.size(); ++i) {
    EXPECT_EQ(deltas[i].seq(), i);
    EXPECT_EQ(deltas[i].position(), i);
  }
  EXPECT_EQ(events->finished().at(0).reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(events->finished().at(0).completion_tokens(), 3u);
  EXPECT_EQ(events->done.size(), 1u);
}

TEST(Stream, StartedShowsWhatHoldsAndSummaryWhatWasUsed) {
  World world;
  v1::GenerateRequest request = text_request("hi");
  request.set_request_id("mine");
  request.mutable_sampling()->set_top_k(5);
  request.mutable_output()->set_prompt_token_ids(true);
  request.mutable_output()->set_prompt_text(true);
  auto [events, call] = world.generate(request);
  const Request submitted = world.engine.wait_request();
  world.engine.reply(submitted, "xy");
  ASSERT_EQ(events->wait_done().code(), 0);
  const v1::Started started = events->started();
  EXPECT_EQ(started.request_id(), "mine");
  EXPECT_EQ(started.model(), "tiny");
  EXPECT_EQ(started.fingerprint(), "stet-0011223344556677-89abcdef");
  EXPECT_EQ(started.prompt_tokens(), 3u);
  EXPECT_EQ(
      std::vector<uint32_t>(started.prompt_token_ids().begin(), started.prompt_token_ids().end()),
      (std::vector<uint32_t>{kImStart, 'h', 'i'}));
  EXPECT_EQ(started.prompt_text(), "<|im_start|>hi");
  EXPECT_EQ(started.effective_sampling().top_k(), 5u);
  EXPECT_EQ(started.effective_sampling().temperature(), 1.0f);
  EXPECT_EQ(started.effective_sampling().max_tokens(), kModelLen - 3) << "what is left";
  EXPECT_EQ(started.effective_sampling().seed(), submitted.sampling.seed);
  EXPECT_EQ(submitted.sampling.stop_token_ids, std::vector<uint32_t>{kImEnd});
  const v1::Summary summary = events->summary();
  EXPECT_EQ(summary.usage().prompt_tokens(), 3u);
  EXPECT_EQ(summary.usage().completion_tokens(), 2u);
  EXPECT_EQ(summary.usage().cached_prompt_tokens(), 3u);
  EXPECT_EQ(summary.usage().prefill_token_equivalents(), 13u) << "12.6, rounded";
  EXPECT_EQ(summary.timings().preemptions(), 2u);
  EXPECT_TRUE(summary.exact());
  EXPECT_EQ(summary.kv_mode(), "paged");
}

TEST(Stream, DrawnSeedsDifferAndAGivenOneIsKept) {
  World world;
  auto [a, call_a] = world.generate(text_request("x"));
  auto [b, call_b] = world.generate(text_request("x"));
  v1::GenerateRequest seeded = text_request("x");
  seeded.mutable_sampling()->set_seed(7);
  auto [c, call_c] = world.generate(seeded);
  EXPECT_NE(world.engine.wait_request(0).sampling.seed, world.engine.wait_request(1).sampling.seed);
  EXPECT_EQ(world.engine.wait_request(2).sampling.seed, 7u);
}

TEST(Stream, ChatIsRenderedAndDataIsNeverASpecialToken) {
  World world;
  auto [events, call] = world.chat(chat_request("<|im_end|>"));
  const Request request = world.engine.wait_request();
  const auto& ids = request.prompt_token_ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImStart), 2);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImEnd), 1) << "the template's, not the user's";
}

TEST(Stream, ContinueFinalMessageLeavesItOpen) {
  World world;
  v1::ChatRequest request = chat_request("Once");
  request.set_continue_final_message(true);
  auto [events, call] = world.chat(request);
  const auto ids = world.engine.wait_request().prompt_token_ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kImEnd), 0);
  EXPECT_EQ(ids.back(), static_cast<uint32_t>('e'));
}

TEST(Stream, TextPartsAreJoinedByLineBreaks) {
  World world;
  v1::ChatRequest request = chat_request("a");
  request.mutable_messages(0)->add_content()->set_text("b");
  request.mutable_output()->set_prompt_text(true);
  auto [events, call] = world.chat(request);
  ASSERT_TRUE(events->wait_events(1));
  EXPECT_NE(events->started().prompt_text().find("user\na\nb<|im_end|>"), std::string::npos);
}

TEST(Stream, TruncationKeepsTheLastTokens) {
  World world;
  v1::GenerateRequest request = text_request("abcdef");
  request.set_truncate_prompt_tokens(2);
  auto [events, call] = world.generate(request);
  EXPECT_EQ(world.engine.wait_request().prompt_token_ids, bytes_of("ef"));
}

TEST(Stream, ACodePointIsNeverSplit) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  reply_in_steps(world, *events, world.engine.wait_request(),
                 "\xF0\x9F\x98\x80!");  // an emoji, byte by byte
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "\xF0\x9F\x98\x80!");
  std::vector<std::string> texts;
  for (const auto& delta : events->deltas()) {
    texts.push_back(delta.text());
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"", "", "", "\xF0\x9F\x98\x80", "!"}));
}

TEST(Stream, BytesThatNeverBecomeACodePointAreReplacedAtTheEnd) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  world.engine.last(id, 0, {'a', 0xF0}, FinishReason::kLength);
  world.engine.ended(id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "a\xEF\xBF\xBD");
}

TEST(Stream, StopStringAcrossTokensEndsTheChoice) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("lo w");
  auto [events, call] = world.generate(request);
  const RequestId id = world.engine.wait_request().id;
  world.engine.tokens(id, 0, {kHello});
  world.engine.flush();
  world.engine.tokens(id, 0, {' '});
  world.engine.flush();
  world.engine.tokens(id, 0, {'w', 'o', 'r'});  // the engine was faster than the text stage
  world.engine.flush();
  world.engine.tokens(id, 0, {'l', 'd'});
  world.engine.flush();
  world.engine.ended(id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "hel");
  EXPECT_EQ(events->token_ids(), (std::vector<uint32_t>{kHello, ' ', 'w'}))
      << "the deciding token is the last that exists";
  const v1::Finished finished = events->finished().at(0);
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(finished.stop_string(), "lo w");
  EXPECT_EQ(finished.completion_tokens(), 3u);
  EXPECT_EQ(events->summary().usage().completion_tokens(), 3u);
  EXPECT_EQ(world.engine.finished_choices.size(), 1u) << "the engine was told, once";
}

TEST(Stream, IncludedStopStringIsInTheText) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("b");
  request.mutable_stop()->set_include_in_output(true);
  auto [events, call] = world.generate(request);
  const RequestId id = world.engine.wait_request().id;
  world.engine.tokens(id, 0, {'a', 'b', 'c'});
  world.engine.ended(id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "ab");
}

TEST(Stream, StopStringOnTheLastTokenWinsOverLength) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("b");
  auto [events, call] = world.generate(request);
  const RequestId id = world.engine.wait_request().id;
  world.engine.last(id, 0, {'a', 'b'}, FinishReason::kLength);
  world.engine.ended(id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->finished().at(0).reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(events->finished().at(0).stop_string(), "b");
}

TEST(Stream, WithheldTextIsReleasedAtTheEnd) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("END");
  auto [events, call] = world.generate(request);
  world.engine.reply(world.engine.wait_request(), "the EN");
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "the EN");
}

TEST(Stream, AnErrorAfterTheDecidingTokenDoesNotExist) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_stop()->add_strings("b");
  auto [events, call] = world.generate(request);
  const RequestId id = world.engine.wait_request().id;
  world.engine.tokens(id, 0, {'a', 'b', 'c'});
  world.engine.ended(id, internal_error("a row was not finite"), "non_finite");
  world.engine.flush();
  EXPECT_EQ(events->wait_done().code(), 0) << "the answer was complete before it";
}

TEST(Stream, StopTokenIsListedAndItsTextWithheld) {
  for (const bool include : {false, true}) {
    World world;
    v1::GenerateRequest request = text_request("x");
    request.mutable_stop()->add_token_ids('!');
    request.mutable_stop()->set_include_in_output(include);
    auto [events, call] = world.generate(request);
    const Request submitted = world.engine.wait_request();
    EXPECT_EQ(submitted.sampling.stop_token_ids, (std::vector<uint32_t>{'!', kImEnd}));
    world.engine.last(submitted.id, 0, {'a', '!'}, FinishReason::kStop, '!');
    world.engine.ended(submitted.id);
    world.engine.flush();
    ASSERT_EQ(events->wait_done().code(), 0);
    EXPECT_EQ(events->text(), include ? "a!" : "a");
    EXPECT_EQ(events->token_ids(), (std::vector<uint32_t>{'a', '!'}));
    EXPECT_EQ(events->finished().at(0).stop_token_id(), static_cast<uint32_t>('!'));
  }
}

TEST(Stream, SpecialTokensAreSkippedUnlessAskedFor) {
  for (const bool skip : {true, false}) {
    World world;
    v1::GenerateRequest request = text_request("x");
    request.mutable_output()->set_skip_special_tokens(skip);
    request.mutable_sampling()->set_ignore_eos(true);
    auto [events, call] = world.generate(request);
    const Request submitted = world.engine.wait_request();
    EXPECT_TRUE(submitted.sampling.stop_token_ids.empty());
    world.engine.last(submitted.id, 0, {'a', kImEnd, 'b'}, FinishReason::kLength);
    world.engine.ended(submitted.id);
    world.engine.flush();
    ASSERT_EQ(events->wait_done().code(), 0);
    EXPECT_EQ(events->text(), skip ? "ab" : "a<|im_end|>b");
  }
}

TEST(Stream, LogprobsCarryExactBytes) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_output()->set_logprobs(2);
  auto [events, call] = world.generate(request);
  const Request submitted = world.engine.wait_request();
  EXPECT_EQ(submitted.sampling.num_logprobs, 2u);
  world.engine.last(submitted.id, 0, {0xF0}, FinishReason::kLength);
  world.engine.ended(submitted.id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  const v1::Delta delta = events->deltas().at(0);
  ASSERT_EQ(delta.logprobs_size(), 1);
  EXPECT_EQ(delta.logprobs(0).token_id(), 0xF0u);
  EXPECT_EQ(delta.logprobs(0).token_bytes(), "\xF0");
  EXPECT_EQ(delta.logprobs(0).logprob(), -1.0f / 241.0f);
  EXPECT_EQ(delta.logprobs(0).rank(), 241u);
  ASSERT_EQ(delta.logprobs(0).top_size(), 2);
  EXPECT_EQ(delta.logprobs(0).top(1).token_bytes(), "hello");
}

TEST(Stream, WithoutLogprobsNoneAreSent) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  world.engine.reply(world.engine.wait_request(), "ab");
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->deltas().at(0).logprobs_size(), 0);
}

TEST(Stream, IntervalGathersTokensAndLosesNone) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_output()->set_stream_interval(4);
  auto [events, call] = world.generate(request);
  reply_in_steps(world, *events, world.engine.wait_request(), "0123456789", 4);
  ASSERT_EQ(events->wait_done().code(), 0);
  std::vector<std::string> texts;
  for (const auto& delta : events->deltas()) {
    texts.push_back(delta.text());
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"0123", "4567", "89"}));
}

// Deltas concatenated equal the FINAL answer: over random texts, cuts, stop strings and intervals.
TEST(Stream, DeltasConcatenateToTheFinalOutput) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    World world;
    v1::GenerateRequest request = text_request("x");
    request.mutable_sampling()->set_n(1 + random() % 3);
    request.mutable_stop()->add_strings("ab");
    request.mutable_stop()->add_strings("bcc");
    request.mutable_output()->set_logprobs(1);
    request.mutable_output()->set_stream_interval(1 + random() % 3);
    v1::GenerateRequest final_request = request;
    final_request.mutable_output()->set_mode(v1::OUTPUT_MODE_FINAL);
    auto [stream, stream_call] = world.generate(request);
    auto [whole, whole_call] = world.generate(final_request);
    const uint32_t n = request.sampling().n();
    std::vector<std::vector<uint32_t>> answers(n);
    for (auto& answer : answers) {
      for (size_t i = 0; i < 1 + random() % 12; ++i) {
        answer.push_back(random() % 8 == 0 ? 0xE2 : 'a' + random() % 3);
      }
    }
    for (size_t which = 0; which < 2; ++which) {
      const RequestId id = world.engine.wait_request(which).id;
      for (uint32_t c = 0; c < n; ++c) {
        const auto& answer = answers[c];
        const size_t cut = random() % answer.size();
        world.engine.tokens(id, c, {answer.begin(), answer.begin() + static_cast<long>(cut)});
        if (random() % 2 == 0) {
          world.engine.flush();
        }
        world.engine.last(id, c, {answer.begin() + static_cast<long>(cut), answer.end()},
                          FinishReason::kLength);
      }
      world.engine.ended(id);
      world.engine.flush();
    }
    ASSERT_EQ(stream->wait_done().code(), 0);
    ASSERT_EQ(whole->wait_done().code(), 0);
    ASSERT_EQ(whole->deltas().size(), 0u);
    ASSERT_EQ(whole->finished().size(), n);
    for (const v1::Finished& finished : whole->finished()) {
      EXPECT_EQ(stream->text(finished.index()), finished.output().text());
      const auto& ids = finished.output().token_ids();
      EXPECT_EQ(stream->token_ids(finished.index()), std::vector<uint32_t>(ids.begin(), ids.end()));
      EXPECT_EQ(finished.completion_tokens(), static_cast<uint32_t>(ids.size()));
      EXPECT_EQ(finished.output().logprobs_size(), ids.size());
    }
    EXPECT_EQ(stream->summary().usage().completion_tokens(),
              whole->summary().usage().completion_tokens());
  }
}

TEST(Stream, DeltasMergeWhileTheReceiverIsBusy) {
  World world;
  auto [events, call] = world.generate(text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  ASSERT_TRUE(events->wait_events(1));
  call->set_busy(true);
  for (const char c : std::string_view("abcd")) {
    world.engine.tokens(id, 0, {static_cast<uint32_t>(c)});
    world.engine.flush();
  }
  // A second call through the same thread shows that the four steps were handled.
  auto [other, other_call] = world.generate(text_request("y"));
  world.engine.reply(world.engine.wait_request(1), "z");
  ASSERT_EQ(other->wait_done().code(), 0);
  EXPECT_EQ(events->deltas().size(), 0u);
  call->set_busy(false);
  ASSERT_TRUE(events->wait_events(2));
  const v1::Delta delta = events->deltas().at(0);
  EXPECT_EQ(delta.text(), "abcd");
  EXPECT_EQ(delta.seq(), 0u);
  world.engine.last(id, 0, {'e'}, FinishReason::kLength);
  world.engine.ended(id);
  world.engine.flush();
  ASSERT_EQ(events->wait_done().code(), 0);
  EXPECT_EQ(events->text(), "abcde");
  EXPECT_EQ(events->deltas().at(1).seq(), 1u);
  EXPECT_EQ(events->deltas().at(1).position(), 4u);
  EXPECT_NE(world.metrics.serialise().find("stet_deltas_merged_total 3"), std::string::npos);
}

TEST(Stream, CacheNamespaceFollowsTheSalt) {
  World world;
  v1::GenerateRequest salted = text_request("x");
  salted.mutable_scheduling()->set_cache_salt("a");
  auto [a, call_a] = world.generate(text_request("x"));
  auto [b, call_b] = world.generate(text_request("x"));
  auto [c, call_c] = world.generate(salted);
  const auto plain = world.engine.wait_request(0).cache_namespace;
  EXPECT_EQ(plain, world.engine.wait_request(1).cache_namespace);
  EXPECT_NE(plain, world.engine.wait_request(2).cache_namespace);
}

TEST(Stream, HintsReachTheEngine) {
  World world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_scheduling()->set_priority_class(7);
  request.mutable_scheduling()->set_service_class(v1::SERVICE_CLASS_BATCH);
  request.mutable_scheduling()->set_ttft_target_ms(250);
  request.mutable_scheduling()->set_itl_target_ms(3'600'000);
  auto [events, call] = world.generate(request);
  EXPECT_EQ(world.engine.wait_request().priority_class, 7);
  EXPECT_EQ(world.engine.wait_request().ttft_target_us, 250'000u);
  EXPECT_EQ(world.engine.wait_request().itl_target_us, 3'600'000'000u);
  EXPECT_EQ(world.engine.wait_request().service_class, ServiceClass::kBatch);
}

TEST(Stream, HintsOnProgramsReachTheEngine) {
  World world;
  v1::GenerateRequest request = text_request("x");
  v1::SchedulingHints* hints = request.mutable_scheduling();
  hints->set_program_id("agent-7");
  hints->set_turn(3);
  hints->mutable_expect_followup()->set_tool_name("search");
  hints->mutable_expect_followup()->set_expected_ms(1500);
  auto [events, call] = world.generate(request);
  const ProgramHints program = world.engine.wait_request(0).program;
  EXPECT_EQ(program.program_id, "agent-7");
  EXPECT_EQ(program.turn, 3u);
  EXPECT_TRUE(program.expects_followup);
  EXPECT_EQ(program.tool_name, "search");
  EXPECT_EQ(program.expected_gap_us, 1'500'000u);
  EXPECT_FALSE(program.end_of_program);
  v1::GenerateRequest last = text_request("x");
  last.mutable_scheduling()->set_end_of_program(true);
  auto [last_events, last_call] = world.generate(last);
  EXPECT_TRUE(world.engine.wait_request(1).program.end_of_program);
  EXPECT_FALSE(world.engine.wait_request(1).program.expects_followup);
}

}  // namespace
}  // namespace stet::server
