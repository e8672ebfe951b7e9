//! Finenesses of precious metal alloys after ISO 9202, in parts per thousand.

/// The characteristic that a reading of the fineness has.
pub const FINENESS: &str = "piece.fineness_ppt";

const GOLD: &[u16] = &[333, 375, 417, 585, 625, 750, 833, 916, 990, 995, 999];
const SILVER: &[u16] = &[800, 830, 835, 900, 925, 950, 958, 999];
const PLATINUM: &[u16] = &[850, 900, 950, 995, 999];
const PALLADIUM: &[u16] = &[500, 950];

/// Carats of gold as the trade says them, and their fineness.
const CARATS: &[(u16, u16)] =
    &[(8, 333), (9, 375), (10, 417), (14, 585), (15, 625), (18, 750), (20, 833), (22, 916), (24, 999)];

/// The finenesses of a spec's metal in rising order, with the metal's name; of all metals where the spec's word says none (a
/// plating, a word of the customer's own).
pub fn of_metal(metal: &str) -> (&'static str, Vec<u16>) {
    let word = metal.to_lowercase();
    let known = [("gold", GOLD), ("silver", SILVER), ("platinum", PLATINUM), ("palladium", PALLADIUM)];
    if let Some((name, list)) = known.into_iter().find(|(name, _)| word.contains(name)) {
        return (name, list.to_vec());
    }
    let mut all: Vec<u16> = known.iter().flat_map(|(_, list)| list.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    ("any precious metal", all)
}

/// What is wrong with an ordered fineness; none where it is one of the list.
pub fn mistake(ordered: f64, metal: &str) -> Option<String> {
    let (name, list) = of_metal(metal);
    if list.iter().any(|f| f64::from(*f) == ordered) {
        return None;
    }
    if let Some(why) = as_carats(ordered) {
        return Some(why);
    }
    let list: Vec<String> = list.iter().map(u16::to_string).collect();
    Some(format!(
        "{ordered} is no fineness of {name} in ISO 9202 ({}); one of your own is a `lower` limit on `{FINENESS}`",
        list.join(", ")
    ))
}

/// Least fineness that is still called a precious metal's anywhere (8 K gold).
const LEAST: f64 = 300.0;

/// What is wrong with a least fineness of one's own: it is in another unit; none where it is in parts per thousand.
pub fn other_unit(lower: f64) -> Option<String> {
    let less =
        || format!("{lower} is less than any precious metal has; the fineness is in parts per thousand, as 750");
    as_carats(lower).or_else(|| (lower > 0.0 && lower < LEAST).then(less))
}

/// What to say of a fineness that is one of the trade's carats.
fn as_carats(fineness: f64) -> Option<String> {
    let (carat, ppt) = CARATS.iter().find(|(c, _)| f64::from(*c) == fineness)?;
    Some(format!("{fineness} looks like carats; the fineness is in parts per thousand: {carat} K is {ppt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fineness_is_one_of_its_metals() {
        assert_eq!(mistake(750.0, "yellow_gold"), None);
        assert_eq!(mistake(925.0, "silver"), None);
        assert_eq!(mistake(950.0, "rhodium"), None);
        assert!(mistake(925.0, "white_gold").is_some_and(|m| m.contains("of gold")));
        assert!(mistake(18.0, "rose_gold").is_some_and(|m| m.contains("18 K is 750")));
        assert!(mistake(0.75, "platinum").is_some_and(|m| m.contains("850, 900")));
    }
}
