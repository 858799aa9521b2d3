//! Random choices that a seed fixes for ever: SplitMix64 (Steele, Lea and Flood, 2014), so that a seed printed today
//! replays the same operations after any update of a dependency.

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream numbered `stream` of a seed. Streams of one seed are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        Self(mixed.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or(0)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several, which must not be none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of several words.
    pub fn word(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    /// One of several, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, from: &[(usize, T)]) -> T {
        let mut rest = self.below(from.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in from {
            if rest < *weight {
                return *what;
            }
            rest -= weight;
        }
        from[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut random = Random::new(1, 2);
        let numbers: Vec<usize> = (0..6).map(|_| random.below(1000)).collect();
        assert_eq!(numbers, Random::new(1, 2).taken());
        assert_ne!(numbers, Random::new(2, 2).taken());
        assert_ne!(numbers, Random::new(1, 3).taken());
    }

    impl Random {
        fn taken(mut self) -> Vec<usize> {
            (0..6).map(|_| self.below(1000)).collect()
        }
    }

    #[test]
    fn weights_are_kept() {
        let mut random = Random::new(7, 0);
        let picked: Vec<char> = (0..1000).map(|_| random.weighted(&[(9, 'a'), (1, 'b'), (0, 'c')])).collect();
        let count = |wanted| picked.iter().filter(|one| **one == wanted).count();
        assert!(count('b') > 50 && count('b') < 200, "{}", count('b'));
        assert_eq!(count('c'), 0);
    }
}
