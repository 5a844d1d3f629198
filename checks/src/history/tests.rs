//! The judge before tampered histories.
