//! What a spec's limits hold for every piece made to it, before any is taken: what nothing in the spec can be measured against, and
//! what is measured less finely than it is limited. Each leaves all pieces to a person.

use std::path::Path;

use crate::inspect::{anomaly, carat, gap, hallmark, play, ring_size, stones};
use crate::piece::nearest;
use crate::spec::{fineness, Limit, Outline, Rule, Spec, Stone, View, CUTS};
use crate::teach::{Taught, TeachError};

/// What to know of a spec's limits, a sentence each.
pub fn outlook(spec: &Spec) -> Vec<String> {
    if spec.limits.is_empty() {
        return vec!["it sets no limit: every piece will be left to a person".into()];
    }
    let views = spec.views.iter().flat_map(|view| of_view(spec, view));
    views.chain(spec.limits.iter().filter_map(|limit| of_limit(spec, limit))).collect()
}

/// Of a view's parts: what contradicts itself or cannot be had.
fn of_view(spec: &Spec, view: &View) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(file) = &view.taught {
        if spec.limit(anomaly::SCORE, &view.name).is_none() {
            out.push(format!(
                "view {}: it names a taught file, and no limit is on {}: it decides nothing (1 is the file's own threshold)",
                view.name,
                anomaly::SCORE
            ));
        }
        let why = match Taught::read(Path::new(file)) {
            Err(TeachError::Read { .. }) => Some("it is not there or cannot be read".to_owned()),
            Err(e) => Some(e.to_string()),
            Ok(_) => None,
        };
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
        out.extend(why.map(|why| {
            format!("view {}: taught = \"{name}\": {why}: every piece will be left to a person", view.name)
        }));
    }
    for (i, a) in view.stones.iter().enumerate() {
        if let Some(b) = view.twin(i) {
            out.push(format!("view {}: the stones {} and {} lie over each other", view.name, b.id, a.id));
        }
        for (k, q) in a.prongs.iter().enumerate() {
            let from = (q.x_mm - a.x_mm).hypot(q.y_mm - a.y_mm);
            if from - a.reach_mm() > 0.5 * a.diameter_mm + q.radius_mm || q.radius_mm > 0.5 * a.diameter_mm {
                out.push(format!(
                    "view {}: prong {} of stone {} lies {:.2} mm from its middle and is {} mm thick: it holds no stone of {} mm",
                    view.name,
                    k + 1,
                    a.id,
                    from,
                    2.0 * q.radius_mm,
                    a.diameter_mm
                ));
            }
        }
        match &view.outline {
            Some(Outline::Band { radius_mm, .. }) if a.x_mm.abs() > *radius_mm => out.push(format!(
                "view {}: stone {} at x = {} mm lies beyond the band, whose radius is {radius_mm} mm",
                view.name, a.id, a.x_mm
            )),
            _ => {}
        }
    }
    if !view.hallmarks.is_empty() && spec.limit(hallmark::TEXT, &view.name).is_none() {
        out.push(format!(
            "view {}: it orders a hallmark, and no limit is on {}: it decides nothing",
            view.name,
            hallmark::TEXT
        ));
    }
    let unknown = |s: &&Stone| s.gem.as_deref().is_some_and(|gem| !carat::knows(gem));
    let mut said: Vec<&str> = Vec::new();
    for s in view.stones.iter().filter(unknown) {
        let gem = s.gem.as_deref().unwrap_or_default();
        if !said.contains(&gem) {
            said.push(gem);
            let near = nearest(gem, carat::GEMS).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            out.push(format!(
                "view {}: stone {}: no table has the gem `{gem}`: it gets no weight{near}",
                view.name, s.id
            ));
        }
    }
    // Words of the trade for what is no cut of those.
    let known = || CUTS.iter().map(|c| c.0).chain(["other", "cabochon"]);
    let strange = |s: &&Stone| known().all(|cut| cut != s.cut_word());
    let mut said: Vec<&str> = Vec::new();
    for s in view.stones.iter().filter(strange) {
        if !said.contains(&s.cut.as_str()) {
            said.push(&s.cut);
            let cuts: Vec<&str> = known().collect();
            let near =
                nearest(&s.cut_word(), &cuts).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            out.push(format!(
                "view {}: stone {}: no cut is called `{}`: it is taken as wide as it is long, and its outline is not measured{near}",
                view.name, s.id, s.cut
            ));
        }
    }
    let marks = spec
        .limits
        .iter()
        .filter(|l| l.characteristic == hallmark::TEXT && l.view.as_ref().is_none_or(|v| *v == view.name));
    for nominal in marks.filter_map(|l| l.nominal) {
        match spec.fineness {
            Some(f) if f != nominal => out.push(format!("the mark ordered is {nominal}, the fineness {f}")),
            _ => out.extend(fineness::mistake(nominal, &spec.metal).map(|why| format!("the mark ordered: {why}"))),
        }
    }
    out
}

