//! Allocates space of a file ahead of its use.
//!
//! Owns the only unsafe block of the log: the standard library has no `fallocate`, and without it
//! a full disk shows itself in the middle of a frame instead of before it.

use std::fs::File;
use std::io;

/// Allocates `bytes` of zeros from `offset` on and makes the file that long.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library has no fallocate")]
pub fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off_t::try_from(offset).map_err(too_far)?;
    let bytes = libc::off_t::try_from(bytes).map_err(too_far)?;
    loop {
        // SAFETY: the descriptor belongs to `file`, which outlives the call; the call takes no pointers.
        let answer = unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, bytes) };
        if answer == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => continue,
            _ if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            _ => return Err(error),
        }
    }
}

/// Files grow as they are written where there is no `fallocate`.
#[cfg(not(target_os = "linux"))]
pub fn allocate(_file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
