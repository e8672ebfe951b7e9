//! The total weight of a piece's stones, out of what was measured of each.
//!
//! A stone that is missing weighs nothing. One that several views show (the same id and the same stone in each) counts once, as
//! the view measured it that is surest. While any stone has no weight, there is no total.

use super::{row, status, ViewAnswer};
use crate::inspect::carat::{self, Carat};
use crate::report::{Measurement, Status};
use crate::spec::{Limit, Spec, Stone};

/// The characteristic.
pub(super) const TOTAL: &str = "stone.carat_total";

/// The feature that the row of the whole piece names.
const PIECE: &str = "piece";

/// The rows: of the whole piece where all stones have a weight, and of every view that a limit is about.
pub(super) fn rows<'a>(
    spec: &'a Spec,
    views: &[ViewAnswer],
    rows: &[Measurement],
) -> Vec<(Measurement, Option<&'a Limit>)> {
    let limits = || spec.limits.iter().filter(|l| l.characteristic == TOTAL && l.zone.is_none());
    let of_piece = limits().find(|l| l.view.is_none());
    let of_views = limits().filter(|l| l.view.is_some());
    std::iter::once((None, of_piece))
        .chain(of_views.map(|l| (l.view.as_deref(), Some(l))))
        .filter_map(|(view, limit)| {
            let sum = weigh(view, spec, views, rows).ok().flatten()?;
            let s = limit.map_or(Status::Pass, |l| status(sum.value, sum.uncertainty, l));
            let (feature, view) = (view.unwrap_or(PIECE), view.unwrap_or_default());
            Some((row(TOTAL, feature, view, sum.value, sum.uncertainty, limit, s), limit))
        })
        .collect()
}

/// Why there is no total of a view, or of the whole piece; none where there is one.
pub(super) fn missing(view: Option<&str>, spec: &Spec, views: &[ViewAnswer], rows: &[Measurement]) -> Option<String> {
    match weigh(view, spec, views, rows) {
        Ok(Some(_)) => None,
        Ok(None) => Some("the spec names no stone there".into()),
        Err(why) => Some(why),
    }
}

/// The sum, where every stone has a weight; nothing where there is no stone.
fn weigh(
    view: Option<&str>,
    spec: &Spec,
    views: &[ViewAnswer],
    rows: &[Measurement],
) -> Result<Option<Carat>, String> {
    // Every stone with the views that show it.
    let mut stones: Vec<(&Stone, Vec<&str>)> = Vec::new();
    for v in spec.views.iter().filter(|v| view.is_none_or(|name| v.name == name)) {
        for s in &v.stones {
            let same = |t: &Stone| {
                t.id == s.id && t.diameter_mm == s.diameter_mm && t.cut_word() == s.cut_word() && t.gem == s.gem
            };
            match stones.iter_mut().find(|(t, seen)| same(t) && !seen.contains(&v.name.as_str())) {
                Some((_, seen)) => seen.push(&v.name),
                None => stones.push((s, vec![&v.name])),
            }
        }
    }
    if stones.is_empty() {
        return Ok(None);
    }
    let mut weights = Vec::new();
    let mut without: Vec<String> = Vec::new();
    for (stone, seen) in &stones {
        match weight(stone, seen, views, rows) {
            Ok(carat) => weights.extend(carat.map(|c| (*stone, c))),
            Err(why) => without.push(why),
        }
    }
    match without.len() {
        0 => Ok(Some(carat::total(weights))),
        1 => Err(without.swap_remove(0)),
        n => Err(format!("{}; {} more of {} stones have no weight", without[0], n - 1, stones.len())),
    }
}