/// What is the worse the larger it is: defects, and departures from the order.
const WORSE_ABOVE: [&str; 15] = [
    "pit.",
    "porosity.",
    "scratch.",
    "stain.",
    "worn_plating.",
    "outline.deviation",
    "stone.offset",
    "stone.tilt",
    "stone.chip",
    "stone.gap",
    "stone.play",
    "prong.offset",
    "ring.ovality",
    "colour.delta_e00",
    "anomaly.",
];

/// From where to where a characteristic's values lie, where that is narrower than all numbers (or all from 0 on).
fn range(name: &str) -> Option<(f64, f64)> {
    match name {
        "ring.size_iso" => Some((*ring_size::ISO.start(), *ring_size::ISO.end())),
        "ring.size_us" => Some((0.0, f64::INFINITY)),
        "ring.size_jp" => Some((0.5, f64::INFINITY)),
        "ring.size_uk" => Some((1.0, 26.0)),
        "piece.fineness_ppt" => Some((0.0, 1000.0)),
        _ if name.ends_with(".present") => Some((0.0, 1.0)),
        _ => None,
    }
}

/// Why no value at all keeps a limit; none where some do.
fn none_keeps(limit: &Limit) -> Option<String> {
    let name = limit.characteristic.as_str();
    let (low, high) = (limit.lower.unwrap_or(f64::NEG_INFINITY), limit.upper.unwrap_or(f64::INFINITY));
    if let Some((least, most)) = range(name).filter(|(least, most)| low > *most || high < *least) {
        let to = if most.is_finite() { format!("to {most}") } else { "upwards".into() };
        return Some(format!("{name} runs from {least} {to}, and the limit lies beyond: no piece will pass"));
    }
    if name == "ring.size_iso" && low.ceil() > high.floor() {
        return Some(format!("{name} is a whole number, and none lies from {low} to {high}: no piece will pass"));
    }
    let counts =
        name == "ring.size_iso" || name.ends_with("_count") || name.ends_with(".present") || name == hallmark::TEXT;
    (low == high && !counts && limit.rule.unwrap_or_default() == Rule::GuardBand).then(|| {
        format!("{name} must be {low}, no more and no less, and every measure has an uncertainty: no piece will pass")
    })
}

/// A length in mm that no measure of the characteristic exceeds: the piece's, or its widest stone's; none of what is no length.
fn largest(name: &str, view: &View) -> Option<f64> {
    if !name.ends_with("_mm") {
        return None;
    }
    if name.starts_with("stone.") || name.starts_with("prong.") {
        return view.stones.iter().map(|s| 2.0 * s.reach_mm()).reduce(f64::max);
    }
    Some(match view.outline.as_ref()? {
        Outline::Disc { radius_mm } => 2.0 * radius_mm,
        Outline::Band { half_width_mm, radius_mm } => 2.0 * half_width_mm.max(*radius_mm),
        Outline::RoundedRect { width_mm, height_mm, .. } => width_mm.hypot(*height_mm),
        Outline::Ellipse { rx_mm, ry_mm } => 2.0 * rx_mm.max(*ry_mm),
        Outline::Polygon { points_mm } => {
            let far = |a: &[f64; 2]| points_mm.iter().map(|b| (a[0] - b[0]).hypot(a[1] - b[1])).fold(0.0, f64::max);
            points_mm.iter().map(far).fold(0.0, f64::max)
        }
    })
}

/// Openings of rings, in mm: a child's to the largest that any table has, with room.
const OPENINGS_MM: (f64, f64) = (8.0, 40.0);
/// Largest US and Japanese size in use.
const LARGEST_SIZE: (f64, f64) = (20.0, 40.0);
/// Least slope of a stone that is told from level, in degrees.
const LEAST_TILT_DEG: f64 = 2.0;

