//! Sequences of operations: from a seed and a number, always the same ones.
//!
//! A sequence belongs to one family, with some operations of [`families::crud`] in between so that there is something to
//! meet. It lives in two namespaces of its own, so sequences do not disturb each other.

use crate::{
    families::{Family, crud},
    operation::Operation,
    random::Random,
};

/// Some operations that belong together.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Its number under the seed.
    pub number: u64,
    /// Its family.
    pub family: &'static str,
    /// In order.
    pub operations: Vec<Operation>,
}

/// The sequence numbered `number` of a seed: `length` operations or a few more.
pub fn sequence(seed: u64, number: u64, families: &[&'static Family], length: usize) -> Sequence {
    let mut random = Random::new(seed, number);
    let choices: Vec<(usize, &'static Family)> = families.iter().map(|family| (family.weight, *family)).collect();
    let family = random.weighted(&choices);
    let mut operations = Vec::new();
    while operations.len() < length {
        let make = if random.chance(family.mixed) { crud::make } else { family.make };
        operations.extend(make(&mut random).into_iter().map(Operation::patient));
    }
    Sequence { number, family: family.name, operations }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::FAMILIES;

    #[test]
    fn a_seed_and_a_number_fix_a_sequence() {
        let all: Vec<&Family> = FAMILIES.iter().collect();
        for number in 0..20 {
            let [one, again, other] = [(1, number), (1, number), (2, number)]
                .map(|(seed, number)| sequence(seed, number, &all, 30).operations);
            assert_eq!(one, again);
            assert_ne!(one, other);
            assert!(one.len() >= 30);
        }
    }

    #[test]
    fn every_family_makes_operations() {
        for family in &FAMILIES {
            let made = sequence(1, 1, &[family], 200);
            assert_eq!(made.family, family.name);
            assert!(made.operations.iter().all(|operation| operation.path.starts_with('/')), "{}", family.name);
        }
    }
}
