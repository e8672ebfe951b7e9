//! Whether a JPEG's scans hold together. Decoders go on after a damaged place and fill in what they make of the rest; stripes and blocks of wrong colour then look like
//! faults of the piece. The codes are walked without making a picture of them (ITU-T T.81, annexes F and G): a wrong code, a coefficient beyond its block, a constant
//! outside what eight bits can give, or data left over or lacking at the end of a scan is a damage. A flip that changes only the value of one wave is not seen.

use super::decode::marks;

/// A Huffman table: of every 16 bits the length of the code they begin with (0: none) and what it stands for (T.81, F.2.2.3).
struct Codes(Vec<(u8, u8)>);

impl Codes {
    /// From the counts of codes of 1 to 16 bits and their symbols; none where they make no code.
    fn new(counts: &[u8], symbols: &[u8]) -> Option<Codes> {
        let mut table = vec![(0, 0); 1 << 16];
        let (mut code, mut rest) = (0usize, symbols.iter());
        for (length, count) in (1u8..).zip(counts) {
            for _ in 0..*count {
                let width = 1usize << (16 - length);
                table.get_mut(code..code + width)?.fill((length, *rest.next()?));
                code += width;
            }
        }
        Some(Codes(table))
    }
}

/// A component of the frame.
struct Component {
    name: u8,
    /// Blocks of an MCU across and down.
    sampling: [usize; 2],
    /// The smallest step of its constants.
    table: u8,
    /// Blocks that hold picture, across and down.
    used: [usize; 2],
    /// Blocks of a row, those that only fill up an MCU with them.
    stride: usize,
    /// Of every block which of its waves are not zero: what scans that refine them go by.
    waves: Vec<u64>,
}

/// The bits of a scan, as far as they go.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Fills up what is held, as far as there is data; what lacks is zeros.
    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.data.get(self.at) else { return };
            if *byte == 0xFF {
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.count += 8;
            self.held |= u64::from(*byte) << (64 - self.count);
        }
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.held <<= count;
        Some(())
    }

    /// The next bits, at most 16.
    fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        self.fill();
        let value = (self.held >> (64 - count)) as u32;
        self.skip(count)?;
        Some(value)
    }

    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        self.fill();
        let (length, symbol) = codes.0[(self.held >> 48) as usize];
        if length == 0 {
            return None;
        }
        self.skip(u32::from(length))?;
        Some(symbol)
    }

    /// A value of so many bits (T.81, F.2.2.1).
    fn value(&mut self, size: u8) -> Option<i32> {
        let size = u32::from(size);
        let raw = self.take(size)? as i32;
        Some(if size > 0 && raw < 1 << (size - 1) { raw - (1 << size) + 1 } else { raw })
    }

    /// Goes to the mark that ends an interval: less than a byte may be left.
    fn end(&mut self) -> Option<()> {
        self.fill();
        let left = self.count;
        (left < 8).then(|| self.skip(left))?
    }

    /// Steps over the mark of a restart.
    fn restart(&mut self, number: usize) -> Option<()> {
        self.end()?;
        while self.data.get(self.at + 1) == Some(&0xFF) {
            self.at += 1;
        }
        let wanted = [0xFF, 0xD0 + (number % 8) as u8];
        (self.data.get(self.at..self.at + 2)? == wanted).then_some(())?;
        self.at += 2;
        self.held = 0;
        Some(())
    }
}

/// What a scan's header says.
struct Scan<'a> {
    /// First and last wave, and the bits it goes on from and to.
    waves: [usize; 2],
    refines: bool,
    shift: u8,
    progressive: bool,
    /// A step of the constants, for each component.
    steps: Vec<i32>,
    constants: Vec<Option<&'a Codes>>,
    others: Vec<Option<&'a Codes>>,
}

