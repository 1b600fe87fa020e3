// Teacher-forced scores on the CPU backend, for quality.py: log-probability of the true next token and most likely token at every
// position.   stet_score --model FILE --tokens IDS.json   (IDS: {name: [ids]}; prints the scores format of quality.py)
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "stet/executor/cpu_backend.h"
#include "stet/formats/tensor_index.h"
#include "stet/kernels/kernel_table.h"
#include "stet/model/model.h"

namespace {

using nlohmann::json;

// Feeds `ids` one position at a time and asks for the whole distribution of each.
json score_text(stet::executor::CpuBackend* backend, uint64_t seq, const std::vector<uint32_t>& ids,
                uint32_t vocab_size) {
  json result = {{"logprob", json::array()}, {"argmax", json::array()}};
  stet::StepBatch batch;
  stet::StepResult step;
  uint32_t num_slots = 0;
  for (uint32_t pos = 0; pos + 1 < ids.size(); ++pos) {
    batch.clear();
    batch.step += 1;
    if (pos == 0) {
      stet::NewSequence start{.seq = {seq}, .max_blocks = backend->info().num_blocks, .prompt_token_ids = {ids[0]}};
      start.sampling.temperature = 0.0f;
      start.sampling.num_logprobs = vocab_size;
      batch.new_sequences.push_back(start);
    }
    if (pos % backend->info().block_tokens == 0) {
      batch.kv_slots = {{num_slots++}};
      batch.kv_ops.push_back({.kind = stet::KvOpKind::kAppend, .seq = {seq}, .num_slots = 1});
    }
    batch.token_ids = {ids[pos]};
    batch.rows.push_back({.seq = {seq}, .first_pos = pos, .n_pos = 1, .sample = true});
    backend->wait(backend->submit(batch), &step);
    const stet::SampledToken& token = step.sampled.at(0);
    for (uint32_t i = 0; i < token.num_top; ++i) {
      const stet::TopLogprob& top = step.top[token.top_offset + i];
      if (top.token_id == ids[pos + 1]) {
        result["logprob"].push_back(top.logprob);
      }
    }
    result["argmax"].push_back(token.token_id);
  }
  batch.clear();
  batch.step += 1;
  batch.kv_ops.push_back({.kind = stet::KvOpKind::kDestroy, .seq = {seq}});
  backend->wait(backend->submit(batch), &step);
  return result;
}

int run(const std::string& model_path, const std::string& tokens_path) {
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
  auto backend = stet::executor::CpuBackend::create(
      {.model = *model, .num_threads = 2, .num_blocks = 64, .max_step_tokens = 64, .max_sequences = 2});
  if (!backend.ok()) {
    std::fprintf(stderr, "stet_score: %s\n", backend.status().message().c_str());
    return 70;
  }
  std::ifstream file(tokens_path);
  const json texts = json::parse(file);
  json scores = {{"engine", "stet " + (*backend)->info().device}, {"texts", json::object()}};
  uint64_t seq = 0;
  for (const auto& [name, ids] : texts.items()) {
    scores["texts"][name] =
        score_text(backend->get(), ++seq, ids.get<std::vector<uint32_t>>(), (*model)->hyper.vocab_size);
  }
  std::puts(scores.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 || std::strcmp(argv[1], "--model") != 0 || std::strcmp(argv[3], "--tokens") != 0) {
    std::fprintf(stderr, "usage: stet_score --model FILE --tokens IDS.json\n");
    return 64;
  }
  return run(argv[2], argv[4]);
}
