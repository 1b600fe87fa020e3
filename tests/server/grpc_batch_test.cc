// GenerateBatch over gRPC and the real engine: answers equal those of single calls, whatever the
// order and however small the queue; ends, cancels and drains.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "src/server/grpc_batch.h"
#include "stet/server/grpc_server.h"
#include "stet/v1/inference.grpc.pb.h"
#include "tests/server/engine_world.h"

namespace stet::server {
namespace {

struct BatchWorld : EngineWorld {
  explicit BatchWorld(engine::EngineOptions options = {}) : EngineWorld(std::move(options)) {
    auto started = GrpcServer::start({.address = "127.0.0.1:0", .admin_address = ""}, service.get(),
                                     {.version = "1.2.3"});
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    server = std::move(started).value();
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()),
                                  grpc::InsecureChannelCredentials());
    stub = v1::InferenceService::NewStub(channel);
  }
  ~BatchWorld() {
    engine->stop();
    service->stop();
    server->shutdown(1'000'000);
  }

  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::InferenceService::Stub> stub;
};

using Job = grpc::ClientReaderWriter<v1::GenerateBatchRequest, v1::GenerateBatchResponse>;

// What a custom_id got: its events, times left out, or its error.
struct JobAnswer {
  std::vector<v1::GenerateResponse> events;
  google::rpc::Status error;
  size_t num_last = 0;  // events after which there may be none

  std::string bytes() const {
    std::string out = error.SerializeAsString();
    for (v1::GenerateResponse event : events) {
      if (event.has_started()) {
        event.mutable_started()->clear_created_unix_ms();
      } else if (event.has_summary()) {
        event.mutable_summary()->clear_timings();
        event.mutable_summary()->mutable_usage()->clear_cached_prompt_tokens();
        event.mutable_summary()->mutable_usage()->clear_prefill_token_equivalents();
      }
      out += event.SerializeAsString();
    }
    return out;
  }
};
using JobAnswers = std::map<std::string, JobAnswer>;

// Reads to the end, while `write` does the other direction.
template <class Write>
JobAnswers run_job(BatchWorld& world, const Write& write, grpc::Status* status) {
  grpc::ClientContext context;
  auto job = world.stub->GenerateBatch(&context);
  std::jthread writer([&] {
    write(*job);
    job->WritesDone();
  });
  JobAnswers answers;
  v1::GenerateBatchResponse response;
  while (job->Read(&response)) {
    JobAnswer& answer = answers[response.custom_id()];
    EXPECT_EQ(answer.num_last, 0u) << response.custom_id() << " had its last event";
    if (response.has_error()) {
      EXPECT_TRUE(answer.error.ParseFromString(response.error().details()));
      ++answer.num_last;
    } else {
      answer.num_last += response.event().has_summary() ? 1 : 0;
      answer.events.push_back(response.event());
    }
  }
  writer.join();
  *status = job->Finish();
  return answers;
}

JobAnswers run_requests(BatchWorld& world, const std::vector<v1::GenerateBatchRequest>& requests) {
  grpc::Status status;
  JobAnswers answers = run_job(
      world,
      [&](Job& job) {
        for (const v1::GenerateBatchRequest& request : requests) {
          job.Write(request);
        }
      },
      &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answers.size(), requests.size());
  for (const auto& [custom_id, answer] : answers) {
    EXPECT_EQ(answer.num_last, 1u) << custom_id;
  }
  return answers;
}

// The same request in a call of its own.
JobAnswer run_single(BatchWorld& world, v1::GenerateRequest request) {
  if (request.output().mode() == v1::OUTPUT_MODE_UNSPECIFIED) {
    request.mutable_output()->set_mode(v1::OUTPUT_MODE_FINAL);
  }
  grpc::ClientContext context;
  auto reader = world.stub->Generate(&context, request);
  JobAnswer answer;
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    answer.events.push_back(event);
  }
  answer.error.ParseFromString(reader->Finish().error_details());
  return answer;
}

// Prompts of a few shared prefixes; some requests are wrong.
std::vector<v1::GenerateBatchRequest> mixed_requests(size_t count) {
  std::mt19937 random(11);
  std::vector<v1::GenerateBatchRequest> out(count);
  for (size_t i = 0; i < count; ++i) {
    out[i].set_custom_id("id-" + std::to_string(i));
    v1::GenerateRequest& request = *out[i].mutable_generate();
    const std::string prefix(100 + 20 * (random() % 3), static_cast<char>('a' + random() % 3));
    request.set_text(prefix + std::to_string(i));
    request.set_request_id("r" + std::to_string(i));
    request.mutable_sampling()->set_seed(random());
    request.mutable_sampling()->set_max_tokens(1 + random() % 12);
    request.mutable_output()->set_logprobs(random() % 3);
    if (random() % 10 == 0) {
      request.mutable_sampling()->set_temperature(3.0f);
    }
  }
  return out;
}

