// Clients that vanish, do not read or are too many; descriptors that run out; draining and
// stopping.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

class Connection : public ServerTest {
 protected:
  std::shared_ptr<FakeCall> begin(HttpConnection* connection, bool stream) {
    connection->send(
        post_text(kChatPath, "{" + std::string(kHi) + (stream ? R"(,"stream":true})" : "}")));
    return client_.wait_call();
  }
  // Answers of other connections only come when the server has seen what was sent before: a fence,
  // not a sleep.
  void expect_streams(size_t expected) {
    for (int i = 0; i < 1000 && server_->num_open_streams() != expected; ++i) {
      expect_alive();
    }
    EXPECT_EQ(server_->num_open_streams(), expected);
  }
  void expect_alive() { EXPECT_EQ(connect().request("GET", "/livez").status, 200); }
};

TEST_F(Connection, AClientThatGoesCancelsItsCall) {
  start();
  for (const bool stream : {true, false}) {
    for (const int how : {0, 1, 2}) {
      HttpConnection connection = connect();
      const auto call = begin(&connection, stream);
      ASSERT_NE(call, nullptr);
      call->started();
      if (stream) {
        call->delta(0, "a", {1});
        connection.read_until("\"a\"");
      }
      EXPECT_FALSE(call->cancelled());
      if (how == 0) {
        connection.close();
      } else if (how == 1) {
        connection.reset();
      } else {
        connection.half_close();  // EOF is gone: documented
      }
      EXPECT_TRUE(call->wait_cancelled());
      // What still comes is thrown away.
      call->delta(0, "b", {2});
      call->done(make_status(1, "cancelled", "cancelled"));
    }
  }
  expect_alive();
  expect_streams(0);
}

TEST_F(Connection, AClientThatGoesIsSeenAlsoAfterPipelinedBytes) {
  start();
  HttpConnection connection = connect();
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  expect_alive();
  connection.close();
  EXPECT_TRUE(call->wait_cancelled());
}

TEST_F(Connection, AnAnsweredCallIsNotCancelledLater) {
  start();
  HttpConnection connection = connect();
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  expect_streams(1);
  call->answer({"x"});
  EXPECT_TRUE(connection.read_answer().complete);
  expect_streams(0);
}

