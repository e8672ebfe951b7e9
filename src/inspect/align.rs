//! Small least-squares fits that a few bad members do not move: all stones of a piece tell how it lies and how its surface
//! curves, and one that is off must not take the others with it.

use crate::locate::edges::invert;

/// Rounds of re-weighting.
const ROUNDS: usize = 24;

/// Weight of a residual of `t` standard deviations: Cauchy's, which nearly leaves out what is far off.
fn weight(t: f64) -> f64 {
    1.0 / (1.0 + (t / 2.0).powi(2))
}

/// Solves rows `(coefficients, value, deviation)` for `N` unknowns whose prior is 0 with the given deviations, robustly, each
/// row's weight falling with its residual. Rows come in groups of two (the x and y of one thing) that share a weight. Gives
/// the unknowns and their standard deviations.
pub fn solve<const N: usize>(rows: &[([f64; N], f64, f64)], prior: [f64; N]) -> ([f64; N], [f64; N]) {
    let mut x = [0.0; N];
    let mut deviations = prior;
    let mut weights = vec![1.0; rows.len()];
    for round in 0..ROUNDS {
        let mut a = [[0.0; N]; N];
        let mut b = [0.0; N];
        for (k, p) in prior.iter().enumerate() {
            a[k][k] = 1.0 / (p * p);
        }
        for ((c, v, s), w) in rows.iter().zip(&weights) {
            let w = w / (s * s);
            for i in 0..N {
                b[i] += w * c[i] * v;
                for j in 0..N {
                    a[i][j] += w * c[i] * c[j];
                }
            }
        }
        let Some(inverse) = invert(a) else { return (x, deviations) };
        for i in 0..N {
            x[i] = (0..N).map(|j| inverse[i][j] * b[j]).sum();
            deviations[i] = inverse[i][i].max(0.0).sqrt();
        }
        // The first rounds look far, so that a start among outliers is left behind.
        let reach = if round < 6 { 4.0 - 0.5 * round as f64 } else { 1.0 };
        for (pair, w) in rows.chunks(2).zip(weights.chunks_mut(2)) {
            let square: f64 = pair
                .iter()
                .map(|(c, v, s)| ((v - (0..N).map(|i| c[i] * x[i]).sum::<f64>()) / s).powi(2))
                .sum::<f64>()
                / pair.len() as f64;
            w.fill(weight(square.sqrt() / reach));
        }
    }
    (x, deviations)
}

/// A shift along x and y in mm and a turn in radians about the piece's origin, that things seen at places of the piece have in
/// common.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rigid {
    /// Shift along x and y, and turn.
    pub fit: [f64; 3],
    /// Their standard uncertainties.
    pub fit_u: [f64; 3],
}

impl Rigid {
    /// Fits `(place, how far it is seen from it, standard deviation)`, with the deviations that are expected of shift and turn.
    pub fn of(seen: impl Iterator<Item = ([f64; 2], [f64; 2], f64)>, prior: [f64; 3]) -> Self {
        let rows: Vec<([f64; 3], f64, f64)> = seen
            .flat_map(|([x, y], shift, u)| [([1.0, 0.0, -y], shift[0], u), ([0.0, 1.0, x], shift[1], u)])
            .collect();
        let (fit, fit_u) = solve(&rows, prior);
        Rigid { fit, fit_u }
    }

    /// How far it moves a place of the piece, in mm.
    pub fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.fit[0] - self.fit[2] * y, self.fit[1] + self.fit[2] * x]
    }

    /// The standard uncertainty of either coordinate of that.
    pub fn at_u(&self, [x, y]: [f64; 2]) -> f64 {
        self.fit_u[0].max(self.fit_u[1]).hypot(self.fit_u[2] * x.hypot(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_member_of_three_moves_nothing() {
        // A shift in x and y seen by three; the third is 0.3 off.
        let one = |v: [f64; 2]| [([1.0, 0.0], v[0], 0.01), ([0.0, 1.0], v[1], 0.01)];
        let rows: Vec<_> = [[0.02, -0.01], [0.018, -0.012], [0.32, 0.2]].into_iter().flat_map(one).collect();
        let (x, u) = solve(&rows, [0.05, 0.05]);
        assert!((x[0] - 0.019).abs() < 0.004 && (x[1] + 0.011).abs() < 0.004, "{x:?}");
        assert!(u[0] > 0.004 && u[0] < 0.012, "{u:?}");
    }

    #[test]
    fn a_prior_holds_what_the_rows_do_not_tell() {
        let (x, u) = solve::<2>(&[([1.0, 0.0], 1.0, 0.1)], [1e3, 0.2]);
        assert!((x[0] - 1.0).abs() < 1e-3 && x[1] == 0.0);
        assert!((u[1] - 0.2).abs() < 1e-9);
    }
}
