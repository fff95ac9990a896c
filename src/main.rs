//! The `lethe` program: everything it does is `lethe::cli`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    lethe::cli::main()
}
