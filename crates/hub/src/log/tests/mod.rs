//! Tests of the local log as a whole: what was acknowledged is there, once, in order, whatever happens.

mod backup;
mod basics;
mod damage;
mod full;
mod kill;
mod model;
mod retention;
mod slow;
mod support;
