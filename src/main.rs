//! The binary: checks the CPU, then leaves everything to [`onggi::cli`].

/// One allocator for Rust and RocksDB, with figures to account by.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is freed goes back to the system within half a second, not ten: heavy queries free as much as
/// they allocate, and what lies in between counts against the limit of memory. One allocation per two
/// megabytes is noted with its stack, from the start on, so that `/debug/pprof/heap` knows all that lives.
/// `MALLOC_CONF` overrides it.
#[expect(unsafe_code, reason = "jemalloc looks for its settings under this name; nothing else has it")]
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8] =
    b"dirty_decay_ms:500,muzzy_decay_ms:0,prof:true,prof_active:true,lg_prof_sample:21\0";

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
