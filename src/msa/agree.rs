//! Attribute agreement: who calls a piece good or bad, how often with himself, with the others and with the truth (AIAG,
//! Measurement Systems Analysis, 4th edition, chapter III, section C).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Grade;
use crate::eval::Rate;
use crate::report::{round_to, Verdict};

/// Calls by appraiser and piece, each appraiser's repeats in their order.
pub type Calls = BTreeMap<String, BTreeMap<String, Vec<Verdict>>>;

/// How well appraisers agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Pieces that somebody called.
    pub pieces: u64,
    /// Of them with a reference.
    pub referenced: u64,
    /// Each appraiser.
    pub appraisers: BTreeMap<String, AppraiserRow>,
    /// Each two.
    pub pairs: Vec<PairRow>,
    /// All together; null with fewer than two appraisers or no piece that all called.
    pub fleiss: Option<FleissRow>,
    /// Pieces that all appraisers called, where all calls are the same.
    pub between: Rate,
}

/// One appraiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppraiserRow {
    /// Pieces called.
    pub pieces: u64,
    /// Calls.
    pub calls: u64,
    /// Calls that leave the piece to another person.
    pub reviewed: Rate,
    /// Pieces called more than once, where all calls are the same.
    pub within: Rate,
    /// Pieces with a reference whose calls were all decided, and all of them rightly.
    pub effectiveness: Rate,
    /// Calls of bad pieces that passed them.
    pub miss: Rate,
    /// Calls of good pieces that failed them.
    pub false_alarm: Rate,
    /// Cohen's kappa of the decided calls against the reference; null where there is nothing to tell.
    pub kappa: Option<f64>,
    /// How fit the appraiser is; null without a reference, and where what was called cannot tell: no bad piece, or no good one.
    pub grade: Option<Grade>,
}

/// Two appraisers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairRow {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
    /// Calls of both, repeat by repeat, that are the same.
    pub same: Rate,
    /// Cohen's kappa over pass, fail and review; null where both always say one thing.
    pub kappa: Option<f64>,
}

/// All appraisers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleissRow {
    /// Pieces, each repeat of its own, that all appraisers called.
    pub subjects: u64,
    /// Appraisers.
    pub raters: u64,
    /// Fleiss' kappa; null where all always say one thing.
    pub kappa: Option<f64>,
}

/// From this kappa on agreement is good (AIAG MSA 4).
pub const GOOD_KAPPA: f64 = 0.75;
/// Below it agreement is poor (AIAG MSA 4).
const POOR_KAPPA: f64 = 0.40;

const WORDS: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::Review];

/// Cohen's kappa of a square table of counts, `table[first][second]` (Cohen, Educ. Psychol. Meas. 20, 1960, 37): none where it is
/// empty or chance alone would agree always.
pub fn cohen(table: &[Vec<u64>]) -> Option<f64> {
    let n: u64 = table.iter().flatten().sum();
    if n == 0 {
        return None;
    }
    let n = n as f64;
    let row = |i: usize| table[i].iter().sum::<u64>() as f64 / n;
    let column = |i: usize| table.iter().map(|r| r[i]).sum::<u64>() as f64 / n;
    let seen: f64 = (0..table.len()).map(|i| table[i][i] as f64 / n).sum();
    let chance: f64 = (0..table.len()).map(|i| row(i) * column(i)).sum();
    (chance < 1.0 - 1e-12).then(|| (seen - chance) / (1.0 - chance))
}

/// Fleiss' kappa of counts of categories per subject, each subject with as many ratings (Fleiss, Psychol. Bull. 76, 1971, 378):
/// none without subjects, with one rater, or where all say one thing.
pub fn fleiss(subjects: &[Vec<u64>]) -> Option<f64> {
    let raters = subjects.first()?.iter().sum::<u64>() as f64;
    if raters < 2.0 {
        return None;
    }
    let n = subjects.len() as f64;
    let agree = |s: &Vec<u64>| (s.iter().map(|c| (c * c) as f64).sum::<f64>() - raters) / (raters * (raters - 1.0));
    let seen = subjects.iter().map(agree).sum::<f64>() / n;
    let categories = subjects[0].len();
    let share = |k: usize| subjects.iter().map(|s| s[k]).sum::<u64>() as f64 / (n * raters);
    let chance: f64 = (0..categories).map(|k| share(k).powi(2)).sum();
    (chance < 1.0 - 1e-12).then(|| (seen - chance) / (1.0 - chance))
}

fn index(v: Verdict) -> usize {
    WORDS.iter().position(|w| *w == v).unwrap_or(0)
}

fn rounded(kappa: Option<f64>) -> Option<f64> {
    kappa.map(|k| round_to(k, 4))
}

