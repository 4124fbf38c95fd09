//! The handler of `SIGPROF`: copies registers and stack of whichever thread it interrupts.
//!
//! Everything that it does is allowed in a signal handler: atomics on memory that was there before it was
//! installed, and the system calls `getpid` and `process_vm_readv`. The latter reads the thread's own stack
//! as if it were another process': where the stack ends it says so and does not fault.
//!
//! The handler stays installed once it was: a signal that is late would end the process without one.
//! Owns the slots and the timer; [`super::unwind`] makes addresses of what is in them.

use std::io::Error;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How much of a stack is copied. What lies deeper is cut off.
pub const STACK_WORDS: usize = 4096;
const PAGE_BYTES: usize = 4096;
const PAGES: usize = STACK_WORDS * 8 / PAGE_BYTES + 1;
/// Samples that wait for the thread that walks them.
const SLOTS: usize = 128;

const FREE: u8 = 0;
const BEING_FILLED: u8 = 1;
const FULL: u8 = 2;

/// Registers that a walk begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// The link register, where the processor has one.
    pub lr: u64,
}

/// One sample on its way. Of atomics, so that the handler and the reader share it without a lock.
struct Slot {
    state: AtomicU8,
    registers: [AtomicU64; 4],
    words: AtomicUsize,
    stack: [AtomicU64; STACK_WORDS],
}

/// Takes no memory before it is used: all of it is zero.
static SLOTS_OF_ALL: [Slot; SLOTS] = [const {
    Slot {
        state: AtomicU8::new(FREE),
        registers: [const { AtomicU64::new(0) }; 4],
        words: AtomicUsize::new(0),
        stack: [const { AtomicU64::new(0) }; STACK_WORDS],
    }
}; SLOTS];
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Signals that found no free slot.
static LOST: AtomicU64 = AtomicU64::new(0);
static IS_INSTALLED: Mutex<bool> = Mutex::new(false);

/// Samples are taken while this lives.
#[derive(Debug)]
pub struct Running(());

/// Begins to take samples, so many per second of processor time. One at a time: the caller sees to it.
pub fn start(hertz: u32) -> Result<Running, Error> {
    install()?;
    // What a recording before this one left behind, after its last look.
    drain(|_, _| {});
    LOST.store(0, Ordering::Relaxed);
    IS_ON.store(true, Ordering::SeqCst);
    let running = Running(());
    set_timer(1_000_000 / i64::from(hertz.max(1)))?;
    Ok(running)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails for nothing but arguments that are wrong, and these have been taken before.
        let _ = set_timer(0);
        IS_ON.store(false, Ordering::SeqCst);
    }
}

/// Hands out every sample that is there, with its words of stack from the stack pointer on.
pub fn drain(mut each: impl FnMut(Registers, &[u64])) {
    let mut stack = Vec::new();
    for slot in &SLOTS_OF_ALL {
        if slot.state.load(Ordering::Acquire) != FULL {
            continue;
        }
        let [pc, sp, fp, lr] = slot.registers.each_ref().map(|register| register.load(Ordering::Relaxed));
        let words = slot.words.load(Ordering::Relaxed).min(STACK_WORDS);
        stack.clear();
        stack.extend(slot.stack[..words].iter().map(|word| word.load(Ordering::Relaxed)));
        slot.state.store(FREE, Ordering::Release);
        each(Registers { pc, sp, fp, lr }, &stack);
    }
}

/// Samples that were lost since the start.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

#[expect(unsafe_code, reason = "the standard library has no signal handlers")]
fn install() -> Result<(), Error> {
    let mut is_installed = IS_INSTALLED.lock();
    if *is_installed {
        return Ok(());
    }
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigprof;
    // SAFETY: all zero is a `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // Calls that were interrupted go on; a thread that is at the end of its stack has another one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and is safe in a signal, see the module.
    if unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(Error::last_os_error());
    }
    *is_installed = true;
    Ok(())
}

