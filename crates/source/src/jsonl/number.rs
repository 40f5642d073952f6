//! Decimals as files have them to f32, eight digits at a time.
//!
//! A number of up to 18 digits and a small exponent is an integer `w` times a power of ten that f64 has
//! exactly, so one conversion and one division (or multiplication) give an f64 within two units of its
//! last place of the number. Rounded once more, to f32, that is the number rounded to f32, unless
//! the middle between two f32 lies as near: then, and for whatever else is out of the ordinary, there
//! is no answer here, and the general parser is asked. Digits are taken from words of eight bytes
//! without a loop or a branch for each: such branches are what parsing numbers costs, since their
//! lengths and signs are random.

/// The powers of ten that f64 has exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// The digits that always fit into 64 bits with a sign, and the numbers that have one digit less.
const MOST_DIGITS: usize = 18;
const ROOM_FOR_ONE: u64 = TENS[MOST_DIGITS - 1];

/// The bits of an f64 that f32 does not have, and what they are in the middle between two f32.
const DROPPED: u64 = (1 << 29) - 1;
const MIDDLE: u64 = 1 << 28;
/// How near the middle the f64 may be without a doubt: more than twice its error.
const DOUBT: u64 = 4;

/// The number that a text begins with, and its length, if it is an ordinary one. It is strict JSON;
/// what follows the number is not looked at.
#[inline]
pub(super) fn ordinary(text: &[u8]) -> Option<(f32, usize)> {
    let is_negative = *text.first()? == b'-';
    let mut at = usize::from(is_negative);
    let first = text.get(at)?.wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    at += 1;
    let mut digits = u64::from(first);
    let mut count = 0;
    if first != 0 {
        let (more, length) = run(text.get(at..at + 16)?);
        digits = digits * TENS[length] + more;
        count = 1 + length;
        at += length;
    }
    let mut exponent = 0;
    if *text.get(at)? == b'.' {
        let (more, mut length) = run(text.get(at + 1..at + 17)?);
        if length == 0 || count + length > MOST_DIGITS {
            return None;
        }
        digits = digits * TENS[length] + more;
        at += 1 + length;
        if length == 16 {
            // The last digits of a double.
            while let Some(digit @ 0..=9) = text.get(at).map(|byte| byte.wrapping_sub(b'0')) {
                if digits >= ROOM_FOR_ONE {
                    return None;
                }
                digits = digits * 10 + u64::from(digit);
                length += 1;
                at += 1;
            }
        }
        exponent = -(length as i32);
    }
    let after = *text.get(at)?;
    if after.is_ascii_digit() {
        // A zero that leads, which JSON does not have.
        return None;
    }
    if matches!(after, b'e' | b'E') {
        let (written, length) = scientific(&text[at + 1..])?;
        exponent += written;
        at += 1 + length;
    }
    let magnitude = exponent.unsigned_abs() as usize;
    // Through a signed one, which is an instruction of its own on most machines.
    let digits = digits as i64 as f64;
    let exact = if exponent < 0 {
        digits / POWERS.get(magnitude)?
    } else {
        digits * POWERS.get(magnitude)?
    };
    let distance = (exact.to_bits() & DROPPED).abs_diff(MIDDLE);
    let is_normal = exact >= f64::from(f32::MIN_POSITIVE) && exact < f64::from(f32::MAX);
    if distance <= DOUBT || !(is_normal || digits == 0.0) {
        return None;
    }
    let sign = u32::from(is_negative) << 31;
    Some((f32::from_bits((exact as f32).to_bits() | sign), at))
}

