//! Simulated time: a wall clock that the test moves and the server reads.
//!
//! The real server knows no other clock than the machine's, and that is as it should be: a clock
//! that followed the newest sample would let one bad sender age everybody's data. So the clock is
//! put under the process, by `clock.c`, and the binary is the one that is shipped.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::preload::compile;
use crate::support::server::Options;

/// See the module. Never goes back.
pub struct SimulatedClock {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl SimulatedClock {
    /// Compiles the library and starts the clock; both live in `folder`.
    pub fn at_ms(folder: &Path, now_ms: i64) -> Self {
        let library = folder.join("clock.so");
        compile("tests/it/long/clock.c", &library);
        let path = folder.join("clock");
        fs::write(&path, now_ms.to_ne_bytes()).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        Self { file, path, library }
    }

    pub fn set_ms(&self, now_ms: i64) {
        self.file.write_all_at(&now_ms.to_ne_bytes(), 0).unwrap();
    }

    /// A server started with these options lives by this clock.
    pub fn rules(&self, options: Options) -> Options {
        options
            .environment("LD_PRELOAD", &self.library.display().to_string())
            .environment("SIMULATED_CLOCK", &self.path.display().to_string())
    }
}
