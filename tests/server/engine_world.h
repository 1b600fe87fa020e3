// A service over the real engine on the fake backend, whose tokens are defined by prompt and seed.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "stet/executor/fake_backend.h"
#include "tests/server/fakes.h"

namespace stet::server {

struct EngineWorld {
  explicit EngineWorld(engine::EngineOptions engine_options = {}) {
    executor::FakeOptions options;
    options.vocab_size = kVocab;
    options.max_model_len = kModelLen;
    backend = std::make_unique<executor::FakeBackend>(options);
    service = Service::create({}, &clock, &metrics);
    auto created = engine::Engine::create(backend.get(), service->engine_sink(), &clock, &metrics,
                                          std::move(engine_options));
    EXPECT_TRUE(created.ok()) << created.status().to_string();
    engine = std::move(created).value();
    engine->start();
    ServedModel model;
    model.id = "fake";
    model.fingerprint = "stet-0-0";
    model.vocab_size = kVocab;
    model.engine = engine.get();
    model.tokenizer = std::make_shared<ByteTokenizer>();
    model.chat_template = std::make_shared<ChatMlTemplate>();
    service->add_model(std::move(model));
    service->set_state(ServingState::kReady);
  }
  ~EngineWorld() {
    engine->stop();
    service->stop();
  }

  // The tokens a choice of the started call has by definition.
  std::vector<uint32_t> defined(const v1::Started& started, uint32_t choice) const {
    Request request;
    request.prompt_token_ids.assign(started.prompt_token_ids().begin(),
                                    started.prompt_token_ids().end());
    request.sampling.seed = started.effective_sampling().seed();
    request.sampling.max_tokens = started.effective_sampling().max_tokens();
    request.sampling.stop_token_ids = {kImEnd};
    return backend->model().solo(request, choice).output_token_ids;
  }

  SteadyClock clock;
  obs::Metrics metrics;
  std::unique_ptr<executor::FakeBackend> backend;
  std::unique_ptr<Service> service;
  std::unique_ptr<engine::Engine> engine;
};

}  // namespace stet::server
