//! Putting a report together while everything runs, and the worker of a polled pool.

use super::engine::Engine;
use crate::event::Class;
use crate::handler::SubscriptionShared;
use crate::lane::{CLASS_COUNT, GateState, Inbox};
use crate::metrics::{
    CallReport, ClassReport, DeliveryCounts, LaneKind, LaneReport, Latency, Report, StampsKind,
    SubscriptionReport, WakeKind, WorkerReport, WorkerState,
};
use crate::sync::{Arc, Barrier};
use crate::worker::{Phase, Stamps, Worker};

impl Engine {
    /// Moves what the workers have recorded since the last time into the totals.
    fn collect(&self) {
        let mut recordings = self.recordings.lock();
        for (worker, total) in self.workers.iter().zip(recordings.iter_mut()) {
            worker.recorder.read(|recorder| recorder.move_to(total));
        }
    }

    /// Sums up withdrawn subscriptions whose workers have answered, and frees their places.
    pub(crate) fn collect_gone(&self) {
        let complete: Vec<u64> = {
            let registry = self.registry.lock();
            let complete = registry
                .leaving
                .iter()
                .filter(|(_, answer)| answer.is_complete());
            complete.map(|(shared, _)| shared.id).collect()
        };
        if complete.is_empty() {
            return;
        }
        // After the answers: what the workers recorded for these is here then.
        self.collect();
        // From one list to the other in one step, so that no report finds them in neither (OB1).
        let mut registry = self.registry.lock();
        let complete: Vec<_> = registry
            .leaving
            .extract_if(.., |(shared, _)| complete.contains(&shared.id))
            .collect();
        for (shared, _) in complete {
            let handler = self.take_handler_times(&shared);
            registry.gone_counts.add(&shared.totals());
            registry.gone_handler.merge(&handler);
            registry.free_place(shared.pool, shared.place);
        }
    }

    /// Handler times of one subscription over its workers; taken out, as the place is given away.
    fn take_handler_times(&self, shared: &SubscriptionShared) -> Latency {
        let mut recordings = self.recordings.lock();
        let mut times = Latency::with_digits(2);
        for worker in self.fabric.pools[shared.pool].workers() {
            if let Some(place) = recordings[worker].handlers.get_mut(shared.place) {
                times.merge(&std::mem::take(place).to_latency());
            }
        }
        times
    }

    fn handler_times(&self, shared: &SubscriptionShared) -> Latency {
        let recordings = self.recordings.lock();
        let mut times = Latency::with_digits(2);
        for worker in self.fabric.pools[shared.pool].workers() {
            if let Some(histogram) = recordings[worker].handlers.get(shared.place) {
                times.merge(&histogram.to_latency());
            }
        }
        times
    }

    /// All deliveries of the engine's life.
    pub(crate) fn delivery_totals(&self) -> DeliveryCounts {
        let registry = self.registry.lock();
        let mut totals = registry.gone_counts;
        for shared in &registry.alive {
            totals.add(&shared.totals());
        }
        for (shared, _) in &registry.leaving {
            totals.add(&shared.totals());
        }
        totals
    }

    /// The report of this moment.
    pub(crate) fn report(&self) -> Report {
        self.collect_gone();
        self.collect();
        let clock = &self.fabric.clock;
        let now = clock.raw();
        let published = self.fabric.totals();
        let unhandled: u64 = self.workers.iter().map(|worker| worker.unhandled()).sum();
        let (alive, totals, mut handler) = {
            let registry = self.registry.lock();
            let mut totals = registry.gone_counts;
            for (shared, _) in &registry.leaving {
                totals.add(&shared.totals());
            }
            (
                registry.alive.clone(),
                totals,
                registry.gone_handler.clone(),
            )
        };
        let mut totals = totals;
        let subscriptions: Vec<SubscriptionReport> = alive
            .iter()
            .map(|shared| {
                let counts = shared.totals();
                let times = self.handler_times(shared);
                totals.add(&counts);
                handler.merge(&times);
                SubscriptionReport {
                    id: shared.id,
                    name: shared.name.clone(),
                    pool: self.fabric.pools[shared.pool].name.clone(),
                    events: shared.events.iter().map(|event| event.name).collect(),
                    counts,
                    attempts: shared.attempts(),
                    handler: times,
                }
            })
            .collect();
        let classes = self.class_reports();
        let mut queue_wait = Latency::new();
        let mut end_to_end = Latency::new();
        for class in &classes {
            queue_wait.merge(&class.queue_wait);
            end_to_end.merge(&class.end_to_end);
        }
        Report {
            elapsed_ns: clock.delta_ns(self.started, now),
            published: published.published,
            dropped: published.dropped,
            unhandled: published.unhandled + unhandled,
            totals,
            subscriptions,
            lanes: self.lane_reports(),
            workers: self
                .workers
                .iter()
                .map(|worker| WorkerReport {
                    pool: self.fabric.pools[usize::from(worker.id.pool)].name.clone(),
                    worker: worker.id.index,
                    state: match worker.phase() {
                        Phase::Polling | Phase::Ending => WorkerState::Running,
                        Phase::InBatch => WorkerState::InHandler,
                        Phase::Parked => WorkerState::Parked,
                        Phase::Stopped => WorkerState::Stopped,
                    },
                    call: worker.call().map(|(id, since)| {
                        let since_ns = clock.delta_ns(since, now);
                        let limit = alive
                            .iter()
                            .find(|shared| shared.id == id)
                            .and_then(|shared| shared.policies.timeout);
                        CallReport {
                            subscription: id,
                            name: name_of(&alive, id),
                            since_ns,
                            is_over_limit: limit
                                .is_some_and(|limit| u128::from(since_ns) > limit.after.as_nanos()),
                        }
                    }),
                    held_back_by: worker.held_back_by().map(|id| name_of(&alive, id)),
                    age_ns: clock.delta_ns(worker.recorded(), now),
                    taken: worker.taken(),
                })
                .collect(),
            classes,
            stamps: match self.stamps {
                Stamps::Adaptive => StampsKind::Adaptive,
                Stamps::Each => StampsKind::Each,
                Stamps::Sampled => StampsKind::Sampled,
            },
            wake: match (self.fabric.has_bell, self.fabric.barrier) {
                (false, _) => WakeKind::Spin,
                (true, Barrier::Asymmetric) => WakeKind::Asymmetric,
                (true, Barrier::Fence) => WakeKind::Fence,
            },
            queue_wait,
            handler,
            end_to_end,
        }
    }

