//! Tests of the log as a whole: what went in comes out, whatever happens to the disk.

mod any_bytes;
mod crash;
mod faults;
mod fuzz;
mod group_commit;
mod numbered;
mod object;
mod round_trip;
mod support;
