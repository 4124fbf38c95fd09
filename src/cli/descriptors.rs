//! Raises the limit of open files to what the system allows.
//!
//! Connections and the database's files together exceed the usual soft limit of 1024, which only
//! exists for programs that use `select`.

use std::io;

/// Raises the soft limit to the hard one; returns the limit that counts from now on.
#[expect(unsafe_code, reason = "the standard library has no resource limits")]
pub fn raise_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a valid `rlimit`, which the call fills and does not keep.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a valid `rlimit`, which the call reads and does not keep.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_limit().expect("every process may raise its soft limit");
        assert_eq!(raise_limit().expect("again"), raised);
    }
}
