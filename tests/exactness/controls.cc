// Negative controls: planted wrong orders. The suite must see every one of them; a suite that
// cannot fail proves nothing. Prints a table and fails if one passes unseen.   exactness_controls
#include <cstdio>
#include <memory>
#include <vector>

#include "tests/exactness/harness.h"
#include "tests/exactness/models.h"
#include "tests/support/wrong_group.h"

namespace stet::exactness {
namespace {

// Requests, how they are run, and the answers that must come out.
struct Suite {
  std::shared_ptr<const model::Model> model;
  std::vector<Request> requests;
  std::vector<Setting> (*settings)(const kernels::KernelTable* table);
  RunResult reference;
};

Suite make_suite(std::vector<Request> (*requests)(uint32_t vocab_size),
                 std::vector<Setting> (*settings)(const kernels::KernelTable* table)) {
  Suite suite{tiny_model("llama_q4_1"), {}, settings, {}};
  suite.requests = requests(suite.model->hyper.vocab_size);
  suite.reference = run(suite.model, suite.requests, reference_setting());
  return suite;
}

// 1 if the outcome is not the expected one.
int try_table(const Suite& suite, const char* name, const kernels::KernelTable* table,
              bool expect_seen) {
  for (const Setting& setting : suite.settings(table)) {
    const std::string difference = first_difference(
        suite.reference.answers, run(suite.model, suite.requests, setting).answers);
    if (!difference.empty()) {
      std::printf("%-50s %-30s %s\n", name, setting.name.c_str(), difference.c_str());
      return expect_seen ? 0 : 1;
    }
  }
  std::printf("%-50s %-30s %s\n", name, "-", expect_seen ? "NOT SEEN" : "all equal, as it must be");
  return expect_seen ? 1 : 0;
}

int run_controls() {
  int unseen = 0;
  std::printf("%-50s %-30s %s\n", "planted mistake", "first setting that shows it", "how");
  const Suite mixed =
      make_suite([](uint32_t vocab) { return mixed_requests(vocab, 1, 32); }, all_settings);
  unseen += try_table(mixed, "none (the scalar table)", kernels::find_table("scalar"), false);
  for (const auto& wrong : kernels::wrong_kernel_tables()) {
    unseen += try_table(mixed, wrong.name, &wrong.table, true);
  }
  const Suite shared =
      make_suite([](uint32_t vocab) { return shared_prefix_requests(vocab, 3); }, group_settings);
  unseen += try_table(shared, "none (shared prefixes)", &kernels::best_table(), false);
  for (const auto& wrong : kernels::wrong_group_tables()) {
    unseen += try_table(shared, wrong.name, &wrong.table, true);
  }
  return unseen;
}

}  // namespace
}  // namespace stet::exactness

int main() {
  return stet::exactness::run_controls() == 0 ? 0 : 1;
}
