//! Dry runs of everything: the answer of a real run, and nothing done.

use super::{Make, Subject, crud, deletion, invalid, patches, scaling};
use crate::{operation::Operation, random::Random};

const MAKES: [Make; 5] = [crud::make, patches::make, scaling::make, invalid::make, deletion::make];

/// The next operations: most of another family, each write a dry run; then what is really there.
pub fn make(random: &mut Random) -> Vec<Operation> {
    if random.chance(30) {
        return vec![Subject::any(random).create(random)];
    }
    let make = random.pick(&MAKES);
    let parameter = random.weighted(&[(12, "dryRun=All"), (1, "dryRun=Odd"), (1, "dryRun=All&dryRun=All")]);
    let dry = |operation: Operation| match operation.method.as_str() {
        "GET" => operation,
        // A generated name would be another one on each side, and nothing could refer to it.
        _ => operation.with(parameter),
    };
    make(random).into_iter().map(dry).collect()
}
