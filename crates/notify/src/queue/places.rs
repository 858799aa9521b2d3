//! The places that all webhooks share: most requests at the same time, and who may take the last of them.
//!
//! Retries, and webhooks that have not shown that they answer quickly, may each take at most half. So neither a hundred receivers
//! that hang nor a backlog of retries can keep a healthy webhook's first attempts from starting.

/// What one webhook takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Requests under way.
    pub flying: usize,
    /// Of these, retries.
    pub retries: usize,
    /// Whether the webhook is unproven: not answered yet, failing, or slow.
    pub unproven: bool,
}

/// What a webhook may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// A first attempt.
    pub first: bool,
    /// A retry.
    pub retry: bool,
}

/// The places.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    flying: usize,
    retries: usize,
    unproven: usize,
}

impl Places {
    /// So many, all free.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(2), flying: 0, retries: 0, unproven: 0 }
    }

    /// A webhook's share changes.
    pub fn replace(&mut self, before: Weight, after: Weight) {
        let unproven = |weight: Weight| if weight.unproven { weight.flying } else { 0 };
        self.flying = self.flying + after.flying - before.flying;
        self.retries = self.retries + after.retries - before.retries;
        self.unproven = self.unproven + unproven(after) - unproven(before);
    }

    /// What a webhook may start now.
    pub fn room(&self, unproven: bool) -> Room {
        let half = self.most / 2;
        let first = self.flying < self.most && (!unproven || self.unproven < half);
        Room { first, retry: first && self.retries < half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unproven_and_the_retries_leave_half() {
        let mut places = Places::new(10);
        let hanging = Weight { flying: 5, retries: 0, unproven: true };
        places.replace(Weight::default(), hanging);
        assert_eq!(places.room(true), Room { first: false, retry: false });
        assert_eq!(places.room(false), Room { first: true, retry: true });
        let retrying = Weight { flying: 5, retries: 5, unproven: false };
        places.replace(hanging, Weight::default());
        places.replace(Weight::default(), retrying);
        assert_eq!(places.room(true), Room { first: true, retry: false });
        places.replace(Weight::default(), hanging);
        assert_eq!(places.room(false), Room { first: false, retry: false }, "all taken");
        places.replace(hanging, Weight { unproven: false, ..hanging });
        places.replace(retrying, Weight::default());
        assert_eq!(places.room(true), Room { first: true, retry: true }, "proven ones count for themselves");
    }
}
