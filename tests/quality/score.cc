// Teacher-forced scores on the CPU backend, for quality.py: log-probability of the true next token
// and most likely token at every position.   stet_score --model FILE --tokens IDS.json [--isa NAME]
// (IDS: {name: [ids]}; prints the scores format of quality.py)
#include <cstdio>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "stet/executor/cpu_backend.h"
#include "stet/formats/tensor_index.h"
#include "stet/kernels/kernel_table.h"
#include "stet/model/model.h"

namespace {

using nlohmann::json;

// Position by position: a new sequence that shares the slots of all positions before it, may sample
// the true next token only, and asks for the most likely one beside it.
json score_text(stet::executor::CpuBackend* backend, uint64_t* step_number,
                const std::vector<uint32_t>& ids) {
  json result = {{"logprob", json::array()}, {"argmax", json::array()}};
  const uint32_t block_tokens = backend->info().block_tokens;
  stet::StepBatch batch;
  stet::StepResult step;
  for (uint32_t pos = 0; pos + 1 < ids.size(); ++pos) {
    batch.clear();
    batch.step = ++*step_number;
    const stet::SeqId seq{batch.step};
    if (pos > 0) {
      batch.kv_ops.push_back({.kind = stet::KvOpKind::kDestroy, .seq = {seq.v - 1}});
    }
    stet::NewSequence start{
        .seq = seq, .max_blocks = backend->info().num_blocks, .prompt_token_ids = {ids[pos]}};
    start.sampling.allowed_token_ids = {ids[pos + 1]};
    start.sampling.num_logprobs = 1;
    batch.new_sequences.push_back(start);
    for (uint32_t slot = 0; slot <= pos / block_tokens; ++slot) {
      batch.kv_slots.push_back({slot});
    }
    batch.kv_ops.push_back({.kind = stet::KvOpKind::kShare,
                            .seq = seq,
                            .num_slots = static_cast<uint32_t>(batch.kv_slots.size())});
    batch.token_ids = {ids[pos]};
    batch.rows.push_back({.seq = seq, .first_pos = pos, .n_pos = 1, .sample = true});
    backend->wait(backend->submit(batch), &step);
    const stet::SampledToken& token = step.sampled.at(0);
    result["logprob"].push_back(token.logprob);
    result["argmax"].push_back(step.top.at(token.top_offset).token_id);
  }
  batch.clear();
  batch.step = *step_number;
  batch.kv_ops.push_back({.kind = stet::KvOpKind::kDestroy, .seq = {*step_number}});
  backend->wait(backend->submit(batch), &step);
  return result;
}

// Exit codes as stetd's.
int run(const std::string& model_path, const std::string& tokens_path, const std::string& isa) {
  const stet::kernels::KernelTable* table =
      isa.empty() ? &stet::kernels::best_table() : stet::kernels::find_table(isa.c_str());
  if (table == nullptr || !stet::kernels::cpu_supports(*table)) {
    std::fprintf(stderr, "stet_score: --isa %s: no such kernel table for this CPU\n", isa.c_str());
    return 64;
  }
  auto index = stet::formats::open_gguf(model_path);
  if (!index.ok()) {
    std::fprintf(stderr, "stet_score: %s\n", index.status().message().c_str());
    return 66;
  }
  auto model = stet::model::load_model(*index, {.num_threads = 2});
  if (!model.ok()) {
    std::fprintf(stderr, "stet_score: %s\n", model.status().message().c_str());
    return 65;
  }
  auto backend = stet::executor::CpuBackend::create({.model = *model,
                                                     .table = table,
                                                     .num_threads = 2,
                                                     .num_blocks = 64,
                                                     .max_step_tokens = 64,
                                                     .max_sequences = 2});
  if (!backend.ok()) {
    std::fprintf(stderr, "stet_score: %s\n", backend.status().message().c_str());
    return 70;
  }
  std::ifstream file(tokens_path);
  const json texts = json::parse(file);
  json scores = {{"engine", "stet " + (*backend)->info().device}, {"texts", json::object()}};
  uint64_t step_number = 0;
  for (const auto& [name, ids] : texts.items()) {
    scores["texts"][name] =
        score_text(backend->get(), &step_number, ids.get<std::vector<uint32_t>>());
  }
  std::puts(scores.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, tokens, isa;
  CLI::App app("Teacher-forced scores on the CPU backend");
  app.add_option("--model", model, "GGUF file")->required();
  app.add_option("--tokens", tokens, "JSON file: {name: [ids]}")->required();
  app.add_option("--isa", isa, "kernel table; default: the best this CPU supports");
  CLI11_PARSE(app, argc, argv);
  return run(model, tokens, isa);
}
