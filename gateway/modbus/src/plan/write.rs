//! Writes on their way to a device: neighbours go in one request. Their order is kept, and no write is lost in
//! another: two to the same place stay two.

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// coils from an address on (05, or 0F hex)
    Coils {
        /// First address.
        address: u16,
        /// Their states.
        bits: Vec<bool>,
    },
    /// holding registers from an address on (06, or 10 hex)
    Registers {
        /// First address.
        address: u16,
        /// Their contents.
        words: Vec<u16>,
    },
    /// some bits of a holding register (16 hex)
    Mask {
        /// Its address.
        address: u16,
        /// Bits that stay.
        and: u16,
        /// Bits that are set.
        or: u16,
    },
}

/// Most of one request (Modbus application protocol V1.1b3, 6.11 and 6.12), or less for devices that take less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// Registers.
    pub words: u16,
    /// Coils.
    pub bits: u16,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { words: 123, bits: 1968 }
    }
}

/// A request, and which writes are in it, as indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What to send.
    pub write: Write,
    /// What it does.
    pub from: Vec<usize>,
}

/// The requests for writes in their order. A write joins the one before it if it goes on where that ends, in the same
/// table: the device then works through both in the same order as before. Masks join if they are of one register and
/// of different bits.
pub fn merge_writes(writes: impl IntoIterator<Item = Write>, limits: WriteLimits) -> Vec<Merged> {
    let mut merged: Vec<Merged> = Vec::new();
    for (index, write) in writes.into_iter().enumerate() {
        let write = match merged.last_mut() {
            Some(last) => match join(&mut last.write, write, limits) {
                None => {
                    last.from.push(index);
                    continue;
                }
                Some(write) => write,
            },
            None => write,
        };
        merged.push(Merged { write, from: vec![index] });
    }
    merged
}

/// Appends `next`, or gives it back.
fn join(last: &mut Write, next: Write, limits: WriteLimits) -> Option<Write> {
    let follows = |first: u16, len: usize, next: u16, more: usize, most: u16| {
        usize::from(first) + len == usize::from(next) && len + more <= usize::from(most)
    };
    match (last, next) {
        (Write::Coils { address, bits }, Write::Coils { address: next, bits: more })
            if follows(*address, bits.len(), next, more.len(), limits.bits) =>
        {
            bits.extend(more);
            None
        }
        (Write::Registers { address, words }, Write::Registers { address: next, words: more })
            if follows(*address, words.len(), next, more.len(), limits.words) =>
        {
            words.extend(more);
            None
        }
        (Write::Mask { address, and, or }, Write::Mask { address: next, and: stay, or: set })
            if *address == next && !*and & !stay == 0 =>
        {
            // Each has its own bits: what the one sets stays with the other.
            *or = *or & !*and | set & !stay;
            *and &= stay;
            None
        }
        (_, next) => Some(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Words;

    fn registers(address: u16, words: &[u16]) -> Write {
        Write::Registers { address, words: words.to_vec() }
    }

    #[test]
    fn neighbours_are_one_request_and_what_is_not_stays_in_its_order() {
        let writes = [
            registers(10, &[1]),
            registers(11, &[2, 3]),
            registers(11, &[4]),
            registers(10, &[5]),
            Write::Coils { address: 11, bits: vec![true] },
            Write::Coils { address: 12, bits: vec![false] },
            Write::Mask { address: 7, and: !1, or: 1 },
            Write::Mask { address: 7, and: !4, or: 0 },
            Write::Mask { address: 7, and: !4, or: 4 },
        ];
        let merged = merge_writes(writes, WriteLimits::default());
        let shape: Vec<_> = merged.iter().map(|m| (m.write.clone(), m.from.clone())).collect();
        assert_eq!(
            shape,
            [
                (registers(10, &[1, 2, 3]), vec![0, 1]),
                (registers(11, &[4]), vec![2]),
                (registers(10, &[5]), vec![3]),
                (Write::Coils { address: 11, bits: vec![true, false] }, vec![4, 5]),
                (Write::Mask { address: 7, and: !5, or: 1 }, vec![6, 7]),
                (Write::Mask { address: 7, and: !4, or: 4 }, vec![8]),
            ]
        );
    }

    #[test]
    fn limits_of_a_request_hold() {
        let many = (0..300u16).map(|n| registers(n, &[n]));
        let sizes: Vec<_> = merge_writes(many, WriteLimits::default()).iter().map(|m| m.from.len()).collect();
        assert_eq!(sizes, [123, 123, 54]);
        assert_eq!(
            merge_writes([registers(65_535, &[1]), registers(0, &[2])], WriteLimits::default()).len(),
            2
        );
    }

    fn apply(memory: &mut [u16; 16], coils: &mut [bool; 16], write: &Write) {
        match write {
            Write::Coils { address, bits } => {
                for (n, bit) in bits.iter().enumerate() {
                    coils[(usize::from(*address) + n) % 16] = *bit;
                }
            }
            Write::Registers { address, words } => {
                for (n, word) in words.iter().enumerate() {
                    memory[(usize::from(*address) + n) % 16] = *word;
                }
            }
            Write::Mask { address, and, or } => {
                let cell = &mut memory[usize::from(*address) % 16];
                *cell = Words::masked(*cell, *and, *or);
            }
        }
    }

    proptest! {
        #![proptest_config(crate::cases(256))]

        #[test]
        fn merged_writes_do_what_the_single_ones_do(
            writes in prop::collection::vec((0u16..14, any::<u16>(), any::<u16>(), 0u8..4), 0..40)
        ) {
            let writes: Vec<_> = writes.into_iter().map(|(address, a, b, kind)| match kind {
                0 => Write::Coils { address, bits: vec![a & 1 == 1] },
                1 => registers(address, &[a]),
                2 => registers(address, &[a, b]),
                _ => Write::Mask { address, and: a, or: b },
            }).collect();
            let (mut one, mut all) = (([7; 16], [false; 16]), ([7; 16], [false; 16]));
            for write in &writes {
                apply(&mut one.0, &mut one.1, write);
            }
            let merged = merge_writes(writes.clone(), WriteLimits::default());
            for m in &merged {
                apply(&mut all.0, &mut all.1, &m.write);
            }
            prop_assert_eq!(one, all);
            let order: Vec<_> = merged.iter().flat_map(|m| m.from.clone()).collect();
            prop_assert_eq!(order, (0..writes.len()).collect::<Vec<_>>());
        }
    }
}
