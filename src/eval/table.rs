//! The figures as a table for people.

use std::fmt::Write;

use super::stats::{Estimate, Rate};
use super::{EvalReport, OverlapFigures};
use crate::dataset::Kind;

/// How many names of a list are printed before the rest is only counted.
const NAMES: usize = 40;

pub(super) fn text(r: &EvalReport) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut out, r);
    out
}

fn rate(r: &Rate) -> String {
    match (r.rate, r.ci95) {
        (Some(p), Some([a, b])) => {
            format!("{:>4} / {:<4} {:>6.2} %  [{:.2}, {:.2}]", r.count, r.of, 100.0 * p, 100.0 * a, 100.0 * b)
        }
        _ => format!("{:>4} / {:<4}      -", r.count, r.of),
    }
}

fn estimate(e: Option<Estimate>) -> String {
    match e {
        Some(Estimate { value, ci95: Some([a, b]) }) => format!("{value:.4} [{a:.4}, {b:.4}]"),
        Some(e) => format!("{:.4}", e.value),
        None => "-".into(),
    }
}

fn number(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), |v| format!("{v:.4}"))
}

fn overlap(out: &mut String, what: &str, o: &OverlapFigures) -> std::fmt::Result {
    writeln!(out, "{what} over {} pictures", o.images)?;
    writeln!(out, "  IoU                    {}", estimate(o.iou))?;
    writeln!(out, "  F1                     {}", estimate(o.f1))?;
    writeln!(out, "  precision, recall      {}, {}", number(o.precision), number(o.recall))?;
    writeln!(
        out,
        "  mean IoU               {} over defective pictures, {} over defect and background",
        number(o.mean_iou_defective),
        number(o.mean_iou_classes)
    )
}

