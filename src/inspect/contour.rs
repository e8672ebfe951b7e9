//! Is all the metal there: the largest lack of metal against the nominal outline (incomplete fill).

use super::{Answer, Feature, Inspect, Scene, Value};
use crate::locate::edges::EdgeSample;
use crate::locate::{outline as nominal, SETTING_TOLERANCE_MM};
use crate::report::FindingType;
use crate::spec::Outline;
use crate::vision::{ops, VisionError};

/// The inspector of the outline.
#[derive(Debug)]
pub struct Contour;

pub(crate) const CHARACTERISTIC: &str = "outline.deviation_mm";
/// A lack of metal is wider than this along the outline; what is narrower is a speck or an edge's ragged step.
const WIDTH_MM: f64 = 0.08;

/// What of a piece may lie beyond the frame, in mm, before it counts as cut off: no more than a rim's margin, in which nothing is looked for.
const BEYOND_MM: f64 = 0.1;

/// How far the piece reaches beyond the frame, as a person reads it; none where all of it lies within. A band runs out of its frame, by its nature.
pub(super) fn cut_off(scene: &Scene) -> Option<String> {
    let outline = scene.view.outline.as_ref().filter(|o| !matches!(o, Outline::Band { .. }))?;
    let pose = &scene.located.pose;
    let (w, h) = (scene.image.width as f64 - 1.0, scene.image.height as f64 - 1.0);
    let over = |p: &[f64; 2]| {
        let [x, y] = pose.to_px(p[0], p[1]);
        (-x).max(-y).max(x - w).max(y - h)
    };
    let by = pose.mm(nominal::polygon(outline, 1.0).iter().map(over).fold(0.0, f64::max));
    (by > BEYOND_MM.max(2.0 * scene.located.shift_u_mm))
        .then(|| format!("the frame cuts the piece off: it reaches {by:.2} mm beyond the frame's edge"))
}

/// Whether a place of the piece lies on a nominal stone or prong, or as near as their own setting may put them there.
fn is_part(scene: &Scene, x: f64, y: f64) -> bool {
    let on = |px: f64, py: f64, reach: f64| (x - px).hypot(y - py) < reach + SETTING_TOLERANCE_MM;
    scene
        .view
        .stones
        .iter()
        .any(|s| on(s.x_mm, s.y_mm, s.diameter_mm / 2.0) || s.prongs.iter().any(|q| on(q.x_mm, q.y_mm, q.radius_mm)))
}

/// Why a stretch without an edge, and a lack elsewhere beside such a one, is a person's matter.
const LOST: &str = "the edge is not clear all along";
const NO_EDGE: &str = "no clear edge is seen there: the metal may look like what lies behind it";

/// Whether the surface model takes a stretch without an edge for background. Without a model, or where it sees metal, the
/// metal may only look like what lies behind it.
fn is_background(scene: &Scene, members: &[usize], edges: &[&EdgeSample]) -> bool {
    let Some(map) = scene.classes else { return false };
    let Some(class) = map.class("background") else { return false };
    let pose = &scene.located.pose;
    let (mut sum, mut n, mut all) = (0.0, 0.0, 0.0);
    for e in members.iter().map(|i| &edges[*i].point) {
        for depth_mm in [0.1, 0.2, 0.3, 0.4] {
            let p = pose.to_px(e.x - depth_mm * e.nx, e.y - depth_mm * e.ny);
            let (x, y) = (p[0].round(), p[1].round());
            all += 1.0;
            if x >= 0.0 && y >= 0.0 && x < scene.image.width as f64 && y < scene.image.height as f64 {
                sum += f64::from(map.at(class, x as usize, y as usize));
                n += 1.0;
            }
        }
    }
    // What the frame hardly shows decides nothing.
    2.0 * n > all && sum / n > 0.5
}

/// A place where metal is lacking.
struct Lack {
    worst: usize,
    members: Vec<usize>,
    deviation: f64,
    seen: bool,
    doubt: bool,
    value: Value,
}

/// The notch about its deepest place: both ways until half of its depth below what is usual.
fn notch(smooth: &[f64], worst: usize, usual: f64, (ring, stride): (bool, usize)) -> Vec<usize> {
    let n = smooth.len() as i64;
    let within = |i: usize| smooth[i] < usual + 0.5 * (smooth[worst] - usual);
    let mut members = vec![worst];
    for direction in [-1i64, 1] {
        let places = (1..n / 2).map(|k| worst as i64 + direction * k * stride as i64);
        let places = places.map(|j| if ring { j.rem_euclid(n) } else { j });
        members.extend(places.take_while(|j| (0..n).contains(j) && within(*j as usize)).map(|j| j as usize));
    }
    members
}

