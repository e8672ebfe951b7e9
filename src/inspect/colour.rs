//! The colour of the bare metal, on a frame whose camera was calibrated on a chart: how far it is from the ordered one, and
//! how yellow.
//!
//! Metal mirrors, so how bright it is says more of the light than of the metal. Its hue and chroma do not: every mirrored
//! light is tinted by the metal alike. The difference is therefore taken at the ordered lightness, and the yellowness is a
//! ratio. What mirrors nothing (shadows, below [`DARK`] of the median light) and what is at its end with the pixels about it
//! is left out; of the rest light is summed, so that noise of dark pixels is no colour.

use super::metal::END;
use super::{Answer, Feature, Inspect, Scene, Value};
use crate::colour::{delta_e00, lab, xyz, yellowness_d1925, Calibration};
use crate::locate::outline;
use crate::vision::VisionError;

/// The inspector of the metal's colour.
#[derive(Debug)]
pub struct Colour;

const DELTA: &str = "colour.delta_e00";
const YELLOWNESS: &str = "colour.yi_d1925";
const LAB: [&str; 3] = ["colour.lab_l", "colour.lab_a", "colour.lab_b"];
const CHARACTERISTICS: &[&str] = &[DELTA, YELLOWNESS, LAB[0], LAB[1], LAB[2]];

/// Darker than this share of the metal's median light is shadow, or the mirror image of something dark.
const DARK: f64 = 0.4;
/// The least share of the bare metal that must show its colour, as for worn plating; the least light of its median, as a
/// share of white: below, offsets of the camera are colours.
const LEAST_SHARE: f64 = 0.25;
const LEAST_LIGHT: f64 = 0.01;
/// Beyond this lightness (1.7 times the light of the chart's white) the chart was exposed otherwise.
const MOST_L: f64 = 122.0;
/// Blocks that the colour is compared between, along a side.
const BLOCKS: usize = 6;

/// A camera's calibration with what names it.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// The calibration.
    pub calibration: Calibration,
    /// Name of its file.
    pub file: String,
    /// sha256 of its file.
    pub sha256: String,
}

impl Inspect for Colour {
    fn name(&self) -> &'static str {
        "colour"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        CHARACTERISTICS
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        match seen(scene) {
            Ok(seen) => {
                let reference = scene.spec.colour.as_ref().map(|c| c.lab);
                answer.assessed = CHARACTERISTICS.to_vec();
                let mut values = seen.values(reference);
                if reference.is_none() {
                    answer.assessed.retain(|c| *c != DELTA);
                    let why = "the spec names no colour (colour = { lab = [L, a, b] })";
                    answer.not_assessed.push((DELTA, why.into()));
                }
                // Metal may mirror more light than the chart's white throws back, but not that much more.
                let here = lab(seen.xyz)[0];
                if here > MOST_L {
                    values.retain(|v| !LAB.contains(&v.characteristic));
                    answer.assessed.retain(|c| !LAB.contains(c));
                    let why = format!(
                        "the metal's L* would be {here:.0}: the chart was not taken with the exposure of the pieces"
                    );
                    answer.not_assessed.extend(LAB.map(|c| (c, why.clone())));
                }
                // What is limited first: it names the feature in a reason.
                values.sort_by_key(|v| scene.spec.limit(v.characteristic, &scene.view.name).is_none());
                let centre = scene.located.pose.to_px(0.0, 0.0);
                let reach = scene.view.outline.as_ref().map_or(0.0, outline::reach);
                answer.features.push(Feature {
                    kind: None,
                    name: format!("{}-colour", scene.view.name),
                    x_px: centre[0],
                    y_px: centre[1],
                    radius_px: scene.located.pose.px(reach),
                    outline_px: vec![],
                    confidence: 1.0,
                    found_by: vec![self.name().into()],
                    values,
                    opinion: None,
                    rim: None,
                    doubt: None,
                    nominal: true,
                });
            }
            Err(why) => answer.not_assessed = CHARACTERISTICS.iter().map(|c| (*c, why.clone())).collect(),
        }
        Ok(answer)
    }
}

/// What the metal shows.
struct Seen {
    /// XYZ under D50.
    xyz: [f64; 3],
    /// Of the blocks.
    blocks: Vec<[f64; 3]>,
    /// Of a colour by the calibration, CIEDE2000 and yellowness.
    u: [f64; 2],
}

