//! Bits, and the codes that all of Prometheus' chunks are made of.
//!
//! ```text
//! uvarint: seven bits a byte, the lowest first; varint: the same of a zigzag number
//! varbit:  0 → "0", else "10" 3 bits, "110" 6, "1110" 9, "11110" 12, "111110" 18, "1111110" 25,
//!          "11111110" 56 or "11111111" 64 bits; signed: two's complement, from -(2^(n-1) - 1) to 2^(n-1)
//! xor:     equal → "0"; within the window of significant bits of before → "10" bits;
//!          else "11" 5 bits leading zeros, 6 bits length (64 as 0), bits
//! ```

/// Widths of the varbit code and the bits that announce them, the last one without an end.
const VARBIT: [(u32, u64, u32); 8] = [
    (3, 0b10, 2),
    (6, 0b110, 3),
    (9, 0b1110, 4),
    (12, 0b1_1110, 5),
    (18, 0b11_1110, 6),
    (25, 0b111_1110, 7),
    (56, 0b1111_1110, 8),
    (64, 0b1111_1111, 8),
];

/// Bits from the highest to the lowest, the last byte filled with zeros.
#[derive(Default)]
pub struct Bits {
    pub bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

impl Bits {
    /// Appends the `count` lowest bits of `number`.
    pub fn push(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (number >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - taken)) as u8;
            }
            self.free -= taken;
            left -= taken;
        }
    }

    pub fn push_float(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    pub fn push_uvarint(&mut self, number: u64) {
        let mut rest = number;
        while rest >= 0x80 {
            self.push(rest & 0x7f | 0x80, 8);
            rest >>= 7;
        }
        self.push(rest, 8);
    }

    pub fn push_varint(&mut self, number: i64) {
        self.push_uvarint(((number << 1) ^ (number >> 63)) as u64);
    }

    pub fn push_varbit(&mut self, number: i64) {
        let fits = |bits: u32| {
            let half = 1i64 << (bits - 1);
            -(half - 1) <= number && number <= half
        };
        self.push_coded(number as u64, |bits| bits == 64 || fits(bits));
    }

    pub fn push_varbit_unsigned(&mut self, number: u64) {
        self.push_coded(number, |bits| bits == 64 || number >> bits == 0);
    }

    fn push_coded(&mut self, number: u64, fits: impl Fn(u32) -> bool) {
        if number == 0 {
            self.push(0, 1);
            return;
        }
        let code = VARBIT.iter().find(|(bits, ..)| fits(*bits));
        let (bits, announced, announced_bits) = code.expect("everything fits into 64 bits");
        self.push(*announced, *announced_bits);
        self.push(number, *bits);
    }
}

/// A float that is written as its difference to the one before.
#[derive(Clone, Debug)]
pub struct Xor {
    bits: u64,
    window: Option<Window>,
}

/// Where the significant bits of the last difference stood.
#[derive(Clone, Copy, Debug)]
struct Window {
    leading: u32,
    trailing: u32,
}

impl Xor {
    /// After the first value, which stands in full.
    pub fn after(value: f64) -> Self {
        Self { bits: value.to_bits(), window: None }
    }

    pub fn push(&mut self, out: &mut Bits, value: f64) {
        let difference = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if difference == 0 {
            out.push(0, 1);
            return;
        }
        out.push(1, 1);
        // Five bits hold no more.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        let within = self.window.filter(|window| leading >= window.leading && trailing >= window.trailing);
        let window = match within {
            Some(window) => {
                out.push(0, 1);
                window
            }
            None => {
                out.push(1, 1);
                out.push(u64::from(leading), 5);
                out.push(u64::from(64 - leading - trailing), 6);
                *self.window.insert(Window { leading, trailing })
            }
        };
        out.push(difference >> window.trailing, 64 - window.leading - window.trailing);
    }
}