/// A stone's weight: none of one that is missing.
fn weight(stone: &Stone, seen: &[&str], views: &[ViewAnswer], rows: &[Measurement]) -> Result<Option<Carat>, String> {
    let of =
        |c: &str, view: &str| rows.iter().find(|m| m.characteristic == c && m.feature == stone.id && m.view == view);
    let present: Vec<&Measurement> = seen.iter().filter_map(|v| of("stone.present", v)).collect();
    let sure = |value: f64| present.iter().any(|m| m.value == value && m.uncertainty == 0.0);
    if sure(0.0) && sure(1.0) {
        return Err(format!("stone {}: the views disagree whether it is there", stone.id));
    }
    if sure(0.0) {
        return Ok(None);
    }
    if !present.is_empty() && !sure(1.0) {
        return Err(format!("stone {}: it is not sure whether it is there", stone.id));
    }
    let measured = seen.iter().filter_map(|v| Some((*v, of("stone.carat", v)?)));
    let Some((view, m)) = measured.min_by(|a, b| a.1.uncertainty.total_cmp(&b.1.uncertainty)) else {
        let reasons = || {
            let of_views = views.iter().filter(|a| seen.contains(&a.view.as_str()));
            of_views.flat_map(|a| &a.not_assessed).filter(|n| n.0 == "stone.carat").map(|n| &n.1)
        };
        let own = reasons().find(|r| r.split([':', ' ']).any(|w| w == stone.id)).cloned();
        let named = |why: &String| format!("stone {}: {why}", stone.id);
        return Err(own
            .or_else(|| reasons().next().filter(|r| !r.starts_with("stone ")).map(named))
            .unwrap_or_else(|| format!("stone {}: no usable frame shows it", stone.id)));
    };
    // The features' own numbers: a row is rounded.
    let exact = views
        .iter()
        .filter(|a| a.view == view)
        .flat_map(|a| &a.features)
        .filter(|(_, f)| f.nominal && f.name == stone.id)
        .flat_map(|(_, f)| &f.values)
        .find(|v| v.characteristic == "stone.carat");
    let (value, uncertainty) = exact.map_or((m.value, m.uncertainty), |v| (v.value, v.uncertainty));
    Ok(Some(Carat { value, uncertainty }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{stones, Feature};
    use crate::judge::judge;
    use crate::piece::{Frame, Piece, PIECE_SCHEMA};
    use crate::report::Verdict;
    use crate::spec::View;

    fn stone(id: &str) -> Stone {
        Stone {
            id: id.into(),
            x_mm: 0.0,
            y_mm: 0.0,
            diameter_mm: 1.3,
            cut: "round".into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        }
    }

    fn spec(views: &[(&str, &[&str])], limits: Vec<Limit>) -> Spec {
        let mut spec = crate::eval::bare_spec();
        spec.views = views
            .iter()
            .map(|(name, ids)| View {
                name: (*name).into(),
                stones: ids.iter().map(|id| stone(id)).collect(),
                ..spec.views[0].clone()
            })
            .collect();
        spec.limits = limits;
        spec
    }

    fn piece() -> Piece {
        Piece {
            schema: PIECE_SCHEMA.into(),
            piece_id: "p".into(),
            spec: String::new(),
            frames: vec![Frame::bare("a.png", "top", "dome", Some(12.0), Some(0.06))],
            readings: vec![],
            extra: Default::default(),
        }
    }

    /// A stone there (with its weight, where it was measured) or missing, sure or not.
    fn seen(id: &str, present: f64, u: f64, carat: Option<(f64, f64)>) -> Vec<(String, Feature)> {
        let mut there = stones::part(id, [5.0, 5.0], 3.0);
        there.values.push(stones::value("stone.present", present, u));
        let mut out = vec![("a.png".to_owned(), there)];
        if let Some((value, u)) = carat {
            let mut place = stones::part(id, [5.0, 5.0], 3.0);
            place.values.push(stones::value("stone.carat", value, u));
            out.push(("a.png".to_owned(), place));
        }
        out
    }

    fn view(name: &str, features: Vec<Vec<(String, Feature)>>) -> ViewAnswer {
        let features: Vec<_> = features.into_iter().flatten().collect();
        let places = vec![None; features.len()];
        ViewAnswer { view: name.into(), features, places, ..ViewAnswer::default() }
    }

    fn limit(lower: f64, view: Option<&str>) -> Limit {
        Limit { characteristic: TOTAL.into(), lower: Some(lower), view: view.map(str::to_owned), ..Limit::default() }
    }

    const ONE: Option<(f64, f64)> = Some((0.0080, 0.0004));

    #[test]
    fn a_missing_stone_weighs_nothing_and_each_counts_once() {
        let spec = spec(&[("top", &["S1", "S2", "S3"]), ("side", &["S1"])], vec![limit(0.020, None)]);
        let top = view("top", vec![seen("S1", 1.0, 0.0, ONE), seen("S2", 1.0, 0.0, ONE), seen("S3", 0.0, 0.0, None)]);
        let side = view("side", vec![seen("S1", 1.0, 0.0, Some((0.0084, 0.0002)))]);
        let j = judge(&spec, &piece(), &[top, side], &[]);
        let all: Vec<&Measurement> = j.measurements.iter().filter(|m| m.characteristic == TOTAL).collect();
        let [total] = all.as_slice() else { panic!("{all:?}") };
        // S1 as the side view has it, which is surer, and S2.
        assert_eq!((total.value, total.feature.as_str(), total.view.as_str()), (0.0164, "piece", ""));
        assert_eq!((total.status, j.verdict), (Status::Fail, Verdict::Fail));
        assert!(j.reasons[0].starts_with("stone.carat_total 0.016 +- "), "{:?}", j.reasons);
        assert!(j.not_assessed.is_empty(), "{:?}", j.not_assessed);
    }

    #[test]
    fn a_stone_without_a_weight_leaves_the_total_to_a_person() {
        let spec = spec(&[("top", &["S1", "S2", "S3"])], vec![limit(0.020, None), limit(0.020, Some("top"))]);
        let mut top =
            view("top", vec![seen("S1", 1.0, 0.0, ONE), seen("S2", 1.0, 0.6, ONE), seen("S3", 1.0, 0.0, None)]);
        top.not_assessed.push(("stone.carat".into(), "stone S3: no table has a ruby of the cut `star`".into()));
        let j = judge(&spec, &piece(), &[top], &[]);
        assert_eq!(j.verdict, Verdict::Review);
        assert!(!j.measurements.iter().any(|m| m.characteristic == TOTAL));
        let reasons: Vec<_> = j.not_assessed.iter().map(|n| (n.view.as_deref(), n.reason.as_str())).collect();
        let why = "stone S2: it is not sure whether it is there; 1 more of 3 stones have no weight";
        assert_eq!(reasons, [(None, why), (Some("top"), why)]);
    }

    #[test]
    fn a_view_has_a_total_of_its_own() {
        let spec = spec(&[("top", &["S1"]), ("side", &["S2"])], vec![limit(0.005, Some("top"))]);
        let features = |id: &str| vec![seen(id, 1.0, 0.0, ONE)];
        let j = judge(&spec, &piece(), &[view("top", features("S1")), view("side", features("S2"))], &[]);
        let of = |view: &str| j.measurements.iter().find(|m| m.characteristic == TOTAL && m.view == view).unwrap();
        assert_eq!((of("top").value, of("top").lower, of("top").status), (0.008, Some(0.005), Status::Pass));
        assert_eq!((of("").value, of("").lower), (0.016, None));
        // What stones have in common does not average out.
        assert_eq!((of("top").uncertainty, of("").uncertainty), (0.0004, 0.0008));
    }

    #[test]
    fn no_stone_no_total() {
        let spec = spec(&[("top", &[])], vec![limit(0.02, None)]);
        let j = judge(&spec, &piece(), &[view("top", vec![])], &[]);
        assert_eq!(j.not_assessed[0].reason, "the spec names no stone there");
        assert_eq!(j.verdict, Verdict::Review);
    }
}
