//! The embedded control plane beside a real kube-apiserver: the same operations go to both, and the answers must agree.
//!
//! What flows in: a kubeconfig of a real cluster, a seed, a number of operations. What flows out: differences, each with the
//! shortest sequence of operations that shows it, in a file that can be replayed.
//!
//! | module | what it is |
//! |---|---|
//! | [`random`], [`kinds`], [`families`], [`generate`] | sequences of operations, fixed by the seed |
//! | [`operation`], [`memory`] | an operation as data; what it refers to |
//! | [`side`], [`prepare`], [`pair`] | the two servers, what they need, the same operation to both |
//! | [`normalise`], [`compare`], [`allowed`] | what is different, and what is meant to be |
//! | [`shrink`], [`recording`], [`report`] | short reproductions, kept as regression tests, told to people |
//!
//! Why against a real server: no description of its behaviour is as complete as the behaviour. What was found once is kept in
//! `regressions/` with the real answers, and is checked without a real server from then on.

pub mod allowed;
pub mod compare;
pub mod families;
pub mod generate;
pub mod kinds;
pub mod memory;
pub mod normalise;
pub mod operation;
pub mod pair;
pub mod prepare;
pub mod random;
pub mod recording;
pub mod report;
pub mod shrink;
pub mod side;
