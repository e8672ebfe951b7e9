//! Characteristics in plain words: what they are called, their unit, and what an inspector does about them.

use crate::piece::unit_of;

/// The unit that a characteristic's name carries: `mm`, `mm²`, `°`, `%`, ...; empty where it is a plain number.
pub fn unit(characteristic: &str) -> &'static str {
    match characteristic {
        "colour.delta_e00" => "ΔE",
        c => unit_of(c).map_or("", |(_, sign)| sign),
    }
}

/// Whether a characteristic says only that something is there: 1 or 0.
pub fn is_presence(characteristic: &str) -> bool {
    characteristic.ends_with(".present")
}

/// What is said of one characteristic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Its name for a reader.
    pub title: String,
    /// What to do where it is outside its limit.
    pub outside: &'static str,
    /// What to do where it is too close to its limit to tell.
    pub doubt: &'static str,
    /// What to do where it was not assessed.
    pub unseen: &'static str,
}

const LOOK_AGAIN: &str = "Take the frames again, or look at the piece under 10×.";
const BY_HAND: &str = "Measure it by hand and write the value beside this row.";

/// The words for a characteristic; one that is not known is called by its own name.
pub fn of(characteristic: &str) -> Words {
    let (title, outside, doubt, unseen) = match characteristic {
        "pit.diameter_mm" => (
            "Pit, diameter",
            "Look at each pit under 10×. Fill and refinish, or reject.",
            "Clean the place and look again under 10×: dust goes, a pit stays.",
            LOOK_AGAIN,
        ),
        "porosity.pore_count" => (
            "Porosity, pores in a cluster",
            "Look at the cluster under 10×. Fill and refinish, or reject the casting.",
            "Count the pores of the cluster under 10×.",
            LOOK_AGAIN,
        ),
        "porosity.area_pct" => (
            "Porosity, share of area",
            "Look at the cluster under 10×. Fill and refinish, or reject the casting.",
            "Look at the cluster under 10× and compare it with the limit sample.",
            LOOK_AGAIN,
        ),
        "porosity.max_pore_mm" => (
            "Porosity, largest pore",
            "Look at the cluster under 10×. Fill and refinish, or reject the casting.",
            "Measure the largest pore under a microscope.",
            LOOK_AGAIN,
        ),
        "scratch.length_mm" | "scratch.width_mm" => (
            if characteristic.ends_with("length_mm") { "Scratch, length" } else { "Scratch, width" },
            "Repolish and inspect again.",
            "Wipe the place and look again: a fibre goes, a scratch stays.",
            LOOK_AGAIN,
        ),
        "stain.area_mm2" => (
            "Stain, area",
            "Clean the piece (ultrasonic, steam) and inspect again.",
            "Clean the place and look again under even light.",
            LOOK_AGAIN,
        ),
        "worn_plating.area_mm2" => (
            "Worn plating, area",
            "Replate and inspect again.",
            "Compare the colour of the place with plating that is sound.",
            LOOK_AGAIN,
        ),
        "outline.deviation_mm" => (
            "Outline, metal missing",
            "Compare with the master: metal is missing at the edge (incomplete fill). Reject or rebuild.",
            "Compare the marked edge with the master.",
            LOOK_AGAIN,
        ),
        "anomaly.score" => (
            "Unlike the good pieces (1 is the threshold)",
            "Look at the marked place, or at the colour of the whole: it does not look like the pieces that were taught as good.",
            "Look at the marked place and compare it with a good piece.",
            LOOK_AGAIN,
        ),
        "stone.present" => (
            "Stone present",
            "Set the missing stone and inspect again.",
            "Look whether the stone is in its seat.",
            LOOK_AGAIN,
        ),
        "stone.offset_mm" => (
            "Stone, off its place",
            "Reseat the stone and inspect again.",
            "Check the stone's place against the drawing under 10×.",
            LOOK_AGAIN,
        ),
        "stone.tilt_deg" => (
            "Stone, tilt",
            "Level the stone and inspect again.",
            "Look across the tables at a low angle: the camera knows a tilt only to a few degrees.",
            LOOK_AGAIN,
        ),
        "stone.diameter_mm" => (
            "Stone, diameter",
            "Measure the stone with a gauge; replace it where it is not the size ordered.",
            "Measure the stone with a gauge.",
            BY_HAND,
        ),
        "stone.chip_mm" => (
            "Stone, chip in the girdle",
            "Look at the girdle under 10×; replace a chipped stone.",
            "Turn the piece under 10× and look along each girdle: the camera cannot rule out a chip this small.",
            LOOK_AGAIN,
        ),
        "stone.play_mm" | "stone.play_deg" => (
            if characteristic.ends_with("mm") { "Stone, play" } else { "Stone, play in turning" },
            "The stone is loose: tighten the setting and test again.",
            "Test the stone with a needle or by tapping.",
            "Take a burst while the piece is shaken, or test each stone with a needle.",
        ),
        "stone.gap_mm" => (
            "Stone, gap to the metal",
            "Close the setting and inspect again.",
            "Look at the gap under 10×.",
            "Look at the gaps between girdle and metal under 10×.",
        ),
        "stone.carat" => (
            "Stone, estimated weight",
            "Check the stones against the parcel and the order.",
            "An estimate: check the stone's size against the order.",
            "Take the weight from the parcel's papers.",
        ),
        "stone.carat_total" => (
            "Stones, estimated total weight",
            "Check the stones against the parcel and the order.",
            "An estimate: check the stones against the parcel's papers.",
            "Take the weight from the parcel's papers.",
        ),
        "prong.present" => (
            "Prong present",
            "Rebuild or retip the prong and inspect again.",
            "Look at each tip under 10×, and draw a cloth over it: a broken tip catches.",
            LOOK_AGAIN,
        ),
        "prong.offset_mm" => (
            "Prong, off its place",
            "Bend the prong back on the stone and inspect again.",
            "Check the prong's place under 10×.",
            LOOK_AGAIN,
        ),
        "prong.coverage_pct" => (
            "Prong, contact with the stone",
            "Seat the prong on the stone and inspect again.",
            "Look at the contact of prong and girdle under 10×.",
            LOOK_AGAIN,
        ),
        "surface.finish" => (
            "Finish as ordered, share of the metal",
            "Finish the metal as ordered and inspect again.",
            "Compare the finish with the master.",
            "Compare the finish with the master.",
        ),
        "colour.delta_e00" => (
            "Colour, difference from the reference",
            "Compare with the master under daylight (D65); replate or reject.",
            "Compare with the master under daylight (D65).",
            "Compare with the master under daylight (D65).",
        ),
        "colour.yi_d1925" => (
            "Colour, yellowness index",
            "Compare with the white-gold master; replate or reject.",
            "Compare with the white-gold master under daylight (D65).",
            "Compare with the white-gold master under daylight (D65).",
        ),
        "hallmark.text" => (
            "Hallmark as ordered",
            "Read the mark under 10×. Where it is wrong, hold the piece: it must not be sold under it.",
            "Read the mark under 10× and write down what it says.",
            "Read the mark under 10× and write down what it says.",
        ),
        "ring.inner_diameter_mm" => (
            "Ring, inner diameter",
            "Check on a ring stick or with a plug gauge; size the ring.",
            "Check on a ring stick or with a plug gauge.",
            "Measure on a ring stick or with a plug gauge and write the value beside this row.",
        ),
        "ring.ovality_mm" => (
            "Ring, ovality",
            "Round the ring on a mandrel and measure again.",
            "Measure the largest and the smallest inner diameter with a caliper.",
            "Measure the largest and the smallest inner diameter with a caliper.",
        ),
        "ring.outer_diameter_mm" => (
            "Ring, outer diameter",
            "Measure with a caliper and compare with the drawing.",
            "Measure with a caliper.",
            "Measure with a caliper and write the value beside this row.",
        ),
        "ring.band_width_mm" => (
            "Ring, width of the band",
            "Measure with a caliper and compare with the drawing.",
            "Measure with a caliper.",
            "Measure with a caliper and write the value beside this row.",
        ),
        "ring.size_iso" | "ring.size_us" | "ring.size_jp" | "ring.size_uk" => (
            match characteristic {
                "ring.size_us" => "Ring size (US)",
                "ring.size_jp" => "Ring size (JP)",
                "ring.size_uk" => "Ring size (UK)",
                _ => "Ring size (ISO 8653)",
            },
            "Check on a ring stick; size the ring.",
            "Check on a ring stick.",
            "Check on a ring stick and write the size beside this row.",
        ),
        "surface.patch_mm2" => (
            "Finish, largest patch of another",
            "Finish the patch as ordered and inspect again.",
            "Compare the patch with the master.",
            "Compare the finish with the master.",
        ),
        "surface.brush_deg" => (
            "Finish, direction of the brushing",
            "Brush the metal in the direction ordered and inspect again.",
            "Compare the direction with the drawing.",
            "Compare the direction with the drawing.",
        ),
        "colour.lab_l" | "colour.lab_a" | "colour.lab_b" => (
            match characteristic {
                "colour.lab_l" => "Colour, L*",
                "colour.lab_a" => "Colour, a*",
                _ => "Colour, b*",
            },
            "Compare with the master under daylight (D65); replate or reject.",
            "Compare with the master under daylight (D65).",
            "Compare with the master under daylight (D65).",
        ),
        "piece.weight_g" => (
            "Weight",
            "Weigh again on a calibrated scale, then compare with the order.",
            "Weigh again on a calibrated scale.",
            "Weigh the piece.",
        ),
        "piece.fineness_ppt" => (
            "Fineness",
            "Repeat the assay on a clean, flat place. Below its mark the piece must not be sold under it.",
            "Repeat the assay on a clean, flat place.",
            "Have the fineness measured.",
        ),
        other => return unknown(other),
    };
    Words { title: title.into(), outside, doubt, unseen }
}

