//! What the command line takes, and what it says of itself.

use super::*;
use insta::assert_snapshot;

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_command_and_exit_code() {
    assert_snapshot!(Cli::command().term_width(100).render_help(), @r"
    HTTP push task queues on RabbitMQ that lose nothing

    Usage: quebert [OPTIONS] <COMMAND>

    Commands:
      run             Take tasks from the queues and send them, with API and web console, until SIGTERM
                      or SIGINT
      enqueue         Add tasks to a queue: one by flags, or NDJSON (an envelope a line) on standard
                      input
      queues          Show the queues: what waits, what is under way, what of late came of it
      pause           Take nothing more from a queue; what is under way goes on
      resume          Take from a paused queue again
      purge           Remove all waiting tasks of a queue for good
      task            Look for a task, send it now, or take it out
      check           Tell all that is wrong with config and topology; changes nothing
      topology        Declare the queues, or print them as a definitions file
      dead            Look through dead letters, replay them, or delete them
      events          Follow what happens, as it happens
      top             Watch the figures of running dispatchers: rates, waits, slots, destinations
      dashboards      Write Grafana dashboards and Prometheus rules for your config, or check them at
                      your Prometheus
      demo            Show it at work with nothing installed: broker, executors, a stream of tasks, API
                      and web console
      completions     Print completions for a shell
      default-config  Print the default config, with comments
      help            Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>    Config file in TOML; without, ./quebert.toml if there is one [env:
                             QUEBERT_CONFIG]
          --set <KEY=VALUE>  Overrides a key of the config; may be repeated
          --broker <URL>     The broker's address; short for --set broker.url=URL. Commands that speak
                             to the API go straight to that broker instead; the word `config` means the
                             config's own
      -h, --help             Print help
      -V, --version          Print version

    Exit codes:
      0    done
      1    done in part: some items failed, or something is not as it should be
      2    wrong usage or config, or refused as wrong; nothing was done
      3    the API, the broker or Prometheus could not be reached, or takes nothing for now; the
           embedded broker's folder is in use or damaged
      4    anything else that went wrong: files, the network, the terminal
      130  stopped at once by a second SIGINT (143: SIGTERM)
      141  nobody reads the output any more
    ");
}

#[test]
fn the_documents_are_made_from_the_program() {
    check_document("cli.md", &cli_document());
    check_document("configuration.md", &configuration_document());
}

fn cli_document() -> String {
    let mut text = String::from(
        "# Command line\n\n<!-- Made from the program by `UPDATE_DOCS=1 cargo test -p quebert documents`. -->\n\n\
         Flags override the environment, which overrides the config file, which overrides the defaults: see\n\
         [configuration.md](configuration.md). `quebert completions bash` (zsh, fish, elvish, powershell) prints completions.\n",
    );
    fn describe(command: &clap::Command, path: &str, text: &mut String) {
        let mut shown = command.clone().term_width(100).bin_name(path.to_owned());
        let help = shown.render_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            describe(sub, &format!("{path} {}", sub.get_name()), text);
        }
    }
    let mut command = Cli::command();
    command.build();
    describe(&command, "quebert", &mut text);
    text
}

fn configuration_document() -> String {
    format!("{CONFIGURATION_HEAD}\n```toml\n{}```\n", crate::config::layers::DEFAULTS)
}

const CONFIGURATION_HEAD: &str = "\
# Configuration

<!-- Made from the program by `UPDATE_DOCS=1 cargo test -p quebert documents`. -->

One TOML file: `quebert --config FILE`, the variable `QUEBERT_CONFIG`, or `quebert.toml` in the current folder. What it
leaves out is taken from the defaults below (`quebert default-config` prints them). Keys that are not known are refused.
`quebert check` tells all that is wrong at once, with file, line and key; `--offline` looks at the config only.

* **Environment**: `QUEBERT__SECTION__KEY` overrides a key; a list is written as TOML (`[\"a\", \"b\"]`).
* **Flags**: `--set section.key=value` overrides both; `--broker URL` is short for `--set broker.url=URL`.
* **Secrets**: `${NAME}` in `broker.url` and `signing.keys` is replaced by that environment variable; `broker.url_file`
  and `signing.keys_file` name files instead. No secret stands in a log, an error or `--json` output.
* **Lanes**: each `[lanes.<name>]` takes what it does not say from `[lane_defaults]`, `[retry]` and `[status]`. A file
  that defines any lane replaces the three default ones.
* **Queues of your own**: `topology.declare = false`, and `queue`, `exchange` and `routing_key` of each lane.
* **Executors on private addresses** are refused unless `http.guard.allow` names their networks. The addresses where
  clouds hand out credentials must be named one by one.
* **Reload**: SIGHUP takes over limits, policies and the log level, and names the keys that need a restart.

## Every key and its default
";

#[track_caller]
fn check_document(name: &str, text: &str) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/{name} is not what the program says; run with UPDATE_DOCS=1");
}

#[test]
fn each_kind_of_failure_has_its_code() {
    let codes = [
        Failure::Partly,
        Failure::Usage(String::new()),
        Failure::Unreachable("".into()),
        Failure::other("x", "y"),
        Failure::Signal(143),
    ];
    assert_eq!(codes.map(|f| f.exit_code()), [1, 2, 3, 4, 143]);
}

#[test]
fn purge_without_yes_is_refused_before_anything_is_connected() {
    let cli = Cli::try_parse_from(["quebert", "dead", "purge", "--set", "broker.url=amqp://nowhere.invalid"]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failure = runtime.block_on(dispatch(cli)).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().contains("--yes"));
}