    fn class_reports(&self) -> Vec<ClassReport> {
        let recordings = self.recordings.lock();
        let mut reports = Vec::new();
        for pool in &self.fabric.pools {
            for class in Class::ALL {
                let mut queue_wait = Latency::new();
                let mut end_to_end = Latency::new();
                for worker in pool.workers() {
                    if let Some(times) = &recordings[worker].classes[class.index()] {
                        queue_wait.merge(&times.queue_wait.to_latency());
                        end_to_end.merge(&times.end_to_end.to_latency());
                    }
                }
                if !end_to_end.is_empty() {
                    reports.push(ClassReport {
                        pool: pool.name.clone(),
                        class,
                        queue_wait,
                        end_to_end,
                    });
                }
            }
        }
        reports
    }

    fn lane_reports(&self) -> Vec<LaneReport> {
        let mut reports = Vec::new();
        for worker in &self.workers {
            let pool = &self.fabric.pools[usize::from(worker.id.pool)].name;
            for lane in worker.lanes.lock().iter() {
                reports.push(LaneReport {
                    pool: pool.clone(),
                    worker: worker.id.index,
                    class: lane.class,
                    kind: if lane.from_worker {
                        LaneKind::Worker
                    } else {
                        LaneKind::Publisher
                    },
                    depth: lane.stats.depth(),
                    capacity: lane.stats.capacity(),
                    taken: lane.stats.taken(),
                    full_count: lane.stats.full_count(),
                });
            }
            for class in Class::ALL {
                if let Some(inbox) = self.fabric.ports[worker.index].used_inbox(class.index()) {
                    let kind = LaneKind::Inbox;
                    reports.push(queue_report(pool, worker.id.index, class, kind, inbox));
                }
            }
        }
        for pool in &self.fabric.pools {
            let Some(queues) = &pool.shared else { continue };
            for class in Class::ALL {
                if let Some(queue) = queues[class.index()].get() {
                    reports.push(queue_report(&pool.name, 0, class, LaneKind::Shared, queue));
                }
            }
        }
        debug_assert!(Class::ALL.len() == CLASS_COUNT);
        reports
    }

    /// The worker of a polled pool, with what its last poller left.
    pub(crate) fn make_worker(&self, pool: usize) -> Worker {
        let index = self.fabric.pools[pool].first as usize;
        Worker::resume(
            Arc::clone(&self.fabric),
            Arc::clone(&self.workers[index]),
            self.pools[pool].settings.clone(),
            self.failing.clone(),
            self.pools[pool].stash.lock().take(),
        )
    }

    /// Keeps what a poller leaves for the next one, and frees its place.
    pub(crate) fn put_down(&self, pool: usize, worker: Worker) {
        let index = self.fabric.pools[pool].first as usize;
        let (stash, stop) = worker.put_down();
        {
            // The next poller waits for this to be over.
            let mut poller = self.pools[pool].poller.lock();
            *self.pools[pool].stash.lock() = Some(stash);
            *poller = None;
            self.workers[index].set_phase(Phase::Stopped);
            // A letter that was sent meanwhile is found here, or by its sender, who looks at the phase.
            self.fabric.barrier.heavy();
            self.answer_for(index);
        }
        // Whoever stops the engine may have looked before, and given this worker up: then nobody else does it.
        if self.fabric.gate.state() == GateState::Shut {
            self.abandon_unmanned(pool);
        }
        // Only now: whoever stops the engine finds the place free, and abandons what was left.
        if let Some(stop) = stop {
            stop.give(Ok(()));
        }
    }

    /// At the end: a polled pool without a poller abandons what waits in it.
    pub(crate) fn abandon_unmanned(&self, pool: usize) {
        // One at a time: each makes a worker of the same place.
        let _turn = self.pools[pool].burial.lock();
        let mut worker = self.make_worker(pool);
        for shared in &self.registry.lock().alive {
            if shared.pool == pool {
                worker.enlist(shared);
            }
        }
        worker.end();
    }
}

/// A subscription's name; its number, if it was withdrawn meanwhile.
fn name_of(alive: &[Arc<SubscriptionShared>], id: u64) -> String {
    alive
        .iter()
        .find(|shared| shared.id == id)
        .map_or_else(|| format!("number {id}"), |shared| shared.name.clone())
}

fn queue_report<T>(
    pool: &str,
    worker: u16,
    class: Class,
    kind: LaneKind,
    queue: &Inbox<T>,
) -> LaneReport {
    LaneReport {
        pool: pool.to_owned(),
        worker,
        class,
        kind,
        depth: queue.depth(),
        capacity: queue.capacity() as u64,
        taken: queue.taken(),
        full_count: queue.full_count(),
    }
}
