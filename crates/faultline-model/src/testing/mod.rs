//! What the tests and benchmarks of all rooms share: records of every topic, and an organisation of any size with known truth. Behind
//! feature `testing`; no service is built with it.

pub mod records;
pub mod scale;
