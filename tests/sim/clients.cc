#include "tests/sim/clients.h"

#include <algorithm>
#include <utility>

namespace stet::sim {

using engine::CommandKind;
using engine::EngineEvent;
using engine::EngineEventKind;
using engine::Refusal;

Clients::Clients(const WorldConfig* world, const executor::FakeModel* model, Planted planted,
                 Coverage* coverage)
    : world_(world), model_(model), planted_(planted), coverage_(coverage) {
  for (const ClientPlan& plan : world->clients) {
    Client& c = clients_.emplace_back();
    c.plan = &plan;
    for (uint32_t i = 0; i < plan.request.num_choices; ++i) {
      Choice& choice = c.choices.emplace_back();
      choice.expected = model->solo(plan.request, i);
      choice.num_tokens = static_cast<uint32_t>(plan.request.output_token_ids.size());
    }
  }
}

std::string Clients::name(const Client& c) const {
  return "client " + std::to_string(&c - clients_.data()) + " (request " + std::to_string(c.id.v) +
         ")";
}

uint32_t Clients::Client::num_tokens() const {
  uint32_t sum = 0;
  for (const Choice& choice : choices) {
    sum += choice.num_tokens - static_cast<uint32_t>(plan->request.output_token_ids.size());
  }
  return sum;
}

// ---- orders

void Clients::act(engine::EngineCore* core, uint64_t now_us) {
  for (Client& c : clients_) {
    if (!c.submitted && now_us >= c.plan->arrival_us) {
      submit(core, c);
    }
    if (c.submitted && !c.refused && c.num_ends == 0) {
      give_orders(core, c, now_us);
    }
  }
}

void Clients::submit(engine::EngineCore* core, Client& c) {
  c.submitted = true;
  Request request = c.plan->request;
  if (planted_ == Planted::kNamespacesMixed) {
    request.cache_namespace = {};
  }
  const engine::Submission s = core->submit(std::move(request));
  c.refused = s.refusal != Refusal::kNone;
  coverage_->refused_full += s.refusal == Refusal::kQueueFull ? 1 : 0;
  coverage_->refused_never += s.refusal == Refusal::kNeverFits ? 1 : 0;
  coverage_->refused_draining += s.refusal == Refusal::kDraining ? 1 : 0;
  const uint64_t total =
      c.plan->request.prompt_token_ids.size() + c.plan->request.sampling.max_tokens;
  if ((s.refusal == Refusal::kNeverFits) != (total > core->max_model_len())) {
    fail(name(c) + ": refusal does not follow the lengths");
  }
  if (!c.refused) {
    c.id = s.id;
    by_id_[s.id] = static_cast<size_t>(&c - clients_.data());
    coverage_->resumes += c.plan->request.output_token_ids.empty() ? 0 : 1;
  }
}

void Clients::give_orders(engine::EngineCore* core, Client& c, uint64_t now_us) {
  const ClientPlan& plan = *c.plan;
  const uint32_t tokens = c.num_tokens();
  const bool cancel = (plan.cancel_at_us != 0 && now_us >= plan.cancel_at_us) ||
                      (plan.cancel_after_tokens != 0 && tokens >= plan.cancel_after_tokens);
  if (cancel && !c.cancel_ordered) {
    c.cancel_ordered = true;
    if (planted_ != Planted::kCancelIgnored) {
      core->push(CommandKind::kCancel, c.id);
    }
  }
  Choice& choice = c.choices[plan.finish_choice];
  if (plan.finish_after_tokens != 0 && choice.num_tokens >= plan.finish_after_tokens &&
      !choice.finish_ordered && !choice.finished) {
    choice.finish_ordered = true;
    core->push(CommandKind::kFinishChoice, c.id, plan.finish_choice);
    ++coverage_->finished_by_client;
  }
  if (plan.park_after_tokens != 0 && tokens >= plan.park_after_tokens && !c.has_parked) {
    c.parked = c.has_parked = true;
    c.unpark_at_us = now_us + plan.unpark_after_us;
    core->push(CommandKind::kPark, c.id);
    ++coverage_->parks;
  }
  if (c.parked && now_us >= c.unpark_at_us) {
    c.parked = c.park_due = false;
    core->push(CommandKind::kUnpark, c.id);
  }
}

void Clients::check_orders() {
  for (Client& c : clients_) {
    if (c.id.v == 0 || c.num_ends != 0) {
      continue;
    }
    if (c.cancel_ordered) {
      fail(name(c) + " lives on after a border since its cancel");
    }
    c.park_due = c.parked;
    for (Choice& choice : c.choices) {
      choice.finish_due = choice.finish_ordered;
    }
  }
}

bool Clients::all_ended() const {
  return std::all_of(clients_.begin(), clients_.end(),
                     [](const Client& c) { return c.submitted && (c.refused || c.num_ends > 0); });
}

uint64_t Clients::next_event_us(uint64_t now_us) const {
  uint64_t next = UINT64_MAX;
  const auto consider = [&](uint64_t at_us) {
    if (at_us > now_us) {
      next = std::min(next, at_us);
    }
  };
  for (const Client& c : clients_) {
    if (!c.submitted) {
      consider(c.plan->arrival_us);
    } else if (c.num_ends == 0 && !c.refused) {
      consider(c.plan->cancel_at_us);
      consider(c.plan->request.deadline_us);
      consider(c.parked ? c.unpark_at_us : 0);
      consider(c.plan->arrival_us + world_->options.queue_timeout_us);
    }
  }
  return next;
}

// ---- events

void Clients::on_events(std::vector<EngineEvent> events) {
  for (EngineEvent& event : events) {
    const auto it = by_id_.find(event.request);
    if (it == by_id_.end()) {
      fail("an event of a request that nobody sent");
      continue;
    }
    Client& c = clients_[it->second];
    if (c.num_ends != 0) {
      fail(name(c) + ": an event after its end");
    }
    if (event.kind != EngineEventKind::kRequestEnded) {
      take_tokens(c, event);
    } else if (planted_ != Planted::kEndLost || event.request.v % 3 != 0) {
      if (planted_ == Planted::kEndTwice) {
        take_end(c, event);
      }
      take_end(c, std::move(event));
    }
  }
}

void Clients::take_tokens(Client& c, const EngineEvent& event) {
  Choice& choice = c.choices.at(event.choice);
  const std::vector<uint32_t>& expected = choice.expected.output_token_ids;
  if (choice.finished || choice.finish_due || c.park_due) {
    fail(name(c) + ": tokens after the choice ended, or while the reader is parked");
  }
  if (event.first_output_pos != choice.num_tokens) {
    fail(name(c) + ": a gap in the tokens of a choice");
  }
  for (const engine::EngineToken& token : event.tokens) {
    ++coverage_->tokens;
    if (choice.num_tokens >= expected.size() || token.token_id != expected[choice.num_tokens]) {
      fail(name(c) + ": token " + std::to_string(choice.num_tokens) + " of choice " +
           std::to_string(event.choice) + " is not that of its solo run");
    }
    if (token.top.size() != c.plan->request.sampling.num_logprobs.value_or(0)) {
      fail(name(c) + ": wrong number of log-probabilities");
    }
    ++choice.num_tokens;
  }
  if (event.kind == EngineEventKind::kChoiceFinished) {
    choice.finished = true;
    if (choice.num_tokens != expected.size() || event.reason != choice.expected.reason ||
        event.stop_token_id != choice.expected.stop_token_id) {
      // A resumed run that was complete says so without tokens.
      fail(name(c) + ": finished with the wrong reason, or before its last token");
    }
  }
}

void Clients::take_end(Client& c, EngineEvent event) {
  if (++c.num_ends > 1) {
    fail(name(c) + " ended twice");
  }
  c.end = std::move(event);
  check_end(c);
}

// ---- what every ending must mean

void Clients::check_end(const Client& c) {
  const EngineEvent& end = c.end;
  const std::string& reason = end.error_reason;
  bool right = false;
  switch (end.status.code()) {
    case StatusCode::kOk: ++coverage_->completed; return check_complete(c);
    case StatusCode::kCancelled:
      right = c.cancel_ordered && reason == "cancelled";
      ++coverage_->cancelled;
      break;
    case StatusCode::kDeadlineExceeded:
      if (reason == "queue_timeout") {
        ++coverage_->queue_timeouts;
        right = end.times.first_scheduled_us == 0 &&
                end.times.ended_us >= end.times.submitted_us + world_->options.queue_timeout_us;
      } else {
        ++coverage_->expired;
        right = reason == "deadline_exceeded" && c.plan->request.deadline_us != 0 &&
                end.times.ended_us >= c.plan->request.deadline_us;
      }
      break;
    case StatusCode::kInternal:
      right = reason == "non_finite" &&
              std::any_of(c.choices.begin(), c.choices.end(), [](const Choice& choice) {
                return choice.expected.faulted &&
                       choice.num_tokens == choice.expected.output_token_ids.size();
              });
      break;
    case StatusCode::kUnavailable:
      right = reason == "drain_timeout" && world_->abort_at_us != 0;
      ++coverage_->aborted;
      break;
    default: break;
  }
  if (!right) {
    fail(name(c) + " ended without cause: " + end.status.to_string() + " (" + reason + ")");
  }
}

void Clients::check_complete(const Client& c) {
  for (const Choice& choice : c.choices) {
    if (!choice.finished && !choice.finish_ordered) {
      fail(name(c) + " ended OK with an unfinished choice");
    }
  }
}

void Clients::check_at_end(const engine::EngineCore& core) {
  for (const Client& c : clients_) {
    if (c.submitted && !c.refused) {
      if (c.num_ends != 1) {
        fail(name(c) + " has " + std::to_string(c.num_ends) + " ends");
      }
      check_cached(c);
      coverage_->cached_tokens += c.end.cached_prompt_tokens;
      if (world_->options.policy == "fcfs_conservative" && c.end.num_preemptions != 0) {
        fail(name(c) + " was preempted under conservative admission");
      }
      if (predicts(*world_) && world_->true_lengths && c.end.num_preemptions != 0) {
        fail(name(c) + " was preempted though every length was known");
      }
      if (predicts(*world_) && c.end.num_preemptions > 3 * c.plan->request.num_choices) {
        fail(name(c) +
             " was preempted more than three times per choice");  // scheduler.md sec. 8, 4
      }
    }
  }
  const engine::EngineStats stats = core.stats();
  if (stats.accepted != by_id_.size() || stats.ended != by_id_.size()) {
    fail("the ledger does not count the requests that were accepted");
  }
  check_order_of_start();
}

// Of the tokens that `mine` begins with, how many one of the other's choices may come to know too.
size_t Clients::shared_tokens(const Client& other, const Request& mine) {
  std::vector<uint32_t> first = mine.prompt_token_ids;
  first.insert(first.end(), mine.output_token_ids.begin(), mine.output_token_ids.end());
  size_t longest = 0;
  for (const Choice& choice : other.choices) {
    std::vector<uint32_t> known = other.plan->request.prompt_token_ids;
    known.insert(known.end(), choice.expected.output_token_ids.begin(),
                 choice.expected.output_token_ids.end());
    const auto [a, b] = std::mismatch(known.begin(), known.end(), first.begin(), first.end());
    longest = std::max<size_t>(longest, static_cast<size_t>(a - known.begin()));
  }
  return longest;
}

// Cached tokens must have been computed for somebody of the same namespace.
void Clients::check_cached(const Client& c) {
  const Request& mine = c.plan->request;
  size_t longest = 0;
  for (const Client& other : clients_) {
    if (other.id.v != 0 && &other != &c &&
        other.plan->request.cache_namespace == mine.cache_namespace) {
      longest = std::max(longest, shared_tokens(other, mine));
    }
  }
  if (c.end.cached_prompt_tokens > longest) {
    fail(name(c) + ": more cached tokens than anybody of its namespace could have left");
  }
}

// Whoever parked, has another priority, missed its TTFT target or may have followed a prefix that
// somebody else computed - anybody's, where hashes collide.
bool Clients::may_be_overtaken(const Client& c) const {
  const Request& mine = c.plan->request;
  const uint64_t target =
      mine.ttft_target_us != 0 ? mine.ttft_target_us : world_->options.ttft_target_us;
  const bool late =
      target != 0 && c.end.times.first_scheduled_us >= c.end.times.submitted_us + target;
  const bool anybody_may_follow =
      world_->short_hash && world_->options.min_follow_tokens < (1U << 20);
  if (c.has_parked || mine.priority_class != 4 || late || anybody_may_follow) {
    return true;
  }
  return std::any_of(clients_.begin(), clients_.end(), [&](const Client& other) {
    return &other != &c && shared_tokens(other, mine) >= world_->options.min_follow_tokens;
  });
}

// A turn of a program that began before, or a continuation of a turn that named no program.
bool Clients::may_belong_to_a_program(const Client& c) const {
  return !c.plan->request.program.program_id.empty() ||
         std::any_of(clients_.begin(), clients_.end(), [](const Client& other) {
           const ProgramHints& hints = other.plan->request.program;
           return hints.expects_followup && hints.program_id.empty();
         });
}

// Otherwise nobody of the same tenant who came later starts earlier - or, under a policy that
// groups, nobody of a later window of the same service class. The order of turns has its tests in
// tests/engine/programs_test.cc. Under `sla` time is what decides.
void Clients::check_order_of_start() {
  if (world_->options.policy == "sla") {
    return;  // by slack, not by arrival
  }
  const bool groups = world_->options.policy == "prefix_group";
  const auto window = [&](const Client* c) {
    const uint64_t at = c->end.times.submitted_us;
    return !groups ? at
           : c->plan->request.service_class == ServiceClass::kBatch
               ? UINT64_MAX
               : at / world_->options.group_window_us;
  };
  std::vector<const Client*> started;
  for (const Client& c : clients_) {
    if (c.end.times.first_scheduled_us != 0 && !may_be_overtaken(c)) {
      started.push_back(&c);
    }
  }
  for (size_t i = 0; i < started.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      const bool overtook =
          started[i]->end.times.first_scheduled_us < started[k]->end.times.first_scheduled_us;
      const bool was_there =
          started[i]->end.times.first_scheduled_us >= started[k]->end.times.submitted_us;
      const bool same_tenant = started[i]->plan->request.tenant == started[k]->plan->request.tenant;
      if (overtook && was_there && same_tenant && !may_belong_to_a_program(*started[i]) &&
          window(started[i]) >= window(started[k]) &&
          (!groups || window(started[i]) != window(started[k]))) {
        fail(name(*started[i]) + " started before one that came earlier");
      }
    }
  }
}

}  // namespace stet::sim