impl Seen {
    fn values(&self, reference: Option<[f64; 3]>) -> Vec<Value> {
        let mut out = Vec::new();
        // The standard uncertainty of a mean over blocks that share neither light nor mirror image, and half of what the
        // blocks scatter by: that much the light tints by itself.
        let scatter = |of: &dyn Fn([f64; 3]) -> f64| {
            let n = self.blocks.len() as f64;
            let v: Vec<f64> = self.blocks.iter().map(|b| of(*b)).collect();
            let mean = v.iter().sum::<f64>() / n;
            let s = (v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
            0.5 * s + s / n.sqrt()
        };
        let light = |p: [f64; 3], y: f64| p.map(|v| v * y / p[1].max(1e-9));
        let here = lab(self.xyz);
        if let Some(reference) = reference {
            let y = xyz(reference)[1];
            let delta = |p: [f64; 3]| delta_e00(lab(light(p, y)), reference);
            // Blocks differ from the mean in any direction: what they differ by, not how much farther they are off.
            let own = lab(light(self.xyz, y));
            let n = self.blocks.len() as f64;
            let apart = self.blocks.iter().map(|b| delta_e00(lab(light(*b, y)), own).powi(2)).sum::<f64>() / n;
            let u = self.u[0].hypot(0.5 * apart.sqrt() + (apart / n).sqrt());
            out.push(Value { characteristic: DELTA, value: delta(self.xyz), uncertainty: u });
        }
        let u = self.u[1].hypot(scatter(&yellowness_d1925));
        out.push(Value { characteristic: YELLOWNESS, value: yellowness_d1925(self.xyz), uncertainty: u });
        for (k, characteristic) in LAB.iter().enumerate() {
            let u = self.u[0].hypot(scatter(&|p| lab(light(p, if k == 0 { p[1] } else { self.xyz[1] }))[k]));
            out.push(Value { characteristic, value: here[k], uncertainty: u });
        }
        out
    }
}

/// From XYZ under D50 (Y of white 1) to linear sRGB: the matrix of IEC 61966-2-1 after Bradford's adaptation to D65.
const SRGB: [[f64; 3]; 3] = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]];

/// What the bare metal's calibrated colour is in sRGB, 0 to 1, at a middle lightness; none where it is not seen.
pub(super) fn srgb(scene: &Scene) -> Option<[f64; 3]> {
    let xyz = seen(scene).ok()?.xyz;
    let at = xyz.map(|v| 0.4 * v / xyz[1].max(1e-9));
    let linear = SRGB.map(|row| row.iter().zip(at).map(|(m, v)| m * v).sum::<f64>());
    Some(linear.map(|l| if l <= 0.003_130_8 { 12.92 * l.max(1e-6) } else { 1.055 * l.powf(1.0 / 2.4) - 0.055 }))
}

/// Where each channel's scale ends: at [`END`], or lower where a camera's white lies lower (video levels end at 235): there the values pile up on the highest
/// that occurs, and what is merely bright thins out towards it instead.
fn ends(data: &[u8]) -> [u8; 3] {
    let mut counts = [[0u32; 256]; 3];
    for p in data.chunks_exact(3) {
        for (of, v) in counts.iter_mut().zip(p) {
            of[usize::from(*v)] += 1;
        }
    }
    counts.map(|of| {
        let top = of.iter().rposition(|n| *n > 0).unwrap_or(255);
        let below = of[top.saturating_sub(BELOW)..top].iter().sum::<u32>() / BELOW as u32;
        let piled = f64::from(of[top]) >= PILE_SHARE * (data.len() / 3) as f64 && of[top] >= PILE * below.max(1);
        if piled {
            END.min(top as u8)
        } else {
            END
        }
    })
}

/// Values piled up: so many times as many at the highest level as at each of the levels below it, and this share of the picture.
const PILE: u32 = 5;
const BELOW: usize = 6;
const PILE_SHARE: f64 = 5e-4;

