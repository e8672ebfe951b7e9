//! Which finish the bare metal shows, and whether it is the ordered one.
//!
//! [`texture`] describes the whole of the metal and, block by block, its parts; a small network, learned on rendered pieces
//! (`models/fit_finish.py`, `models/finish.md`), says how likely each finish is. Its answer counts where it is surer than
//! thresholds that were set on pieces it had not learned on; in between a person decides. Light that shows no finish (a dome
//! over brushed metal) makes it unsure by itself, and the frames of a view are put together by their uncertainty.

use std::sync::OnceLock;

use serde::Deserialize;

use super::texture::{self, Descriptor, Texture};
use super::{Answer, Feature, Inspect, Scene, Value};
use crate::report::FindingType;
use crate::vision::VisionError;

/// The inspector of the finish.
#[derive(Debug)]
pub struct Finish;

const SHARE: &str = "surface.finish";
const PATCH: &str = "surface.patch_mm2";
const DIRECTION: &str = "surface.brush_deg";
const CHARACTERISTICS: &[&str] = &[SHARE, PATCH, DIRECTION];

/// Most of the bare metal that may be white: as for the surface's defects.
const MOST_WHITE: f64 = 0.25;
/// Standard uncertainty of a share that is not known: its guard band reaches over every limit.
const UNKNOWN: f64 = 0.6;
/// Standard deviation of what lies anywhere within one block, in blocks (a rectangular distribution).
const WITHIN: f64 = 0.29;
/// The least number of blocks that show another finish together: one alone may be a scratch, a mark or a mirror image.
const LEAST_REGION: usize = 2;
/// Standard uncertainty of a share that is called none: some of the metal may still show the ordered finish.
const REST_U: f64 = 0.2;
/// How much of a region's share its border may be wrong by: a block on it is half this, half that.
const BORDER: f64 = 0.25;
/// Direction of a brushing: least standard uncertainty in degrees, half a bin of the finest spectrum.
const LEAST_DIRECTION_U: f64 = 0.5;

/// The network with its thresholds, as `models/fit_finish.py` writes it.
#[derive(Debug, Deserialize)]
struct Network {
    /// The finishes its answers stand for.
    finishes: Vec<String>,
    /// The values it was learned on, by name.
    names: Vec<String>,
    mean: Vec<f32>,
    scale: Vec<f32>,
    nets: Vec<Layers>,
    /// From this probability of the ordered finish on, it is that.
    accept: f64,
    /// Below this it is another.
    reject: f64,
    /// From this probability of another finish on, a block shows it.
    block: f64,
}

#[derive(Debug, Deserialize)]
struct Layers {
    hidden: Vec<Vec<f32>>,
    hidden_bias: Vec<f32>,
    out: Vec<Vec<f32>>,
    out_bias: Vec<f32>,
}

fn network() -> Result<&'static Network, String> {
    static NETWORK: OnceLock<Result<Network, String>> = OnceLock::new();
    let load = || {
        let n: Network = serde_json::from_str(include_str!("../../models/finish.json"))
            .map_err(|e| format!("models/finish.json: {e}"))?;
        let width = n.names.len();
        let sound = n.names == texture::names()
            && n.mean.len() == width
            && n.scale.len() == width
            && n.nets.iter().all(|l| {
                l.hidden.iter().all(|r| r.len() == width)
                    && l.hidden_bias.len() == l.hidden.len()
                    && l.out.len() == n.finishes.len()
                    && l.out_bias.len() == n.finishes.len()
                    && l.out.iter().all(|r| r.len() == l.hidden.len())
            });
        sound.then_some(n).ok_or_else(|| "models/finish.json is for other values than the program's".to_owned())
    };
    NETWORK.get_or_init(load).as_ref().map_err(Clone::clone)
}

