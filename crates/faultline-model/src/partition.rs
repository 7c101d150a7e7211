//! Which partition a key belongs to: Kafka's murmur2, so that a Java, Python or Go producer puts a record where we would.
//!
//! A key of two parts (`service`, `risk id`) is written with [`SEPARATOR`] between them; only the first part chooses.

/// Between the parts of a key: ASCII unit separator, which stands in no canonical name.
pub const SEPARATOR: char = '\u{1f}';

/// The partition of a record key, by its first part, as Kafka's default partitioner has it for that part alone.
pub fn partition(key: &str, partitions: u32) -> u32 {
    (murmur2(first_part(key).as_bytes()) & 0x7fff_ffff) % partitions
}

/// The part of a key that chooses its partition.
pub fn first_part(key: &str) -> &str {
    key.split(SEPARATOR).next().unwrap_or(key)
}

/// 32-bit murmur2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Kafka's own test, `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_are_those_of_kafka() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn only_the_first_part_chooses() {
        for second in ["", "a", "b"] {
            assert_eq!(partition(&format!("shop{SEPARATOR}{second}"), 12), partition("shop", 12));
        }
    }
}
