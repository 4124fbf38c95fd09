//! Compiles the wire contracts beside this file into Rust, without `protoc` on the machine.
//!
//! Writes `prometheus.rs` and `io.prometheus.write.v2.rs` into `OUT_DIR`; `src/ingest/proto.rs`
//! includes them.

use std::error::Error;

const CONTRACTS: [&str; 4] = ["types.proto", "write.proto", "read.proto", "write_v2.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/build.rs");
    for contract in CONTRACTS {
        println!("cargo:rerun-if-changed=proto/{contract}");
    }
    let descriptors = protox::compile(CONTRACTS, ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
