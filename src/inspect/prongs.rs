//! Every nominal prong: does its tip stand there whole, where, and how far does it reach over the girdle.

use super::contact::{girdle_towards, Contact};
use super::stones::{self, part, value, Placed};
use super::{seat, sight, Answer, Feature, Inspect, Scene};
use crate::model::ProngSight;
use crate::report::FindingType;
use crate::spec::{Outline, Prong, Stone, View};
use crate::vision::{ops, VisionError};

/// The inspector of prongs.
#[derive(Debug)]
pub struct Prongs;

const PRESENT: &str = "prong.present";
const OFFSET: &str = "prong.offset_mm";
const COVERAGE: &str = "prong.coverage_pct";

/// Log odds between which a person decides. In training one prong in seven was not whole; at a bench it is one in hundreds, so
/// the model's even odds are long odds for a whole one. Of 14600 windows of whole ones left out of training 17 lie below the first
/// and 184 below the second; of 2446 that were not whole, 1926 lie below the first and 70 above the second.
const DOUBT: (f64, f64) = (-4.0, 1.0);

/// What is said of a tip where the frame is burnt out, or black.
pub(super) const CLIPPED: &str = "its place is overexposed";
pub(super) const BLACK: &str = "no light comes from its place";
/// A tip's place of which so much is burnt out shows no tip: its own glint is a smaller part of it.
const BURNT: f64 = 0.5;
/// And one of which so much is black.
const DARK: f64 = 0.9;
/// What is looked at of it, in radii of the tip.
const ABOUT: f64 = 1.5;

/// Why a frame does not show whether a prong is there; none where it would.
fn spoiled(scene: &Scene, prong: &Prong, blurred: bool) -> Option<&'static str> {
    let pose = &scene.located.pose;
    let (at, reach) = (pose.to_px(prong.x_mm, prong.y_mm), ABOUT * pose.px(prong.radius_mm));
    let image = scene.image;
    let ends = |v: f64, n: usize| {
        let first = (v - reach).ceil().clamp(0.0, n as f64) as usize;
        first..((v + reach).floor() + 1.0).clamp(first as f64, n as f64) as usize
    };
    let (mut all, mut burnt, mut dark) = (0.0, 0.0, 0.0);
    for y in ends(at[1], image.height) {
        for x in ends(at[0], image.width).filter(|x| (*x as f64 - at[0]).hypot(y as f64 - at[1]) <= reach) {
            let pixel = &image.data[3 * (y * image.width + x)..][..3];
            all += 1.0;
            burnt += f64::from(u8::from(pixel.iter().all(|v| f64::from(*v) >= seat::CLIPPED)));
            dark += f64::from(u8::from(pixel.iter().all(|v| f64::from(*v) < seat::BLACK)));
        }
    }
    match () {
        () if burnt > BURNT * all => Some(CLIPPED),
        () if dark > DARK * all => Some(BLACK),
        () if blurred => Some(stones::BLURRED),
        () => scene.is_underexposed().then_some(stones::DARK),
    }
}

/// The name of a stone's prong, numbered from 1 in the spec's order.
pub fn name(stone: &Stone, k: usize) -> String {
    format!("{}.p{}", stone.id, k + 1)
}

/// What is said of a prong whose stone shows where its tip should lie.
pub(super) const CUT: &str =
    "its stone shows where its tip should reach over the girdle: it may be worn, cut or bent";

/// Log of what the surface model takes for stone over what it takes for prong, in the part of a tip over the girdle, from which on that part is missing: above the median of the frame's
/// prongs, or by itself where there are fewer than [`COMPANY`] or all are so. Of 19,400 looks at whole prongs under bright fields (88 pieces, and the untouched prongs of painted ones) two,
/// of one coaxial frame, lie beyond; of 36 that another painter cut off at the girdle 30, of 14 with a quarter of their reach left 6.
const BARE: f64 = 2.6;
const ALL_BARE: f64 = 2.8;

