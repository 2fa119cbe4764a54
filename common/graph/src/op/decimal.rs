//! Short decimals such as 1e-3 ↔ f32, exactly. The standard library's way is right for every float, and its
//! code and tables are 17 kB of a page's engine, 13 of them when it is packed.

/// The range that is read.
const RANGE: std::ops::RangeInclusive<f32> = super::BatchNorm::RANGE;

/// Most digits of a number: fifteen are whole in an f64.
const DIGITS: usize = 15;

/// Largest power of ten that an f64 holds exactly.
const LARGEST: u32 = 22;

/// `mantissa · 10^exponent`: one rounding to f64, of two exact numbers, and one to f32.
fn number(mantissa: u64, exponent: i32) -> Option<f32> {
    let power = power(exponent.unsigned_abs())?;
    let exact = mantissa as f64;
    Some(if exponent < 0 { exact / power } else { exact * power } as f32)
}

/// 10ⁿ, exactly.
fn power(n: u32) -> Option<f64> {
    (n <= LARGEST).then(|| (0..n).fold(1.0, |power, _| power * 10.0))
}

/// The number that `text` says, such as 0.001 or 1e-3; None if it is none of [`RANGE`] in fifteen digits.
pub(super) fn read(text: &str) -> Option<f32> {
    let (digits, exponent) = match text.split_once('e') {
        Some((digits, exponent)) => (digits, exponent.parse().ok()?),
        None => (text, 0i32),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = all().skip_while(|b| *b == b'0');
    if significant.clone().count() > DIGITS {
        return None;
    }
    let mantissa = significant.fold(0, |m, b| 10 * m + u64::from(b - b'0'));
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    number(mantissa, exponent).filter(|v| RANGE.contains(v))
}

/// The fewest digits that are read back as this number of [`RANGE`], such as 1.25e-3.
pub(super) fn write(v: f32) -> String {
    let shortest = (0..=LARGEST).find_map(|places| {
        let mantissa = (f64::from(v) * power(places)?).round() as u64;
        let is_it = number(mantissa, -(places as i32))?.to_bits() == v.to_bits();
        is_it.then(|| (mantissa.to_string(), places as usize))
    });
    // Nine digits tell every f32, and those of 10⁻¹² have twenty places.
    let (digits, places) = shortest.unwrap_or_default();
    let (first, rest) = digits.split_at(digits.len().min(1));
    let point = if rest.is_empty() { "" } else { "." };
    let below = places as i32 - rest.len() as i32;
    format!("{first}{point}{rest}e{}", -below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the standard library: every power of two in question with many digits, and short decimals.
    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let (least, most) = (RANGE.start().to_bits(), RANGE.end().to_bits());
        for bits in (least..=most).step_by(4_099).chain([most]) {
            let v = f32::from_bits(bits);
            assert_eq!(write(v), format!("{v:e}"));
            assert_eq!(read(&write(v)).map(f32::to_bits), Some(bits), "{v:e}");
        }
        for text in [
            "1",
            "1.0",
            "0.001",
            "1e-3",
            "0.1e-2",
            "12.5e-4",
            ".5",
            "00.1",
            "1e-12",
            "0.333333333333333",
        ] {
            assert_eq!(read(text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_such_decimal_is_refused() {
        for text in [
            "",
            ".",
            "e-3",
            "1e",
            "-1e-3",
            "+1",
            "1e-3x",
            "0",
            "1e-13",
            "1.1",
            "2",
            "inf",
            "nan",
            "1e99",
            "0.3333333333333333",
            "1e-99999999999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
