//! Rounds and what is read from them: medians, extremes, ratios, percentiles.
//!
//! A ratio is formed in one of two ways. Of throughputs: our median by the peer's fastest round, which is the
//! peer's best case and not ours. Of latencies, whose tails belong to the machine's moods: round by round
//! against the peer's neighbour in time, and the median of these.

use crate::progress::Progress;

/// What the rounds of one series took, in the order in which they ran.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Of nothing at all it is not a number, which no bar takes for met.
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Our median by the peer's fastest round.
    pub(crate) fn ratio_to_fastest(&self, peer: &Self) -> f64 {
        self.median() / peer.min()
    }

    /// Each of our rounds by the peer's of the same number.
    pub(crate) fn pairwise(&self, peer: &Self) -> Self {
        Self(self.0.iter().zip(&peer.0).map(|(a, b)| a / b).collect())
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The middle one; the mean of the middle two where there is no middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The smallest value that at least so many in a hundred do not pass (nearest rank); 0 of nothing.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> u64 {
    debug_assert!(
        sorted.is_sorted(),
        "percentiles are read from sorted values"
    );
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// Runs so many series in rounds, so that a slow minute of the machine falls on all of them; each round
/// begins with another one. `run` is given the number of the round, counted from 0, and of the series.
pub(crate) fn interleave(
    title: &str,
    rounds: usize,
    names: &[String],
    mut run: impl FnMut(usize, usize) -> Result<(), String>,
) -> Result<(), String> {
    let progress = Progress::new();
    for round in 0..rounds {
        for step in 0..names.len() {
            let index = (round + step) % names.len();
            progress.show(|| format!("{title}: round {} of {rounds}, {}", round + 1, names[index]));
            run(round, index)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Rounds {
        values.iter().copied().collect()
    }

    #[test]
    fn a_median_is_the_middle_and_not_the_mean() {
        let odd = rounds(&[9.0, 1.0, 200.0]);
        assert_eq!((odd.median(), odd.min(), odd.max()), (9.0, 1.0, 200.0));
        assert_eq!(rounds(&[4.0, 1.0, 2.0, 90.0]).median(), 3.0);
        assert!(rounds(&[]).median().is_nan());
    }

    #[test]
    fn a_ratio_is_our_median_by_the_fastest_round_of_the_peer() {
        let ours = rounds(&[10.0, 30.0, 20.0]);
        assert_eq!(ours.ratio_to_fastest(&rounds(&[100.0, 25.0, 50.0])), 0.8);
    }

    #[test]
    fn pairwise_ratios_compare_neighbours_in_time() {
        // The machine was slow in the second round, for both.
        let ours = rounds(&[1.0, 100.0, 2.0]);
        let theirs = rounds(&[2.0, 400.0, 2.0]);
        let ratios = ours.pairwise(&theirs);
        assert_eq!(ratios, rounds(&[0.5, 0.25, 1.0]));
        assert_eq!(ratios.median(), 0.5);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_there() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50.0), 100);
        assert_eq!(percentile(&values, 99.0), 198);
        assert_eq!(percentile(&values, 100.0), 200);
        assert_eq!(percentile(&values, 0.0), 1);
        assert_eq!(percentile(&[7], 99.0), 7);
        assert_eq!(percentile(&[], 50.0), 0);
    }

    #[test]
    fn each_round_begins_with_another_series() {
        let names = ["a", "b", "c"].map(String::from);
        let mut seen = Vec::new();
        interleave("test", 2, &names, |round, index| {
            seen.push((round, index));
            Ok(())
        })
        .expect("nothing fails here");
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 0)]);
    }
}
