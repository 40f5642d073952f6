//! One decimal to f32.
//!
//! A number of up to 18 digits and a small exponent is an integer times a power of ten that f64 has
//! exactly, so one conversion and one division (or multiplication) give an f64 within two units of its
//! last place of the number. Rounded once more, to f32, that is the number rounded to f32, unless
//! the middle between two f32 lies as near: then, and for whatever else is out of the ordinary, there
//! is no answer here, and the general parser is asked. Lists are read by [`super::list`], which asks
//! here for what is not written as most numbers are.

/// The powers of ten that f64 has exactly.
pub(super) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// What 18 digits make is less, which always fits into 64 bits with a sign.
const LIMIT: u64 = 10_u64.pow(18);

/// The bits of an f64 that f32 does not have, and what they are in the middle between two f32.
const DROPPED: u64 = (1 << 29) - 1;
const MIDDLE: u64 = 1 << 28;
/// How near the middle the f64 may be without a doubt: more than its error.
const DOUBT: u64 = 4;

/// The number that begins at `start`, and where it ends, if it is an ordinary one. It is strict JSON;
/// what follows the number is not looked at, nor is what stands before it.
pub(super) fn ordinary(text: &[u8], start: usize) -> Option<(f32, usize)> {
    let is_negative = *text.get(start)? == b'-';
    let first = start + usize::from(is_negative);
    let mut at = first;
    let mut digits = 0;
    let mut run = |at: &mut usize| {
        let from = *at;
        while let Some(digit @ 0..=9) = text.get(*at).map(|byte| byte.wrapping_sub(b'0')) {
            if digits >= LIMIT / 10 {
                return None;
            }
            digits = digits * 10 + u64::from(digit);
            *at += 1;
        }
        Some(*at - from).filter(|count| *count > 0)
    };
    if run(&mut at)? > 1 && text[first] == b'0' {
        return None;
    }
    let mut exponent = 0;
    if *text.get(at)? == b'.' {
        at += 1;
        exponent = -i32::try_from(run(&mut at)?).ok()?;
    }
    if matches!(text.get(at)?, b'e' | b'E') {
        let (written, length) = scientific(&text[at + 1..])?;
        exponent += written;
        at += 1 + length;
    }
    let power = *POWERS.get(exponent.unsigned_abs() as usize)?;
    let digits = digits as f64;
    let exact = if exponent < 0 {
        digits / power
    } else {
        digits * power
    };
    let is_normal = (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&exact);
    if !is_normal && exact != 0.0 {
        return None;
    }
    let sign = u32::from(is_negative) << 31;
    let rounded = f32::from_bits((exact as f32).to_bits() | sign);
    (!is_in_doubt(exact)).then_some((rounded, at))
}

/// Whether an f64 that is 0 or in the range of normal f32, and a few units from what it stands for, is so
/// near the middle between two f32 that it does not tell to which of them that is to be rounded.
#[inline]
pub(super) fn is_in_doubt(near: f64) -> bool {
    near.to_bits().wrapping_sub(MIDDLE - DOUBT) & DROPPED <= 2 * DOUBT
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
    const REST: &str = ",                                ]}";
    /// What stands before it.
    const BEFORE: &str = "{\"id\":\"0\",\"values\":[";

    /// What is answered for a text that begins a list, and how long the number is.
    fn answer(text: &str) -> Option<(f32, usize)> {
        let line = format!("{BEFORE}{text}{REST}");
        let (value, end) = ordinary(line.as_bytes(), BEFORE.len())?;
        Some((value, end - BEFORE.len()))
    }

    /// Whether the number was an ordinary one; then it is what the standard library makes of it.
    fn agrees(text: &str) -> bool {
        let Some((value, length)) = answer(text) else {
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
            if text.len() <= 18 {
                assert_eq!(answer(&text), None, "{text}");
            }
            for (nearby, _) in [(middle.next_up(), 1), (middle.next_down(), 0)] {
                agrees(&format!("{nearby}"));
            }
        }
        // 8388608.5 and the next decimal above it, which no f64 tells apart from it.
        assert_eq!(answer("8388608.5"), None);
        assert_eq!(answer("8388608.50000000001"), None);
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
            assert_eq!(answer(text), None, "{text}");
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
            if let Some((value, length)) = ordinary(text.as_bytes(), 0) {
                let number: serde_json::Value = serde_json::from_str(&text[..length]).expect("JSON");
                prop_assert!(number.is_number());
                let expected: f32 = text[..length].parse().expect("a number");
                prop_assert_eq!(value.to_bits(), expected.to_bits());
                prop_assert!(!text[length..].starts_with(|next: char| next.is_ascii_digit()));
            }
        }
    }
}
