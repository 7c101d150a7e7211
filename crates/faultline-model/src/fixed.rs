//! Logarithms and roll-ups in integers, the same on every machine.

/// Fraction bits of a fixed-point logarithm.
const FRACTION_BITS: u32 = 16;
/// One, in the fixed point of [`log2`].
pub const ONE: i64 = 1 << FRACTION_BITS;

/// `log2(value)` in units of 1/65536, rounded down. `value` must not be 0.
///
/// The whole part is the highest bit; each further bit comes from squaring the mantissa (Knuth, TAOCP 1.2.2, exercise 25).
pub fn log2(value: u64) -> i64 {
    assert!(value > 0, "the logarithm of zero is asked for");
    let whole = value.ilog2();
    // The mantissa in [1, 2), with 63 fraction bits.
    let mut mantissa = u128::from(value) << (63 - whole);
    let mut result = i64::from(whole) << FRACTION_BITS;
    for bit in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >= 1 << 64 {
            mantissa >>= 1;
            result |= 1 << bit;
        }
    }
    result
}

/// `2^(score / 100)` with 20 fraction bits, for scores of 0 to 1000: the loss that a score stands for.
///
/// Sums of these are exact integers, so a roll-up does not depend on the order of its parts. 2^10 × 2^20 leaves room for
/// eight thousand million parts in a `u64`.
pub fn loss(score: u16) -> u64 {
    const HUNDREDTHS: [u64; 100] = hundredths();
    let score = u64::from(score.min(1000));
    HUNDREDTHS[(score % 100) as usize] << (score / 100)
}

/// The score whose loss is nearest below the sum: `100 × log2(Σ 2^(s/100))`, rounded to the nearest point. 0 for no loss.
pub fn roll_up(losses: u64) -> u32 {
    if losses == 0 {
        return 0;
    }
    let exponent = log2(losses) - 20 * ONE;
    ((exponent * 100 + ONE / 2).max(0) >> FRACTION_BITS) as u32
}

/// `round(2^(n / 100) × 2^20)` for n of 0 to 99, by repeated multiplication with 2^(1/100) at 62 fraction bits.
const fn hundredths() -> [u64; 100] {
    // 2^(1/100) with 62 fraction bits (1.006955550056718808832698…).
    const STEP: u128 = 4_643_762_831_374_429_860;
    let mut table = [0; 100];
    let mut value: u128 = 1 << 62;
    let mut n = 0;
    while n < 100 {
        table[n] = ((value + (1 << 41)) >> 42) as u64;
        value = (value * STEP + (1 << 61)) >> 62;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_floating_point_to_the_last_bit_but_one() {
        for value in (1_u64..5000).chain([u64::MAX, 1 << 40, 999_999_999_999]) {
            let exact = (value as f64).log2() * ONE as f64;
            assert!((log2(value) as f64 - exact).abs() <= 2.0, "{value}: {} against {exact}", log2(value));
        }
    }

    #[test]
    fn losses_agree_with_floating_point() {
        for score in 0..=1000_u16 {
            let exact = (f64::from(score) / 100.0).exp2() * f64::from(1 << 20);
            let relative = (loss(score) as f64 - exact).abs() / exact;
            assert!(relative < 1e-6, "{score}: {} against {exact}", loss(score));
        }
    }

    #[test]
    fn two_equal_risks_are_one_with_a_hundred_points_more() {
        for score in 0..=900_u16 {
            assert_eq!(roll_up(loss(score)), u32::from(score));
            assert_eq!(roll_up(2 * loss(score)), u32::from(score) + 100);
        }
        assert_eq!(roll_up(0), 0);
    }
}
