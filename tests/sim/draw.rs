//! From a seed to a run: its settings and its actions.
//!
//! Change anything here and every seed is another run. What a seed once found is therefore kept as the list of actions
//! that is left when it has been cut down (`found/`), not as the seed.

use crate::action::{
    Action, Aside, Batch, Breaks, By, Doing, End, Full, Fuse, Hand, Item, NoRoom, Script, Setup,
    Sort, Stop, Style, Subscribe,
};
use crate::random::Random;

/// Generations of children that an event from outside may have.
const HOPS: usize = 3;

/// What decides about a run and is no setting of its engine.
struct Draw {
    random: Random,
    pools: usize,
    /// Percent of calls, drops and keys that panic.
    traps: usize,
    /// Whether a handler may stop the engine.
    stops_inside: bool,
    has_policies: bool,
    /// Percent of calls that fail.
    fails: usize,
}

impl Script {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let traps = random.pick(&[0, 5, 20]);
        let setup = Setup {
            pools: random.between(1, 4),
            lane_capacity: random.pick(&[1, 1, 2, 3, 8]),
            inbox_capacity: random.pick(&[1, 1, 2, 5]),
            spill_max: random.pick(&[1, 2, 5, 40]),
            batch_max: random.between(1, 9),
            starvation_limit: random.between(6, 24),
            no_handler_is_error: random.percent(50),
            lossy: (0..4).filter(|_| random.percent(30)).collect(),
            stamps_each: random.percent(30),
            is_calm: random.percent(30),
            traps_stopped: random.percent(traps),
            has_policies: random.percent(70),
            letters: random.pick(&[0, 1, 4, 12, 1_000]),
            overflow: random.pick(&[Full::Pause, Full::Pause, Full::Evict, Full::Refuse]),
            fuse: fuse(&mut random),
            traps_letters: random.percent(traps),
            plant: None,
        };
        let mut draw = Draw {
            pools: setup.pools,
            stops_inside: random.percent(10),
            has_policies: setup.has_policies,
            fails: if setup.has_policies {
                random.pick(&[10, 30, 50])
            } else {
                20
            },
            traps,
            random,
        };
        let actions = draw.actions();
        Self { setup, actions }
    }
}

fn fuse(random: &mut Random) -> Fuse {
    let window = random.between(1, 6);
    Fuse {
        window: window as u8,
        minimum: random.between(1, window) as u8,
        permits: random.between(1, 3) as u8,
        wait_ns: random.pick(&[1, 2_000, 30_000]),
        on_open: aside(random),
    }
}

fn aside(random: &mut Random) -> Aside {
    random.pick(&[
        Aside::Wait,
        Aside::Wait,
        Aside::Wait,
        Aside::Letter,
        Aside::Skip,
    ])
}

impl Draw {
    fn number(&mut self, end: usize) -> u8 {
        self.random.below(end) as u8
    }

    fn actions(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for pool in 0..self.pools {
            if self.random.percent(80) {
                actions.push(Action::Man(pool as u8));
            }
        }
        for _ in 0..self.random.between(1, 6) {
            actions.push(self.subscribe());
        }
        let length = self.random.between(20, 400);
        while actions.len() < length {
            self.some(&mut actions);
        }
        match self.random.below(12) {
            // Polled until nothing waits, and then stopped.
            0..4 => {}
            4 => {
                let at = self.random.below(actions.len());
                actions.insert(at, self.stop());
            }
            _ => actions.push(self.stop()),
        }
        actions
    }

    fn stop(&mut self) -> Action {
        Action::Stop(self.random.pick(&Stop::ALL))
    }

    /// What there is to do about what fails.
    fn about_failing(&mut self) -> Action {
        match self.random.below(100) {
            0..35 => Action::Advance(self.random.below(60_000) as u32),
            35..50 => Action::Later {
                item: self.item(1),
                after_ns: self.random.pick(&[0, 500, 20_000, 90_000]),
            },
            50..55 => Action::Recall(self.number(8)),
            55..72 => Action::Redeliver(self.number(12)),
            72..78 => Action::RedeliverAll,
            78..80 => Action::Cancel(self.number(6)),
            80..86 => Action::Discard(self.number(12)),
            86..88 => Action::DiscardAll,
            _ => Action::Fuse {
                place: self.number(3),
                hand: self
                    .random
                    .pick(&[Hand::ForceOpen, Hand::Reset, Hand::Reset, Hand::Disable]),
            },
        }
    }

    fn some(&mut self, actions: &mut Vec<Action>) {
        if self.has_policies && self.random.percent(15) {
            let action = self.about_failing();
            actions.push(action);
            return;
        }
        let pool = self.number(self.pools);
        let action = match self.random.below(1_000) {
            0..380 => {
                for _ in 0..self.random.between(0, 5) {
                    let item = self.item(HOPS);
                    actions.push(Action::Publish(item));
                }
                Action::Publish(self.item(HOPS))
            }
            380..430 => Action::Batch(self.batch()),
            430..800 => Action::Poll {
                pool,
                batches: self.random.between(1, 3) as u8,
            },
            800..840 => self.subscribe(),
            840..865 => Action::Withdraw(self.number(40)),
            865..875 => return self.storm(actions),
            875..890 => Action::Unman(pool),
            890..910 => Action::Man(pool),
            910..945 => Action::Renew(self.number(3)),
            945..975 => Action::Count,
            975..977 => Action::Report,
            _ => Action::Advance(self.random.below(20_000) as u32),
        };
        actions.push(action);
    }

