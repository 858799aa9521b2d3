//! Makes a failing sequence short: drops operations as long as the difference remains.
//!
//! In: operations, and a question that plays some of them. Out: a sequence of which no single operation can be left out.

use crate::operation::Operation;

/// How many times a sequence may be played while it is made shorter.
const TRIES: usize = 60;

/// The shortest sequence found for which `fails` still says yes. `operations` itself must fail.
pub async fn shrink(
    mut operations: Vec<Operation>,
    mut fails: impl AsyncFnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    // Most differences need nothing but the request that shows them.
    if let Some(last) = operations.last().cloned().filter(|_| operations.len() > 1)
        && fails(std::slice::from_ref(&last)).await
    {
        return vec![last];
    }
    let mut tries = 0;
    let mut size = operations.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        let mut dropped = false;
        while from < operations.len() && tries < TRIES {
            let end = (from + size).min(operations.len());
            let candidate = [&operations[..from], &operations[end..]].concat();
            tries += 1;
            if !candidate.is_empty() && fails(&candidate).await {
                operations = candidate;
                dropped = true;
            } else {
                from = end;
            }
        }
        if tries >= TRIES {
            break;
        }
        // At the size of one: again until nothing more can go.
        size = if size == 1 && dropped { 1 } else { size / 2 };
    }
    operations
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(names: &[u8]) -> Vec<Operation> {
        names.iter().map(|name| Operation::get(name.to_string())).collect()
    }

    proptest! {
        /// What is needed remains, in its order, and nothing else.
        #[test]
        fn only_what_is_needed_remains(all in prop::collection::vec(0_u8..20, 1..24), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
            let mut places: Vec<usize> = picks.iter().map(|pick| pick.index(all.len())).collect();
            places.sort_unstable();
            places.dedup();
            let needed = named(&places.iter().map(|at| all[*at]).collect::<Vec<_>>());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let contains = |found: &[Operation]| {
                let mut rest = found.iter();
                needed.iter().all(|one| rest.any(|other| other == one))
            };
            let found = runtime.block_on(shrink(named(&all), async |candidate: &[Operation]| contains(candidate)));
            prop_assert_eq!(found, needed);
        }
    }
}
