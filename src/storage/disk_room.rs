//! How much room the disk has, and how much of it writes leave alone.
//!
//! Merges and retention give room back, but need some first: writes are refused while there is
//! still a reserve.
//!
//! Owns the figures, and the unsafe block that asks for them: the standard library has no `statvfs`.

use std::io;
use std::path::Path;

/// Of a small disk, this share is kept.
const RESERVE_SHARE: u64 = 20;
/// Of a large one no more than what a few merges need.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoom {
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
}

impl DiskRoom {
    /// Of the file system that holds `path`.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the standard library has no statvfs")]
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt;

        let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: all zeros are a value of this struct of integers.
        let mut figures: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to values that outlive the call; the path ends with a zero.
        if unsafe { libc::statvfs(path.as_ptr(), &raw mut figures) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Self { total_bytes: bytes(figures.f_blocks), free_bytes: bytes(figures.f_bavail) })
    }

    /// Elsewhere nobody asks: a full disk shows itself when it is full.
    #[cfg(not(target_os = "linux"))]
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|_| Self { total_bytes: u64::MAX, free_bytes: u64::MAX })
    }

    /// What writes leave alone.
    pub fn reserve_bytes(&self) -> u64 {
        (self.total_bytes / RESERVE_SHARE).min(RESERVE_BYTES_MAX)
    }

    /// Whether writes have to wait for room.
    pub fn is_low(&self) -> bool {
        self.free_bytes < self.reserve_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_a_disk_with_room() {
        let folder = tempfile::tempdir().expect("folder");
        let room = DiskRoom::of(folder.path()).expect("asked");
        assert!(room.total_bytes >= room.free_bytes && room.total_bytes > 0, "{room:?}");
        assert!(DiskRoom::of(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn the_reserve_is_a_share_and_has_a_limit() {
        let check = |total_bytes: u64, free_bytes: u64, want: bool| {
            assert_eq!(DiskRoom { total_bytes, free_bytes }.is_low(), want, "{free_bytes} of {total_bytes}");
        };
        check(1000, 50, false);
        check(1000, 49, true);
        check(1 << 50, 1 << 30, false);
        check(1 << 50, (1 << 30) - 1, true);
    }
}