    /// Most subscriptions go one behind the other, while more is published, and others come.
    fn storm(&mut self, actions: &mut Vec<Action>) {
        for place in 0..self.random.between(4, 24) {
            actions.push(Action::Withdraw(place as u8));
            if self.random.percent(30) {
                let item = self.item(HOPS);
                actions.push(Action::Publish(item));
            }
            if self.random.percent(20) {
                let comes = self.subscribe();
                actions.push(comes);
            }
        }
    }

    fn subscribe(&mut self) -> Action {
        Action::Subscribe(Subscribe {
            sort: self
                .random
                .pick(&[Sort::ByRef, Sort::ByRef, Sort::ByValue, Sort::Factory]),
            kind: self.number(5),
            pool: self.number(self.pools),
            traps_state: self.random.percent(self.traps),
            attempts: self.random.pick(&[1, 2, 3, 4]),
            delay_ns: self.random.pick(&[0, 0, 700, 20_000]),
            held_max: self.random.pick(&[0, 0, 0, 1, 4, 12]),
            when_full: self.random.pick(&[Aside::Wait, Aside::Letter, Aside::Skip]),
            breaks: self
                .random
                .pick(&[Breaks::Never, Breaks::Never, Breaks::Shared, Breaks::Own]),
            fuse: fuse(&mut self.random),
            is_sequential: self.random.percent(35),
            without_letters: self.random.percent(15),
        })
    }

    fn key(&mut self, none_percent: usize) -> Option<u8> {
        (!self.random.percent(none_percent)).then(|| self.number(3))
    }

    fn item(&mut self, hops: usize) -> Item {
        let in_handler = hops < HOPS;
        let by = if in_handler {
            &[By::Handle, By::Publisher, By::Context, By::Context][..]
        } else {
            &[By::Handle, By::Publisher, By::Publisher]
        };
        let admission = if in_handler && self.random.percent(30) {
            NoRoom::Block
        } else {
            let no_room = [NoRoom::Lossy, NoRoom::BlockFor, NoRoom::Fail];
            self.random.pick(&no_room)
        };
        Item {
            by: self.random.pick(by),
            place: self.number(3),
            kind: self.number(5),
            key: self.key(25),
            class: self.number(4),
            style: self
                .random
                .pick(&[Style::With, Style::With, Style::Try, Style::Tracked]),
            admission,
            traps_key: self.random.percent(self.traps / 4),
            traps_drop: self.random.percent(self.traps),
            doings: self.doings(hops),
        }
    }

    fn batch(&mut self) -> Batch {
        let length = self.random.pick(&[0, 1, 3, 10, 70]);
        let some = |draw: &mut Self| {
            (length > 0 && draw.random.percent(draw.traps)).then(|| draw.number(length))
        };
        Batch {
            place: self.number(3),
            kind: self.number(5),
            class: self.number(4),
            traps_next: some(self),
            traps_key: some(self),
            traps_drop: self.random.percent(self.traps),
            keys: (0..length).map(|_| self.key(10)).collect(),
            doings: self.doings(HOPS),
        }
    }

    fn doings(&mut self, hops: usize) -> Vec<Doing> {
        (0..self.random.between(1, 2))
            .map(|_| self.doing(hops))
            .collect()
    }

    fn doing(&mut self, hops: usize) -> Doing {
        let children = if hops > 0 && self.random.percent(35) {
            self.random.between(1, 2)
        } else {
            0
        };
        let withdraws = match self.random.below(400) {
            0..9 => 1,
            9..13 => self.random.between(3, 12),
            _ => 0,
        };
        let end = if self.random.percent(self.traps) {
            &[End::Panics, End::PanicsBadly, End::FailedBadly][..]
        } else if self.random.percent(self.fails) {
            &[
                End::Failed,
                End::Failed,
                End::Failed,
                End::FailedForNow,
                End::FailedForGood,
            ][..]
        } else {
            &[End::Handled, End::Handled, End::Handled, End::Skipped]
        };
        Doing {
            takes_ns: if self.random.percent(15) {
                self.random.below(40_000) as u32
            } else {
                0
            },
            children: (0..children).map(|_| self.item(hops - 1)).collect(),
            overflow: self.random.percent(4).then(|| {
                let mut item = self.item(0);
                (item.by, item.doings) = (By::Context, Vec::new());
                Box::new(item)
            }),
            withdraws: (0..withdraws).map(|_| self.number(40)).collect(),
            stop: (self.stops_inside && self.random.below(50) == 0)
                .then(|| self.random.pick(&[Stop::Gently, Stop::AtOnce])),
            end: self.random.pick(end),
            fails: self.random.pick(&[0, 1, 1, 2, 3, 5]),
            traps_observer: self.random.percent(self.traps),
        }
    }
}
