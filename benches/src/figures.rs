//! Medians with their quartiles.

use std::fmt;

/// The middle of some figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles {
    /// A quarter of the figures is below it.
    pub low: f64,
    /// Half of them are below it.
    pub median: f64,
    /// A quarter of them is above it.
    pub high: f64,
}

impl Quartiles {
    /// Of figures in any order. Those of no figures are NaN.
    #[must_use]
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: usize| match sorted.len() {
            0 => f64::NAN,
            length => sorted[(length - 1) * part / 4],
        };
        Self {
            low: at(1),
            median: at(2),
            high: at(3),
        }
    }

    /// Of the ratios of figures that belong together, pair by pair.
    #[must_use]
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Self {
        let ratios: Vec<f64> = above.iter().zip(below).map(|(a, b)| a / b).collect();
        Self::of(&ratios)
    }
}

/// Two cells of a table.
impl fmt::Display for Quartiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2} | {:.2}-{:.2}", self.median, self.low, self.high)
    }
}