/// The figures of calls against each other and against `reference` (whether a piece is good), where it is known.
pub fn agreement(calls: &Calls, reference: &BTreeMap<String, bool>) -> Agreement {
    let mut pieces: Vec<&String> = calls.values().flat_map(BTreeMap::keys).collect();
    pieces.sort_unstable();
    pieces.dedup();
    let appraisers = calls.iter().map(|(name, of)| (name.clone(), appraiser(of, reference))).collect();
    let names: Vec<&String> = calls.keys().collect();
    let mut pairs = Vec::new();
    for (i, a) in names.iter().enumerate() {
        for b in &names[i + 1..] {
            let mut table = vec![vec![0u64; WORDS.len()]; WORDS.len()];
            for (piece, of_a) in &calls[*a] {
                for (x, y) in of_a.iter().zip(calls[*b].get(piece).into_iter().flatten()) {
                    table[index(*x)][index(*y)] += 1;
                }
            }
            let all: u64 = table.iter().flatten().sum();
            let same = (0..WORDS.len()).map(|k| table[k][k]).sum();
            pairs.push(PairRow {
                a: (*a).clone(),
                b: (*b).clone(),
                same: Rate::new(same, all),
                kappa: rounded(cohen(&table)),
            });
        }
    }
    let mut subjects = Vec::new();
    let (mut common, mut same) = (0, 0);
    for piece in &pieces {
        let of: Vec<&Vec<Verdict>> = calls.values().filter_map(|c| c.get(*piece)).collect();
        if of.len() < calls.len() || of.len() < 2 {
            continue;
        }
        common += 1;
        let first = of[0].first();
        same += u64::from(of.iter().all(|c| c.iter().all(|v| Some(v) == first)));
        for k in 0..of.iter().map(|c| c.len()).min().unwrap_or(0) {
            let mut counts = vec![0u64; WORDS.len()];
            for c in &of {
                counts[index(c[k])] += 1;
            }
            subjects.push(counts);
        }
    }
    Agreement {
        pieces: pieces.len() as u64,
        referenced: pieces.iter().filter(|p| reference.contains_key(**p)).count() as u64,
        appraisers,
        pairs,
        fleiss: (!subjects.is_empty()).then(|| FleissRow {
            subjects: subjects.len() as u64,
            raters: calls.len() as u64,
            kappa: rounded(fleiss(&subjects)),
        }),
        between: Rate::new(same, common),
    }
}

fn appraiser(of: &BTreeMap<String, Vec<Verdict>>, reference: &BTreeMap<String, bool>) -> AppraiserRow {
    let all = || of.values().flatten();
    let repeated = of.values().filter(|c| c.len() > 1);
    let same = repeated.clone().filter(|c| c.iter().all(|v| *v == c[0])).count();
    let known: Vec<(bool, &Vec<Verdict>)> = of.iter().filter_map(|(p, c)| Some((*reference.get(p)?, c))).collect();
    let decided: Vec<_> = known.iter().filter(|(_, c)| !c.contains(&Verdict::Review)).collect();
    let word = |good: bool| if good { Verdict::Pass } else { Verdict::Fail };
    let right = decided.iter().filter(|(good, c)| c.iter().all(|v| *v == word(*good))).count();
    let n = |good: bool, said: Option<Verdict>| {
        let calls = known.iter().filter(|k| k.0 == good).flat_map(|k| k.1);
        calls.filter(|v| said.is_none_or(|s| s == **v)).count() as u64
    };
    // Rows: called pass, fail; columns: truly good, bad.
    let table: Vec<Vec<u64>> = [Verdict::Pass, Verdict::Fail]
        .iter()
        .map(|said| [true, false].iter().map(|good| n(*good, Some(*said))).collect())
        .collect();
    let mut row = AppraiserRow {
        pieces: of.len() as u64,
        calls: all().count() as u64,
        reviewed: Rate::new(all().filter(|v| **v == Verdict::Review).count() as u64, all().count() as u64),
        within: Rate::new(same as u64, repeated.count() as u64),
        effectiveness: Rate::new(right as u64, decided.len() as u64),
        miss: Rate::new(n(false, Some(Verdict::Pass)), n(false, None)),
        false_alarm: Rate::new(n(true, Some(Verdict::Fail)), n(true, None)),
        kappa: rounded(cohen(&table)),
        grade: None,
    };
    // Who left every piece to somebody else is no good appraiser, and no bad one.
    row.grade = row.effectiveness.rate.and(grade(&row));
    row
}

