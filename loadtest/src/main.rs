//! The program: parse, run, exit code.

fn main() -> std::process::ExitCode {
    quebert_loadtest::cli::main()
}