/// Processor time of the whole process between two signals; none for 0.
#[expect(unsafe_code, reason = "the standard library has no timers that signal")]
fn set_timer(period_us: i64) -> Result<(), Error> {
    /// Of `<sys/time.h>`, where Linux has it on every processor.
    const ITIMER_PROF: libc::c_int = 2;
    let period = libc::timeval { tv_sec: period_us / 1_000_000, tv_usec: period_us % 1_000_000 };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    // SAFETY: the new value lives during the call, and the old one is not asked for.
    match unsafe { libc::setitimer(ITIMER_PROF as _, &raw const timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "errno and the interrupted thread's context are pointers of the system")]
extern "C" fn on_sigprof(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !IS_ON.load(Ordering::Relaxed) || context.is_null() {
        return;
    }
    // SAFETY: the thread's own errno, which lives as long as the thread; what was interrupted may be about
    // to read it.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's context, valid until the
    // handler returns.
    let registers = registers_of(unsafe { &*context.cast::<libc::ucontext_t>() });
    take(registers);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn take(registers: Registers) {
    let claim = |slot: &&Slot| {
        slot.state.compare_exchange(FREE, BEING_FILLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    let Some(slot) = SLOTS_OF_ALL.iter().find(claim) else {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let values = [registers.pc, registers.sp, registers.fp, registers.lr];
    for (register, value) in slot.registers.iter().zip(values) {
        register.store(value, Ordering::Relaxed);
    }
    slot.words.store(copy_stack(registers.sp as usize, &slot.stack), Ordering::Relaxed);
    slot.state.store(FULL, Ordering::Release);
}

/// Copies what is readable from an address on; gives how many words that is.
#[expect(unsafe_code, reason = "a stack is memory that no reference leads to")]
fn copy_stack(start: usize, into: &[AtomicU64; STACK_WORDS]) -> usize {
    // By pages: of a stretch that is not all readable nothing is copied.
    let mut stretches = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PAGES];
    let (mut at, mut left, mut count) = (start, STACK_WORDS * 8, 0);
    while left > 0 && count < PAGES {
        let bytes = (PAGE_BYTES - at % PAGE_BYTES).min(left);
        stretches[count] = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: bytes };
        count += 1;
        left -= bytes;
        let Some(next) = at.checked_add(bytes) else { break };
        at = next;
    }
    let target = libc::iovec { iov_base: into.as_ptr() as *mut libc::c_void, iov_len: STACK_WORDS * 8 };
    // SAFETY: the system writes at most as many bytes as `into` has, which is of atomics and may change
    // behind a shared reference; nobody else reads or writes them while the slot is being filled. What
    // it reads from it checks itself.
    let bytes = unsafe {
        libc::process_vm_readv(
            libc::getpid(),
            &raw const target,
            1,
            stretches.as_ptr(),
            count as libc::c_ulong,
            0,
        )
    };
    usize::try_from(bytes).unwrap_or(0) / 8
}

#[cfg(target_arch = "x86_64")]
fn registers_of(context: &libc::ucontext_t) -> Registers {
    let of = |register: libc::c_int| context.uc_mcontext.gregs[register as usize] as u64;
    Registers { pc: of(libc::REG_RIP), sp: of(libc::REG_RSP), fp: of(libc::REG_RBP), lr: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers_of(context: &libc::ucontext_t) -> Registers {
    let machine = &context.uc_mcontext;
    Registers { pc: machine.pc, sp: machine.sp, fp: machine.regs[29], lr: machine.regs[30] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_copied_as_far_as_it_can_be_read() {
        let words: Vec<u64> = (0..2 * STACK_WORDS as u64).collect();
        let into = Box::new([const { AtomicU64::new(u64::MAX) }; STACK_WORDS]);

        let copied = copy_stack(words.as_ptr() as usize, &into);

        assert_eq!(copied, STACK_WORDS);
        assert!(into.iter().zip(&words).all(|(copy, word)| copy.load(Ordering::Relaxed) == *word));
        assert_eq!(copy_stack(8, &into), 0, "nothing is mapped there");
        assert_eq!(copy_stack(usize::MAX - 8, &into), 0);
    }
}
