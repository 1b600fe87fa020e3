#include <unistd.h>

#include <iostream>
#include <string>

#include "src/cli/answer.h"
#include "src/cli/client.h"
#include "src/cli/commands.h"
#include "src/cli/interrupt.h"
#include "stet/v1/inference.pb.h"

namespace stet::cli {
namespace {

void add_message(const char* role, const std::string& text, v1::ChatRequest* request) {
  v1::ChatMessage* message = request->add_messages();
  message->set_role(role);
  message->add_content()->set_text(text);
}

// Sends the conversation so far; on success the answer becomes part of it.
Status take_turn(Client* client, bool show_figures, v1::ChatRequest* request) {
  AnswerPrinter printer(stdout);
  Status status =
      client->chat(*request, [&](const v1::GenerateResponse& event) { printer.on_event(event); });
  if (status.ok() || !printer.text().empty()) {
    std::fputs("\n", stdout);
  }
  std::fflush(stdout);
  if (show_figures && !printer.figures().empty()) {
    std::fprintf(stderr, "[%s]\n", printer.figures().c_str());
  }
  if (status.ok() || (status.code() == StatusCode::kCancelled && !printer.text().empty())) {
    add_message("assistant", printer.text(), request);
    return {};
  }
  request->mutable_messages()->RemoveLast();  // the question that got no answer
  return status;
}

class Conversation {
 public:
  Conversation(const ChatCommand& command, Client* client) : command_(command), client_(client) {
    restart();
  }

  Status say(const std::string& text) {
    add_message("user", text, &request_);
    return take_turn(client_, !command_.sampling.quiet, &request_);
  }
  void restart() {
    request_.Clear();
    request_.set_model(command_.sampling.model);
    command_.sampling.apply(request_.mutable_sampling(), request_.mutable_stop());
    if (!command_.system.empty()) {
      add_message("system", command_.system, &request_);
    }
  }

 private:
  const ChatCommand& command_;
  Client* const client_;
  v1::ChatRequest request_;
};

int converse(Conversation* conversation) {
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) {
    std::fputs("Ctrl-C ends an answer, /clear forgets the conversation, /exit or Ctrl-D leaves.\n",
               stderr);
  }
  int last = kExitOk;
  std::string line;
  while (true) {
    if (terminal) {
      std::fputs("> ", stderr);
    }
    if (!std::getline(std::cin, line) || line == "/exit") {
      return last;
    }
    if (line == "/clear") {
      conversation->restart();
    } else if (!line.empty()) {
      last = report(conversation->say(line));
    }
  }
}

}  // namespace

int run_chat(const ChatCommand& command) {
  InterruptedClient interrupted(command.address);
  Client& client = interrupted.client();
  Conversation conversation(command, &client);
  return command.has_once ? report(conversation.say(command.once)) : converse(&conversation);
}

}  // namespace stet::cli
