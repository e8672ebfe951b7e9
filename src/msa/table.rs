//! The study as a table for people.

use std::fmt::Write;

use super::MsaReport;
use crate::eval::Rate;

pub(super) fn text(r: &MsaReport) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut out, r);
    out
}

fn rate(r: &Rate) -> String {
    match (r.rate, r.ci95) {
        (Some(p), Some([a, b])) => {
            format!("{:>6.1} % ({} of {}) [{:.1}, {:.1}]", 100.0 * p, r.count, r.of, 100.0 * a, 100.0 * b)
        }
        _ => "     -".into(),
    }
}

fn or_dash<T: ToString>(v: Option<T>) -> String {
    v.map_or_else(|| "-".into(), |v| v.to_string())
}

fn write(out: &mut String, r: &MsaReport) -> std::fmt::Result {
    let mut operators: Vec<&str> = r.runs.iter().map(|run| run.operator.as_str()).collect();
    operators.dedup();
    let reports: u64 = r.runs.iter().map(|run| run.reports).sum();
    writeln!(
        out,
        "{reports} reports of {} pieces in {} runs; operators: {}",
        r.pieces,
        r.runs.len(),
        operators.join(", ")
    )?;
    if !r.gauges.is_empty() {
        let wide = r.gauges.keys().map(|k| k.chars().count()).max().unwrap_or(0).max(14);
        writeln!(
            out,
            "\n{:<wide$}  parts x op x trials       EV       AV      GRR       PV  GRR % of TV  of tolerance  ndc  ranges: GRR %  mean u  grade",
            "gauge R&R"
        )?;
        for (c, g) in &r.gauges {
            let v = &g.variation;
            let size = format!("{} x {} x {}", g.parts.len(), g.operators.len(), g.trials);
            let check = g.average_range.map(|v| format!("{:.1}", v.grr_pct));
            writeln!(
                out,
                "{c:<wide$}  {size:>19} {:>8.5} {:>8.5} {:>8.5} {:>8.5}  {:>11.1}  {:>12}  {:>3}  {:>13}  {:>6.4}  {}",
                v.ev,
                v.av,
                v.grr,
                v.pv,
                v.grr_pct,
                or_dash(g.grr_of_tolerance_pct.map(|p| format!("{p:.1}"))),
                or_dash(v.ndc),
                or_dash(check),
                g.mean_u,
                g.grade.as_str()
            )?;
        }
        for (c, g) in r.gauges.iter().filter(|(_, g)| !g.anova.pooled && g.anova.interaction.is_some()) {
            writeln!(
                out,
                "{c}: operators read some parts differently (interaction {:.5}, p {})",
                g.variation.interaction,
                or_dash(g.anova.interaction_p)
            )?;
        }
        for (c, g) in r.gauges.iter().filter(|(_, g)| g.limited && (g.lower, g.upper) == (None, None)) {
            let counts = match g.tolerance {
                Some([small, large]) if small < large => {
                    format!("tolerances of {small} to {large}, the smallest counts")
                }
                Some([small, _]) => format!("a tolerance of {small}"),
                None => "none has two of them".into(),
            };
            writeln!(out, "{c}: its limits are not the same in all reports: {counts}")?;
        }
        for (c, g) in r.gauges.iter().filter(|(_, g)| g.left_out > 0) {
            writeln!(out, "{c}: {} parts left out that somebody measured less often", g.left_out)?;
        }
        for (c, g) in r.gauges.iter().filter(|(_, g)| g.unused > 0) {
            let (n, trials) = (g.unused, g.trials);
            writeln!(out, "{c}: {n} values left out, for not every operator has more than {trials} trials of all parts: the worst {trials} count")?;
        }
        for (c, g) in r.gauges.iter().filter(|(_, g)| g.variation.ndc.is_some_and(|n| n < super::LEAST_NDC)) {
            let ndc = or_dash(g.variation.ndc);
            writeln!(out, "{c}: ndc {ndc}, fewer than {}: the parts are too alike for the gauge to tell them apart, so the study says little of it beyond the tolerance", super::LEAST_NDC)?;
        }
        if r.copies > 0 {
            writeln!(out, "{} reports are of the very frames of another one: no gauge is good by them", r.copies)?;
        }
    }
    for (c, why) in &r.not_studied {
        writeln!(out, "not studied: {c}: {why}")?;
    }
    if let Some(a) = &r.agreement {
        let wide = a.appraisers.keys().map(|k| k.chars().count()).max().unwrap_or(0).max(9);
        writeln!(out, "\nattribute agreement on {} pieces, {} with a reference", a.pieces, a.referenced)?;
        for (who, row) in &a.appraisers {
            writeln!(
                out,
                "{who:<wide$}  {} calls of {} pieces, grade {}, kappa to the reference {}",
                row.calls,
                row.pieces,
                row.grade.map_or("-", super::Grade::as_str),
                or_dash(row.kappa)
            )?;
            for (what, rated) in [
                ("effectiveness", &row.effectiveness),
                ("miss rate", &row.miss),
                ("false alarms", &row.false_alarm),
                ("left to a person", &row.reviewed),
                ("same every time", &row.within),
            ] {
                writeln!(out, "{:wide$}  {what:<17} {}", "", rate(rated))?;
            }
        }
        for p in &a.pairs {
            writeln!(out, "{} and {}: kappa {}, same {}", p.a, p.b, or_dash(p.kappa), rate(&p.same).trim_start())?;
        }
        if let Some(f) = &a.fleiss {
            writeln!(out, "all {}: Fleiss' kappa {} over {} calls", f.raters, or_dash(f.kappa), f.subjects)?;
            writeln!(out, "pieces that all call the same, every time: {}", rate(&a.between).trim_start())?;
        }
    }
    Ok(())
}
