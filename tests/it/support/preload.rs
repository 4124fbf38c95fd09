//! Libraries in C that are loaded into a server before its own.

use std::path::Path;
use std::process::Command;

/// Compiles a source, named by its path below this package, into a shared library.
pub fn compile(source: &str, library: &Path) {
    let output = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler is part of what building RocksDB needs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
