//! How much of a file is decoded and not in the epoch yet: the memory of a replay beside the head.
//!
//! Whoever decodes asks first and waits while others hold what there is. One frame is let in however
//! large it is, when nothing else is in flight: it has a limit of its own.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// See the module.
pub struct InFlight {
    limit_bytes: u64,
    bytes: Mutex<u64>,
    less: Condvar,
}

/// A frame's share. Clones hold it together: the last one gives it back.
#[derive(Clone)]
pub struct Held {
    _share: Arc<Share>,
}

struct Share {
    of: Arc<InFlight>,
    bytes: u64,
}

impl InFlight {
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit_bytes, bytes: Mutex::new(0), less: Condvar::new() })
    }

    /// Waits until there is room for so many bytes.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        let mut held = self.bytes.lock();
        while *held > 0 && held.saturating_add(bytes) > self.limit_bytes {
            self.less.wait(&mut held);
        }
        *held = held.saturating_add(bytes);
        Held { _share: Arc::new(Share { of: Arc::clone(self), bytes }) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.bytes.lock();
        *held = held.saturating_sub(self.bytes);
        self.of.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_wants_more_than_is_left_waits_until_the_last_clone_is_gone() {
        let in_flight = InFlight::new(100);
        let first = in_flight.hold(60);
        let clone = first.clone();
        let (sender, events) = channel();
        let waiting = std::thread::spawn({
            let in_flight = Arc::clone(&in_flight);
            move || {
                drop(in_flight.hold(40));
                sender.send("what fits does not wait").expect("received");
                let held = in_flight.hold(500);
                sender.send("the large one is alone").expect("received");
                held
            }
        });

        assert_eq!(events.recv(), Ok("what fits does not wait"));
        drop(first);
        assert!(events.try_recv().is_err(), "a clone is left");
        drop(clone);
        assert_eq!(events.recv(), Ok("the large one is alone"));
        drop(waiting.join().expect("no panic"));
        assert_eq!(*in_flight.bytes.lock(), 0);
    }
}
