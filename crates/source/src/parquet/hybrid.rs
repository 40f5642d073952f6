//! Parquet's hybrid of run lengths and packed bits, which holds levels and dictionary indices.
//!
//! ```text
//! hybrid = run*
//! run    = varint(count * 2)      value      in as many whole bytes as a value needs, little-endian
//!        | varint(groups * 2 + 1) packed     8 values a group, `width` bits each, lowest bit first
//! ```
//!
//! The `parquet` crate has a decoder but does not export it; and it writes each level out, where a run
//! of thousands answers with one comparison. Nothing is allocated here, and each step consumes input,
//! so that bytes that lie cost no more than their length.

/// Some values, as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// One value, so many times.
    Repeated { value: u32, count: usize },
    /// So many values, each of which [`unpacked`] gives.
    Packed { bytes: &'a [u8], count: usize },
}

/// Takes a number off the front of `bytes`: seven bits a byte, the lowest first. `None` if it does not
/// end or is beyond 64 bits.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte;
        (byte, *bytes) = bytes.split_first().map(|(byte, rest)| (*byte, rest))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes a run of values of `width` bits, 32 at most, off the front of `bytes`. `None` if there is none,
/// or none that a writer makes: an empty one, a longer one than pages are, a value beyond its width.
pub(super) fn take_run<'a>(bytes: &mut &'a [u8], width: u32) -> Option<Run<'a>> {
    let head = take_varint(bytes)?;
    let is_packed = head % 2 == 1;
    let count = (head / 2).checked_mul(if is_packed { 8 } else { 1 })?;
    let count = i32::try_from(count).ok().filter(|count| *count > 0)?;
    let count = usize::try_from(count).ok()?;
    if is_packed && width > 0 {
        // Some writers leave out the end of the last group, which nobody needs.
        let stated = (count / 8).checked_mul(width as usize)?;
        let (packed, rest) = bytes.split_at(stated.min(bytes.len()));
        *bytes = rest;
        return Some(Run::Packed {
            bytes: packed,
            count: count.min(packed.len() * 8 / width as usize),
        });
    }
    let length = if is_packed { 0 } else { width.div_ceil(8) };
    let (value, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    let value = value.iter().rev();
    let value = value.fold(0, |value, byte| value << 8 | u32::from(*byte));
    let fits = u64::from(value) >> width == 0;
    fits.then_some(Run::Repeated { value, count })
}