/// Words for a characteristic that the table does not have: `ring.size_fr` is "Ring, size fr", `piece.pull_n` (its unit stands beside its value) is "Pull".
fn unknown(characteristic: &str) -> Words {
    let bare = unit_of(characteristic).and_then(|(own, _)| characteristic.strip_suffix(own)?.strip_suffix('_'));
    let (family, name) = characteristic.split_once('.').unwrap_or(("", characteristic));
    let name = bare.and_then(|b| Some(b.split_once('.')?.1)).filter(|b| !b.is_empty()).unwrap_or(name);
    let name = name.replace('_', " ");
    let title = match family {
        "" | "piece" => capital(&name),
        _ => format!("{}, {name}", capital(family)),
    };
    Words {
        title,
        outside: "Measure it again by other means; rework or reject.",
        doubt: "Measure it by other means.",
        unseen: BY_HAND,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// A finding's type for a reader: `missing_stone` is "missing stone".
pub fn finding(kind: &str) -> String {
    kind.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_characteristic_of_the_spec_has_words_of_its_own() {
        for c in crate::spec::parse::CHARACTERISTICS {
            assert_ne!(of(c), unknown(c), "{c}");
        }
    }

    #[test]
    fn units_come_from_the_name() {
        for (c, u) in [
            ("pit.diameter_mm", "mm"),
            ("stain.area_mm2", "mm²"),
            ("stone.tilt_deg", "°"),
            ("stone.carat", "ct"),
            ("piece.fineness_ppt", "‰"),
            ("porosity.pore_count", ""),
            ("stone.present", ""),
            ("piece.pull_n", "N"),
        ] {
            assert_eq!(unit(c), u, "{c}");
        }
    }

    #[test]
    fn what_is_not_known_is_called_by_its_name() {
        assert_eq!(of("ring.size_fr").title, "Ring, size fr");
        assert_eq!(of("piece.pull_n").title, "Pull");
    }
}
