#include "stet/sched/programs.h"

#include <algorithm>
#include <cstring>

namespace stet::sched {
namespace {

// A tenant's name in front: programs and tools of two tenants are never the same.
std::string name_of(std::string_view tenant, std::string_view name) {
  std::string key(tenant);
  key += '\0';
  key += name;
  return key;
}

uint64_t key_of(const Sha256Digest& hash) {
  uint64_t key = 0;
  std::memcpy(&key, hash.data(), sizeof key);
  return key;
}

}  // namespace

Programs::Turn Programs::begin_turn(std::string_view tenant, const ProgramHints& hints,
                                    std::span<const Sha256Digest> chain, uint64_t now_us) {
  ProgramId id = find(tenant, hints, chain);
  if (id == ProgramId{}) {
    if (hints.program_id.empty() && !hints.expects_followup) {
      return {.arrival_us = now_us};
    }
    id = create(tenant, hints, now_us);
  }
  Program& program = programs_.at(id);
  touch(id, &program);
  come(hints, now_us, &program);
  return {.program = id, .arrival_us = program.arrival_us};
}

KeepTime Programs::keep(std::string_view tenant, const ProgramHints& hints,
                        const KeepTerms& terms) const {
  if (hints.expected_gap_us == 0) {
    const auto tool = tools_.find(name_of(tenant, hints.tool_name));
    if (tool != tools_.end() && tool->second.gaps.enough()) {
      return keep_time(tool->second.gaps.sorted(), terms);
    }
  }
  // What the client expects, with as much again for what it cannot know.
  const uint64_t gap_us = hints.expected_gap_us == 0 ? kDefaultGapUs : 2 * hints.expected_gap_us;
  return keep_time({&gap_us, 1}, terms);
}

void Programs::expect_followup(ProgramId id, const ProgramHints& hints,
                               std::span<const Sha256Digest> chain, kv::PinId pin,
                               uint64_t now_us) {
  const auto it = programs_.find(id);
  if (it == programs_.end()) {
    return;  // forgotten while the turn ran
  }
  Program& program = it->second;
  touch(id, &program);
  program.turn_ended_us = std::max<uint64_t>(now_us, 1);
  program.tool = name_of(program.tenant, hints.tool_name);
  program.pin = pin;
  if (program.name.empty() && !chain.empty()) {
    program.chain_key = key_of(chain.back());
    by_chain_[program.chain_key] = id;
  }
}

kv::PinId Programs::take_pin(ProgramId id) {
  const auto it = programs_.find(id);
  return it == programs_.end() ? kv::PinId{} : std::exchange(it->second.pin, {});
}

kv::PinId Programs::end(ProgramId id) {
  const auto it = programs_.find(id);
  if (it == programs_.end()) {
    return {};
  }
  const Program& program = it->second;
  const kv::PinId pin = program.pin;
  const auto chain = by_chain_.find(program.chain_key);
  if (chain != by_chain_.end() && chain->second == id) {
    by_chain_.erase(chain);
  }
  by_use_.erase({program.used_at, id});
  ids_.erase(program.name);
  programs_.erase(it);
  return pin;
}

ProgramId Programs::find(std::string_view tenant, const ProgramHints& hints,
                         std::span<const Sha256Digest> chain) const {
  if (!hints.program_id.empty()) {
    const auto it = ids_.find(name_of(tenant, hints.program_id));
    return it == ids_.end() ? ProgramId{} : it->second;
  }
  for (auto hash = chain.rbegin(); !by_chain_.empty() && hash != chain.rend(); ++hash) {
    const auto it = by_chain_.find(key_of(*hash));
    if (it != by_chain_.end() && programs_.at(it->second).tenant == tenant) {
      return it->second;
    }
  }
  return {};
}

ProgramId Programs::create(std::string_view tenant, const ProgramHints& hints, uint64_t now_us) {
  if (programs_.size() == kMostPrograms) {
    const ProgramId oldest = by_use_.begin()->second;
    const Program& program = programs_.at(oldest);
    if (program.turn_ended_us != 0) {
      learn_gap(program, now_us);  // its follow-up takes longer than this
    }
    end(oldest);
  }
  const ProgramId id{next_id_++};
  Program program{.name = {}, .tenant = std::string(tenant), .arrival_us = now_us};
  if (!hints.program_id.empty()) {
    program.name = name_of(tenant, hints.program_id);
    ids_.emplace(program.name, id);
  }
  by_use_.emplace(0, id);
  programs_.emplace(id, std::move(program));
  return id;
}

void Programs::touch(ProgramId id, Program* program) {
  by_use_.erase({program->used_at, id});
  program->used_at = ++num_uses_;
  by_use_.emplace(program->used_at, id);
}

// A turn that is not larger than the last one is the last one again, and whoever expects its
// follow-up still does.
void Programs::come(const ProgramHints& hints, uint64_t now_us, Program* program) {
  if (hints.turn != 0 && hints.turn <= program->last_turn) {
    return;
  }
  program->last_turn = hints.turn != 0 ? hints.turn : program->last_turn;
  if (program->turn_ended_us == 0) {
    return;
  }
  learn_gap(*program, now_us);
  program->turn_ended_us = 0;
  by_chain_.erase(std::exchange(program->chain_key, 0));
}

// A follow-up may have been submitted while the step ran that ended the turn.
void Programs::learn_gap(const Program& program, uint64_t now_us) {
  const uint64_t gap_us = now_us - std::min(now_us, program.turn_ended_us);
  const auto [it, is_new] = tools_.try_emplace(program.tool);
  if (!is_new) {
    tools_by_use_.erase({it->second.used_at, it->first});
  }
  it->second.gaps.add(gap_us);
  it->second.used_at = ++num_uses_;
  tools_by_use_.emplace(it->second.used_at, it->first);
  if (tools_.size() > kMostTools) {
    tools_.erase(tools_by_use_.begin()->second);
    tools_by_use_.erase(tools_by_use_.begin());
  }
}

}  // namespace stet::sched