impl Network {
    /// Probability of each finish.
    fn answer(&self, d: &Descriptor) -> Vec<f64> {
        let x: Vec<f32> = d
            .values
            .iter()
            .zip(self.mean.iter().zip(&self.scale))
            .map(|(v, (m, s))| ((v - m) / s).clamp(-4.0, 4.0))
            .collect();
        let dot = |w: &[f32], x: &[f32], b: f32| b + w.iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
        let mut out = vec![0.0; self.finishes.len()];
        for l in &self.nets {
            let h: Vec<f32> = l.hidden.iter().zip(&l.hidden_bias).map(|(w, b)| dot(w, &x, *b).tanh()).collect();
            let z: Vec<f64> = l.out.iter().zip(&l.out_bias).map(|(w, b)| f64::from(dot(w, &h, *b))).collect();
            let top = z.iter().copied().fold(f64::MIN, f64::max);
            let e: Vec<f64> = z.iter().map(|v| (v - top).exp()).collect();
            let sum: f64 = e.iter().sum();
            for (o, e) in out.iter_mut().zip(&e) {
                *o += e / sum / self.nets.len() as f64;
            }
        }
        out
    }
}

impl Inspect for Finish {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        CHARACTERISTICS
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        let limited = |c: &str| scene.spec.limit(c, &scene.view.name).is_some();
        if !CHARACTERISTICS.iter().any(|c| limited(c)) {
            return Ok(answer);
        }
        let none = |why: String| Answer {
            not_assessed: CHARACTERISTICS.iter().map(|c| (*c, why.clone())).collect(),
            ..Answer::default()
        };
        let Some(mm_per_px) = scene.mm_per_px() else { return Ok(none("the frame has no um_per_px".into())) };
        let network = match network() {
            Ok(n) => n,
            Err(why) => return Ok(none(why)),
        };
        let Some(ordered) = network.finishes.iter().position(|f| *f == scene.spec.finish) else {
            return Ok(none(format!("the finish {} is none that can be told", scene.spec.finish)));
        };
        let bare = scene.bare_metal;
        let light = &scene.frame.light;
        let Some(seen) = texture::describe(scene.image, bare, &scene.located.metal, light, mm_per_px)? else {
            let least = texture::LEAST_BLOCKS * texture::BLOCK_MM.powi(2);
            return Ok(none(format!("less than {least:.1} mm2 of bare metal show what finish it has")));
        };
        if seen.white > MOST_WHITE {
            let why = format!("{:.0} % of the bare metal is overexposed and shows nothing", 100.0 * seen.white);
            return Ok(none(why));
        }
        let whole = network.answer(&seen.whole);
        let seen_as = (0..whole.len()).max_by(|a, b| whole[*a].total_cmp(&whole[*b])).unwrap_or(ordered);
        tracing::debug!("{}: finish {:?}", scene.frame.file, whole);
        let regions = regions(network, &seen, ordered);
        answer.features.push(share(network, &seen, &whole, ordered, &regions));
        answer.assessed.extend([SHARE, PATCH]);
        // A finish that is wrong all over is one finding.
        if whole[ordered] >= network.reject {
            answer.features.extend(regions.iter().map(|r| patch(network, &seen, r)));
        }
        if network.finishes[seen_as] == "brushed" {
            answer.assessed.push(DIRECTION);
            answer.features.push(direction(scene, &seen));
        } else {
            answer.not_assessed.push((DIRECTION, format!("the metal looks {}", network.finishes[seen_as])));
        }
        Ok(answer)
    }
}

/// Blocks side by side that show one finish other than the ordered.
struct Region {
    finish: usize,
    blocks: Vec<usize>,
    probability: f64,
}

fn regions(network: &Network, seen: &Texture, ordered: usize) -> Vec<Region> {
    let answers: Vec<Vec<f64>> = seen.blocks.iter().map(|b| network.answer(b)).collect();
    let other: Vec<Option<usize>> =
        answers.iter().map(|p| (0..p.len()).find(|k| *k != ordered && p[*k] >= network.block)).collect();
    let mut taken = vec![false; other.len()];
    let mut out = Vec::new();
    for first in 0..other.len() {
        let Some(finish) = other[first].filter(|_| !taken[first]) else { continue };
        let mut blocks = vec![first];
        taken[first] = true;
        let mut next = 0;
        while next < blocks.len() {
            let at = seen.blocks[blocks[next]].cell;
            for (k, b) in seen.blocks.iter().enumerate() {
                let near = at[0].abs_diff(b.cell[0]) + at[1].abs_diff(b.cell[1]) == 1;
                if near && !taken[k] && other[k] == Some(finish) {
                    taken[k] = true;
                    blocks.push(k);
                }
            }
            next += 1;
        }
        if blocks.len() >= LEAST_REGION {
            let probability = blocks.iter().map(|k| answers[*k][finish]).sum::<f64>() / blocks.len() as f64;
            out.push(Region { finish, blocks, probability });
        }
    }
    out
}

