// Hostile and odd HTTP: limits in the parser, timeouts, smuggling, pipelining.
#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

using std::string_literals::operator""s;

class Http : public ServerTest {
 protected:
  void start_echo(HttpOptions options = {}) {
    start(options);
    client_.set_script(
        [](FakeCall& call) { call.answer({call.chat.messages(0).content(0).text()}); });
  }
  // The status of whatever `bytes` gets; 0 = closed without a word.
  int status_of(const std::string& bytes) {
    HttpConnection connection = connect();
    connection.send(bytes);
    connection.half_close();
    return connection.read_answer().status;
  }
  static std::string say(const std::string& text) {
    return R"({"messages":[{"role":"user","content":")" + text + "\"}]}";
  }
  static std::string said(const HttpAnswer& answer) {
    return json(answer)["choices"][0]["message"]["content"];
  }
};

const std::string kPost =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

TEST_F(Http, BodiesOverTheLimitAre413BeforeTheyAreRead) {
  HttpOptions options;
  options.max_body_bytes = 1000;
  start_echo(options);
  const HttpAnswer answer = [&] {
    HttpConnection connection = connect();
    connection.send(kPost + "Content-Length: 1001\r\n\r\n");  // not one byte of it
    HttpAnswer got = connection.read_answer();
    EXPECT_TRUE(connection.read_eof());
    return got;
  }();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_EQ(json(answer)["error"]["code"], "request_too_large");
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, ' ') +
                      "\r\n0\r\n\r\n"),
            413);
  EXPECT_EQ(status_of(kPost + "Content-Length: 99999999999999999999999\r\n\r\n"), 400);
  const std::string fits = say(std::string(1000 - say("").size(), 'x'));
  ASSERT_EQ(fits.size(), 1000U);
  EXPECT_EQ(connect().request("POST", kChatPath, fits).status, 200);
}

