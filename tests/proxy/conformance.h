// One suite for every InferenceClient: the same HTTP requests over each must give the same answers,
// byte for byte. The daemon's tests run it over LocalClient and over GrpcClient on an in-process
// channel, the proxy's own over a scripted model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stet/proxy/inference_client.h"

namespace stet::proxy::testing {

struct ClientUnderTest {
  std::string name;  // "local", "grpc in process"
  std::unique_ptr<InferenceClient> client;
};

struct Transcript {
  std::string request;  // the line that names it in failures
  std::string answer;   // status, headers that matter and body; without times and what else may
                        // differ between runs
};

// Runs every exchange of the suite against an OpenAiServer over `client` (a model must be served;
// greedy, max 8 tokens).
std::vector<Transcript> run_conformance(InferenceClient* client);

// Judges one client alone: each answer is well formed, streamed and not streamed agree, errors have
// their rows.
void expect_well_formed(const std::vector<Transcript>& transcripts);
// Fails the test for each exchange in which `b` differs from `a`.
void expect_same(const std::string& name_a, const std::vector<Transcript>& a,
                 const std::string& name_b, const std::vector<Transcript>& b);
// All of it: each client alone, then every client against the first.
void expect_conformance(const std::vector<ClientUnderTest>& clients);

}  // namespace stet::proxy::testing