impl Scan<'_> {
    /// Walks a block of the scan's component `k`; `last` is the constant before and `empty` how many blocks from here on have no more waves. None where the
    /// data cannot be.
    fn block(&self, k: usize, bits: &mut Bits, waves: &mut u64, last: &mut i32, empty: &mut u32) -> Option<()> {
        let [mut at, to] = self.waves;
        if at == 0 {
            if self.refines {
                bits.take(1)?;
            } else {
                let size = bits.symbol(self.constants[k]?)?;
                *last += (size <= 11).then(|| bits.value(size))??;
                // Eight bits about their middle, eight times (T.81, A.3.3), and half a step.
                let (constant, step) = (i64::from(*last) << self.shift, i64::from(self.steps[k]));
                (constant.abs() * step <= 1024 + step).then_some(())?;
            }
            at = 1;
        }
        if at > to {
            return Some(());
        }
        let codes = self.others[k]?;
        if self.refines {
            return refine(bits, codes, [at, to], waves, empty);
        }
        if *empty > 0 {
            *empty -= 1;
            return Some(());
        }
        while at <= to {
            let symbol = bits.symbol(codes)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                // Only scans of a progressive frame count blocks.
                (run == 0 || self.progressive).then_some(())?;
                *empty = (1 << run) - 1 + bits.take(u32::from(run))?;
                return Some(());
            }
            at += usize::from(run);
            (at <= to && size <= 10).then_some(())?;
            bits.take(u32::from(size))?;
            if size > 0 {
                *waves |= 1 << at;
            }
            at += 1;
        }
        Some(())
    }
}

/// A block of a scan that gives waves one more bit (T.81, G.1.2.3).
fn refine(bits: &mut Bits, codes: &Codes, [mut at, to]: [usize; 2], waves: &mut u64, empty: &mut u32) -> Option<()> {
    while *empty == 0 && at <= to {
        let symbol = bits.symbol(codes)?;
        let (mut run, size) = (symbol >> 4, symbol & 15);
        (size <= 1).then_some(())?;
        if size == 0 && run < 15 {
            *empty = (1 << run) + bits.take(u32::from(run))?;
            break;
        }
        bits.take(u32::from(size))?;
        while at <= to {
            if *waves >> at & 1 == 1 {
                bits.take(1)?;
            } else if run == 0 {
                break;
            } else {
                run -= 1;
            }
            at += 1;
        }
        if size == 1 {
            (at <= to).then_some(())?;
            *waves |= 1 << at;
        }
        at += 1;
    }
    if *empty > 0 {
        for k in at..=to {
            bits.take((*waves >> k & 1) as u32)?;
        }
        *empty -= 1;
    }
    Some(())
}

/// What a JPEG says before its scans.
#[derive(Default)]
struct Tables {
    /// The smallest step of every table: its first.
    steps: [Option<i32>; 4],
    constants: [Option<Codes>; 4],
    others: [Option<Codes>; 4],
    /// MCUs between two restarts; 0: none.
    interval: usize,
}

impl Tables {
    fn quantisation(&mut self, mut rest: &[u8]) -> Option<()> {
        while let Some((kind, values)) = rest.split_first() {
            let wide = usize::from(kind >> 4) + 1;
            let first = values.get(..wide)?.iter().fold(0, |a, b| a << 8 | i32::from(*b));
            *self.steps.get_mut(usize::from(kind & 15))? = Some(first);
            rest = values.get(64 * wide..)?;
        }
        Some(())
    }

    fn huffman(&mut self, mut rest: &[u8]) -> Option<()> {
        while let Some((kind, values)) = rest.split_first() {
            let (counts, values) = values.split_at_checked(16)?;
            let count: usize = counts.iter().map(|c| usize::from(*c)).sum();
            let (symbols, values) = values.split_at_checked(count)?;
            let tables = if kind >> 4 == 0 { &mut self.constants } else { &mut self.others };
            *tables.get_mut(usize::from(kind & 15))? = Some(Codes::new(counts, symbols)?);
            rest = values;
        }
        Some(())
    }
}