/// What is odd about a limit whatever the piece: another unit, or the wrong side.
fn odd_unit(limit: &Limit) -> Option<String> {
    let name = limit.characteristic.as_str();
    let (low, high) = (limit.lower, limit.upper);
    let nothing = |most: &str| {
        format!("{name} may be up to {}, and {most}: nothing breaks this limit", high.unwrap_or_default())
    };
    if name == fineness::FINENESS {
        return match low {
            None if high.is_none() => None,
            None => Some(format!(
                "{name} is limited from above only: metal poorer than ordered keeps it; `lower` is meant"
            )),
            Some(l) => fineness::other_unit(l).map(|why| format!("{name}: {why}")),
        };
    }
    if name.ends_with(".present") && low.is_none() {
        return Some(format!("{name} is 1 where it is there and 0 where it is not: `lower = 1` is meant"));
    }
    if name.ends_with("_pct") && high.is_some_and(|h| h >= 100.0) && low.is_none() {
        return Some(nothing("no share is larger than 100 %"));
    }
    if name == stones::TILT && high.is_some() {
        return match high? {
            h if h >= 90.0 => Some(nothing("no stone lies more than 90 degrees out of level")),
            h if h < LEAST_TILT_DEG && limit.rule.unwrap_or_default() != Rule::Simple => Some(format!(
                "{name} may be up to {h} degrees, and no stone is known to be level to {LEAST_TILT_DEG} degrees: every piece will be left to a person"
            )),
            _ => None,
        };
    }
    let beyond =
        |least: f64, most: f64| low.is_some_and(|l| l > most) || high.is_some_and(|h| h < least || h > 2.0 * most);
    match name {
        "ring.inner_diameter_mm" if beyond(OPENINGS_MM.0, OPENINGS_MM.1) => Some(format!(
            "{name}: rings are {} to {} mm wide inside: is the limit in another unit?",
            OPENINGS_MM.0, OPENINGS_MM.1
        )),
        "ring.size_us" | "ring.size_jp" => {
            let most = if name == "ring.size_us" { LARGEST_SIZE.0 } else { LARGEST_SIZE.1 };
            let other = format!("{name} goes to about {most}: is an ISO size meant (`ring.size_iso`)?");
            low.is_some_and(|l| l > most).then_some(other)
        }
        _ => None,
    }
}

