//! Sets of small numbers as they stand in rows: which of the asset's findings a scan saw.
//!
//! A rescan writes its marks once as it comes and once folded, so they must be small: stable reports give runs, shuffled ones
//! give scattered numbers, dense blocks give bitmaps. The smallest of three forms is taken each time.

use super::codec::{Reader, Row, Writer};

/// How many ordinals a block has.
pub(super) const BLOCK: u32 = 4096;
/// The most findings that an asset may have; a scan that brings more is poison from there on.
pub(super) const MOST: usize = 1 << 24;
const WORDS: usize = BLOCK as usize / 64;

/// The block of an ordinal.
pub(super) fn block_of(ordinal: u32) -> u32 {
    ordinal / BLOCK
}

/// A set of ordinals of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Box<[u64; WORDS]>);

impl Default for Bits {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl Bits {
    /// By the ordinal's place in its block.
    pub fn has(&self, ordinal: u32) -> bool {
        let at = ordinal % BLOCK;
        self.0[at as usize / 64] & (1 << (at % 64)) != 0
    }

    pub fn insert(&mut self, ordinal: u32) {
        let at = ordinal % BLOCK;
        self.0[at as usize / 64] |= 1 << (at % 64);
    }

    pub fn remove(&mut self, ordinal: u32) {
        let at = ordinal % BLOCK;
        self.0[at as usize / 64] &= !(1 << (at % 64));
    }

    pub fn set(&mut self, ordinal: u32, is_in: bool) {
        if is_in {
            self.insert(ordinal);
        } else {
            self.remove(ordinal);
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(to, from)| *to |= from);
    }

    pub fn take_away(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(to, from)| *to &= !from);
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Places in the block, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                (left != 0).then(|| {
                    let bit = left.trailing_zeros();
                    left &= left - 1;
                    at as u32 * 64 + bit
                })
            })
        })
    }
}

impl Row for Bits {
    const TABLE: &'static str = "marks";

    fn write(&self, out: &mut Writer) {
        Ordinals(self.iter().collect()).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut bits = Self::default();
        for at in Ordinals::read(from)?.0 {
            (at < BLOCK).then(|| bits.insert(at))?;
        }
        Some(bits)
    }
}

/// Ordinals in ascending order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ordinals(pub Vec<u32>);

const RUNS: u8 = 0;
const RICE: u8 = 1;
const BITMAP: u8 = 2;

impl Ordinals {
    /// Of ordinals in any order.
    pub fn of(mut all: Vec<u32>) -> Self {
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// First and length of each run of neighbours.
    fn runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for ordinal in &self.0 {
            match runs.last_mut() {
                Some((first, len)) if *first + *len == *ordinal => *len += 1,
                _ => runs.push((*ordinal, 1)),
            }
        }
        runs
    }

    fn write_runs(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.byte(RUNS);
        let mut end = 0;
        out.list(&self.runs(), |out, (first, len)| {
            out.uint(u64::from(first - end));
            out.uint(u64::from(len - 1));
            end = first + len;
        });
        out.0
    }

    /// Gaps between members less one.
    fn gaps(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().scan(0, |next, ordinal| {
            let gap = ordinal - *next;
            *next = ordinal + 1;
            Some(gap)
        })
    }

    /// Golomb-Rice: of each gap the lowest k bits as they are and the rest in unary, which is within half a bit of the least for
    /// numbers that are scattered evenly.
    fn write_rice(&self) -> Option<Vec<u8>> {
        let (count, last) = (self.0.len() as u64, u64::from(*self.0.last()?));
        let k = (last / count).checked_ilog2().unwrap_or(0);
        let mut out = Writer::default();
        out.byte(RICE);
        out.uint(count);
        out.byte(k as u8);
        let mut bits = BitWriter { out: out.0, free: 0 };
        for gap in self.gaps() {
            (0..gap >> k).for_each(|_| bits.push(true));
            bits.push(false);
            (0..k).for_each(|bit| bits.push(gap >> bit & 1 == 1));
        }
        Some(bits.out)
    }

    fn write_bitmap(&self) -> Option<Vec<u8>> {
        let (first, last) = (*self.0.first()?, *self.0.last()?);
        let mut map = vec![0_u8; (last - first) as usize / 8 + 1];
        for ordinal in &self.0 {
            map[(ordinal - first) as usize / 8] |= 1 << ((ordinal - first) % 8);
        }
        let mut out = Writer::default();
        out.byte(BITMAP);
        out.uint(u64::from(first));
        out.slice(&map);
        Some(out.0)
    }
}

