// The gRPC transport over a real Service: streams, cancel, deadline, details, metadata, health,
// reflection, limits, ports.
#include <dlfcn.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "stet/server/grpc_server.h"
#include "stet/v1/admin.grpc.pb.h"
#include "stet/v1/inference.grpc.pb.h"
#include "stet/v1/model.grpc.pb.h"
#include "tests/server/fakes.h"

namespace stet::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

GrpcOptions any_port() {
  GrpcOptions options;
  options.address = "127.0.0.1:0";
  options.admin_address = "127.0.0.1:0";
  return options;
}

struct GrpcWorld : World {
  explicit GrpcWorld(GrpcOptions options = any_port(), AdminHooks hooks = make_hooks()) {
    auto started = GrpcServer::start(options, service.get(), std::move(hooks));
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    server = std::move(started).value();
    server->set_serving(true, true);
    const std::string address = options.address.starts_with("unix:")
                                    ? options.address
                                    : "127.0.0.1:" + std::to_string(server->port());
    channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    stub = v1::InferenceService::NewStub(channel);
  }
  ~GrpcWorld() {
    service->stop();
    server->shutdown(1'000'000);
  }
  static AdminHooks make_hooks() {
    AdminHooks hooks;
    hooks.version = "1.2.3";
    hooks.commit = "abc";
    hooks.backend = "fake";
    hooks.config_json = [] { return "{}"; };
    return hooks;
  }
  std::shared_ptr<grpc::Channel> admin_channel() const {
    return grpc::CreateChannel("127.0.0.1:" + std::to_string(server->admin_port()),
                               grpc::InsecureChannelCredentials());
  }
  // Every request is answered with `text` as soon as it is submitted.
  void answer_all(std::string text) {
    engine.on_submit = [this, text](const Request& request) { engine.reply(request, text); };
  }

  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::InferenceService::Stub> stub;
};

struct Answer {
  grpc::Status status;
  std::vector<v1::GenerateResponse> events;
  std::string text;
  google::rpc::Status details;
};

template <class Reader>
Answer read_all(Reader& reader) {
  Answer out;
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    out.text += event.delta().text();
    out.events.push_back(event);
  }
  out.status = reader->Finish();
  out.details.ParseFromString(out.status.error_details());
  return out;
}

Answer generate(GrpcWorld& world, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  auto reader = world.stub->Generate(&context, request);
  return read_all(reader);
}

TEST(Grpc, GenerateAndChatStream) {
  GrpcWorld world;
  world.answer_all("hello world");
  Answer answer = generate(world, text_request("x"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "hello world");
  EXPECT_TRUE(answer.events.front().has_started());
  EXPECT_TRUE(answer.events.back().has_summary());
  grpc::ClientContext context;
  auto reader = world.stub->Chat(&context, chat_request("hi"));
  answer = read_all(reader);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.text, "hello world");
}

TEST(Grpc, ManyStreamsAtOnceKeepTheirOrder) {
  GrpcWorld world;
  const std::string text(200, 'q');
  world.answer_all(text);
  std::vector<std::jthread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&] {
      const Answer answer = generate(world, text_request("x"));
      uint64_t seq = 0;
      bool ordered = true;
      for (const auto& event : answer.events) {
        ordered = ordered && (!event.has_delta() || event.delta().seq() == seq++);
      }
      good += answer.status.ok() && answer.text == text && ordered ? 1 : 0;
    });
  }
  clients.clear();
  EXPECT_EQ(good, 16);
}

TEST(Grpc, ErrorsCarryDetails) {
  GrpcWorld world;
  v1::GenerateRequest request = text_request("x");
  request.mutable_sampling()->set_top_p(1.5f);
  const Answer answer = generate(world, request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "sampling.top_p: 1.5: must be in 0..1");
  EXPECT_EQ(answer.details.code(), 3);
  EXPECT_EQ(answer.details.message(), answer.status.error_message());
  EXPECT_EQ(reason_in(answer.details), "out_of_range");
  EXPECT_EQ(detail_of<google::rpc::ErrorInfo>(answer.details).domain(), "stet");
  EXPECT_TRUE(names_field(answer.details, "sampling.top_p"));
}

