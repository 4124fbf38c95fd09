//! Buffers for decompressed bodies, used again: a buffer that was filled before need not be zeroed.
//!
//! Owns what is kept between requests and how little that is; whoever decompresses says what is in
//! a buffer. What a request before has left in one is never seen: a text ends where its own ends.

use bytes::Bytes;
use parking_lot::Mutex;

/// All spare buffers together: a part of what the process is reckoned to hold at rest. Some senders at once have
/// bodies of some hundred KiB each on their way.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Buffers are of multiples of this, so that the next request fits into the one of the last. What is
/// shorter is not worth keeping.
const STEP_BYTES: usize = 64 << 10;

/// The oldest first.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that holds a text, and goes back when the last reader of the text is done.
struct Text {
    buffer: Vec<u8>,
    len: usize,
}

/// A buffer of at least `bytes`, less than twice as long where it is long at all. Anything may be in it.
pub fn take(bytes: usize) -> Vec<u8> {
    if bytes < STEP_BYTES {
        return vec![0; bytes];
    }
    let mut spare = SPARE.lock();
    let fits = |buffer: &Vec<u8>| buffer.len() >= bytes && buffer.len() / 2 < bytes;
    match spare.iter().rposition(fits) {
        Some(at) => spare.remove(at),
        None => {
            drop(spare);
            vec![0; bytes.next_multiple_of(STEP_BYTES)]
        }
    }
}

/// The first `len` bytes of a buffer that [`take`] gave.
pub fn into_text(mut buffer: Vec<u8>, len: usize) -> Bytes {
    if buffer.len() < STEP_BYTES {
        buffer.truncate(len);
        return buffer.into();
    }
    Bytes::from_owner(Text { buffer, len })
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.len() > SPARE_BYTES_MAX {
            return;
        }
        let mut spare = SPARE.lock();
        spare.push(buffer);
        let mut held_bytes: usize = spare.iter().map(Vec::len).sum();
        let mut oldest = 0;
        while held_bytes > SPARE_BYTES_MAX {
            held_bytes -= spare[oldest].len();
            oldest += 1;
        }
        let surplus: Vec<Vec<u8>> = spare.drain(..oldest).collect();
        // Freed without the lock.
        drop(spare);
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_where_it_ends_whatever_its_buffer_held() {
        for len in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 3 * STEP_BYTES, SPARE_BYTES_MAX + 1] {
            for byte in [1, 2, 3] {
                let mut buffer = take(len);
                assert!(buffer.len() >= len && buffer.len() <= 2 * len.max(STEP_BYTES));
                buffer[..len].fill(byte);
                let text = into_text(buffer, len);
                assert_eq!(text.len(), len);
                assert!(text.iter().all(|found| *found == byte));
            }
        }
    }

    #[test]
    fn little_is_kept() {
        let texts: Vec<Bytes> = (0..100).map(|_| into_text(take(5 * STEP_BYTES), STEP_BYTES)).collect();
        drop(texts);
        let held: usize = SPARE.lock().iter().map(Vec::len).sum();
        assert!(held <= SPARE_BYTES_MAX, "{held}");
    }
}
