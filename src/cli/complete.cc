#include <iostream>
#include <iterator>

#include "src/cli/answer.h"
#include "src/cli/client.h"
#include "src/cli/commands.h"
#include "stet/v1/inference.pb.h"

namespace stet::cli {

int run_complete(const CompleteCommand& command) {
  v1::GenerateRequest request;
  request.set_model(command.sampling.model);
  command.sampling.apply(request.mutable_sampling(), request.mutable_stop());
  if (command.prompt == "-") {
    request.set_text(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  } else {
    request.set_text(command.prompt);
  }
  Client client(command.address);
  AnswerPrinter printer(stdout);
  const Status status =
      client.generate(request, [&](const v1::GenerateResponse& event) { printer.on_event(event); });
  if (status.ok() || !printer.text().empty()) {
    std::fputs("\n", stdout);
  }
  if (!command.sampling.quiet && !printer.figures().empty()) {
    std::fprintf(stderr, "[%s]\n", printer.figures().c_str());
  }
  return report(status);
}

}  // namespace stet::cli