TEST(GrpcBatch, FiveHundredRequestsThroughAQueueOfFiveEqualSingleOnesInAnyOrder) {
  BatchWorld world({.max_running = 7, .max_queued_requests = 5});
  std::vector<v1::GenerateBatchRequest> requests = mixed_requests(500);
  const JobAnswers forward = run_requests(world, requests);
  std::shuffle(requests.begin(), requests.end(), std::mt19937(12));
  const JobAnswers shuffled = run_requests(world, requests);
  size_t refused = 0;
  for (const v1::GenerateBatchRequest& request : requests) {
    const JobAnswer single = run_single(world, request.generate());
    refused += single.error.code() != 0 ? 1 : 0;
    EXPECT_EQ(forward.at(request.custom_id()).bytes(), single.bytes());
    EXPECT_EQ(shuffled.at(request.custom_id()).bytes(), single.bytes());
  }
  EXPECT_GT(refused, 20u);
  EXPECT_LT(refused, 100u);
  EXPECT_NE(world.metrics.serialise().find("vllm:admission_rejections_total{model_name=\"default\","
                                           "reason=\"max_num_queued_reqs\"} 0"),
            std::string::npos);
}

TEST(GrpcBatch, ANegativeControlSingleCallsAreRefusedByThatQueue) {
  BatchWorld world({.max_running = 1, .max_queued_requests = 1});
  std::vector<std::shared_ptr<Recorder>> recorders;
  std::vector<std::unique_ptr<Call>> calls;
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_ignore_eos(true);
  for (int i = 0; i < 50; ++i) {
    recorders.push_back(std::make_shared<Recorder>());
    calls.push_back(world.service->generate(request, {}, recorders.back()));
  }
  size_t full = 0;
  for (const auto& recorder : recorders) {
    full += reason_in(recorder->wait_done()) == "queue_full" ? 1 : 0;
  }
  EXPECT_GT(full, 0u);
}

TEST(GrpcBatch, DeltasOfOneRequestConcatenateToItsFinalAnswer) {
  BatchWorld world;
  std::vector<v1::GenerateBatchRequest> requests = mixed_requests(20);
  const JobAnswers final_mode = run_requests(world, requests);
  for (v1::GenerateBatchRequest& request : requests) {
    request.mutable_generate()->mutable_output()->set_mode(v1::OUTPUT_MODE_DELTA);
  }
  const JobAnswers delta_mode = run_requests(world, requests);
  size_t compared = 0;
  for (const auto& [custom_id, answer] : delta_mode) {
    const JobAnswer& expected = final_mode.at(custom_id);
    std::string text;
    v1::Output output;
    for (const v1::GenerateResponse& event : answer.events) {
      text += event.delta().text();
      output.mutable_token_ids()->MergeFrom(event.delta().token_ids());
      output.mutable_logprobs()->MergeFrom(event.delta().logprobs());
    }
    if (!text.empty()) {
      output.set_text(text);
    }
    if (expected.error.code() == 0) {
      EXPECT_EQ(output.SerializeAsString(),
                expected.events.at(1).finished().output().SerializeAsString());
      ++compared;
    }
  }
  EXPECT_GT(compared, 10u);
}

TEST(GrpcBatch, ADuplicateEndsTheCallAfterTheAnswersBeforeIt) {
  BatchWorld world;
  std::vector<v1::GenerateBatchRequest> requests = mixed_requests(9);
  requests[6].set_custom_id("id-2");
  grpc::Status status;
  const JobAnswers answers = run_job(
      world,
      [&](Job& job) {
        for (const v1::GenerateBatchRequest& request : requests) {
          job.Write(request);
        }
      },
      &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "custom_id: 'id-2' came before: must be new in this call");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_TRUE(names_field(details, "custom_id"));
  EXPECT_EQ(answers.size(), 6u);
  for (const auto& [custom_id, answer] : answers) {
    EXPECT_EQ(answer.num_last, 1u) << custom_id;
  }
}

v1::GenerateBatchRequest endless(const std::string& custom_id) {
  v1::GenerateBatchRequest out;
  out.set_custom_id(custom_id);
  *out.mutable_generate() = text_request("x");
  out.mutable_generate()->mutable_sampling()->set_ignore_eos(true);
  out.mutable_generate()->mutable_output()->set_mode(v1::OUTPUT_MODE_DELTA);
  return out;
}