TEST_F(Http, HeadersOverTheLimitAre431) {
  start_echo();
  EXPECT_EQ(
      status_of("GET /health HTTP/1.1\r\nHost: x\r\nA: " + std::string(9000, 'a') + "\r\n\r\n"),
      431);
  EXPECT_EQ(
      status_of("GET /health HTTP/1.1\r\nHost: x\r\nA: " + std::string(7000, 'a') + "\r\n\r\n"),
      200);
  std::string many = "GET /health HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 5000; ++i) {
    many += "A" + std::to_string(i) + ": b\r\n";
  }
  EXPECT_EQ(status_of(many + "\r\n"), 431);
  EXPECT_EQ(status_of("GET /" + std::string(20000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n"), 431);
}

TEST_F(Http, AmbiguousFramingIsRefused) {
  start_echo();
  const std::string body = say("hi");
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n";
  EXPECT_EQ(status_of(kPost + length + "\r\n" + body), 200);  // negative control
  EXPECT_EQ(status_of(kPost + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\n" + length + "\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + length + "Content-Length: 5\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + length + length + "\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: +5\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 0x10\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: -1\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 5,5\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Encoding: gzip\r\n" + length + "\r\n" + body), 400);
  EXPECT_EQ(status_of("GET /health HTTP/1.1\r\n\r\n"), 400);  // no Host
  EXPECT_EQ(status_of("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health HTTP/1.1\r\nHost: x\r\nA: b"s + '\0' + "c\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health HTTP/9.9\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400);
  EXPECT_EQ(status_of("\x16\x03\x01\x02\x01" + std::string(100, 'x') + "\r\n\r\n"),
            400);  // a TLS hello
  EXPECT_EQ(status_of("hello\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health%00 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health%0d%0aX: HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health HTTP/1.1"), 0);  // cut
  EXPECT_EQ(status_of(""), 0);
}

// A refused request ends its connection: the bytes after it are never taken for a request.
TEST_F(Http, NothingAfterARefusedBodyIsARequest) {
  start_echo();
  HttpConnection connection = connect();
  connection.send(
      "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nGET /health "
      "HTTP/1.1\r\nHost: x\r\n\r\n");
  const HttpAnswer answer = connection.read_answer();
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_EQ(connection.read_answer().status, 0);
}

TEST_F(Http, ChunkedBodiesInAnyPieces) {
  start_echo();
  const std::string body = say("pieces");
  std::string chunked;
  for (const char c : body) {
    chunked += "1;name=value\r\n" + std::string(1, c) + "\r\n";
  }
  chunked += "0\r\nTrailer: x\r\n\r\n";
  HttpConnection connection = connect();
  connection.send(kPost + "Transfer-Encoding: chunked\r\n\r\n" + chunked);
  EXPECT_EQ(said(connection.read_answer()), "pieces");
  EXPECT_EQ(connection.request("GET", "/health").status, 200);
}

TEST_F(Http, RequestsByteByByte) {
  start_echo();
  HttpConnection connection = connect();
  for (const char c : post_text(kChatPath, say("slow"))) {
    ASSERT_TRUE(connection.send(std::string_view(&c, 1)));
  }
  EXPECT_EQ(said(connection.read_answer()), "slow");
}

TEST_F(Http, PipelinedRequestsAreAnsweredInOrder) {
  start_echo();
  std::string all;
  for (int i = 0; i < 50; ++i) {
    all += post_text(kChatPath, say("message " + std::to_string(i)));
    all += "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  HttpConnection connection = connect();
  connection.send(all);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(said(connection.read_answer()), "message " + std::to_string(i));
    EXPECT_EQ(connection.read_answer().body, R"({"status":"ok"})");
  }
}

TEST_F(Http, ARequestPipelinedBehindAStreamWaitsForItsEnd) {
  start();
  HttpConnection connection = connect();
  connection.send(post_text(kChatPath, "{" + std::string(kHi) + R"(,"stream":true})"));
  const auto call = client_.wait_call();
  ASSERT_NE(call, nullptr);
  call->started();
  call->delta(0, "a", {1});
  connection.read_until("\"a\"");
  connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  call->delta(0, "b", {2});
  connection.read_until("\"b\"");
  call->finished(0);
  call->summary(3, 2);
  call->ok();
  EXPECT_TRUE(connection.read_answer().body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(connection.read_answer().body, R"({"status":"ok"})");
}

TEST_F(Http, ExpectContinueIsAnswered) {
  start_echo();
  const std::string body = say("big");
  HttpConnection connection = connect();
  connection.send(kPost + "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
                  "\r\n\r\n");
  EXPECT_EQ(connection.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  connection.send(body);
  EXPECT_EQ(said(connection.read_answer()), "big");
}

TEST_F(Http, OldClientsGetWhatTheyUnderstand) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  HttpConnection plain = connect();
  plain.send("GET /health HTTP/1.0\r\n\r\n");
  const HttpAnswer closed = plain.read_answer();
  EXPECT_EQ(closed.header("connection"), "close");
  EXPECT_TRUE(plain.read_eof());
  HttpConnection stream = connect();
  const std::string body = "{" + std::string(kHi) + R"(,"stream":true})";
  stream.send(
      "POST /v1/chat/completions HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const HttpAnswer answer = stream.read_answer();
  EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_EQ(sse_frames(answer.body).back(), "[DONE]");
}

TEST_F(Http, ConnectionCloseIsObeyed) {
  start_echo();
  HttpConnection connection = connect();
  const HttpAnswer answer = connection.request("GET", "/health", "", "Connection: close\r\n");
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(connection.read_eof());
}

TEST_F(Http, SlowHeadsAndBodiesTimeOutWith408) {
  HttpOptions options;
  options.header_timeout_us = 30'000;
  options.body_timeout_us = 30'000;
  start_echo(options);
  HttpConnection head = connect();
  head.send("GET /health HTTP/1.1\r\nHos");
  const HttpAnswer late_head = head.read_answer();
  EXPECT_EQ(late_head.status, 408);
  EXPECT_EQ(json(late_head)["error"]["code"], "request_timeout");
  HttpConnection body = connect();
  body.send(kPost + "Content-Length: 100\r\n\r\n{");
  EXPECT_EQ(body.read_answer().status, 408);
  HttpConnection silent = connect();
  EXPECT_EQ(silent.read_answer().status, 0);  // nothing was asked: closed without a word
}

TEST_F(Http, IdleConnectionsAreClosed) {
  HttpOptions options;
  options.idle_timeout_us = 20'000;
  start_echo(options);
  HttpConnection connection = connect();
  EXPECT_EQ(connection.request("GET", "/health").status, 200);
  EXPECT_TRUE(connection.read_eof());
}

TEST_F(Http, BodiesInFlightShareABudget) {
  HttpOptions options;
  options.max_total_body_bytes = 1000;
  start_echo(options);
  HttpConnection first = connect();
  first.send(kPost + "Content-Length: 900\r\n\r\n" + std::string(800, ' '));
  // When the second body does not fit beside the first is up to the order of arrival: ask until it
  // does.
  int status = 0;
  for (int i = 0; i < 1000 && status != 429; ++i) {
    status = connect().request("POST", kChatPath, say(std::string(400, 'x'))).status;
  }
  EXPECT_EQ(status, 429);
  first.send(std::string(100, ' '));
  EXPECT_EQ(first.read_answer().status, 400);  // spaces are no JSON
  EXPECT_EQ(connect().request("POST", kChatPath, say(std::string(400, 'x'))).status, 200);
}

TEST_F(Http, ATakenPortIsAnErrorAtOnce) {
  start();
  HttpOptions options;
  options.port = server_->port();
  const auto second = OpenAiServer::create(options, &client_, &metrics_);
  EXPECT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(std::to_string(options.port)), std::string::npos);
  options.host = "example.invalid";
  EXPECT_EQ(OpenAiServer::create(options, &client_, &metrics_).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stet::proxy::testing
