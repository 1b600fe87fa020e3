// How much service every client has had: virtual token counters (VTC, "Fairness in Serving Large
// Language Models", OSDI 2024), in prefill token equivalents (token_price.h). Among those that wait
// the one with the smallest counter is next, so clients that always have something waiting differ
// by a bound that does not grow: scheduler.md sec. 5.
//
// A client that begins to wait is lifted to the smallest counter of those that wait already: who
// was idle has no credit. It keeps a larger one of its own: who was served much a moment ago does
// not begin anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "stet/base/ids.h"

namespace stet::sched {

using ClientId = StrongId<struct ClientTag, uint64_t>;  // never reused
inline constexpr ClientId kAnonymous{};                 // all who have no name share one counter

// Owned by the step thread. O(log clients) per call.
class ClientShares {
 public:
  // Beyond so many without an open request those are forgotten that were served least: they have
  // the least to lose, for they would be lifted anyway.
  static constexpr size_t kMaxIdle = 1024;

  ClientShares();

  ClientId open(std::string_view name);  // a request of the client is accepted; "" = kAnonymous
  void close(ClientId client);           // it has ended
  // Of a client with an open request.
  void charge(ClientId client, double prefill_token_equivalents);
  void begin_waiting(ClientId client);  // one more sequence of it waits
  void end_waiting(ClientId client);
  // The counter: service, and what the client was lifted by.
  double served(ClientId client) const { return clients_.at(client).served; }
  size_t size() const { return clients_.size(); }

 private:
  struct Client {
    std::string name;
    double served = 0.0;
    size_t num_open = 0, num_waiting = 0;
  };
  using ByService = std::set<std::pair<double, ClientId>>;

  std::unordered_map<ClientId, Client> clients_;
  std::unordered_map<std::string, ClientId> ids_;
  ByService waiting_, idle_;  // num_waiting > 0; num_open == 0
  double floor_ = 0.0;        // the counter of whoever left the queue last, when that emptied it
  uint64_t next_id_ = 1;
};

}  // namespace stet::sched
