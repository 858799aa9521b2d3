//! The agent against a real hub's log and real control planes, all in this process; receivers are real HTTP servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod dead_letters;
mod faults;
mod flow;
mod forward;
mod grants;
mod leading;
mod logs;
mod receiver;
mod world;
mod writes;