fn of_limit(spec: &Spec, limit: &Limit) -> Option<String> {
    let name = limit.characteristic.as_str();
    let views: Vec<&View> =
        spec.views.iter().filter(|v| limit.view.as_ref().is_none_or(|only| *only == v.name)).collect();
    let stones = || views.iter().flat_map(|v| &v.stones);
    if WORSE_ABOVE.iter().any(|p| name.starts_with(p)) && limit.upper.is_none() {
        return Some(format!("{name} is limited from below only, and the larger it is the worse: `upper` is meant"));
    }
    if name == "surface.finish"
        && (limit.upper.is_some() && limit.lower.is_none() || limit.lower.is_some_and(|l| l > 1.0))
    {
        return Some(format!(
            "{name} is 1 where all of the metal shows the finish ordered and 0 where none does: `lower`, up to 1, is meant"
        ));
    }
    if let Some(why) = none_keeps(limit) {
        return Some(why);
    }
    if let Some(zone) = &limit.zone {
        return Some(format!(
            "{name} is limited in the zone `{zone}`, and no zones are known: every piece will be left to a person"
        ));
    }
    if let Some(why) = odd_unit(limit) {
        return Some(why);
    }
    let large = views.iter().filter_map(|v| largest(name, v)).fold(0.0, f64::max);
    if let Some(upper) =
        limit.upper.filter(|u| large > 0.0 && WORSE_ABOVE.iter().any(|p| name.starts_with(p)) && *u >= large)
    {
        return Some(format!(
            "{name} may be up to {upper}, and nothing there is larger than {large:.2}: nothing breaks this limit; is it in micrometres?"
        ));
    }
    let area = views.iter().filter_map(|v| largest("piece_mm", v)).fold(0.0, f64::max).powi(2);
    if let Some(upper) = limit.upper.filter(|u| name.ends_with("_mm2") && area > 0.0 && *u >= area) {
        return Some(format!(
            "{name} may be up to {upper}, and the piece is no larger than {area:.0}: nothing breaks this limit; is it in square micrometres?"
        ));
    }
    let lacks = |what: &str| Some(format!("{name} is limited, but {what}: every piece will be left to a person"));
    match name {
        _ if name.starts_with("stone.") && stones().next().is_none() => lacks("no view has stones"),
        _ if name.starts_with("prong.") && stones().all(|s| s.prongs.is_empty()) => lacks("no stone has prongs"),
        "outline.deviation_mm" if views.iter().all(|v| v.outline.is_none()) => lacks("no view has an outline"),
        "anomaly.score" if views.iter().all(|v| v.taught.is_none()) => lacks("no view names a taught file"),
        hallmark::TEXT if limit.nominal.is_none() && spec.views.iter().all(|v| v.hallmarks.is_empty()) => {
            lacks("neither its nominal nor a [[view.hallmark]] says which mark")
        }
        "prong.coverage_pct" if stones().any(|s| s.length_ratio().is_none() && !s.prongs.is_empty()) => {
            lacks("of a stone of a cut whose outline is not known it is not told how far a tip reaches over it")
        }
        "stone.offset_mm" | "stone.diameter_mm" | "stone.tilt_deg" | stones::CHIP | "stone.carat"
            if stones().any(|s| s.length_ratio().is_none()) =>
        {
            let other = stones().find(|s| s.length_ratio().is_none()).map_or("", |s| s.id.as_str());
            lacks(&format!("of a stone of that cut ({other}) it is only told whether it is there"))
        }
        "stone.diameter_mm" => {
            let of = |s: &&Stone| {
                limit.lower.is_some_and(|l| s.diameter_mm < l) || limit.upper.is_some_and(|u| s.diameter_mm > u)
            };
            let other = stones().find(of)?;
            Some(format!(
                "{name} is limited, and stone {} of {} mm as ordered does not keep it: a limit holds for stones of one size",
                other.id, other.diameter_mm
            ))
        }
        "stone.carat" => {
            let weighed = stones().filter_map(|s| Some((s, carat::estimate(s, s.diameter_mm, 0.0)?.value)));
            let (other, weight) = weighed.into_iter().find(|(_, w)| {
                limit.lower.is_some_and(|l| 2.0 * w < l) || limit.upper.is_some_and(|u| *w > 2.0 * u)
            })?;
            Some(format!(
                "{name} is limited, and stone {} as ordered weighs about {weight:.3} ct: a limit holds for stones of one size",
                other.id
            ))
        }
        "colour.delta_e00" if spec.colour.is_none() => lacks("the spec has no [colour]"),
        gap::GAP if stones().all(|s| s.length_ratio().is_none()) => {
            lacks("gaps are measured about stones of known cuts only")
        }
        play::PLAY | play::PLAY_TURN => Some(format!(
            "{name} is limited: a piece whose stones come as single frames will be left to a person; take a burst"
        )),
        stones::CHIP => chips(limit, stones()),
        _ => None,
    }
}

