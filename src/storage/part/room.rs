//! Memory reserved for many small things at a time.
//!
//! To ask a query's budget for each label set and each row would be a good part of making it: it is
//! shared by threads, and a share of another one. What is reserved beyond what was taken is given back
//! with the room; what was taken stays reserved.

use crate::querier::{QueryError, QueryGuard};

/// What is reserved at a time.
pub const RESERVED_BYTES: u64 = 16 << 10;

/// See the module.
pub struct Room<'g> {
    guard: &'g QueryGuard,
    at_once_bytes: u64,
    spare_bytes: u64,
}

impl<'g> Room<'g> {
    /// Reserves no less than `at_once_bytes` at a time: 0 where little is going to be taken.
    pub fn new(guard: &'g QueryGuard, at_once_bytes: u64) -> Self {
        Self { guard, at_once_bytes, spare_bytes: 0 }
    }

    pub fn take(&mut self, bytes: u64) -> Result<(), QueryError> {
        if bytes > self.spare_bytes {
            let more = (bytes - self.spare_bytes).max(self.at_once_bytes);
            self.guard.reserve(more)?;
            self.spare_bytes += more;
        }
        self.spare_bytes -= bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.guard.release(self.spare_bytes);
    }
}