/// The value at `index` of a packed run; 0 beyond its end.
pub(super) fn unpacked(packed: &[u8], width: u32, index: usize) -> u32 {
    let first = index * width as usize;
    let rest = packed.get(first / 8..).unwrap_or_default();
    // With the bits before it in its first byte, a value is at most 39 bits.
    let window = match rest.first_chunk::<8>() {
        Some(window) => u64::from_le_bytes(*window),
        None => {
            let bytes = rest.iter().rev();
            bytes.fold(0, |window, byte| window << 8 | u64::from(*byte))
        }
    };
    let value = window >> (first % 8) & ((1_u64 << width) - 1);
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Whether the first `count` values are all `value`.
pub(super) fn are_all(mut bytes: &[u8], width: u32, value: u32, mut count: usize) -> bool {
    while count > 0 {
        let seen = match take_run(&mut bytes, width) {
            Some(Run::Repeated { value: it, count }) if it == value => count,
            Some(Run::Packed {
                bytes: packed,
                count: some,
            }) if (0..some.min(count)).all(|index| unpacked(packed, width, index) == value) => some,
            _ => return false,
        };
        count = count.saturating_sub(seen);
    }
    true
}

/// Whether the first `count` values are repetition levels of lists of `length` values each: 0 where a
/// list begins, 1 within it. The first value stands at `place` of its list.
pub(super) fn are_lists(mut bytes: &[u8], length: usize, mut place: usize, count: usize) -> bool {
    let mut rest = count;
    while rest > 0 {
        let Some(run) = take_run(&mut bytes, 1) else {
            return false;
        };
        let seen = match run {
            Run::Repeated { value, count } => {
                let seen = count.min(rest);
                let fits = match value {
                    _ if seen == 0 => true,
                    0 => place == 0 && (seen == 1 || length == 1),
                    1 => place > 0 && seen <= length - place,
                    _ => false,
                };
                if !fits {
                    return false;
                }
                place = (place + seen) % length;
                seen
            }
            Run::Packed { bytes, count } => {
                let seen = count.min(rest);
                for (group, levels) in bytes.iter().enumerate() {
                    let some = seen.saturating_sub(group * 8).min(8);
                    let mut expected = (1_u32 << some) - 1;
                    let mut start = if place == 0 { 0 } else { length - place };
                    while start < some {
                        expected &= !(1 << start);
                        start += length;
                    }
                    if (u32::from(*levels) ^ expected) & ((1 << some) - 1) != 0 {
                        return false;
                    }
                    place += some;
                    if place >= length {
                        place %= length;
                    }
                }
                seen
            }
        };
        rest -= seen;
    }
    true
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `values` as runs: `cuts` says in turn how many values to pack, in eights, or to repeat at most.
    /// The last values are packed.
    pub(in super::super) fn hybrid(values: &[u32], width: u32, cuts: &[(bool, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = values;
        for (is_packed, most) in cuts.iter().chain([&(true, usize::MAX)]) {
            if rest.is_empty() {
                break;
            }
            let packed = most.saturating_mul(8).min(rest.len().next_multiple_of(8));
            let alike = rest.iter().take_while(|value| Some(*value) == rest.first());
            let alike = alike.count().min(*most);
            if *is_packed {
                put_varint((packed / 8 * 2 + 1) as u64, &mut bytes);
                put_packed(&rest[..packed.min(rest.len())], width, packed, &mut bytes);
                rest = &rest[packed.min(rest.len())..];
            } else {
                put_varint(alike as u64 * 2, &mut bytes);
                bytes.extend(&rest[0].to_le_bytes()[..width.div_ceil(8) as usize]);
                rest = &rest[alike..];
            }
        }
        bytes
    }

    fn put_varint(mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    /// Bit by bit, as the format has it.
    fn put_packed(values: &[u32], width: u32, count: usize, out: &mut Vec<u8>) {
        let from = out.len();
        out.resize(from + count / 8 * width as usize, 0);
        for (index, value) in values.iter().enumerate() {
            for bit in 0..width as usize {
                let at = index * width as usize + bit;
                out[from + at / 8] |= ((value >> bit & 1) as u8) << (at % 8);
            }
        }
    }

    fn read(mut bytes: &[u8], width: u32, count: usize) -> Option<Vec<u32>> {
        let mut values = Vec::new();
        while values.len() < count {
            match take_run(&mut bytes, width)? {
                Run::Repeated { value, count } => values.extend(std::iter::repeat_n(value, count)),
                Run::Packed { bytes, count } => {
                    values.extend((0..count).map(|index| unpacked(bytes, width, index)));
                }
            }
        }
        values.truncate(count);
        Some(values)
    }

    fn cuts() -> impl Strategy<Value = Vec<(bool, usize)>> {
        proptest::collection::vec((any::<bool>(), 1_usize..12), 0..20)
    }

    proptest! {
        /// Scenario: values of every width, in runs of any kind and length.
        /// Guarantees: they are read as they were; from bytes that were cut, never more or others.
        #[test]
        fn values_come_back(
            values in proptest::collection::vec(0_u32..4, 0..200),
            width in 0_u32..=32,
            cuts in cuts(),
            cut in any::<prop::sample::Index>(),
        ) {
            // Small ones, so that runs are long, and as large as the width allows.
            let most = u32::try_from((1_u64 << width) - 1).unwrap();
            let of = |value: u32| if value < 2 { value.min(most) } else { most - (value - 2).min(most) };
            let values: Vec<u32> = values.into_iter().map(of).collect();
            let bytes = hybrid(&values, width, &cuts);
            prop_assert_eq!(read(&bytes, width, values.len()), Some(values.clone()));
            if let Some(found) = read(&bytes[..cut.index(bytes.len() + 1)], width, values.len()) {
                prop_assert_eq!(found, values);
            }
        }

        /// Scenario: levels of lists of one length, from any place in a list, as any runs; then one
        /// level of them changed.
        /// Guarantees: they are recognised, and the changed ones are not.
        #[test]
        fn lists_of_one_length(
            length in 1_usize..20,
            place in any::<prop::sample::Index>(),
            count in 1_usize..300,
            cuts in cuts(),
            changed in any::<prop::sample::Index>(),
        ) {
            let place = place.index(length);
            let mut levels: Vec<u32> = (place..place + count)
                .map(|at| u32::from(at % length != 0))
                .collect();
            let bytes = hybrid(&levels, 1, &cuts);
            prop_assert!(are_lists(&bytes, length, place, count));
            levels[changed.index(count)] ^= 1;
            let bytes = hybrid(&levels, 1, &cuts);
            prop_assert!(!are_lists(&bytes, length, place, count));
        }

        /// Scenario: one level many times, as any runs; then one of them changed.
        /// Guarantees: that all are alike is recognised, and that one is not.
        #[test]
        fn levels_that_are_alike(
            width in 1_u32..4,
            level in 0_u32..2,
            count in 1_usize..300,
            cuts in cuts(),
            changed in any::<prop::sample::Index>(),
        ) {
            let mut levels = vec![level; count];
            prop_assert!(are_all(&hybrid(&levels, width, &cuts), width, level, count));
            levels[changed.index(count)] ^= 1;
            prop_assert!(!are_all(&hybrid(&levels, width, &cuts), width, level, count));
        }

        /// Scenario: any bytes at all.
        /// Guarantees: reading them ends, without a panic and without memory for what they claim.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), width in 0_u32..=32) {
            let mut rest: &[u8] = &bytes;
            let mut runs = 0;
            while let Some(run) = take_run(&mut rest, width) {
                runs += 1;
                if let Run::Packed { bytes, count } = run {
                    prop_assert!(count <= bytes.len() * 8);
                    prop_assert!((0..=count).all(|at| u64::from(unpacked(bytes, width, at)) >> width == 0));
                }
            }
            prop_assert!(runs <= bytes.len());
            let _ = are_all(&bytes, width, 1, usize::MAX);
            let _ = are_lists(&bytes, 3, 1, usize::MAX);
        }
    }
}