/// How far a place lies within the girdle so that it counts, in radii of the tip: farther than both are known.
const WITHIN: f64 = 0.15;

/// How far a tip lies off its nominal place, in mm.
fn tip_shift(stone: &Stone, prong: &Prong, seen: &ProngSight) -> [f64; 2] {
    sight::to_piece(seen.centre.map(|v| v * prong.radius_mm), sight::prong_turn(stone, prong))
}

/// The prongs (stone, prong) over whose girdle the surface model sees the stone where the tip should lie. The model of prongs tells a tip by what is left of it.
fn bare_girdles(scene: &Scene, placed: &[Placed], sights: &sight::Sights) -> Vec<(usize, usize)> {
    let Some((map, _)) = super::opinion::of_scene(scene) else { return vec![] };
    let (Some(of_stone), Some(of_prong)) = (map.class("stone"), map.class("prong")) else { return vec![] };
    if scene.frame.light == "dark_field" {
        // Tips and stones are black there but for their glints.
        return vec![];
    }
    let (pose, size) = (&scene.located.pose, [scene.image.width, scene.image.height]);
    let odds = |s: &Placed, tip: [f64; 2], radius: f64| {
        let (mut stone, mut prong, mut n) = (0.0, 0.0, 0.0);
        let set = &scene.view.stones[s.index];
        for i in -10..=10 {
            for j in -10..=10 {
                let d = [i, j].map(|v| 0.09 * f64::from(v));
                let at = [tip[0] + d[0] * radius, tip[1] + d[1] * radius];
                let from = [0, 1].map(|k| at[k] - s.centre[k]);
                let towards = girdle_towards(set, s, s.seen, from)?;
                let depth = towards - from[0].hypot(from[1]);
                let p = pose.to_px(at[0], at[1]).map(f64::round);
                let inside = (0..2).all(|k| p[k] >= 0.0 && p[k] < size[k] as f64);
                if d[0].hypot(d[1]) <= 0.9 && depth > WITHIN * radius && inside {
                    stone += f64::from(map.at(of_stone, p[0] as usize, p[1] as usize));
                    prong += f64::from(map.at(of_prong, p[0] as usize, p[1] as usize));
                    n += 1.0;
                }
            }
        }
        // Where hardly any of it should lie over the girdle nothing is told.
        let odds = ((stone / n + 0.02) / (prong / n + 0.02)).ln();
        (n >= LEAST_WITHIN).then_some(odds)
    };
    let mut all: Vec<((usize, usize), f64)> = Vec::new();
    for s in placed {
        let stone = &scene.view.stones[s.index];
        for (k, (prong, seen)) in stone.prongs.iter().zip(&sights.prongs[s.index]).enumerate() {
            let Some(seen) = seen.as_ref().ok().filter(|seen| seen.present > 0.0) else { continue };
            let shift = tip_shift(stone, prong, seen);
            let tip = [prong.x_mm + shift[0], prong.y_mm + shift[1]];
            let bare = odds(s, tip, prong.radius_mm * seen.size);
            tracing::debug!("prong {} of {}: bare by {bare:.2?}", name(stone, k), scene.frame.file);
            all.extend(bare.map(|o| ((s.index, k), o)));
        }
    }
    let mut odds: Vec<f32> = all.iter().map(|a| a.1 as f32).collect();
    let usual = if odds.len() >= COMPANY { f64::from(ops::median(&mut odds)) } else { 0.0 };
    all.into_iter().filter(|(_, o)| o - usual > BARE || *o > ALL_BARE).map(|a| a.0).collect()
}

/// Places of a tip (of 400) that must lie within the girdle.
const LEAST_WITHIN: f64 = 20.0;