impl Inspect for Contour {
    fn name(&self) -> &'static str {
        "outline"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[CHARACTERISTIC]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        if scene.mm_per_px().is_none() {
            answer.not_assessed.push((CHARACTERISTIC, "the frame has no um_per_px".into()));
            return Ok(answer);
        }
        if scene.view.outline.is_none() {
            answer.not_assessed.push((CHARACTERISTIC, "the view has no outline".into()));
            return Ok(answer);
        }
        let pose = &scene.located.pose;
        let edges: Vec<&EdgeSample> = scene.located.edges.iter().filter(|e| e.in_frame).collect();
        if edges.len() < 16 {
            answer.not_assessed.push((CHARACTERISTIC, "too little of the outline is in the frame".into()));
            return Ok(answer);
        }
        // Where no edge is seen within reach the metal is lacking by as much as was searched: the edge lies deeper.
        let unseen = -0.5;
        let offset: Vec<Option<f64>> = edges.iter().map(|e| e.offset_mm).collect();
        // A dark prong or girdle near the outline shows a stronger edge than the outline itself: what is found there says nothing.
        let taken: Vec<bool> = edges
            .iter()
            .map(|e| {
                e.offset_mm.is_some_and(|o| is_part(scene, e.point.x + o * e.point.nx, e.point.y + o * e.point.ny))
            })
            .collect();
        // A running median along the outline. The points are in order, in one ring or, for a band, the two edges in turn.
        let ring = !matches!(scene.view.outline, Some(Outline::Band { .. }));
        let stride = if ring { 1 } else { 2 };
        let spacing_mm = pose.mm(2.0).max(0.02);
        let half = ((WIDTH_MM / spacing_mm / 2.0).ceil() as usize).max(1);
        let n = offset.len();
        let mut smooth = vec![0.0; n];
        for (i, out) in smooth.iter_mut().enumerate() {
            let mut near: Vec<f32> = Vec::with_capacity(2 * half + 1);
            let mut blind = 0;
            let mut take = |j: usize| match offset[j] {
                _ if taken[j] => {}
                Some(o) => near.push(o as f32),
                None => blind += 1,
            };
            for k in 0..=2 * half {
                let j = i as i64 + (k as i64 - half as i64) * stride as i64;
                if ring {
                    take(j.rem_euclid(n as i64) as usize);
                } else if j >= 0 && (j as usize) < n {
                    take(j as usize);
                }
            }
            // A single place without an edge is noise, at a band's end as elsewhere; a stretch of them is a lack deeper than was searched.
            *out = match (blind, near.len()) {
                (0, 0) => 0.0,
                (blind, seen) if blind > seen.max(half) => unseen,
                _ => f64::from(ops::median(&mut near)),
            };
        }
        // How far a good edge strays: the scatter of the smoothed places about their own median.
        let mut all: Vec<f32> = smooth.iter().map(|v| *v as f32).collect();
        let median = f64::from(ops::median(&mut all));
        if median <= unseen {
            answer.not_assessed.push((CHARACTERISTIC, "most of the outline shows no clear edge".into()));
            return Ok(answer);
        }
        let scatter = f64::from(ops::robust_sigma(&mut all));
        // What all of the edge has in common is the piece's own growth or shrinking, or only where a rounded edge is seen, or
        // any share of both: half of it is taken off, and it counts as a rectangular distribution (GUM 4.3.7).
        let common = median.abs() / 12f64.sqrt();
        let u = scatter.hypot(scene.located.shift_u_mm).hypot(common).max(pose.mm(0.1));
        let u = u.hypot(scene.scale_u() * nominal::reach_of(scene.view));
        let mut every: Vec<f32> = edges.iter().map(|e| e.contrast as f32).collect();
        let usual = f64::from(ops::median(&mut every));
        let deepest = |places: &mut dyn Iterator<Item = usize>| {
            places.min_by(|a, b| smooth[*a].total_cmp(&smooth[*b])).unwrap_or(0)
        };
        let lack = |worst: usize| {
            let least = smooth[worst];
            let members = notch(&smooth, worst, median.min(0.0), (ring, stride));
            let deviation = (-least).max(0.0);
            let mut contrast: Vec<f32> = members.iter().map(|i| edges[*i].contrast as f32).collect();
            // In a notch the metal's edge shows as elsewhere, only deeper; where it shows half as much it falls into a shadow.
            let hidden = least <= unseen || f64::from(ops::median(&mut contrast)) < 0.5 * usual;
            // A lack that stands clear of the edge's own scatter is a finding; anything else is only the measurement.
            let seen = deviation - (-median).max(0.0) > (6.0 * scatter).max(pose.mm(2.0));
            // A stretch without an edge is no measured lack, whether or not it would stand clear of the scatter.
            let doubt = (seen || least <= unseen) && hidden && !is_background(scene, &members, &edges);
            let value = if least <= unseen { deviation } else { (median / 2.0 - least).max(0.0) };
            // How deep, or whether at all, nothing says: anything from none to what was searched.
            let blind = if doubt && least <= unseen { -unseen / 12f64.sqrt() } else { 0.0 };
            let value = Value { characteristic: CHARACTERISTIC, value, uncertainty: u.hypot(blind) };
            Lack { worst, members, deviation, seen, doubt, value }
        };
        let mut lacks = vec![lack(deepest(&mut (0..n)))];
        // Where no edge is seen nothing is known, and it must not hide what is seen well away from there.
        if lacks[0].doubt && smooth[lacks[0].worst] <= unseen {
            let blind: Vec<[f64; 2]> =
                (0..n).filter(|i| smooth[*i] <= unseen).map(|i| [edges[i].point.x, edges[i].point.y]).collect();
            let away = |i: usize| {
                let p = &edges[i].point;
                blind.iter().all(|q| (p.x - q[0]).hypot(p.y - q[1]) > -2.0 * unseen)
            };
            let other = lack(deepest(&mut (0..n).filter(|i| away(*i))));
            if other.seen && other.members.iter().all(|i| away(*i)) {
                lacks.push(other);
            }
        }
        // What is not seen may lack metal, whatever is seen.
        let upper = scene.spec.limit(CHARACTERISTIC, &scene.view.name).and_then(|l| l.upper).unwrap_or(f64::INFINITY);
        if let Some(why) = cut_off(scene).filter(|_| lacks.iter().all(|l| l.value.value <= upper)) {
            answer.not_assessed.push((CHARACTERISTIC, why));
            return Ok(answer);
        }
        for (number, Lack { worst, members, deviation, seen, doubt, value }) in lacks.into_iter().enumerate() {
            let width_mm = members.len() as f64 * spacing_mm;
            let depth_px = pose.px(deviation);
            let [x, y] = {
                let p = &edges[worst].point;
                pose.to_px(p.x - p.nx * deviation / 2.0, p.y - p.ny * deviation / 2.0)
            };
            let mut outline_px: Vec<[f64; 2]> = Vec::new();
            if seen {
                let mut order = members.clone();
                order.sort_unstable();
                // A notch across the ring's seam is drawn as its circle alone.
                if order.windows(2).all(|w| w[1] - w[0] <= stride) {
                    outline_px = order.iter().map(|i| edges[*i].px).collect();
                    for i in order.iter().rev() {
                        let p = &edges[*i].point;
                        let d = -smooth[*i];
                        outline_px.push(pose.to_px(p.x - p.nx * d, p.y - p.ny * d));
                    }
                }
            }
            answer.features.push(Feature {
                nominal: false,
                opinion: None,
                rim: None,
                // Where the edge is lost in one place, what is seen of it elsewhere fails nothing by itself.
                doubt: (doubt || number > 0).then(|| if doubt { NO_EDGE } else { LOST }.to_owned()),
                kind: seen.then_some(FindingType::IncompleteFill),
                name: if seen { format!("fill-{}", number + 1) } else { scene.view.name.clone() },
                x_px: x,
                y_px: y,
                radius_px: (pose.px(width_mm) / 2.0).max(depth_px / 2.0).max(2.0),
                outline_px,
                confidence: 1.0 - (-(deviation / (6.0 * scatter).max(1e-6))).exp(),
                found_by: vec![self.name().to_owned()],
                values: vec![value],
            });
        }
        answer.assessed.push(CHARACTERISTIC);
        Ok(answer)
    }
}
