//! dev: pose errors on folders of pieces
use std::path::Path;
fn main() {
    for d in std::env::args().skip(1) {
        let d = Path::new(&d);
        let piece = loupe::piece::Piece::read(&d.join("piece.json")).unwrap();
        let spec: loupe::spec::Spec = toml::from_str(&std::fs::read_to_string(d.join("spec.toml")).unwrap()).unwrap();
        let truth: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(d.join("truth.json")).unwrap()).unwrap();
        let f = &piece.frames[0];
        let (_, img) = loupe::vision::read_image(&d.join(&f.file)).unwrap();
        let t = std::time::Instant::now();
        let l = loupe::locate::locate(&img, spec.view(&f.view).unwrap(), f.um_per_px);
        let ms = t.elapsed().as_millis();
        let g = |k: &str| truth["pose"][k].as_f64().unwrap_or(f64::NAN);
        match l {
            Ok(l) => println!("{:12} rot {:+.3} (u {:.3}) deg  dx {:+.1} dy {:+.1} um (u {:.1})  {ms} ms sigma {:.1}", piece.piece_id,
                l.pose.rotation.to_degrees() - g("rotation_deg"), l.rotation_u.to_degrees(), 1000.0*(l.pose.dx_mm - g("dx_mm")), 1000.0*(l.pose.dy_mm - g("dy_mm")), 1000.0*l.shift_u_mm, l.background.map(|b| b.sigma).unwrap_or(0.0)),
            Err(e) => println!("{:12} {e}", piece.piece_id),
        }
    }
}
