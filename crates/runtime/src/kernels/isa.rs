//! Which instructions the kernels may use.

/// A set of instructions for which kernels are written; what each needs is found out when the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// What every machine has: plain Rust.
    Generic,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL, VBMI and VNNI, beside all that [`Isa::Avx2`] needs.
    Avx512,
    /// 64-bit ARM.
    Neon,
}

impl Isa {
    /// The best set that this machine has.
    pub fn best() -> Isa {
        [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find(|isa| isa.is_here()).unwrap_or(Isa::Generic)
    }

    /// Whether this machine has the set.
    pub fn is_here(self) -> bool {
        match self {
            Isa::Generic => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            _ => false,
        }
    }

    /// The sets that this machine has, the plainest first.
    pub fn here() -> impl Iterator<Item = Isa> {
        [Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_here())
    }
}
