//! The program: parse, start, wait, exit code.

fn main() -> std::process::ExitCode {
    quebert::cli::main()
}