fn seen(scene: &Scene) -> Result<Seen, String> {
    let c = match scene.colour {
        Some(Ok(c)) => &c.calibration,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err("the frame names no colour_calibration (loupe colour makes one)".into()),
    };
    if scene.image.grey {
        return Err("the frame is grey and shows no colour".into());
    }
    for (what, of_chart, of_frame) in [
        ("light", c.light.as_ref(), Some(&scene.frame.light)),
        ("camera", c.camera_serial.as_ref(), scene.frame.camera_serial.as_ref()),
    ] {
        match (of_chart, of_frame) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!("the colour calibration is for the {what} {a} and the frame's is {b}"));
            }
            (Some(a), None) => {
                return Err(format!("the colour calibration is for the {what} {a}, and the frame names none"));
            }
            _ => {}
        }
    }
    let Some(bounds) = scene.bare_metal.bounds() else {
        return Err("no bare metal is visible in the view".into());
    };
    let (image, tone) = (scene.image, c.tone());
    let at = |x: usize, y: usize| {
        let i = 3 * (y * image.width + x);
        [image.data[i], image.data[i + 1], image.data[i + 2]]
    };
    let light = |p: [u8; 3]| p.map(|v| tone[usize::from(v)]);
    let mean = |p: [u8; 3]| light(p).iter().sum::<f64>() / 3.0;
    let ends = ends(&image.data);
    let ended = |x: usize, y: usize| at(x, y).iter().zip(&ends).any(|(v, end)| v >= end);
    let (mut usable, mut bare) = (Vec::new(), 0u64);
    for y in bounds.y..bounds.y + bounds.height {
        for x in bounds.x..bounds.x + bounds.width {
            if !scene.bare_metal.at(x, y) {
                continue;
            }
            bare += 1;
            // Beside what is at its end lies its bloom.
            let near = [(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)];
            let off = near.iter().any(|(dx, dy)| {
                let (x, y) = (x as i64 + dx, y as i64 + dy);
                x >= 0 && y >= 0 && x < image.width as i64 && y < image.height as i64 && ended(x as usize, y as usize)
            });
            if !off {
                usable.push((x, y));
            }
        }
    }
    let mut levels: Vec<f32> = usable.iter().step_by(3).map(|(x, y)| mean(at(*x, *y)) as f32).collect();
    let median = f64::from(crate::vision::ops::median(&mut levels));
    let dark = if median.is_finite() { DARK * median } else { 0.0 };
    usable.retain(|(x, y)| mean(at(*x, *y)) >= dark);
    let share = usable.len() as f64 / bare.max(1) as f64;
    if share < LEAST_SHARE || usable.len() < BLOCKS * BLOCKS {
        return Err(format!(
            "{:.0} % of the bare metal is overexposed or in shadow and shows no colour",
            100.0 * (1.0 - share)
        ));
    }
    if median < LEAST_LIGHT {
        return Err(format!("the metal is too dark to tell its colour: {:.1} % of white", 100.0 * median));
    }
    let mut sum = [0f64; 3];
    let mut blocks = vec![([0f64; 3], 0u64); BLOCKS * BLOCKS];
    for (x, y) in &usable {
        let l = light(at(*x, *y));
        let (i, j) = ((x - bounds.x) * BLOCKS / bounds.width, (y - bounds.y) * BLOCKS / bounds.height);
        let block = &mut blocks[j * BLOCKS + i];
        for k in 0..3 {
            sum[k] += l[k];
            block.0[k] += l[k];
        }
        block.1 += 1;
    }
    let n = usable.len() as f64;
    let least = (n / (4.0 * (BLOCKS * BLOCKS) as f64)) as u64;
    Ok(Seen {
        xyz: c.xyz(sum.map(|s| s / n)),
        blocks: blocks.iter().filter(|b| b.1 > least).map(|b| c.xyz(b.0.map(|s| s / b.1 as f64))).collect(),
        u: [c.u_de00, c.u_yi],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_white_in_srgb() {
        // The white of D50 (ICC.1).
        let white = SRGB.map(|row| row[0] * 0.9642 + row[1] + row[2] * 0.8249);
        assert!(white.iter().all(|v| (v - 1.0).abs() < 0.002), "{white:?}");
    }

    #[test]
    fn a_scale_that_ends_early_is_seen_by_what_piles_up_there() {
        // A ramp with noise, as bright metal shows it, and the same through a camera whose white is 235.
        let ramp: Vec<u8> =
            (0..30_000u32).flat_map(|k| [(k * 7919 % 200) as u8 + 40, (k % 230) as u8, (k % 251) as u8]).collect();
        assert_eq!(ends(&ramp), [END; 3]);
        let cut: Vec<u8> = ramp.iter().map(|v| (*v).min(205)).collect();
        assert_eq!(ends(&cut), [205; 3]);
        // A plateau thins out towards its brightest value.
        let plateau: Vec<u8> =
            (0..30_000u32).flat_map(|k| [200 - (k % 7 + k / 7 % 7 + k / 49 % 7) as u8; 3]).collect();
        assert_eq!(ends(&plateau), [END; 3]);
        assert_eq!(ends(&[255; 300]), [END; 3]);
    }
}