TEST(GrpcBatch, CancelGivesEveryBlockBackAlsoOfWhatIsStillInTheStream) {
  BatchWorld world({.max_running = 3, .max_queued_requests = 5});
  grpc::ClientContext context;
  auto job = world.stub->GenerateBatch(&context);
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(job->Write(endless(std::to_string(i))));
  }
  v1::GenerateBatchResponse response;
  do {
    ASSERT_TRUE(job->Read(&response));
  } while (!response.event().has_delta());
  context.TryCancel();
  while (job->Read(&response)) {
  }
  EXPECT_EQ(job->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // A later job is served to its end, so the cancelled one holds neither places nor blocks; the
  // engine takes orders in turn.
  run_requests(world, mixed_requests(10));
  world.engine->stop();
  const engine::EngineStats stats = world.engine->stats();
  EXPECT_EQ(stats.num_blocks_used, 0u);
  EXPECT_EQ(stats.accepted, stats.ended);
}

TEST(GrpcBatch, ADrainFinishesTheAcceptedAndRefusesTheRestOfTheStream) {
  BatchWorld world({.max_running = 1, .max_queued_requests = 1});
  std::vector<v1::GenerateBatchRequest> requests;
  for (int i = 0; i < 20; ++i) {
    requests.push_back(endless(std::to_string(i)));
    requests.back().mutable_generate()->mutable_sampling()->set_max_tokens(40);
  }
  grpc::ClientContext context;
  auto job = world.stub->GenerateBatch(&context);
  std::jthread writer([&] {
    for (const v1::GenerateBatchRequest& request : requests) {
      job->Write(request);
    }
    job->WritesDone();
  });
  size_t finished = 0, refused = 0;
  v1::GenerateBatchResponse response;
  while (job->Read(&response)) {
    if (response.event().has_started()) {
      world.engine->begin_drain();  // at the first
    } else if (response.has_error()) {
      EXPECT_EQ(response.error().code(), static_cast<int>(StatusCode::kUnavailable));
      ++refused;
    } else {
      finished += response.event().has_summary() ? 1 : 0;
    }
  }
  EXPECT_TRUE(job->Finish().ok());
  EXPECT_GE(finished, 1u);
  EXPECT_EQ(finished + refused, requests.size());
  EXPECT_GT(refused, 0u);
}

TEST(GrpcBatch, TheNumberOfOpenCallsIsBoundedAndAnEndedOneMakesRoom) {
  BatchWorld world;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<Job>> jobs;
  v1::GenerateBatchRequest request = mixed_requests(1)[0];
  request.mutable_generate()->clear_request_id();
  v1::GenerateBatchResponse response;
  for (uint32_t i = 0; i < kMaxOpenJobs; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    jobs.push_back(world.stub->GenerateBatch(contexts.back().get()));
    ASSERT_TRUE(jobs.back()->Write(request));
    ASSERT_TRUE(jobs.back()->Read(&response));  // it is open
  }
  {
    grpc::ClientContext context;
    auto refused = world.stub->GenerateBatch(&context);
    EXPECT_FALSE(refused->Read(&response));
    const grpc::Status status = refused->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  }
  for (const auto& job : jobs) {
    job->WritesDone();
    while (job->Read(&response)) {
    }
    EXPECT_TRUE(job->Finish().ok());
  }
  // The last OnDone may come after the client has its status.
  bool open = false;
  for (int i = 0; i < 1000 && !open; ++i) {
    grpc::ClientContext context;
    auto job = world.stub->GenerateBatch(&context);
    job->WritesDone();
    open = job->Finish().ok();
  }
  EXPECT_TRUE(open);
}

TEST(GrpcBatch, MetadataIsThatOfEveryCall) {
  BatchWorld world;
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "job-7");
  auto job = world.stub->GenerateBatch(&context);
  v1::GenerateBatchRequest nameless;
  *nameless.mutable_generate() = text_request("x");
  job->Write(nameless);
  v1::GenerateBatchResponse response;
  EXPECT_FALSE(job->Read(&response));
  const grpc::Status status = job->Finish();
  EXPECT_EQ(status.error_message(), "custom_id: 0 bytes: must be in 1..64");
  EXPECT_EQ(context.GetServerInitialMetadata().find("x-request-id")->second, "job-7");
  EXPECT_EQ(context.GetServerInitialMetadata().find("x-stet-version")->second, "1.2.3");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(detail_of<google::rpc::RequestInfo>(details).request_id(), "job-7");
}

TEST(GrpcBatch, BytesThatAreNoMessageAreInvalid) {
  BatchWorld world;
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method("/stet.v1.InferenceService/GenerateBatch",
                                         grpc::internal::RpcMethod::BIDI_STREAMING);
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> job(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          world.channel.get(), method, &context));
  const grpc::Slice slice("\xff\xff\xff");
  job->Write(grpc::ByteBuffer(&slice, 1));
  grpc::ByteBuffer response;
  EXPECT_FALSE(job->Read(&response));
  EXPECT_EQ(job->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace stet::server
