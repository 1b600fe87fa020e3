// stet: talks to a running stetd, and looks into model files.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "src/cli/commands.h"

namespace {

// CLI11 says of a misspelt command only that one is missing.
void say_unknown_command(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  std::fprintf(stderr, "stet: unknown command '%s': there is %s\n", app.remaining().front().c_str(),
               names.c_str());
}

int run(int argc, char** argv) {
  CLI::App app("stet: chat with a running stetd, complete text, look into model files");
  std::string address = "127.0.0.1:50051";
  app.add_option("--address", address, "stetd's gRPC listener: host:port or unix:path")
      ->capture_default_str();
  app.set_version_flag("--version", std::string("stet ") + STET_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --address may stand after the subcommand too

  stet::cli::ChatCommand chat;
  CLI::App* chat_app = app.add_subcommand("chat", "A conversation; tokens/s after each answer");
  chat_app->add_option("--system", chat.system, "System message");
  CLI::Option* once =
      chat_app->add_option("--once", chat.once, "Ask this, print the answer, and leave");
  chat.sampling.add_to(chat_app);

  stet::cli::CompleteCommand complete;
  CLI::App* complete_app = app.add_subcommand("complete", "Continue a text");
  complete_app->add_option("prompt", complete.prompt, "The text; - reads standard input")
      ->required();
  complete.sampling.add_to(complete_app);

  stet::cli::BatchCommand batch;
  CLI::App* batch_app = app.add_subcommand(
      "batch", "Answer an OpenAI batch file, one request per line, as one job of the daemon");
  batch_app->add_option("input", batch.in, "The batch file (JSONL); - reads standard input")
      ->required();
  batch_app->add_option("--out", batch.out,
                        "Answers go to the end of this file, and requests it has an answer to are "
                        "skipped; not given: standard output");
  batch_app->add_flag("--quiet", batch.quiet, "No progress and no figures");

  stet::cli::InspectCommand inspect;
  CLI::App* inspect_app =
      app.add_subcommand("inspect", "What a GGUF file holds and what serving it needs");
  inspect_app->add_option("model", inspect.path, "GGUF file")->required();
  inspect_app->add_flag("--template", inspect.show_template, "Print the whole chat template");

  stet::cli::TopCommand top;
  CLI::App* top_app = app.add_subcommand("top", "Live counts of a running stetd");
  top_app->add_option("--admin", top.admin_address,
                      "stetd's admin listener; not given: the one that belongs to --address");
  top_app->add_option("--interval", top.interval_ms, "Milliseconds between two frames")
      ->capture_default_str();
  top_app->add_flag("--once", top.once, "Print one frame after one interval, and leave");

  stet::cli::HealthCommand health;
  CLI::App* health_app =
      app.add_subcommand("health", "Exit code 0 if the daemon is ready (or live), else 1");
  bool ready = false;
  CLI::Option* live_flag =
      health_app->add_flag("--live", health.live, "Making progress, ready or not");
  health_app->add_flag("--ready", ready, "Takes requests (default)")->excludes(live_flag);
  health_app->add_option("--timeout-ms", health.timeout_ms, "How long to wait for the answer")
      ->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    if (app.get_subcommands().empty() && app.remaining_size() > 0) {
      say_unknown_command(app);
      return stet::cli::kExitUsage;
    }
    app.exit(error);
    return stet::cli::kExitUsage;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? stet::cli::kExitOk : stet::cli::kExitUsage;
  }
  chat.address = complete.address = batch.address = health.address = top.address = address;
  chat.has_once = once->count() > 0;
  if (chat_app->parsed()) {
    return stet::cli::run_chat(chat);
  }
  if (complete_app->parsed()) {
    return stet::cli::run_complete(complete);
  }
  if (batch_app->parsed()) {
    return stet::cli::run_batch(batch);
  }
  if (top_app->parsed()) {
    return stet::cli::run_top(top);
  }
  return inspect_app->parsed() ? stet::cli::run_inspect(inspect) : stet::cli::run_health(health);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stet: %s\n", error.what());
    return stet::cli::kExitInternal;
  }
}
