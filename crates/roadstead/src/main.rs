//! The binary. Everything it can do is a verb in `cli`; `platform` wires the rooms together; this file only starts it.

mod backup;
mod cli;
mod demo;
mod operator;
mod platform;
mod telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
