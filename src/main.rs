//! The `lethe` program: everything it does is `lethe::cli`.

fn main() -> std::process::ExitCode {
    lethe::cli::main()
}
