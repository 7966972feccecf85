//! Normalises rows on their way from mapped shards to a batch, and back in place.

pub mod gather;
pub mod log_variance;
pub mod loops;
pub mod nontemporal;
pub mod normalizer;