/// The components of a frame of eight bits and its size in MCUs, as its header says.
fn frame(header: &[u8]) -> Option<(Vec<Component>, [usize; 2])> {
    let word = |k: usize| Some(usize::from(*header.get(k)?) << 8 | usize::from(*header.get(k + 1)?));
    let size = [word(3)?, word(1)?];
    let parts: Vec<[u8; 3]> = (0..usize::from(*header.get(5)?))
        .map(|k| header.get(6 + 3 * k..9 + 3 * k)?.try_into().ok())
        .collect::<Option<_>>()?;
    let factors = |p: &[u8; 3]| [usize::from(p[1] >> 4), usize::from(p[1] & 15)];
    let most = [0, 1].map(|axis| parts.iter().map(|p| factors(p)[axis]).max().unwrap_or(0));
    let fits =
        header[0] == 8 && size.iter().all(|s| *s > 0) && parts.iter().flat_map(factors).all(|f| (1..=4).contains(&f));
    if !fits || parts.is_empty() {
        return None;
    }
    let mcus = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
    let component = |p: &[u8; 3]| {
        let sampling = factors(p);
        let used = [0, 1].map(|axis| (size[axis] * sampling[axis]).div_ceil(most[axis]).div_ceil(8));
        let stride = mcus[0] * sampling[0];
        Component { name: p[0], sampling, table: p[2], used, stride, waves: vec![0; stride * mcus[1] * sampling[1]] }
    };
    Some((parts.iter().map(component).collect(), mcus))
}

/// The share of a scan, 0 to 1, up to which its data can be; none where all of it can.
fn walk(
    scan: &Scan,
    parts: &[usize],
    frame: &mut [Component],
    mcus: [usize; 2],
    interval: usize,
    bits: &mut Bits,
) -> Option<f64> {
    // A scan of one component goes over the blocks that hold picture, one by one (T.81, A.2.2).
    let alone = parts.len() == 1;
    let [across, down] = if alone { frame[parts[0]].used } else { mcus };
    let (mut last, mut empty) = (vec![0; parts.len()], 0);
    let mut walked = |mcu: usize| -> Option<()> {
        if interval > 0 && mcu > 0 && mcu.is_multiple_of(interval) {
            (empty == 0).then_some(())?;
            bits.restart(mcu / interval - 1)?;
            last.fill(0);
        }
        let [x, y] = [mcu % across, mcu / across];
        for (k, part) in parts.iter().enumerate() {
            let component = &mut frame[*part];
            let [w, h] = if alone { [1, 1] } else { component.sampling };
            for (v, u) in (0..h).flat_map(|v| (0..w).map(move |u| (v, u))) {
                let waves = &mut component.waves[(y * h + v) * component.stride + x * w + u];
                scan.block(k, bits, waves, &mut last[k], &mut empty)?;
            }
        }
        if mcu + 1 == across * down {
            (empty == 0).then_some(())?;
            bits.end()?;
        }
        Some(())
    };
    (0..across * down).find(|mcu| walked(*mcu).is_none()).map(|mcu| mcu as f64 / (across * down) as f64)
}

