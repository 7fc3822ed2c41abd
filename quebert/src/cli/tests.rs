//! What the command line takes, and what it says of itself.

use super::*;
use insta::assert_snapshot;

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_command_and_exit_code() {
    assert_snapshot!(Cli::command().render_help(), @r#"
    HTTP push task queues on RabbitMQ that lose nothing

    Usage: quebert [OPTIONS] <COMMAND>

    Commands:
      run             Take tasks from the queues and send them, until SIGTERM or SIGINT
      enqueue         Add tasks to a queue: one by flags, or NDJSON (an envelope a line) on standard
                      input
      check           Tell all that is wrong with config and topology; changes nothing
      topology        Declare the queues, or print them as a definitions file
      dead            Look through dead letters, replay them, or delete them
      demo            Show it at work with nothing installed: broker in memory, sample executor, tasks
                      of three priorities
      completions     Print completions for a shell
      default-config  Print the default config, with comments
      help            Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>    Config file in TOML; without, ./quebert.toml if there is one [env:
                             QUEBERT_CONFIG=]
          --set <KEY=VALUE>  Overrides a key of the config; may be repeated
          --broker <URL>     The broker's address; short for --set broker.url=URL
      -h, --help             Print help
      -V, --version          Print version

    Exit codes:
      0    done
      1    done in part: some items failed, or something is not as it should be
      2    wrong usage or config; nothing was done
      3    no broker could be reached
      4    anything else that went wrong: files, the network, the terminal
      130  stopped at once by a second SIGINT (143: SIGTERM)
    "#);
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