/// AIAG MSA 4's table of effectiveness, miss and false alarm rates, and its words on kappa.
///
/// None of who kept all bounds that were asked of him, but was not shown both good and bad pieces.
fn grade(row: &AppraiserRow) -> Option<Grade> {
    let above = |r: &Rate, bound: f64| r.rate.is_some_and(|v| v > bound);
    let below = |r: &Rate, bound: f64| r.rate.is_some_and(|v| v < bound);
    let unfit = below(&row.effectiveness, 0.80)
        || above(&row.miss, 0.05)
        || above(&row.false_alarm, 0.10)
        || row.kappa.is_some_and(|k| k < POOR_KAPPA);
    if unfit {
        return Some(Grade::Unfit);
    }
    row.miss.rate.and(row.false_alarm.rate)?;
    let conditional = below(&row.effectiveness, 0.90)
        || above(&row.miss, 0.02)
        || above(&row.false_alarm, 0.05)
        || row.kappa.is_some_and(|k| k < GOOD_KAPPA);
    Some(if conditional { Grade::Conditional } else { Grade::Good })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Option<f64>, b: f64) {
        assert!(a.is_some_and(|a| (a - b).abs() < 0.005), "{a:?} is not {b}");
    }

    /// The cross tabulations of AIAG MSA 4's attribute study (50 parts, three appraisers, three trials).
    #[test]
    fn the_published_kappas() {
        for (table, kappa) in [
            ([[44, 6], [3, 97]], 0.86),
            ([[42, 5], [9, 94]], 0.79),
            ([[43, 7], [8, 92]], 0.78),
            ([[45, 5], [3, 97]], 0.88),
            ([[45, 2], [3, 100]], 0.92),
            ([[42, 9], [6, 93]], 0.77),
        ] {
            near(cohen(&table.map(|r| r.to_vec())), kappa);
        }
        assert_eq!(cohen(&[vec![7, 0], vec![0, 0]]), None);
        assert_eq!(cohen(&[vec![0, 0], vec![0, 0]]), None);
    }

    /// The example that Fleiss' kappa is commonly shown with: ten subjects, fourteen raters, five categories.
    #[test]
    fn a_known_fleiss_kappa() {
        let rows = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        near(fleiss(&rows.map(|r| r.to_vec())), 0.210);
        assert_eq!(fleiss(&[]), None);
        assert_eq!(fleiss(&[vec![3, 0], vec![3, 0]]), None);
    }

    fn calls(rows: &[(&str, &[(&str, &str)])]) -> Calls {
        let word = |c| match c {
            'p' => Verdict::Pass,
            'f' => Verdict::Fail,
            _ => Verdict::Review,
        };
        rows.iter()
            .map(|(who, of)| {
                let of = of.iter().map(|(piece, said)| ((*piece).to_owned(), said.chars().map(word).collect()));
                ((*who).to_owned(), of.collect())
            })
            .collect()
    }

    #[test]
    fn rates_by_hand() {
        let all = calls(&[
            ("anna", &[("g1", "ppp"), ("g2", "pfp"), ("b1", "fff"), ("b2", "pff"), ("x", "pp")]),
            ("loupe", &[("g1", "ppp"), ("g2", "rrr"), ("b1", "fff"), ("b2", "frf")]),
        ]);
        let reference =
            [("g1", true), ("g2", true), ("b1", false), ("b2", false)].map(|(p, g)| (p.to_owned(), g)).into();
        let a = agreement(&all, &reference);
        assert_eq!((a.pieces, a.referenced), (5, 4));
        let anna = &a.appraisers["anna"];
        assert_eq!((anna.within.count, anna.within.of), (3, 5));
        assert_eq!((anna.effectiveness.count, anna.effectiveness.of), (2, 4));
        assert_eq!((anna.miss.count, anna.miss.of), (1, 6));
        assert_eq!((anna.false_alarm.count, anna.false_alarm.of), (1, 6));
        // 5 and 5 of 12 right, 1 and 1 wrong: (10/12 - 1/2) / (1/2).
        near(anna.kappa, 2.0 / 3.0);
        assert_eq!(anna.grade, Some(Grade::Unfit));
        let loupe = &a.appraisers["loupe"];
        assert_eq!((loupe.reviewed.count, loupe.reviewed.of), (4, 12));
        // What is left to a person is no decision: two pieces were decided, both rightly.
        assert_eq!((loupe.effectiveness.count, loupe.effectiveness.of), (2, 2));
        assert_eq!((loupe.miss.count, loupe.false_alarm.count, loupe.grade), (0, 0, Some(Grade::Good)));
        assert_eq!((a.between.count, a.between.of), (2, 4));
        assert_eq!((a.pairs.len(), a.pairs[0].same.count, a.pairs[0].same.of), (1, 7, 12));
        assert_eq!(a.fleiss.as_ref().map(|f| (f.subjects, f.raters)), Some((12, 2)));
        // Without a reference nobody is graded.
        assert!(agreement(&all, &BTreeMap::new()).appraisers.values().all(|r| r.grade.is_none()));
    }
}