/// Whether the tip of another prong reaches over this one's place, as where a halo's stones stand close to the centre: the one on
/// top hides the other, and no picture says for sure that it is gone.
fn covered(stones: &[Stone], of: usize, k: usize) -> bool {
    let own = &stones[of].prongs[k];
    let over = |q: &Prong| (q.x_mm - own.x_mm).hypot(q.y_mm - own.y_mm) < q.radius_mm + own.radius_mm;
    stones.iter().enumerate().any(|(i, s)| s.prongs.iter().enumerate().any(|(j, q)| (i, j) != (of, k) && over(q)))
}

/// Fewest prongs or stones that say together where a piece lies.
const COMPANY: usize = 4;

/// Cuts that look another way when they are turned by half a turn.
const ONE_WAY: [&str; 4] = ["pear", "heart", "trilliant", "trillion"];

/// Whether a piece may have been placed another way than it lies so that its prongs are looked for where none are: one whose outline or stones fix how it lies
/// cannot, nor one that is the same after half a turn, where they leave only that open.
pub fn may_lie_otherwise(view: &View) -> bool {
    let turned_only =
        !matches!(view.outline, Some(Outline::Disc { .. }) | None) || view.stones.iter().any(|s| !s.is_round());
    let prongs = || view.stones.iter().flat_map(|s| &s.prongs);
    let same = prongs().all(|p| prongs().any(|q| (p.x_mm + q.x_mm).hypot(p.y_mm + q.y_mm) < p.radius_mm));
    let one_way = view.stones.iter().any(|s| ONE_WAY.contains(&s.cut_word().as_str()));
    !(one_way || turned_only && same)
}

/// Whether most prongs of a frame, or of one of its stones, or most stones are not at their places: then it is rather the piece that lies another way (a round head
/// whose direction was mistaken, a halo turned by one of its stones) than all of them that are gone, and a person decides.
pub fn astray(features: &[Feature]) -> bool {
    let most_gone = |characteristic: &str, of: Option<&str>| {
        let about = |f: &&Feature| of.is_none_or(|s| f.name.rsplit_once('.').is_some_and(|(stone, _)| stone == s));
        // What is dark, or covered, says nothing of where it lies.
        let told = || features.iter().filter(about).filter(|f| f.doubt.is_none());
        let all = || told().flat_map(|f| &f.values).filter(|v| v.characteristic == characteristic);
        let gone = all().filter(|v| v.value == 0.0).count();
        all().count() >= COMPANY && 2 * gone > all().count()
    };
    let stones = || features.iter().filter(|f| f.values.iter().any(|v| v.characteristic == stones::PRESENT));
    most_gone(PRESENT, None)
        || most_gone(stones::PRESENT, None)
        || stones().any(|s| most_gone(PRESENT, Some(&s.name)))
}

/// Share of a frame's prongs that do not look like whole ones from which on they are rather of a form that the models do not know (claws, tabs) than all gone: a person decides.
const FOREIGN: f64 = 0.8;

/// Whether nearly all prongs of a frame look otherwise than prongs do.
pub fn are_foreign(features: &[Feature]) -> bool {
    let all = || features.iter().flat_map(|f| &f.values).filter(|v| v.characteristic == PRESENT);
    let gone = all().filter(|v| v.value == 0.0).count();
    all().count() >= COMPANY && gone as f64 >= FOREIGN * all().count() as f64
}

/// Whether a feature is a prong's.
pub fn is_of_prong(feature: &Feature) -> bool {
    feature.nominal && feature.values.iter().any(|v| [PRESENT, OFFSET, COVERAGE].contains(&v.characteristic))
}

