//! Event sourcing: an account that is nothing but its events, a withdrawal that two make at once, and a snapshot.

use ringbolt::Event;
use ringbolt::store::{
    Aggregate, EventStore, ExecuteError, ExpectedVersion, Query, ReadError, Recorded,
    SnapshotPolicy,
};

#[derive(Debug, Clone, Copy, Event, bytemuck::Pod, bytemuck::Zeroable)]
#[event(name = "account.opened", codec = "pod")]
#[repr(C)]
struct Opened {
    limit_cents: u64,
}

#[derive(Debug, Clone, Copy, Event, bytemuck::Pod, bytemuck::Zeroable)]
#[event(name = "account.deposited", codec = "pod")]
#[repr(C)]
struct Deposited {
    cents: u64,
}

#[derive(Debug, Clone, Copy, Event, bytemuck::Pod, bytemuck::Zeroable)]
#[event(name = "account.withdrawn", codec = "pod")]
#[repr(C)]
struct Withdrawn {
    cents: u64,
}

/// What the events of a stream add up to.
#[derive(Debug, Clone, Default, PartialEq)]
struct Account {
    is_open: bool,
    limit_cents: u64,
    cents: u64,
}

impl Aggregate for Account {
    fn apply(&mut self, event: &Recorded<'_>) -> Result<(), ReadError> {
        if let Some(opened) = event.decode_if::<Opened>()? {
            self.is_open = true;
            self.limit_cents = opened.limit_cents;
        } else if let Some(deposited) = event.decode_if::<Deposited>()? {
            self.cents += deposited.cents;
        } else if let Some(withdrawn) = event.decode_if::<Withdrawn>()? {
            self.cents -= withdrawn.cents;
        }
        Ok(())
    }

    fn snapshots() -> SnapshotPolicy {
        SnapshotPolicy::every(100)
    }
}

/// Why a withdrawal is refused.
#[derive(Debug, PartialEq)]
enum Refusal {
    NotOpen,
    OverLimit,
    NotEnough { cents: u64 },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the account is not open"),
            Self::OverLimit => f.write_str("so much is not given at once"),
            Self::NotEnough { cents } => write!(f, "there are {cents} cents"),
        }
    }
}

/// The decision: a function of the state, which appends nothing itself.
fn withdraw(account: &Account, cents: u64) -> Result<Withdrawn, Refusal> {
    match account {
        Account { is_open: false, .. } => Err(Refusal::NotOpen),
        account if cents > account.limit_cents => Err(Refusal::OverLimit),
        account if cents > account.cents => Err(Refusal::NotEnough {
            cents: account.cents,
        }),
        _ => Ok(Withdrawn { cents }),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = EventStore::new();
    let stream = "account-7";

    // Two events of different types, all or nothing.
    let opened = store.execute(stream, 0, |account: &Account, changes| {
        if account.is_open {
            return Err("it is open already");
        }
        changes
            .push(&Opened { limit_cents: 5_000 })
            .push(&Deposited { cents: 1_000 });
        Ok(())
    })?;
    println!("opened: {} events", opened.events);

    // Another withdraws between this one's look and its append: what was decided on is decided again.
    let mut looks = Vec::new();
    let withdrawn = store.execute(stream, 3, |account: &Account, changes| {
        looks.push(account.cents);
        if looks.len() == 1 {
            let other = Withdrawn { cents: 300 };
            let appended = store.append(stream, ExpectedVersion::Any, &other);
            appended.expect("nothing was expected");
        }
        changes.push(&withdraw(account, 600)?);
        Ok::<_, Refusal>(())
    })?;
    println!(
        "withdrawn after {} looks, at {looks:?} cents",
        withdrawn.attempts
    );
    assert_eq!(looks, [1_000, 700]);

    let refused = store.execute(stream, 3, |account: &Account, changes| {
        changes.push(&withdraw(account, 600)?);
        Ok(())
    });
    assert_eq!(
        refused,
        Err(ExecuteError::Refused(Refusal::NotEnough { cents: 100 }))
    );
    println!("the next is refused: there are 100 cents");

    // Tellers on four threads: no deposit is lost, and none has seen a state that was not there.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let deposited = store.execute(stream, u32::MAX, |_: &Account, changes| {
                        changes.push(&Deposited { cents: 10 });
                        Ok::<_, Refusal>(())
                    });
                    deposited.expect("it is tried until it succeeds");
                }
            });
        }
    });

    // The latest snapshot and what came after is what all events are, one after the other.
    let loaded = store.load::<Account>(stream)?;
    let mut replayed = Account::default();
    for record in store.reader().read(Query::stream(stream))? {
        replayed.apply(&Recorded::from(record?))?;
    }
    assert_eq!(*loaded.state(), replayed);
    assert_eq!(replayed.cents, 4_100);
    assert_eq!(loaded.version(), Some(403));
    let snapshot = store
        .snapshot::<Account>(stream)
        .ok_or("no snapshot was taken")?;
    assert!(snapshot.version() >= 300 && loaded.applied() < 100);
    println!(
        "404 events, {} cents; the snapshot at version {} leaves fewer than 100 to apply",
        replayed.cents,
        snapshot.version()
    );
    Ok(())
}
