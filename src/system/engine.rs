//! What all handles of one engine share.

use super::registry::Registry;
use super::shutdown::{StopObserver, Stopping};
use crate::lane::GateState;
use crate::metrics::Recording;
use crate::publish::DelayedCount;
use crate::route::{Control, Fabric};
use crate::sync::thread::{JoinHandle, ThreadId};
use crate::sync::{Arc, Condvar, Mutex};
use crate::worker::{
    Failing, Following, Letter, Phase, Stamps, Stash, WorkerSettings, WorkerShared,
};
use std::fmt;
use std::io;

/// A pool at run time.
#[derive(Debug)]
pub(crate) struct PoolRuntime {
    pub(crate) is_polled: bool,
    pub(crate) settings: WorkerSettings,
    /// Whose thread polls it, while there is a poller.
    pub(crate) poller: Mutex<Option<ThreadId>>,
    /// What the last poller left for the next.
    pub(crate) stash: Mutex<Option<Stash>>,
    /// Held while what nobody will handle is abandoned.
    pub(crate) burial: Mutex<()>,
}

impl PoolRuntime {
    pub(crate) fn new(is_polled: bool, settings: WorkerSettings) -> Self {
        Self {
            is_polled,
            settings,
            poller: Mutex::new(None),
            stash: Mutex::new(None),
            burial: Mutex::new(()),
        }
    }
}

/// A thread of ours.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) worker: usize,
    pub(crate) thread: JoinHandle<()>,
}

/// The engine.
pub(crate) struct Engine {
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) pools: Vec<PoolRuntime>,
    pub(crate) workers: Vec<Arc<WorkerShared>>,
    pub(crate) stamps: Stamps,
    pub(crate) failing: Failing,
    pub(crate) stop_observer: Option<StopObserver>,
    /// Held for the length of a change, so that changes take turns; never on a worker's thread.
    pub(crate) changes: Mutex<()>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) threads: Mutex<Vec<Started>>,
    /// What was read out of each worker's histograms so far.
    pub(crate) recordings: Mutex<Vec<Recording>>,
    pub(crate) stopping: Stopping,
    pub(crate) started: u64,
    /// Events that are published later.
    pub(crate) delayed: Arc<DelayedCount>,
    pub(crate) delayed_max: usize,
    /// The log that the workers follow, if there is one.
    pub(crate) following: Mutex<Option<Arc<Following>>>,
}

/// What an engine is made of.
pub(crate) struct EngineParts {
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) pools: Vec<PoolRuntime>,
    pub(crate) workers: Vec<Arc<WorkerShared>>,
    pub(crate) stamps: Stamps,
    pub(crate) failing: Failing,
    pub(crate) stop_observer: Option<StopObserver>,
    pub(crate) delayed_max: usize,
}

impl Engine {
    pub(crate) fn new(parts: EngineParts) -> Self {
        let recordings = parts.workers.iter().map(|_| Recording::default()).collect();
        Self {
            started: parts.fabric.clock.raw(),
            changes: Mutex::new(()),
            registry: Mutex::new(Registry::new(parts.pools.len())),
            threads: Mutex::new(Vec::new()),
            recordings: Mutex::new(recordings),
            stopping: Stopping::new(),
            fabric: parts.fabric,
            pools: parts.pools,
            workers: parts.workers,
            stamps: parts.stamps,
            failing: parts.failing,
            delayed: Arc::default(),
            delayed_max: parts.delayed_max,
            stop_observer: parts.stop_observer,
            following: Mutex::new(None),
        }
    }

    pub(crate) fn note_started(&self, worker: usize, thread: JoinHandle<()>) {
        self.threads.lock().push(Started { worker, thread });
    }

    /// Sends a letter to one worker. If that has ended meanwhile, the letter is answered here.
    pub(crate) fn send(&self, worker: usize, letter: Letter) {
        let port = &self.fabric.ports[worker];
        port.send(Control::Letter(Box::new(letter)), self.fabric.barrier);
        // Send, then look whether the worker has ended; the worker says that it has ended, then reads
        // once more. One of the two finds the letter.
        self.fabric.barrier.heavy();
        if self.workers[worker].phase() == Phase::Stopped {
            self.answer_for(worker);
        }
    }

    /// Answers the letters of a worker that has ended or that nobody runs. New lanes stay for the next one.
    pub(crate) fn answer_for(&self, worker: usize) {
        let port = &self.fabric.ports[worker];
        let mut kept = Vec::new();
        while let Some(control) = port.take_control() {
            match control {
                Control::Letter(letter) => match letter.downcast::<Letter>() {
                    Ok(letter) => {
                        if let Some(letter) = letter.answer_for_ended() {
                            kept.push(Control::Letter(Box::new(letter)));
                        }
                    }
                    Err(_) => unreachable!("a worker is sent letters only"),
                },
                Control::Attach(lane) => kept.push(Control::Attach(lane)),
                Control::Nudge => {}
            }
        }
        // What is for the next poller stays; of a thread that has ended there is no next one, and whoever
        // sent it looks whether the engine has ended.
        let pool = usize::from(self.workers[worker].id.pool);
        if self.pools[pool].is_polled && self.fabric.gate.state() != GateState::Shut {
            for control in kept {
                port.send(control, self.fabric.barrier);
            }
        } else {
            kept.retain(|control| matches!(control, Control::Attach(_)));
            for control in kept {
                port.send(control, self.fabric.barrier);
            }
        }
    }

    /// The workers that have somebody to run them: threads, and polled ones with a poller.
    pub(crate) fn is_manned(&self, worker: usize) -> bool {
        let pool = &self.pools[usize::from(self.workers[worker].id.pool)];
        if pool.is_polled {
            pool.poller.lock().is_some()
        } else {
            self.threads
                .lock()
                .iter()
                .any(|started| started.worker == worker)
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("pools", &self.fabric.pools)
            .finish_non_exhaustive()
    }
}

/// Tells the builder how a thread's start went.
#[derive(Debug)]
pub(crate) struct StartSignal {
    result: Mutex<Option<io::Result<()>>>,
    changed: Condvar,
}

impl StartSignal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            result: Mutex::new(None),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn give(&self, result: io::Result<()>) {
        *self.result.lock() = Some(result);
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut result = self.result.lock();
        loop {
            match result.take() {
                Some(result) => return result,
                None => self.changed.wait(&mut result),
            }
        }
    }
}