/// How much of the metal shows the ordered finish.
fn share(network: &Network, seen: &Texture, whole: &[f64], ordered: usize, regions: &[Region]) -> Feature {
    let p = whole[ordered];
    let area = seen.whole.area_mm2.max(1e-9);
    let lost: f64 = regions.iter().flat_map(|r| &r.blocks).map(|k| seen.blocks[*k].area_mm2 / area).sum();
    let lost = lost.min(1.0);
    // What is smaller than a block is not seen.
    let blind = WITHIN * texture::BLOCK_MM.powi(2) / area;
    let (value, uncertainty) = if p < network.reject {
        // Another finish is all over it, or over so much of it that the rest does not show: how much is not measured.
        (0.0, REST_U)
    } else if p >= network.accept || lost > 0.0 && p >= 0.5 {
        (1.0 - lost, blind.hypot(BORDER * lost))
    } else {
        (p, UNKNOWN)
    };
    let best = (0..whole.len()).filter(|k| *k != ordered).max_by(|a, b| whole[*a].total_cmp(&whole[*b]));
    let unsure = uncertainty == UNKNOWN;
    let doubt = best.filter(|_| unsure).map(|k| {
        let name = &network.finishes;
        format!("it may be {} ({:.0} %) or {} ({:.0} %)", name[ordered], 100.0 * p, name[k], 100.0 * whole[k])
    });
    // Where no finish is sure the row says so; there is nothing to point at.
    let wrong = p < 0.5 && !unsure || lost > 0.0;
    Feature {
        kind: wrong.then_some(FindingType::WrongFinish),
        name: "finish".into(),
        x_px: seen.whole.at_px[0],
        y_px: seen.whole.at_px[1],
        radius_px: 0.5 * seen.whole.side_px,
        outline_px: vec![],
        confidence: if wrong { (1.0 - p).max(regions.iter().map(|r| r.probability).fold(0.0, f64::max)) } else { p },
        found_by: vec!["finish".into()],
        values: vec![Value { characteristic: SHARE, value, uncertainty }],
        opinion: None,
        doubt,
        nominal: true,
    }
}

/// A region as a finding.
fn patch(network: &Network, seen: &Texture, region: &Region) -> Feature {
    let of = |k: &usize| &seen.blocks[*k];
    let n = region.blocks.len() as f64;
    let middle = [0, 1].map(|i| region.blocks.iter().map(|k| of(k).at_px[i]).sum::<f64>() / n);
    let reach = |k: &usize| {
        let b = of(k);
        (b.at_px[0] - middle[0]).hypot(b.at_px[1] - middle[1]) + 0.5 * b.side_px
    };
    let area: f64 = region.blocks.iter().map(|k| of(k).area_mm2).sum();
    let value = Value { characteristic: PATCH, value: area, uncertainty: (BORDER * area).max(WITHIN * area / n) };
    Feature {
        kind: Some(FindingType::WrongFinish),
        name: format!("{}-1", network.finishes[region.finish]),
        x_px: middle[0],
        y_px: middle[1],
        radius_px: region.blocks.iter().map(reach).fold(0.0, f64::max),
        outline_px: vec![],
        confidence: region.probability,
        found_by: vec!["finish".into()],
        values: vec![value],
        opinion: None,
        doubt: None,
        nominal: false,
    }
}

/// Direction of the brushing in piece coordinates, degrees counter-clockwise from x.
fn direction(scene: &Scene, seen: &Texture) -> Feature {
    let turn = scene.located.pose.rotation.to_degrees();
    let limit = scene.spec.limit(DIRECTION, &scene.view.name);
    // A line has no ends: of the values that are half a turn apart the one nearest to what was ordered.
    let about = limit.map_or(90.0, |l| match (l.nominal, l.lower, l.upper) {
        (Some(n), _, _) => n,
        (_, Some(a), Some(b)) => (a + b) / 2.0,
        (_, a, b) => a.or(b).unwrap_or(90.0),
    });
    let value = seen.whole.lines.to_degrees() - turn;
    let value = about + wrapped(value - about);
    // Blocks tell how well the direction is known; each counts by itself.
    let apart: Vec<f64> =
        seen.blocks.iter().map(|b| wrapped((b.lines - seen.whole.lines).to_degrees()).powi(2)).collect();
    let n = apart.len() as f64;
    let scatter = if apart.len() >= 3 { (apart.iter().sum::<f64>() / n / n).sqrt() } else { 5.0 };
    let u = scatter.hypot(scene.located.rotation_u.to_degrees()).max(LEAST_DIRECTION_U);
    Feature {
        kind: None,
        name: "brushing".into(),
        x_px: seen.whole.at_px[0],
        y_px: seen.whole.at_px[1],
        radius_px: 0.5 * seen.whole.side_px,
        outline_px: vec![],
        confidence: 1.0,
        found_by: vec!["finish".into()],
        values: vec![Value { characteristic: DIRECTION, value, uncertainty: u }],
        opinion: None,
        doubt: None,
        nominal: true,
    }
}

