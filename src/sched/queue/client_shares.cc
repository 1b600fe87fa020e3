#include "stet/sched/client_shares.h"

#include <algorithm>

#include "stet/base/check.h"

namespace stet::sched {

ClientShares::ClientShares() {
  clients_.emplace(kAnonymous, Client{.num_open = 1});  // never idle, so never forgotten
  ids_.emplace("", kAnonymous);
}

ClientId ClientShares::open(std::string_view name) {
  const auto [it, is_new] = ids_.try_emplace(std::string(name), ClientId{next_id_});
  const ClientId id = it->second;
  if (is_new) {
    ++next_id_;
    clients_.emplace(id, Client{.name = it->first});
  }
  Client& client = clients_.at(id);
  if (client.num_open++ == 0) {
    idle_.erase({client.served, id});
  }
  return id;
}

void ClientShares::close(ClientId id) {
  Client& client = clients_.at(id);
  STET_CHECK(client.num_open > 0, "a request ends once");
  if (--client.num_open > 0) {
    return;
  }
  idle_.emplace(client.served, id);
  if (idle_.size() <= kMaxIdle) {
    return;
  }
  const auto forgotten = clients_.find(idle_.begin()->second);
  ids_.erase(forgotten->second.name);
  clients_.erase(forgotten);
  idle_.erase(idle_.begin());
}

void ClientShares::charge(ClientId id, double prefill_token_equivalents) {
  Client& client = clients_.at(id);
  const double before = client.served;
  client.served += prefill_token_equivalents;
  if (client.num_waiting > 0) {
    waiting_.erase({before, id});
    waiting_.emplace(client.served, id);
  }
}

void ClientShares::begin_waiting(ClientId id) {
  Client& client = clients_.at(id);
  STET_CHECK(client.num_open > 0, "only accepted requests wait");
  if (client.num_waiting++ > 0) {
    return;
  }
  client.served = std::max(client.served, waiting_.empty() ? floor_ : waiting_.begin()->first);
  waiting_.emplace(client.served, id);
}

void ClientShares::end_waiting(ClientId id) {
  Client& client = clients_.at(id);
  STET_CHECK(client.num_waiting > 0, "only who waits can leave the queue");
  if (--client.num_waiting > 0) {
    return;
  }
  waiting_.erase({client.served, id});
  if (waiting_.empty()) {
    floor_ = client.served;
  }
}

}  // namespace stet::sched