TEST_F(Connection, ASlowReaderIsSeenAsBacklogAndGetsEveryByte) {
  start();
  HttpConnection connection(server_->port(), 4096);
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  const std::string text(10'000, 'x');
  // Until the kernel takes no more: the bound of the loop is far above its buffers.
  size_t num_sent = 0;
  size_t backlog = 0;
  while (backlog == 0 && num_sent < 200) {
    call->delta(0, text, {1});
    ++num_sent;
    expect_alive();
    call->wait_backlog([&](size_t bytes) { return backlog = bytes, true; });
  }
  ASSERT_GT(backlog, 0U);
  EXPECT_LT(num_sent, 100U);  // SO_SNDBUF of 32 KiB: a megabyte is not swallowed
  call->finished(0);
  call->summary(3, 1);
  call->ok();
  const HttpAnswer answer = connection.read_answer();
  EXPECT_TRUE(answer.complete);
  const auto frames = sse_frames(answer.body);
  EXPECT_EQ(frames.size(), 1 + num_sent + 2);
  EXPECT_EQ(frames.back(), "[DONE]");
}

TEST_F(Connection, ABacklogThatIsReadIsReportedAsDrained) {
  start();
  HttpConnection connection(server_->port(), 4096);
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  call->delta(0, std::string(900'000, 'x'), {1});
  EXPECT_TRUE(call->wait_backlog([](size_t bytes) { return bytes > 0; }));
  connection.read_until("xxx\"");
  EXPECT_TRUE(call->wait_backlog([](size_t bytes) { return bytes == 0; }));
  EXPECT_FALSE(call->cancelled());
}

TEST_F(Connection, AReaderThatNeverReadsIsEnded) {
  HttpOptions options;
  options.slow_reader_us = 20'000;
  start(options);
  HttpConnection connection(server_->port(), 4096);
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  call->delta(0, std::string(900'000, 'x'), {1});
  EXPECT_TRUE(call->wait_cancelled());
  const HttpAnswer answer = connection.read_answer();
  EXPECT_FALSE(answer.complete);  // cut, and visibly so
}

TEST_F(Connection, ACallThatIgnoresItsBacklogIsCutOff) {
  HttpOptions options;
  options.max_buffered_bytes = 4096;
  start(options);
  HttpConnection connection(server_->port(), 4096);
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  for (int i = 0; i < 200 && !call->cancelled(); ++i) {
    call->delta(0, std::string(10'000, 'x'), {1});
    expect_alive();
  }
  EXPECT_TRUE(call->cancelled());
}

TEST_F(Connection, CapsOnConnectionsAnswer429) {
  HttpOptions options;
  options.max_connections = 2;
  start(options);
  HttpConnection a = connect();
  HttpConnection b = connect();
  EXPECT_EQ(a.request("GET", "/health").status, 200);
  EXPECT_EQ(b.request("GET", "/health").status, 200);
  HttpConnection c = connect();
  const HttpAnswer refused = c.request("GET", "/health");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("retry-after"), "1");
  EXPECT_EQ(json(refused)["error"]["code"], "server_overloaded");
  EXPECT_TRUE(c.read_eof());
  EXPECT_EQ(a.request("GET", "/health").status, 200);  // those admitted feel nothing
  b.close();
  int status = 0;
  for (int i = 0; i < 1000 && status != 200; ++i) {
    status = connect().request("GET", "/health").status;
  }
  EXPECT_EQ(status, 200);
}

TEST_F(Connection, CapsPerPeerAnswer429) {
  HttpOptions options;
  options.max_connections_per_peer = 1;
  start(options);
  HttpConnection a = connect();
  EXPECT_EQ(a.request("GET", "/health").status, 200);
  const HttpAnswer refused = connect().request("GET", "/health");
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.body.find("address"), std::string::npos);
}

TEST_F(Connection, DescriptorsRunningOutRefusesOneAndRecovers) {
  start();
  HttpConnection established = connect();
  EXPECT_EQ(established.request("GET", "/health").status, 200);
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  const int next_fd = ::dup(0);
  ::close(next_fd);
  // Room for the client's socket, not for the server's end of it.
  const rlimit tight{static_cast<rlim_t>(next_fd) + 1, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const HttpAnswer refused = connect().read_answer();
  EXPECT_EQ(established.request("GET", "/health").status, 200);  // others feel nothing
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old_limit), 0);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  expect_alive();
}

TEST_F(Connection, DrainingClosesAfterEachAnswerAndLetsStreamsFinish) {
  start();
  HttpConnection connection = connect();
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  call->delta(0, "a", {1});
  connection.read_until("\"a\"");
  HttpConnection idle = connect();
  EXPECT_EQ(idle.request("GET", "/health").status, 200);
  server_->begin_drain();
  const HttpAnswer probe = idle.request("GET", "/health");
  EXPECT_EQ(probe.status, 503);
  EXPECT_EQ(json(probe)["error"]["code"], "draining");
  EXPECT_EQ(probe.header("connection"), "close");
  EXPECT_TRUE(idle.read_eof());
  expect_streams(1);
  call->finished(0);
  call->summary(3, 1);
  call->ok();
  EXPECT_EQ(sse_frames(connection.read_answer().body).back(), "[DONE]");
  expect_streams(0);
}

TEST_F(Connection, StoppingCancelsCallsAndCutsStreamsVisibly) {
  start();
  HttpConnection connection = connect();
  const auto call = begin(&connection, true);
  ASSERT_NE(call, nullptr);
  call->started();
  call->delta(0, "a", {1});
  connection.read_until("\"a\"");
  server_->stop();
  EXPECT_TRUE(call->cancelled());
  EXPECT_FALSE(connection.read_answer().complete);
  call->delta(0, "late", {2});  // events after the end are harmless, also when the server is gone
  server_.reset();
  call->ok();
}

TEST_F(Connection, AServerThatNeverStartedCanBeDestroyed) {
  HttpOptions options;
  options.port = 0;
  EXPECT_TRUE(OpenAiServer::create(options, &client_, &metrics_).ok());
}

// Many clients at once, each leaving at a random point: nothing is left running, and every call has
// ended.
TEST_F(Connection, RandomDisconnectsLeaveNothingBehind) {
  start();
  client_.set_script([](FakeCall& call) {
    call.started();
    call.delta(0, "some text", {1});
  });
  uint32_t state = 12345;
  for (int i = 0; i < 300; ++i) {
    state = state * 1664525 + 1013904223;
    HttpConnection connection = connect();
    const std::string text = post_text(kChatPath, "{" + std::string(kHi) + R"(,"stream":true})");
    const size_t cut = std::min<size_t>(state >> 16 & 0xFF, text.size());
    connection.send(std::string_view(text).substr(0, cut));
    if ((state & 1) != 0) {
      connection.send(std::string_view(text).substr(cut));
      if ((state & 2) != 0) {
        connection.read_until("some text");
      }
    }
    if ((state & 4) != 0) {
      connection.reset();
    }
  }
  expect_streams(0);
}

}  // namespace
}  // namespace stet::proxy::testing