impl Row for Ordinals {
    const TABLE: &'static str = "seen";

    fn write(&self, out: &mut Writer) {
        let runs = self.write_runs();
        // What is mostly runs is smallest so, and needs no other try.
        let mut best = runs;
        if best.len() > 16 {
            let spread = self.0.last().zip(self.0.first()).map_or(0, |(last, first)| (last - first) as usize / 8);
            let bitmap = (spread < best.len()).then(|| self.write_bitmap()).flatten();
            let others = [bitmap, self.write_rice()].into_iter().flatten();
            best = others.fold(best, |best, other| if other.len() < best.len() { other } else { best });
        }
        out.0.extend(best);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.byte()? {
            RUNS => {
                let mut all = Vec::new();
                let mut end = 0_u32;
                from.list(|from| {
                    let first = end.checked_add(from.small()?)?;
                    let last = first.checked_add(from.small()?)?;
                    end = last.checked_add(1)?;
                    // A row that is cut or mixed up must not ask for all the memory there is.
                    (all.len() + (end - first) as usize <= MOST).then(|| all.extend(first..end))?;
                    Some(())
                })?;
                Some(Self(all))
            }
            RICE => read_rice(from),
            BITMAP => {
                let first = from.small()?;
                let map = from.slice()?;
                let set = map
                    .iter()
                    .zip(0_u32..)
                    .flat_map(|(byte, at)| (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit));
                set.map(|at| first.checked_add(at)).collect::<Option<_>>().map(Self)
            }
            _ => None,
        }
    }
}

fn read_rice(from: &mut Reader<'_>) -> Option<Ordinals> {
    let count = from.uint()?;
    let k = u32::from(from.byte()?);
    if k > 31 || count > from.0.len() as u64 * 8 {
        return None;
    }
    let mut bits = BitReader { bytes: from.0, at: 0 };
    let (mut all, mut next) = (Vec::with_capacity(count as usize), 0_u32);
    for _ in 0..count {
        let mut high = 0_u32;
        while bits.next()? {
            high = high.checked_add(1)?;
        }
        let mut low = 0;
        for bit in 0..k {
            low |= u32::from(bits.next()?) << bit;
        }
        let ordinal = next.checked_add(high.checked_mul(1 << k)?)?.checked_add(low)?;
        all.push(ordinal);
        next = ordinal.checked_add(1)?;
    }
    from.0 = &from.0[bits.at.div_ceil(8)..];
    Some(Ordinals(all))
}

struct BitWriter {
    out: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u8,
}

impl BitWriter {
    fn push(&mut self, bit: bool) {
        if self.free == 0 {
            self.out.push(0);
            self.free = 8;
        }
        if let Some(last) = self.out.last_mut() {
            *last |= u8::from(bit) << (8 - self.free);
        }
        self.free -= 1;
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn next(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets() -> impl Strategy<Value = Vec<u32>> {
        prop_oneof![
            proptest::collection::vec(any::<u32>().prop_map(|n| n / 2), 0..50),
            proptest::collection::vec(0_u32..5000, 0..2000),
            proptest::collection::vec(0_u32..1_000_000, 0..2000),
            (0_u32..10_000, 0_u32..5000).prop_map(|(first, len)| (first..first + len).collect()),
        ]
    }

    proptest! {
        #[test]
        fn a_set_comes_back_from_its_row(all in sets()) {
            let set = Ordinals::of(all);
            prop_assert_eq!(&Ordinals::parse(b"", &set.bytes()).unwrap(), &set);
            let mut bits = Bits::default();
            set.0.iter().for_each(|ordinal| bits.insert(*ordinal));
            prop_assert_eq!(Bits::parse(b"", &bits.bytes()).unwrap(), bits);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Ordinals::parse(b"", &bytes);
            let _ = Bits::parse(b"", &bytes);
        }
    }

    #[test]
    fn a_set_takes_the_smallest_form() {
        let run = Ordinals((1000..9000).collect());
        assert!(run.bytes().len() < 10);
        let scattered = Ordinals((0..5000).map(|n| n * 200 + n * 7919 % 190).collect::<Vec<_>>());
        let bytes = Ordinals::of(scattered.0).bytes().len();
        assert!(bytes <= 5000 * 5 / 4, "{bytes} bytes for 5000 of a million");
        let dense = Ordinals((0..4096).filter(|n| n % 3 != 0 && n % 5 != 0).collect());
        assert!(dense.bytes().len() <= 520);
    }
}