/// Degrees between two lines, from -90 to 90.
fn wrapped(degrees: f64) -> f64 {
    (degrees + 90.0).rem_euclid(180.0) - 90.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::{Image, Mask};

    /// Metal with streaks along `deg`, seen with a camera's noise.
    pub(super) fn brushed(deg: f64, seed: u64) -> Image {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (w, h) = (320usize, 240usize);
        let (s, c) = deg.to_radians().sin_cos();
        let rows: Vec<f64> = (0..4096).map(|_| 24.0 * (rng.f64() - 0.5)).collect();
        let mut data = Vec::with_capacity(3 * w * h);
        for y in 0..h {
            for x in 0..w {
                // Across the streaks; y is down.
                let t = (s * x as f64 + c * y as f64) / 1.5 + 1000.0;
                // Streaks of finite length.
                let u = ((c * x as f64 - s * y as f64) / 60.0 + rows[t as usize]).floor() as i64;
                let level = rows[(t as usize + 37 * (u.rem_euclid(29) as usize)) % rows.len()];
                let v = 130.0 + level + 6.0 * (rng.f64() - 0.5);
                data.extend([v as u8, (0.9 * v) as u8, (0.7 * v) as u8]);
            }
        }
        Image { width: w, height: h, data, grey: false }
    }

    #[test]
    fn the_direction_of_a_brushing_is_measured() {
        for deg in [0.0, 25.0, 90.0, 141.0] {
            let image = brushed(deg, 5);
            let all = Mask::full(image.width, image.height);
            let seen = texture::describe(&image, &all, &all, "ring", 0.012).unwrap().unwrap();
            let off = wrapped(seen.whole.lines.to_degrees() - deg);
            assert!(off.abs() < 2.0, "{deg}: {}", seen.whole.lines.to_degrees());
            assert!(seen.blocks.len() >= 8, "{}", seen.blocks.len());
        }
    }

    #[test]
    fn brightness_is_not_in_the_description() {
        let image = brushed(30.0, 9);
        let mut darker = image.clone();
        darker.data.iter_mut().for_each(|v| *v /= 2);
        let all = Mask::full(image.width, image.height);
        let of = |i: &Image| texture::describe(i, &all, &all, "ring", 0.012).unwrap().unwrap().whole;
        let (a, b) = (of(&image), of(&darker));
        assert_eq!(a.values.len(), texture::names().len());
        for ((x, y), name) in a.values.iter().zip(&b.values).zip(texture::names()) {
            // Halving rounds, which is a little more noise.
            assert!((x - y).abs() < 0.35, "{name}: {x} {y}");
        }
    }

    #[test]
    fn too_little_metal_says_nothing() {
        let image = brushed(0.0, 1);
        let all = Mask::full(image.width, image.height);
        let mut few = Mask::empty(image.width, image.height);
        crate::vision::ops::fill_circle(&mut few, 100.0, 100.0, 30.0, 255);
        assert_eq!(texture::describe(&image, &few, &all, "ring", 0.012).unwrap(), None);
    }

    #[test]
    fn half_turns_are_the_same_line() {
        assert_eq!([wrapped(179.0), wrapped(-95.0), wrapped(45.0)], [-1.0, 85.0, 45.0]);
    }

    #[test]
    fn the_network_is_for_these_values() {
        let n = network().unwrap();
        assert_eq!(n.finishes.len(), 4);
        assert!(n.reject < n.accept && n.accept < 1.0 && n.block > 0.5);
        assert!(!n.nets.is_empty());
    }
}
