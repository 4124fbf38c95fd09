//! What is allocated, by jemalloc's own samples.
//!
//! jemalloc notes the stack of one allocation per so many bytes (`lg_prof_sample` of its settings) for as
//! long as it lives. Its dump is a text: for each stack how many of the noted allocations live and how
//! large they are. What that stands for is computed as its own tools do: an allocation of `b` bytes had the
//! chance `1 - e^(-b/period)` to be noted.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use tikv_jemalloc_ctl::raw;

use super::{Column, Profile, ProfileError};

/// Larger dumps are cut off: a stack takes some hundred bytes of it.
const DUMP_BYTES_MAX: u64 = 256 << 20;

const OBJECTS: Column = Column { name: "inuse_objects", unit: "count" };
const SPACE: Column = Column { name: "inuse_space", unit: "bytes" };

/// What lives now.
pub fn profile(now_ms: i64) -> Result<Profile, ProfileError> {
    if !is_on() {
        return Err(ProfileError::HeapOff);
    }
    let mut profile = parse(&dump()?)?;
    profile.start_ms = now_ms;
    Ok(profile)
}

/// Whether jemalloc notes anything; it is another allocator's process where it does not say.
#[expect(
    unsafe_code,
    reason = "the safe names of jemalloc's settings do not have this one without a feature"
)]
fn is_on() -> bool {
    // SAFETY: `opt.prof` is a bool.
    unsafe { raw::read::<bool>(b"opt.prof\0") }.unwrap_or(false)
}

/// Has jemalloc write its samples into a file that exists in memory only.
#[expect(unsafe_code, reason = "jemalloc takes a path, and the standard library has no files without one")]
fn dump() -> Result<String, ProfileError> {
    let failed = |source| ProfileError::Io { doing: "make a file in memory", source };
    // SAFETY: the name ends with a zero and is not kept.
    let descriptor = unsafe { libc::memfd_create(c"onggi-heap".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: it was just opened, and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let path = format!("/proc/self/fd/{}\0", descriptor.as_raw_fd());
    // SAFETY: `prof.dump` takes the address of a text that ends with a zero, and reads it before it returns.
    let dumped = unsafe { raw::write(b"prof.dump\0", path.as_ptr()) };
    dumped.map_err(|error| ProfileError::Allocator { doing: "write its profile", why: error.to_string() })?;
    let mut text = String::new();
    // It was written through another description of the file: this one is still at its beginning.
    let read = File::from(descriptor).take(DUMP_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| ProfileError::Io { doing: "read the allocator's profile", source })?;
    Ok(text)
}

/// Reads a dump: `heap_v2/PERIOD`, then for each stack `@ ADDRESS…` and, per thread and for all of them
/// (`t*`), `OBJECTS: BYTES [accumulated]`.
fn parse(text: &str) -> Result<Profile, ProfileError> {
    let bad = |line: &str| ProfileError::Line(line.chars().take(100).collect());
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let period: u64 =
        first.strip_prefix("heap_v2/").and_then(|period| period.parse().ok()).ok_or_else(|| bad(first))?;
    let mut profile = Profile {
        columns: vec![OBJECTS, SPACE],
        period: (Some(SPACE), i64::try_from(period).map_err(|_| bad(first))?),
        ..Profile::default()
    };
    let mut stack: Option<Box<[u64]>> = None;
    for line in lines {
        let line = line.trim();
        if line == "MAPPED_LIBRARIES:" {
            break;
        }
        if let Some(addresses) = line.strip_prefix('@') {
            stack = Some(addresses_of(addresses).ok_or_else(|| bad(line))?);
        } else if let Some(figures) = line.strip_prefix("t*:") {
            // Those before the first stack are the sums of all.
            let Some(stack) = stack.take() else { continue };
            let (objects, bytes) = figures_of(figures).ok_or_else(|| bad(line))?;
            let columns = profile.stacks.entry(stack).or_insert_with(|| vec![0, 0]);
            let (objects, bytes) = estimate(objects, bytes, period);
            columns[0] = columns[0].saturating_add(objects);
            columns[1] = columns[1].saturating_add(bytes);
        }
    }
    // Stacks of which nothing lives are dumped, too.
    profile.stacks.retain(|_, columns| columns.iter().any(|figure| *figure != 0));
    Ok(profile)
}

/// Return addresses, taken back into the calls that they return from.
fn addresses_of(text: &str) -> Option<Box<[u64]>> {
    let address = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    text.split_ascii_whitespace().map(|word| Some(address(word)?.saturating_sub(1))).collect()
}

/// ` 13: 6688 [0: 0]`.
fn figures_of(text: &str) -> Option<(u64, u64)> {
    let (objects, rest) = text.split_once(':')?;
    let bytes = rest.split_ascii_whitespace().next()?;
    Some((objects.trim().parse().ok()?, bytes.parse().ok()?))
}

/// How many objects and bytes a stack's noted ones stand for.
fn estimate(objects: u64, bytes: u64, period: u64) -> (i64, i64) {
    if objects == 0 || bytes == 0 {
        return (0, 0);
    }
    let mean = bytes as f64 / objects as f64;
    let scale = match period {
        0 | 1 => 1.0,
        period => 1.0 / -(-mean / period as f64).exp_m1(),
    };
    ((objects as f64 * scale).round() as i64, (bytes as f64 * scale).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_scaled_to_what_it_stands_for() {
        let text = "heap_v2/524288\n  t*: 3: 3145776 [0: 0]\n  t0: 3: 3145776 [0: 0]\n@ 0x1001 0x2001\n  \
                    t*: 2: 48 [0: 0]\n  t0: 2: 48 [0: 0]\n@ 0x1001 0x3001\n  t*: 1: 3145728 [0: 0]\n@ 0x9\n  \
                    t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n@ nonsense\n";

        let profile = parse(text).expect("a dump");

        assert_eq!(profile.period, (Some(SPACE), 524_288));
        assert_eq!(profile.stacks.len(), 2, "one has nothing left");
        // 24 bytes of 512 KiB: one in 21 846 is noted.
        assert_eq!(profile.stacks[&[0x1000, 0x2000][..]], [43_692, 1_048_600]);
        // 3 MiB are noted nearly always.
        assert_eq!(profile.stacks[&[0x1000, 0x3000][..]], [1, 3_153_545]);
    }

    #[test]
    fn nonsense_is_refused_by_its_line() {
        for text in ["", "heap_v1/1\n", "heap_v2/x", "heap_v2/1\n@ 12", "heap_v2/1\n@ 0x1\n t*: x: 1 ["] {
            assert!(matches!(parse(text), Err(ProfileError::Line(_))), "{text}");
        }
    }
}
