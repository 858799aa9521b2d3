//! End-to-end tests: the real binary, real clients, a real registry. One program, so that it links once.

mod e2e_parts;
