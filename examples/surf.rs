//! dev
use std::path::Path;
fn main() {
    let insp = loupe::pipeline::Inspector::new(loupe::pipeline::Settings { use_model: false, model_path: None }).unwrap();
    for d in std::env::args().skip(1) {
        let d = Path::new(&d);
        let Ok(piece) = loupe::piece::Piece::read(&d.join("piece.json")) else { continue };
        let (spec, sha) = match loupe::spec::Spec::read(&d.join("spec.toml")) { Ok(s) => s, Err(e) => { println!("{e}"); continue } };
        let truth: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(d.join("truth.json")).unwrap()).unwrap();
        let job = loupe::pipeline::Job { origin: d.join("piece.json"), base: d.to_owned(), piece, spec, spec_sha256: sha };
        let t = std::time::Instant::now();
        let r = insp.inspect(&job);
        let ms = t.elapsed().as_millis();
        println!("== {} {} {} {}  -> {:?} {ms} ms {}", job.piece.piece_id, truth["light"].as_str().unwrap_or(""), job.spec.metal, job.spec.finish, r.report.verdict, r.frame_errors.join(";"));
        let mut hit = vec![false; r.report.findings.len()];
        for t in truth["defects"].as_array().unwrap() {
            let (x, y, rad) = (t["x_px"].as_f64().unwrap_or(-1e9), t["y_px"].as_f64().unwrap_or(-1e9), t["radius_px"].as_f64().unwrap_or(0.0));
            let mut s = String::new();
            for (k, f) in r.report.findings.iter().enumerate() {
                if (f.x_px - x).hypot(f.y_px - y) < rad.max(5.0) + f.radius_px {
                    hit[k] = true;
                    let v: Vec<String> = r.report.measurements.iter().filter(|m| m.feature == f.feature && m.view == f.view).map(|m| format!("{}={:.3}+-{:.3}", m.characteristic, m.value, m.uncertainty)).collect();
                    s += &format!(" [{:?} {:?} c{:.2} {}]", f.kind, f.status, f.confidence, v.join(" "));
                }
            }
            println!("   T {} {} r={:.3}mm len={} area={} :{}", t["type"].as_str().unwrap(), t["stone"].as_str().unwrap_or(""), t["radius_mm"].as_f64().unwrap_or(0.0), t["length_mm"], t["area_mm2"], if s.is_empty() { " MISSED".into() } else { s });
        }
        for (k, f) in r.report.findings.iter().enumerate() {
            if !hit[k] {
                let v: Vec<String> = r.report.measurements.iter().filter(|m| m.feature == f.feature && m.view == f.view).map(|m| format!("{}={:.3}+-{:.3}", m.characteristic, m.value, m.uncertainty)).collect();
                println!("   F {:?} {:?} at {:.0},{:.0} r{:.1} c{:.2} {}", f.kind, f.status, f.x_px, f.y_px, f.radius_px, f.confidence, v.join(" "));
            }
        }
        for m in &r.report.measurements { if m.characteristic == "outline.deviation_mm" || (m.characteristic=="stone.present" && (m.value < 1.0 || m.uncertainty>0.0)) { println!("   m {} {} {:.4}+-{:.4} {:?}", m.characteristic, m.feature, m.value, m.uncertainty, m.status); } }
    }
}