/// Whether whole stones pass its limit of chips.
fn chips<'a>(limit: &Limit, stones: impl Iterator<Item = &'a Stone>) -> Option<String> {
    let widest = stones.max_by(|a, b| a.diameter_mm.total_cmp(&b.diameter_mm))?;
    let band = super::guard_band(stones::UNSEEN_CHIP / 2.0 * widest.diameter_mm, limit);
    let upper = limit.upper.filter(|upper| *upper < band)?;
    Some(format!(
        "{} is limited to {upper} mm, but that a stone has no chip is often known to a tenth of its width only (stone {}: {band:.2} mm): many \
         good pieces will be left to a person. rule = \"{}\" for this limit passes stones on which no chip is seen",
        stones::CHIP,
        widest.id,
        Rule::Simple.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "schema = \"loupe.spec/1\"\nsku = \"a\"\nmetal = \"silver\"\nfinish = \"polished\"\n[[view]]\nname = \"top\"\n";
    const STONE: &str = "[[view.stone]]\nid = \"C\"\nx_mm = 0\ny_mm = 0\ndiameter_mm = 3.0\n";

    fn said(view: &str, characteristic: &str, limit: &str) -> Vec<String> {
        let text = format!("{HEAD}{view}[[limit]]\ncharacteristic = \"{characteristic}\"\n{limit}\n");
        outlook(&Spec::parse(&text, std::path::Path::new("spec.toml")).unwrap())
    }

    /// Of a disc with one stone.
    fn told(characteristic: &str, limit: &str) -> String {
        let disc = "outline = { shape = \"disc\", radius_mm = 5.0 }\n";
        said(&(disc.to_owned() + STONE), characteristic, limit).join("; ")
    }

    #[test]
    fn limits_that_nothing_breaks_are_told() {
        assert!(told("pit.diameter_mm", "upper = 50.0").contains("in micrometres"));
        assert!(told("stone.offset_mm", "upper = 80.0").contains("nothing there is larger than 3.00"));
        assert!(told("stone.offset_mm", "lower = 0.08").contains("`upper` is meant"));
        assert_eq!(told("pit.diameter_mm", "upper = 0.05") + &told("stone.offset_mm", "upper = 0.08"), "");
        assert!(told("surface.finish", "lower = 95").contains("up to 1, is meant"));
        assert!(told("surface.finish", "upper = 0.95").contains("up to 1, is meant"));
        assert_eq!(told("surface.finish", "lower = 0.95"), "");
        assert!(told("pit.diameter_mm", "upper = 0.05\nzone = \"rim\"").contains("no zones are known"));
        let prong = |x: f64, r: f64| {
            let text = format!("{STONE}prongs = [ {{ x_mm = {x}, y_mm = 0, radius_mm = {r} }} ]\n");
            said(&text, "stone.present", "lower = 1").join("; ")
        };
        assert_eq!(prong(1.55, 0.2), "");
        assert!(prong(44.0, 0.2).contains("44.00 mm from its middle") && prong(1.55, 3.0).contains("6 mm thick"));
    }

    #[test]
    fn limits_in_another_unit_are_told() {
        for (c, limit, word) in [
            ("stain.area_mm2", "upper = 40000", "square micrometres"),
            ("porosity.area_pct", "upper = 500", "nothing breaks"),
            ("stone.tilt_deg", "upper = 500", "nothing breaks"),
            ("stone.tilt_deg", "upper = 0.08", "left to a person"),
            ("stone.carat", "lower = 8\nupper = 9", "weighs about 0.1"),
            ("stone.present", "upper = 0", "`lower = 1` is meant"),
            ("ring.inner_diameter_mm", "lower = 1725\nupper = 1745", "another unit"),
            ("ring.inner_diameter_mm", "upper = 1745", "another unit"),
            ("ring.size_us", "lower = 54\nupper = 55", "ISO size"),
            ("piece.fineness_ppt", "lower = 0.75", "parts per thousand"),
            ("piece.fineness_ppt", "lower = 18", "18 K is 750"),
            ("piece.fineness_ppt", "upper = 750", "`lower` is meant"),
        ] {
            assert!(told(c, limit).contains(word), "{c} {limit}: {}", told(c, limit));
        }
        for (c, limit) in [
            ("stain.area_mm2", "upper = 0.04"),
            ("porosity.area_pct", "upper = 5"),
            ("stone.carat", "lower = 0.09\nupper = 0.12"),
            ("ring.size_us", "lower = 6.9\nupper = 7.1"),
            ("piece.fineness_ppt", "lower = 745"),
        ] {
            assert_eq!(told(c, limit), "", "{c} {limit}");
        }
    }

    #[test]
    fn limits_that_no_value_keeps_are_told() {
        for (c, limit) in [
            ("ring.size_iso", "lower = 54.2\nupper = 54.8"),
            ("ring.size_iso", "lower = 80\nupper = 90"),
            ("ring.size_uk", "lower = 30"),
            ("ring.size_us", "upper = -1"),
            ("ring.inner_diameter_mm", "lower = 17.35\nupper = 17.35"),
            ("stone.present", "lower = 2"),
            ("piece.fineness_ppt", "lower = 1200"),
        ] {
            assert!(said(STONE, c, limit).concat().contains("no piece will pass"), "{c} {limit}");
        }
        for (c, limit) in [
            ("ring.size_iso", "lower = 54\nupper = 54"),
            ("ring.size_us", "lower = 6.9\nupper = 7.1"),
            ("ring.inner_diameter_mm", "lower = 17.3\nupper = 17.4"),
            ("ring.inner_diameter_mm", "lower = 17.35\nupper = 17.35\nrule = \"simple\""),
            ("stone.present", "lower = 1"),
            ("piece.fineness_ppt", "lower = 750"),
        ] {
            assert_eq!(said(STONE, c, limit).concat(), "", "{c} {limit}");
        }
    }

    #[test]
    fn parts_that_contradict_one_another_are_told() {
        const LIMIT: (&str, &str) = ("stone.present", "lower = 1.0");
        let stone = |id: &str, x: f64, more: &str| {
            format!("[[view.stone]]\nid = \"{id}\"\nx_mm = {x}\ny_mm = 0\ndiameter_mm = 1.5\n{more}")
        };
        let all = |view: &str| said(view, LIMIT.0, LIMIT.1).join("; ");
        assert!(all(&(stone("A", 0.0, "") + &stone("B", 0.3, ""))).contains("the stones A and B lie over each other"));
        assert!(all(&(stone("A", 0.0, "") + &stone("B", 0.7, ""))).contains("the stones A and B lie over each other"));
        assert_eq!(all(&(stone("A", 0.0, "") + &stone("B", 1.4, ""))), "");
        assert!(all("[[view.hallmark]]\ntext = \"750\"\n").contains("it orders a hallmark, and no limit"));
        assert!(outlook(&Spec::default())[0].contains("sets no limit"));
        assert!(all(&stone("A", 0.0, "gem = \"dimond\"\n"))
            .contains("`dimond`: it gets no weight; did you mean `diamond`?"));
        assert_eq!(all(&stone("A", 0.0, "gem = \"Cubic zirconia\"\n")), "");
        assert!(
            all(&stone("A", 0.0, "cut = \"rond\"\n")).contains("no cut is called `rond`")
                && all(&stone("A", 0.0, "cut = \"rond\"\n")).contains("did you mean `round`?")
        );
        for cut in ["Heart", "tapered baguette", "square", "cabochon", "other"] {
            assert_eq!(all(&stone("A", 0.0, &format!("cut = \"{cut}\"\n"))), "");
        }
        let band = "outline = { shape = \"band\", half_width_mm = 1.5, radius_mm = 9.0 }\n";
        assert!(all(&(band.to_owned() + &stone("A", 9.5, ""))).contains("stone A at x = 9.5 mm lies beyond the band"));
        assert!(all(&("taught = \"gone.loupe\"\n".to_owned() + STONE))
            .contains("taught = \"gone.loupe\": it is not there"));
        assert!(all(&("taught = \"gone.loupe\"\n".to_owned() + STONE)).contains("no limit is on anomaly.score"));
        let mark = |nominal: &str| said("", "hallmark.text", nominal).join("; ");
        assert!(mark("nominal = 751").contains("751 is no fineness of silver"), "{}", mark("nominal = 751"));
        assert_eq!(mark("nominal = 925"), "");
    }

    #[test]
    fn limits_that_nothing_is_measured_against_are_told() {
        for (view, characteristic, limit, word) in [
            ("", "outline.deviation_mm", "upper = 0.1", "no view has an outline"),
            ("", "stone.tilt_deg", "upper = 5.0", "no view has stones"),
            (STONE, "prong.present", "lower = 1", "no stone has prongs"),
            ("", "anomaly.score", "upper = 1.0", "taught"),
            ("", "colour.delta_e00", "upper = 2.0", "[colour]"),
            ("", "hallmark.text", "", "which mark"),
            (STONE, "stone.play_mm", "upper = 0.02", "burst"),
        ] {
            let said = said(view, characteristic, limit);
            assert!(said.len() == 1 && said[0].contains(word), "{characteristic}: {said:?}");
        }
        let outline = "[view.outline]\nshape = \"disc\"\nradius_mm = 4.0\n";
        assert!(said(outline, "outline.deviation_mm", "upper = 0.1").is_empty());
        assert!(said(STONE, "stone.tilt_deg", "upper = 5.0").is_empty());
    }

    #[test]
    fn a_limit_of_chips_that_no_stone_can_pass_is_told() {
        let tight = said(STONE, "stone.chip_mm", "upper = 0.05");
        assert!(tight.len() == 1 && tight[0].contains("stone C: 0.30 mm"), "{tight:?}");
        assert!(said(STONE, "stone.chip_mm", "upper = 0.05\nrule = \"simple\"").is_empty());
        assert!(said(STONE, "stone.chip_mm", "upper = 0.4").is_empty());
    }
}
