//! Where a walk through the log begins.

/// Where to begin; always behind what is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the first record that is kept.
    #[default]
    Start,
    /// With what is appended from now on.
    End,
    /// With the record behind this position: a checkpoint's.
    After(u64),
}
