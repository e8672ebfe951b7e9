//! dev
use std::path::Path;
fn main() {
    let d = std::env::args().nth(1).unwrap(); let d = Path::new(&d);
    let piece = loupe::piece::Piece::read(&d.join("piece.json")).unwrap();
    let spec = loupe::spec::Spec::read(&d.join("spec.toml")).unwrap().0;
    let f = &piece.frames[0];
    let (_, img) = loupe::vision::read_image(&d.join(&f.file)).unwrap();
    let l = loupe::locate::locate(&img, spec.view(&f.view).unwrap(), f.um_per_px).unwrap();
    let n = l.edges.len();
    println!("{:?}", l.background);
    println!("{n} none {}", l.edges.iter().filter(|e| e.in_frame && e.offset_mm.is_none()).count());
    for e in l.edges.iter().filter(|e| e.in_frame && e.offset_mm.is_none_or(|o| o.abs() > 0.05)) { println!("{:.0},{:.0} {:?}", e.px[0], e.px[1], e.offset_mm); }
}
