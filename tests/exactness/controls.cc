// Negative controls: planted wrong orders. The suite must see every one of them; a suite that
// cannot fail proves nothing. Prints a table and fails if one passes unseen.   exactness_controls
#include <cstdio>

#include "tests/exactness/harness.h"
#include "tests/exactness/models.h"
#include "tests/support/wrong_kernels.h"

namespace stet::exactness {
namespace {

int run_controls() {
  const std::string model_name = "llama_q4_1";
  const auto model = tiny_model(model_name);
  const std::vector<Request> requests = mixed_requests(model->hyper.vocab_size, 1, 32);
  const RunResult reference = run(model, requests, reference_setting());
  int unseen = 0;
  std::printf("%-44s %-30s %s\n", "planted mistake", "first setting that shows it", "how");
  auto row = [&](const char* name, const kernels::KernelTable* table, bool expect_seen) {
    for (const Setting& setting : all_settings(table)) {
      const std::string difference =
          first_difference(reference.answers, run(model, requests, setting).answers);
      if (!difference.empty()) {
        std::printf("%-44s %-30s %s\n", name, setting.name.c_str(), difference.c_str());
        unseen += expect_seen ? 0 : 1;
        return;
      }
    }
    std::printf("%-44s %-30s %s\n", name, "-",
                expect_seen ? "NOT SEEN" : "all equal, as it must be");
    unseen += expect_seen ? 1 : 0;
  };
  row("none (the scalar table)", kernels::find_table("scalar"), false);
  for (const auto& wrong : kernels::wrong_kernel_tables()) {
    row(wrong.name, &wrong.table, true);
  }
  return unseen;
}

}  // namespace
}  // namespace stet::exactness

int main() {
  return stet::exactness::run_controls() == 0 ? 0 : 1;
}
