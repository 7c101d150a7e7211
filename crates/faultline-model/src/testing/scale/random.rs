//! Numbers that look random and are a function of what they are drawn for, so that any part can be made without the parts before it.

/// A number for a seed and a purpose: SplitMix64 over the parts (Steele, Lea, Flood 2014).
pub(super) fn draw(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mixed(seed), |state, part| mixed(state ^ mixed(*part)))
}

fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The entry of a table that a number stands for.
pub(super) fn pick<T: Copy>(table: &[T], number: u64) -> T {
    table[(number % table.len() as u64) as usize]
}

/// Puts a list into an order that is a function of the seed (Fisher and Yates).
pub(super) fn shuffle<T>(list: &mut [T], seed: u64) {
    for end in (1..list.len()).rev() {
        list.swap(end, (draw(seed, &[end as u64]) % (end as u64 + 1)) as usize);
    }
}

/// Text of at least so many bytes, in words, ending in a full stop; the same for the same number.
pub(super) fn prose(number: u64, bytes: usize) -> String {
    const WORDS: [&str; 32] = [
        "the",
        "request",
        "value",
        "reaches",
        "a",
        "sink",
        "without",
        "validation",
        "so",
        "that",
        "an",
        "attacker",
        "who",
        "controls",
        "it",
        "may",
        "read",
        "or",
        "change",
        "data",
        "of",
        "other",
        "users",
        "when",
        "service",
        "runs",
        "with",
        "default",
        "configuration",
        "and",
        "no",
        "encoding",
    ];
    let mut text = String::with_capacity(bytes + 16);
    let mut bits = 0;
    for at in 0.. {
        if at % 12 == 0 {
            bits = draw(number, &[at]);
        }
        text.push_str(pick(&WORDS, bits & 31));
        bits >>= 5;
        if text.len() >= bytes {
            break;
        }
        text.push(' ');
    }
    text.push('.');
    text
}
