//! Element types of MIL tensors, with the names the text form uses.

use std::fmt;

macro_rules! data_types {
    ($($variant:ident => $name:literal, $bits:literal;)*) => {
        /// The element type of a tensor. `Display` gives MIL's own name, e.g. `fp16`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs, reason = "each variant is named by MIL")]
        pub enum DataType { $($variant),* }

        impl DataType {
            /// Every element type, in a fixed order.
            pub const ALL: &[DataType] = &[$(DataType::$variant),*];

            /// MIL's name, e.g. `fp16` or `uint4`.
            pub fn name(self) -> &'static str {
                match self { $(DataType::$variant => $name),* }
            }

            /// Bits that one element takes in packed storage; 0 for strings, which have no fixed size.
            pub fn bits(self) -> u32 {
                match self { $(DataType::$variant => $bits),* }
            }
        }
    };
}

data_types! {
    Bool => "bool", 8;
    String => "string", 0;
    Fp16 => "fp16", 16;
    Fp32 => "fp32", 32;
    Fp64 => "fp64", 64;
    Int4 => "int4", 4;
    Int8 => "int8", 8;
    Int16 => "int16", 16;
    Int32 => "int32", 32;
    Int64 => "int64", 64;
    UInt1 => "uint1", 1;
    UInt2 => "uint2", 2;
    UInt3 => "uint3", 3;
    UInt4 => "uint4", 4;
    UInt6 => "uint6", 6;
    UInt8 => "uint8", 8;
    UInt16 => "uint16", 16;
    UInt32 => "uint32", 32;
    UInt64 => "uint64", 64;
}

impl DataType {
    /// The type that MIL calls `name`, if there is one.
    pub fn from_name(name: &str) -> Option<DataType> {
        Self::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::Fp16 | DataType::Fp32 | DataType::Fp64)
    }

    /// Whether elements are integers of any width (not bool).
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, DataType::Bool | DataType::String)
    }

    /// The unsigned type of `bits` bits, if MIL has one.
    pub fn unsigned(bits: u32) -> Option<DataType> {
        let name = format!("uint{bits}");
        DataType::from_name(&name)
    }

    /// Bytes that `count` packed elements take, or `None` when that overflows or the type is string.
    pub fn byte_len(self, count: u64) -> Option<u64> {
        match self.bits() {
            0 => None,
            bits => Some(count.checked_mul(u64::from(bits))?.div_ceil(8)),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for &d in DataType::ALL {
            assert_eq!(DataType::from_name(d.name()), Some(d));
        }
        assert_eq!(DataType::unsigned(6), Some(DataType::UInt6));
        assert_eq!(DataType::unsigned(5), None);
    }

    #[test]
    fn byte_len_rounds_up_and_refuses_overflow() {
        assert_eq!(DataType::UInt3.byte_len(5), Some(2));
        assert_eq!(DataType::Fp16.byte_len(3), Some(6));
        assert_eq!(DataType::Fp64.byte_len(u64::MAX), None);
        assert_eq!(DataType::String.byte_len(1), None);
    }
}
