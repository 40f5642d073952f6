//! Sixteen bytes of text as digits: which are none, and what number they make.
//!
//! Where the compiler may count on SSE2, as on every x86-64, it is a handful of vector instructions;
//! anywhere else, a few additions and multiplications of words do the same. `safe_arch` has the
//! instructions as functions of values, so nothing here is unsafe.

#[cfg(target_feature = "sse2")]
pub(super) use vector::{last_digits, others};

#[cfg(not(target_feature = "sse2"))]
pub(super) use scalar::{last_digits, others};

#[cfg(target_feature = "sse2")]
mod vector {
    use safe_arch::{
        add_i16_m128i, bitand_m128i, cmp_gt_mask_i8_m128i, get_i64_from_m128i_s,
        load_unaligned_m128i, m128i, move_mask_i8_m128i, mul_i16_horizontal_add_m128i,
        mul_i16_keep_low_m128i, pack_i32_to_i16_m128i, set_splat_i8_m128i, set_splat_i16_m128i,
        shr_imm_u16_m128i, sub_i8_m128i,
    };

    /// The last `count` bytes of sixteen.
    const LAST: [[u8; 16]; 17] = {
        let mut masks = [[0; 16]; 17];
        let mut count = 0;
        while count <= 16 {
            let mut at = 16 - count;
            while at < 16 {
                masks[count][at] = 0xff;
                at += 1;
            }
            count += 1;
        }
        masks
    };

    /// A bit for each byte that is no digit, the first byte's lowest.
    #[inline]
    pub(in super::super) fn others(text: &[u8; 16]) -> u32 {
        // There are comparisons of signed bytes only: digits become the ten least of those.
        let least = set_splat_i8_m128i(b'0'.wrapping_add(0x80).cast_signed());
        let shifted = sub_i8_m128i(load_unaligned_m128i(text), least);
        let above = cmp_gt_mask_i8_m128i(shifted, set_splat_i8_m128i(i8::MIN + 9));
        move_mask_i8_m128i(above).cast_unsigned()
    }

    /// The number that the last `count` bytes make, which are digits; 16 at most.
    #[inline]
    pub(in super::super) fn last_digits(text: &[u8; 16], count: usize) -> u64 {
        let values = sub_i8_m128i(load_unaligned_m128i(text), set_splat_i8_m128i(0x30));
        let values = bitand_m128i(values, load_unaligned_m128i(&LAST[count]));
        let high = bitand_m128i(values, set_splat_i16_m128i(0xff));
        let high = mul_i16_keep_low_m128i(high, set_splat_i16_m128i(10));
        let twos = add_i16_m128i(high, shr_imm_u16_m128i::<8>(values));
        let hundreds = m128i::from([100_i16, 1, 100, 1, 100, 1, 100, 1]);
        let fours = mul_i16_horizontal_add_m128i(twos, hundreds);
        let fours = pack_i32_to_i16_m128i(fours, fours);
        let myriads = m128i::from([10_000_i16, 1, 10_000, 1, 10_000, 1, 10_000, 1]);
        let eights = mul_i16_horizontal_add_m128i(fours, myriads);
        let both = get_i64_from_m128i_s(eights).cast_unsigned();
        (both & u64::from(u32::MAX)) * 100_000_000 + (both >> 32)
    }
}

#[cfg(any(test, not(target_feature = "sse2")))]
mod scalar {
    /// A bit for each byte that is no digit, the first byte's lowest.
    #[inline]
    pub(in super::super) fn others(text: &[u8; 16]) -> u32 {
        let bytes = text.iter().rev();
        bytes.fold(0, |others, byte| {
            others << 1 | u32::from(!byte.is_ascii_digit())
        })
    }

    /// The number that the last `count` bytes make, which are digits; 16 at most.
    #[inline]
    pub(in super::super) fn last_digits(text: &[u8; 16], count: usize) -> u64 {
        const EACH: u128 = u128::MAX / 0xff;
        let values = u128::from_le_bytes(*text) ^ (EACH * 0x30);
        // Those before become zeros, which lead.
        let last = u128::MAX.checked_shl(128 - 8 * count as u32).unwrap_or(0);
        let values = values & last;
        eight(values as u64) * 100_000_000 + eight((values >> 64) as u64)
    }

    /// The number that eight digits make, the first one in the lowest byte: pairs, fours, all.
    fn eight(digits: u64) -> u64 {
        let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
        (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{last_digits, others, scalar};

    proptest! {
        /// Scenario: any sixteen bytes, most of which are digits, and any number of their last ones as digits.
        /// Guarantees: both ways agree with the plain one on which are no digits, and on the number that the last ones make.
        #[test]
        fn both_ways_agree(
            text in any::<[u8; 16]>(),
            digits in "[0-9]{16}",
            keep in any::<u16>(),
            count in 0_usize..=16,
        ) {
            let digits = digits.as_bytes();
            let mixed: [u8; 16] = std::array::from_fn(|at| {
                if keep >> at & 1 == 1 { digits[at] } else { text[at] }
            });
            let expected = (0..16).filter(|at| !mixed[*at].is_ascii_digit());
            let expected = expected.fold(0, |bits, at| bits | 1 << at);
            prop_assert_eq!(others(&mixed), expected);
            prop_assert_eq!(scalar::others(&mixed), expected);

            let tail: [u8; 16] = std::array::from_fn(|at| {
                if at >= 16 - count { digits[at] } else { text[at] }
            });
            let written = std::str::from_utf8(&tail[16 - count..]).expect("digits");
            let expected = if count == 0 { 0 } else { written.parse().expect("digits") };
            prop_assert_eq!(last_digits(&tail, count), expected);
            prop_assert_eq!(scalar::last_digits(&tail, count), expected);
        }
    }
}
