// The clients of a world: they give their orders, take the events, and know what every answer must
// be.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "src/engine/engine_core.h"
#include "stet/executor/fake_backend.h"
#include "tests/sim/planted.h"
#include "tests/sim/world_config.h"

namespace stet::sim {

// Owned by the simulator's one thread.
class Clients final : public engine::EventSink {
 public:
  Clients(const WorldConfig* world, const executor::FakeModel* model, Planted planted,
          Coverage* coverage);

  void on_events(std::vector<engine::EngineEvent> events) override;

  // Submits what has arrived and gives the orders that are due.
  void act(engine::EngineCore* core, uint64_t now_us);
  // At a step border, after the engine has taken its orders: whatever was ordered before `act` must
  // have happened.
  void check_orders();
  void check_at_end(const engine::EngineCore& core);

  bool all_ended() const;
  uint64_t next_event_us(uint64_t now_us) const;  // UINT64_MAX = nothing left to do
  const std::vector<std::string>& failures() const { return failures_; }
  void fail(const std::string& what) { failures_.push_back(what); }

 private:
  struct Choice {
    executor::FakeModel::Solo expected;
    uint32_t num_tokens = 0;  // resumed ones included
    bool finished = false;
    bool finish_ordered = false, finish_due = false;
  };
  struct Client {
    const ClientPlan* plan = nullptr;
    RequestId id;
    bool submitted = false, refused = false;
    bool cancel_ordered = false, cancel_due = false;  // due: a border has passed since the order
    bool parked = false, park_due = false, has_parked = false;
    uint64_t unpark_at_us = 0;
    std::vector<Choice> choices;
    uint32_t num_ends = 0;
    engine::EngineEvent end;
    uint32_t num_tokens() const;
  };

  std::string name(const Client& c) const;
  void submit(engine::EngineCore* core, Client& c);
  void give_orders(engine::EngineCore* core, Client& c, uint64_t now_us);
  void take_tokens(Client& c, const engine::EngineEvent& event);
  void take_end(Client& c, engine::EngineEvent event);
  void check_end(const Client& c);
  void check_complete(const Client& c);
  void check_cached(const Client& c);
  void check_order_of_start();
  bool may_be_overtaken(const Client& c) const;
  bool may_belong_to_a_program(const Client& c) const;
  static size_t shared_tokens(const Client& other, const Request& mine);

  const WorldConfig* const world_;
  const executor::FakeModel* const model_;
  const Planted planted_;
  Coverage* const coverage_;
  std::vector<Client> clients_;
  std::map<RequestId, size_t> by_id_;
  std::vector<std::string> failures_;
};

}  // namespace stet::sim
