//! Files that are mapped as code, and where.
//!
//! A program and its libraries stand in memory at other addresses than in their files; the difference is
//! the same for all of a file and is found from its table of segments.

use std::fs::File;
use std::ops::Range;

use object::read::ReadCache;
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Object as _, ObjectSection as _};

/// More of the system's list of mappings is not read: a process of ours has some hundreds.
const MAPPINGS_MAX: usize = 65_536;
/// Larger unwind tables are left alone: ours are a few megabytes.
const SECTION_BYTES_MAX: u64 = 256 << 20;

const OWN: &str = "/proc/self/exe";

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub path: String,
    /// Addresses of its code.
    pub code: Range<u64>,
    pub file_offset: u64,
    /// What is added to an address of the file.
    pub bias: u64,
}

/// A section of a file: its addresses there, and its bytes.
pub type Section = (Range<u64>, Vec<u8>);

/// The modules of this process, in order of their addresses. What cannot be read is left out: its frames
/// stay addresses.
pub fn of_process() -> std::io::Result<Vec<Module>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut modules: Vec<Module> = maps.lines().take(MAPPINGS_MAX).filter_map(code_of).collect();
    modules.retain_mut(|module| match bias_of(module) {
        Some(bias) => {
            module.bias = bias;
            true
        }
        None => false,
    });
    modules.sort_by_key(|module| module.code.start);
    Ok(modules)
}

/// The module that an address is in.
pub fn find(modules: &[Module], address: u64) -> Option<usize> {
    let behind = modules.partition_point(|module| module.code.start <= address);
    behind.checked_sub(1).filter(|at| modules[*at].code.contains(&address))
}

/// A line of the list, if it is code of a file: `start-end r-xp offset device inode path`.
fn code_of(line: &str) -> Option<Module> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()?.contains('x');
    let file_offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2)?.trim_start();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let module = Module { path: path.to_owned(), code: hex(start)?..hex(end)?, file_offset, bias: 0 };
    (is_code && path.starts_with('/')).then_some(module)
}

/// The segment that is mapped there tells at which address the file meant it to be.
fn bias_of(module: &Module) -> Option<u64> {
    with_file(module, |file| {
        let endian = file.endian();
        // Mappings begin at whole pages, segments need not.
        file.elf_program_headers().iter().find_map(|segment| {
            let offset = segment.p_offset(endian);
            let bytes = (offset & !0xfff)..offset.checked_add(segment.p_filesz(endian))?;
            // The segment before may end in the page that the code begins in.
            let is_code = segment.p_type(endian) == object::elf::PT_LOAD
                && segment.p_flags(endian) & object::elf::PF_X != 0;
            let is_here = is_code && bytes.contains(&module.file_offset);
            let meant = segment.p_vaddr(endian).wrapping_sub(offset).wrapping_add(module.file_offset);
            is_here.then(|| module.code.start.wrapping_sub(meant))
        })
    })
}

/// Where the file means a section to be.
pub fn section_range(module: &Module, name: &str) -> Option<Range<u64>> {
    with_file(module, |file| {
        let section = file.section_by_name(name)?;
        Some(section.address()..section.address().checked_add(section.size())?)
    })
}

/// A section of a module's file, by name.
pub fn section(module: &Module, name: &str) -> Option<Section> {
    with_file(module, |file| {
        let section = file.section_by_name(name)?;
        if section.size() > SECTION_BYTES_MAX {
            return None;
        }
        let bytes = section.data().ok()?.to_vec();
        Some((section.address()..section.address().checked_add(section.size())?, bytes))
    })
}

/// Reads of a file what is asked for, not all of it: with its line tables a program is large.
fn with_file<T>(
    module: &Module,
    read: impl FnOnce(&ElfFile64<'_, object::Endianness, &ReadCache<File>>) -> Option<T>,
) -> Option<T> {
    let cache = ReadCache::new(File::open(file_of(module)).ok()?);
    read(&ElfFile64::parse(&cache).ok()?)
}

/// Where to read a module: this program by the link that leads to it even when its file was replaced.
pub fn file_of(module: &Module) -> &str {
    // The list of mappings and the link both say " (deleted)" of a file that is no more.
    match std::fs::read_link(OWN) {
        Ok(own) if own.to_str() == Some(&module.path) => OWN,
        _ => &module.path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_listed() {
        let code = "55d0a000-55d0f000 r-xp 00002000 fe:01 1234                       /usr/bin/a program";
        let want = Module {
            path: "/usr/bin/a program".to_owned(),
            code: 0x55d0_a000..0x55d0_f000,
            file_offset: 0x2000,
            bias: 0,
        };
        assert_eq!(code_of(code), Some(want));
        for other in [
            "55d0a000-55d0f000 r--p 00002000 fe:01 1234 /usr/bin/program",
            "7ffd6a1f2000-7ffd6a1f4000 r-xp 00000000 00:00 0 [vdso]",
            "7ffd6a1f2000-7ffd6a1f4000 r-xp 00000000 00:00 0",
            "nonsense",
            "",
        ] {
            assert_eq!(code_of(other), None, "{other}");
        }
    }

    #[test]
    fn this_code_is_in_a_module_that_has_unwind_tables() {
        let modules = of_process().expect("a list of mappings");
        let here = find(&modules, only_code_of_files_is_listed as *const () as u64).expect("a module");

        let (range, bytes) = section(&modules[here], ".eh_frame").expect("unwind tables");
        assert_eq!(range.end - range.start, bytes.len() as u64);
        assert_eq!(find(&modules, 0), None);
        assert_eq!(find(&modules, u64::MAX), None);
    }
}
