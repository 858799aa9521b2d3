//! Tests of the local log as a whole: what was acknowledged is there, once, in order, whatever happens.

mod basics;
mod full;
mod support;
