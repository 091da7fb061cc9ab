//! Counts to a multiple of a base.

/// The multiple of `base` nearest to a count, upwards from the middle; the count itself for a base of 0 or 1. Counts from 1 on do not become 0.
pub fn round_to(count: u64, base: u64) -> u64 {
    if base < 2 || count == 0 {
        return count;
    }
    ((count.saturating_add(base / 2)) / base).max(1).saturating_mul(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_to_the_nearest_multiple() {
        let rounded = [0, 1, 2, 3, 7, 8, 12, 13].map(|count| round_to(count, 5));
        assert_eq!(rounded, [0, 5, 5, 5, 5, 10, 10, 15]);
        assert_eq!((round_to(17, 0), round_to(17, 1)), (17, 17));
    }
}