/// Where the first scan that is damaged stops to make sense, as the share of its picture from the top; none where all hold together, and of what is not walked: no JPEG, one of
/// another kind than Huffman's with eight bits, or tables that are left to the decoder.
pub fn damaged_from(bytes: &[u8]) -> Option<f64> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return None;
    }
    let mut tables = Tables::default();
    let mut picture = None;
    for (mark, from, segment) in marks(bytes) {
        let body = segment.get(2..).unwrap_or(&[]);
        match mark {
            0xC0..=0xC2 => picture = Some((frame(body)?, mark == 0xC2)),
            0xC3 | 0xC5..=0xCF if mark != 0xC4 && mark != 0xC8 => return None,
            0xC4 => tables.huffman(body)?,
            0xD9 => return None,
            0xDB => tables.quantisation(body)?,
            0xDC => return None,
            0xDD => tables.interval = usize::from(*body.first()?) << 8 | usize::from(*body.get(1)?),
            0xDA => {
                let ((components, mcus), progressive) = picture.as_mut()?;
                let count = usize::from(*body.first()?);
                let named = body.get(1..1 + 2 * count)?;
                let [first, last, bit] = body.get(1 + 2 * count..)?.try_into().ok()?;
                let parts: Vec<usize> = named
                    .chunks_exact(2)
                    .map(|n| components.iter().position(|c| c.name == n[0]))
                    .collect::<Option<_>>()?;
                let to = usize::from(last).min(63);
                let at = |of: &[Option<Codes>; 4], k: u8| usize::from(k) < of.len() && of[usize::from(k)].is_some();
                let refines = bit >> 4 > 0;
                // A table that lacks is the decoder's to know.
                for n in named.chunks_exact(2) {
                    let wanted = (first > 0 || refines || at(&tables.constants, n[1] >> 4))
                        && (to == 0 || at(&tables.others, n[1] & 15));
                    wanted.then_some(())?;
                }
                if parts.is_empty() || (!*progressive && (first, last, bit) != (0, 63, 0)) {
                    return None;
                }
                let scan = Scan {
                    waves: [usize::from(first), to],
                    refines,
                    shift: bit & 15,
                    progressive: *progressive,
                    steps: parts
                        .iter()
                        .map(|p| tables.steps.get(usize::from(components[*p].table)).copied().flatten().unwrap_or(1))
                        .collect(),
                    constants: named
                        .chunks_exact(2)
                        .map(|n| tables.constants.get(usize::from(n[1] >> 4))?.as_ref())
                        .collect(),
                    others: named
                        .chunks_exact(2)
                        .map(|n| tables.others.get(usize::from(n[1] & 15))?.as_ref())
                        .collect(),
                };
                let mut bits = Bits { data: bytes, at: from + segment.len(), held: 0, count: 0 };
                if let Some(share) = walk(&scan, &parts, components, *mcus, tables.interval, &mut bits) {
                    return Some(share);
                }
                // Nothing may stand before the next mark.
                if bytes.get(bits.at) != Some(&0xFF) {
                    return Some(1.0);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    /// A picture of waves, 44 x 30 pixels, in scans that refine one another, colour at half its resolution.
    const PROGRESSIVE: &str = "\
        /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT0\
        9PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wgARCAAeACwDASIAAhEBAxEB/8QAGQAAAwEBAQAAAAAAAAAAAAAAAgQFAQMA/8QAFgEBAQEAAAAAAAAAAAAAAAAA\
        AwQC/9oADAMBAAIQAxAAAAGkh3jwHVVzbFxs1n0HHaIH6aNWjApGdOf/xAAeEAADAAMAAwEBAAAAAAAAAAABAgMABBESEzEhIv/aAAgBAQABBQL4Gf8AVoAKbOTqxz20yzcHekISBEdDTQNsHuy2a6\
        eRoRNVLVb1qim69v8AddfGdmL0mBKZ7Zv4XP/EAB4RAAEDBAMAAAAAAAAAAAAAAAIAAQMEERMhEjEy/9oACAEDAQE/ATHITAyqccQsCG0YaFU3lzQ7ku/aqiufF9r/xAAgEQABAwIHAAAAAAAAAAAA\
        AAACAAEDESEEEhMiMTJh/9oACAECAQE/AcPDW6CMGe6YM3AptkaENMfUAU7L/8QAHBAAAQQDAQAAAAAAAAAAAAAAAAIRICEBEDES/9oACAEBAAY/AocOQvVJhQ6yk6cYcvI3k//EABwQAAICAwEBAA\
        AAAAAAAAAAAAABESEQUWExQf/aAAgBAQABPyFmrFV0IbVk4njgjI1pJs0xgtTvCC+C+BSEyLFAPg6IcUs1lo6x/9oADAMBAAIAAwAAABArW2MND//EABoRAQADAQEBAAAAAAAAAAAAAAEAETEhQVH/\
        2gAIAQMBAT8QfMQbVlWj37HSYK+ym0o8wJ//xAAaEQADAQADAAAAAAAAAAAAAAAAAREhMUFh/9oACAECAQE/EIKL7RfcPRYzliktqsKTsz//xAAbEAADAQADAQAAAAAAAAAAAAAAAREhMUGBcf/aAA\
        gBAQABPxBl4jHIqMGYaUD34NfDT4X0mOan2a6loL0w+Bh/mwdqTGoZZSLzBqHRl9ucMYIHuDtafbGSa4XZ6QWcbyWXBWFOMOz/2Q==";
    /// The same with a restart every other MCU.
    const RESTARTS: &str = "\
        /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT0\
        9PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAeACwDASIAAhEBAxEB/8QAGAAAAwEBAAAAAAAAAAAAAAAAAwUGAgT/xAAmEAABAwMDBAIDAAAAAAAAAAAB\
        AAMEAgUREhMhBjFBgRQiFTJx/8QAFgEBAQEAAAAAAAAAAAAAAAAABAMF/8QAIhEAAgEDBQADAQAAAAAAAAAAAQMCAAQRBRITITEjQVFh/90ABAAC/9oADAMBAAIRAxEAPwCkqIZY9JDKmUl7uu+9yd\
        pogFRxfrefwD5WFp9nuG40d6jctimPlVce5tst54Su5dSHVpoGVhmE663zlbas7FLmp4j2tdFsiEsy7pepC2tVRR6a/9AFvu0pyrNDRPpNTdbmOzJx/EdmVboDX0opqqCWyOoni6dqN9fHCRBHKcxX\
        1/aurbbIBiod/tB6lkHkAri6fgGQ8KiOMrV9JrfAPkqi6fj0R7eXcZOEKA4bYY9NH0w4XJ5r/9Fpcn2bdGxxqwpuO7KukrS1nTlDvMlyfc9knTTnCqrcwzabcHKKNVeO6WpIt1AkZkagsb7kTl3I0P\
        8AGRYEbdm1gnHYpM9fI9LhpZj6qB5wiv714kkvOYoB/VGHwog2RH1Y8rRQkRHydmpaqze7jnmRH14BX//Z";

    fn files() -> Vec<Vec<u8>> {
        let written = |grey: bool| {
            let mut out = vec![];
            let wave = |x: u32, y: u32| (128.0 + 100.0 * (f64::from(x + 2 * y) / 15.0).sin()) as u8;
            let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 90);
            if grey {
                let picture = image::GrayImage::from_fn(161, 125, |x, y| image::Luma([wave(x, y)]));
                encoder.encode(&picture, 161, 125, image::ExtendedColorType::L8).unwrap();
            } else {
                let picture = image::RgbImage::from_fn(161, 125, |x, y| image::Rgb([wave(x, y), wave(y, x), 9]));
                encoder.encode(&picture, 161, 125, image::ExtendedColorType::Rgb8).unwrap();
            }
            out
        };
        let kept = |text| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        vec![written(true), written(false), kept(PROGRESSIVE), kept(RESTARTS)]
    }

    /// Where the data of the first scan begins.
    fn scan_of(file: &[u8]) -> usize {
        marks(file).find(|m| m.0 == 0xDA).map(|(_, from, segment)| from + segment.len()).unwrap()
    }

    #[test]
    fn scans_that_hold_together_are_sound() {
        for file in files() {
            assert_eq!(damaged_from(&file), None);
        }
        for other in [&b"\x89PNG"[..], &[0xFF, 0xD8], &[0xFF, 0xD8, 0xFF, 0xDA, 0, 3, 1], &[]] {
            assert_eq!(damaged_from(other), None);
        }
    }

    #[test]
    fn what_lacks_or_is_overwritten_is_told() {
        for (k, file) in files().into_iter().enumerate() {
            let from = scan_of(&file);
            // Codes can come into step again with as many blocks as there should be.
            let mut random = fastrand::Rng::with_seed(5);
            let (mut lacks, mut overwritten) = (0, 0);
            for _ in 0..40 {
                let at = random.usize(from..file.len() - 26);
                let mut other = file.clone();
                other.drain(at..at + 9);
                let share = damaged_from(&other);
                assert!(share.is_none_or(|s| (0.0..=1.0).contains(&s)), "{k}: {share:?}");
                lacks += usize::from(share.is_some());
                let mut other = file.clone();
                random.fill(&mut other[at..at + 24]);
                overwritten += usize::from(damaged_from(&other).is_some());
            }
            // The last two are small: nine bytes of them are a few waves, or lie in a table of a later scan.
            let least = if k < 2 { [25, 32] } else { [14, 18] };
            assert!(lacks >= least[0] && overwritten >= least[1], "{k}: {lacks} and {overwritten} of 40");
        }
    }

    #[test]
    fn any_byte_may_be_wrong_without_a_panic() {
        for file in files() {
            for at in (2..file.len()).step_by(3) {
                for flip in [0x01, 0x80, 0xFF] {
                    let mut other = file.clone();
                    other[at] ^= flip;
                    let _ = damaged_from(&other);
                }
                let _ = damaged_from(&file[..at]);
            }
        }
    }
}
