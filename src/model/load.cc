// From a checked plan to a model in memory: packing, hashing and rope tables are jobs of one pool,
// so that loading takes as long as the longest of them needs on all threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "src/model/identity.h"
#include "src/model/parallel.h"
#include "src/model/rope.h"
#include "src/model/weight_memory.h"
#include "src/model/weight_plan.h"
#include "stet/kernels/pack.h"

namespace stet::model {
namespace {

using formats::TensorInfo;

constexpr uint64_t kPackBytesPerJob = uint64_t{1}
                                      << 20;  // some milliseconds: even shares without overhead
constexpr uint32_t kRopeRowsPerJob = 1024;

struct Job {
  enum class Kind : uint8_t { kHash, kPack, kVector, kRope } kind = Kind::kHash;
  uint32_t index = 0;  // tensor, weight or rope table
  uint32_t begin = 0;  // panels or positions
  uint32_t end = 0;
  uint64_t cost = 0;  // bytes of the file
};

class Loader {
 public:
  Loader(const formats::TensorIndex& index, ModelPlan plan, std::shared_ptr<WeightMemory> memory)
      : index_(index),
        plan_(std::move(plan)),
        memory_(std::move(memory)),
        digests_(index.tensors.size()) {
    for (size_t i = 0; i < plan_.params.rope_bases.size(); ++i) {
      rope_tables_.push_back(make_rope_table(plan_.params.hyper));
    }
  }

  Status run(const LoadOptions& options) {
    const std::vector<Job> jobs = make_jobs();
    std::function<void(size_t)> progress;
    if (options.progress) {
      progress = [&](size_t done) {
        options.progress(static_cast<double>(done) / static_cast<double>(jobs.size()));
      };
    }
    run_jobs(
        options.num_threads, jobs.size(), [&](size_t i) { run_job(jobs[i]); }, progress);
    const uint32_t bad = first_bad_weight_.load();
    if (bad != kNone) {
      const TensorInfo& tensor = *plan_.weights[bad].tensor;
      return data_loss("tensor '" + formats::printable(tensor.name) + "' (offset " +
                       std::to_string(tensor.file_offset) +
                       "): found a scale or value that is not finite, expected finite numbers");
    }
    return memory_->seal();
  }

  std::shared_ptr<const Model> finish() {
    auto model = std::make_shared<Model>();
    model->name = std::move(plan_.name);
    model->architecture = plan_.arch->name;
    model->quantisation = std::move(plan_.quantisation);
    model->hyper = plan_.params.hyper;
    model->recipe = plan_.arch->recipe();
    model->weight_bytes = plan_.weight_bytes;
    model->model_hash =
        compute_model_hash(index_, digests_, plan_.params, plan_.arch->name, rope_tables_);
    model->numerics_id = compute_numerics_id(model->model_hash);
    model->rope_tables = std::move(rope_tables_);
    model->layers.resize(plan_.params.layers.size());
    for (size_t i = 0; i < model->layers.size(); ++i) {
      model->layers[i].kind = plan_.params.layers[i];
    }
    for (const PlannedWeight& weight : plan_.weights) {
      if (weight.is_vector) {
        *vector_of(model.get(), weight) = {floats_at(weight.offset), weight.k};
      } else {
        *matrix_of(model.get(), weight) = packed(weight);
      }
    }
    if (model->hyper.tied_head) {
      model->head = model->embedding;
    }
    model->storage = memory_;
    return model;
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // Largest first: the last jobs to be handed out are short, so that threads end together.
  std::vector<Job> make_jobs() const {
    std::vector<Job> jobs;
    for (uint32_t i = 0; i < index_.tensors.size(); ++i) {
      // Hashing costs about as much per byte as packing.
      jobs.push_back(
          {.kind = Job::Kind::kHash, .index = i, .cost = index_.tensors[i].bytes.size()});
    }
    for (uint32_t i = 0; i < plan_.weights.size(); ++i) {
      const PlannedWeight& weight = plan_.weights[i];
      if (weight.is_vector) {
        jobs.push_back(
            {.kind = Job::Kind::kVector, .index = i, .cost = weight.tensor->bytes.size()});
        continue;
      }
      const uint32_t num_panels = kernels::round_up(weight.n, kernels::kPanel) / kernels::kPanel;
      const uint64_t panel_bytes = weight.tensor->bytes.size() / num_panels + 1;
      const auto step =
          static_cast<uint32_t>(std::max<uint64_t>(1, kPackBytesPerJob / panel_bytes));
      for (uint32_t begin = 0; begin < num_panels; begin += step) {
        const uint32_t end = std::min(begin + step, num_panels);
        jobs.push_back({Job::Kind::kPack, i, begin, end, (end - begin) * panel_bytes});
      }
    }
    const uint32_t context = plan_.params.hyper.context_len;
    for (uint32_t i = 0; i < rope_tables_.size(); ++i) {
      for (uint32_t begin = 0; begin < context; begin += kRopeRowsPerJob) {
        const uint32_t end = std::min(begin + kRopeRowsPerJob, context);
        jobs.push_back({Job::Kind::kRope, i, begin, end,
                        uint64_t{end - begin} * plan_.params.hyper.rope_dim * 32});
      }
    }
    std::stable_sort(jobs.begin(), jobs.end(),
                     [](const Job& a, const Job& b) { return a.cost > b.cost; });
    return jobs;
  }

  void run_job(const Job& job) {
    switch (job.kind) {
      case Job::Kind::kHash: digests_[job.index] = sha256(index_.tensors[job.index].bytes); return;
      case Job::Kind::kRope:
        fill_rope_rows(plan_.params.hyper, plan_.params.rope_bases[job.index], plan_.rope_factors,
                       job.begin, job.end, &rope_tables_[job.index]);
        return;
      case Job::Kind::kVector: {
        const PlannedWeight& weight = plan_.weights[job.index];
        check(job.index, copy_floats(*weight.tensor, weight.k, weight.offset));
        return;
      }
      case Job::Kind::kPack: {
        const PlannedWeight& weight = plan_.weights[job.index];
        check(job.index,
              kernels::pack_panels(weight.type, weight.tensor->bytes.data(), weight.n, weight.k,
                                   job.begin, job.end, memory_->data() + weight.offset));
        if (weight.bias != nullptr && job.begin == 0) {
          check(job.index, copy_floats(*weight.bias, weight.n, weight.bias_offset));
        }
        return;
      }
    }
  }

  // Values as f32 (exact for all float types). False if one is not finite.
  bool copy_floats(const TensorInfo& tensor, uint32_t count, uint64_t offset) {
    kernels::WeightType type = kernels::WeightType::kF32;
    if (tensor.type == formats::TensorType::kF16) {
      type = kernels::WeightType::kF16;
    } else if (tensor.type == formats::TensorType::kBF16) {
      type = kernels::WeightType::kBF16;
    }
    float* out = floats_at(offset);
    bool finite = true;
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = kernels::file_weight(type, tensor.bytes.data(), count, 0, i);
      finite = finite && std::isfinite(out[i]);
    }
    return finite;
  }

