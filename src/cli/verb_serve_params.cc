#include <charconv>

#include "base/log.h"
#include "cli/config_input.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/serve_params.h"

namespace sluice::cli {
namespace {

// "0/2"
Status ParseShard(const std::string& text, train::ServeOptions* options) {
  const char* const end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, options->server);
  const bool cut = error == std::errc() && slash != end && *slash == '/';
  if (cut) {
    const auto [last, second] = std::from_chars(slash + 1, end, options->servers);
    if (second == std::errc() && last == end && options->server >= 0 && options->server < options->servers &&
        options->servers <= 64)
      return Status::Ok();
  }
  return InvalidArgument("--shard {}: I/N was expected, I from 0 to N - 1, N up to 64", text);
}

}  // namespace

void AddServeParams(Application* application) {
  struct Arguments {
    ConfigInput config;
    train::ServeOptions options;
    std::string shard = "0/1", token_file;
    bool quiet = false;
  };
  auto args = std::make_shared<Arguments>();
  Verb* verb =
      application->Add("serve-params", "Hold a part of a model as a parameter server, for workers that train it.");
  AddConfigInput(verb, &args->config);
  verb->Option("--shard", "I/N", &args->shard, "Which of how many servers this is; the first is 0 of N.");
  verb->Option("--listen", "HOST:PORT", &args->options.listen,
               "Where to listen; 127.0.0.1 and any port unless told otherwise. Other addresses need a token.");
  verb->Option("--metrics", "HOST:PORT", &args->options.metrics, "Serve Prometheus metrics here.");
  verb->Option("--tls-cert", "FILE", &args->options.tls_cert,
               "Certificate (PEM); clients name its authority in service.tls_ca.");
  verb->Option("--tls-key", "FILE", &args->options.tls_key, "The certificate's key (PEM).");
  verb->Option("--token-file", "FILE", &args->token_file, "Token that clients must show: service.token_file.");
  verb->Option(
      "--run-dir", "DIR", &args->options.run_dir,
      "Run folder, shared by all servers of a run; a server that is started again goes on from its newest checkpoint.");
  verb->Flag("-q,--quiet", &args->quiet, "Warnings and errors only.");
  verb->Footer([] {
    return "\nThe address is printed once the server answers. SIGTERM or Ctrl-C: the first server writes a last "
           "checkpoint with the\n"
           "others, requests under way come to their end.\n\n"
           "Example:\n"
           "  sluice serve-params config.yaml --shard 0/2 --listen 127.0.0.1:7070 --run-dir runs/ps --set "
           "strategy.preset=ps-async\n";
  });
  verb->Action([args] {
    InitLogging(args->quiet);
    SLUICE_RETURN_IF_ERROR(ParseShard(args->shard, &args->options));
    train::RunConfig config;
    SLUICE_ASSIGN_OR_RETURN(config, LoadConfig(args->config));
    if (!args->token_file.empty()) config.service.token_file = args->token_file;
    CatchInterrupts();
    args->options.on_listening = [args](const std::string& address) {
      (void)PrintLine("parameter server " + args->shard + " listens on " + address);
    };
    return train::ServeParams(config, args->options);
  });
}

}  // namespace sluice::cli
