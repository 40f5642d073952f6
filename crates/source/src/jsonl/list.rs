//! The numbers of a list to f32, many at a time.
//!
//! First the commas of a stretch of text are found, 64 bytes at a time; then each number is read from
//! its end, by 32 bytes and without a loop or a branch for each digit, since lengths and signs are
//! random. As it is known where all of them end, none waits for the one before it, and the processor
//! works at several at once.
//!
//! What embeddings are written as is read so: digits, a point, and up to 22 digits; without the zeros that
//! lead they are 18 at most. Such a number is an integer times a power of ten: three roundings to f64, of
//! the integer, of the power and of the product, each of less than a unit of the last place, give one
//! within three units of it. Rounded once more, to f32, that is the number rounded to f32, unless the
//! middle between two f32 lies as near ([`is_in_doubt`]): then, and for whatever else a list holds, the
//! caller is asked.

use std::ops::Range;

use super::{
    digits::words,
    number::{POWERS, is_in_doubt},
};

/// Commas that are found before numbers are read; there may be a block's more.
const STRETCH: usize = 128;
/// Bytes that are searched for commas in one step.
const BLOCK: usize = 64;
/// Bytes that a number is looked for in.
const WINDOW: usize = 32;
/// The digits that always fit into 64 bits with a sign.
const MOST_DIGITS: usize = 18;
/// What a unit of the digits before the last sixteen counts.
const HEAD: u64 = 10_u64.pow(16);
/// What those digits make is less, so that there are [`MOST_DIGITS`] at most. It is odd:
/// one comparison, where for a hundred the compiler finds three instructions.
const HEAD_LIMIT: u64 = 91;

/// What there is to know of a number with a certain count of digits behind its point.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Fraction {
    /// The bytes that have those digits.
    mask: [u8; WINDOW],
    /// What the last digit counts, and the same below zero: a zero has a sign too.
    unit: [f64; 2],
    /// What the last digit before the point counts, in units of the last of all.
    whole: u64,
    /// A single digit before the point is less: more would not fit.
    limit: u16,
}

/// By the count of digits.
static FRACTIONS: [Fraction; POWERS.len()] = {
    let none = Fraction {
        mask: [0; WINDOW],
        unit: [0.0; 2],
        whole: 0,
        limit: 0,
    };
    let mut fractions = [none; POWERS.len()];
    let mut whole = 10;
    let mut count = 1;
    while count < fractions.len() {
        let (before, rest) = fractions.split_at_mut(count);
        let fraction = &mut rest[0];
        fraction.mask = before[count - 1].mask;
        fraction.mask[WINDOW - count] = 0xff;
        let unit = 1.0 / POWERS[count];
        fraction.unit = [unit, -unit];
        fraction.limit = 1;
        if count < MOST_DIGITS {
            fraction.whole = whole;
            fraction.limit = 10;
            whole *= 10;
        }
        count += 1;
    }
    fractions
};
/// Reads the numbers in `list`, between commas, to the end of `values`. What is not as usual is given to
/// `other` with the index in the list: all of it, white space included.
///
/// # Errors
///
/// Those of `other`.
pub(super) fn read<E>(
    text: &[u8],
    list: Range<usize>,
    values: &mut Vec<f32>,
    other: impl FnMut(usize, Range<usize>) -> Result<f32, E>,
) -> Result<(), E> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
    {
        #[expect(
            unsafe_code,
            reason = "`numbers` of benches: it halves what reading a list costs"
        )]
        // SAFETY: the function is safe but for the instructions that it is compiled to, and the
        // processor has just been found to have each of them.
        return unsafe { by_avx2(text, list, values, other) };
    }
    by_words(text, list, values, other)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn by_avx2<E>(
    text: &[u8],
    list: Range<usize>,
    values: &mut Vec<f32>,
    other: impl FnMut(usize, Range<usize>) -> Result<f32, E>,
) -> Result<(), E> {
    use super::digits::avx2;
    // These closures are compiled to the same instructions; as paths they would be unsafe to call.
    let commas = |block: &_| avx2::commas(block);
    let others = |text: &_| avx2::others(text);
    let halves = |text: &_, mask: &_| avx2::halves(text, mask);
    let number = |start, end| number(text, start, end, others, halves);
    stretches(text, list, values, other, commas, number)
}

