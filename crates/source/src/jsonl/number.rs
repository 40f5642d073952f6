//! Decimals as files have them to f32, sixteen digits at a time.
//!
//! A number of up to 18 digits and a small exponent is an integer `w` times a power of ten that f64 has
//! exactly, so one conversion and one division (or multiplication) give an f64 within two units of its
//! last place of the number. Rounded once more, to f32, that is the number rounded to f32, unless
//! the middle between two f32 lies as near: then, and for whatever else is out of the ordinary, there
//! is no answer here, and the general parser is asked. What embeddings are written as, digits with a
//! point among them, is read without a loop or a branch for each digit: such branches are what parsing
//! numbers costs, since their lengths and signs are random.

use super::digits::{last_digits, others};

/// The powers of ten that f64 has exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// The digits that always fit into 64 bits with a sign.
const MOST_DIGITS: usize = 18;
/// How many digits one step takes.
const STEP: usize = 16;
/// What is looked at of a number and around it: a step before it, and two from its first byte on.
type Window = [u8; 3 * STEP];

/// The bits of an f64 that f32 does not have, and what they are in the middle between two f32.
const DROPPED: u64 = (1 << 29) - 1;
const MIDDLE: u64 = 1 << 28;
/// How near the middle the f64 may be without a doubt: more than twice its error.
const DOUBT: u64 = 4;

/// The powers of ten by which digits are shifted.
const TENS: [u64; MOST_DIGITS + 1] = {
    let mut powers = [1; MOST_DIGITS + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The number that begins at `start`, and where it ends, if it is an ordinary one. It is strict JSON;
/// what follows the number is not looked at, nor is what stands before it.
#[inline]
pub(super) fn ordinary(text: &[u8], start: usize) -> Option<(f32, usize)> {
    let window = start
        .checked_sub(STEP)
        .and_then(|from| text.get(from..)?.first_chunk());
    match window.and_then(with_point) {
        Some((value, length)) => Some((value, start + length)),
        None => digit_by_digit(text, start),
    }
}

/// A number with digits on both sides of its point and without an exponent, and its length.
#[inline]
fn with_point(window: &Window) -> Option<(f32, usize)> {
    // Of the first byte it is known that it begins a number: a sign or a digit.
    let mut others_at = others(step(window, STEP)) & !1;
    if others_at & others_at.wrapping_sub(1) == 0 {
        others_at |= others(step(window, 2 * STEP)) << STEP;
    }
    let after_point = others_at & others_at.wrapping_sub(1);
    let point = others_at.trailing_zeros() as usize % (2 * STEP);
    let end = after_point.trailing_zeros() as usize % (2 * STEP);

    let sign = usize::from(window[STEP] == b'-');
    let fraction = end.wrapping_sub(point + 1);
    if window[STEP + point] != b'.'
        || !(1..POWERS.len()).contains(&fraction)
        || matches!(window[STEP + end], b'e' | b'E')
    {
        return None;
    }
    let first = u64::from(window[STEP + sign].wrapping_sub(b'0'));
    let mut digits = if point == sign + 1 && first < 10 {
        first
    } else {
        several(window, sign, point, fraction)?
    };
    let mut tail = fraction;
    if fraction > STEP {
        tail = STEP;
        let head = fraction - STEP;
        digits = digits * TENS[head] + last_digits(step(window, point + 1 + head), head);
        if digits >= TENS[MOST_DIGITS - STEP] {
            return None;
        }
    }
    let digits = digits * TENS[tail] + last_digits(step(window, end), tail);
    // Through a signed one, which is an instruction of its own on most machines.
    let exact = digits as i64 as f64 / POWERS[fraction];
    Some((rounded(exact, sign == 1)?, end))
}

/// Sixteen bytes of the window.
#[inline]
fn step(window: &Window, from: usize) -> &[u8; STEP] {
    window[from..].first_chunk().unwrap_or(&[0; STEP])
}

/// Several digits before the point, if there is room for those behind it too.
fn several(window: &Window, sign: usize, point: usize, fraction: usize) -> Option<u64> {
    let whole = point.wrapping_sub(sign);
    let is_led_by_digit = matches!(window[STEP + sign], b'1'..=b'9');
    let fits = (2..=STEP).contains(&whole) && whole + fraction <= MOST_DIGITS;
    (is_led_by_digit && fits).then(|| last_digits(step(window, point), whole))
}

/// Any ordinary number, and where it ends.
fn digit_by_digit(text: &[u8], start: usize) -> Option<(f32, usize)> {
    let is_negative = *text.get(start)? == b'-';
    let first = start + usize::from(is_negative);
    let mut at = first;
    let mut digits = 0;
    let mut run = |at: &mut usize| {
        let from = *at;
        while let Some(digit @ 0..=9) = text.get(*at).map(|byte| byte.wrapping_sub(b'0')) {
            if digits >= TENS[MOST_DIGITS - 1] {
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
    Some((rounded(exact, is_negative)?, at))
}

/// What is 0 or in the range of normal f32, as the nearest of them; none near the middle between two.
#[inline]
fn rounded(magnitude: f64, is_negative: bool) -> Option<f32> {
    let distance = (magnitude.to_bits() & DROPPED).abs_diff(MIDDLE);
    if distance <= DOUBT {
        return None;
    }
    let sign = u32::from(is_negative) << 31;
    Some(f32::from_bits((magnitude as f32).to_bits() | sign))
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
            if text.len() <= MOST_DIGITS {
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