fn write(out: &mut String, r: &EvalReport) -> std::fmt::Result {
    let s = &r.set;
    let part = s.split.map_or("all", crate::dataset::Split::as_str);
    let protocol = s.protocol.map(|p| format!(", protocol {}", p.as_str())).unwrap_or_default();
    writeln!(out, "{} ({}, split {part}{protocol})", s.name, s.kind.as_str())?;
    writeln!(
        out,
        "{} samples: {} defective, {} good, {} undecided; {} not read",
        s.samples, s.defective, s.good, s.undecided, s.errors
    )?;
    let taught = r.images.as_ref().is_some_and(|i| i.score == super::figures::OF_TAUGHT);
    let models: Vec<&str> = r.models.iter().map(|m| m.name.as_str()).collect();
    match r.threshold {
        // What is shown of a taught file's map is called from a half, which is a score of 1.
        Some(_) if taught && s.kind != Kind::Pieces => {
            writeln!(out, "taught file {}, called from a score of 1", models.join(", "))?;
        }
        Some(t) => writeln!(out, "model {}, threshold {t}", models.join(", "))?,
        None => writeln!(out, "no model")?,
    }
    let v = &r.verdicts;
    writeln!(out, "\nverdicts                 count            share  [95 %]")?;
    writeln!(out, "  escapes                {}", rate(&v.escapes))?;
    writeln!(out, "  defective, reviewed    {}", rate(&v.defective_reviewed))?;
    writeln!(out, "  overkill               {}", rate(&v.overkill))?;
    writeln!(out, "  good, reviewed         {}", rate(&v.good_reviewed))?;
    if r.classes.len() > 1 {
        let wide = r.classes.keys().map(|k| k.chars().count()).max().unwrap_or(0).max(5);
        writeln!(out, "\n{:<wide$}  samples  defective   pass  review   fail  mean IoU", "class")?;
        for (class, c) in &r.classes {
            writeln!(
                out,
                "{class:<wide$}  {:>7}  {:>9}  {:>5}  {:>6}  {:>5}  {:>8}",
                c.samples,
                c.defective,
                c.pass,
                c.review,
                c.fail,
                number(c.mean_iou)
            )?;
        }
    }
    if !r.types.is_empty() {
        let wide = r.types.keys().map(|k| k.chars().count()).max().unwrap_or(0).max(4);
        writeln!(
            out,
            "\n{:<wide$}  there  found  reported  named  due  missed  false on good  (all)  false on bad",
            "type"
        )?;
        for (word, t) in &r.types {
            let named = t.named.map_or_else(|| "-".into(), |n| n.count.to_string());
            let on_bad = t.false_on_defective.map_or_else(|| "-".into(), |n| n.to_string());
            writeln!(
                out,
                "{word:<wide$}  {:>5}  {:>5}  {:>8}  {named:>5}  {:>3}  {:>6}  {:>13}  {:>5}  {on_bad:>12}",
                t.there, t.found.count, t.reported.count, t.due, t.due_missed, t.false_on_good, t.all_on_good
            )?;
        }
    }
    let f = &r.false_findings;
    writeln!(
        out,
        "\nfalse findings per good  {} ({} counting all, whatever their status)",
        number(f.per_good),
        number(f.all_per_good)
    )?;
    if let Some(p) = &r.polygons {
        writeln!(out, "polygons hit             {}", rate(&p.hit))?;
        writeln!(out, "  by any type            {}", rate(&p.hit_by_any))?;
    }
    if let Some(p) = &r.pose {
        writeln!(
            out,
            "pose of {} frames ({} lost)  rotation rms {} max {} deg, shift of {} rms {} max {} um",
            p.n,
            p.lost,
            number(p.rotation_rms_deg),
            number(p.rotation_max_deg),
            p.shifts,
            number(p.shift_rms_um),
            number(p.shift_max_um)
        )?;
    }
    if let Some(e) = &r.stones {
        writeln!(out, "place of {} stones       rms {:.2} um, max {:.2} um", e.n, e.rms_um, e.max_um)?;
    }
    if let Some(p) = &r.parts {
        writeln!(out, "good stones failed       {}", rate(&p.failed))?;
        writeln!(out, "good stones reviewed     {}", rate(&p.reviewed))?;
    }
    for (name, f) in &r.plain_faults {
        writeln!(out, "{name:<26} found  {}   failed {}", rate(&f.found), rate(&f.failed))?;
    }
    for m in &r.marks {
        let range = m.to_px.map_or_else(|| format!("from {} px", m.from_px), |t| format!("{} to {t} px", m.from_px));
        writeln!(out, "hallmarks, letters of {range}")?;
        writeln!(out, "  text read              {}", rate(&m.read))?;
        writeln!(out, "  right: passed          {}", rate(&m.right_passed))?;
        writeln!(out, "  right: reviewed        {}", rate(&m.right_reviewed))?;
        writeln!(out, "  right: failed          {}", rate(&m.right_failed))?;
        writeln!(out, "  wrong: failed          {}", rate(&m.wrong_failed))?;
        writeln!(out, "  wrong: reviewed        {}", rate(&m.wrong_reviewed))?;
        writeln!(out, "  wrong: accepted        {}", rate(&m.wrong_accepted))?;
    }
    for (characteristic, e) in &r.sizes {
        writeln!(
            out,
            "{characteristic:<24} n {}  bias {:+.4}  rms {:.4}  95 % {:.4}  max {:.4}  (true mean {:.4})",
            e.n, e.bias, e.rms, e.p95, e.max, e.mean_true
        )?;
    }
    if r.sizes.values().any(|e| e.covered.is_some()) {
        writeln!(out, "\nthe stated uncertainty (k = 2) covers the true value")?;
        for (characteristic, e) in &r.sizes {
            if let (Some(covered), Some(u)) = (&e.covered, e.mean_u) {
                writeln!(out, "  {characteristic:<24} {}  mean u {u:.4}", rate(covered))?;
            }
        }
    }
    if !r.pits_by_size.is_empty() {
        writeln!(out, "\npits by true diameter    found")?;
        for p in &r.pits_by_size {
            let range =
                p.to_um.map_or_else(|| format!("from {} um", p.from_um), |t| format!("{} to {t} um", p.from_um));
            writeln!(out, "  {range:<22} {}", rate(&p.found))?;
        }
    }
    if let Some(i) = &r.images {
        writeln!(out, "\npictures ranked by the {}", i.score)?;
        writeln!(out, "  AUROC                  {}", estimate(i.auroc))?;
        writeln!(out, "  average precision      {}", number(i.average_precision))?;
        writeln!(out, "  F1 at the threshold    {}", number(i.f1))?;
    }
    if let Some(p) = &r.pixels {
        writeln!(out)?;
        // A map of a taught file has s / (1 + s) of its scores.
        let best = p.best_f1_threshold.map(|t| if taught { t / (1.0 - t).max(1e-9) } else { t });
        let whose = if taught {
            "pixels of the taught file's map at a score of 1"
        } else {
            "pixels of the model's map at its threshold"
        };
        overlap(out, whose, &p.at_threshold)?;
        writeln!(out, "  AUROC                  {}", estimate(p.auroc))?;
        writeln!(out, "  PRO                    {}", estimate(p.pro))?;
        writeln!(out, "  average precision      {}", number(p.average_precision))?;
        writeln!(
            out,
            "  best F1                {} at {} (for information: chosen on this very set)",
            number(p.best_f1),
            number(best)
        )?;
    }
    if let Some(p) = &r.pixels_of_findings {
        overlap(out, "pixels of the findings' outlines", p)?;
    }
    for (what, names) in [("escapes", &r.escapes), ("overkill", &r.overkill)] {
        if names.is_empty() {
            continue;
        }
        writeln!(out, "\n{what}:")?;
        for name in names.iter().take(NAMES) {
            writeln!(out, "  {name}")?;
        }
        if names.len() > NAMES {
            writeln!(out, "  and {} more", names.len() - NAMES)?;
        }
    }
    Ok(())
}