/// The powers of ten by which digits are shifted.
const TENS: [u64; MOST_DIGITS] = {
    let mut powers = [1; MOST_DIGITS];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The digits that a text of 16 bytes begins with, as a number, and how many they are.
#[inline]
fn run(text: &[u8]) -> (u64, usize) {
    let Ok(bytes) = <[u8; 16]>::try_from(text) else {
        return (0, 0);
    };
    const EACH: u128 = u128::MAX / 0xff;
    // Digits become 0 to 9, and whatever else becomes more than that or has its high bit set.
    let values = u128::from_le_bytes(bytes) ^ (EACH * 0x30);
    let others = (((values & (EACH * 0x7f)) + EACH * 0x76) | values) & (EACH * 0x80);
    let length = (others.trailing_zeros() / 8) as usize;
    if length == 0 {
        return (0, 0);
    }
    // Moved to the end, so that zeros lead.
    let aligned = values << (128 - 8 * length);
    let number = eight(aligned as u64) * 100_000_000 + eight((aligned >> 64) as u64);
    (number, length)
}

/// The number that eight digits make, the first one in the lowest byte: pairs, fours, all.
#[inline]
fn eight(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// An exponent of one or two digits after its letter, and its length.
fn scientific(text: &[u8]) -> Option<(i32, usize)> {
    let signed = usize::from(matches!(text.first()?, b'+' | b'-'));
    let digit = |at: usize| text.get(at).filter(|byte| byte.is_ascii_digit());
    let mut value = i32::from(digit(signed)? - b'0');
    let mut length = signed + 1;
    if let Some(second) = digit(length) {
        value = value * 10 + i32::from(second - b'0');
        length += 1;
    }
    // A third one is out of the ordinary.
    if digit(length).is_some() {
        return None;
    }
    Some((if text[0] == b'-' { -value } else { value }, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    /// What follows in a line; without it the words at the end of a number could not be read.
    const REST: &str = ",                  ]}";

    /// Whether the number was an ordinary one; then it is what the standard library makes of it.
    fn agrees(text: &str) -> bool {
        let Some((value, length)) = ordinary(format!("{text}{REST}").as_bytes()) else {
            return false;
        };
        let expected: f32 = text.parse().expect("a number");
        assert_eq!(length, text.len(), "{text}");
        assert_eq!(value.to_bits(), expected.to_bits(), "{text}: {value:e}");
        true
    }

    /// Scenario: 100,000 f32 of random bits, as the shortest decimal that is them and as the
    /// double that they are, with 17 digits; and as many from [-1, 1).
    /// Guarantees: each is read as exactly that f32, or left to the general parser; those of embeddings
    /// are hardly ever left.
    #[test]
    fn both_forms_of_random_numbers_are_exact() {
        let mut random = StdRng::seed_from_u64(20_261_121);
        let (mut ordinary, mut count) = (0, 0);
        for _ in 0..100_000 {
            let any = f32::from_bits(random.random());
            if any.is_finite() {
                agrees(&serde_json::to_string(&any).expect("a number"));
                agrees(&serde_json::to_string(&f64::from(any)).expect("a number"));
            }
            let small = random.random_range(-1.0_f32..1.0);
            let double = random.random_range(-1.0_f64..1.0);
            for text in [
                format!("{small}"),
                format!("{}", f64::from(small)),
                format!("{double}"),
            ] {
                ordinary += u32::from(agrees(&text));
                count += 1;
            }
        }
        assert!(ordinary > count / 1000 * 999, "{ordinary} of {count}");
    }

    /// Scenario: decimals in the middle between two f32, and beside it by less than an f64 tells.
    /// Guarantees: none is answered here, so none is rounded to the wrong side.
    #[test]
    fn middles_are_left_to_the_general_parser() {
        for bits in [0x3f80_0000_u32, 0x3f80_0001, 0x4b00_0001, 0x3dcc_cccd] {
            let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
            let middle = f64::midpoint(low.into(), high.into());
            let text = format!("{middle}");
            if text.len() <= MOST_DIGITS {
                assert_eq!(ordinary(format!("{text}{REST}").as_bytes()), None, "{text}");
            }
            for (nearby, _) in [(middle.next_up(), 1), (middle.next_down(), 0)] {
                agrees(&format!("{nearby}"));
            }
        }
        // 8388608.5 and the next decimal above it, which no f64 tells apart from it.
        assert_eq!(ordinary(format!("8388608.5{REST}").as_bytes()), None);
        assert_eq!(
            ordinary(format!("8388608.50000000001{REST}").as_bytes()),
            None
        );
    }

    /// Scenario: what JSON does not have, and what is out of the ordinary.
    /// Guarantees: there is no answer, so the general parser says what is wrong.
    #[test]
    fn whatever_else_is_left() {
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e5",
            "01",
            "00.5",
            "-01",
            "1e",
            "1e+",
            "NaN",
            "\"1\"",
            "--1",
            "1e-400",
            "1e39",
            "1e-40",
            "3.5e38",
            "1234567890123456789",
            "0.1234567890123456789",
            "12345678901234567.55",
        ] {
            assert_eq!(ordinary(format!("{text}{REST}").as_bytes()), None, "{text}");
        }
        for text in [
            "0",
            "-0",
            "-0.0",
            "1",
            "-7.25",
            "0e5",
            "1e22",
            "6.1e-05",
            "123456789012345.5",
        ] {
            assert!(agrees(text), "{text}");
        }
    }

    proptest! {
        /// Scenario: any text of the bytes that numbers are made of, cut anywhere.
        /// Guarantees: nothing panics; what is answered is JSON and what the standard library makes of it.
        #[test]
        fn any_text_is_json_or_left(text in "[-+0-9.eE,]{0,40}") {
            if let Some((value, length)) = ordinary(text.as_bytes()) {
                let number: serde_json::Value = serde_json::from_str(&text[..length]).expect("JSON");
                prop_assert!(number.is_number());
                let expected: f32 = text[..length].parse().expect("a number");
                prop_assert_eq!(value.to_bits(), expected.to_bits());
                prop_assert!(!text[length..].starts_with(|next: char| next.is_ascii_digit()));
            }
        }
    }
}
