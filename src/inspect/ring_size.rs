//! Ring sizes out of the inner diameter D in mm (circumference C = pi D).
//!
//! - ISO 8653:2016: the size is C rounded to the nearest mm, 41 to 76 (as in France, Germany and the EU).
//! - United States and Canada: D = 11.633 + 0.8128 n.
//! - Japan: D = (n + 38) / 3.
//! - United Kingdom, Ireland, Australia: a letter with half sizes; published tables disagree, so one is shipped with its source.

use std::f64::consts::PI;

/// Inner diameter in mm of the letters A to Z. Source: the conversion chart of the article "Ring size" (Wikipedia, copied at
/// liquisearch.com/ring_size/systems and in many retailers' charts). Its steps are 0.41 mm, but from I to J and from Y to Z half
/// of that: those letters have no half size.
pub const UK_MM: [f64; 26] = [
    12.04, 12.45, 12.85, 13.26, 13.67, 14.07, 14.48, 14.88, 15.29, 15.49, 15.90, 16.31, 16.71, 17.12, 17.53, 17.93,
    18.34, 18.75, 19.15, 19.56, 19.96, 20.37, 20.78, 21.18, 21.59, 21.79,
];

/// A size with its standard uncertainty.
pub type Size = (f64, f64);

/// The sizes that ISO 8653 has.
pub const ISO: std::ops::RangeInclusive<f64> = 41.0..=76.0;

/// Of what lies between two sizes, where it may be either: at k = 2 it reaches both.
const EITHER: f64 = 0.25;

/// Size by ISO 8653 of an inner diameter with a standard uncertainty in mm: a whole number, known without uncertainty, because a size has no in-between.
/// Where rounding is not sure at k = 2 it is what lies between the two sizes, with an uncertainty that reaches both: limits that hold both pass it under any rule, those that hold
/// neither fail it, and a person decides where they hold one. None outside 41 to 76.
pub fn iso(d: f64, u: f64) -> Option<Size> {
    let c = PI * d;
    // Half a millimetre is rounded up, as in ISO 80000-1 rule B.
    let size = (c + 0.5).floor();
    let to_border = 0.5 - (c - size).abs();
    let doubtful = to_border < 2.0 * PI * u;
    let between = (size + 0.5f64.copysign(c - size), EITHER);
    ISO.contains(&size).then_some(if doubtful { between } else { (size, 0.0) })
}

/// US size, not rounded: a quarter is 0.2 mm. None below size 0.
pub fn us(d: f64, u: f64) -> Option<Size> {
    let n = (d - 11.633) / 0.8128;
    (n >= 0.0).then_some((n, u / 0.8128))
}

/// Japanese size, not rounded. None below size 1.
pub fn jp(d: f64, u: f64) -> Option<Size> {
    let n = 3.0 * d - 38.0;
    (n >= 0.5).then_some((n, 3.0 * u))
}

/// UK size as a number, A = 1 to Z = 26, by straight lines between the letters: N 1/2 is 14.5. None outside A to Z.
pub fn uk(d: f64, u: f64) -> Option<Size> {
    let k = UK_MM.windows(2).position(|w| (w[0]..=w[1]).contains(&d))?;
    let step = UK_MM[k + 1] - UK_MM[k];
    Some((k as f64 + 1.0 + (d - UK_MM[k]) / step, u / step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_known_ring() {
        // 17.35 mm is C 54.5, US 7, Japan 14 (17.33 mm), UK N 1/2 (17.32 mm).
        assert!((us(17.3226, 0.0).unwrap().0 - 7.0).abs() < 1e-9);
        assert!((jp(17.0 + 1.0 / 3.0, 0.01).unwrap().0 - 14.0).abs() < 1e-9);
        assert!((uk(17.325, 0.01).unwrap().0 - 14.5).abs() < 1e-9);
        assert!((uk(12.04, 0.0).unwrap().0 - 1.0).abs() < 1e-12 && (uk(21.79, 0.0).unwrap().0 - 26.0).abs() < 1e-12);
        assert_eq!(iso(54.0 / PI, 0.005), Some((54.0, 0.0)));
        assert!((us(17.0, 0.008).unwrap().1 - 0.008 / 0.8128).abs() < 1e-12);
    }

    #[test]
    fn a_size_near_the_rounding_is_doubtful() {
        assert_eq!(iso(54.49 / PI, 0.005), Some((54.5, EITHER)));
        assert_eq!(iso(54.5 / PI + 1e-9, 0.001), Some((54.5, EITHER)));
        assert_eq!(iso(54.4 / PI, 0.005), Some((54.0, 0.0)));
    }

    #[test]
    fn no_size_beyond_the_tables() {
        assert_eq!((iso(12.8, 0.0), uk(12.0, 0.0), uk(22.0, 0.0), us(11.0, 0.0)), (None, None, None, None));
        assert!(iso(25.0, 0.0).is_none() && jp(12.7, 0.0).is_none());
    }

    #[test]
    fn the_uk_table_has_the_known_circumferences() {
        for (letter, c) in [(b'A', 37.8), (b'I', 48.0), (b'M', 52.5), (b'T', 61.4), (b'Z', 68.5)] {
            assert!((PI * UK_MM[usize::from(letter - b'A')] - c).abs() < 0.06, "{}", letter as char);
        }
        assert!(UK_MM.windows(2).all(|w| w[1] > w[0]));
    }
}
