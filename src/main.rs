//! The binary: checks the CPU, then leaves everything to [`onggi::cli`].

/// One allocator for Rust and RocksDB, with figures to account by.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let missing = onggi::cpu::missing_features();
    if !missing.is_empty() {
        eprintln!(
            "onggi: this CPU lacks what this binary was compiled for: {}. Build it on this machine with other \
             flags in .cargo/config.toml, or run it on a newer CPU.",
            missing.join(", ")
        );
        return std::process::ExitCode::FAILURE;
    }
    onggi::cli::run(std::env::args_os())
}
