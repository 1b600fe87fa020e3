// The route table walked, probes, models, version, metrics.
#include "src/proxy/routes.h"

#include <set>

#include "tests/proxy/server_fixture.h"

namespace stet::proxy::testing {
namespace {

using Routes = ServerTest;

TEST(RouteTable, EveryRouteHasAPermissionAndOnlyProbesNeedNone) {
  const std::set<std::string_view> probes = {"/health", "/ready", "/readyz",
                                             "/live",   "/livez", "/startupz"};
  for (const Route& route : route_table()) {
    EXPECT_TRUE(is_permitted(route)) << route.path;
    EXPECT_EQ(route.permission == Permission::kNone, probes.contains(route.path)) << route.path;
    EXPECT_EQ(find_route(std::string(route.path) + (route.path.ends_with('/') ? "x" : "")), &route)
        << route.path;
  }
  EXPECT_FALSE(is_permitted(
      Route{"/new", "/new", "GET"}));  // negative control: a forgotten column opens nothing
}

TEST_F(Routes, MethodsThatARouteLacksAre405WithAllow) {
  HttpOptions options;
  options.debug_scheduler = [] { return std::string("{}"); };
  start(options);
  HttpConnection connection = connect();
  for (const Route& route : route_table()) {
    const std::string path = std::string(route.path) + (route.path.ends_with('/') ? "x" : "");
    for (const char* method : {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
      if (!allows_method(route, method)) {
        const HttpAnswer answer = connection.request(method, path);
        EXPECT_EQ(answer.status, 405) << method << " " << path;
        EXPECT_EQ(answer.header("allow"), route.methods);
        EXPECT_EQ(json(answer)["error"]["code"], "method_not_allowed");
      }
    }
  }
}

TEST_F(Routes, UnknownPathsAre404) {
  start();
  HttpConnection connection = connect();
  for (const char* path :
       {"/", "/v1", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/models/", "/health/x",
        "/HEALTH", "//health", "/v1/chat/completions/", "/tokenize", "/debug", "/admin"}) {
    const HttpAnswer answer = connection.request("GET", path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(json(answer)["error"]["code"], "unknown_url") << path;
    EXPECT_EQ(json(answer)["error"]["type"], "invalid_request_error");
  }
}

TEST_F(Routes, BodiesMustBeJsonByMediaType) {
  start();
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  const std::string body = "{" + std::string(kHi) + "}";
  const auto status = [&](const std::string& type) {
    HttpConnection connection = connect();
    connection.send("POST " + std::string(kChatPath) + " HTTP/1.1\r\nHost: x\r\n" + type +
                    "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return connection.read_answer().status;
  };
  EXPECT_EQ(status("Content-Type: application/json\r\n"), 200);
  EXPECT_EQ(status("content-type: Application/JSON ; charset=UTF-8\r\n"), 200);
  EXPECT_EQ(status(""), 415);
  EXPECT_EQ(status("Content-Type: text/plain\r\n"), 415);
  EXPECT_EQ(status("Content-Type: application/x-www-form-urlencoded\r\n"), 415);
  EXPECT_EQ(status("Content-Type: application/json; charset=latin1\r\n"), 415);
}

TEST_F(Routes, ProbesFollowTheClient) {
  start();
  HttpConnection connection = connect();
  client_.set_ready({false, "loading"});
  EXPECT_EQ(connection.request("GET", "/startupz").status, 503);
  const HttpAnswer loading = connection.request("GET", "/readyz");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(json(loading)["error"]["code"], "loading");
  EXPECT_EQ(loading.header("retry-after"), "1");
  EXPECT_EQ(connection.request("GET", "/live").status, 200);
  client_.set_ready({true, "ready"});
  for (const char* path : {"/health", "/ready", "/readyz", "/live", "/livez", "/startupz"}) {
    const HttpAnswer answer = connection.request("GET", path);
    EXPECT_EQ(answer.status, 200) << path;
    EXPECT_EQ(answer.body, R"({"status":"ok"})");
  }
  client_.set_ready({false, "draining"});
  EXPECT_EQ(json(connection.request("GET", "/health"))["error"]["code"], "draining");
  EXPECT_EQ(connection.request("GET", "/startupz").status, 200);  // once ready, always started
  client_.set_live(false);
  EXPECT_EQ(connection.request("GET", "/livez").status, 503);
}

TEST_F(Routes, HeadIsGetWithoutBody) {
  start();
  HttpConnection connection = connect();
  const HttpAnswer get = connection.request("GET", "/health");
  const HttpAnswer head = connection.request("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), std::to_string(get.body.size()));
  client_.set_ready({false, "loading"});
  EXPECT_EQ(connection.request("HEAD", "/health").status, 503);
  EXPECT_EQ(connection.request("HEAD", "/nothing").status, 404);
  EXPECT_EQ(connection.request("GET", "/live").status, 200);  // nothing was left in between
}

TEST_F(Routes, ModelsAreListedAndFoundById) {
  start();
  HttpConnection connection = connect();
  const std::string model =
      R"({"id":"fake/model","object":"model","created":1700000000,"owned_by":"stet","root":"fake/model","parent":null,"max_model_len":8192})";
  EXPECT_EQ(connection.request("GET", "/v1/models").body,
            R"({"object":"list","data":[)" + model + "]}");
  EXPECT_EQ(connection.request("GET", "/v1/models/fake/model").body, model);
  EXPECT_EQ(connection.request("GET", "/v1/models/fake%2Fmodel?x=1").body, model);
  EXPECT_EQ(connection.request("GET", "http://host:1/v1/models/fake/model").body, model);
  const HttpAnswer missing = connection.request("GET", "/v1/models/other");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(json(missing)["error"]["code"], "model_not_found");
  EXPECT_EQ(connection.request("GET", "/v1/models/%zz").status, 400);
  client_.set_models({});
  client_.set_ready({false, "loading"});
  EXPECT_EQ(connect().request("GET", "/v1/models").status, 503);
}

TEST_F(Routes, VersionNamesCommitAndFingerprint) {
  HttpOptions options;
  options.commit = "abc123";
  start(options);
  EXPECT_EQ(connect().request("GET", "/version").body,
            R"({"version":"1.2.3","commit":"abc123","fingerprint":"stet-abc-01234567"})");
}

TEST_F(Routes, MetricsCountByRouteAndStatusClassOnly) {
  start();
  HttpConnection connection = connect();
  connection.request("GET", "/health");
  connection.request("GET", "/secret-path-1");
  connection.request("BREW", "/secret-path-2");
  client_.set_script([](FakeCall& call) { call.answer({"x"}); });
  connection.request("POST", kChatPath, "{" + std::string(kHi) + "}");
  connection.request("POST", kChatPath, "{}");
  const HttpAnswer answer = connection.request("GET", "/metrics");
  EXPECT_EQ(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  const auto has = [&](const std::string& line) {
    EXPECT_NE(answer.body.find(line), std::string::npos) << line << "\n" << answer.body;
  };
  has(R"(http_requests_total{handler="/health",method="GET",status="2xx"} 1)");
  has(R"(http_requests_total{handler="none",method="GET",status="4xx"} 1)");
  has(R"(http_requests_total{handler="none",method="other",status="4xx"} 1)");
  has(R"(http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 1)");
  has(R"(http_requests_total{handler="/v1/chat/completions",method="POST",status="4xx"} 1)");
  has(R"(http_request_duration_seconds_count{handler="/v1/chat/completions",method="POST"} 2)");
  has("stet_http_connections 1");
  EXPECT_EQ(answer.body.find("secret-path"), std::string::npos);
}

TEST_F(Routes, MetricsCanBeKeptOffThisListener) {
  HttpOptions options;
  options.serve_metrics = false;
  start(options);
  EXPECT_EQ(connect().request("GET", "/metrics").status, 404);
}

TEST_F(Routes, TheSchedulerPageIsWhereMetricsAre) {
  HttpOptions options;
  options.debug_scheduler = [] { return std::string(R"({"steps":[]})"); };
  start(options);
  const HttpAnswer answer = connect().request("GET", "/debug/scheduler");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/json");
  EXPECT_EQ(answer.body, R"({"steps":[]})");
  EXPECT_EQ(connect().request("POST", "/debug/scheduler", "{}").status, 405);
}

TEST_F(Routes, WithoutMetricsOrASchedulerThereIsNoPage) {
  HttpOptions options;
  options.serve_metrics = false;
  options.debug_scheduler = [] { return std::string("{}"); };
  start(options);
  EXPECT_EQ(connect().request("GET", "/debug/scheduler").status, 404);
}

TEST_F(Routes, AProxyWithoutASchedulerHasNoPage) {
  start();
  EXPECT_EQ(connect().request("GET", "/debug/scheduler").status, 404);
}

}  // namespace
}  // namespace stet::proxy::testing
