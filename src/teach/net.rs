//! The discriminator: a small network that tells cells of good pictures from cells with made-up defects.

use fastrand::Rng;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// Hidden units.
const HIDDEN: usize = 64;
/// Rows per step; half of them of defects.
const BATCH: usize = 768;
/// Steps of the training.
const STEPS: usize = 1200;
/// Learning rate at the start; it falls in proportion to the steps left.
const RATE: f32 = 3e-3;
/// What the inputs (of deviation 1) are shaken by while learning: it must not hang on to the last digit.
const NOISE: f32 = 0.5;
/// Decay of the weights per step, as a share of the rate.
const DECAY: f32 = 1e-2;

/// A network of one hidden layer.
#[derive(Debug, Clone)]
pub struct Net {
    /// Mean of each input.
    pub mean: Array1<f32>,
    /// One over its standard deviation.
    pub scale: Array1<f32>,
    /// Inputs by hidden units.
    pub inner: Array2<f32>,
    /// Of the hidden units.
    pub bias: Array1<f32>,
    /// From the hidden units to the answer.
    pub outer: Array1<f32>,
    /// Of the answer.
    pub offset: f32,
}

/// Adam's moments of one block of weights.
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    fn new(n: usize) -> Self {
        Moments { first: vec![0.0; n], second: vec![0.0; n] }
    }

    fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f32, t: i32, decay: f32) {
        let (b1, b2) = (0.9f32, 0.999f32);
        let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(&mut self.first).zip(&mut self.second) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *w -= rate * ((*m / c1) / ((*v / c2).sqrt() + 1e-8) + decay * *w);
        }
    }
}

impl Net {
    /// Learns to tell `bad` rows (answer above 0) from `good` ones. The same rows and seed give the same network.
    pub fn learn(good: ArrayView2<f32>, bad: ArrayView2<f32>, seed: u64) -> Self {
        let d = good.ncols();
        let mut rng = Rng::with_seed(seed);
        let mean = good.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(d));
        let scale = good.std_axis(Axis(0), 0.0).mapv(|s| 1.0 / (s + 1e-6));
        let mut uniform = |n: usize, of: usize| -> Vec<f32> {
            let k = 1.0 / (of as f32).sqrt();
            (0..n).map(|_| (2.0 * rng.f32() - 1.0) * k).collect()
        };
        let mut inner = uniform(d * HIDDEN, d);
        let mut bias = vec![0f32; HIDDEN];
        let mut outer = uniform(HIDDEN, HIDDEN);
        let mut offset = vec![0f32];
        let mut moments = [inner.len(), HIDDEN, HIDDEN, 1].map(Moments::new);
        let half = BATCH / 2;
        let mut x = Array2::<f32>::zeros((BATCH, d));
        for step in 0..STEPS {
            for (i, mut row) in x.rows_mut().into_iter().enumerate() {
                let from =
                    if i < half { good.row(rng.usize(0..good.nrows())) } else { bad.row(rng.usize(0..bad.nrows())) };
                for (k, v) in row.iter_mut().enumerate() {
                    *v = (from[k] - mean[k]) * scale[k] + NOISE * shake(&mut rng);
                }
            }
            let weights = ArrayView2::from_shape((d, HIDDEN), &inner).unwrap_or_else(|_| unreachable!("d * HIDDEN"));
            let mut hidden = x.dot(&weights);
            for mut row in hidden.rows_mut() {
                row.iter_mut().zip(&bias).for_each(|(h, b)| *h = (*h + b).max(0.0));
            }
            let mut slope = Array1::<f32>::zeros(BATCH);
            for (i, row) in hidden.rows().into_iter().enumerate() {
                let y: f32 = row.iter().zip(&outer).map(|(h, w)| h * w).sum::<f32>() + offset[0];
                let wanted = f32::from(i >= half);
                slope[i] = (1.0 / (1.0 + (-y).exp()) - wanted) / BATCH as f32;
            }
            let to_outer = hidden.t().dot(&slope);
            let to_offset = slope.sum();
            // Back through the hidden units.
            let mut back = hidden;
            for (mut row, s) in back.rows_mut().into_iter().zip(&slope) {
                row.iter_mut().zip(&outer).for_each(|(h, w)| *h = if *h > 0.0 { s * w } else { 0.0 });
            }
            let to_inner = x.t().dot(&back);
            let to_bias = back.sum_axis(Axis(0));
            let rate = RATE * (1.0 - step as f32 / STEPS as f32) + 1e-5;
            let t = step as i32 + 1;
            let dense = to_inner.as_standard_layout();
            moments[0].step(&mut inner, dense.as_slice().unwrap_or_default(), rate, t, DECAY);
            moments[1].step(&mut bias, to_bias.as_slice().unwrap_or_default(), rate, t, 0.0);
            moments[2].step(&mut outer, to_outer.as_slice().unwrap_or_default(), rate, t, DECAY);
            moments[3].step(&mut offset, &[to_offset], rate, t, 0.0);
        }
        let inner = Array2::from_shape_vec((d, HIDDEN), inner).unwrap_or_else(|_| unreachable!("d * HIDDEN"));
        Net { mean, scale, inner, bias: bias.into(), outer: outer.into(), offset: offset[0] }
    }

    /// What rows as they are, and not standardised, are multiplied by, and what is added to the products before the hidden units.
    pub fn folded(&self) -> (Array2<f32>, Array1<f32>) {
        let inner = &self.inner * &self.scale.view().insert_axis(Axis(1));
        let bias = &self.bias - &self.mean.dot(&inner);
        (inner, bias)
    }

    /// Log odds that a row is of a defect, from its products by [`Net::folded`] and the bias of that.
    pub fn answer(&self, products: ArrayView1<f32>, bias: &Array1<f32>) -> f32 {
        let sum = products.iter().zip(bias).zip(&self.outer).map(|((h, b), w)| (h + b).max(0.0) * w);
        sum.sum::<f32>() + self.offset
    }
}

/// About a normal number: the sum of four even ones, of deviation 1.
fn shake(rng: &mut Rng) -> f32 {
    // Four 16-bit numbers of one draw.
    let bits = rng.u64(..);
    let sum: u32 = (0..4).map(|k| (bits >> (16 * k)) as u32 & 0xffff).sum();
    (sum as f32 / 65536.0 - 2.0) * 1.732
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_differs_and_the_same_each_time() {
        let mut rng = Rng::with_seed(3);
        let good = Array2::from_shape_fn((500, 10), |_| shake(&mut rng));
        let bad = Array2::from_shape_fn((500, 10), |(_, c)| shake(&mut rng) + if c < 2 { 2.5 } else { 0.0 });
        let net = Net::learn(good.view(), bad.view(), 1);
        let right = |rows: &Array2<f32>, above: bool| {
            let (inner, bias) = net.folded();
            let products = rows.dot(&inner);
            let said = products.rows().into_iter().map(|row| net.answer(row, &bias));
            said.filter(|y| (*y > 0.0) == above).count() as f64 / rows.nrows() as f64
        };
        assert!(right(&good, false) > 0.9 && right(&bad, true) > 0.9);
        let again = Net::learn(good.view(), bad.view(), 1);
        assert_eq!(net.inner, again.inner);
    }
}
