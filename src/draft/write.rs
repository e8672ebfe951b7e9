//! The draft as TOML with comments: what a person reads and edits.

use std::fmt::Write;

use super::Draft;
use crate::spec::{Outline, SPEC_SCHEMA};

/// A quoted TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A length to a hundredth of a millimetre.
fn mm(v: f64) -> String {
    let v = (v * 100.0).round() / 100.0;
    format!("{}", if v == 0.0 { 0.0 } else { v })
}

/// A place to a thousandth.
fn place(v: f64) -> String {
    let v = (v * 1000.0).round() / 1000.0;
    format!("{}", if v == 0.0 { 0.0 } else { v })
}

/// What a ring's inner diameter may be off, to start from, in mm: a quarter of an ISO size (a size is a millimetre of circumference, 0.32 mm).
const RING_MM: f64 = 0.08;
/// The share of the metal that shows the ordered finish, to start from: all but what a border between two cells may hide.
const FINISH_SHARE: f64 = 0.95;
/// Its ovality, to start from.
const OVALITY_MM: f64 = 0.08;

/// The spec file. `finish` and `metal` override the guesses.
pub fn toml(draft: &Draft, sku: &str, metal: Option<&str>, finish: Option<&str>) -> String {
    let mut out = String::new();
    let o = &mut out;
    let mut line = |text: String| {
        let _ = writeln!(o, "{text}");
    };
    line("# A draft, made from a golden piece: read it, correct it, and set the limits that were ordered.".into());
    for note in &draft.notes {
        line(format!("# Note: {note}."));
    }
    line(format!("schema = {}", quoted(SPEC_SCHEMA)));
    line(format!("sku = {}", quoted(sku)));
    match metal {
        Some(m) => line(format!("metal = {}", quoted(m))),
        None if draft.ring.is_some() => line(format!("metal = {}  # not seen: set it", quoted(draft.metal))),
        None => line(format!("metal = {}  # guessed by its colour", quoted(draft.metal))),
    }
    match finish {
        Some(f) => line(format!("finish = {}", quoted(f))),
        None => line(match draft.finish {
            Some(f) => format!("finish = {}  # as the frame shows it: check it", quoted(f)),
            None => "finish = \"polished\"  # assumed: polished, brushed, matte or florentine".into(),
        }),
    }
    let view = &draft.view;
    line("\n[[view]]".into());
    line(format!("name = {}", quoted(&view.name)));
    if let Some(outline) = &view.outline {
        let text = match outline {
            Outline::Disc { radius_mm } => format!("{{ shape = \"disc\", radius_mm = {} }}", mm(*radius_mm)),
            Outline::Ellipse { rx_mm, ry_mm } => {
                format!("{{ shape = \"ellipse\", rx_mm = {}, ry_mm = {} }}", mm(*rx_mm), mm(*ry_mm))
            }
            Outline::RoundedRect { width_mm, height_mm, corner_mm } => format!(
                "{{ shape = \"rounded_rect\", width_mm = {}, height_mm = {}, corner_mm = {} }}",
                mm(*width_mm),
                mm(*height_mm),
                mm(*corner_mm)
            ),
            Outline::Band { half_width_mm, radius_mm } => format!(
                "{{ shape = \"band\", half_width_mm = {}, radius_mm = {} }}",
                mm(*half_width_mm),
                mm(*radius_mm)
            ),
            Outline::Polygon { points_mm } => {
                let points: Vec<String> =
                    points_mm.iter().map(|p| format!("[{}, {}]", place(p[0]), place(p[1]))).collect();
                format!("{{ shape = \"polygon\", points_mm = [{}] }}", points.join(", "))
            }
        };
        line(format!("outline = {text}"));
    }
    for s in &view.stones {
        line("\n[[view.stone]]".into());
        line(format!("id = {}", quoted(&s.id)));
        line(format!("x_mm = {}", place(s.x_mm)));
        line(format!("y_mm = {}", place(s.y_mm)));
        line(format!("diameter_mm = {}", mm(s.diameter_mm)));
        line(format!("cut = {}", quoted(&s.cut)));
        if let Some(turn) = s.turn_deg.filter(|t| *t != 0.0) {
            line(format!("turn_deg = {}", mm(turn)));
        }
        if let Some(gem) = &s.gem {
            line(format!("gem = {}", quoted(gem)));
        }
        if !s.prongs.is_empty() {
            line("prongs = [".into());
            for q in &s.prongs {
                let (x, y) = (place(q.x_mm), place(q.y_mm));
                line(format!("  {{ x_mm = {x}, y_mm = {y}, radius_mm = {} }},", place(q.radius_mm)));
            }
            line("]".into());
        }
    }
    line("\n# Limits to start from. They are no standard: put the customer's in their place.".into());
    if let Some(ring) = draft.ring {
        let d = ring.inner_mm;
        line(format!(
            "\n[[limit]]\ncharacteristic = \"ring.inner_diameter_mm\"\nnominal = {}\nlower = {}\nupper = {}",
            mm(d),
            mm(d - RING_MM),
            mm(d + RING_MM)
        ));
        line(format!("\n# This one has {}.", place(ring.ovality_mm)));
        line(format!("[[limit]]\ncharacteristic = \"ring.ovality_mm\"\nupper = {OVALITY_MM}"));
        return out;
    }
    let mut limit = |c: &str, key: &str, value: f64| {
        line(format!("\n[[limit]]\ncharacteristic = {}\n{key} = {value}", quoted(c)));
    };
    for (c, value) in [
        ("pit.diameter_mm", 0.05),
        ("porosity.pore_count", 3.0),
        ("scratch.length_mm", 0.3),
        ("stain.area_mm2", 0.04),
        ("worn_plating.area_mm2", 0.04),
    ] {
        limit(c, "upper", value);
    }
    // What is merely assumed is no order.
    if finish.is_some() || draft.finish.is_some() {
        limit("surface.finish", "lower", FINISH_SHARE);
    }
    if view.outline.is_some() {
        limit("outline.deviation_mm", "upper", 0.1);
    }
    if !view.stones.is_empty() {
        limit("stone.present", "lower", 1.0);
        limit("stone.offset_mm", "upper", 0.08);
        limit("stone.tilt_deg", "upper", 5.0);
        limit("stone.chip_mm", "upper", 0.05);
    }
    if view.stones.iter().any(|s| !s.prongs.is_empty()) {
        limit("prong.present", "lower", 1.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::Pose;
    use crate::spec::{Prong, Spec, Stone, View};

    #[test]
    fn the_draft_of_a_silhouette_limits_the_ring() {
        let ring = Some(crate::draft::Ring { inner_mm: 14.884, ovality_mm: 0.0312 });
        let view = View { name: "backlit".into(), ..View::default() };
        let pose = Pose::centred(960, 720, 20.0);
        let draft = Draft { view, pose, metal: "yellow_gold", finish: None, ring, notes: vec![] };
        let text = toml(&draft, "ring", Some("platinum"), None);
        let spec = Spec::parse(&text, std::path::Path::new("s.toml")).unwrap();
        let d = spec.limit("ring.inner_diameter_mm", "backlit").unwrap();
        assert_eq!((d.nominal, d.lower, d.upper), (Some(14.88), Some(14.8), Some(14.96)));
        assert_eq!(spec.limits.len(), 2);
        assert!(text.contains("# This one has 0.031."), "{text}");
    }

    #[test]
    fn a_draft_is_a_spec() {
        let stone = Stone {
            id: "S \"1\"".into(),
            x_mm: -1.23456,
            y_mm: 0.0,
            diameter_mm: 1.3,
            cut: "round".into(),
            turn_deg: None,
            gem: None,
            prongs: vec![Prong { x_mm: -1.0, y_mm: 0.6, radius_mm: 0.17 }],
        };
        let outline = Outline::RoundedRect { width_mm: 9.6, height_mm: 6.9, corner_mm: 0.8 };
        let view =
            View { name: "top".into(), outline: Some(outline.clone()), stones: vec![stone], ..View::default() };
        let pose = Pose::centred(960, 720, 12.0);
        let draft = Draft { view, pose, metal: "rose_gold", finish: None, ring: None, notes: vec!["look".into()] };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spec.toml");
        std::fs::write(&path, toml(&draft, "a b", None, Some("matte"))).unwrap();
        let (spec, _) = Spec::read(&path).unwrap();
        assert_eq!((spec.sku.as_str(), spec.metal.as_str(), spec.finish.as_str()), ("a b", "rose_gold", "matte"));
        assert_eq!(spec.views[0].outline, Some(outline));
        let s = &spec.views[0].stones[0];
        assert_eq!((s.id.as_str(), s.x_mm, s.prongs[0].radius_mm), ("S \"1\"", -1.235, 0.17));
        assert!(spec.limit("prong.present", "top").is_some());
    }
}