TEST(Grpc, RequestIdComesFromMessageOrMetadataAndIsEchoed) {
  GrpcWorld world;
  world.answer_all("a");
  {
    grpc::ClientContext context;
    context.AddMetadata("x-request-id", "from-metadata");
    auto reader = world.stub->Generate(&context, text_request("x"));
    const Answer answer = read_all(reader);
    EXPECT_EQ(answer.events.at(0).started().request_id(), "from-metadata");
    EXPECT_EQ(context.GetServerInitialMetadata().find("x-request-id")->second, "from-metadata");
    EXPECT_EQ(context.GetServerInitialMetadata().find("x-stet-version")->second, "1.2.3");
  }
  {
    grpc::ClientContext context;
    context.AddMetadata("x-request-id", "not a request id");
    auto reader = world.stub->Generate(&context, text_request("x"));
    EXPECT_TRUE(names_field(read_all(reader).details, "request_id"));
  }
  {
    grpc::ClientContext context;
    v1::GenerateRequest bad = text_request("x");
    bad.mutable_sampling()->set_n(0);
    auto reader = world.stub->Generate(&context, bad);
    const Answer answer = read_all(reader);
    const auto& metadata = context.GetServerInitialMetadata();
    ASSERT_NE(metadata.find("x-request-id"), metadata.end()) << "drawn, also for an error";
    EXPECT_EQ(detail_of<google::rpc::RequestInfo>(answer.details).request_id(),
              std::string(metadata.find("x-request-id")->second.data(), 32));
  }
}

TEST(Grpc, CancelReachesTheEngine) {
  GrpcWorld world;
  grpc::ClientContext context;
  auto reader = world.stub->Generate(&context, text_request("x"));
  const RequestId id = world.engine.wait_request().id;
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_TRUE(world.engine.wait_cancelled(id));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Grpc, DeadlineReachesTheEngine) {
  GrpcWorld world;
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + milliseconds(300));
  auto reader = world.stub->Generate(&context, text_request("x"));
  const Request request = world.engine.wait_request();
  EXPECT_GT(request.deadline_us, world.clock.now_us());
  EXPECT_LE(request.deadline_us, world.clock.now_us() + 305'000) << "gRPC rounds up";
  EXPECT_EQ(read_all(reader).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(world.engine.wait_cancelled(request.id));
}

TEST(Grpc, ADisconnectedClientIsACancel) {
  GrpcWorld world;
  RequestId id;
  {
    auto channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(world.server->port()),
                                             grpc::InsecureChannelCredentials(), [] {
                                               grpc::ChannelArguments arguments;
                                               arguments.SetInt("own.connection", 1);
                                               return arguments;
                                             }());
    auto stub = v1::InferenceService::NewStub(channel);
    grpc::ClientContext context;
    auto reader = stub->Generate(&context, text_request("x"));
    id = world.engine.wait_request().id;
  }
  EXPECT_TRUE(world.engine.wait_cancelled(id));
}

TEST(Grpc, BytesThatAreNoMessageAreMalformed) {
  GrpcWorld world;
  // Field 3 (text) with a length beyond the end; and a string that is no UTF-8.
  for (const std::string& bytes :
       {std::string("\x1a\x7f\x01", 3), std::string("\x1a\x01\xff", 3)}) {
    struct Reactor final : grpc::ClientReadReactor<grpc::ByteBuffer> {
      void OnReadDone(bool ok) override {
        if (ok) {
          StartRead(&buffer);
        }
      }
      void OnDone(const grpc::Status& s) override {
        std::lock_guard lock(mutex);
        status = s;
        done = true;
        changed.notify_all();
      }
      grpc::ByteBuffer buffer;
      grpc::Status status;
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
    } reactor;
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ClientContext context;
    const grpc::internal::RpcMethod method("/stet.v1.InferenceService/Generate",
                                           grpc::internal::RpcMethod::SERVER_STREAMING);
    grpc::internal::ClientCallbackReaderFactory<grpc::ByteBuffer>::Create(
        world.channel.get(), method, &context, &request, &reactor);
    reactor.StartRead(&reactor.buffer);
    reactor.StartCall();
    std::unique_lock lock(reactor.mutex);
    ASSERT_TRUE(reactor.changed.wait_for(lock, seconds(10), [&] { return reactor.done; }));
    EXPECT_EQ(reactor.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(reactor.status.error_details()));
    EXPECT_EQ(reason_in(details), "malformed");
    EXPECT_FALSE(detail_of<google::rpc::RequestInfo>(details).request_id().empty());
  }
}