fn by_words<E>(
    text: &[u8],
    list: Range<usize>,
    values: &mut Vec<f32>,
    other: impl FnMut(usize, Range<usize>) -> Result<f32, E>,
) -> Result<(), E> {
    let number = |start, end| number(text, start, end, words::others, words::halves);
    stretches(text, list, values, other, words::commas, number)
}

/// Finds commas and reads the numbers between them, by turns.
#[inline(always)]
fn stretches<E>(
    text: &[u8],
    list: Range<usize>,
    values: &mut Vec<f32>,
    mut other: impl FnMut(usize, Range<usize>) -> Result<f32, E>,
    commas: impl Fn(&[u8; BLOCK]) -> u64,
    number: impl Fn(usize, usize) -> Option<(f64, usize)>,
) -> Result<(), E> {
    let mut ends = [0; STRETCH + BLOCK];
    let mut exact = [0.0; STRETCH + BLOCK];
    let (mut start, mut searched) = (list.start, list.start);
    loop {
        let mut count = 0;
        while count < STRETCH && searched < list.end {
            let block = text[searched..].first_chunk();
            let mut commas = match block {
                Some(block) => commas(block),
                None => commas(&padded(&text[searched..])),
            };
            if list.end - searched < BLOCK {
                commas &= (1 << (list.end - searched)) - 1;
            }
            // Always some at once: how many there are is hard to foretell, whether more than four is not.
            let found = count + commas.count_ones() as usize;
            while let Some(slots) = ends[count..].first_chunk_mut::<4>() {
                for slot in slots {
                    *slot = searched + commas.trailing_zeros() as usize;
                    commas &= commas.wrapping_sub(1);
                }
                count += 4;
                if commas == 0 {
                    break;
                }
            }
            count = found;
            searched += BLOCK;
        }
        let is_last = searched >= list.end;
        if is_last {
            ends[count] = list.end;
            count += 1;
        }
        let first = start;
        for (at, (&end, slot)) in ends[..count].iter().zip(&mut exact).enumerate() {
            let mut item = start;
            let found = loop {
                match number(item, end) {
                    None if blanks(&text[item..end]) > 0 => item += blanks(&text[item..end]),
                    found => break found,
                }
            };
            (*slot, start) = match found {
                Some(found) => found,
                None => (f64::from(other(values.len() + at, start..end)?), end + 1),
            };
        }
        let exact = &exact[..count];
        if exact
            .iter()
            .fold(false, |any, exact| any | is_in_doubt(*exact))
        {
            let mut start = first;
            for (end, exact) in ends.iter().zip(exact) {
                values.push(match is_in_doubt(*exact) {
                    true => other(values.len(), start..*end)?,
                    false => *exact as f32,
                });
                start = end + 1;
            }
        } else {
            values.extend(exact.iter().map(|exact| *exact as f32));
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The length of the white space before an item, as in lists of a number a line.
#[cold]
fn blanks(item: &[u8]) -> usize {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    item.iter().take_while(is_blank).count()
}

/// The last bytes of a text, as a block.
#[cold]
fn padded(text: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..text.len()].copy_from_slice(text);
    block
}

/// The number that stands in `start..end`, within three units of its last place, and where the next item begins.
#[inline(always)]
fn number(
    text: &[u8],
    start: usize,
    end: usize,
    others: impl Fn(&[u8; WINDOW]) -> u32,
    halves: impl Fn(&[u8; WINDOW], &[u8; WINDOW]) -> [u64; 2],
) -> Option<(f64, usize)> {
    let around: &[u8; WINDOW + 2] = text.get(end.wrapping_sub(WINDOW)..)?.first_chunk()?;
    let window = around.first_chunk()?;
    let length = end - start;
    let from = WINDOW.wrapping_sub(length) % WINDOW;
    let sign = usize::from(window[from] == b'-');
    let others = others(window) >> from;
    // In one comparison that there is a point, and what the digit before it may be.
    let whole = u16::from_le_bytes([around[from + sign], around[from + sign + 1]]);
    let whole = whole.wrapping_sub(u16::from_le_bytes(*b"0."));
    let fraction = FRACTIONS.get(length.wrapping_sub(sign + 2))?;
    // All are digits but for the point, and a sign before: `d.ddd` or `-d.ddd`.
    let exact = if others == 0b10 + 0b11 * sign as u32 {
        let [head, tail] = halves(window, &fraction.mask);
        if whole >= fraction.limit || head >= HEAD_LIMIT {
            return None;
        }
        fraction.times(head * HEAD + tail + u64::from(whole) * fraction.whole, sign)
    } else {
        several(text, start, end, others, halves)?
    };
    // Lists are written with a space after each comma, or with none.
    Some((exact, end + 1 + usize::from(around[WINDOW + 1] == b' ')))
}

/// The same with several digits before the point. It is not put where it is called: the usual number would be
/// slower by a tenth.
#[inline(never)]
fn several(
    text: &[u8],
    start: usize,
    end: usize,
    others: u32,
    halves: impl Fn(&[u8; WINDOW], &[u8; WINDOW]) -> [u64; 2],
) -> Option<f64> {
    let window = |end: usize| text.get(end.checked_sub(WINDOW)?..)?.first_chunk();
    let sign = usize::from(text[start] == b'-');
    let (first, point) = (
        start + sign,
        start + (others >> sign).trailing_zeros() as usize + sign,
    );
    let is_plain = others.count_ones() as usize == 1 + sign
        && text[point] == b'.'
        && text[first] != b'0'
        && end - first <= MOST_DIGITS + 1;
    let whole = FRACTIONS.get(point - first)?;
    let fraction = FRACTIONS.get(end.checked_sub(point + 1)?)?;
    if !is_plain || whole.limit == 0 || fraction.limit == 0 {
        return None;
    }
    // Behind the point there is room for sixteen at most.
    let [_, low] = halves(window(end)?, &fraction.mask);
    match halves(window(point)?, &whole.mask) {
        [0, high] => Some(fraction.times(high * fraction.whole + low, sign)),
        _ => None,
    }
}

// === impl Fraction ===

impl Fraction {
    /// As many units as `digits` make.
    #[inline(always)]
    fn times(&self, digits: u64, sign: usize) -> f64 {
        // Through a signed one, which is an instruction of its own on most machines.
        digits.cast_signed() as f64 * self.unit[sign]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    /// The bits of what was read, and the indices of what was given to the caller.
    type Answer = (Vec<u32>, Vec<usize>);

    /// Reads `list`, which stands between `before` and a bracket, in both ways, which agree. What is given to the
    /// caller is read by the standard library, unless it is no number.
    fn read_both(before: &str, list: &str) -> Result<Answer, usize> {
        let text = format!("{before}{list}]}}");
        let range = before.len()..before.len() + list.len();
        let by = |is_words: bool| {
            let (mut values, mut given) = (Vec::new(), Vec::new());
            let other = |index, item: Range<usize>| {
                given.push(index);
                text[item].trim().parse().map_err(|_| index)
            };
            let done = match is_words {
                true => by_words(text.as_bytes(), range.clone(), &mut values, other),
                false => read(text.as_bytes(), range.clone(), &mut values, other),
            };
            done.map(|()| {
                (
                    values.iter().map(|value: &f32| value.to_bits()).collect(),
                    given,
                )
            })
        };
        let answer = by(true);
        assert_eq!(answer, by(false), "{list}");
        answer
    }

    /// How many of `items` are given to the caller. Those that are not are JSON; all are what the standard
    /// library makes of them.
    fn given(before: &str, between: &str, items: &[String]) -> usize {
        let (bits, given) = read_both(before, &items.join(between)).expect("numbers");
        assert_eq!(bits.len(), items.len());
        for (index, (bits, item)) in bits.iter().zip(items).enumerate() {
            let expected: f32 = item.trim().parse().expect("a number");
            assert_eq!(*bits, expected.to_bits(), "{item}");
            if !given.contains(&index) {
                serde_json::from_str::<f64>(item).expect("JSON");
            }
        }
        given.len()
    }

    /// Scenario: lists of 50,000 f32 of random bits, and of as many from [-1, 1) and [-500, 500), each as the shortest
    /// decimal that is it and as the double that it is; with and without spaces.
    /// Guarantees: each is read as exactly that f32, both ways; the caller is hardly ever asked for those of embeddings.
    #[test]
    fn both_forms_of_random_numbers_are_exact() {
        let mut random = StdRng::seed_from_u64(20_261_121);
        let mut asked = 0;
        for round in 0..100 {
            let between = [",", ", "][round % 2];
            let any = (0..500).map(|_| f32::from_bits(random.random()));
            let any: Vec<f32> = any.filter(|any| any.is_finite()).collect();
            let short = any
                .iter()
                .map(|any| serde_json::to_string(any).expect("a number"));
            let double = any.iter().map(|any| format!("{:?}", f64::from(*any)));
            given("", between, &short.collect::<Vec<_>>());
            given("", between, &double.collect::<Vec<_>>());
            for most in [1.0_f32, 500.0] {
                let usual: Vec<f32> = (0..500).map(|_| random.random_range(-most..most)).collect();
                let short = usual.iter().map(|value| format!("{value}"));
                let double = usual.iter().map(|value| format!("{}", f64::from(*value)));
                let before = "{\"id\":\"0\",\"metadata\":{},\"values\":[";
                asked += given(before, between, &short.collect::<Vec<_>>());
                asked += given(before, between, &double.collect::<Vec<_>>());
            }
        }
        assert!(asked < 200, "{asked} of 200,000");
    }

    /// Scenario: decimals in the middle between two f32, and beside it by less than an f64 tells, among others.
    /// Guarantees: the caller is asked for each of them, by its index, and for no other.
    #[test]
    fn middles_are_given_to_the_caller() {
        let before = " ".repeat(WINDOW);
        let middles = [
            "8388608.5",
            "0.500000029802322387",
            "1.00000005960464477",
            "8388609.50000000001",
        ];
        for middle in middles {
            let mut items = vec!["0.25".to_owned(); 1000];
            items[777] = middle.to_owned();
            let (bits, given) = read_both(&before, &items.join(", ")).expect("numbers");
            assert_eq!(given, [777], "{middle}");
            let expected: f32 = middle.parse().expect("a number");
            assert_eq!(bits[777], expected.to_bits(), "{middle}");
        }
    }

    /// Scenario: what no fixed-point JSON number is, behind a usual number.
    /// Guarantees: the caller is asked.
    #[test]
    fn all_else_is_given_to_the_caller() {
        let before = " ".repeat(WINDOW);
        for item in [
            "",
            " ",
            "-",
            "+1",
            ".5",
            "-.5",
            "1.",
            "-1.",
            "12.",
            "1.e5",
            "01.5",
            "00.5",
            "-01.5",
            "1e5",
            "1.5e5",
            "--1.5",
            "+1.5",
            "/1.5",
            "1.5 ",
            "1..5",
            "1.5.5",
            "12-3.5",
            "0.12345678901234567890123",
            "9.123456789012345678",
            "0.9123456789012345678",
            "12345678901234567.55",
            "1",
            "-12",
        ] {
            let asked = match read_both(&before, &format!("0.5,{item}")) {
                Ok((_, given)) => given == [1],
                Err(index) => index == 1,
            };
            assert!(asked, "{item}");
        }
    }

    proptest! {
        /// Scenario: lists of any text of the bytes that lists are made of, behind any number of others.
        /// Guarantees: nothing panics, both ways agree; what is read without the caller is JSON and exact.
        #[test]
        fn any_text_is_exact_or_given_to_the_caller(
            before in 0_usize..70,
            items in prop::collection::vec(
                prop_oneof![
                    4 => "-?[0-9]\\.[0-9]{1,24}",
                    2 => "[ \n]{0,3}-?[0-9]{1,20}\\.[0-9]{1,20}",
                    1 => "[-+0-9.eE \"/:]{0,40}",
                ],
                1..400,
            ),
        ) {
            let items: Vec<String> = items;
            let is_number = |item: &&String| item.trim().parse::<f32>().is_ok();
            let numbers: Vec<String> = items.iter().filter(is_number).cloned().collect();
            let before = "-".repeat(before);
            if !numbers.is_empty() {
                given(&before, ",", &numbers);
            }
            let first = items.iter().position(|item| !is_number(&item));
            prop_assert_eq!(read_both(&before, &items.join(",")).err(), first);
        }
    }
}
