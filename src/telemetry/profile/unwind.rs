//! Walks stacks from their copies.

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder as _,
    UnwinderNative,
};

use super::modules::{self, Module as Mapped};
use super::sampler::Registers;

/// Deeper stacks are cut off at their outer end.
pub const DEPTH_MAX: usize = 256;

/// Knows how the frames of each module are laid out.
pub struct Unwinder {
    inner: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

impl Unwinder {
    pub fn new(mapped: &[Mapped]) -> Self {
        let mut inner = UnwinderNative::new();
        for module in mapped {
            let (eh_frame_svma, eh_frame) = modules::section(module, ".eh_frame").unzip();
            let (eh_frame_hdr_svma, eh_frame_hdr) = modules::section(module, ".eh_frame_hdr").unzip();
            let sections = ExplicitModuleSectionInfo {
                eh_frame_svma,
                eh_frame,
                eh_frame_hdr_svma,
                eh_frame_hdr,
                text_svma: modules::section_range(module, ".text"),
                got_svma: modules::section_range(module, ".got"),
                ..Default::default()
            };
            inner.add_module(Module::new(module.path.clone(), module.code.clone(), module.bias, sections));
        }
        Self { inner, cache: CacheNative::new() }
    }

    /// The addresses of a stack, innermost first, each within the instruction that was running. What is
    /// known of a stack that breaks off is given.
    pub fn walk(&mut self, registers: Registers, stack: &[u64], addresses: &mut Vec<u64>) {
        addresses.clear();
        let mut read = |address: u64| {
            let offset = address.checked_sub(registers.sp).ok_or(())?;
            // Slots of a stack are words, at whole words.
            let word = usize::try_from(offset / 8).map_err(|_| ())?;
            if offset % 8 != 0 { Err(()) } else { stack.get(word).copied().ok_or(()) }
        };
        let mut frames = self.inner.iter_frames(registers.pc, native(registers), &mut self.cache, &mut read);
        while let Ok(Some(frame)) = frames.next() {
            addresses.push(frame.address_for_lookup());
            if addresses.len() >= DEPTH_MAX {
                break;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn native(registers: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.pc, registers.sp, registers.fp)
}

#[cfg(target_arch = "aarch64")]
fn native(registers: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.lr, registers.sp, registers.fp)
}