TEST(Grpc, MessagesAboveTheLimitAreRefused) {
  GrpcOptions options = any_port();
  options.max_message_bytes = 65'536;
  GrpcWorld world(options);
  EXPECT_EQ(generate(world, text_request(std::string(70'000, 'x'))).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(Grpc, ASlowReaderGetsEverythingMerged) {
  GrpcWorld world;
  grpc::ClientContext context;
  // In process no write completes before the client reads, so everything after the first write has
  // to merge.
  auto reader = world.stub->Generate(&context, text_request("x"));
  const Request request = world.engine.wait_request();
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    text += static_cast<char>('a' + i % 26);
  }
  v1::GenerateRequest bigger = text_request("x");
  world.engine.reply(request, text.substr(0, kModelLen - 10));
  const Answer answer = read_all(reader);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.text, text.substr(0, kModelLen - 10));
}

TEST(Grpc, ServerShutdownEndsStreamsClearly) {
  GrpcWorld world;
  grpc::ClientContext context;
  auto reader = world.stub->Generate(&context, text_request("x"));
  world.engine.wait_request();
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  world.service->stop();
  const Answer answer = read_all(reader);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(reason_in(answer.details), "draining");
  world.server->shutdown(1'000'000);
}

TEST(Grpc, ModelServiceListsAndFinds) {
  GrpcWorld world;
  auto models = v1::ModelService::NewStub(world.channel);
  v1::ListModelsResponse list;
  grpc::ClientContext a, b, c, d;
  ASSERT_TRUE(models->ListModels(&a, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  v1::GetModelRequest request;
  request.set_model("tiny");
  v1::Model model;
  ASSERT_TRUE(models->GetModel(&b, request, &model).ok());
  EXPECT_EQ(model.fingerprint(), list.models(0).fingerprint());
  request.set_model("huge");
  const grpc::Status status = models->GetModel(&c, request, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_NE(status.error_message().find("tiny"), std::string::npos);
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(99, 1);
  EXPECT_EQ(models->GetModel(&d, request, &model).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(Grpc, AdminServiceIsOnTheAdminListenerOnly) {
  AdminHooks hooks = GrpcWorld::make_hooks();
  std::atomic<uint32_t> drain_ms{0};
  std::atomic<bool> exit_asked{false};
  hooks.drain = [&](uint32_t deadline_ms, bool exit_when_done) {
    drain_ms = deadline_ms;
    exit_asked = exit_when_done;
  };
  GrpcWorld world(any_port(), hooks);
  auto admin = v1::AdminService::NewStub(world.admin_channel());
  v1::ServerInfo info;
  grpc::ClientContext a, b, c, d;
  ASSERT_TRUE(admin->GetServerInfo(&a, {}, &info).ok());
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.state(), v1::SERVER_STATE_READY);
  EXPECT_EQ(info.config_json(), "{}");
  grpc::ClientContext streaming;
  auto reader = world.stub->Generate(&streaming, text_request("x"));
  world.engine.wait_request();
  v1::DrainRequest drain;
  drain.set_deadline_ms(5000);
  drain.set_exit_when_done(true);
  v1::DrainResponse drained;
  ASSERT_TRUE(admin->Drain(&b, drain, &drained).ok());
  EXPECT_EQ(drained.in_flight(), 1u);
  EXPECT_EQ(drain_ms, 5000u);
  EXPECT_TRUE(exit_asked);
  streaming.TryCancel();
  reader->Finish();
  auto wrong = v1::AdminService::NewStub(world.channel);
  EXPECT_EQ(wrong->GetServerInfo(&c, {}, &info).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

// grpc.health.v1 has no generated code here: Check with hand-made bytes. HealthCheckRequest.service
// = 1; .status = 1.
int health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string bytes;
  if (!service.empty()) {
    bytes = std::string("\x0a") + static_cast<char>(service.size()) + service;
  }
  grpc::Slice slice(bytes);
  grpc::ByteBuffer request(&slice, 1), response;
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), method, &context, request, &response);
  if (!status.ok()) {
    return -static_cast<int>(status.error_code());
  }
  std::vector<grpc::Slice> slices;
  response.Dump(&slices);
  std::string out;
  for (const auto& s : slices) {
    out.append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  return out.size() == 2 ? out[1] : 0;
}

TEST(Grpc, HealthFollowsReadyAndLive) {
  constexpr int kServing = 1, kNotServing = 2, kNotFound = -5;
  GrpcWorld world;
  for (const char* service : {"", "stet.v1.InferenceService", "stet.live"}) {
    EXPECT_EQ(health(world.channel, service), kServing) << service;
  }
  world.server->set_serving(false, true);
  EXPECT_EQ(health(world.channel, ""), kNotServing);
  EXPECT_EQ(health(world.channel, "stet.v1.InferenceService"), kNotServing);
  EXPECT_EQ(health(world.channel, "stet.live"), kServing);
  EXPECT_EQ(health(world.channel, "no.such.Service"), kNotFound);
}

TEST(Grpc, NotReadyUntilTold) {
  World world;
  auto server = GrpcServer::start(any_port(), world.service.get(), {});
  ASSERT_TRUE(server.ok());
  auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string((*server)->port()),
                                     grpc::InsecureChannelCredentials());
  EXPECT_EQ(health(channel, ""), 2);
}

// ServerReflectionRequest.list_services = 7; the answer names every service.
std::string reflected_services(const std::shared_ptr<grpc::Channel>& channel,
                               grpc::Status* status) {
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + seconds(10));
  const grpc::internal::RpcMethod method(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      grpc::internal::RpcMethod::BIDI_STREAMING);
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  grpc::Slice slice(std::string("\x3a\x00", 2));
  stream->Write(grpc::ByteBuffer(&slice, 1));
  stream->WritesDone();
  grpc::ByteBuffer response;
  std::string out;
  while (stream->Read(&response)) {
    std::vector<grpc::Slice> slices;
    response.Dump(&slices);
    for (const auto& s : slices) {
      out.append(reinterpret_cast<const char*>(s.begin()), s.size());
    }
  }
  *status = stream->Finish();
  return out;
}

TEST(Grpc, ReflectionListsTheServicesOfEachListener) {
  GrpcWorld world;
  grpc::Status status;
  const std::string main = reflected_services(world.channel, &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  for (const char* service :
       {"stet.v1.InferenceService", "stet.v1.ModelService", "grpc.health.v1.Health"}) {
    EXPECT_NE(main.find(service), std::string::npos) << service;
  }
  EXPECT_EQ(main.find("AdminService"), std::string::npos);
  EXPECT_NE(reflected_services(world.admin_channel(), &status).find("stet.v1.AdminService"),
            std::string::npos);
}

TEST(Grpc, ReflectionCanBeOff) {
  // The library cannot be unloaded: in one process with other tests this one has nothing to show.
  if (void* loaded = dlopen(STET_GRPC_REFLECTION_LIBRARY, RTLD_NOW | RTLD_NOLOAD)) {
    dlclose(loaded);
    GTEST_SKIP() << "an earlier test of this process switched reflection on; ctest runs each alone";
  }
  GrpcOptions options = any_port();
  options.reflection = false;
  GrpcWorld world(options);
  grpc::Status status;
  reflected_services(world.channel, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Grpc, ATakenPortIsAnErrorThatNamesIt) {
  GrpcWorld world;
  GrpcOptions options = any_port();
  options.address = "127.0.0.1:" + std::to_string(world.server->port());
  const auto second = GrpcServer::start(options, world.service.get(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(options.address), std::string::npos);
  options = any_port();
  options.admin_address = "127.0.0.1:" + std::to_string(world.server->port());
  EXPECT_FALSE(GrpcServer::start(options, world.service.get(), {}).ok());
}

TEST(Grpc, UnixSocketsAreTheOwnersAndNotStolen) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("stet_grpc_test." + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  GrpcOptions options = any_port();
  options.address = "unix:" + (folder / "s").string();
  options.admin_address = "";
  {
    GrpcWorld world(options);
    world.answer_all("ok");
    EXPECT_EQ(generate(world, text_request("x")).text, "ok");
    struct stat info {};
    ASSERT_EQ(stat((folder / "s").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_FALSE(GrpcServer::start(options, world.service.get(), {}).ok());
    EXPECT_EQ(generate(world, text_request("x")).text, "ok") << "and the first one still serves";
  }
  std::filesystem::remove_all(folder);
}

TEST(Grpc, UnknownMethodsAreUnimplemented) {
  GrpcWorld world;
  grpc::Slice slice("");
  grpc::ByteBuffer request(&slice, 1), response;
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method("/stet.v1.InferenceService/Tokenize",
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      world.channel.get(), method, &context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace stet::server
