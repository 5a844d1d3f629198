//! Keeping a view and its checkpoint somewhere, so that the next life of the process need not begin anew.

use crate::sync::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// Which part of a projection: the one that owns the keys whose hash, modulo `count`, is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition {
    /// 0 to `count` - 1.
    pub index: usize,
    /// 1 for a projection that is not partitioned.
    pub count: usize,
}

impl Partition {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, count: 1 };
}

/// Where views are kept with their checkpoints. The two belong together: what is loaded must be what was saved in one call.
///
/// Called on the projection's worker, with the view held for reading; of an inline projection, in the append. A save that
/// fails or panics is counted and told, and the projection goes on.
pub trait CheckpointStore<S>: Send + Sync + 'static {
    /// Keeps a view in which everything up to `position` is applied, in place of the one before.
    ///
    /// # Errors
    /// It could not be kept: the text says why.
    fn save(
        &self,
        projection: &str,
        partition: Partition,
        state: &S,
        position: u64,
    ) -> Result<(), String>;

    /// What was saved last, for as many partitions as there are now.
    ///
    /// # Errors
    /// It could not be read: the text says why.
    fn load(&self, projection: &str, partition: Partition) -> Result<Option<(S, u64)>, String>;

    /// Forgets what was saved: the view was reset.
    ///
    /// # Errors
    /// It could not be forgotten: the text says why.
    fn forget(&self, projection: &str, partition: Partition) -> Result<(), String>;
}

/// How often a view is saved: as soon as one of them is due. Every projection saves once more when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveEvery {
    pub(crate) events: Option<u64>,
    pub(crate) time: Option<Duration>,
}

impl SaveEvery {
    /// After so many records, filtered ones included.
    #[must_use]
    pub const fn events(events: u64) -> Self {
        Self {
            events: Some(events),
            time: None,
        }
    }

    /// So long after the first change that is not saved. A projection without changes does not wake up for it.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self {
            events: None,
            time: Some(time),
        }
    }

    /// Also so long after the first change that is not saved.
    #[must_use]
    pub const fn or_time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }
}

/// A [`CheckpointStore`] in memory: for tests, and for views that outlive their projection but not the process.
pub struct MemoryCheckpoints<S> {
    saved: Mutex<HashMap<(String, Partition), (S, u64)>>,
}

impl<S> MemoryCheckpoints<S> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            saved: Mutex::new(HashMap::new()),
        }
    }
}

impl<S> Default for MemoryCheckpoints<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + 'static> CheckpointStore<S> for MemoryCheckpoints<S> {
    fn save(
        &self,
        projection: &str,
        partition: Partition,
        state: &S,
        position: u64,
    ) -> Result<(), String> {
        let saved = (state.clone(), position);
        let key = (projection.to_owned(), partition);
        self.saved.lock().insert(key, saved);
        Ok(())
    }

    fn load(&self, projection: &str, partition: Partition) -> Result<Option<(S, u64)>, String> {
        let key = (projection.to_owned(), partition);
        Ok(self.saved.lock().get(&key).cloned())
    }

    fn forget(&self, projection: &str, partition: Partition) -> Result<(), String> {
        let key = (projection.to_owned(), partition);
        self.saved.lock().remove(&key);
        Ok(())
    }
}

impl<S> fmt::Debug for MemoryCheckpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCheckpoints")
            .field("saved", &self.saved.lock().len())
            .finish()
    }
}