impl Inspect for Prongs {
    fn name(&self) -> &'static str {
        "prongs"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[PRESENT, OFFSET, COVERAGE]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        if scene.view.stones.iter().all(|s| s.prongs.is_empty()) {
            return Ok(answer);
        }
        let nothing = |answer: &mut Answer, why: &str| {
            for c in [PRESENT, OFFSET, COVERAGE] {
                answer.not_assessed.push((c, why.to_owned()));
            }
        };
        if scene.mm_per_px().is_none() {
            nothing(&mut answer, "the frame has no um_per_px");
            return Ok(answer);
        }
        let Some(sights) = scene.sights else {
            nothing(&mut answer, stones::NO_MODEL);
            return Ok(answer);
        };
        let pose = &scene.located.pose;
        // What all stones have in common is no prong's offset.
        let (placed, common) = stones::placed(scene);
        let scale_u = scene.scale_u();
        let blurred = scene.out_of_focus()?.is_some();
        let stones = &scene.view.stones;
        let bare = bare_girdles(scene, placed, sights);
        for (index, (stone, row)) in stones.iter().zip(&sights.prongs).enumerate() {
            let held = placed.iter().find(|s| s.index == index);
            for (k, (prong, seen)) in stone.prongs.iter().zip(row).enumerate() {
                let name = name(stone, k);
                let is_cut = bare.contains(&(index, k));
                let seen = match seen {
                    Ok(seen) => seen,
                    Err(why) => {
                        for c in [PRESENT, OFFSET, COVERAGE] {
                            answer.not_assessed.push((c, format!("prong {name}: {why}")));
                        }
                        continue;
                    }
                };
                let r = prong.radius_mm;
                let shift = tip_shift(stone, prong, seen);
                let tip = [prong.x_mm + shift[0], prong.y_mm + shift[1]];
                let whole = seen.present > 0.0;
                let at = if whole { pose.to_px(tip[0], tip[1]) } else { pose.to_px(prong.x_mm, prong.y_mm) };
                let mut feature = part(&name, at, pose.px(r * if whole { seen.size } else { 1.0 }));
                feature.found_by = vec![self.name().to_owned()];
                feature.kind = (!whole).then_some(FindingType::MissingProng);
                feature.confidence = 1.0 / (1.0 + (-seen.present.abs()).exp());
                let mut unsure =
                    if whole { seen.present < DOUBT.1 } else { seen.present >= DOUBT.0 || covered(stones, index, k) };
                if !whole || unsure {
                    feature.doubt = spoiled(scene, prong, blurred).map(str::to_owned);
                    unsure |= feature.doubt.is_some();
                }
                if is_cut {
                    (unsure, feature.confidence) = (true, 0.5);
                    feature.doubt.get_or_insert_with(|| CUT.to_owned());
                }
                feature.values.push(value(PRESENT, if whole { 1.0 } else { 0.0 }, if unsure { 0.6 } else { 0.0 }));
                let mut place = Feature { doubt: None, ..feature.clone() };
                answer.features.push(feature);
                if !whole {
                    continue;
                }
                place.values.clear();
                let u = (seen.centre_u * r).hypot(pose.mm(0.05));
                let by = common.at([prong.x_mm, prong.y_mm]);
                let offset = (shift[0] - by[0]).hypot(shift[1] - by[1]);
                let offset_u = u.hypot(common.at_u([prong.x_mm, prong.y_mm])).hypot(scale_u * offset);
                place.values.push(value(OFFSET, offset, offset_u));
                match held.map(|s| Contact::of(stone, s, tip, [seen.size * r, u.hypot(seen.size_u * r)])) {
                    Some(Some(Contact { pct, pct_u: u })) => {
                        // The circle that fits what is left of a tip says nothing of where it ends: twice this reaches down to none.
                        let u = if is_cut { u.max(pct.abs() / 2.0) } else { u };
                        place.values.push(value(COVERAGE, pct, u));
                    }
                    Some(None) => answer
                        .not_assessed
                        .push((COVERAGE, format!("prong {name}: the table of the cut `{}` is not known", stone.cut))),
                    None => answer.not_assessed.push((COVERAGE, format!("prong {name}: its stone was not measured"))),
                }
                answer.features.push(place);
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_under_another_is_covered() {
        let stone = |x: f64, prongs: &[(f64, f64)]| Stone {
            id: format!("S{x}"),
            x_mm: x,
            y_mm: 0.0,
            diameter_mm: 1.0,
            cut: "round".into(),
            turn_deg: None,
            gem: None,
            prongs: prongs.iter().map(|(x, r)| Prong { x_mm: *x, y_mm: 0.0, radius_mm: *r }).collect(),
        };
        let stones = [stone(0.0, &[(-0.5, 0.1), (0.5, 0.2)]), stone(1.1, &[(0.65, 0.1), (1.6, 0.1)])];
        assert!(covered(&stones, 0, 1) && covered(&stones, 1, 0));
        assert!(!covered(&stones, 0, 0) && !covered(&stones, 1, 1));
    }

    #[test]
    fn a_piece_that_lies_another_way_has_most_prongs_missing() {
        let of = |there: &[bool]| -> Vec<Feature> {
            let one = |t: &bool| {
                let mut f = part("S1.p1", [0.0, 0.0], 4.0);
                f.values.push(value(PRESENT, f64::from(u8::from(*t)), 0.0));
                f
            };
            there.iter().map(one).collect()
        };
        assert!(astray(&of(&[false, false, false, true])));
        assert!(!astray(&of(&[false, false, true, true])));
        assert!(!astray(&of(&[false, false, false])));
        assert!(!astray(&[]));
        // A halo turned by one of its stones: only the centre's prongs lie elsewhere.
        let feature = |name: &str, characteristic, there: bool| {
            let mut f = part(name, [0.0, 0.0], 4.0);
            f.values.push(value(characteristic, f64::from(u8::from(there)), 0.0));
            f
        };
        let halo = |gone: usize| -> Vec<Feature> {
            let centre = (0..4).map(|k| feature(&format!("C.p{k}"), PRESENT, k >= gone));
            let about = (0..12).map(|k| feature(&format!("H{k}.p1"), PRESENT, true));
            centre.chain(about).chain([feature("C", stones::PRESENT, true)]).collect()
        };
        assert!(astray(&halo(3)) && !astray(&halo(2)));
        let stones = |gone: usize| -> Vec<Feature> {
            (0..6).map(|k| feature(&format!("S{k}"), stones::PRESENT, k >= gone)).collect()
        };
        assert!(astray(&stones(4)) && !astray(&stones(3)));
    }

    #[test]
    fn prongs_of_another_form_are_all_unlike() {
        let of = |there: usize, gone: usize| -> Vec<Feature> {
            let values = std::iter::repeat_n(1.0, there).chain(std::iter::repeat_n(0.0, gone));
            let one = |v: f64| {
                let mut f = part("S1.p1", [0.0, 0.0], 4.0);
                f.values.push(value(PRESENT, v, 0.0));
                f
            };
            values.map(one).collect()
        };
        assert!(are_foreign(&of(0, 4)) && are_foreign(&of(2, 10)));
        assert!(!are_foreign(&of(1, 3)) && !are_foreign(&of(0, 3)) && !are_foreign(&[]));
    }

    #[test]
    fn what_fixes_how_a_piece_lies_leaves_nothing_open() {
        let view = |outline: Outline, cut: &str, prongs: &[[f64; 2]]| {
            let prongs = prongs.iter().map(|[x, y]| Prong { x_mm: *x, y_mm: *y, radius_mm: 0.2 }).collect();
            let (id, cut) = ("C".to_owned(), cut.to_owned());
            let stone = Stone { id, x_mm: 0.0, y_mm: 0.0, diameter_mm: 4.0, cut, turn_deg: None, gem: None, prongs };
            View { outline: Some(outline), stones: vec![stone], ..View::default() }
        };
        let four = [[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]];
        let (disc, oval) = (Outline::Disc { radius_mm: 4.0 }, Outline::Ellipse { rx_mm: 4.0, ry_mm: 5.0 });
        assert!(may_lie_otherwise(&view(disc.clone(), "round", &four)));
        assert!(!may_lie_otherwise(&view(oval.clone(), "round", &four)));
        assert!(
            may_lie_otherwise(&view(oval, "round", &four[..3])) && !may_lie_otherwise(&view(disc, "pear", &four))
        );
    }
}