  // Keeps the first bad weight in plan order, whichever thread finds it.
  void check(uint32_t weight, bool good) {
    uint32_t seen = first_bad_weight_.load();
    while (!good && weight < seen && !first_bad_weight_.compare_exchange_weak(seen, weight)) {
    }
  }

  float* floats_at(uint64_t offset) const {
    return reinterpret_cast<float*>(memory_->data() + offset);
  }

  kernels::PackedMatrix packed(const PlannedWeight& weight) const {
    kernels::PackedMatrix matrix;
    matrix.type = weight.type;
    matrix.n = weight.n;
    matrix.k = weight.k;
    matrix.panels = memory_->data() + weight.offset;
    matrix.bias = weight.bias != nullptr ? floats_at(weight.bias_offset) : nullptr;
    return matrix;
  }

  static std::span<const float>* vector_of(Model* model, const PlannedWeight& weight) {
    if (weight.role == WeightRole::kOutputNorm) {
      return &model->output_norm;
    }
    Layer& layer = model->layers[weight.layer];
    switch (weight.role) {
      case WeightRole::kAttnNorm: return &layer.attn_norm;
      case WeightRole::kQNorm: return &layer.q_norm;
      case WeightRole::kKNorm: return &layer.k_norm;
      case WeightRole::kAttnPostNorm: return &layer.attn_post_norm;
      case WeightRole::kFfnNorm: return &layer.ffn_norm;
      case WeightRole::kFfnPostNorm: return &layer.ffn_post_norm;
      default: break;
    }
    STET_CHECK(false, "a vector role has a place in Layer");
    return nullptr;
  }

  static kernels::PackedMatrix* matrix_of(Model* model, const PlannedWeight& weight) {
    if (weight.layer == PlannedWeight::kModelWide) {
      return weight.role == WeightRole::kEmbedding ? &model->embedding : &model->head;
    }
    Layer& layer = model->layers[weight.layer];
    switch (weight.role) {
      case WeightRole::kQ: return &layer.q;
      case WeightRole::kK: return &layer.k;
      case WeightRole::kV: return &layer.v;
      case WeightRole::kAttnOut: return &layer.attn_out;
      case WeightRole::kGate: return &layer.gate;
      case WeightRole::kUp: return &layer.up;
      case WeightRole::kDown: return &layer.down;
      default: break;
    }
    STET_CHECK(false, "a matrix role has a place in Layer");
    return nullptr;
  }

  const formats::TensorIndex& index_;
  ModelPlan plan_;
  std::shared_ptr<WeightMemory> memory_;
  std::vector<Sha256Digest> digests_;  // [tensors], file order
  std::vector<RopeTable> rope_tables_;
  std::atomic<uint32_t> first_bad_weight_{kNone};
};

}  // namespace

Result<std::shared_ptr<const Model>> load_model(const formats::TensorIndex& index,
                                                const LoadOptions& options) {
  STET_ASSIGN_OR_RETURN(ModelPlan plan, plan_model(index));
  STET_RETURN_IF_ERROR(verify_non_interference(plan.arch->recipe()));
  STET_ASSIGN_OR_RETURN(std::shared_ptr<WeightMemory> memory,
                        WeightMemory::create(plan.weight_bytes));
  Loader loader(index, std::move(plan), std::move(memory));
  STET_RETURN_IF_ERROR(loader.run(options));
  return loader.finish();
}

}  // namespace stet::model
