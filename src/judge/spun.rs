//! Stones that turn in their seats where a spec limits only how far their middles move.

use super::K;
use crate::inspect::play::{PLAY, PLAY_TURN};
use crate::inspect::Feature;
use crate::spec::{Spec, View};

/// Of each stone whose middle keeps within what the spec allows, but which turns in its seat so far that its girdle does not, why a person must look
/// at it: nothing holds it fast. Nothing where the spec itself says how far stones may turn.
pub fn spun<'a>(spec: &'a Spec, view: &'a View, features: &'a [Feature]) -> impl Iterator<Item = String> + 'a {
    let limit = spec.limit(PLAY, &view.name).filter(|_| spec.limit(PLAY_TURN, &view.name).is_none());
    let allowed = limit.and_then(|l| l.upper);
    features.iter().filter_map(move |f| {
        let stone = view.stones.iter().find(|s| s.id == f.name)?;
        let of = |c: &str| f.values.iter().find(|v| v.characteristic == c);
        let (middle, turn, allowed) = (of(PLAY)?, of(PLAY_TURN)?, allowed?);
        let runs = stone.diameter_mm / 2.0 * (turn.value - K * turn.uncertainty).to_radians();
        (middle.value <= allowed && runs > allowed).then(|| {
            format!(
                "stone {} turns in its seat by {:.1} +- {:.1} degrees: its girdle runs {runs:.2} mm or more, {PLAY} is limited to {allowed}",
                stone.id,
                turn.value,
                K * turn.uncertainty
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::stones::{part, value};
    use crate::spec::{Limit, Stone};

    #[test]
    fn a_stone_that_spins_in_its_seat_is_told() {
        let mut feature = part("S1", [0.0; 2], 30.0);
        feature.values = vec![value(PLAY, 0.003, 0.001), value(PLAY_TURN, 33.0, 1.5)];
        let limit = |c: &str| Limit { characteristic: c.into(), upper: Some(0.02), ..Limit::default() };
        let mut spec = Spec { limits: vec![limit(PLAY)], ..Spec::default() };
        let stone = Stone { id: "S1".into(), ..Stone::unnamed([0.0; 2], 0.8, "round") };
        let view = View { name: "top".into(), stones: vec![stone], ..View::default() };
        let told: Vec<String> = spun(&spec, &view, std::slice::from_ref(&feature)).collect();
        assert!(told.len() == 1 && told[0].contains("stone S1 turns in its seat by 33.0 +- 3.0 degrees"), "{told:?}");
        feature.values[1] = value(PLAY_TURN, 2.0, 0.4);
        assert_eq!(spun(&spec, &view, std::slice::from_ref(&feature)).count(), 0);
        feature.values[1] = value(PLAY_TURN, 33.0, 1.5);
        spec.limits.push(limit(PLAY_TURN));
        assert_eq!(spun(&spec, &view, std::slice::from_ref(&feature)).count(), 0);
    }
}
