//! Text as digits, many bytes at a time: where commas are, which bytes are no digits, and what number
//! the digits make.
//!
//! The same three questions are answered by instructions of AVX2, and by additions and multiplications
//! of words wherever those are not. Who asks which is told in [`super::list`].

/// Arithmetic of 64-bit words.
pub(super) mod words {
    const EACH: u64 = u64::MAX / 0xff;
    const LOW: u64 = EACH * 0x7f;
    const HIGH: u64 = EACH * 0x80;

    /// A bit for each comma, the first byte's lowest.
    #[inline]
    pub(in super::super) fn commas(text: &[u8; 64]) -> u64 {
        let words = text.as_chunks().0.iter().rev();
        words.fold(0, |commas, word| {
            let word = u64::from_le_bytes(*word) ^ (EACH * u64::from(b','));
            commas << 8 | bits(!(((word & LOW) + LOW) | word) & HIGH)
        })
    }

    /// A bit for each byte that is no digit, the first byte's lowest.
    #[inline]
    pub(in super::super) fn others(text: &[u8; 32]) -> u32 {
        let words = text.as_chunks().0.iter().rev();
        words.fold(0, |others, word| {
            let word = u64::from_le_bytes(*word) ^ (EACH * u64::from(b'0'));
            others << 8 | bits((((word & LOW) + EACH * (0x7f - 9)) | word) & HIGH) as u32
        })
    }

    /// The number that the digits in the first 16 bytes make, and the one that those in the last 16 make,
    /// of the bytes in `mask`: the last ones, 24 at most. Each of them is a digit.
    #[inline]
    pub(in super::super) fn halves(text: &[u8; 32], mask: &[u8; 32]) -> [u64; 2] {
        let mut words = [0; 4];
        let both = text.as_chunks().0.iter().zip(mask.as_chunks().0);
        for (word, (text, mask)) in words.iter_mut().zip(both) {
            let values = u64::from_le_bytes(*text) ^ (EACH * u64::from(b'0'));
            *word = eight(values & u64::from_le_bytes(*mask));
        }
        let [_, head, high, low] = words;
        [head, high * 100_000_000 + low]
    }

    /// The highest bits of eight bytes, which have no others, side by side.
    fn bits(highest: u64) -> u64 {
        (highest >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    /// The number that eight digits make, the first one in the lowest byte: pairs, fours, all.
    fn eight(digits: u64) -> u64 {
        let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
        (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
    }
}

/// Instructions of AVX2.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi128_si64, _mm256_and_si256, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
        _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_packus_epi32, _mm256_set1_epi8, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_sub_epi8,
    };

    /// As [`super::words::commas`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn commas(text: &[u8; 64]) -> u64 {
        let halves = text.as_chunks().0.iter().rev();
        halves.fold(0, |commas, half| {
            let are = _mm256_cmpeq_epi8(load(half), _mm256_set1_epi8(b','.cast_signed()));
            commas << 32 | u64::from(_mm256_movemask_epi8(are).cast_unsigned())
        })
    }

    /// As [`super::words::others`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn others(text: &[u8; 32]) -> u32 {
        let values = values(text);
        let nine = _mm256_set1_epi8(9);
        let are = _mm256_cmpeq_epi8(_mm256_min_epu8(values, nine), values);
        !_mm256_movemask_epi8(are).cast_unsigned()
    }

    /// As [`super::words::halves`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn halves(text: &[u8; 32], mask: &[u8; 32]) -> [u64; 2] {
        let values = _mm256_and_si256(values(text), load(mask));
        // Neighbours are joined by ten and one, by a hundred and one, and by ten thousand and one.
        let twos = _mm256_maddubs_epi16(values, _mm256_set1_epi16(0x01_0a));
        let fours = _mm256_madd_epi16(twos, _mm256_set1_epi32(0x0001_0064));
        let fours = _mm256_packus_epi32(fours, fours);
        let eights = _mm256_madd_epi16(fours, _mm256_set1_epi32(0x0001_2710));
        let first = _mm_cvtsi128_si64(_mm256_castsi256_si128(eights)).cast_unsigned();
        let last = _mm_cvtsi128_si64(_mm256_extracti128_si256::<1>(eights)).cast_unsigned();
        let low = last & u64::from(u32::MAX);
        [first >> 32, low * 100_000_000 + (last >> 32)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn values(text: &[u8; 32]) -> __m256i {
        _mm256_sub_epi8(load(text), _mm256_set1_epi8(b'0'.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; 32]) -> __m256i {
        safe_arch::m256i::from(*bytes).0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::words::{commas, halves, others};

    proptest! {
        /// Scenario: any 64 bytes, most of which are digits and commas, and any number of the last of 32 bytes as digits.
        /// Guarantees: words tell where commas are, what are no digits, and what the digits make. That AVX2 agrees is a test of `list`.
        #[test]
        fn words_are_right(
            text in any::<[u8; 64]>(),
            usual in "[0-9,]{64}",
            keep in any::<u64>(),
            digits in "[0-9]{24}",
            count in 0_usize..=24,
        ) {
            let usual = usual.as_bytes();
            let mixed: [u8; 64] = std::array::from_fn(|at| {
                if keep >> at & 1 == 1 { usual[at] } else { text[at] }
            });
            let bits = |is: fn(u8) -> bool| {
                let are = (0..64).filter(|at| is(mixed[*at]));
                are.fold(0, |bits, at| bits | 1_u64 << at)
            };
            let tail: [u8; 32] = std::array::from_fn(|at| {
                if at >= 32 - count { digits.as_bytes()[at - 8] } else { text[at] }
            });
            let mask: [u8; 32] = std::array::from_fn(|at| if at >= 32 - count { 0xff } else { 0 });
            let number = |text: &[u8]| {
                let text = str::from_utf8(text).expect("digits");
                if text.is_empty() { 0 } else { text.parse().expect("digits") }
            };
            let head = number(&tail[32 - count..32 - count.min(16)]);
            prop_assert_eq!(commas(&mixed), bits(|byte| byte == b','));
            let half = mixed.first_chunk().expect("32 bytes");
            prop_assert_eq!(others(half), bits(|byte| !byte.is_ascii_digit()) as u32);
            let tail_number = number(&tail[32 - count.min(16)..]);
            prop_assert_eq!(halves(&tail, &mask), [head, tail_number]);
        }
    }
}
