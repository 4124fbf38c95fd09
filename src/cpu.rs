//! Refuses to start on a CPU that lacks what this binary was compiled for.
//!
//! Without this check such a machine would end the process with an illegal instruction and no
//! word. The standard library's feature detection is of no use: where a feature is part of the
//! compilation target it answers "yes" without asking the CPU.

/// The features that are missing; empty on a machine that will do.
pub fn missing_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return x86_64::missing();
    #[cfg(target_arch = "aarch64")]
    return aarch64::missing(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// Registers that CPUID answers in, as far as they name features.
    #[derive(Clone, Copy, Default)]
    pub struct Cpuid {
        pub leaf1_ecx: u32,
        pub leaf7_ebx: u32,
        pub extended1_ecx: u32,
    }

    /// `x86-64-v3` and what `.cargo/config.toml` adds to it.
    const NEEDED: [(&str, Register, u32); 15] = [
        ("sse3", Register::Leaf1Ecx, 0),
        ("pclmulqdq", Register::Leaf1Ecx, 1),
        ("ssse3", Register::Leaf1Ecx, 9),
        ("fma", Register::Leaf1Ecx, 12),
        ("sse4.2", Register::Leaf1Ecx, 20),
        ("movbe", Register::Leaf1Ecx, 22),
        ("popcnt", Register::Leaf1Ecx, 23),
        ("aes", Register::Leaf1Ecx, 25),
        // The operating system saves the wide registers: without it AVX is there and unusable.
        ("osxsave", Register::Leaf1Ecx, 27),
        ("avx", Register::Leaf1Ecx, 28),
        ("f16c", Register::Leaf1Ecx, 29),
        ("bmi1", Register::Leaf7Ebx, 3),
        ("avx2", Register::Leaf7Ebx, 5),
        ("bmi2", Register::Leaf7Ebx, 8),
        ("lzcnt", Register::Extended1Ecx, 5),
    ];

    #[derive(Clone, Copy)]
    enum Register {
        Leaf1Ecx,
        Leaf7Ebx,
        Extended1Ecx,
    }

    pub fn missing() -> Vec<&'static str> {
        judge(read())
    }

    fn read() -> Cpuid {
        let mut cpuid = Cpuid::default();
        let highest = __cpuid(0).eax;
        let highest_extended = __cpuid(0x8000_0000).eax;
        if highest >= 1 {
            cpuid.leaf1_ecx = __cpuid(1).ecx;
        }
        if highest >= 7 {
            cpuid.leaf7_ebx = __cpuid_count(7, 0).ebx;
        }
        if highest_extended >= 0x8000_0001 {
            cpuid.extended1_ecx = __cpuid(0x8000_0001).ecx;
        }
        cpuid
    }

    pub fn judge(cpuid: Cpuid) -> Vec<&'static str> {
        let lacks = |register: Register, bit: u32| {
            let word = match register {
                Register::Leaf1Ecx => cpuid.leaf1_ecx,
                Register::Leaf7Ebx => cpuid.leaf7_ebx,
                Register::Extended1Ecx => cpuid.extended1_ecx,
            };
            word & (1 << bit) == 0
        };
        NEEDED.iter().filter(|(_, register, bit)| lacks(*register, *bit)).map(|(name, ..)| *name).collect()
    }
}

/// `neoverse-n1`, as the kernel names it. Compiled everywhere so that it is tested somewhere.
#[cfg_attr(
    not(target_arch = "aarch64"),
    allow(dead_code, reason = "used by the other architecture and by tests")
)]
mod aarch64 {
    const NEEDED: [&str; 10] =
        ["fp", "asimd", "aes", "pmull", "crc32", "atomics", "fphp", "asimdhp", "asimdrdm", "asimddp"];

    pub fn missing(cpuinfo: &str) -> Vec<&'static str> {
        // Where the kernel does not tell, starting is the better guess.
        let Some(line) = cpuinfo.lines().find(|line| line.starts_with("Features")) else {
            return Vec::new();
        };
        let has = |name: &str| line.split_whitespace().any(|word| word == name);
        NEEDED.into_iter().filter(|name| !has(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_the_tests_and_so_has_all_features() {
        assert_eq!(missing_features(), Vec::<&str>::new());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_old_cpu_is_told_what_it_lacks() {
        use super::x86_64::{Cpuid, judge};
        let all = Cpuid { leaf1_ecx: u32::MAX, leaf7_ebx: u32::MAX, extended1_ecx: u32::MAX };

        assert!(judge(all).is_empty());
        assert_eq!(judge(Cpuid { leaf7_ebx: !(1 << 5), ..all }), ["avx2"]);
        assert_eq!(judge(Cpuid { leaf1_ecx: !(1 << 1), ..all }), ["pclmulqdq"]);
        assert_eq!(judge(Cpuid { extended1_ecx: 0, ..all }), ["lzcnt"]);
        assert_eq!(judge(Cpuid::default()).len(), 15);
    }

    #[test]
    fn an_arm_kernel_lists_its_features() {
        let line = "Features\t: fp asimd aes pmull crc32 atomics fphp asimdhp asimdrdm";
        assert_eq!(aarch64::missing(line), ["asimddp"]);
        assert!(aarch64::missing("processor : 0").is_empty());
    }
}
